"""Likely causes of failures."""

from __future__ import annotations

from typing import Any

import pytest

from slurmtune.worker import cause


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            "CUDA out of memory: lower the batch size, or ask for a larger GPU",
        ),
        (
            "ModuleNotFoundError: No module named 'torch'",
            "No module named 'torch': is [env] right?",
        ),
        (
            "train.py: error: unrecognized arguments: --lr=0.1",
            "the program does not know its arguments (unrecognized arguments: --lr=0.1): see run.args",
        ),
        ("OSError: [Errno 28] No space left on device", "No space left on device"),
        ("OSError: [Errno 122] Disk quota exceeded", "Disk quota exceeded"),
        ("bash: trainn: command not found", "command not found: trainn"),
        (
            "/lib/libc.so.6: version `GLIBC_2.34' not found (required by x)",
            "built for another system: version `GLIBC_2.34' not found",
        ),
        (
            "RuntimeError: The server socket has failed: Address already in use",
            "a port was in use: several trials share a node; take the port from the job id",
        ),
        ("AssertionError: batch must be even", "AssertionError: batch must be even"),
        ("ValueError: lr too large", "ValueError: lr too large"),
        (
            "urllib.error.URLError: <urlopen error [Errno 111] Connection refused>",
            (
                "no connection (Connection refused): nodes often have no internet; "
                "download before, or set the proxy"
            ),
        ),
        (
            "RuntimeError: CUDA driver version is insufficient for CUDA runtime version",
            (
                "the node's GPU driver is too old for this CUDA: "
                "CUDA driver version is insufficient for CUDA runtime version"
            ),
        ),
        (
            "RuntimeError: NCCL communicator timeout after 1800 s",
            "NCCL timed out: a process was gone, or the network is blocked",
        ),
    ],
)
def test_cause_is_read_from_the_output(line: Any, expected: Any) -> None:
    assert cause.likely_cause(1, None, ["start", line, "bye"]) == expected


@pytest.mark.parametrize(
    ("exit_code", "signal", "expected"),
    [
        (3, None, "exit code 3"),
        (127, None, "command not found (exit code 127)"),
        (126, None, "Permission denied: the command cannot be executed (exit code 126)"),
        (139, None, "Segmentation fault (exit code 139)"),
        (None, 11, "Segmentation fault (exit code 139)"),
        (None, 9, "Killed (exit code 137): most likely out of memory"),
        (None, 12, "ended by signal 12"),
    ],
)
def test_exit_code_alone(exit_code: Any, signal: Any, expected: Any) -> None:
    assert cause.likely_cause(exit_code, signal, ["hello"]) == expected


def test_only_the_last_lines_count() -> None:
    lines = ["ModuleNotFoundError: No module named 'x'"] + ["fine"] * cause.TAIL_LINES

    assert cause.likely_cause(1, None, lines) == "exit code 1"


def test_braces_in_the_output_are_text() -> None:
    assert cause.likely_cause(1, None, ["ImportError: {0} {p.__class__}"]) == (
        "cannot import: {0} {p.__class__}"
    )


def test_cause_is_short_and_plain() -> None:
    text = cause.likely_cause(1, None, ["ValueError: \x1b[2J" + "x" * 9999])

    assert len(text) == cause.RECORDED_LINE_LENGTH
    assert text.startswith("ValueError: xxx")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=1.0.", True),
        ("slurmstepd: error: Exceeded job memory limit", True),
        ("RuntimeError: DataLoader worker (pid 1) is killed by signal: Killed.", True),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory", False),
        ("all is well", False),
    ],
)
def test_evidence_of_memory(line: Any, expected: Any) -> None:
    assert cause.is_memory_evidence([line]) == expected


def test_missing_metric_names_what_was_reported() -> None:
    assert cause.missing_metric(["val_loss"], ["loss", "acc"]) == (
        "ended well but reported no 'val_loss'; it reported: loss, acc"
    )


def test_recorded_tail_is_short_and_without_control_characters() -> None:
    tail = cause.recorded_tail([f"line {n}" for n in range(50)] + ["\x1b[31m" + "é" * 999])

    assert len(tail) == cause.RECORDED_LINES
    assert tail[-1] == "é" * cause.RECORDED_LINE_LENGTH


def test_progress_bar_leaves_its_last_state() -> None:
    assert cause.clean("10%\r50%\r100%") == "100%"


def test_our_own_errors_are_told_without_their_class() -> None:
    line = "slurmtune.errors.MissingMetricError: the study wants acc, this report has loss"

    assert cause.likely_cause(1, None, [line]) == "the study wants acc, this report has loss"

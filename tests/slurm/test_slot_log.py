"""The last lines of a slot's log."""

from __future__ import annotations

import pytest

from slurmtune.slurm.slot_log import last_words, tells_of_memory

KILLED = "slurmstepd: error: Step 5.0 exceeded memory limit (391217152 > 314572800), being killed"


@pytest.mark.parametrize(
    "line",
    [
        KILLED,
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.0 cgroup.",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=5.0.",
        "srun: error: node1: task 0: Out Of Memory",
    ],
)
def test_slurm_says_that_memory_ran_out(line: str) -> None:
    assert tells_of_memory(["slurmtune: t00000.r0.a1 SUCCEEDED after 1.0 s", line, ""])


def test_a_slot_that_failed_otherwise_does_not_lack_memory() -> None:
    assert not tells_of_memory(["srun: error: node1: task 0: Exited with exit code 75"])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ""),
        (["", "  "], ""),
        (["a", "b", ""], "b"),
        (
            ["error: /s is missing", "srun: error: node1: task 0: Exited with exit code 75"],
            "error: /s is missing",
        ),
        (["slurmtune: this setup line failed: false", "x"], "setup line failed: false"),
        (["x" * 1000], "x" * 300),
    ],
)
def test_the_last_line_that_tells_why(lines: list[str], words: str) -> None:
    found = last_words(lines)

    assert words in found if words else found == ""


def test_control_characters_are_left_out() -> None:
    assert last_words(["a\x1b[2Jb\x07"]) == "a[2Jb"

"""The user's program as a process."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from slurmtune.worker.program import Program, ProgramEnd, oom_kills


@pytest.fixture
def start(tmp_path: Any) -> Any:
    with (tmp_path / "output").open("wb") as output:

        def started(*argv: Any, capture: Any = False, **environment: Any) -> Any:
            return Program(
                argv,
                environment={"PATH": os.environ["PATH"], **environment},
                folder=str(tmp_path),
                output=output.fileno(),
                capture=capture,
            )

        yield started


def test_exit_code(start: Any) -> None:
    assert start("sh", "-c", "exit 3").finish() == ProgramEnd(3, None)


def test_signal(start: Any) -> None:
    program = start("sleep", "60")
    program.ask_to_leave()

    assert program.finish() == ProgramEnd(None, signal.SIGTERM)


def test_end_is_seen_before_it_is_collected(start: Any) -> None:
    program = start("true")
    deadline = time.monotonic() + 5
    while not program.has_ended() and time.monotonic() < deadline:
        time.sleep(0.01)

    assert program.has_ended()
    assert program.finish() == ProgramEnd(0, None)


def test_group_gets_the_signal(start: Any, tmp_path: Any) -> None:
    program = start("sh", "-c", "sleep 60 & echo $! > child; wait")
    child = tmp_path / "child"
    deadline = time.monotonic() + 5
    while (
        not (child.exists() and child.read_text().endswith("\n")) and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    program.kill()

    assert program.finish() == ProgramEnd(None, signal.SIGKILL)


def test_output_goes_to_the_file(start: Any, tmp_path: Any) -> None:
    start("sh", "-c", "echo out; echo err >&2").finish()

    assert (tmp_path / "output").read_text() == "out\nerr\n"


def test_captured_output_can_be_read(start: Any) -> None:
    program = start("echo", "hello", capture=True)
    text = b""
    deadline = time.monotonic() + 5
    while program.output is not None and time.monotonic() < deadline:
        text += program.read()
    program.finish()

    assert text == b"hello\n"


def test_missing_command_is_an_os_error(start: Any) -> None:
    with pytest.raises(FileNotFoundError):
        start("no-such-program")


@pytest.mark.parametrize("word", ["a\0b", "\ud800"])
def test_impossible_argument_is_a_value_error(start: Any, word: Any) -> None:
    with pytest.raises(ValueError, match=r"null byte|surrogates"):
        start("echo", word)


@pytest.mark.parametrize(
    ("cgroup", "events", "text"),
    [
        ("0::/job_1\n", "job_1/memory.events", "oom 4\noom_kill 2\n"),
        (
            "5:cpu:/\n4:memory:/job_1\n",
            "memory/job_1/memory.oom_control",
            "under_oom 0\noom_kill 2\n",
        ),
    ],
)
def test_kills_of_the_kernel_are_counted(
    tmp_path: Any, cgroup: Any, events: Any, text: Any
) -> None:
    (tmp_path / "cgroup").write_text(cgroup)
    path = tmp_path / events
    path.parent.mkdir(parents=True)
    path.write_text(text)

    assert oom_kills(str(tmp_path / "cgroup"), str(tmp_path)) == 2


def test_no_memory_group_is_no_kill(tmp_path: Any) -> None:
    (tmp_path / "cgroup").write_text("nonsense\n0::/gone\n")

    assert oom_kills(str(tmp_path / "cgroup"), str(tmp_path)) == 0
    assert oom_kills(str(tmp_path / "none"), str(tmp_path)) == 0

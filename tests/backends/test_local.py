"""Slots as processes of this machine, with a small program in place of the worker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from slurmtune.backends.base import ArraySpec, Backend, SlotState, SlotStatus
from slurmtune.backends.local import SLOT_VARIABLE, LocalBackend
from slurmtune.core.actions import Offer
from slurmtune.core.events import (
    AttemptClaimed,
    AttemptEnded,
    AttemptReported,
    AttemptStarted,
)
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome
from slurmtune.errors import BackendUnavailableError, SubmissionRefusedError
from slurmtune.store import fs
from slurmtune.store.exchange import FileExchange
from slurmtune.store.layout import StudyLayout
from slurmtune.store.manifest import publish_manifest

# Stands for ``python``: writes down how it was called, then does what the file ``do`` tells.
PROGRAM = """#!/bin/bash
exec 9>&1
for last; do :; done
env -0 > "$3/env.$last.tmp"; mv "$3/env.$last.tmp" "$3/env.$last"
printf '%s\\n' "$@" > "$3/args.$last"
. "$3/do"
"""
WAIT = 'while [ ! -e "$3/go" ]; do read -t 0.02 <> <(:); done'
SHA = "0" * 64

Make = Callable[..., LocalBackend]
T = TypeVar("T")


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    layout = StudyLayout(str(tmp_path / "study"))
    layout.create()
    return layout


@pytest.fixture
def python(tmp_path: Path) -> str:
    path = tmp_path / "python"
    path.write_text(PROGRAM)
    path.chmod(0o700)
    return str(path)


@pytest.fixture
def make(layout: StudyLayout, python: str) -> Iterator[Make]:
    """Make backends of one study; what is left running at the end is killed."""
    made = []

    def make_one(**options: Any) -> LocalBackend:
        made.append(
            LocalBackend(layout, python=python, **{"slots": 4, "kill_seconds": 5.0, **options})
        )
        return made[-1]

    yield make_one
    for backend in made:
        backend.close()
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{int(name)}/environ", "rb") as file:
                environment = file.read()
            if f"PYTHONPATH={layout.root}/".encode() in environment:
                os.kill(int(name), signal.SIGKILL)


def does(layout: StudyLayout, script: str) -> None:
    with open(os.path.join(layout.root, "do"), "w") as file:
        file.write(script)


def go(layout: StudyLayout) -> None:
    with open(os.path.join(layout.root, "go"), "w"):
        pass


def an_array(size: int = 1, token: str = "tok-1", **request: Any) -> ArraySpec:
    return ArraySpec(
        token=token, request=ResourceRequest(name="c0", **request), size=size, manifest_sha256=SHA
    )


def until(check: Callable[[], T]) -> T:
    """Return what ``check`` returns once it is true."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("did not happen within 20 s")


def ended(backend: LocalBackend, count: int = 1) -> dict[int, SlotStatus]:
    """Poll until so many slots have ended; return their last status by index."""
    found = {}

    def look() -> bool:
        found.update({s.index: s for s in backend.poll() if s.state is SlotState.ENDED})
        return len(found) >= count

    until(look)
    return found


def environment(layout: StudyLayout, index: int = 0) -> dict[str, str]:
    def read() -> dict[bytes, bytes] | None:
        with (
            contextlib.suppress(FileNotFoundError),
            open(os.path.join(layout.root, f"env.{index}"), "rb") as file,
        ):
            return dict(line.split(b"=", 1) for line in file.read().split(b"\0") if line)
        return None

    found = until(read)
    assert found is not None
    return {name.decode(): value.decode() for name, value in found.items()}


def states(backend: LocalBackend) -> list[str]:
    return [status.state.value for status in backend.poll()]


def test_it_is_a_backend(make: Make) -> None:
    backend: Backend = make()

    assert backend.name == "local"
    assert backend.poll_seconds == 0.5
    assert backend.submit_interval_seconds == 0
    assert backend.limits().max_array_size is None


class TestRunning:
    def test_a_slot_runs_the_worker_and_leaves(self, layout: StudyLayout, make: Make) -> None:
        does(layout, "echo hello; exit 0")
        backend = make()
        backend.submit(an_array())

        status = ended(backend)[0]

        assert (status.outcome, status.reason) == (Outcome.SUCCEEDED, "")
        assert int(status.job) > 0
        with open(os.path.join(layout.root, "args.0")) as file:
            assert file.read().split() == [
                "-m",
                "slurmtune.worker",
                layout.root,
                "tok-1",
                SHA,
                "--task",
                "0",
            ]
        assert backend.poll() == []

    def test_what_it_prints_goes_to_a_log_of_mode_0600(
        self, layout: StudyLayout, make: Make
    ) -> None:
        does(layout, "echo hello; echo there >&2; cat; exit 0")
        backend = make()
        backend.submit(an_array())
        ended(backend)

        path = layout.slot_output("tok-1", 0)
        assert fs.read_file(path) == b"hello\nthere\n"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    @pytest.mark.parametrize(
        ("script", "outcome", "reason"),
        [
            ("exit 78", Outcome.FAILED, "exit code 78"),
            ("exit 75", Outcome.FAILED, "exit code 75"),
            ("exit 85", Outcome.PREEMPTED, "interrupted by a signal"),
            ("kill -9 $$", Outcome.LOST, "killed by SIGKILL"),
        ],
    )
    def test_how_it_ended_is_told(
        self, layout: StudyLayout, make: Make, script: str, outcome: Outcome, reason: str
    ) -> None:
        does(layout, script)
        backend = make()
        backend.submit(an_array())

        status = ended(backend)[0]

        assert (status.outcome, status.reason) == (outcome, reason)

    def test_a_python_that_is_not_there_is_a_failure(self, layout: StudyLayout) -> None:
        backend = LocalBackend(layout, slots=1, python="/no/such/python")
        backend.submit(an_array())

        reason = ended(backend)[0].reason
        assert reason.startswith("exit code 127: ")
        assert "/no/such/python" in reason
        assert b"/no/such/python" in fs.read_file(layout.slot_output("tok-1", 0))

    def test_no_more_than_so_many_run_at_once(self, layout: StudyLayout, make: Make) -> None:
        does(layout, WAIT)
        backend = make(slots=2)
        backend.submit(an_array(size=3))
        backend.submit(an_array(token="tok-2"))

        assert states(backend) == ["RUNNING", "RUNNING", "PENDING", "PENDING"]
        go(layout)
        found: list[tuple[str, int]] = []
        most_running = 0
        while len(found) < 4:
            statuses = until(backend.poll)
            most_running = max(most_running, sum(s.state is SlotState.RUNNING for s in statuses))
            found += [(s.token, s.index) for s in statuses if s.state is SlotState.ENDED]
        assert sorted(found) == [("tok-1", 0), ("tok-1", 1), ("tok-1", 2), ("tok-2", 0)]
        assert most_running == 2

    def test_setup_lines_run_before_the_worker(self, layout: StudyLayout, make: Make) -> None:
        does(layout, "exit 0")
        backend = make()
        backend.submit(an_array(setup=("export FROM_SETUP='a b'", "cd /")))

        ended(backend)

        assert environment(layout)["FROM_SETUP"] == "a b"

    def test_setup_lines_run_in_the_users_folder_and_the_worker_does_not(
        self, layout: StudyLayout, make: Make, tmp_path: Path
    ) -> None:
        """``-m`` would import modules from there."""
        (tmp_path / "mine").mkdir()
        does(layout, "exit 0")
        backend = make(workdir=str(tmp_path / "mine"))
        backend.submit(an_array(setup=('export WAS_IN="$PWD"',)))

        ended(backend)

        assert environment(layout)["WAS_IN"] == str(tmp_path / "mine")
        assert environment(layout)["PWD"] == layout.root

    def test_a_setup_line_that_fails_ends_the_slot_and_is_named(
        self, layout: StudyLayout, make: Make
    ) -> None:
        does(layout, "exit 0")
        backend = make()
        backend.submit(an_array(setup=("false",)))

        status = ended(backend)[0]

        assert status.outcome is Outcome.FAILED
        assert status.reason == "exit code 78: slurmtune: this setup line failed: false"
        assert not os.path.exists(os.path.join(layout.root, "args.0"))

    def test_a_slot_of_the_same_name_in_a_copy_of_the_study_lives_on(
        self, layout: StudyLayout, make: Make, tmp_path: Path, python: str
    ) -> None:
        """A study that was copied while it ran goes on in both places with the same tokens."""
        does(layout, "exit 0")
        copy = StudyLayout(str(tmp_path / "copy"))
        copy.create()
        does(copy, f"{WAIT}; exit 0")
        other = LocalBackend(copy, slots=4, python=python)
        other.submit(an_array())
        until(lambda: states(other) == ["RUNNING"] and environment(copy))
        backend = make()
        backend.submit(an_array())

        ended(backend)

        assert states(other) == ["RUNNING"]
        go(copy)
        assert ended(other)[0].outcome is Outcome.SUCCEEDED

    def test_what_a_dead_slot_leaves_behind_is_killed(
        self, layout: StudyLayout, make: Make
    ) -> None:
        """The user's program is a group of its own and does not die with the slot."""
        does(
            layout,
            'setsid sleep 60 & echo $! > "$3/child.tmp"; mv "$3/child.tmp" "$3/child"; kill -9 $$',
        )
        backend = make()
        backend.submit(an_array())
        ended(backend)

        child = int(fs.read_file(os.path.join(layout.root, "child")))
        until(lambda: not is_running(child))


class TestEnvironment:
    def test_traces_of_slurm_and_of_other_slots_are_removed(
        self, layout: StudyLayout, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "9")
        monkeypatch.setenv("SLURMTUNE_TRIAL", "9")
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
        does(layout, "exit 0")
        backend = make()
        backend.submit(an_array())

        found = environment(layout)

        assert not [name for name in found if name.startswith("SLURM_")]
        assert "SLURMTUNE_TRIAL" not in found
        assert found[SLOT_VARIABLE] == f"tok-1.0 {os.path.realpath(layout.root)}"
        assert found["OMP_NUM_THREADS"] == "3"
        assert found["CUDA_VISIBLE_DEVICES"] == "5"

    def test_the_library_of_the_study_is_importable(
        self, layout: StudyLayout, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
        does(layout, f'{sys.executable} -c "import slurmtune; print(slurmtune.__file__)"')
        backend = make()
        backend.submit(an_array())
        ended(backend)

        assert fs.read_file(layout.slot_output("tok-1", 0)).decode().startswith(layout.library)

    @pytest.fixture(autouse=True)
    def _polls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Start the slots when they are submitted."""
        submit = LocalBackend.submit

        def submit_and_poll(self: LocalBackend, array: ArraySpec) -> str:
            job = submit(self, array)
            self.poll()
            return job

        monkeypatch.setattr(LocalBackend, "submit", submit_and_poll)


class TestGpus:
    def test_each_slot_has_its_own(self, layout: StudyLayout, make: Make) -> None:
        does(layout, WAIT)
        backend = make(gpus=["0", "1", "2", "3"])
        backend.submit(an_array(size=3, gpus=2))

        assert states(backend) == ["RUNNING", "RUNNING", "PENDING"]
        seen = [environment(layout, index)["CUDA_VISIBLE_DEVICES"] for index in (0, 1)]
        assert sorted(",".join(seen).split(",")) == ["0", "1", "2", "3"]

    def test_a_slot_without_gpus_sees_none(self, layout: StudyLayout, make: Make) -> None:
        does(layout, "exit 0")
        backend = make(gpus=["0"])
        backend.submit(an_array())
        ended(backend)

        assert environment(layout)["CUDA_VISIBLE_DEVICES"] == ""

    def test_they_are_free_again_when_a_slot_ends(self, layout: StudyLayout, make: Make) -> None:
        does(layout, "exit 0")
        backend = make(gpus=["7"])
        backend.submit(an_array(size=2, gpus=1))

        assert len(ended(backend, 2)) == 2
        assert environment(layout, 1)["CUDA_VISIBLE_DEVICES"] == "7"

    def test_a_wide_slot_is_not_overtaken_but_one_without_gpus_passes(
        self, layout: StudyLayout, make: Make
    ) -> None:
        does(layout, WAIT)
        backend = make(gpus=["0", "1"], slots=8)
        backend.submit(an_array(token="a", gpus=1))
        backend.submit(an_array(token="b", gpus=2))
        backend.submit(an_array(token="c", gpus=1))
        backend.submit(an_array(token="d", gpus=0))

        assert states(backend) == ["RUNNING", "PENDING", "PENDING", "RUNNING"]

    def test_more_than_there_are_is_refused(self, make: Make) -> None:
        with pytest.raises(SubmissionRefusedError, match="asks for 2 GPUs"):
            make(gpus=["0"]).submit(an_array(gpus=2))


class TestExactlyOnce:
    def test_submitting_again_starts_nothing(self, layout: StudyLayout, make: Make) -> None:
        does(layout, WAIT)
        backend = make()

        assert backend.submit(an_array()) == backend.submit(an_array()) == "tok-1"
        assert len(backend.poll()) == 1

    def test_an_unknown_array_is_not_found(self, make: Make) -> None:
        assert make().find("tok-1") is None

    def test_an_array_is_found_by_another_driver(self, make: Make) -> None:
        make().submit(an_array())

        assert make().find("tok-1") == "tok-1"

    def test_slots_live_on_and_are_found_again(self, layout: StudyLayout, make: Make) -> None:
        does(layout, WAIT)
        first = make(slots=1, gpus=["3", "4"])
        first.submit(an_array(size=2, gpus=1))
        pid = first.poll()[0].job
        environment(layout)
        first.close()

        second = make(slots=2, gpus=["3", "4"])
        second.adopt(an_array(size=2, gpus=1), "tok-1")
        found = second.poll()

        assert [(s.state, s.index) for s in found] == [
            (SlotState.RUNNING, 0),
            (SlotState.RUNNING, 1),
        ]
        assert found[0].job == pid
        assert environment(layout, 0)["CUDA_VISIBLE_DEVICES"] == "3"
        assert environment(layout, 1)["CUDA_VISIBLE_DEVICES"] == "4"

    def test_a_slot_that_still_waits_starts_with_the_digest_that_was_submitted(
        self, layout: StudyLayout, make: Make
    ) -> None:
        """A driver that finds the array in its journal does not know the digest."""
        does(layout, WAIT)
        make().submit(an_array())

        second = make()
        second.adopt(replace(an_array(), manifest_sha256=""), "tok-1")
        second.poll()

        def arguments() -> list[str]:
            with (
                contextlib.suppress(FileNotFoundError),
                open(os.path.join(layout.root, "args.0")) as file,
            ):
                return file.read().splitlines()
            return []

        assert SHA in (until(arguments) or [])

    def test_a_slot_whose_digest_is_lost_is_not_started(
        self, layout: StudyLayout, make: Make
    ) -> None:
        make().submit(an_array())
        with open(os.path.join(layout.array("tok-1"), "local.json"), "w") as file:
            file.write("no record")

        second = make()
        second.adopt(replace(an_array(), manifest_sha256=""), "tok-1")

        assert [(s.state, s.outcome) for s in second.poll()] == [
            (SlotState.ENDED, Outcome.CANCELLED)
        ]

    @pytest.mark.parametrize(
        ("farewell", "outcome"), [(True, Outcome.SUCCEEDED), (False, Outcome.LOST)]
    )
    def test_one_that_ended_meanwhile_tells_by_its_log(
        self, layout: StudyLayout, make: Make, farewell: bool, outcome: Outcome
    ) -> None:
        does(layout, "exit 0")
        first = make()
        first.submit(an_array())
        ended(first)
        log = fs.Appender(layout.slot_log("tok-1", 0, 0))
        log.append({"n": 0, "k": "slot_start"})
        if farewell:
            log.append({"n": 1, "k": "slot_exit", "why": "nothing on offer"})
        log.close()

        second = make()
        second.adopt(an_array(), "tok-1")

        assert ended(second)[0].outcome is outcome

    def test_of_two_processes_of_a_slot_the_second_leaves(
        self, layout: StudyLayout, make: Make
    ) -> None:
        """A driver died between starting a process and its first breath; the next starts another."""
        does(layout, 'echo run >> "$3/runs"; ' + WAIT)
        first, second = make(), make()
        first.submit(an_array())
        second.adopt(an_array(), "tok-1")
        first.poll()
        second.poll()

        until(lambda: first.poll()[0].job == second.poll()[0].job)

        until(lambda: os.path.exists(os.path.join(layout.root, "runs")))
        assert fs.read_file(os.path.join(layout.root, "runs")) == b"run\n"

    def test_a_slot_that_ran_before_the_machine_crashed_is_lost(
        self, layout: StudyLayout, make: Make
    ) -> None:
        make().submit(an_array())
        fs.Appender(layout.slot_log("tok-1", 0, 0)).close()
        second = make()
        second.adopt(an_array(), "tok-1")

        assert ended(second)[0].outcome is Outcome.LOST

    def test_slots_of_another_host_are_not_declared_dead(
        self, layout: StudyLayout, make: Make
    ) -> None:
        make().submit(an_array())
        fs.publish_file(
            os.path.join(layout.array("tok-1"), "local-0.slot"),
            b"another-boot\nanother-host\n1 (sh) S" + b" 1" * 30 + b"\n\n",
        )

        with pytest.raises(BackendUnavailableError, match="another-host"):
            make().adopt(an_array(), "tok-1")

    def test_a_process_that_only_has_the_id_is_not_the_slot(
        self, layout: StudyLayout, make: Make
    ) -> None:
        does(layout, WAIT)
        first = make()
        first.submit(an_array())
        first.poll()
        environment(layout)
        path = os.path.join(layout.array("tok-1"), "local-0.slot")
        lines = fs.read_file(path).split(b"\n")
        lines[2] = lines[2].replace(lines[2].split()[21], b"1")
        fs.publish_file(path, b"\n".join(lines))
        second = make()
        second.adopt(an_array(), "tok-1")

        assert ended(second)[0].outcome is Outcome.LOST

    def test_a_file_that_makes_no_sense_is_a_lost_slot(
        self, layout: StudyLayout, make: Make
    ) -> None:
        make().submit(an_array())
        fs.publish_file(os.path.join(layout.array("tok-1"), "local-0.slot"), b"\xff")
        second = make()
        second.adopt(an_array(), "tok-1")

        assert ended(second)[0].outcome is Outcome.LOST

    def test_a_folder_that_cannot_be_written_is_no_clear_answer(
        self, layout: StudyLayout, make: Make
    ) -> None:
        with open(os.path.join(layout.arrays, "tok-1"), "w"):
            pass

        with pytest.raises(BackendUnavailableError, match="tok-1"):
            make().submit(an_array())
        with pytest.raises(BackendUnavailableError, match="tok-1"):
            make().find("tok-1")


class TestCancelling:
    def test_a_running_slot_is_asked_to_leave(self, layout: StudyLayout, make: Make) -> None:
        does(layout, "trap 'echo bye; exit 85' TERM; echo ready; " + WAIT)
        backend = make()
        backend.submit(an_array())
        backend.poll()
        until(lambda: fs.read_file(layout.slot_output("tok-1", 0)) == b"ready\n")
        backend.cancel("tok-1")

        assert ended(backend)[0].outcome is Outcome.CANCELLED
        assert fs.read_file(layout.slot_output("tok-1", 0)) == b"ready\nbye\n"

    def test_one_that_does_not_leave_is_killed(self, layout: StudyLayout, make: Make) -> None:
        does(layout, "trap '' TERM; setsid sleep 60 & echo $!; " + WAIT)
        backend = make(kill_seconds=0.2)
        backend.submit(an_array())
        backend.poll()
        child = int(until(lambda: fs.read_file(layout.slot_output("tok-1", 0))))
        backend.cancel("tok-1", [0])

        assert ended(backend)[0].outcome is Outcome.CANCELLED
        until(lambda: not is_running(child))

    def test_a_waiting_slot_never_starts(self, layout: StudyLayout, make: Make) -> None:
        does(layout, WAIT)
        backend = make(slots=1)
        backend.submit(an_array(size=3))
        backend.poll()
        backend.cancel("tok-1", [1])

        assert [(s.index, s.state.value, s.outcome) for s in backend.poll()] == [
            (0, "RUNNING", None), (1, "ENDED", Outcome.CANCELLED), (2, "PENDING", None),
        ]  # fmt: skip
        second = make(slots=3)
        second.adopt(an_array(size=3), "tok-1")
        assert [s.state.value for s in second.poll()] == ["RUNNING", "ENDED", "RUNNING"]

    def test_a_slot_that_another_driver_started_is_cancelled_too(
        self, layout: StudyLayout, make: Make
    ) -> None:
        does(layout, WAIT)
        first, second = make(), make()
        first.submit(an_array())
        second.adopt(an_array(), "tok-1")
        first.poll()
        environment(layout)
        second.cancel("tok-1")
        first.close()
        reaped = subprocess.Popen(["true"])
        reaped.wait()

        assert ended(second)[0].outcome is Outcome.CANCELLED

    def test_what_is_gone_is_no_error(self, layout: StudyLayout, make: Make) -> None:
        does(layout, "exit 0")
        backend = make()
        backend.submit(an_array())
        ended(backend)
        backend.cancel("tok-1")
        backend.cancel("never-submitted")

        assert backend.poll() == []


MANIFEST = {
    "study": "s", "study_id": "0" * 32, "token": "tok-1", "class": "c0", "size": 1, "reuse": True,
    "linger_seconds": 0.3, "time_limit_seconds": None, "kill_wait_seconds": 6, "shell": False, "args": "none",
    "function": None, "parse": {}, "files": {}, "vars": {}, "objectives": ["loss"],
    "resource": "epoch", "keep_checkpoints": 2, "python": sys.executable,
}  # fmt: skip


class TestWithTheWorker:
    """The real worker, an exchange, and a program of the user."""

    ATTEMPT = "t00000.r0.a1"

    def submit(self, layout: StudyLayout, backend: LocalBackend, program: str) -> FileExchange:
        """Offer one attempt of a shell program and submit a slot for it."""
        exchange = FileExchange(layout, ["c0"])
        exchange.publish(
            Offer(
                attempt=self.ATTEMPT,
                trial=0,
                rung=0,
                config={"lr": 0.1},
                start=0,
                end=1,
                checkpoint=None,
                seed=1,
                priority=0,
                resource_class="c0",
            )
        )
        exchange.watch(self.ATTEMPT, offered=True)
        manifest = {
            **MANIFEST,
            "command": ["bash", "-c", program],
            "workdir": layout.root,
            "lib": layout.library,
        }
        fs.make_dir(layout.array("tok-1"))
        sha256 = publish_manifest(layout.manifest("tok-1"), manifest)
        request = ResourceRequest(name="c0")
        backend.submit(ArraySpec(token="tok-1", request=request, size=1, manifest_sha256=sha256))
        return exchange

    @pytest.mark.slow
    def test_an_attempt_runs_and_its_events_arrive(self, layout: StudyLayout) -> None:
        backend = LocalBackend(layout, slots=1)
        program = """echo '{"epoch": 1, "loss": 0.5}' >> "$SLURMTUNE_METRICS" """
        exchange = self.submit(layout, backend, program)

        status = ended(backend)[0]

        assert (status.outcome, status.reason) == (Outcome.SUCCEEDED, "")
        claimed, started, reported, end = exchange.read(0.0)
        slot = "tok-1.0.0"
        assert claimed == AttemptClaimed(time=0.0, attempt=self.ATTEMPT, slot=slot)
        assert isinstance(started, AttemptStarted)
        assert (started.slot, started.job, started.start) == (slot, status.job, 0)
        assert isinstance(reported, AttemptReported)
        assert (reported.resource, reported.metrics) == (1, {"loss": 0.5})
        assert isinstance(end, AttemptEnded)
        assert end.outcome is Outcome.SUCCEEDED

    @pytest.mark.slow
    def test_the_program_of_a_killed_slot_is_killed(self, layout: StudyLayout) -> None:
        backend = LocalBackend(layout, slots=1)
        child = os.path.join(layout.root, "child")
        self.submit(layout, backend, f"echo $$ > {child}.tmp; mv {child}.tmp {child}; sleep 60")
        until(lambda: backend.poll() and os.path.exists(child))
        pid = int(fs.read_file(child))

        os.kill(int(backend.poll()[0].job), signal.SIGKILL)

        assert ended(backend)[0].outcome is Outcome.LOST
        until(lambda: not is_running(pid))


def test_the_record_of_an_array_is_plain_json(layout: StudyLayout, make: Make) -> None:
    make().submit(an_array(size=2))

    record = json.loads(fs.read_file(os.path.join(layout.array("tok-1"), "local.json")))

    assert {name: record[name] for name in ("format", "token", "size")} == {
        "format": 1,
        "token": "tok-1",
        "size": 2,
    }


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False

"""Submitting and tracking arrays; Slurm's commands are answered by a script or by a fake."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from slurmtune.backends.base import ArraySpec, SlotState, SlotStatus
from slurmtune.backends.command import CommandResult
from slurmtune.backends.slurm import SlurmBackend
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome
from slurmtune.errors import (
    BackendError,
    BackendUnavailableError,
    SpecError,
    SubmissionRefusedError,
)
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.fake_slurm import FakeSlurm

TOKEN = "st-00000000-1-1"
REQUEST = ResourceRequest(name="c0", time_limit_seconds=1800)
DOWN = CommandResult(1, "", "slurm_load_jobs error: Unable to contact slurm controller")
OFF = CommandResult(1, "", "Slurm accounting storage is disabled")


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1_795_000_000.0

    def now(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


class Script:
    """Answers each command with what was set for it, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, CommandResult] = {}
        self.asked: list[list[str]] = []

    def run(self, argv: Sequence[str], stdin: str = "") -> CommandResult:
        self.asked.append(list(argv))
        return self.answers.get(argv[0], CommandResult(0, "", ""))

    def squeue(self, *rows: str) -> None:
        self.answers["squeue"] = CommandResult(0, "".join(f"{row}\n" for row in rows), "")

    def sacct(self, *rows: str) -> None:
        self.answers["sacct"] = CommandResult(0, "".join(f"{row}\n" for row in rows), "")

    def count(self, command: str) -> int:
        return sum(argv[0] == command for argv in self.asked)


def row(
    index: int,
    state: str,
    reason: str = "None",
    *,
    job: str = "42",
    start: str = "N/A",
    node: str = "",
    name: str = TOKEN,
) -> str:
    return f"{job}|{index}|{job}|1795000000|{state}|{start}|{node}|{name}|{reason}"


def account(job_id: str, state: str, exit_code: str = "0:0", derived: str = "0:0") -> str:
    return f"{job_id}|{state}|{exit_code}|{derived}|1795000000|node3|{TOKEN}"


def spec(size: int = 1, request: ResourceRequest = REQUEST) -> ArraySpec:
    return ArraySpec(token=TOKEN, request=request, size=size, manifest_sha256="ab" * 32)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def slurm() -> Script:
    return Script()


@pytest.fixture
def make(tmp_path: Path, clock: Time, slurm: Script) -> Any:
    def backend(**changes: Any) -> SlurmBackend:
        layout = StudyLayout(str(tmp_path / "study"))
        layout.create()
        arguments: dict[str, Any] = {"clock": clock, "runner": slurm, **changes}
        return SlurmBackend(layout.root, layout, ["/usr/bin/python3"], **arguments)

    return backend


@pytest.fixture
def backend(make: Any) -> Any:
    """A backend that tracks the three slots of job 42."""
    made = make()
    made.adopt(spec(3), "42")
    return made


def by_index(statuses: Sequence[SlotStatus]) -> dict[int, SlotStatus]:
    return {status.index: status for status in statuses}


def poll_until_ended(backend: SlurmBackend, clock: Time, polls: int = 20) -> list[SlotStatus]:
    """Poll every 30 s; return the slots that ended."""
    ended: list[SlotStatus] = []
    for _ in range(polls):
        ended += [one for one in backend.poll() if one.state is SlotState.ENDED]
        clock.wait(30)
    return ended


class TestTracking:
    def test_one_question_is_asked_for_all_slots(self, backend: Any, slurm: Script) -> None:
        slurm.squeue(row(0, "RUNNING"), row(1, "RUNNING"), row(2, "PENDING"))
        backend.poll()
        assert [argv[0] for argv in slurm.asked] == ["squeue"]
        assert backend.calls == {"squeue": 1}

    def test_without_slots_nothing_is_asked(self, make: Any, slurm: Script) -> None:
        assert make().poll() == []
        assert slurm.asked == []

    def test_a_running_slot_tells_its_node_and_its_name(self, backend: Any, slurm: Script) -> None:
        slurm.squeue(*(row(i, "RUNNING", node=f"node{i}", start="1795000009") for i in range(3)))
        status = by_index(backend.poll())[1]
        assert status == SlotStatus(
            token=TOKEN, index=1, state=SlotState.RUNNING, job="42_1", node="node1"
        )

    def test_a_waiting_slot_tells_why_and_when(self, backend: Any, slurm: Script) -> None:
        slurm.squeue(*(row(i, "PENDING", "Priority", start="1795009999") for i in range(3)))
        status = by_index(backend.poll())[0]
        assert (status.state, status.reason) == (SlotState.PENDING, "Priority")
        assert status.start_estimate == 1795009999.0

    def test_a_node_that_boots_is_the_reason_for_waiting(
        self, backend: Any, slurm: Script
    ) -> None:
        slurm.squeue(*(row(i, "CONFIGURING") for i in range(3)))
        assert {one.reason for one in backend.poll()} == {"CONFIGURING"}

    def test_a_requeued_slot_waits_again(self, backend: Any, slurm: Script) -> None:
        slurm.squeue(*(row(i, "RUNNING", node="node1") for i in range(3)))
        backend.poll()
        slurm.squeue(row(0, "PENDING", "BeginTime"), row(1, "RUNNING"), row(2, "RUNNING"))
        status = by_index(backend.poll())[0]
        assert (status.state, status.reason, status.node) == (SlotState.PENDING, "BeginTime", "")

    @pytest.mark.parametrize("word", ["COMPLETING", "SUSPENDED", "SIGNALING", "SOMETHING_NEW"])
    def test_a_slot_that_may_still_live_is_kept(
        self, backend: Any, slurm: Script, word: str
    ) -> None:
        slurm.squeue(*(row(i, word) for i in range(3)))
        assert {one.state for one in backend.poll()} == {SlotState.RUNNING}

    @pytest.mark.parametrize(
        ("word", "reason", "outcome"),
        [
            ("COMPLETED", "None", Outcome.SUCCEEDED),
            ("FAILED", "NonZeroExitCode", Outcome.FAILED),
            ("TIMEOUT", "TimeLimit", Outcome.TIMEOUT),
            ("PREEMPTED", "None", Outcome.PREEMPTED),
            ("NODE_FAIL", "NodeDown", Outcome.NODE_FAILED),
            ("OUT_OF_MEMORY", "OutOfMemory", Outcome.OUT_OF_MEMORY),
            ("CANCELLED", "None", Outcome.CANCELLED),
        ],
    )
    def test_an_ended_slot_is_reported_once(
        self, backend: Any, slurm: Script, word: str, reason: str, outcome: Outcome
    ) -> None:
        slurm.squeue(row(0, word, reason, node="node1"), row(1, "RUNNING"), row(2, "RUNNING"))
        status = by_index(backend.poll())[0]
        assert (status.state, status.outcome, status.node) == (SlotState.ENDED, outcome, "node1")
        assert sorted(by_index(backend.poll())) == [1, 2]

    def test_other_jobs_of_the_user_are_not_ours(self, backend: Any, slurm: Script) -> None:
        slurm.squeue(*(row(i, "RUNNING") for i in range(3)), row(0, "FAILED", job="7", name="x"))
        assert len(backend.poll()) == 3


class TestFailedNodes:
    """A slot that Slurm requeued says nothing of why; its node does."""

    @pytest.mark.parametrize(
        ("answer", "node"),
        [
            (CommandResult(0, "node0|down*\nnode0|down*\n", ""), "node0"),
            (CommandResult(0, "node0|mixed\n", ""), ""),
            (DOWN, ""),
        ],
    )
    def test_the_node_is_looked_at_when_a_slot_waits_again(
        self, backend: Any, slurm: Script, answer: CommandResult, node: str
    ) -> None:
        slurm.squeue(*(row(i, "RUNNING", node=f"node{i}") for i in range(3)))
        backend.poll()
        slurm.answers["sinfo"] = answer
        slurm.squeue(row(0, "PENDING", "BeginTime"), row(1, "RUNNING"), row(2, "RUNNING"))
        assert [one.failed_node for one in backend.poll()] == [node, "", ""]
        assert [one.failed_node for one in backend.poll()] == [node, "", ""]
        assert slurm.count("sinfo") == 1


class TestFailedSlots:
    """Slurm says FAILED; the slot's log may say why."""

    @pytest.fixture
    def log(self, backend: Any, tmp_path: Path) -> Path:
        logs = Path(StudyLayout(str(tmp_path / "study")).logs)
        return logs / "42_0.log"

    @pytest.fixture(autouse=True)
    def failed(self, slurm: Script) -> None:
        failed = row(0, "FAILED", "NonZeroExitCode")
        slurm.squeue(failed, row(1, "RUNNING"), row(2, "RUNNING"))

    def test_the_reason_of_the_log_follows_slurms(self, backend: Any, log: Path) -> None:
        log.write_text("slurmtune: this setup line failed: false\nsrun: error: exit code 78\n")
        status = by_index(backend.poll())[0]
        assert status.reason == "NonZeroExitCode: slurmtune: this setup line failed: false"
        assert status.outcome is Outcome.FAILED

    def test_memory_that_slurm_took_away_is_seen(self, backend: Any, log: Path) -> None:
        log.write_text("slurmstepd: error: Step 42.0 exceeded memory limit (2 > 1), being killed")
        assert by_index(backend.poll())[0].outcome is Outcome.OUT_OF_MEMORY

    def test_without_a_log_slurms_word_counts(self, backend: Any) -> None:
        assert by_index(backend.poll())[0].reason == "NonZeroExitCode"

    def test_a_slot_that_a_node_could_not_start_is_cancelled(
        self, backend: Any, slurm: Script
    ) -> None:
        held = row(0, "PENDING", "launch failed requeued held")
        slurm.squeue(held, row(1, "RUNNING"), row(2, "RUNNING"))
        status = by_index(backend.poll())[0]
        assert (status.state, status.outcome) == (SlotState.ENDED, Outcome.FAILED)
        assert status.reason == "launch failed requeued held"
        assert slurm.asked[-1] == ["scancel", "42_[0]"]


class TestSilence:
    def test_no_answer_changes_nothing(self, backend: Any, slurm: Script, clock: Time) -> None:
        slurm.squeue(*(row(i, "RUNNING") for i in range(3)))
        backend.poll()
        slurm.answers["squeue"] = DOWN
        for _ in range(10):
            with pytest.raises(BackendUnavailableError, match="Unable to contact"):
                backend.poll()
            clock.wait(30)
        slurm.squeue(*(row(i, "RUNNING") for i in range(3)))
        assert {one.state for one in backend.poll()} == {SlotState.RUNNING}

    def test_polls_come_further_apart_while_there_is_no_answer(
        self, backend: Any, slurm: Script
    ) -> None:
        slurm.answers["squeue"] = DOWN
        seen = []
        for _ in range(5):
            with pytest.raises(BackendUnavailableError):
                backend.poll()
            seen.append(backend.poll_seconds)
        assert seen == [60, 120, 240, 300, 300]

    def test_the_first_answer_brings_the_usual_pace_back(
        self, backend: Any, slurm: Script
    ) -> None:
        slurm.answers["squeue"] = DOWN
        with pytest.raises(BackendUnavailableError):
            backend.poll()
        slurm.squeue(*(row(i, "PENDING") for i in range(3)))
        backend.poll()
        assert backend.poll_seconds == 30

    def test_polls_come_further_apart_while_nothing_changes(
        self, backend: Any, slurm: Script
    ) -> None:
        slurm.squeue(*(row(i, "PENDING") for i in range(3)))
        for _ in range(20):
            backend.poll()
        assert backend.poll_seconds == 120
        slurm.squeue(row(0, "RUNNING"), row(1, "PENDING"), row(2, "PENDING"))
        backend.poll()
        assert backend.poll_seconds == 30


class TestVanished:
    """Slots that squeue does not list (any more)."""

    @pytest.fixture(autouse=True)
    def _only_two_are_listed(self, slurm: Script) -> None:
        slurm.squeue(row(1, "RUNNING"), row(2, "RUNNING"))

    def test_accounting_is_asked_for_vanished_slots_only(
        self, backend: Any, slurm: Script
    ) -> None:
        slurm.squeue(*(row(i, "RUNNING") for i in range(3)))
        backend.poll()
        assert slurm.count("sacct") == 0
        slurm.squeue(row(1, "RUNNING"), row(2, "RUNNING"))
        backend.poll()
        assert slurm.count("sacct") == 1

    def test_accounting_tells_how_a_slot_ended(self, backend: Any, slurm: Script) -> None:
        slurm.sacct(account("42_0", "TIMEOUT"))
        status = by_index(backend.poll())[0]
        assert (status.state, status.outcome) == (SlotState.ENDED, Outcome.TIMEOUT)
        assert (status.reason, status.node) == ("TIMEOUT", "node3")

    def test_memory_that_ran_out_in_the_step_is_seen(self, backend: Any, slurm: Script) -> None:
        slurm.sacct(account("42_0", "FAILED", "1:0", "0:125"))
        assert by_index(backend.poll())[0].outcome is Outcome.OUT_OF_MEMORY

    def test_a_slot_that_nobody_knows_is_given_up_after_a_minute(
        self, backend: Any, clock: Time
    ) -> None:
        states = []
        for _ in range(3):
            states.append(by_index(backend.poll())[0].state)
            clock.wait(30)
        assert states == [SlotState.PENDING, SlotState.PENDING, SlotState.ENDED]

    def test_a_slot_that_is_given_up_is_lost(self, backend: Any, clock: Time) -> None:
        (ended,) = poll_until_ended(backend, clock)
        assert (ended.index, ended.outcome) == (0, Outcome.LOST)

    def test_quick_polls_do_not_give_up_earlier(self, backend: Any, clock: Time) -> None:
        for _ in range(11):
            assert by_index(backend.poll())[0].state is SlotState.PENDING
            clock.wait(5)

    def test_a_slot_that_comes_back_is_kept(
        self, backend: Any, slurm: Script, clock: Time
    ) -> None:
        for _ in range(2):
            backend.poll()
            clock.wait(30)
        slurm.squeue(*(row(i, "RUNNING") for i in range(3)))
        backend.poll()
        slurm.squeue(row(1, "RUNNING"), row(2, "RUNNING"))
        clock.wait(30)
        assert by_index(backend.poll())[0].state is SlotState.RUNNING

    def test_accounting_that_says_running_is_not_believed_for_ever(
        self, backend: Any, slurm: Script, clock: Time
    ) -> None:
        slurm.sacct(account("42_0", "RUNNING"))
        (ended,) = poll_until_ended(backend, clock)
        assert ended.outcome is Outcome.LOST

    def test_a_stale_range_ends_a_slot_only_when_it_is_given_up(
        self, backend: Any, slurm: Script, clock: Time
    ) -> None:
        slurm.sacct(account("42_[0-2%3]", "CANCELLED by 0"))
        assert by_index(backend.poll())[0].state is SlotState.PENDING
        (ended,) = poll_until_ended(backend, clock)
        assert ended.outcome is Outcome.CANCELLED

    def test_an_id_that_was_used_again_is_not_our_slot(
        self, backend: Any, slurm: Script, clock: Time
    ) -> None:
        slurm.squeue(row(0, "RUNNING", name="other"), row(1, "RUNNING"), row(2, "RUNNING"))
        (ended,) = poll_until_ended(backend, clock)
        assert (ended.index, ended.outcome) == (0, Outcome.LOST)

    def test_a_waiting_slot_that_we_cancelled_leaves_no_trace(
        self, backend: Any, slurm: Script
    ) -> None:
        backend.cancel(TOKEN, [0])
        assert slurm.asked == [["scancel", "42_[0]"]]
        assert by_index(backend.poll())[0].outcome is Outcome.CANCELLED

    def test_without_accounting_slots_are_given_up_alike(
        self, backend: Any, slurm: Script, clock: Time
    ) -> None:
        slurm.answers["sacct"] = OFF
        (ended,) = poll_until_ended(backend, clock)
        assert ended.outcome is Outcome.LOST

    def test_accounting_that_is_off_is_asked_once(
        self, backend: Any, slurm: Script, clock: Time
    ) -> None:
        slurm.answers["sacct"] = OFF
        poll_until_ended(backend, clock)
        assert slurm.count("sacct") == 1

    def test_accounting_that_is_down_gets_more_time(
        self, backend: Any, slurm: Script, clock: Time
    ) -> None:
        slurm.answers["sacct"] = CommandResult(1, "", "Problem talking to the database")
        assert poll_until_ended(backend, clock, polls=9) == []
        assert [one.outcome for one in poll_until_ended(backend, clock)] == [Outcome.LOST]

    def test_accounting_that_comes_back_tells_the_truth(
        self, backend: Any, slurm: Script, clock: Time
    ) -> None:
        slurm.answers["sacct"] = CommandResult(1, "", "Problem talking to the database")
        poll_until_ended(backend, clock, polls=5)
        slurm.sacct(account("42_0", "COMPLETED"))
        assert by_index(backend.poll())[0].outcome is Outcome.SUCCEEDED


class TestFind:
    def test_an_array_in_the_queue_is_found(self, make: Any, slurm: Script) -> None:
        slurm.squeue(row(0, "PENDING"), row(1, "PENDING"))
        assert make().find(TOKEN) == "42"
        assert slurm.count("sacct") == 0

    def test_an_array_that_slurmctld_forgot_is_found_in_accounting(
        self, make: Any, slurm: Script
    ) -> None:
        slurm.sacct(f"42_0|{TOKEN}")
        assert make().find(TOKEN) == "42"

    def test_the_lowest_of_two_is_kept_and_the_other_cancelled(
        self, make: Any, slurm: Script
    ) -> None:
        slurm.squeue(row(0, "PENDING", job="100"), row(0, "PENDING", job="99"))
        assert make().find(TOKEN) == "99"
        assert slurm.asked[-1] == ["scancel", "100"]

    def test_absence_is_believed_after_a_while(self, make: Any, clock: Time) -> None:
        backend = make()
        with pytest.raises(BackendUnavailableError, match="asked again in 12 s"):
            backend.find(TOKEN)
        clock.wait(12)
        assert backend.find(TOKEN) is None

    def test_an_array_that_appears_late_is_found(
        self, make: Any, slurm: Script, clock: Time
    ) -> None:
        backend = make()
        with pytest.raises(BackendUnavailableError):
            backend.find(TOKEN)
        clock.wait(12)
        slurm.squeue(row(0, "PENDING"))
        assert backend.find(TOKEN) == "42"

    @pytest.mark.parametrize("command", ["squeue", "sacct"])
    def test_no_answer_is_no_absence(self, make: Any, slurm: Script, command: str) -> None:
        slurm.answers[command] = DOWN
        with pytest.raises(BackendUnavailableError, match=command):
            make(settle_seconds=0).find(TOKEN)

    def test_without_accounting_the_queue_alone_decides(self, make: Any, slurm: Script) -> None:
        slurm.answers["sacct"] = OFF
        assert make(settle_seconds=0).find(TOKEN) is None

    def test_a_known_token_is_not_asked_for(self, backend: Any, slurm: Script) -> None:
        assert backend.find(TOKEN) == "42"
        assert slurm.asked == []


class TestCancel:
    def test_a_whole_array_is_one_message(self, backend: Any, slurm: Script) -> None:
        backend.cancel(TOKEN)
        assert slurm.asked == [["scancel", "42"]]

    def test_some_slots_are_one_message(self, backend: Any, slurm: Script) -> None:
        backend.cancel(TOKEN, [2, 0, 1])
        assert slurm.asked == [["scancel", "42_[0-2]"]]

    def test_no_slots_are_no_message(self, backend: Any, slurm: Script) -> None:
        backend.cancel(TOKEN, [])
        assert slurm.asked == []

    def test_an_array_of_an_earlier_driver_is_cancelled_by_name(
        self, make: Any, slurm: Script
    ) -> None:
        make().cancel("st-00000000-1-9")
        assert slurm.asked == [["scancel", "-n", "st-00000000-1-9"]]

    def test_no_answer_is_told(self, backend: Any, slurm: Script) -> None:
        slurm.answers["scancel"] = DOWN
        with pytest.raises(BackendUnavailableError, match="scancel failed"):
            backend.cancel(TOKEN)


class TestLimits:
    def test_limits_are_asked_for_once(self, make: Any, slurm: Script) -> None:
        slurm.answers["scontrol"] = CommandResult(0, "MaxArraySize = 500\n", "")
        backend = make()
        assert backend.limits() is backend.limits()
        assert backend.limits().max_array_size == 500
        assert slurm.count("scontrol") == 1

    def test_the_submit_limit_is_read_where_it_is_enforced(self, make: Any, slurm: Script) -> None:
        config = "AccountingStorageEnforce = limits\nAccountingStorageType = x/slurmdbd\n"
        slurm.answers["scontrol"] = CommandResult(0, config, "")
        slurm.answers["sacctmgr"] = CommandResult(0, "a|||210|normal|\n", "")
        assert make().limits().max_live_slots == 210

    def test_a_limit_that_cannot_be_read_is_none(self, make: Any, slurm: Script) -> None:
        slurm.answers["scontrol"] = CommandResult(0, "AccountingStorageEnforce = limits\n", "")
        slurm.answers["sacctmgr"] = DOWN
        assert make().limits().max_live_slots is None


def request(*options: tuple[str, str | int | bool], **changes: Any) -> ResourceRequest:
    return dataclasses.replace(REQUEST, options=options, **changes)


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line[:8] == "#SBATCH "]


class TestScript:
    def test_every_option_becomes_one_line(self, make: Any) -> None:
        given = (("partition", "gpu"), ("gpus_per_node", 1), ("mem", "32G"), ("exclusive", True))
        lines = directives(make().script(spec(request=request(*given))))
        assert {"--partition=gpu", "--gpus-per-node=1", "--mem=32G", "--exclusive"} <= set(lines)
        assert len(lines) == len({line.partition("=")[0] for line in lines})

    def test_extra_options_win_over_those_of_the_spec(self, make: Any) -> None:
        changed = request(("partition", "gpu"), extra=(("partition", "long"), ("nice", 100)))
        lines = directives(make().script(spec(request=changed)))
        assert {"--partition=long", "--nice=100"} <= set(lines)
        assert "--partition=gpu" not in lines

    def test_an_array_of_one_slot_is_an_array(self, make: Any) -> None:
        assert "--array=0-0%1" in directives(make().script(spec(1)))

    def test_the_array_has_its_throttle(self, make: Any) -> None:
        lines = directives(make().script(spec(8, request(array_limit=3))))
        assert "--array=0-7%3" in lines

    def test_the_token_is_the_name_of_the_job(self, make: Any) -> None:
        assert f"--job-name={TOKEN}" in directives(make().script(spec()))

    def test_the_time_limit_is_rounded_up_to_minutes(self, make: Any) -> None:
        lines = directives(make().script(spec(request=request(time_limit_seconds=1801))))
        assert "--time=31" in lines

    def test_without_a_time_limit_the_partition_decides(self, make: Any) -> None:
        lines = directives(make().script(spec(request=request(time_limit_seconds=None))))
        assert not any(line.startswith("--time") for line in lines)

    def test_the_wckey_of_submitit_is_left_out(self, make: Any) -> None:
        assert not any(line.startswith("--wckey") for line in directives(make().script(spec())))

    def test_logs_stand_in_the_study_and_are_appended_to(self, make: Any, tmp_path: Path) -> None:
        lines = directives(make().script(spec()))
        assert f"--output={tmp_path}/study/logs/%A_%a.log" in lines
        assert "--open-mode=append" in lines
        assert not any(line.startswith("--error") for line in lines)

    def test_a_step_gets_the_warning(self, make: Any) -> None:
        assert "--signal=USR1@120" in directives(make().script(spec()))

    def test_without_srun_the_batch_process_gets_the_warning(self, make: Any) -> None:
        assert "--signal=B:USR1@120" in directives(make(use_srun=False).script(spec()))

    @pytest.mark.parametrize(("flag", "line"), [(True, "--requeue"), (False, "--no-requeue")])
    def test_requeueing_is_said_either_way(self, make: Any, flag: bool, line: str) -> None:
        assert line in directives(make(requeue=flag).script(spec()))

    def test_setup_lines_come_before_the_worker(self, make: Any) -> None:
        text = make().script(spec(request=request(setup=("module load cuda",))))
        assert 0 < text.index("module load cuda") < text.index("slurmtune.worker")

    def test_the_worker_gets_study_token_and_digest(self, make: Any, tmp_path: Path) -> None:
        last = make().script(spec()).rstrip().splitlines()[-1]
        assert last == (
            "srun --nodes=1 --ntasks=1 --unbuffered /usr/bin/python3 -m slurmtune.worker "
            f"{tmp_path}/study {TOKEN} {'ab' * 32}"
        )

    def test_the_worker_starts_in_the_study_where_no_file_shadows_a_module(
        self, make: Any, tmp_path: Path
    ) -> None:
        lines = make().script(spec(request=request(setup=("true",)))).splitlines()
        enter = lines.index(f"cd -- {tmp_path}/study || exit 78")
        assert lines.index("true") < enter < len(lines) - 1

    def test_the_working_directory_can_be_set(self, make: Any) -> None:
        assert "--chdir=/scratch/me" in directives(make(workdir="/scratch/me").script(spec()))

    def test_a_line_break_in_a_value_is_refused(self, make: Any) -> None:
        with pytest.raises(SpecError, match="control character"):
            make().script(spec(request=request(("comment", "x\nrm -rf /"))))

    def test_a_line_break_in_a_setup_line_is_refused(self, make: Any) -> None:
        with pytest.raises(SpecError, match="setup line"):
            make().script(spec(request=request(setup=("true\nrm -rf /",))))

    def test_a_directory_that_slurm_would_change_is_refused(self, make: Any, clock: Time) -> None:
        with pytest.raises(SpecError, match="'%'"):
            SlurmBackend("/scratch/100%", StudyLayout("/scratch/100%"), ["python3"], clock=clock)


class TestSubmission:
    """With executables on PATH, as submitit runs sbatch itself."""

    @pytest.fixture
    def cluster(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
        cluster = FakeSlurm(str(tmp_path / "slurm"), slots=0)
        monkeypatch.setenv("PATH", cluster.path)
        yield cluster
        cluster.stop()

    @pytest.fixture
    def backend(self, make: Any, cluster: FakeSlurm) -> Any:
        return make(runner=None)

    def test_the_array_is_submitted_and_tracked(self, backend: Any, cluster: FakeSlurm) -> None:
        assert backend.submit(spec(3)) == "1"
        assert [(task["name"], task["index"]) for task in cluster.tasks] == [
            (TOKEN, 0),
            (TOKEN, 1),
            (TOKEN, 2),
        ]
        assert {one.reason for one in backend.poll()} == {"Resources"}
        assert backend.calls == {"sbatch": 1, "squeue": 1}

    def test_the_script_stays_beside_the_manifest(self, backend: Any, tmp_path: Path) -> None:
        backend.submit(spec())
        folder = tmp_path / "study" / "arrays" / TOKEN
        assert [path.name for path in folder.iterdir()] == ["1_submission.sh"]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_a_token_is_submitted_once(self, backend: Any, cluster: FakeSlurm) -> None:
        assert backend.submit(spec()) == backend.submit(spec())
        assert cluster.calls["sbatch"] == 1

    def test_a_permanent_refusal_keeps_slurms_words(self, backend: Any) -> None:
        with pytest.raises(SubmissionRefusedError, match=r"no such partition.*nope") as caught:
            backend.submit(spec(request=request(("partition", "nope"))))
        assert not caught.value.retryable

    def test_a_submit_limit_is_worth_waiting_for(self, backend: Any, cluster: FakeSlurm) -> None:
        cluster.set(max_submit=2)
        with pytest.raises(SubmissionRefusedError, match="AssocMaxSubmitJobLimit") as caught:
            backend.submit(spec(3))
        assert caught.value.retryable

    def test_a_refusal_leaves_no_script(self, backend: Any, tmp_path: Path) -> None:
        with pytest.raises(SubmissionRefusedError):
            backend.submit(spec(request=request(("partition", "nope"))))
        assert list((tmp_path / "study" / "arrays" / TOKEN).iterdir()) == []

    def test_a_refusal_prints_nothing(
        self, backend: Any, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SubmissionRefusedError):
            backend.submit(spec(request=request(("partition", "nope"))))
        assert capfd.readouterr() == ("", "")

    def test_a_bad_option_is_a_refusal_before_sbatch(
        self, backend: Any, cluster: FakeSlurm
    ) -> None:
        with pytest.raises(SubmissionRefusedError, match="control character"):
            backend.submit(spec(request=request(("comment", "a\nb"))))
        assert "sbatch" not in cluster.calls

    def test_a_ghost_is_found_instead_of_submitted_twice(
        self, backend: Any, cluster: FakeSlurm
    ) -> None:
        cluster.fail("sbatch", "sbatch: error: Socket timed out on send/recv", after=True)
        with pytest.raises(BackendUnavailableError, match="does not answer"):
            backend.submit(spec(2))
        job = backend.find(TOKEN)
        assert job == "1"
        backend.adopt(spec(2), job)
        assert len(backend.poll()) == 2

    def test_an_sbatch_without_an_id_is_ambiguous(self, backend: Any, cluster: FakeSlurm) -> None:
        cluster.fail("sbatch", "", returncode=0)
        with pytest.raises(BackendUnavailableError, match="no job id"):
            backend.submit(spec())

    def test_a_lost_submission_is_not_found(
        self, backend: Any, cluster: FakeSlurm, clock: Time
    ) -> None:
        cluster.fail("sbatch", "sbatch: error: Unable to contact slurm controller")
        with pytest.raises(BackendUnavailableError):
            backend.submit(spec())
        with pytest.raises(BackendUnavailableError):
            backend.find(TOKEN)
        clock.wait(12)
        assert backend.find(TOKEN) is None
        assert backend.submit(spec()) == "1"

    def test_an_array_submitted_twice_is_cancelled_but_for_the_first(
        self, make: Any, cluster: FakeSlurm
    ) -> None:
        make(runner=None).submit(spec())
        make(runner=None).submit(spec())
        assert make(runner=None).find(TOKEN) == "1"
        assert [task["state"] for task in cluster.tasks] == ["PENDING", "CANCELLED"]

    def test_variables_of_the_surrounding_job_are_left_out(
        self, backend: Any, cluster: FakeSlurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
        monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
        monkeypatch.setenv("SBATCH_TIMELIMIT", "77")
        monkeypatch.setenv("MINE", "kept")
        backend.submit(spec())
        kept = (Path(cluster.folder) / "1.env").read_text(encoding="utf-8")
        assert "SLURM_MEM_PER_CPU" not in kept
        assert "SBATCH_TIMELIMIT" not in kept
        assert '"SLURM_CONF": "/etc/slurm.conf"' in kept
        assert '"MINE": "kept"' in kept
        assert os.environ["SLURM_JOB_ID"] == "7"

    def test_where_there_is_no_sbatch_local_slots_are_offered(
        self, make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BackendError, match="--local"):
            make(runner=None).submit(spec())

    def test_the_script_can_be_shown_where_there_is_no_slurm(
        self, make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert make(runner=None).script(spec()).startswith("#!/bin/bash\n")

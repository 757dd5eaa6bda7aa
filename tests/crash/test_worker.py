"""A slot, its node or its program may die or fail at any file operation: nothing wrong is believed.

The slot and the session are the real ones, in this process (`slurmtune.testing.crash.cluster`).
The driver repeats what was lost, from the last whole checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest

from slurmtune.core.trial import Outcome
from slurmtune.store import checkpoint, event_log, fs
from slurmtune.testing.crash import cluster
from slurmtune.testing.crash.plan import (
    deaths,
    failures,
    lost_replies,
    thinned,
    torn_writes,
)
from slurmtune.testing.crash.seam import Fault, Kind, Operation
from slurmtune.testing.crash.study import IN_PLACE, CrashStudy, Outcomes, scratch_folder
from slurmtune.worker.session import Trial

pytestmark = pytest.mark.slow

SHARDS = 3


def on_node(actor: str) -> bool:
    return actor.startswith(("slot", "program"))


def in_program(actor: str) -> bool:
    return actor.startswith("program")


@cache
def undisturbed(
    seed: int = 0,
) -> tuple[Outcomes, tuple[Operation, ...], tuple[Operation, ...]]:
    """What comes of a study, and what slots and programs did, when nothing goes wrong."""
    with scratch_folder() as folder:
        with CrashStudy(folder, seed=seed) as study:
            study.live()
        return (
            study.outcomes(),
            tuple(study.operations(on_node)),
            tuple(study.operations(in_program)),
        )


def lose_node(study: CrashStudy, fault: Fault) -> list[str]:
    """Let a slot or its program meet the fault; when one dies the other one does too."""
    with study:
        study.live_with(fault, on_node)
    return study.faults(undisturbed(study.seed)[0])


def lose_program(study: CrashStudy, fault: Fault) -> list[str]:
    """Let a program die alone; its slot says so, unless it only waited for more."""
    study.cluster.lonely_programs = True
    with study:
        study.live_with(fault, in_program)
    wrong = study.faults(undisturbed(study.seed)[0])
    ends = [attempt.outcome for trial in study.study.trials for attempt in trial.attempts]
    bad = [end for end in ends if end is not Outcome.SUCCEEDED]
    waited = any("more.json" in name or name.startswith("list") for name in study.seam.fired)
    if bad != [Outcome.FAILED] and not (waited and bad in ([], [Outcome.PREEMPTED])):
        wrong.append(f"attempts ended as {ends} after {study.seam.fired}")
    return wrong


def shard(faults: Sequence[Fault], number: int) -> Sequence[Fault]:
    return faults[number::SHARDS]


@pytest.mark.parametrize("number", range(SHARDS))
def test_a_node_may_be_lost_at_any_operation(rig: Any, number: int) -> None:
    _, operations, _ = undisturbed()
    assert rig.sweep(shard(deaths(operations), number), operations, lose_node) == {}


@pytest.mark.parametrize("number", range(SHARDS))
def test_a_node_may_be_lost_within_any_write(rig: Any, number: int) -> None:
    _, operations, _ = undisturbed()
    faults = thinned(torn_writes(operations), operations, most=6)
    assert rig.sweep(shard(faults, number), operations, lose_node) == {}


def test_a_program_may_die_at_any_operation(rig: Any) -> None:
    _, _, operations = undisturbed()
    assert rig.sweep(deaths(operations), operations, lose_program) == {}


def test_a_program_may_die_within_any_write(rig: Any) -> None:
    """The last line of its reports is dropped when it is torn, and read when it is whole."""
    _, _, operations = undisturbed()
    assert rig.sweep(torn_writes(operations), operations, lose_program) == {}


def test_what_a_node_did_may_be_told_as_failed(rig: Any) -> None:
    _, operations, _ = undisturbed()
    faults = thinned(lost_replies(operations), operations, most=1)
    assert rig.sweep(faults, operations, lose_node) == {}


@pytest.mark.parametrize("number", range(SHARDS))
def test_any_operation_on_a_node_may_fail(rig: Any, number: int) -> None:
    _, operations, _ = undisturbed()
    faults = thinned(failures(operations), operations, most=1)
    assert rig.sweep(shard(faults, number), operations, lose_node) == {}


# ------------------------------------------------------------------ going on in place


def of_waiting(faults: Sequence[Fault], operations: Sequence[Operation]) -> Sequence[Fault]:
    """Return the faults from where the trial that goes on reports for the first time."""
    claims = [n for n, operation in enumerate(operations) if operation.name.startswith("link")]
    begin = claims[-2] if claims else 0
    return [fault for fault in faults if fault.at >= begin]


def test_a_program_goes_on_in_place(rig: Any) -> None:
    study: CrashStudy = rig.make(seed=IN_PLACE)
    with study:
        study.live()
    last = study.cluster.starts[-1]
    begun = event_log.read(study.layout.events(last.attempt))[0]

    assert begun["continued"] is True
    assert (last.start, last.loaded) == (1, f"{last.attempt[:6]} 1")
    assert study.faults(undisturbed(IN_PLACE)[0]) == []


@pytest.mark.parametrize("number", range(SHARDS))
def test_a_node_may_be_lost_while_a_program_goes_on(rig: Any, number: int) -> None:
    _, operations, _ = undisturbed(IN_PLACE)
    faults = shard(of_waiting(deaths(operations), operations), number)
    assert rig.sweep(faults, operations, lose_node, seed=IN_PLACE) == {}


def test_a_program_may_die_while_it_goes_on(rig: Any) -> None:
    _, _, operations = undisturbed(IN_PLACE)
    assert rig.sweep(deaths(operations), operations, lose_program, seed=IN_PLACE) == {}


def test_any_operation_may_fail_while_a_program_goes_on(rig: Any) -> None:
    _, operations, _ = undisturbed(IN_PLACE)
    faults = thinned(of_waiting(failures(operations), operations), operations, most=1)
    assert rig.sweep(faults, operations, lose_node, seed=IN_PLACE) == {}


def test_what_a_node_did_may_be_told_as_failed_while_a_program_goes_on(rig: Any) -> None:
    _, operations, _ = undisturbed(IN_PLACE)
    faults = thinned(of_waiting(lost_replies(operations), operations), operations, most=1)
    assert rig.sweep(faults, operations, lose_node, seed=IN_PLACE) == {}


# ------------------------------------------------------------------ what the sweeps found


def program_dies(rig: Any, after: str) -> CrashStudy:
    """Let a program of the last rung die after the last operation of this name."""
    _, _, operations = undisturbed()
    at = max(n for n, operation in enumerate(operations) if operation.name == after)
    study: CrashStudy = rig.make()
    study.cluster.lonely_programs = True
    with study:
        study.live_with(Fault(at=at, kind=Kind.DIE_AFTER), in_program)
    return study


SAVE = "rename runs/crash/trials/TRIAL/checkpoints/CHECKPOINT"


def test_a_trial_that_died_at_its_end_goes_on_from_an_earlier_checkpoint(rig: Any) -> None:
    """What it saved last holds all that was asked for: nothing would be left to train."""
    study = program_dies(rig, SAVE)

    last = study.cluster.starts[-1]
    assert (last.attempt[6:], last.start, last.loaded[7:]) == (".r1.a2", 3, "3")
    assert study.reason == "done"


def test_a_trial_that_saves_before_it_reports_may_lose_its_node_in_between(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "train", save_first)
    with rig.make() as study:
        study.live()
    operations = study.operations(on_node)
    saves = [n for n, operation in enumerate(operations) if operation.name == SAVE]
    # Its slot tells of the checkpoint, and dies before it tells of anything else.
    told = next(
        n
        for n in range(saves[-1], len(operations))
        if operations[n].name == "sync runs/crash/trials/TRIAL/ATTEMPT/events.log"
    )

    again: CrashStudy = rig.make()
    with again:
        again.live_with(Fault(at=told, kind=Kind.DIE_AFTER), on_node)

    assert again.faults(study.outcomes()) == []
    assert again.cluster.starts[-1].start == 3


def save_first(environment: Any, starts: list[cluster.Start]) -> Iterator[None]:
    trial = Trial(environment, {})
    loaded = "" if trial.checkpoint is None else (trial.checkpoint / "state").read_text()
    starts.append(cluster.Start(trial.attempt, trial.start, loaded))
    yield
    for epoch in trial.steps():
        with trial.save() as folder:
            cluster._write(folder / "state", cluster.state(trial.id, epoch))
        for _ in range(10):
            yield
        trial.report(loss=cluster.loss(float(trial["q"]), epoch))
        yield


# ------------------------------------------------------------------ these tests can find something


def test_a_checkpoint_that_is_not_checked_is_found_out(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built in its final place, and believed."""
    _, operations, _ = undisturbed()

    def begin(layout: Any, trial: int, name: str) -> str:
        folder = layout.checkpoint(trial, name)
        fs.make_dir(folder)
        return str(folder)

    monkeypatch.setattr(checkpoint, "begin", begin)
    monkeypatch.setattr(checkpoint, "publish", lambda *_: True)
    monkeypatch.setattr(checkpoint, "verify", lambda _: True)
    assert rig.sweep(deaths(operations)[::9], operations, lose_node)

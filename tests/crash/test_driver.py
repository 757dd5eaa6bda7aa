"""A driver may die or fail at any of its file operations, and the next one goes on.

The study is launched for real, in one process, on real files (`slurmtune.testing.crash`); every
operation below its folder, and every call of the backend, goes wrong once.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EIO, ESTALE
from functools import cache
from typing import Any

import pytest

from slurmtune.core.actions import Action
from slurmtune.core.trial import TrialState
from slurmtune.driver.loop import Driver
from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.crash.plan import (
    deaths,
    failures,
    lost_replies,
    thinned,
    torn_writes,
)
from slurmtune.testing.crash.seam import Fault, Kind, Operation
from slurmtune.testing.crash.study import CrashStudy, Outcomes, scratch_folder

pytestmark = pytest.mark.slow

# One trial that nobody claimed yet is taken back, one that runs is told to leave.
STOPS = ((0.0, {"command": "stop", "trial": 1}), (0.3, {"command": "stop", "trial": 0}))
SHARDS = 3


@cache
def undisturbed(*, stops: bool = False) -> tuple[Outcomes, tuple[Operation, ...]]:
    """What comes of a study, and what its driver did, when nothing goes wrong."""
    with scratch_folder() as folder:
        with CrashStudy(folder, commands=STOPS if stops else ()) as study:
            study.live()
            operations = tuple(study.operations())
        return study.outcomes(), operations


def shard(faults: Sequence[Fault], number: int) -> Sequence[Fault]:
    return faults[number::SHARDS]


def live(study: CrashStudy, fault: Fault) -> list[str]:
    """Let a driver meet the fault and the next one go on."""
    reference, _ = undisturbed()
    with study:
        study.live(fault)
    return [*study.faults(reference), *study.lost_work(reference)]


def test_the_undisturbed_study_is_right(rig: Any) -> None:
    reference, operations = undisturbed()
    with rig.make() as study:
        study.live()

    assert study.faults(reference) == []
    assert study.lost_work(reference) == []
    assert reference.reason == "done"
    assert [state for state, _ in reference.trials.values()].count(TrialState.COMPLETED) == 1
    assert len(operations) > 300


def test_the_same_study_makes_the_same_operations(rig: Any) -> None:
    """Otherwise the n-th operation would mean another one in every run."""
    with rig.make() as study:
        study.live()

    _, operations = undisturbed()
    assert [o.name for o in study.operations()] == [o.name for o in operations]


# ------------------------------------------------------------------ one accident


@pytest.mark.parametrize("number", range(SHARDS))
def test_a_driver_may_die_at_any_operation(rig: Any, number: int) -> None:
    _, operations = undisturbed()
    assert rig.sweep(shard(deaths(operations), number), operations, live) == {}


@pytest.mark.parametrize("number", range(SHARDS))
def test_a_driver_may_die_and_be_away_while_slots_finish(rig: Any, number: int) -> None:
    _, operations = undisturbed()
    faults = thinned(deaths(operations), operations, most=1)
    assert rig.sweep(shard(faults, number), operations, live, away_seconds=40.0) == {}


@pytest.mark.parametrize("number", range(SHARDS))
def test_a_driver_may_die_within_any_write(rig: Any, number: int) -> None:
    _, operations = undisturbed()
    assert rig.sweep(shard(torn_writes(operations), number), operations, live) == {}


@pytest.mark.parametrize("number", range(SHARDS))
def test_what_was_done_may_be_told_as_failed(rig: Any, number: int) -> None:
    _, operations = undisturbed()
    faults = thinned(lost_replies(operations), operations, most=2)
    assert rig.sweep(shard(faults, number), operations, live) == {}


@pytest.mark.parametrize("number", range(SHARDS))
def test_any_operation_may_fail(rig: Any, number: int) -> None:
    """The driver tries again or ends with an error; the next one goes on."""
    _, operations = undisturbed()
    faults = thinned(failures(operations), operations, most=1)
    assert rig.sweep(shard(faults, number), operations, live) == {}


def test_every_operation_of_taking_back_and_stopping_may_be_the_last(rig: Any) -> None:
    reference, operations = undisturbed(stops=True)
    _, known = undisturbed()
    new = {operation.name for operation in operations} - {operation.name for operation in known}
    assert {name.split()[0] for name in new} >= {"link", "rename", "unlink"}
    faults = [
        fault
        for fault in (*deaths(operations), *torn_writes(operations), *lost_replies(operations))
        if operations[fault.at].name in new
    ]

    def stopped(study: CrashStudy, fault: Fault) -> list[str]:
        with study:
            study.live(fault)
        # Who is told to leave may be done already: only what cannot be is wrong.
        wrong = [line for line in study.faults(reference) if not line.startswith("other results")]
        states = {n: state for n, (state, _) in study.outcomes().trials.items()}
        if states[1] is not TrialState.STOPPED:
            wrong.append(f"trial 1 is {states[1]}")
        return wrong

    assert rig.sweep(faults, operations, stopped, commands=STOPS) == {}


# ------------------------------------------------------------------ two accidents


def second_life(rig: Any, first: Fault) -> list[Operation]:
    """What the driver after the first one does."""
    with rig.make() as study:
        study.live(first)
    found: list[Operation] = study.operations(life=1)
    return found


@pytest.mark.parametrize("part", range(6))
def test_the_second_driver_may_die_too(rig: Any, part: int) -> None:
    """At every operation of its opening, and of what it does first."""
    reference, operations = undisturbed()
    firsts = deaths(operations)
    first = firsts[(2 * part + 1) * len(firsts) // 12]
    again = second_life(rig, first)
    faults = [
        *deaths(again)[:60:2],
        *[fault for fault in torn_writes(again) if fault.part == 1][:10],
    ]

    def twice(study: CrashStudy, second: Fault) -> list[str]:
        with study:
            study.live(first, second)
        return [*study.faults(reference), *study.lost_work(reference)]

    assert rig.sweep(faults, again, twice) == {}


def test_what_only_a_second_driver_does_may_go_wrong(rig: Any) -> None:
    """Operations, by name, that a study without accidents never makes."""
    reference, operations = undisturbed()
    known = {operation.name for operation in operations}
    bad: dict[str, list[str]] = {}
    for first in deaths(operations)[::4]:
        again = second_life(rig, first)
        faults = []
        for at, operation in enumerate(again):
            if operation.name not in known:
                known.add(operation.name)
                faults += [Fault(at=at, kind=Kind.DIE)]
                faults += [Fault(at=at, kind=Kind.FAIL, error=e) for e in (EIO, ESTALE)]

        def twice(study: CrashStudy, second: Fault, first: Fault = first) -> list[str]:
            with study:
                study.live(first, second)
            return [*study.faults(reference), *study.lost_work(reference)]

        bad |= rig.sweep(faults, again, twice)
    assert bad == {}
    assert "read runs/crash/study.json" in known


# ------------------------------------------------------------------ an array twice


@pytest.mark.parametrize("kind", [Kind.DIE_AFTER, Kind.LOST])
def test_an_array_that_was_submitted_twice_runs_every_attempt_once(rig: Any, kind: Kind) -> None:
    _, operations = undisturbed()
    (at,) = [n for n, operation in enumerate(operations) if operation.verb == "submit"]

    def twice(study: CrashStudy, fault: Fault) -> list[str]:
        # Whoever looks for the array is told that there is none.
        study.cluster.denials = 1
        study.cluster.startup_seconds = 20.0
        wrong = live(study, fault)
        (token, *others) = study.cluster.submissions
        if others != [token]:
            wrong.append(f"submitted: {study.cluster.submissions}")
        return wrong

    assert rig.sweep([Fault(at=at, kind=kind, error=5)], operations, twice) == {}


# ------------------------------------------------------------------ these tests can find something


def test_a_driver_that_writes_only_at_the_end_is_found_out(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Driver._save

    def later(self: Driver) -> None:
        if self.study.finished:
            real(self)

    monkeypatch.setattr(Driver, "_save", later)
    assert found_out(rig)


def test_a_driver_that_repeats_nothing_is_found_out(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(self: object) -> list[Action]:
        del self
        return []

    monkeypatch.setattr("slurmtune.core.study.Study.open_actions", nothing)
    assert found_out(rig)


def test_a_manifest_written_in_place_is_found_out(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_place(layout: StudyLayout, identity: dict[str, Any]) -> None:
        del identity
        fs.write_new(layout.study, b'{"study_id": "00"}')

    monkeypatch.setattr("slurmtune.spec.launching._publish_identity", in_place)
    assert found_out(rig)


def found_out(rig: Any) -> bool:
    """Whether some death shows that the driver is wrong."""
    with scratch_folder() as folder:
        with CrashStudy(folder) as study:
            try:
                study.live()
            except Exception:  # noqa: BLE001 - wrong already when nothing happens
                return True
        operations = study.operations()
    return bool(rig.sweep(deaths(operations)[::3], operations, live))

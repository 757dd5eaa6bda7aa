"""Replaying a journal: every decision is checked, and what cannot be is told in words."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest

from slurmtune.core.actions import DropCheckpoints, Withdraw
from slurmtune.core.events import (
    AttemptEnded,
    CheckpointsDropped,
    Limits,
    StopRequested,
    StudyOpened,
)
from slurmtune.core.ports import Standing
from slurmtune.core.trial import Outcome
from slurmtune.core.verdict import Verdict, VerdictKind
from slurmtune.driver.recovery import record_of, replay
from slurmtune.errors import CorruptJournalError, ReplayError
from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.store import frame
from slurmtune.store.codec import decode_event
from slurmtune.testing.study_rig import METRIC, StudyRig

Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rig() -> StudyRig:
    rig = StudyRig(trials=9, slots=3, levels=(1, 3))
    rig.run()
    return rig


@pytest.fixture
def records(rig: StudyRig) -> Records:
    return copy.deepcopy(rig.stored_records())


def find(records: Records, kind: str) -> int:
    return next(number for number, record in enumerate(records) if record["e"]["t"] == kind)


def test_an_empty_journal_is_a_study_that_has_not_begun(rig: StudyRig) -> None:
    assert replay(rig.empty_study(), []) is None


def test_the_time_of_the_first_record_is_when_the_study_was_opened() -> None:
    study = StudyRig(trials=1, slots=1).empty_study()
    opened = StudyOpened(time=1234.5, spec_sha256="x", limits=Limits(trials=1))

    assert replay(study, [record_of(opened, ())]) == 1234.5


def test_the_collector_goes_on_after_a_replay_that_failed(rig: StudyRig, records: Records) -> None:
    with pytest.raises(ReplayError):
        replay(rig.empty_study(), [*records, *records[-1:] * 10_000])

    assert gc.isenabled()


def test_an_error_names_both_decisions(rig: StudyRig, records: Records) -> None:
    number = next(n for n, record in enumerate(records) if "Offer" in str(record.get("a")))
    offer = records[number]["a"][0]
    records[number]["a"][0] = "Withdraw t00000.r0.a1"

    with pytest.raises(ReplayError) as caught:
        replay(rig.empty_study(), records)

    assert f"record {number} (ConfigProposed)" in str(caught.value)
    assert "the journal says Withdraw t00000.r0.a1" in str(caught.value)
    assert f"but {offer}" in str(caught.value)


def test_a_decision_that_was_taken_out_is_noticed(rig: StudyRig, records: Records) -> None:
    number = next(n for n, record in enumerate(records) if "a" in record)
    del records[number]["a"]

    with pytest.raises(ReplayError, match=f"record {number} .* says nothing, but Propose t00000"):
        replay(rig.empty_study(), records)


def test_a_result_that_was_changed_is_noticed_when_it_changes_a_decision(
    rig: StudyRig, records: Records
) -> None:
    """The best trial of the first rung made the worst."""
    promoted = next(
        action.split()[1].partition(".")[0]
        for record in records
        for action in record.get("a", [])
        if action.startswith("Offer") and ".r1." in action
    )
    for record in records:
        event = record["e"]
        if event["t"] == "AttemptReported" and event["attempt"].startswith(promoted):
            event["metrics"][METRIC] = 1e9

    with pytest.raises(ReplayError, match="follows from the records before it"):
        replay(rig.empty_study(), records)


@pytest.mark.parametrize("kind", ["ConfigProposed", "ArrayIntended", "CapacityChanged"])
def test_a_record_that_was_taken_out_is_noticed(
    rig: StudyRig, records: Records, kind: str
) -> None:
    del records[find(records, kind)]

    with pytest.raises((ReplayError, CorruptJournalError)):
        replay(rig.empty_study(), records)


@pytest.mark.parametrize("kind", ["ConfigProposed", "AttemptReported", "AttemptEnded"])
def test_a_record_that_stands_there_twice_is_noticed(
    rig: StudyRig, records: Records, kind: str
) -> None:
    number = find(records, kind)
    records.insert(number + 1, {"e": records[number]["e"]})

    with pytest.raises(ReplayError, match=f"record {number + 1} .{kind}. changes nothing"):
        replay(rig.empty_study(), records)


def test_a_record_of_another_study_cannot_be(rig: StudyRig, records: Records) -> None:
    number = find(records, "AttemptClaimed")
    records[number]["e"]["attempt"] = "t00077.r0.a1"

    with pytest.raises(ReplayError, match=r"cannot be: attempt t00077\.r0\.a1 is not known"):
        replay(rig.empty_study(), records)


@pytest.mark.parametrize(
    "damage",
    [
        {},
        {"e": None},
        {"e": ["StudyOpened"]},
        {"e": {"t": "StudyOpened", "time": 0}, "a": "Propose t00000"},
        {"e": {"t": "AttemptClaimed", "time": 0, "attempt": 7, "slot": "st-1.0.0"}},
        {"e": {"t": "AttemptQueued", "time": 0, "attempt": "no attempt"}},
        {"e": {"t": "CapacityChanged", "time": 0, "attempts": "many"}},
    ],
)
def test_a_damaged_record_is_told_with_its_number(
    rig: StudyRig, records: Records, damage: dict[str, Any]
) -> None:
    records.insert(3, damage)

    with pytest.raises(CorruptJournalError, match=r"record|journal"):
        replay(rig.empty_study(), records)


def test_another_seed_or_ladder_is_noticed(records: Records) -> None:
    other = StudyRig(trials=9, slots=3, levels=(1, 9))

    with pytest.raises(ReplayError):
        replay(other.empty_study(), records)


def test_a_record_of_thousands_of_actions_fits_into_a_frame() -> None:
    """A study that is stopped takes all its offers back at once."""
    actions = [Withdraw(attempt=f"t{number:05d}.r0.a1") for number in range(5000)]
    record = record_of(StopRequested(time=0.0, trial=None), actions)

    assert frame.parse(frame.encode(record)).records == [record]


def test_thousands_of_actions_are_still_compared() -> None:
    actions = [Withdraw(attempt=f"t{number:05d}.r0.a1") for number in range(5000)]
    others = [*actions[:-1], Withdraw(attempt="t00000.r1.a1")]
    event = StopRequested(time=0.0, trial=None)

    assert record_of(event, actions) == record_of(event, list(actions))
    assert record_of(event, actions) != record_of(event, others)


def test_a_study_with_thousands_of_offers_can_be_stopped_and_replayed() -> None:
    rig = StudyRig(trials=4000, slots=3000, levels=(1, 3), model={"max_live_slots": 2})
    driver = rig.new_driver()
    driver.open(rig.limits, "rig")
    driver.feed([StopRequested(time=0.0, trial=None)])

    replay(rig.empty_study(), rig.stored_records())

    assert len(rig.study.trials) == 3000
    assert rig.study.finished == "stopped"


# ------------------------------------------------------------------ many verdicts at once


def judged(count: int, **more: Any) -> list[Verdict]:
    """Return the promotions at the end of a stage."""
    standing = Standing(rule="the best 1/3 of the stage go on", size=3 * count, place=1, places=9)
    fields: dict[str, Any] = {"kind": VerdictKind.PROMOTED, "rung": 0, "loss": 1 / 3}
    return [
        Verdict(trial=number, standing=standing, **{**fields, **more}) for number in range(count)
    ]


def full_event() -> AttemptEnded:
    """Return an event as large as workers may make it."""
    return AttemptEnded(
        time=0.0,
        attempt="t00000.r0.a1",
        seq=1,
        outcome=Outcome.FAILED,
        seconds=1.0,
        cause="\U0001f4a5" * 1000,
        tail=("\U0001f4a5" * 90,) * 30,
    )


@pytest.mark.parametrize("count", [1, 100, 1000, 5000])
def test_a_record_of_thousands_of_verdicts_fits_into_a_frame(count: int) -> None:
    offers = [Withdraw(attempt=f"t{number:05d}.r0.a1") for number in range(count)]
    record = record_of(full_event(), offers, judged(count))

    assert frame.parse(frame.encode(record)).records == [record]


def test_a_verdict_of_many_words_fits_into_a_frame() -> None:
    record = record_of(full_event(), (), judged(3, note="\U0001f4a5" * 9000))

    assert frame.parse(frame.encode(record)).records == [record]


def test_verdicts_that_fit_are_all_recorded() -> None:
    event = StopRequested(time=0.0, trial=None)

    assert len(record_of(event, (), judged(100))["v"]) == 100


def test_thousands_of_verdicts_are_still_compared() -> None:
    event = StopRequested(time=0.0, trial=None)
    verdicts = judged(5000)
    others = [*verdicts[:-1], verdicts[0]]

    assert record_of(event, (), verdicts) == record_of(event, (), list(verdicts))
    assert record_of(event, (), verdicts) != record_of(event, (), others)


@pytest.fixture(scope="module")
def halving() -> StudyRig:
    """A study whose first stage ends with more promotions than a record can hold."""
    rig = StudyRig(
        trials=1200,
        slots=400,
        levels=(1, 3),
        scheduler=lambda: SuccessiveHalving((1, 3), 3, 1200),
    )
    rig.run()
    return rig


def test_the_end_of_a_large_stage_can_be_recorded_and_replayed(halving: StudyRig) -> None:
    records = halving.stored_records()

    replay(halving.empty_study(), records)

    assert all(len(frame.encode(record)) <= frame.MAX_FRAME_BYTES for record in records)
    assert any("digest" in record.get("v", [{}])[-1] for record in records)


def test_a_large_stage_of_a_study_without_removals_is_still_replayed(halving: StudyRig) -> None:
    """As an older slurmtune recorded it: without verdicts, and no checkpoint was removed."""
    records = []
    study = halving.empty_study()
    for record in halving.stored_records():
        event = decode_event(record["e"])
        actions = study.handle(event) or ()
        if not isinstance(event, CheckpointsDropped):
            kept = [action for action in actions if not isinstance(action, DropCheckpoints)]
            records.append(record_of(event, kept))

    replay(halving.empty_study(), records)

    assert any(record.get("a", [""])[-1].startswith("and ") for record in records)

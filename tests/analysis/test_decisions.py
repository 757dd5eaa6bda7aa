"""The story of a trial and the ledger of a study, read off journals of simulated studies."""

from __future__ import annotations

import pytest

from slurmtune.analysis.decisions import EntryKind, ledger, story
from slurmtune.core.verdict import VerdictKind
from slurmtune.errors import ReplayError, StudyNotFoundError
from slurmtune.schedulers.median import MedianRule
from slurmtune.schedulers.pbt import Pbt
from slurmtune.testing.curves import PowerLawCurves
from slurmtune.testing.study_rig import StudyRig

KINDS = {
    "PROMOTED": VerdictKind.PROMOTED,
    "PAUSED": VerdictKind.PAUSED,
    "COMPLETED": VerdictKind.COMPLETED,
}


@pytest.fixture(scope="module")
def rig() -> StudyRig:
    rig = StudyRig(trials=12, slots=3, levels=(1, 3, 9))
    assert rig.run() == "done"
    return rig


def test_the_rulings_are_the_verdicts_of_the_journal(rig: StudyRig) -> None:
    told = story(rig.empty_study(), rig.stored_records(), 0)

    recorded = [
        KINDS[verdict["kind"]]
        for record in rig.stored_records()
        for verdict in record.get("v", ())
        if verdict["trial"] == 0
    ]
    assert [ruling.verdict.kind for ruling in told.rulings] == recorded


def test_what_was_compared_is_the_rung_of_that_moment(rig: StudyRig) -> None:
    for number in range(12):
        for ruling in story(rig.empty_study(), rig.stored_records(), number).rulings:
            standing = ruling.verdict.standing
            assert standing is not None
            assert len(ruling.compared) == standing.size
            assert standing.place is not None
            assert ruling.compared[standing.place].trial == number


def test_the_cutoff_is_the_value_of_the_last_that_may_go_on(rig: StudyRig) -> None:
    told = story(rig.empty_study(), rig.stored_records(), 0)

    promoted = next(r for r in told.rulings if r.verdict.kind is VerdictKind.PROMOTED)
    assert promoted.verdict.standing is not None
    assert promoted.cutoff == promoted.compared[promoted.verdict.standing.places - 1].value


def test_a_promotion_names_the_resource_that_it_leads_to(rig: StudyRig) -> None:
    told = story(rig.empty_study(), rig.stored_records(), 0)

    promotions = [r for r in told.rulings if r.verdict.kind is VerdictKind.PROMOTED]
    assert [(r.resource, r.next_resource) for r in promotions] == [(1, 3), (3, 9)]


def test_a_paused_trial_has_a_prospect_with_the_rung_as_it_is_now(rig: StudyRig) -> None:
    told = story(rig.empty_study(), rig.stored_records(), 1)

    assert told.prospect is not None
    assert told.prospect.standing is not None
    assert len(told.prospect.compared) == told.prospect.standing.size == 12


def test_a_completed_trial_has_no_prospect(rig: StudyRig) -> None:
    assert story(rig.empty_study(), rig.stored_records(), 0).prospect is None


def test_the_story_of_a_trial_that_is_not_there(rig: StudyRig) -> None:
    with pytest.raises(StudyNotFoundError, match="no trial 12: the study has 12 trials"):
        story(rig.empty_study(), rig.stored_records(), 12)


def test_a_story_is_not_told_of_a_journal_that_does_not_follow(rig: StudyRig) -> None:
    records = rig.stored_records()
    wrong = next(record for record in records if record.get("a"))
    wrong["a"] = ["Propose t00099"]

    with pytest.raises(ReplayError):
        story(rig.empty_study(), records, 0)


def test_the_ledger_starts_every_trial_once_and_ends(rig: StudyRig) -> None:
    entries = ledger(rig.empty_study(), rig.stored_records())

    started = [entry.trial for entry in entries if entry.kind is EntryKind.STARTED]
    assert started == list(range(12))
    assert entries[0].kind is EntryKind.OPENED
    assert (entries[-1].kind, entries[-1].detail) == (EntryKind.FINISHED, "done")


def test_the_ledger_holds_every_verdict(rig: StudyRig) -> None:
    entries = ledger(rig.empty_study(), rig.stored_records())

    recorded = [v["kind"] for r in rig.stored_records() for v in r.get("v", ())]
    assert [e.kind.value for e in entries if isinstance(e.kind, VerdictKind)] == recorded


def test_the_ledger_of_one_trial_is_part_of_the_whole(rig: StudyRig) -> None:
    whole = ledger(rig.empty_study(), rig.stored_records())

    assert ledger(rig.empty_study(), rig.stored_records(), 3) == [
        entry for entry in whole if entry.trial == 3
    ]


def test_the_ledger_of_an_older_version_is_made_from_what_follows(rig: StudyRig) -> None:
    records = rig.stored_records()
    for record in records:
        record.pop("v", None)

    assert ledger(rig.empty_study(), records) == ledger(rig.empty_study(), rig.stored_records())


def test_an_attempt_that_is_repeated_stands_in_the_ledger() -> None:
    rig = StudyRig(trials=12, slots=3, levels=(1, 3, 9), model={"preemptions_per_hour": 20.0})
    rig.run()

    entries = ledger(rig.empty_study(), rig.stored_records())

    again = {entry.detail for entry in entries if entry.kind is EntryKind.REPEATED}
    offered = {e["attempt"] for e in rig.recorded("AttemptQueued")}
    assert again == {attempt for attempt in offered if not attempt.endswith(".a1")}
    assert again


def test_an_heir_tells_whom_it_continues() -> None:
    rig = StudyRig(
        trials=30,
        slots=4,
        scheduler=lambda: Pbt((1, 2, 3), 6, quantile=0.34, min_ready=1.0, seed=0),
        program=PowerLawCurves(),
    )
    rig.run()
    study = rig.empty_study()
    story(study, rig.stored_records(), 0)
    heir = next(trial for trial in study.trials if trial.source is not None)

    told = story(rig.empty_study(), rig.stored_records(), heir.number)

    assert told.asked.parents == (heir.source,)
    assert told.asked.rung == heir.first_rung


def test_a_trial_that_was_stopped_between_rungs_tells_how_far_it_was() -> None:
    rig = StudyRig(
        trials=12,
        slots=2,
        scheduler=lambda: MedianRule(9, grace=2, min_trials=3),
        program=PowerLawCurves(),
    )
    rig.run()
    entries = ledger(rig.empty_study(), rig.stored_records())

    reached = {
        entry.ruling.resource
        for entry in entries
        if entry.kind is VerdictKind.STOPPED and entry.ruling is not None
    }
    assert reached
    assert max(float(resource or 0) for resource in reached) < 9


@pytest.fixture(scope="module")
def late() -> StudyRig:
    """Trials end before a request to stop can reach them."""
    rig = StudyRig(
        trials=12,
        slots=2,
        scheduler=lambda: MedianRule(9, grace=2, min_trials=3),
        program=PowerLawCurves(seconds=4.0),
        model={"visibility_delay_seconds": 20.0},
    )
    rig.run()
    return rig


def test_a_stop_that_came_too_late_is_known_as_such(late: StudyRig) -> None:
    rulings = [e.ruling for e in ledger(late.empty_study(), late.stored_records()) if e.ruling]
    stopped = {r.verdict.trial for r in rulings if r.verdict.kind is VerdictKind.STOPPED}

    assert stopped
    for trial in stopped:
        told = story(late.empty_study(), late.stored_records(), trial or 0).rulings
        assert [(r.verdict.kind, r.is_late) for r in told] == [
            (VerdictKind.STOPPED, True),
            (VerdictKind.COMPLETED, True),
        ]
    assert {r.verdict.trial for r in rulings if r.is_late} == stopped


def test_a_stop_in_time_is_not_late() -> None:
    rig = StudyRig(trials=12, slots=2, scheduler=lambda: MedianRule(9, grace=2, min_trials=3))
    rig.run()
    entries = ledger(rig.empty_study(), rig.stored_records())

    assert any(entry.kind is VerdictKind.STOPPED for entry in entries)
    assert not any(entry.ruling.is_late for entry in entries if entry.ruling is not None)

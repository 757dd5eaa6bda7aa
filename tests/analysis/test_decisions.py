"""The story of a trial and the ledger of a study, read off journals of simulated studies."""

from __future__ import annotations

from typing import Any

import pytest

from slurmtune.analysis import decisions
from slurmtune.analysis.decisions import EntryKind, ledger, story
from slurmtune.core.objective import Goal, Objective
from slurmtune.core.ports import Standing
from slurmtune.core.study import Study, StudySettings
from slurmtune.core.verdict import Verdict, VerdictKind
from slurmtune.errors import ReplayError, StudyNotFoundError
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.dehb import Dehb
from slurmtune.schedulers.median import MedianRule
from slurmtune.schedulers.pbt import Pbt
from slurmtune.testing.curves import CrashRegion, PowerLawCurves, Region
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


def test_a_stop_that_came_too_late_is_not_held_against_what_was_seen_before(
    late: StudyRig,
) -> None:
    """What the trial reached in the end was compared with nobody."""
    entries = ledger(late.empty_study(), late.stored_records())
    number = next(e.trial for e in entries if e.kind is VerdictKind.STOPPED)
    stop, end = story(late.empty_study(), late.stored_records(), number or 0).rulings

    assert stop.verdict.standing is not None
    assert len(stop.compared) == stop.verdict.standing.size
    assert end.compared == ()


# ---------------------------------------------------------------- trials that run through rungs


def stopping(**options: Any) -> StudyRig:
    rig = StudyRig(trials=12, slots=3, scheduler=lambda: AshaStopping((1, 3, 9), 3), **options)
    rig.run()
    return rig


@pytest.fixture(scope="module")
def running_on() -> StudyRig:
    return stopping()


@pytest.fixture(scope="module")
def overrunning() -> StudyRig:
    """Programs come to their end before they can be stopped."""
    return stopping(program=PowerLawCurves(seconds=4.0), model={"visibility_delay_seconds": 20.0})


def test_a_trial_that_runs_on_is_judged_at_every_rung(running_on: StudyRig) -> None:
    told = story(running_on.empty_study(), running_on.stored_records(), 0)

    assert [(one.verdict.kind, one.resource) for one in told.rulings] == [
        (VerdictKind.RUNS_ON, 1),
        (VerdictKind.RUNS_ON, 3),
        (VerdictKind.COMPLETED, 9),
    ]


def test_every_arrival_is_told_as_the_rung_was_then(running_on: StudyRig) -> None:
    """By hand: of n that came so far the best ``max(1, n // 3)`` run on, the others stop."""
    judged = (VerdictKind.RUNS_ON, VerdictKind.STOPPED)
    arrived = dict.fromkeys((0, 1), 0)
    records = running_on.stored_records()
    for entry in ledger(running_on.empty_study(), records):
        if entry.ruling is None or entry.kind not in judged:
            continue
        told = story(running_on.empty_study(), records, entry.trial or 0).rulings
        one = next(r for r in told if r.record == entry.record)
        arrived[one.verdict.rung] += 1
        values = [rival.value for rival in one.compared]
        places = max(1, len(values) // 3)
        assert len(values) == arrived[one.verdict.rung]
        assert values == sorted(values, key=lambda value: value or 0.0)
        assert one.cutoff == values[places - 1]
        assert (values.index(one.value) < places) == (entry.kind is VerdictKind.RUNS_ON)
    assert arrived == {0: 12, 1: 4}


def test_those_that_run_on_count_as_promoted(running_on: StudyRig) -> None:
    counts = running_on.study.results.rungs

    assert [(counts[rung].done, counts[rung].promoted) for rung in range(3)] == [
        (12, 4),
        (4, 2),
        (2, 0),
    ]


def test_who_overruns_its_stop_is_in_no_rung_above(overrunning: StudyRig) -> None:
    counts = overrunning.study.results.rungs
    late = [trial for trial in overrunning.study.trials if trial.stopped_rung is not None]

    assert len(late) == 10
    assert [counts[rung].done for rung in range(3)] == [12, 4, 2]
    assert all(trial.values[2] is not None for trial in late)


def test_a_failure_on_the_way_is_one_at_the_first_rung_that_was_not_passed() -> None:
    crashing = CrashRegion(
        program=PowerLawCurves(), region=Region({"x1": (-5.0, 10.0)}), from_resource=2
    )
    rig = stopping(program=crashing)
    failures = [
        entry.ruling
        for entry in ledger(rig.empty_study(), rig.stored_records())
        if entry.kind is VerdictKind.FAILED and entry.ruling is not None
    ]

    assert failures
    for one in failures:
        assert (one.resource, one.measured) == (3, 1)
        assert one.verdict.standing is not None
    assert rig.study.results.rungs[1].failed == len(failures)


def test_a_rung_that_is_passed_by_tells_where_it_was_judged() -> None:
    rig = StudyRig(
        trials=3,
        slots=1,
        scheduler=lambda: AshaStopping((0.5, 2.5, 9), 3),
    )
    rig.run()
    told = story(rig.empty_study(), rig.stored_records(), 0).rulings

    assert [(one.resource, one.measured) for one in told] == [(0.5, 1), (2.5, 3), (9, None)]


# ---------------------------------------------------------------- populations


def test_a_story_of_dehb_can_be_checked_by_hand() -> None:
    """The best of those that were looked at go on; offspring are held against one target."""
    rig = StudyRig(trials=30, slots=3, scheduler=lambda: Dehb((1, 3, 9), 3, seed=0))
    rig.run()
    kinds = set()
    for number in range(30):
        for one in story(rig.empty_study(), rig.stored_records(), number).rulings:
            standing = one.verdict.standing
            values = [rival.value for rival in one.compared]
            assert standing is not None
            assert standing.size in {0, len(values)}
            if one.verdict.kind is VerdictKind.PROMOTED:
                assert standing.rule.startswith("the best of the rung's population go on")
                assert one.value in values[: standing.places]
                assert one.cutoff == values[standing.places - 1]
                kinds.add("promoted")
            elif standing.rule.startswith("it takes the place of t"):
                holder = next(r for r in one.compared if r.trial != number)
                assert f"t{holder.trial:05d}" in standing.rule
                assert one.cutoff == holder.value
                assert (values[0] == one.value) == (holder.value >= one.value)  # type: ignore[operator]
                kinds.add("offspring")
    assert kinds == {"promoted", "offspring"}


# ---------------------------------------------------------------- values, not losses


@pytest.mark.parametrize(
    ("goal", "told"),
    [
        (Goal.MINIMIZE, "mean acc -0.915, best acc -0.985, p = 0.01; without a finite acc"),
        (Goal.MAXIMIZE, "mean acc 0.915, best acc 0.985, p = 0.01; without a finite acc"),
    ],
)
def test_the_words_of_a_scheduler_tell_values(goal: Goal, told: str) -> None:
    words = "mean loss -0.915, best loss -0.985, p = 0.01; without a finite loss"
    verdict = Verdict(
        kind=VerdictKind.RUNG_DOUBTED,
        rung=0,
        standing=Standing(rule=words, size=2, place=0, places=1, best=-0.5, outlook=words),
    )
    study = Study(StudySettings(seed=0, objective=Objective("acc", goal)), Asha((1, 3), 3))

    one = decisions.ruling(study, 0, 0.0, verdict)

    assert one.verdict.standing is not None
    assert (one.verdict.standing.rule, one.verdict.standing.outlook) == (told, told)
    assert one.best == (0.5 if goal is Goal.MAXIMIZE else -0.5)

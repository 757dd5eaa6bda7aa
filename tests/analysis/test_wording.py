"""Verdicts in the user's own metric: never a loss, never a number that hides a difference."""

from __future__ import annotations

from typing import Any

import pytest

from slurmtune.analysis.decisions import Entry, EntryKind, Prospect, Ruling
from slurmtune.analysis.wording import Wording, numbers
from slurmtune.core.objective import Goal, Objective
from slurmtune.core.ports import Standing
from slurmtune.core.verdict import Verdict, VerdictKind

RULE = "the best 1/3 of the rung go on"
HIGHER = Wording(Objective("acc", Goal.MAXIMIZE), "epoch", "epochs")
LOWER = Wording(Objective("loss"), "epoch", "epochs")
PLAIN = Wording(Objective("loss"))


def standing(**changes: Any) -> Standing:
    return Standing(**{"rule": RULE, "size": 9, "place": 1, "places": 3, **changes})


def ruling(kind: VerdictKind, **changes: Any) -> Ruling:
    fields: dict[str, Any] = {
        "record": 0,
        "time": 0.0,
        "verdict": Verdict(kind=kind, trial=4, rung=0, standing=standing()),
        "resource": 1,
        "next_rung": 1,
        "next_resource": 3,
        "value": 0.8,
        "cutoff": 0.75,
    }
    return Ruling(**{**fields, **changes})


def test_an_amount_has_all_its_digits() -> None:
    assert HIGHER.amount(1_158_000, 2) == "1158000 epochs"
    assert HIGHER.amount(0.5, 0) == "0.5 epochs"


def test_a_promotion_of_a_maximised_metric() -> None:
    assert HIGHER.ruling(ruling(VerdictKind.PROMOTED)) == (
        "promoted to 3 epochs: acc 0.8, 2nd of 9; "
        "the best 1/3 of the rung go on: 3 places, acc at least 0.75"
    )


def test_a_pause_of_a_minimised_metric_tells_what_was_needed_and_what_must_come() -> None:
    seen = standing(place=4, places=1, outlook="goes on when 15 have finished the rung")
    verdict = Verdict(kind=VerdictKind.PAUSED, trial=4, rung=0, standing=seen)

    assert LOWER.ruling(ruling(VerdictKind.PAUSED, verdict=verdict)) == (
        "paused at 1 epoch: loss 0.8, 5th of 9; the best 1/3 of the rung go on: 1 place, "
        "loss at most 0.75; goes on when 15 have finished the rung"
    )


def test_a_rung_without_a_place_yet() -> None:
    verdict = Verdict(kind=VerdictKind.PAUSED, trial=4, rung=0, standing=standing(places=0))

    assert "go on: no place yet" in LOWER.ruling(
        ruling(VerdictKind.PAUSED, verdict=verdict, cutoff=None)
    )


def test_a_verdict_without_a_standing_says_what_happened() -> None:
    verdict = Verdict(kind=VerdictKind.STOPPED, trial=4, rung=1, note="stopped by the user")

    assert PLAIN.ruling(ruling(VerdictKind.STOPPED, verdict=verdict, value=None, cutoff=None)) == (
        "stopped at rung 1: stopped by the user"
    )


def test_a_failed_trial_is_ranked_last() -> None:
    seen = standing(place=None, size=4)
    verdict = Verdict(kind=VerdictKind.FAILED, trial=4, rung=0, standing=seen, note="killed")

    words = LOWER.ruling(ruling(VerdictKind.FAILED, verdict=verdict, value=None, cutoff=None))

    assert words.startswith("failed at 1 epoch: no finite result, so ranked last of 4; ")
    assert words.endswith("; killed")


def test_a_trial_that_nobody_was_compared_with_has_no_place() -> None:
    seen = standing(place=None, size=0, places=0, rule="the median rule")
    verdict = Verdict(kind=VerdictKind.COMPLETED, trial=4, rung=0, standing=seen)

    assert LOWER.ruling(ruling(VerdictKind.COMPLETED, verdict=verdict, cutoff=None)) == (
        "completed at 1 epoch: loss 0.8; the median rule"
    )


def test_a_trial_that_is_not_counted_among_the_others_may_be_behind_all() -> None:
    verdict = Verdict(kind=VerdictKind.STOPPED, trial=4, rung=0, standing=standing(place=9))

    assert "10th of 10" in LOWER.ruling(ruling(VerdictKind.STOPPED, verdict=verdict))


def test_a_verdict_on_a_rung() -> None:
    verdict = Verdict(kind=VerdictKind.RUNG_DROPPED, rung=1, note="it says nothing")

    assert LOWER.ruling(ruling(VerdictKind.RUNG_DROPPED, verdict=verdict)) == (
        "rung 1 dropped: no trial is compared there any more: it says nothing"
    )


@pytest.mark.parametrize("kind", VerdictKind)
def test_every_verdict_has_words(kind: VerdictKind) -> None:
    assert len(LOWER.ruling(ruling(kind))) > 10


@pytest.mark.parametrize("kind", EntryKind)
def test_every_entry_has_words(kind: EntryKind) -> None:
    assert LOWER.entry(Entry(record=0, time=0.0, kind=kind, detail="t00001.r0.a2"))


def test_a_prospect_tells_place_and_outlook() -> None:
    now = Prospect(
        rung=0,
        resource=1,
        standing=standing(place=4, outlook="waits"),
        cutoff=0.75,
        compared=(),
    )

    assert HIGHER.prospect(now, 0.7) == (
        "paused at 1 epoch: 5th of 9; the best 1/3 of the rung go on: 3 places, "
        "acc at least 0.75; waits"
    )


def test_a_scheduler_without_standings_has_a_prospect_without_why() -> None:
    now = Prospect(rung=0, resource=1, standing=None, cutoff=None, compared=())

    assert HIGHER.prospect(now, 0.7) == (
        "paused at 1 epoch; its scheduler does not tell how it stands"
    )


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.5, None], ["0.5", "-"]),
        ([0.123456789, 0.2], ["0.1235", "0.2"]),
        ([0.41211, 0.41212], ["0.41211", "0.41212"]),
        ([1 / 3, 1 / 3], ["0.3333", "0.3333"]),
        ([0.1, 0.1 + 2**-56], ["0.10000000000000001", "0.10000000000000002"]),
        ([], []),
    ],
)
def test_numbers_that_differ_look_different(values: list[float | None], texts: list[str]) -> None:
    assert numbers(values) == texts


def test_a_stop_that_came_too_late_does_not_say_that_the_trial_stopped() -> None:
    late = [
        ruling(
            kind,
            is_late=True,
            resource=resource,
            verdict=Verdict(
                kind=kind, trial=4, rung=0, standing=standing(outlook="never: it was stopped")
            ),
        )
        for kind, resource in ((VerdictKind.STOPPED, 3), (VerdictKind.COMPLETED, 9))
    ]

    stop, end = map(HIGHER.ruling, late)

    assert stop.startswith("told to stop at 3 epochs: acc 0.8, 2nd of 9; ")
    assert "never" not in stop
    assert end == "had finished before it could, at 9 epochs: acc 0.8"


@pytest.mark.parametrize(
    ("wording", "told"),
    [
        (LOWER, "as at the same epoch; told so at 1 epoch, not at 2.5 epochs"),
        (PLAIN, "as at the same resource; told so at resource 1, not at resource 2.5"),
    ],
)
def test_the_resource_is_called_by_its_name(wording: Wording, told: str) -> None:
    seen = standing(
        rule="as at the same resource",
        places=0,
        outlook="told so at resource 1, not at resource 2.5",
    )
    verdict = Verdict(kind=VerdictKind.STOPPED, trial=4, rung=0, standing=seen)

    words = wording.ruling(ruling(VerdictKind.STOPPED, verdict=verdict, cutoff=None))

    assert words.endswith(told)


def test_a_trial_that_runs_on() -> None:
    seen = standing(rule="on arrival the best 1/3 of the rung run on, at least one")
    verdict = Verdict(kind=VerdictKind.RUNS_ON, trial=4, rung=0, standing=seen)

    assert LOWER.ruling(ruling(VerdictKind.RUNS_ON, verdict=verdict, cutoff=0.8)) == (
        "runs on at 1 epoch: loss 0.8, 2nd of 9; on arrival the best 1/3 of the rung run on, "
        "at least one: 3 places, loss at most 0.8"
    )


def test_a_rung_that_was_passed_by() -> None:
    words = LOWER.ruling(ruling(VerdictKind.RUNS_ON, measured=2))

    assert words.startswith("runs on at 1 epoch (reported at 2 epochs): loss 0.8, 2nd of 9; ")


def test_a_failure_tells_how_far_the_trial_came() -> None:
    words = LOWER.ruling(ruling(VerdictKind.FAILED, resource=3, measured=2, value=None))

    assert words.startswith("failed after 2 epochs, on its way to 3 epochs: ")


def test_a_trial_may_be_ranked_by_another_value_than_its_last() -> None:
    words = LOWER.ruling(ruling(VerdictKind.STOPPED, best=0.7))

    assert words.startswith("stopped at 1 epoch: loss 0.8, by 0.7 2nd of 9; ")


def test_who_lost_to_one_does_not_wait_for_a_place() -> None:
    seen = standing(size=2, places=0, cutoff=0.75, rule="it takes the place of t00001")
    verdict = Verdict(kind=VerdictKind.PAUSED, trial=4, rung=0, standing=seen)

    assert LOWER.ruling(ruling(VerdictKind.PAUSED, verdict=verdict)).endswith(
        "it takes the place of t00001: loss at most 0.75"
    )


def test_who_never_goes_on_does_not_wait_for_a_place() -> None:
    seen = standing(places=0, outlook="never: t00001 holds its place")
    verdict = Verdict(kind=VerdictKind.PAUSED, trial=4, rung=0, standing=seen)

    assert "no place yet" not in LOWER.ruling(
        ruling(VerdictKind.PAUSED, verdict=verdict, cutoff=None)
    )

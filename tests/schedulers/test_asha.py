"""ASHA's promotion variant: the published rule, worked traces, ties, failures and cost."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings

from slurmtune.core.events import Resource
from slurmtune.core.objective import Goal, Objective
from slurmtune.core.ports import Promote, Scheduler, Standing, StartTrial
from slurmtune.schedulers.asha import Asha
from slurmtune.testing.scheduler_contract import (
    MOVES,
    Execution,
    Move,
    SchedulerContract,
    Walk,
    execute,
)

WORKED = [5, 3, 8, 1, 9, 2, 7, 4, 6, 12, 0.5, 10, 11, 13, 1.5, *range(14, 26)]
"""Losses of c1 to c27."""


class TestAshaContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return Asha((1, 3, 9), 3)


class TestAshaWithFactorTwoContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return Asha((0.5, 1.0, 2.0, 4.0, 10.0), 2)


class TestAshaWithOneRungContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return Asha((9,), 3)


def run(
    losses: Sequence[float | None], *, workers: int, levels: Sequence[Resource] = (1, 3, 9)
) -> Execution:
    return execute(
        Asha(levels, 3),
        lambda trial, rung: losses[trial],
        workers=workers,
        trials=len(losses),
    )


def trace(execution: Execution) -> str:
    """Write starts as in the worked examples: ``3:c2@1``."""
    return " ".join(
        f"{start.time:g}:c{start.trial + 1}@{start.rung}" for start in execution.starts
    )


def rungs(execution: Execution, count: int) -> list[set[int]]:
    return [{trial + 1 for trial in execution.trials_at(rung)} for rung in range(count)]


def with_rung(losses: Sequence[float | None], *, factor: int = 3) -> tuple[Asha, list[int]]:
    """Return a scheduler with these results at rung 0, and its promotions, in order."""
    scheduler = Asha((1, factor), factor)
    for trial, loss in enumerate(losses):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, loss)
    promotions = []
    while (decision := scheduler.decide(may_start=False)) is not None:
        assert isinstance(decision, Promote)
        promotions.append(decision.trial)
    return scheduler, promotions


def test_trace_of_one_worker() -> None:
    execution = run(WORKED[:9], workers=1)

    assert trace(execution) == (
        "0:c1@0 1:c2@0 2:c3@0 3:c2@1 5:c4@0 6:c4@1 8:c5@0 9:c6@0 10:c6@1 12:c4@2 18:c7@0 19:c8@0 "
        "20:c9@0"
    )
    assert execution.end == 21
    assert rungs(execution, 3) == [set(range(1, 10)), {2, 4, 6}, {4}]


def test_trace_of_two_workers() -> None:
    execution = run(WORKED[:9], workers=2)

    assert trace(execution) == (
        "0:c1@0 0:c2@0 1:c3@0 1:c4@0 2:c4@1 2:c5@0 3:c6@0 4:c6@1 4:c7@0 5:c8@0 6:c9@0 7:c2@1 "
        "9:c4@2"
    )
    assert execution.end == 15


def test_trace_of_three_workers() -> None:
    execution = run(WORKED[:9], workers=3)

    assert trace(execution) == (
        "0:c1@0 0:c2@0 0:c3@0 1:c2@1 1:c4@0 1:c5@0 2:c4@1 2:c6@0 3:c6@1 3:c7@0 4:c8@0 4:c9@0 "
        "5:c4@2"
    )
    assert execution.end == 11


def test_trace_of_four_workers() -> None:
    execution = run(WORKED[:9], workers=4)

    assert trace(execution) == (
        "0:c1@0 0:c2@0 0:c3@0 0:c4@0 1:c4@1 1:c5@0 1:c6@0 1:c7@0 2:c6@1 2:c8@0 2:c9@0 3:c2@1 "
        "5:c4@2"
    )
    assert execution.end == 11


def test_trace_of_twenty_seven_configs() -> None:
    execution = run(WORKED, workers=1, levels=(1, 3, 9, 27))
    names = " ".join(
        f"c{start.trial + 1}" + (f"@{start.rung}" if start.rung else "")
        for start in execution.starts
    )

    assert names == (
        "c1 c2 c3 c2@1 c4 c4@1 c5 c6 c6@1 c4@2 c7 c8 c9 c10 c11 c11@1 c11@2 c12 c13 c14 c15 c15@1 "
        "c16 c17 c18 c8@1 c19 c20 c21 c1@1 c22 c23 c24 c9@1 c25 c26 c27 c7@1 c15@2 c11@3"
    )
    assert rungs(execution, 4) == [
        set(range(1, 28)),
        {1, 2, 4, 6, 7, 8, 9, 11, 15},
        {4, 11, 15},
        {11},
    ]


def test_volume_when_the_best_come_first() -> None:
    execution = run(range(81), workers=1)

    assert [len(execution.trials_at(rung)) for rung in range(3)] == [81, 27, 9]


def test_volume_of_random_losses() -> None:
    """Some early promotions turn out wrong; 241 and 239 would be a rule that forgets promotions."""
    source = random.Random()
    source.seed(0)
    execution = run([source.random() for _ in range(243)], workers=1)

    assert [len(execution.trials_at(rung)) for rung in range(3)] == [243, 97, 46]


@pytest.mark.parametrize(
    ("factor", "promotable"),
    [
        (3, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]),
        (4, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]),
        (2, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]),
    ],
)
def test_how_many_are_promotable(factor: int, promotable: list[int]) -> None:
    counts = [len(with_rung(range(size), factor=factor)[1]) for size in range(14)]

    assert promotable == counts


def test_of_equals_exactly_a_third_goes_on() -> None:
    assert with_rung([1.0] * 9)[1] == [0, 1, 2]


def test_among_equals_who_finished_first_goes_on() -> None:
    scheduler = Asha((1, 3), 3)
    for trial in range(9):
        scheduler.started(trial, 0)
    for trial in (7, 2, 5, 0, 8, 1, 3, 6, 4):
        scheduler.finished(trial, 0, 1.0)

    assert [scheduler.decide(may_start=False) for _ in range(4)] == [
        *(Promote(trial=trial, rung=1) for trial in (7, 2, 5)),
        None,
    ]


@pytest.mark.parametrize(
    ("losses", "promoted_at"),
    [
        (range(9), {3: 0, 6: 1, 9: 2}),
        (range(9, 0, -1), {3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: 7, 9: 8}),
    ],
)
def test_promotions_by_order_of_arrival(
    losses: Sequence[float], promoted_at: dict[int, int]
) -> None:
    """One worker asks after each result. Worst first, each newcomer is the best so far.

    With quantiles instead of ``n // 3`` it would be 2, 4, 7 and 2 to 9.
    """
    scheduler, found = Asha((1, 3), 3), {}
    for trial, loss in enumerate(losses):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, loss)
        while isinstance(decision := scheduler.decide(may_start=False), Promote):
            found[trial + 1] = decision.trial

    assert found == promoted_at


def test_promotions_of_a_rung_go_best_first() -> None:
    assert with_rung([9, 3, 8, 1, 7, 2, 6, 5, 4])[1] == [3, 5, 1]


def test_nan_counts_but_is_not_promoted() -> None:
    objective = Objective("loss")
    losses = [objective.loss(value) for value in (1.0, 2.0, float("nan"), 3.0)]
    scheduler, promotions = with_rung(losses)
    standing = scheduler.standing(0, 0)

    assert promotions == [0]
    assert standing is not None
    assert standing.size == 4


def test_a_raw_nan_cannot_disturb_the_order() -> None:
    assert with_rung([5.0, float("nan"), 4.0, float("nan"), 3.0, 2.0, 1.0, 0.0, 6.0])[1] == [
        7,
        6,
        5,
    ]


def test_the_place_of_a_failed_trial_stays_empty() -> None:
    """Three of nine places, of which valid trials hold two."""
    assert with_rung([None, None, 2.0, None, None, None, 1.0, None, None])[1] == [6, 2]


def test_a_rung_of_failures_promotes_nobody() -> None:
    assert with_rung([None] * 9)[1] == []


def test_maximising_is_minimising_the_negated() -> None:
    source = random.Random(1)
    values = [source.random() for _ in range(60)]
    maximise, minimise = Objective("acc", Goal.MAXIMIZE), Objective("loss")
    first = run([maximise.loss(value) for value in values], workers=3)
    second = run([minimise.loss(-value) for value in values], workers=3)

    assert first == second


def test_the_highest_rung_goes_first() -> None:
    """Losses fall from rung to rung, so that rungs 0 and 1 have a promotable trial at once."""
    scheduler = Asha((1, 2, 4), 2)
    for trial in range(4):
        scheduler.started(trial, 0)
    for trial in (0, 1):
        scheduler.finished(trial, 0, trial)
    assert scheduler.decide(may_start=True) == Promote(trial=0, rung=1)
    scheduler.finished(0, 1, 5.0)
    for trial in (2, 3):
        scheduler.finished(trial, 0, -trial)
    assert scheduler.decide(may_start=True) == Promote(trial=3, rung=1)
    scheduler.finished(3, 1, -5.0)

    assert scheduler.decide(may_start=True) == Promote(trial=3, rung=2)
    assert scheduler.decide(may_start=True) == Promote(trial=2, rung=1)
    assert scheduler.decide(may_start=True) == StartTrial()


def test_a_promoted_trial_keeps_its_place() -> None:
    """With nine finished three may go on in all, not three of the six that are left."""
    scheduler, promotions = with_rung([1, 2, 3])
    for trial, loss in ((3, 4), (4, 5), (5, 6)):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, loss)

    assert promotions == [0]
    assert scheduler.decide(may_start=False) == Promote(trial=1, rung=1)
    assert scheduler.decide(may_start=False) is None


def test_pending_trials_do_not_count() -> None:
    scheduler = Asha((1, 3), 3)
    for trial in range(9):
        scheduler.started(trial, 0)
    scheduler.finished(0, 0, 1.0)
    scheduler.finished(1, 0, 2.0)

    assert scheduler.decide(may_start=False) is None


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(moves=MOVES)
def test_at_rest_the_best_of_every_rung_are_promoted(moves: list[Move]) -> None:
    """And so at least ``n // 3`` of each rung, unless trials failed."""
    walk = Walk(Asha((1, 3, 9), 3)).follow(moves).drain()
    for rung in range(2):
        here = walk.ranking(rung)
        best = {trial for trial, loss in here[: len(here) // 3] if loss is not None}

        assert best <= walk.above(rung)
        if all(loss is not None for _, loss in here):
            assert len(walk.above(rung)) >= len(here) // 3


class CountedLoss(float):
    """A loss that counts how often it is compared."""

    comparisons = 0

    def __lt__(self, other: float) -> bool:
        CountedLoss.comparisons += 1
        return super().__lt__(other)

    def __eq__(self, other: object) -> bool:
        CountedLoss.comparisons += 1
        return super().__eq__(other)

    def __hash__(self) -> int:
        return super().__hash__()


@pytest.mark.slow
def test_a_decision_among_ten_thousand_needs_few_comparisons() -> None:
    """Logarithmic: 14 levels of a binary search, two comparisons each, a few searches."""
    source = random.Random(0)
    scheduler = Asha((1, 3, 9), 3)
    for trial in range(10_000):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, CountedLoss(source.random()))
    for decisions in range(2000):
        CountedLoss.comparisons = 0
        assert isinstance(scheduler.decide(may_start=True), Promote), decisions

        assert CountedLoss.comparisons < 200


def test_a_result_above_the_scheduled_rung_is_refused() -> None:
    scheduler = Asha((1, 3, 9), 3)
    scheduler.started(0, 0)
    with pytest.raises(ValueError, match="only scheduled up to rung 0"):
        scheduler.finished(0, 1, 1.0)


def test_a_result_of_an_unknown_trial_is_refused() -> None:
    with pytest.raises(ValueError, match="never started"):
        Asha((1, 3), 3).finished(7, 0, 1.0)


def test_a_trial_is_started_once() -> None:
    scheduler = Asha((1, 3), 3)
    scheduler.started(0, 0)
    with pytest.raises(ValueError, match="before"):
        scheduler.started(0, 0)


def test_trials_pause_and_are_not_stopped() -> None:
    scheduler = Asha((1, 3), 3)

    assert not scheduler.runs_through
    with pytest.raises(ValueError, match="pauses"):
        scheduler.stops(0, 0, 1.0)


def test_there_is_one_bracket() -> None:
    with pytest.raises(ValueError, match="bracket 0"):
        Asha((1, 3), 3).ladder(1)


@pytest.mark.parametrize(("levels", "factor"), [((), 3), ((3, 1), 3), ((1, 3), 1)])
def test_a_wrong_ladder_is_refused(levels: Sequence[Resource], factor: int) -> None:
    with pytest.raises(ValueError, match=r"rungs|reduction_factor"):
        Asha(levels, factor)


def test_standing_of_a_promoted_trial() -> None:
    scheduler, _ = with_rung([5.0, 3.0, 8.0])

    assert scheduler.standing(1, 0) == Standing(
        rule="the best 1/3 of the rung go on", size=3, place=0, places=1, cutoff=3.0
    )
    assert scheduler.standing(1, 1) is None


def test_standing_of_a_trial_that_waits_for_others() -> None:
    scheduler, _ = with_rung([5.0, 3.0, 8.0])

    assert scheduler.standing(0, 0) == Standing(
        rule="the best 1/3 of the rung go on",
        size=3,
        place=1,
        places=1,
        cutoff=3.0,
        outlook="goes on when 6 have finished the rung, unless better ones come",
    )


def test_standing_in_a_small_rung() -> None:
    standing = with_rung([5.0])[0].standing(0, 0)

    assert standing is not None
    assert (standing.places, standing.cutoff) == (0, None)


def test_standing_of_a_promotion_that_waits_for_a_slot() -> None:
    scheduler = Asha((1, 3), 3)
    for trial in range(3):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, trial)
    standing = scheduler.standing(0, 0)

    assert standing is not None
    assert standing.outlook == "waits for a free slot"


def test_standing_of_a_failed_trial() -> None:
    standing = with_rung([None, 1.0])[0].standing(0, 0)

    assert standing is not None
    assert standing.place is None
    assert standing.outlook.startswith("never")


def test_standing_at_the_last_rung() -> None:
    scheduler, _ = with_rung([5.0, 3.0, 8.0])
    scheduler.finished(1, 1, 2.5)

    assert scheduler.standing(1, 1) == Standing(
        rule="this is the last rung", size=1, place=0, places=0
    )


def test_standing_behind_a_failed_place_has_no_cutoff() -> None:
    standing = with_rung([None, None, 1.0, None, None, None])[0].standing(2, 0)

    assert standing is not None
    assert (standing.places, standing.cutoff) == (2, None)


def test_an_unknown_trial_has_no_standing() -> None:
    scheduler = Asha((1, 3), 3)

    assert scheduler.standing(4, 0) is None
    assert scheduler.compared(4, 0) == ()


def test_a_rung_is_compared_best_first() -> None:
    scheduler, _ = with_rung([5.0, None, 3.0, 8.0])

    assert scheduler.compared(0, 0) == [(2, 3.0), (0, 5.0), (3, 8.0), (1, None)]
    assert scheduler.compared(0, 1) == []
    assert scheduler.compared(0, 7) == ()


def test_who_is_behind_the_last_place_for_ever_is_spare() -> None:
    """Of nine trials at most three go on, so that the fourth best so far never does."""
    scheduler, promotions = with_rung([4.0, 1.0, 3.0, 2.0])

    assert promotions == [1]
    assert scheduler.spare(9) == [(0, 0)]
    assert scheduler.spare(9) == []


def test_a_failed_trial_is_spare() -> None:
    assert with_rung([4.0, None])[0].spare(9) == [(1, 0)]


def test_what_a_promoted_trial_saved_is_spare_when_it_has_finished_the_next_rung() -> None:
    scheduler, _ = with_rung([1.0, 2.0, 3.0])
    assert scheduler.spare(9) == []
    scheduler.finished(0, 1, 1.0)

    assert scheduler.spare(9) == [(0, 0), (0, 1)]


def test_what_is_known_of_lower_rungs_counts_at_higher_ones() -> None:
    """All nine are done at rung 0, so rung 1 gets the three that were promoted, and no more."""
    scheduler = Asha((1, 3, 9), 3)
    for trial in range(9):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, trial)
    for trial in range(3):
        assert scheduler.decide(may_start=False) == Promote(trial=trial, rung=1)
    scheduler.spare(9)
    scheduler.finished(1, 1, 5.0)
    scheduler.finished(0, 1, 6.0)

    assert set(scheduler.spare(9)) == {(1, 0), (0, 0), (0, 1)}


def test_a_larger_limit_tells_nothing_a_second_time() -> None:
    """And judges by the new limit: of twelve trials four may go on, not three."""
    scheduler, _ = with_rung([4.0, 1.0, 3.0, 2.0])
    assert scheduler.spare(9) == [(0, 0)]
    assert scheduler.spare(12) == []
    scheduler.started(4, 0)
    scheduler.finished(4, 0, 3.5)

    assert scheduler.spare(12) == [] != scheduler.spare(11)
    assert scheduler.spare(9) == []


@settings(max_examples=80, deadline=None)
@given(moves=MOVES)
def test_exactly_who_cannot_go_on_is_spare(moves: list[Move]) -> None:
    """Counted anew after every move."""
    walk = Walk(Asha((1, 2, 4, 8), 2))
    for move in moves:
        walk.follow([move]).collect()
        most, running = walk.trials, {(run.trial, run.rung) for run in walk.running}
        for rung in range(3):
            out = set()
            for place, (trial, loss) in enumerate(walk.ranking(rung)):
                reached = walk.reached[trial]
                goes_on = reached > rung or (trial, rung + 1) in running
                if not goes_on and (loss is None or place >= most // 2):
                    out.add(trial)
                is_spare = trial in out or reached > rung
                assert ((trial, rung) in walk.spared) == is_spare
            most -= len(out)


@settings(max_examples=60, deadline=None)
@given(moves=MOVES)
def test_at_the_end_all_is_spare(moves: list[Move]) -> None:
    walk = Walk(Asha((1, 3, 9), 3)).follow(moves).drain()
    walk.trials = len(walk.brackets)
    walk.collect()

    assert walk.spared == walk.results.keys()


def test_promotions_pass_over_a_dropped_rung() -> None:
    scheduler = Asha((1, 3, 9), 3)
    for trial in range(3):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, trial)
    assert scheduler.drop(1)

    assert scheduler.decide(may_start=True) == Promote(trial=0, rung=2)


def test_new_trials_begin_above_a_dropped_rung() -> None:
    scheduler = Asha((1, 3, 9), 3)
    assert scheduler.drop(0)
    assert scheduler.decide(may_start=True) == StartTrial(rung=1)
    scheduler.started(0, 0)
    scheduler.finished(0, 1, 1.0)

    assert scheduler.standing(0, 1) is not None


def test_who_is_at_a_dropped_rung_may_go_on() -> None:
    scheduler = Asha((1, 3, 9), 3)
    for trial in range(3):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, trial)
    assert scheduler.drop(0)

    assert scheduler.decide(may_start=True) == Promote(trial=0, rung=1)


def test_a_trial_that_was_asked_for_begins_where_it_was_asked_to() -> None:
    """Its rung was dropped between the decision and its start."""
    scheduler = Asha((1, 3, 9), 3)
    assert scheduler.decide(may_start=True) == StartTrial(rung=0)
    assert scheduler.drop(0)
    scheduler.started(0, 0)
    scheduler.finished(0, 0, 1.0)

    assert scheduler.standing(0, 0) is not None


def test_the_last_rung_cannot_be_dropped() -> None:
    scheduler = Asha((1, 3, 9), 3)

    assert [scheduler.drop(rung) for rung in (-1, 0, 1, 2, 3)] == [False, True, True, False, False]
    assert scheduler.decide(may_start=True) == StartTrial(rung=2)


def test_a_result_of_a_rung_that_was_passed_over_is_refused() -> None:
    scheduler = Asha((1, 3, 9), 3)
    assert scheduler.drop(0)
    scheduler.decide(may_start=True)
    scheduler.started(0, 0)
    with pytest.raises(ValueError, match="only scheduled up to rung 1"):
        scheduler.finished(0, 0, 1.0)


@pytest.mark.slow
def test_a_hundred_thousand_results_take_seconds() -> None:
    """With what the study asks at each: a start, a promotion, the standing, what is spare."""
    source = random.Random(0)
    scheduler = Asha((1, 3, 9, 27, 81), 3)
    began = time.process_time()
    for trial in range(100_000):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, source.random())
        scheduler.standing(trial, 0)
        decision = scheduler.decide(may_start=True)
        if isinstance(decision, Promote):
            scheduler.standing(decision.trial, decision.rung - 1)
            scheduler.finished(decision.trial, decision.rung, source.random())
        scheduler.spare(100_000)

    assert time.process_time() - began < 60


def test_no_more_can_finish_a_rung_than_can_be_promoted_to_it() -> None:
    """Of twelve trials that are all decided four can go on, and a third of four is one."""
    scheduler = Asha((1, 3, 9), 3)
    for trial in range(12):
        scheduler.started(trial, 0)
    scheduler.spare(12)
    for trial in range(12):
        scheduler.finished(trial, 0, float(trial))
    for _ in range(4):
        assert isinstance(scheduler.decide(may_start=False), Promote)
    for trial in (0, 1):
        scheduler.finished(trial, 1, float(trial))
    standing = scheduler.standing(1, 1)

    assert standing is not None
    assert standing.outlook == "would go on when 6 have finished the rung, but at most 4 can"


def test_what_was_found_under_a_smaller_limit_is_not_told_under_a_larger() -> None:
    scheduler = Asha((1, 3), 3)
    for trial in range(3):
        scheduler.started(trial, 0)
    scheduler.spare(3)
    for trial in range(3):
        scheduler.finished(trial, 0, float(trial))

    assert scheduler.spare(9) == []
    assert scheduler.spare(9) == []


def test_a_trial_that_too_few_can_follow_is_told_so() -> None:
    """Of nine trials the fourth best would need twelve at its rung."""
    scheduler = Asha((1, 3, 9), 3)
    for trial in range(5):
        assert isinstance(scheduler.decide(may_start=True), StartTrial | Promote)
        scheduler.started(trial, 0)
    for trial in range(5):
        scheduler.finished(trial, 0, float(trial))
    scheduler.spare(9)
    standing = scheduler.standing(3, 0)

    assert standing is not None
    assert standing.outlook == "would go on when 12 have finished the rung, but at most 9 can"

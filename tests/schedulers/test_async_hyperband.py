"""Asynchronous Hyperband: exact shares of the brackets, and ASHA in each of them."""

from __future__ import annotations

import random
import time
from collections import Counter
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.core.ports import Promote, Scheduler, StartTrial
from slurmtune.core.resource import rung_levels
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.async_hyperband import AsyncHyperband, Shares
from slurmtune.testing.scheduler_contract import MOVES, Move, SchedulerContract, Walk, execute


class TestAsyncHyperbandContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return AsyncHyperband((1, 3, 9), 3)


class TestAsyncHyperbandWithFactorTwoContract(SchedulerContract):
    def make_scheduler(self) -> Scheduler:
        return AsyncHyperband((1, 2, 4, 8), 2, brackets=3)


def starts(scheduler: AsyncHyperband, count: int) -> list[StartTrial]:
    """Start so many trials, none of which finishes."""
    found = []
    for trial in range(count):
        decision = scheduler.decide(may_start=True)
        assert isinstance(decision, StartTrial)
        scheduler.started(trial, decision.bracket)
        found.append(decision)
    return found


def finish_all(scheduler: AsyncHyperband, found: list[StartTrial]) -> None:
    for trial, start in enumerate(found):
        scheduler.finished(trial, start.rung, float(trial))


@pytest.mark.parametrize(
    ("arguments", "counts"),
    [
        ((1, 81, 3), [81, 34, 15, 8, 5]),
        ((1, 27, 3), [27, 12, 6, 4]),
        ((1, 16, 2), [16, 10, 7, 5, 5]),
        ((1, 64, 4), [64, 22, 8, 4]),
        ((1, 243, 3), [243, 98, 41, 18, 9, 6]),
    ],
)
def test_after_one_round_each_bracket_has_its_share(
    arguments: tuple[int, int, int], counts: list[int]
) -> None:
    scheduler = AsyncHyperband(rung_levels(*arguments), arguments[2])
    given_out = Counter(start.bracket for start in starts(scheduler, sum(counts)))

    assert counts == [given_out[bracket] for bracket in range(len(counts))]


def test_after_three_rounds_each_bracket_has_three_shares() -> None:
    scheduler = AsyncHyperband(rung_levels(1, 81, 3), 3)
    counts = Counter(start.bracket for start in starts(scheduler, 3 * 143))

    assert counts == {0: 243, 1: 102, 2: 45, 3: 24, 4: 15}


@pytest.mark.parametrize(
    ("maximum", "published"),
    [(81, [0.5694, 0.2373, 0.1054, 0.0527, 0.0351]), (27, [0.551, 0.245, 0.122, 0.082])],
)
def test_shares_are_the_published_probabilities_rounded_up_to_trials(
    maximum: int, published: list[float]
) -> None:
    """Of bracket s it is in proportion to ``3**(K - s) * (K + 1) / (K - s + 1)``."""
    top = len(published) - 1
    weights = [Fraction(3 ** (top - s) * (top + 1), top - s + 1) for s in range(top + 1)]
    scheduler = AsyncHyperband(rung_levels(1, maximum, 3), 3)
    shares = [ceil(weight) for weight in weights]
    counts = Counter(start.bracket for start in starts(scheduler, sum(shares)))

    assert [float(weight / sum(weights)) for weight in weights] == pytest.approx(
        published, abs=5.1e-5 if maximum == 81 else 5.1e-4
    )
    assert shares == [counts[bracket] for bracket in range(top + 1)]


def test_frequencies_after_one_round() -> None:
    scheduler = AsyncHyperband(rung_levels(1, 81, 3), 3)
    counts = Counter(start.bracket for start in starts(scheduler, 143))

    assert [round(counts[bracket] / 143, 4) for bracket in range(5)] == [
        0.5664,
        0.2378,
        0.1049,
        0.0559,
        0.035,
    ]


@given(shares=st.lists(st.integers(1, 90), min_size=1, max_size=7))
def test_every_bracket_always_has_about_its_share(shares: list[int]) -> None:
    giver, counts, total = Shares(shares), [0] * len(shares), sum(shares)
    for given_out in range(1, 2 * total + 1):
        bracket = giver.next()
        giver.take(bracket)
        counts[bracket] += 1

        assert all(
            abs(Fraction(given_out * share, total) - count) < len(shares)
            for share, count in zip(shares, counts, strict=True)
        )
        assert given_out % total or counts == [given_out // total * share for share in shares]


@given(
    shares=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    done=st.integers(0, 100),
    trials=st.integers(0, 150),
)
def test_a_bracket_never_gets_more_than_was_said(
    shares: list[int], done: int, trials: int
) -> None:
    giver, counts = Shares(shares), [0] * len(shares)
    most = [trials] * len(shares)
    for given_out in range(max(done, trials)):
        if given_out == done:
            most = [giver.most(bracket, trials) for bracket in range(len(shares))]
        if given_out == trials:
            break
        bracket = giver.next()
        giver.take(bracket)
        counts[bracket] += 1

    assert all(count <= limit for count, limit in zip(counts, most, strict=True))


def test_a_bracket_begins_at_the_rung_of_its_number() -> None:
    found = starts(AsyncHyperband((1, 3, 9), 3), 17)

    assert {(start.bracket, start.rung) for start in found} == {(0, 0), (1, 1), (2, 2)}


def test_the_ladder_is_the_same_in_every_bracket() -> None:
    scheduler = AsyncHyperband((1, 3, 9), 3)

    assert [scheduler.ladder(bracket) for bracket in range(3)] == [(1, 3, 9)] * 3


def test_brackets_are_ranked_separately() -> None:
    """Bracket 1 brings three trials to rung 1, of which one may go on, whatever is in bracket 0."""
    scheduler = AsyncHyperband((1, 3, 9), 3)
    found = starts(scheduler, 17)
    finish_all(scheduler, found)
    promotions = []
    while isinstance(decision := scheduler.decide(may_start=False), Promote):
        promotions.append((found[decision.trial].bracket, decision.rung))

    assert Counter(promotions) == {(0, 1): 3, (1, 2): 1}


def test_the_highest_rung_goes_first() -> None:
    scheduler = AsyncHyperband((1, 3, 9), 3)
    finish_all(scheduler, starts(scheduler, 17))

    assert [
        decision.rung
        for _ in range(4)
        if isinstance(decision := scheduler.decide(may_start=True), Promote)
    ] == [2, 1, 1, 1]
    assert isinstance(scheduler.decide(may_start=True), StartTrial)


def test_of_equal_rungs_the_lower_bracket_goes_first() -> None:
    """Also when its trial is the worse of the two."""
    scheduler = AsyncHyperband((1, 3, 9), 3)
    found = starts(scheduler, 17)
    for trial, start in enumerate(found):
        if start.bracket == 0:
            scheduler.finished(trial, 0, float(trial))
    for _ in range(3):
        decision = scheduler.decide(may_start=False)
        assert isinstance(decision, Promote)
        scheduler.finished(decision.trial, 1, 9.0)
    for trial, start in enumerate(found):
        if start.bracket == 1:
            scheduler.finished(trial, 1, 1.0)
    first, second = (scheduler.decide(may_start=True) for _ in range(2))

    assert isinstance(first, Promote)
    assert isinstance(second, Promote)
    assert (first.rung, second.rung) == (2, 2)
    assert [found[decision.trial].bracket for decision in (first, second)] == [0, 1]


def test_a_standing_counts_the_trials_of_the_bracket() -> None:
    scheduler = AsyncHyperband((1, 3, 9), 3)
    found = starts(scheduler, 17)
    finish_all(scheduler, found)
    trial = next(n for n, start in enumerate(found) if start.bracket == 1)
    standing = scheduler.standing(trial, 1)

    assert standing is not None
    assert (standing.size, standing.place, standing.places) == (5, 0, 1)
    assert [found[other].bracket for other, _ in scheduler.compared(trial, 1)] == [1] * 5


@settings(max_examples=40, deadline=None)
@given(moves=MOVES)
def test_one_bracket_is_asha(moves: list[Move]) -> None:
    one = Walk(AsyncHyperband((1, 3, 9), 3, brackets=1)).follow(moves)
    asha = Walk(Asha((1, 3, 9), 3)).follow(moves)

    assert one.decisions == asha.decisions


@settings(max_examples=60, deadline=None)
@given(moves=MOVES)
def test_at_rest_the_best_of_every_rung_of_every_bracket_are_promoted(moves: list[Move]) -> None:
    walk = Walk(AsyncHyperband((1, 2, 4), 2)).follow(moves).drain()
    for bracket in range(3):
        for rung in range(2):
            here = walk.ranking(rung, bracket)
            best = {trial for trial, loss in here[: len(here) // 2] if loss is not None}
            assert best <= walk.above(rung, bracket)
    walk.trials = len(walk.brackets)
    walk.collect()

    assert walk.spared == walk.results.keys()


def test_a_round_without_failures_in_the_best_order_has_the_sizes_of_hyperband() -> None:
    """When the best come first no promotion is wrong: 27-9-3-1, 12-4-1, 6-2, 4."""
    execution = execute(
        AsyncHyperband((1, 3, 9, 27), 3), lambda trial, rung: trial, workers=1, trials=49
    )
    counts = Counter((start.bracket, start.rung) for start in execution.starts)

    assert [[counts[bracket, rung] for rung in range(bracket, 4)] for bracket in range(4)] == [
        [27, 9, 3, 1],
        [12, 4, 1],
        [6, 2],
        [4],
    ]


def test_brackets_begin_above_a_dropped_rung() -> None:
    scheduler = AsyncHyperband((1, 3, 9), 3)
    assert scheduler.drop(0)
    assert scheduler.drop(1)
    assert not scheduler.drop(2)

    assert {start.rung for start in starts(scheduler, 17)} == {2}


def test_a_trial_that_was_asked_for_begins_where_it_was_asked_to() -> None:
    scheduler = AsyncHyperband((1, 3, 9), 3)
    assert scheduler.decide(may_start=True) == StartTrial(bracket=0, rung=0)
    scheduler.drop(0)
    scheduler.started(0, 0)
    scheduler.finished(0, 0, 1.0)

    assert scheduler.standing(0, 0) is not None


@pytest.mark.parametrize("brackets", [0, 4, -1])
def test_there_are_as_many_brackets_as_rungs(brackets: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 3"):
        AsyncHyperband((1, 3, 9), 3, brackets=brackets)


@pytest.mark.parametrize("bracket", [-1, 3])
def test_an_unknown_bracket_is_refused(bracket: int) -> None:
    scheduler = AsyncHyperband((1, 3, 9), 3)
    with pytest.raises(ValueError, match="brackets 0 to 2"):
        scheduler.ladder(bracket)
    with pytest.raises(ValueError, match="brackets 0 to 2"):
        scheduler.started(0, bracket)


@pytest.mark.slow
def test_thirty_thousand_results_take_seconds() -> None:
    source = random.Random(0)
    scheduler = AsyncHyperband(rung_levels(1, 243, 3), 3)
    began, trial = time.process_time(), 0
    for _ in range(30_000):
        decision = scheduler.decide(may_start=True)
        if isinstance(decision, StartTrial):
            scheduler.started(trial, decision.bracket)
            scheduler.finished(trial, decision.rung, source.random())
            trial += 1
        elif decision is not None:
            scheduler.finished(decision.trial, decision.rung, source.random())
        scheduler.spare(30_000)

    assert time.process_time() - began < 30

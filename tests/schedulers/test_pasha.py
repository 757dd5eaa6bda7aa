"""PASHA: when the ladder grows, what counts as noise, and how a study ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.core.events import Resource
from slurmtune.core.objective import ranking_key
from slurmtune.core.ports import Promote, Standing, StartTrial
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.pasha import NEIGHBOURS, Curve, Noise, Pasha, SoftRanking
from slurmtune.testing.scheduler_contract import SchedulerContract

LEVELS = (1, 3, 9, 27)

Losses = Callable[[int, Resource], float | None]
"""Loss by trial and resource."""


class TestPashaContract(SchedulerContract):
    def make_scheduler(self) -> Pasha:
        return Pasha((1, 3, 9), 3)


class TestPashaWithoutFinalContract(SchedulerContract):
    def make_scheduler(self) -> Pasha:
        return Pasha((1, 3, 9), 3, final=False)


class TestPashaWithManyRungsContract(SchedulerContract):
    def make_scheduler(self) -> Pasha:
        return Pasha((0.5, 1.0, 2.0, 4.0, 10.0), 2)


class TestPashaWithOneRungContract(SchedulerContract):
    def make_scheduler(self) -> Pasha:
        return Pasha((9,), 3)


def run(scheduler: Pasha, losses: Losses, *, trials: int, first: int = 0) -> list[tuple[int, int]]:
    """Train trials one after the other, reporting at every whole resource; return who and where.

    Trials are counted from ``first``: those before were started already.
    """
    levels = [level for level in scheduler.ladder(0) if level is not None]
    runs: list[tuple[int, int]] = []
    below: dict[int, int] = {}
    started = first
    while (decision := scheduler.decide(may_start=started < trials)) is not None:
        if isinstance(decision, StartTrial):
            trial, rung = started, decision.rung
            scheduler.started(trial, decision.bracket)
            started += 1
        else:
            trial, rung = decision.trial, decision.rung
        start = int(levels[below[trial]]) if trial in below else 0
        below[trial] = rung
        for resource in range(start + 1, int(levels[rung]) + 1):
            scheduler.reported(trial, resource, losses(trial, resource))
        scheduler.finished(trial, rung, losses(trial, levels[rung]))
        runs.append((trial, rung))
    return runs


def counts(runs: Sequence[tuple[int, int]]) -> list[int]:
    """Return how many trials came to each rung of `LEVELS`."""
    return [sum(1 for _, at in runs if at == rung) for rung in range(len(LEVELS))]


def steady(trial: int, resource: Resource) -> float:
    """Trials keep their order at every resource; some come before better ones."""
    return (trial * 7 % 27) + 1 / resource


def turning(trial: int, resource: Resource) -> float:
    """The order turns round between rungs 0 and 1, and stays from then on."""
    return steady(trial, resource) if resource <= 1 else -steady(trial, resource)


def flipping(trial: int, resource: Resource) -> float:
    """The order turns round with every rung."""
    rung = sum(resource > level for level in LEVELS)
    return steady(trial, 1) * (-1.0 if rung % 2 else 1.0)


def reached(pairs: Sequence[tuple[float, float]], *, levels: Sequence[Resource] = LEVELS) -> Pasha:
    """Return a scheduler whose trials finished rungs 0 and 1 with these losses, in this order."""
    scheduler = Pasha(levels, 2)
    worst = max(loss for loss, _ in pairs)
    for trial in range(2 * len(pairs)):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, pairs[trial][0] if trial < len(pairs) else worst + 1)
    promoted = [scheduler.decide(may_start=True) for _ in pairs]
    assert sum(isinstance(decision, Promote) for decision in promoted) == len(pairs)
    for trial, (_, loss) in enumerate(pairs):
        scheduler.finished(trial, 1, loss)
    return scheduler


def standing(scheduler: Pasha, trial: int, rung: int) -> Standing:
    found = scheduler.standing(trial, rung)
    assert found is not None
    return found


# ----------------------------------------------------------------------------- soft ranking


def soft_ranking(pairs: Sequence[tuple[float, float]]) -> SoftRanking:
    """Return the ranking of trials with these losses at the lower and at the upper rung."""
    ranking = SoftRanking()
    for trial, (below, here) in enumerate(pairs):
        ranking.add(ranking_key(here, trial, trial), below)
    return ranking


WORKED = [(-0.80, -0.85), (-0.78, -0.86), (-0.50, -0.60)]
"""A, B and C of the worked example, negated since they are to be maximised."""


def test_worked_example_grows_without_epsilon() -> None:
    assert not soft_ranking(WORKED).agrees(0.0)


def test_worked_example_is_kept_with_an_epsilon() -> None:
    assert soft_ranking(WORKED).agrees(0.03)


def test_worked_example_in_a_study() -> None:
    assert reached(WORKED).top == 2


@given(
    pairs=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12),
    epsilon=st.integers(0, 5),
)
def test_soft_ranking_as_the_paper_defines_it(pairs: list[tuple[int, int]], epsilon: int) -> None:
    """At each place, the trial must be in the group of those within epsilon of the place."""
    lower = sorted(range(len(pairs)), key=lambda trial: (pairs[trial][0], trial))
    upper = sorted(range(len(pairs)), key=lambda trial: (pairs[trial][1], trial))
    groups = [
        {t for t in lower if abs(pairs[t][0] - pairs[holder][0]) <= epsilon} for holder in lower
    ]
    expected = all(trial in group for trial, group in zip(upper, groups, strict=True))

    assert soft_ranking(pairs).agrees(epsilon) is expected


@given(
    asked=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=12)
)
def test_a_ranking_that_was_asked_before_answers_like_a_new_one(
    asked: list[tuple[int, int, int]],
) -> None:
    pairs = [(below, here) for below, here, _ in asked]
    ranking = SoftRanking()
    for trial, (below, here, epsilon) in enumerate(asked):
        ranking.add(ranking_key(here, trial, trial), below)

        assert ranking.agrees(epsilon) is soft_ranking(pairs[: trial + 1]).agrees(epsilon)


class SubtractedLoss(float):
    """A loss that counts how often another one is taken from it."""

    subtractions = 0

    def __sub__(self, other: float) -> float:
        SubtractedLoss.subtractions += 1
        return super().__sub__(other)


def test_a_ranking_that_stays_the_same_is_not_gone_through_at_each_result() -> None:
    """Each trial stands at the place that it had, or at the next: two are looked at."""
    trials = 1000
    order = random.Random(0).sample(range(trials), trials)
    ranking = SoftRanking()
    SubtractedLoss.subtractions = 0
    for trial, place in enumerate(order):
        ranking.add(ranking_key(place ^ 1, trial, trial), SubtractedLoss(place))

        assert ranking.agrees(trials)
    assert SubtractedLoss.subtractions <= 2 * trials


def test_an_empty_ranking_agrees() -> None:
    assert SoftRanking().agrees(0.0)


# ------------------------------------------------------------------------------------ noise


def curve(losses: Sequence[float], first: int = 1) -> Curve:
    return Curve(enumerate(losses, first))


def test_curves_that_cross_there_and_back_are_noise() -> None:
    assert curve([1, 3, 1]).distance_if_crossed(curve([2, 2, 2]), 2) == 1


@pytest.mark.parametrize(
    "losses", [[1, 1, 1], [3, 3, 1], [3, 1, 1], [2, 3, 1], [1, 2, 1], [1, 3, 2]]
)
def test_curves_that_do_not_cross_twice_are_no_noise(losses: list[float]) -> None:
    assert curve(losses).distance_if_crossed(curve([2, 2, 2]), 2) is None


def test_resources_up_to_the_level_below_say_nothing_of_the_rung() -> None:
    assert curve([1, 3, 1]).distance_if_crossed(curve([2, 2, 2]), 3) is None


def test_curves_are_compared_at_the_highest_resource_of_both() -> None:
    assert curve([1, 3, 1, 9]).distance_if_crossed(curve([2, 2, 2]), 2) == 1
    assert curve([9, 1, 3, 1], 0).distance_if_crossed(curve([2, 2, 2]), 2) == 1


def test_reports_that_only_one_of_them_has_are_passed_over() -> None:
    mine = Curve([(1, 1.0), (1.5, 9.0), (2, 3.0), (3, 1.0)])

    assert mine.distance_if_crossed(curve([2, 2, 2]), 2) == 1


def test_curves_without_anything_in_common_are_no_noise() -> None:
    assert curve([1, 3, 1]).distance_if_crossed(curve([2, 2, 2], 7), 0) is None


def test_an_infinite_distance_is_no_noise() -> None:
    huge = 1.7e308
    mine, other = curve([-huge, huge, -huge]), curve([huge, -huge, huge])

    assert mine.distance_if_crossed(other, 2) is None


def test_the_first_report_at_a_resource_stands() -> None:
    assert list(Curve([(1, 5.0), (1, 6.0), (2, 4.0), (1, 7.0)])) == [(1, 5.0), (2, 4.0)]


LOSS_LISTS = st.lists(st.integers(0, 3), max_size=7)


@given(mine=LOSS_LISTS, other=LOSS_LISTS, above=st.integers(0, 4))
def test_noise_as_the_paper_defines_it(mine: list[int], other: list[int], above: int) -> None:
    """Three resources, the highest of them the highest of all: one order, the other, the one."""
    gaps = [ours - theirs for ours, theirs in zip(mine, other, strict=False)]
    last = len(gaps)
    crossed = any(
        gaps[low] * gaps[-1] > 0 and gaps[high] * gaps[-1] < 0
        for high in range(last)
        for low in range(high)
    )
    expected = abs(gaps[-1]) if crossed and last > above else None

    assert curve(mine).distance_if_crossed(curve(other), above) == expected
    assert curve(other).distance_if_crossed(curve(mine), above) == expected


@given(distances=st.lists(st.integers(1, 1000), min_size=1, max_size=30))
def test_epsilon_is_the_ninetieth_percentile_between_the_nearest_two(
    distances: list[int],
) -> None:
    """Each trial that crosses the first one there and back is so far away in the end."""
    noise = Noise(2, 3)
    noise.add(curve([0, 0, 0]))
    for distance in distances:
        noise.add(curve([distance, -1, distance]))
    pairs = [curve([one, -1, one]) for one in distances]
    among = [
        found
        for index, one in enumerate(pairs)
        for other in pairs[:index]
        if (found := one.distance_if_crossed(other, 2)) is not None
    ]

    assert noise.epsilon == pytest.approx(float(np.percentile([*distances, *among], 90)))


def test_epsilon_of_two_distances() -> None:
    """Distances 1 and 2: position 0.9 between them."""
    noise = Noise(2, 3)
    noise.add(curve([0, 0, 0]))
    noise.add(curve([1, -1, 1]))
    noise.add(curve([2, -1, 2]))

    assert noise.epsilon == pytest.approx(1.9)


def test_without_crossing_curves_there_is_no_epsilon() -> None:
    noise = Noise(2, 3)
    noise.add(curve([1, 1, 1]))
    noise.add(curve([2, 2, 2]))

    assert noise.epsilon is None


def test_what_was_reported_above_the_level_is_not_looked_at() -> None:
    noise = Noise(2, 3)
    noise.add(curve([2, 2, 2, 2]))
    noise.add(curve([1, 3, 1, 99]))

    assert noise.epsilon == 1


def test_a_trial_is_compared_with_its_latest_neighbours() -> None:
    noise = Noise(2, 3)
    noise.add(curve([0, 0, 0]))
    for _ in range(NEIGHBOURS):
        noise.add(curve([9, 9, 9]))
    noise.add(curve([1, -1, 1]))

    assert noise.epsilon is None


# ------------------------------------------------------------------------ how the ladder grows


def test_two_rungs_are_open_at_first() -> None:
    assert Pasha(LEVELS, 3).top == 1


def test_it_stops_growing_when_the_rankings_agree() -> None:
    """As in ASHA up to rung 1; above, only the best is trained, at the end."""
    scheduler = Pasha(LEVELS, 3)
    runs = run(scheduler, steady, trials=27)

    assert scheduler.top == 1
    assert counts(runs)[2:] == [1, 1]
    assert runs[-2:] == [(0, 2), (0, 3)]


def test_it_grows_by_one_rung_when_the_rankings_agree_there() -> None:
    scheduler = Pasha(LEVELS, 2)
    runs = run(scheduler, turning, trials=60)

    assert scheduler.top == 2
    assert counts(runs)[2] > 1
    assert counts(runs)[3] == 1


def test_it_grows_to_the_last_rung_when_no_ranking_agrees() -> None:
    scheduler = Pasha(LEVELS, 2)
    run(scheduler, flipping, trials=60)

    assert scheduler.top == 3


def test_with_all_rungs_open_it_is_asha() -> None:
    """Every result comes as in ASHA from the moment on that the ladder is open."""
    levels = (1, 3)
    asha, pasha = Asha(levels, 3), Pasha(levels, 3)
    for trial in range(30):
        assert pasha.decide(may_start=True) == asha.decide(may_start=True) == StartTrial()
        for scheduler in (asha, pasha):
            scheduler.started(trial, 0)
            scheduler.finished(trial, 0, trial * 7 % 30)
        if (promotion := asha.decide(may_start=False)) is not None:
            assert pasha.decide(may_start=False) == promotion


def test_one_result_at_the_highest_rung_opens_nothing() -> None:
    assert reached([(1.0, 9.0)]).top == 1


def test_equal_rankings_open_nothing() -> None:
    assert reached([(1.0, 5.0), (2.0, 6.0), (3.0, 7.0)]).top == 1


def test_different_rankings_open_one_more_rung() -> None:
    scheduler = reached([(1.0, 6.0), (2.0, 5.0)])

    assert scheduler.top == 2
    assert scheduler.decide(may_start=True) == Promote(trial=1, rung=2)


def test_a_failed_trial_has_no_place_in_the_order() -> None:
    scheduler = Pasha(LEVELS, 2)
    for trial, loss in enumerate([1.0, 2.0, 3.0, 9.0, 9.0, 9.0]):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, loss)
    for _ in range(3):
        assert isinstance(scheduler.decide(may_start=True), Promote)
    for trial, result in enumerate((None, 4.0, 5.0)):
        scheduler.finished(trial, 1, result)

    assert scheduler.top == 1


def swapping(trial: int, resource: Resource) -> float:
    """Trials 0 and 1 swap places between the rungs; their curves cross back and forth."""
    if trial > 1:
        return 9.0 + trial
    ups = {1: 0.78, 2: 0.80, 3: 0.80, 9: 0.85}
    downs = {1: 0.80, 2: 0.78, 3: 0.78, 9: 0.88}
    return -(ups if trial == 0 else downs).get(int(resource), 0.8)


@pytest.mark.parametrize("reports", [False, True])
def test_crossing_curves_keep_the_ladder_as_it_is(reports: bool) -> None:
    """Losses differ by 0.02 at rung 0 and the order turns at rung 1, by noise of 0.03."""
    scheduler = Pasha((3, 9, 27), 2)
    for trial in range(4):
        scheduler.started(trial, 0)
        for resource in (1, 2, 3):
            if reports:
                scheduler.reported(trial, resource, swapping(trial, resource))
        scheduler.finished(trial, 0, swapping(trial, 3))
    assert scheduler.decide(may_start=True) == Promote(trial=0, rung=1)
    assert scheduler.decide(may_start=True) == Promote(trial=1, rung=1)
    for trial in (0, 1):
        if reports:
            scheduler.reported(trial, 9, swapping(trial, 9))
        scheduler.finished(trial, 1, swapping(trial, 9))

    assert scheduler.top == (1 if reports else 2)
    assert scheduler.epsilon == pytest.approx(0.03 if reports else 0.0)


def test_epsilon_is_kept_when_a_new_rung_says_nothing_of_noise() -> None:
    """Noise of 0.03 from trials 0 and 1; then trials 2 and 3 turn round by much more."""
    scheduler = Pasha((3, 9, 27, 81), 2)
    late = {2: (-0.5, -0.1), 3: (-0.4, -0.6)}
    for trial in range(8):
        scheduler.started(trial, 0)
        for resource in (1, 2, 3):
            scheduler.reported(trial, resource, swapping(trial, resource))
        loss = late[trial][0] if trial in late else swapping(trial, 3)
        scheduler.finished(trial, 0, loss)
    promoted = [scheduler.decide(may_start=True) for _ in range(4)]
    assert {p.trial for p in promoted if isinstance(p, Promote)} == {0, 1, 2, 3}
    for trial in range(4):
        if trial < 2:
            scheduler.reported(trial, 9, swapping(trial, 9))
        scheduler.finished(trial, 1, late[trial][1] if trial in late else swapping(trial, 9))

    assert scheduler.top == 2
    assert scheduler.epsilon == pytest.approx(0.03)


@pytest.mark.parametrize("loss", [None, float("nan"), float("inf")])
def test_reports_without_a_finite_loss_change_nothing(loss: float | None) -> None:
    scheduler = Pasha((3, 9, 27), 2)
    scheduler.started(0, 0)

    assert not scheduler.reported(0, 1, loss)
    assert scheduler.epsilon == 0.0


def test_nobody_is_stopped_by_a_report() -> None:
    scheduler = Pasha(LEVELS, 3)
    scheduler.started(0, 0)

    assert scheduler.watches
    assert not scheduler.reported(0, 1, 1e9)


# -------------------------------------------------------------------------- how a study ends


def test_in_the_end_the_best_of_the_highest_open_rung_is_trained_on() -> None:
    scheduler = reached([(1.0, 5.0), (2.0, 6.0)])

    assert scheduler.decide(may_start=False) == Promote(trial=0, rung=2)
    assert scheduler.decide(may_start=False) is None
    scheduler.finished(0, 2, 4.0)
    assert scheduler.decide(may_start=False) == Promote(trial=0, rung=3)
    scheduler.finished(0, 3, 3.0)
    assert scheduler.decide(may_start=False) is None


def test_it_can_be_left_at_that() -> None:
    runs = run(Pasha(LEVELS, 3, final=False), steady, trials=27)

    assert counts(runs)[2:] == [0, 0]


def test_the_end_waits_for_trials_that_run() -> None:
    scheduler = reached([(1.0, 5.0), (2.0, 6.0)])
    scheduler.started(4, 0)

    assert scheduler.decide(may_start=False) is None
    scheduler.finished(4, 0, 9.0)
    assert scheduler.decide(may_start=False) == Promote(trial=0, rung=2)


def test_the_end_waits_while_trials_may_be_started() -> None:
    assert reached([(1.0, 5.0), (2.0, 6.0)]).decide(may_start=True) == StartTrial()


def test_a_small_study_trains_its_best_too() -> None:
    """Two trials are too few for any promotion by rank."""
    runs = run(Pasha(LEVELS, 3), lambda trial, resource: float(trial), trials=2)

    assert runs == [(0, 0), (1, 0), (0, 1), (0, 2), (0, 3)]


def test_when_the_best_fails_in_the_end_nobody_takes_its_place() -> None:
    scheduler = reached([(1.0, 5.0), (2.0, 6.0)])
    scheduler.decide(may_start=False)
    scheduler.finished(0, 2, None)

    assert scheduler.decide(may_start=False) is None


def test_a_study_that_is_continued_trains_a_new_best_on() -> None:
    """The first best reached the last rung; the new one is better, at the rungs above too."""
    scheduler = Pasha(LEVELS, 3)
    run(scheduler, steady, trials=27)
    runs = run(scheduler, lambda trial, resource: -1.0 - trial + 1 / resource, trials=30, first=27)

    assert [(trial, rung) for trial, rung in runs if rung > 1] == [(29, 2), (29, 3)]


def test_a_new_best_goes_no_further_than_the_old_one_was_better() -> None:
    scheduler = Pasha(LEVELS, 3)
    run(scheduler, steady, trials=27)
    runs = run(
        scheduler,
        lambda trial, resource: -1.0 - trial if resource < 9 else 50.0,
        trials=30,
        first=27,
    )

    assert [(trial, rung) for trial, rung in runs if rung > 1] == [(29, 2)]


# ------------------------------------------------------------------------------ rungs dropped


def test_a_dropped_rung_is_not_compared() -> None:
    """The order at rung 1 differs, but that of rung 2 is compared with rung 0."""
    scheduler = Pasha(LEVELS, 2)
    assert scheduler.drop(1)

    assert scheduler.top == 2
    run(scheduler, lambda trial, at: -float(trial) if at == 3 else float(trial), trials=20)
    assert scheduler.top == 2


def test_there_is_always_a_rung_below_the_highest_one() -> None:
    scheduler = Pasha(LEVELS, 2)
    scheduler.drop(0)

    assert scheduler.top == 2
    assert scheduler.decide(may_start=True) == StartTrial(rung=1)


def test_the_results_that_are_there_are_compared_anew() -> None:
    scheduler = reached([(1.0, 5.0), (2.0, 6.0)])
    scheduler.drop(2)

    assert scheduler.top == 1
    assert scheduler.decide(may_start=False) == Promote(trial=0, rung=3)


def test_all_but_the_last_rung_may_be_dropped() -> None:
    scheduler = Pasha(LEVELS, 2)

    assert [scheduler.drop(rung) for rung in (0, 1, 2, 3)] == [True, True, True, False]
    assert scheduler.top == 3


# ------------------------------------------------------------------------------------- words


def test_standing_below_the_highest_rung() -> None:
    found = standing(reached([(1.0, 5.0), (2.0, 6.0)]), 1, 0)

    assert found.rule == "the best 1/2 of the rung go on"
    assert (found.place, found.places, found.size) == (1, 2, 4)


def test_standing_at_the_highest_rung() -> None:
    found = standing(reached([(1.0, 5.0), (2.0, 6.0)]), 1, 1)

    assert found.rule == "rung 1 is the highest while it ranks as rung 0 did"
    assert (found.place, found.places, found.size, found.cutoff) == (1, 0, 2, None)
    assert "if the order turns out different" in found.outlook


def test_standing_at_the_end() -> None:
    scheduler = reached([(1.0, 5.0), (2.0, 6.0)])
    scheduler.decide(may_start=False)

    assert standing(scheduler, 0, 1).rule == (
        "when all else is done, the best of the highest rung goes on"
    )
    assert (standing(scheduler, 0, 1).place, standing(scheduler, 0, 1).places) == (0, 1)
    assert standing(scheduler, 1, 1).outlook == ""


def test_standing_of_the_one_that_is_trained_on_at_the_end() -> None:
    """It has just come to a rung, and what follows is that it goes on."""
    scheduler = reached([(1.0, 5.0), (2.0, 6.0)])
    promoted = scheduler.decide(may_start=False)
    assert isinstance(promoted, Promote)
    assert scheduler.decide(may_start=False) is None
    scheduler.finished(promoted.trial, promoted.rung, 4.0)
    found = standing(scheduler, promoted.trial, promoted.rung)

    assert found.rule == "when all else is done, the best of the highest rung goes on"
    assert (found.place, found.places, found.outlook) == (0, 1, "waits for a free slot")
    assert scheduler.decide(may_start=False) == Promote(
        trial=promoted.trial, rung=promoted.rung + 1
    )


def test_the_best_of_the_highest_rung_is_told_that_it_may_go_on_at_the_end() -> None:
    scheduler = reached([(1.0, 5.0), (2.0, 6.0)])

    assert standing(scheduler, 0, 1).outlook.endswith("or if it is the best when all else is done")


def test_standing_of_a_failed_trial_at_the_highest_rung() -> None:
    scheduler = Pasha(LEVELS, 2)
    for trial in range(2):
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, trial)
    scheduler.decide(may_start=True)
    scheduler.finished(0, 1, None)

    assert standing(scheduler, 0, 1).place is None
    assert "never" in standing(scheduler, 0, 1).outlook


def test_an_unknown_trial_is_refused() -> None:
    with pytest.raises(ValueError, match="never started"):
        Pasha(LEVELS, 3).reported(7, 1, 1.0)


@pytest.mark.slow
def test_ten_thousand_trials_are_compared_with_few_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A result at the highest rung costs no more comparisons of curves than it has neighbours."""
    calls = 0
    original = Curve.distance_if_crossed

    def counted(self: Curve, other: Curve, above: Resource) -> float | None:
        nonlocal calls
        calls += 1
        return original(self, other, above)

    monkeypatch.setattr(Curve, "distance_if_crossed", counted)
    source = random.Random(0)
    quality = [source.random() for _ in range(10_000)]
    runs = run(Pasha(LEVELS, 3), lambda trial, at: quality[trial] + 1 / at, trials=10_000)

    assert calls <= NEIGHBOURS * counts(runs)[1]


def test_rungs_of_a_trial_come_one_after_the_other() -> None:
    runs = run(Pasha(LEVELS, 2), flipping, trials=60)
    for trial in range(60):
        rungs = [rung for number, rung in runs if number == trial]
        assert all(high - low == 1 for low, high in pairwise(rungs))

"""The median stopping rule: the published example, what counts and what does not, and its cost."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.core.events import Resource
from slurmtune.core.ports import Standing, StartTrial
from slurmtune.schedulers.median import MedianRule
from slurmtune.testing.scheduler_contract import SchedulerContract

Curve = Mapping[Any, float | None]
"""Loss by resource."""


class TestMedianRuleContract(SchedulerContract):
    def make_scheduler(self) -> MedianRule:
        return MedianRule(9, grace=1, min_trials=3)


def completed(*curves: Curve, grace: Resource = 1, min_trials: int = 3) -> MedianRule:
    """Return a scheduler with trials that completed with these reports, and one that runs."""
    scheduler = MedianRule(9, grace=grace, min_trials=min_trials)
    for trial, curve in enumerate(curves):
        scheduler.started(trial, 0)
        for resource, loss in curve.items():
            scheduler.reported(trial, resource, loss)
    for trial in range(len(curves)):
        scheduler.finished(trial, 0, 0.5)
    scheduler.started(len(curves), 0)
    return scheduler


def of_means(*means: float, **options: int) -> MedianRule:
    return completed(*({1: mean} for mean in means), **options)


def finished(scheduler: MedianRule, trial: int) -> MedianRule:
    scheduler.finished(trial, 0, 1.0)
    return scheduler


def standing(scheduler: MedianRule, trial: int) -> Standing:
    found = scheduler.standing(trial, 0)
    assert found is not None
    return found


@pytest.mark.parametrize(("best", "stops"), [(4.0, False), (4.1, True)])
def test_worked_example(best: float, stops: bool) -> None:
    assert of_means(3, 4, 5).reported(3, 1, best) is stops


@pytest.mark.parametrize(("best", "stops"), [(4.5, False), (4.6, True)])
def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two(
    best: float, stops: bool
) -> None:
    assert of_means(3, 4, 5, 6).reported(4, 1, best) is stops


def test_the_best_of_the_running_trial_counts_not_its_last() -> None:
    scheduler = completed(*[{1: mean, 2: mean} for mean in (3, 4, 5)])

    assert not scheduler.reported(3, 1, 4.0)
    assert not scheduler.reported(3, 2, 9.0)


def test_a_completed_trial_counts_with_the_mean_of_its_reports_up_to_then() -> None:
    """Up to resource 2 the means are 6, 7 and 8, whatever comes later."""
    curves = [{1: mean + 1, 2: mean - 1, 3: 0.0} for mean in (6, 7, 8)]

    assert not completed(*curves).reported(3, 2, 7.0)
    assert completed(*curves).reported(3, 2, 7.1)


def test_a_mean_holds_until_the_next_report() -> None:
    assert of_means(3, 4, 5).reported(3, 8, 4.1)


def test_nobody_is_stopped_during_grace() -> None:
    assert not of_means(3, 4, 5, grace=2).reported(3, 1, 99.0)


def test_who_was_bad_during_grace_is_stopped_after_it() -> None:
    scheduler = of_means(3, 4, 5, grace=2)
    scheduler.reported(3, 1, 99.0)

    assert scheduler.reported(3, 2, 98.0)


def test_too_few_completed_trials_stop_nobody() -> None:
    assert not of_means(3, 4, 5, min_trials=4).reported(3, 1, 99.0)


def test_running_trials_are_no_measure() -> None:
    scheduler = MedianRule(9, grace=1, min_trials=1)
    for trial in range(4):
        scheduler.started(trial, 0)
    for trial in range(3):
        scheduler.reported(trial, 1, 1.0)

    assert not scheduler.reported(3, 1, 99.0)


@pytest.mark.parametrize("loss", [None, math.nan, math.inf])
def test_a_trial_that_ended_without_a_finite_loss_is_no_measure(loss: float | None) -> None:
    scheduler = MedianRule(9, grace=1, min_trials=1)
    for trial in range(2):
        scheduler.started(trial, 0)
    scheduler.reported(0, 1, 1.0)
    scheduler.finished(0, 0, loss)

    assert not scheduler.reported(1, 1, 99.0)


def test_a_stopped_trial_is_no_measure_even_if_it_came_to_its_end() -> None:
    scheduler = of_means(3, 4, 5)
    assert scheduler.reported(3, 1, 99.0)
    scheduler.finished(3, 0, 99.0)
    scheduler.started(4, 0)

    assert scheduler.reported(4, 1, 4.1)
    assert standing(scheduler, 4).size == 4


def test_completed_trials_that_had_reported_nothing_by_then_do_not_count() -> None:
    """Three completed, but only one of them says anything about resource 1."""
    scheduler = completed({1: 3.0}, {2: 3.0}, {2: 3.0})

    assert not scheduler.reported(3, 1, 99.0)
    assert scheduler.reported(3, 2, 98.0)


def test_a_report_without_a_finite_loss_is_none_in_the_means() -> None:
    curve = {1: None, 2: 4.0, 3: math.nan}

    assert not completed(curve, curve, curve).reported(3, 3, 4.0)
    assert completed(curve, curve, curve).reported(3, 3, 4.1)


@pytest.mark.parametrize("loss", [None, math.nan, -math.inf])
def test_a_trial_without_any_finite_loss_is_stopped(loss: float | None) -> None:
    assert of_means(3, 4, 5).reported(3, 1, loss)


def test_a_bad_report_after_a_good_one_stops_nobody() -> None:
    scheduler = of_means(3, 4, 5)
    scheduler.reported(3, 1, 1.0)

    assert not scheduler.reported(3, 2, None)


def test_the_first_report_at_a_resource_counts() -> None:
    twice = of_means(3, 4, 5, grace=2)
    twice.reported(3, 1, 9.0)
    twice.reported(3, 1, 1.0)

    assert twice.reported(3, 2, 9.0)


def test_a_repeated_report_does_not_weigh_double() -> None:
    scheduler = MedianRule(9, grace=1, min_trials=1)
    scheduler.started(0, 0)
    for resource, loss in ((1, 2.0), (1, 8.0), (2, 4.0)):
        scheduler.reported(0, resource, loss)
    scheduler.finished(0, 0, 1.0)
    scheduler.started(1, 0)

    assert not scheduler.reported(1, 2, 3.0)
    assert standing(finished(scheduler, 1), 1).cutoff == 3.0


def test_a_trial_that_was_told_to_stop_is_told_again() -> None:
    scheduler = of_means(3, 4, 5)
    scheduler.reported(3, 1, 9.0)

    assert scheduler.reported(3, 2, 0.0)
    assert scheduler.stops(3, 0, 0.0)


def test_reports_of_a_trial_that_is_over_change_nothing() -> None:
    scheduler = of_means(3, 4, 5)

    assert not scheduler.reported(0, 2, 99.0)
    assert scheduler.reported(3, 2, 4.1)


def test_equal_losses_stop_nobody() -> None:
    assert not of_means(4, 4, 4).reported(3, 1, 4.0)


@pytest.mark.parametrize(("best", "stops"), [(0.0, False), (5.0, True)])
def test_the_median_of_huge_losses_is_exact(best: float, stops: bool) -> None:
    """Their sum is infinite for floats, and the middle of two infinities would be no number."""
    huge = {1: 1.7e308, 2: 1.7e308}
    low = {1: -1.7e308, 2: -1.7e308}

    assert completed(huge, huge, low, low).reported(4, 2, best) is stops


@pytest.mark.parametrize(("best", "stops"), [(1.7e308, False), (1.75e308, True)])
def test_equal_huge_losses_have_a_finite_median(best: float, stops: bool) -> None:
    huge = {1: 1.7e308, 2: 1.7e308}

    assert completed(huge, huge, huge, huge).reported(4, 2, best) is stops


@pytest.mark.parametrize("loss", [0.1, -0.1, 0.7, -1 / 3])
@pytest.mark.parametrize("reports", [3, 6, 10, 49])
def test_who_stays_at_the_same_loss_as_all_others_is_not_stopped(
    loss: float, reports: int
) -> None:
    """As floats, three times -0.1 divided by 3 is less than -0.1: accuracy at chance level."""
    flat = dict.fromkeys([n / reports for n in range(1, reports + 1)], loss)
    scheduler = completed(flat, flat, flat, grace=0)

    assert not any(scheduler.reported(3, resource, loss) for resource in flat)


@settings(max_examples=60, deadline=None)
@given(
    curves=st.lists(
        st.dictionaries(st.integers(1, 6), st.one_of(st.none(), st.integers(0, 9))), max_size=9
    ),
    reports=st.lists(
        st.tuples(st.integers(1, 6), st.one_of(st.none(), st.integers(0, 9))),
        unique_by=lambda report: report[0],
        max_size=6,
    ),
)
def test_as_the_definition_says(
    curves: list[Curve], reports: list[tuple[int, float | None]]
) -> None:
    """The rule once more, from the reports of all trials at every step."""
    scheduler = MedianRule(9, grace=2, min_trials=3)
    for trial in range(len(curves) + 1):
        scheduler.started(trial, 0)
    for trial, curve in enumerate(curves):
        for at, reported in curve.items():
            scheduler.reported(trial, at, reported)
        scheduler.finished(trial, 0, 1.0)
    measures = [c for trial, c in enumerate(curves) if not scheduler.stops(trial, 0, None)]
    best = math.inf
    for resource, loss in reports:
        best = min(best, math.inf if loss is None else loss)
        means = [statistics.mean(m) for c in measures if (m := known(c, resource))]
        enough = resource >= 2 and len(means) >= 3
        expected = enough and best > statistics.median(means)

        assert scheduler.reported(len(curves), resource, loss) is expected
        if expected:
            break


def known(curve: Curve, resource: Resource) -> list[float]:
    return [loss for at, loss in curve.items() if at <= resource and loss is not None]


def test_order_of_completion_does_not_matter() -> None:
    """The averages at resource 1 are asked for between the completions, or only at the end."""
    source = random.Random(3)
    means = [source.random() for _ in range(40)]
    early = MedianRule(9, grace=1, min_trials=1)
    for trial, mean in enumerate(means):
        early.started(trial, 0)
        early.started(1000 + trial, 0)
        early.started(2000 + trial, 0)
        early.reported(2000 + trial, 1, 0.0)
        early.reported(1000 + trial, 1, 0.0)
        if early.reported(trial, 1, mean):
            early.started(3000 + trial, 0)
        early.finished(trial, 0, 1.0)
    early.started(4000, 0)
    early.reported(4000, 1, 0.0)
    early.finished(4000, 0, 1.0)
    measures = [mean for trial, mean in enumerate(means) if not early.stops(trial, 0, None)]

    assert standing(early, 4000).cutoff == statistics.median(measures)
    assert standing(early, 4000).size == len(measures) + 1


def test_irregular_resources_are_compared_too() -> None:
    scheduler = completed({0.31: 3.0}, {0.32: 4.0}, {0.33: 5.0}, grace=0)

    assert not scheduler.reported(3, 0.329, 99.0)
    assert scheduler.reported(3, 0.331, 98.0)


def test_standing_of_a_stopped_trial_before_it_has_left() -> None:
    scheduler = of_means(3, 4, 5)
    scheduler.reported(3, 1, 4.1)
    found = standing(scheduler, 3)

    assert (found.size, found.place, found.cutoff) == (4, 2, 4.0)
    assert found.rule == (
        "its best by then is worse than the median of the running averages at resource 1"
    )
    assert (found.places, found.best, found.outlook) == (0, None, "")


def test_a_stopped_trial_is_ranked_by_its_best_and_not_by_what_it_reported_last() -> None:
    scheduler = completed(*[{1: 5.0, 2: 3.0}] * 3)
    scheduler.reported(3, 1, 4.1)
    scheduler.reported(3, 2, 9.0)
    found = standing(scheduler, 3)

    assert (found.size, found.place, found.cutoff, found.best) == (4, 3, 4.0, 4.1)
    assert scheduler.compared(3, 0)[3] == (3, 4.1)


def test_standing_of_a_trial_without_a_finite_loss_has_no_place() -> None:
    scheduler = of_means(3, 4, 5)
    scheduler.reported(3, 1, None)

    assert standing(scheduler, 3).place is None
    assert standing(scheduler, 3).rule.startswith("without a finite loss it is worse than the")


def test_standing_of_a_trial_that_completed() -> None:
    scheduler = of_means(3, 4, 5)
    scheduler.reported(3, 1, 3.5)
    found = standing(finished(scheduler, 3), 3)

    assert (found.size, found.place, found.cutoff, found.best) == (4, 1, 4.0, 3.5)
    assert found.outlook == "it was trained to the end"
    assert found.rule == (
        "its best by then was not worse than the median of the running averages at resource 1"
    )


def test_standing_of_a_trial_that_was_never_compared() -> None:
    found = standing(of_means(3, 4, 5), 0)

    assert (found.size, found.cutoff) == (0, None)
    assert found.rule == (
        "it was never compared: that begins at resource 1, with 3 completed trials"
    )


def test_standing_of_a_trial_that_failed() -> None:
    scheduler = of_means(3, 4, 5)
    scheduler.reported(3, 1, 3.5)
    scheduler.finished(3, 0, None)

    found = standing(scheduler, 3)
    assert (found.place, found.size, found.cutoff) == (None, 0, 4.0)
    assert "was not worse than" in found.rule


def test_a_running_trial_has_no_standing() -> None:
    assert of_means(3, 4, 5).standing(3, 0) is None


def test_compared_shows_the_averages_that_were_seen() -> None:
    """A trial that completed afterwards is not among them."""
    scheduler = of_means(5, 3, 4)
    scheduler.started(4, 0)
    scheduler.reported(3, 1, 4.1)
    scheduler.reported(4, 1, 1.0)
    scheduler.finished(4, 0, 1.0)

    assert scheduler.compared(3, 0) == [(1, 3.0), (2, 4.0), (3, 4.1), (0, 5.0)]


def test_compared_of_a_trial_that_was_never_compared() -> None:
    assert of_means(5, 3, 4).compared(0, 0) == [(0, 0.5)]


def test_what_is_over_is_spare_once() -> None:
    scheduler = of_means(3, 4, 5)

    assert scheduler.spare(9) == [(0, 0), (1, 0), (2, 0)]
    assert scheduler.spare(9) == []


def test_an_attempt_runs_through_and_is_watched() -> None:
    scheduler = MedianRule(9, grace=1)

    assert scheduler.runs_through
    assert scheduler.watches
    assert list(scheduler.ladder(0)) == [9]


def test_new_trials_are_started_as_long_as_there_may_be() -> None:
    scheduler = MedianRule(9, grace=1)

    assert scheduler.decide(may_start=True) == StartTrial()
    assert scheduler.decide(may_start=False) is None


@pytest.mark.slow
def test_a_report_among_ten_thousand_completed_trials_is_cheap() -> None:
    """No average is computed or compared again for a resource at which all trials report."""
    source = random.Random(0)
    scheduler = MedianRule(20, grace=1)
    for trial in range(10_000):
        scheduler.started(trial, 0)
        for resource in range(1, 6):
            scheduler.reported(trial, resource, 0.0)
        scheduler.finished(trial, 0, 1.0)
    scheduler.started(10_000, 0)
    CountedLoss.comparisons = 0
    for resource in range(1, 6):
        assert not scheduler.reported(10_000, resource, CountedLoss(-source.random()))

    assert CountedLoss.comparisons < 5 * 40


class CountedLoss(float):
    """A loss that counts how often it is compared."""

    comparisons = 0

    def __lt__(self, other: float) -> bool:
        CountedLoss.comparisons += 1
        return super().__lt__(other)

    def __gt__(self, other: float) -> bool:
        CountedLoss.comparisons += 1
        return super().__gt__(other)


@pytest.mark.parametrize(
    ("grace", "min_trials", "words"),
    [(-1, 5, "grace"), (10, 5, "grace"), (1, 0, "min_trials")],
)
def test_wrong_options_are_refused(grace: Resource, min_trials: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MedianRule(9, grace=grace, min_trials=min_trials)


def test_an_unknown_trial_is_refused() -> None:
    scheduler = MedianRule(9, grace=1)
    with pytest.raises(ValueError, match="never started"):
        scheduler.reported(7, 1, 1.0)
    with pytest.raises(ValueError, match="never started"):
        scheduler.finished(7, 0, 1.0)


def test_a_trial_is_started_once() -> None:
    scheduler = of_means(3, 4, 5)
    with pytest.raises(ValueError, match="before"):
        scheduler.started(0, 0)


def test_there_is_one_rung() -> None:
    with pytest.raises(ValueError, match="only rung 0"):
        of_means(3, 4, 5).finished(3, 1, 1.0)

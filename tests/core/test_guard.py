"""The guard of rungs: exact rank correlation, its bound, and when a rung is found wanting."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from slurmtune.core.guard import (
    LEAST_CORRELATION,
    SURE_CORRELATION,
    Finding,
    FindingKind,
    Leg,
    RungGuard,
    rank_correlation,
    spread_ratio,
    unrestricted,
    upper_bound,
)

Pair = tuple[float | None, float | None]

PAIRS = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=30)


def fed(
    pairs: Iterable[Pair],
    *,
    control: Callable[[int], bool] = lambda trial: False,
    seconds: tuple[float, float] = (1.0, 3.0),
) -> list[Finding]:
    """Return what is found from these losses at rungs 0 and 1."""
    guard = RungGuard()
    found: list[Finding] = []
    for trial, (first, second) in enumerate(pairs):
        guard.note(trial, 0, first, seconds[0], control=control(trial))
        guard.note(trial, 1, second, seconds[1], control=control(trial))
        found += guard.findings()
    return found


def unrelated(count: int, seed: int = 0) -> list[Pair]:
    source = random.Random(seed)
    return [(source.random(), source.random()) for _ in range(count)]


def opposite(count: int) -> list[Pair]:
    return [(float(trial), -float(trial)) for trial in range(count)]


def timed(count: int, first: float, second: float) -> list[Finding]:
    return fed([(None, None)] * count, seconds=(first, second))


# ------------------------------------------------------------------------- rank correlation


def test_correlation_of_a_worked_example() -> None:
    """The differences of the ranks are 0, 1, 1, 1, 1: 1 - 6 * 4 / (5 * 24)."""
    pairs = [(10.0, 1.0), (20.0, 3.0), (30.0, 2.0), (40.0, 5.0), (50.0, 4.0)]

    assert rank_correlation(pairs) == pytest.approx(0.8, abs=1e-15)


def test_equals_share_the_mean_of_their_ranks() -> None:
    """Ranks 1.5, 1.5, 3 against 1, 2, 3: 1.5 / sqrt(1.5 * 2)."""
    pairs = [(7.0, 1.0), (7.0, 2.0), (8.0, 3.0)]

    assert rank_correlation(pairs) == pytest.approx(1.5 / math.sqrt(3), abs=1e-15)


@given(pairs=PAIRS)
def test_correlation_agrees_with_another_implementation(pairs: list[tuple[int, int]]) -> None:
    firsts, seconds = zip(*pairs, strict=True)
    assume(len(set(firsts)) > 1 and len(set(seconds)) > 1)

    assert rank_correlation(pairs) == pytest.approx(spearmanr(firsts, seconds)[0], abs=1e-12)


@given(pairs=PAIRS)
def test_correlation_changes_sign_with_one_side(pairs: list[tuple[int, int]]) -> None:
    found = rank_correlation(pairs)
    mirrored = rank_correlation([(first, -second) for first, second in pairs])

    assert mirrored == (None if found is None else -found)


@given(pairs=PAIRS, seed=st.integers(0, 9))
def test_correlation_does_not_depend_on_the_order_of_trials(
    pairs: list[tuple[int, int]], seed: int
) -> None:
    shuffled = list(pairs)
    random.Random(seed).shuffle(shuffled)

    assert rank_correlation(shuffled) == rank_correlation(pairs)


@pytest.mark.parametrize("pairs", [[], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 3.0)]])
def test_equal_values_have_no_correlation(pairs: list[tuple[float, float]]) -> None:
    assert rank_correlation(pairs) is None


# -------------------------------------------------------------------------------- its bound


def test_bound_of_a_worked_example() -> None:
    """tanh(0 + 1.644854 * sqrt(1.06 / 17)) = tanh(0.41073)."""
    assert upper_bound(0.0, 20) == pytest.approx(0.38909, abs=1e-5)


@given(correlation=st.floats(-1, 1), pairs=st.integers(4, 10_000))
def test_bound_lies_between_correlation_and_one(correlation: float, pairs: int) -> None:
    assert correlation <= upper_bound(correlation, pairs) <= 1


@given(correlation=st.floats(-0.99, 0.99), pairs=st.integers(4, 1000))
def test_bound_gets_closer_with_more_pairs(correlation: float, pairs: int) -> None:
    assert upper_bound(correlation, pairs + 1) <= upper_bound(correlation, pairs)


def test_bound_holds_in_nineteen_of_twenty_samples() -> None:
    """Of normal pairs with rank correlation 0.3; the bound is too low in about 5 % of them."""
    source = random.Random(5)
    linear = 2 * math.sin(math.pi * 0.3 / 6)  # Pearson's correlation that gives Spearman's 0.3
    below = 0
    for _ in range(600):
        pairs = []
        for _ in range(30):
            first = source.gauss(0, 1)
            pairs.append((first, linear * first + math.sqrt(1 - linear**2) * source.gauss(0, 1)))
        found = rank_correlation(pairs)
        assert found is not None
        below += upper_bound(found, 30) < 0.3

    assert 0.025 < below / 600 < 0.08


def test_a_bound_needs_four_pairs() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        upper_bound(0.5, 3)


# ------------------------------------------------------- what was chosen by its own results

TOP_THIRD = 0.529
"""Standard deviation of the upper third of a standard normal distribution."""


@pytest.mark.parametrize(("among_all", "among_chosen"), [(0.5, 0.292), (0.7, 0.460), (0.0, 0.0)])
def test_correlation_among_the_best_third_of_normal_results(
    among_all: float, among_chosen: float
) -> None:
    """Among the chosen: rho s / sqrt(1 - rho^2 (1 - s^2)); 0.5 gives 0.2645 / 0.9055."""
    assert unrestricted(among_chosen, 1 / TOP_THIRD) == pytest.approx(among_all, abs=2e-3)


@given(correlation=st.floats(-1, 1))
def test_among_all_themselves_the_correlation_is_what_it_is(correlation: float) -> None:
    assert unrestricted(correlation, 1.0) == pytest.approx(correlation, abs=1e-12)


@given(
    correlations=st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted),
    ratio=st.floats(0.2, 20),
)
def test_a_higher_correlation_stays_the_higher_one(
    correlations: list[float], ratio: float
) -> None:
    """So that the corrected bound is a bound of the corrected correlation."""
    low, high = (unrestricted(correlation, ratio) for correlation in correlations)

    assert -1 - 1e-12 <= low <= high + 1e-12 <= 1 + 2e-12


def test_the_best_third_is_spread_about_half_as_widely() -> None:
    ratio = spread_ratio(range(30_000), range(10_000))

    assert ratio == pytest.approx(1 / TOP_THIRD, abs=0.01)


@given(
    losses=st.lists(st.integers(0, 50), min_size=4, max_size=40),
    count=st.integers(2, 40),
)
def test_the_spread_depends_on_the_order_only(losses: list[int], count: int) -> None:
    chosen = losses[:count]
    stretched = spread_ratio([math.exp(x) for x in losses], [math.exp(x) for x in chosen])

    assert stretched == spread_ratio(losses, chosen)


def test_all_are_spread_like_all() -> None:
    assert spread_ratio([3.0, 1.0, 2.0, 2.0], [2.0, 1.0, 2.0, 3.0]) == pytest.approx(
        1.0, abs=1e-15
    )


def test_where_all_are_equal_so_are_the_chosen() -> None:
    assert spread_ratio([1.0] * 9, [1.0] * 3) == 1.0


def test_chosen_that_are_equal_tell_nothing_of_the_others() -> None:
    assert spread_ratio([1.0, 1.0, 2.0, 3.0], [1.0, 1.0]) is None


# --------------------------------------------------------------- rungs that say nothing


def best_third(correlation: float, trials: int, seed: int) -> list[Finding]:
    """Return what is found when the best third of so many normal results goes on."""
    source = random.Random(seed)
    guard = RungGuard()
    results = []
    for trial in range(trials):
        first = source.gauss(0, 1)
        rest = math.sqrt(1 - correlation**2) * source.gauss(0, 1)
        results.append((first, correlation * first + rest, trial))
        guard.note(trial, 0, first, 1.0, control=False)
    found: list[Finding] = []
    for first, second, trial in sorted(sorted(results)[: trials // 3], key=lambda one: one[2]):
        assert first < 1.0
        guard.note(trial, 1, second, 9.0, control=False)
        found += guard.findings()
    return found


def test_a_rung_that_pays_is_mostly_not_found_however_long_one_looks() -> None:
    """Among the best third 0.45 looks like 0.26, and 1500 of them leave no doubt of that."""
    assert sum(bool(best_third(0.45, 4500, seed)) for seed in range(12)) < 6


@pytest.mark.parametrize("seed", range(4))
def test_chosen_trials_show_that_a_rung_says_nothing(seed: int) -> None:
    (finding,) = best_third(0.0, 900, seed)

    assert finding.among == 900
    assert finding.correlation is not None
    assert finding.bound is not None
    assert finding.correlation < LEAST_CORRELATION
    assert finding.correlation < finding.bound < SURE_CORRELATION


def test_seldom_is_a_rung_found_that_foretells_and_mostly_one_that_does_not() -> None:
    """What the guard promises: 300 trials that begin, 100 that go on, 60 studies each."""
    found = {
        correlation: sum(bool(best_third(correlation, 300, seed)) for seed in range(60))
        for correlation in (0.0, 0.5, 0.7)
    }

    assert found[0.0] > 42
    assert found[0.5] < 12
    assert found[0.7] < 3


def test_chosen_that_are_all_equal_do_not_tell_that_the_rung_says_nothing() -> None:
    guard = RungGuard()
    for trial in range(120):
        guard.note(trial, 0, float(trial >= 40) * trial, 1.0, control=False)
    for trial in range(40):
        guard.note(trial, 1, float(trial), 3.0, control=False)

    assert guard.findings() == ()


def test_results_at_a_dropped_rung_count_no_more() -> None:
    """Neither for it nor for the one below, which is held against the next that is left."""
    guard = RungGuard()
    guard.drop(1)
    for trial in range(20):
        for rung, loss in ((0, trial), (1, -trial), (2, trial)):
            guard.note(trial, rung, loss, 3.0**rung, control=False)

    assert guard.findings() == ()


def test_a_rung_that_says_nothing_is_found() -> None:
    (finding,) = fed(unrelated(200))

    assert finding.kind is FindingKind.SAYS_NOTHING
    assert (finding.rung, finding.next_rung, finding.control) == (0, 1, False)
    assert finding.correlation is not None
    assert finding.bound == upper_bound(finding.correlation, finding.trials)
    assert finding.correlation < LEAST_CORRELATION
    assert finding.bound < SURE_CORRELATION


def test_a_rung_that_foretells_is_not_found() -> None:
    assert fed((float(trial), trial + 0.5) for trial in range(200)) == []


def test_a_rung_that_misleads_is_found_at_twenty_pairs() -> None:
    (finding,) = fed(opposite(20))

    assert (finding.trials, finding.correlation) == (20, -1.0)


def test_nineteen_pairs_are_too_few() -> None:
    assert fed(opposite(19)) == []


def test_a_finding_is_told_once() -> None:
    assert len(fed(opposite(500))) == 1


def test_findings_are_told_by_the_next_call_only() -> None:
    guard = RungGuard()
    for trial in range(20):
        guard.note(trial, 0, trial, 1.0, control=False)
        guard.note(trial, 1, -trial, 3.0, control=False)

    assert len(guard.findings()) == 1
    assert guard.findings() == ()


def test_results_that_are_not_finite_are_no_pairs() -> None:
    bad: list[Pair] = [(None, 1.0), (1.0, None), (math.nan, 1.0), (1.0, math.inf)] * 10

    assert fed([*bad, *opposite(19)]) == []
    assert len(fed([*bad, *opposite(20)])) == 1


def test_a_rung_where_all_are_equal_says_nothing() -> None:
    (finding,) = fed((1.0, float(trial)) for trial in range(40))

    assert finding.correlation == 0.0


def test_when_all_are_equal_at_the_next_rung_nothing_is_known() -> None:
    assert fed((float(trial), 1.0) for trial in range(40)) == []


def test_pairs_are_looked_at_again_when_there_are_a_tenth_more() -> None:
    """The 20 that agree hide the others, until enough have come; looks are at 20, 22, 25, 28."""
    pairs: list[Pair] = [(float(trial), float(trial)) for trial in range(20)]
    (finding,) = fed([*pairs, *[(100.0 + trial, -trial) for trial in range(100)]])

    assert finding.trials in {20, 22, 25, 28, 31, 35, 39}


def test_a_result_that_comes_twice_counts_once() -> None:
    guard = RungGuard()
    for trial in range(19):
        for rung, loss in ((0, trial), (1, -trial), (1, -trial), (0, trial)):
            guard.note(trial, rung, loss, 1.0 + 9 * rung, control=False)

    assert guard.findings() == ()


def test_each_rung_is_held_against_the_next_that_its_trials_finish() -> None:
    """Rung 1 was left out: the trials went from rung 0 to rung 2."""
    guard = RungGuard()
    for trial in range(20):
        guard.note(trial, 0, trial, 1.0, control=False)
        guard.note(trial, 2, -trial, 9.0, control=False)
    (finding,) = guard.findings()

    assert (finding.rung, finding.next_rung) == (0, 2)


def test_rungs_are_judged_apart() -> None:
    guard = RungGuard()
    for trial in range(20):
        for rung, loss in ((0, trial), (1, trial), (2, -trial)):
            guard.note(trial, rung, loss, 3.0**rung, control=False)

    assert [finding.rung for finding in guard.findings()] == [1]


def test_twenty_of_the_control_group_outweigh_all_others() -> None:
    """They agree, the promoted do not: as among trials that were chosen by their results."""
    agreeing: list[Pair] = [(float(trial), float(trial)) for trial in range(20)]

    assert fed([*agreeing, *opposite(300)], control=lambda trial: trial < 20) == []


def test_the_control_group_alone_can_show_that_a_rung_says_nothing() -> None:
    agreeing: list[Pair] = [(float(trial), float(trial)) for trial in range(60)]
    (finding,) = fed([*agreeing, *opposite(20)], control=lambda trial: trial >= 60)

    assert finding.control
    assert (finding.trials, finding.correlation) == (20, -1.0)


def test_a_small_control_group_counts_like_all_others() -> None:
    (finding,) = fed(opposite(20), control=lambda trial: trial < 19)

    assert not finding.control


@given(seed=st.integers(0, 99))
def test_the_guard_depends_on_nothing_but_what_it_is_told(seed: int) -> None:
    assert fed(unrelated(60, seed)) == fed(unrelated(60, seed))


@given(
    pairs=st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(0, 5)), st.one_of(st.none(), st.integers(0, 5))
        ),
        max_size=60,
    ),
    share=st.floats(0.1, 1.0),
)
def test_each_kind_is_found_at_most_once(pairs: list[Pair], share: float) -> None:
    kinds = [finding.kind for finding in fed(pairs, seconds=(share, 1.0))]

    assert len(kinds) == len(set(kinds))


def test_ten_thousand_trials_are_looked_at_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each tenth more: about 66 times, and 11 numbers are looked at for each trial."""
    sizes: list[int] = []

    def counted(pairs: list[tuple[float, float]]) -> float:
        sizes.append(len(pairs))
        return 0.9

    monkeypatch.setattr("slurmtune.core.guard.rank_correlation", counted)
    fed((1.0, 1.0) for _ in range(10_000))

    assert len(sizes) < 70
    assert sum(sizes) < 12 * 10_000


# -------------------------------------------------------------- rungs that are not cheaper


def test_a_rung_that_takes_as_long_as_the_next_is_found() -> None:
    (finding,) = timed(10, 8.0, 10.0)

    assert finding.kind is FindingKind.NOT_CHEAPER
    assert (finding.rung, finding.next_rung, finding.trials, finding.share) == (0, 1, 10, 0.8)


def test_a_rung_that_takes_less_is_not_found() -> None:
    assert timed(100, 7.9, 10.0) == []


def test_nine_trials_are_too_few_for_times() -> None:
    assert timed(9, 8.0, 10.0) == []


def test_trials_that_stayed_behind_do_not_count_in_the_times() -> None:
    """The trials that go on are the slow ones: 10 seconds for half of their 20."""
    guard = RungGuard()
    for trial in range(100):
        guard.note(trial, 0, None, 10.0 if trial < 20 else 19.0, control=False)
    for trial in range(20):
        guard.note(trial, 1, None, 20.0, control=False)

    assert guard.findings() == ()


def test_a_few_slow_starts_do_not_matter() -> None:
    guard = RungGuard()
    for trial in range(11):
        guard.note(trial, 0, None, 500.0 if trial < 4 else 1.0, control=False)
        guard.note(trial, 1, None, 502.0 if trial < 4 else 3.0, control=False)

    assert guard.findings() == ()


def resumed(
    *, start: float, units: tuple[int, ...], trials: int = 10, starts: int = 1, unit: float = 1.0
) -> list[Finding]:
    """Return what is found when each leg trains so many units, and a program starts for each."""
    guard = RungGuard()
    for trial in range(trials):
        total = 0.0
        for rung, count in enumerate(units):
            begins = 1 if rung == 0 else starts
            leg = Leg(
                units=count, seconds=begins * start + count * unit, starts=begins, resumed=rung > 0
            )
            total += leg.seconds
            guard.note(trial, rung, None, total, control=False, leg=leg)
    return list(guard.findings())


def test_a_start_that_the_pause_alone_made_necessary_does_not_count() -> None:
    """61 s to rung 0 and 62 more to rung 1, which is 50 %; but straight there it would be 63 s."""
    (finding,) = resumed(start=60.0, units=(1, 2))

    assert finding.share == pytest.approx(61 / 63)
    assert finding.starting == pytest.approx(60.0)


def test_legs_of_one_length_do_not_tell_how_long_a_start_takes() -> None:
    assert resumed(start=60.0, units=(1, 1)) == []


def test_longer_legs_tell_of_the_start_of_shorter_ones() -> None:
    """Rungs at 1, 2 and 4: the last leg is longer than the others. Then the next trial shows it."""
    found = resumed(start=60.0, units=(1, 1, 2), trials=11)

    assert [finding.rung for finding in found] == [1, 0]
    assert [finding.share for finding in found] == pytest.approx([122 / 124, 61 / 62])


def test_a_program_that_still_ran_started_once() -> None:
    """61 s, and 2 more: no start to leave out."""
    (finding,) = resumed(start=60.0, units=(1, 2), starts=0)

    assert finding.share == pytest.approx(61 / 63)
    assert finding.starting == 0.0


def test_a_repeated_leg_does_not_tell_how_long_a_start_takes() -> None:
    assert resumed(start=60.0, units=(1, 2), starts=2) == []


@given(unit=st.floats(0.5, 100), start=st.floats(0, 10))
def test_a_rung_with_short_starts_is_cheaper(unit: float, start: float) -> None:
    """A third of the training is at most 80 % of the time until starting takes 7 units."""
    found = resumed(start=start * unit * 0.69, units=(1, 2), unit=unit)

    assert found == []


@given(units=st.lists(st.integers(1, 9), min_size=2, max_size=4), start=st.floats(0, 100))
def test_a_share_is_never_above_one(units: list[int], start: float) -> None:
    for finding in resumed(start=start, units=tuple(units), trials=12):
        assert finding.share is not None
        assert finding.share <= 1.0


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_impossible_times_do_not_count(seconds: float) -> None:
    assert timed(30, seconds, 1.0) == []


def test_no_time_at_all_is_no_finding() -> None:
    assert timed(30, 0.0, 0.0) == []


# ------------------------------------------------------------------------------------ words


def test_words_on_promoted_trials() -> None:
    (finding,) = fed(opposite(20))

    assert str(finding) == (
        "the results at rung 0 say little about those at rung 1: rank correlation -1.00 over 20 "
        "trials that went on, with 95 % confidence below -1.00"
    )


def test_words_on_a_control_group() -> None:
    (finding,) = fed(opposite(20), control=lambda trial: True)

    assert "over 20 trials that all run to the end" in str(finding)


def test_words_on_times() -> None:
    (finding,) = timed(10, 9.0, 10.0)

    assert str(finding) == (
        "rung 0 saves little: reaching it takes 90% of the time that reaching rung 1 takes "
        "(medians of 10 trials)"
    )


def test_words_on_chosen_trials() -> None:
    (finding,) = best_third(-0.9, 60, 0)

    assert (finding.trials, finding.among) == (20, 60)
    assert ", estimated from the 20 of 60 trials that went on, with 95 % " in str(finding)


def test_words_on_a_start_that_counts_once() -> None:
    (finding,) = resumed(start=60.0, units=(1, 2))

    assert str(finding) == (
        "rung 0 saves little: reaching it takes 97% of the time that going straight to rung 1 "
        "would take (medians of 10 trials; each start takes 60 s)"
    )

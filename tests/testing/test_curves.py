"""Learning-curve problems: deterministic, decaying, with known optima and regions that fail."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.backends.simulation.program import ProgramFailedError
from slurmtune.core.trial import Outcome
from slurmtune.testing.curves import (
    BRANIN_MINIMUM,
    Bowl,
    CrashRegion,
    NaNRegion,
    PowerLawCurves,
    Region,
    branin,
    branin_floor,
    normal_of,
    uniform_of,
)

CONFIG = {"x1": 1.0, "x2": 2.0}
configs = st.fixed_dictionaries({"x1": st.floats(-5, 10), "x2": st.floats(0, 15)})
corner = Region({"x1": (0.0, 5.0), "x2": (0.0, 5.0)})


@pytest.mark.parametrize("point", [(-math.pi, 12.275), (math.pi, 2.275), (9.42478, 2.475)])
def test_branin_has_three_minima(point: tuple[float, float]) -> None:
    assert branin(*point) == pytest.approx(BRANIN_MINIMUM, abs=1e-5)


@given(configs)
def test_branin_is_nowhere_below_its_minimum(config: dict[str, float]) -> None:
    assert branin_floor(config) >= -1e-9


@given(configs, st.integers(1, 100))
def test_curves_fall_towards_their_floor(config: dict[str, float], resource: int) -> None:
    curves = PowerLawCurves()

    here, later = curves.loss(config, resource), curves.loss(config, resource + 1)

    assert branin_floor(config) < later < here


@given(configs, st.integers(1, 100), st.integers(0, 2**31))
def test_reports_depend_on_config_resource_and_seed_only(
    config: dict[str, float], resource: int, seed: int
) -> None:
    first = PowerLawCurves(noise=1.0).metrics(config, resource, seed)
    again = PowerLawCurves(noise=1.0).metrics(
        dict(reversed(config.items())), float(resource), seed
    )

    assert first == again


def test_another_seed_gives_another_noise() -> None:
    curves = PowerLawCurves(noise=1.0)

    assert curves.metrics(CONFIG, 1, 1) != curves.metrics(CONFIG, 1, 2)


def test_without_noise_the_report_is_the_truth() -> None:
    curves = PowerLawCurves(metric="error")

    assert curves.metrics(CONFIG, 3, 1) == {"error": curves.loss(CONFIG, 3)}


def test_values_do_not_change_between_versions() -> None:
    """Numbers that simulated studies of different versions share."""
    assert uniform_of("a", 1) == pytest.approx(0.6035037301059549)
    assert normal_of("a", 1) == pytest.approx(-0.2115760578530543)


def test_normal_numbers_have_mean_0_and_deviation_1() -> None:
    """Over 10,000 numbers, within 5 sigmas: fails by chance once in a million changes."""
    numbers = [normal_of(number) for number in range(10_000)]

    assert statistics.fmean(numbers) == pytest.approx(0.0, abs=0.05)
    assert statistics.stdev(numbers) == pytest.approx(1.0, abs=0.036)


def test_curves_cross_when_they_may() -> None:
    order = [_order(PowerLawCurves(crossing=0.9), resource) for resource in (1, 100)]

    assert order[0] != order[1]


def test_curves_do_not_cross_when_they_may_not() -> None:
    order = [_order(PowerLawCurves(crossing=0.0), resource) for resource in (1, 100)]

    assert order[0] == order[1]


def _order(curves: PowerLawCurves, resource: int) -> list[int]:
    grid = [{"x1": float(x1), "x2": 5.0} for x1 in range(-5, 11)]
    return sorted(range(len(grid)), key=lambda number: curves.loss(grid[number], resource))


@given(configs)
def test_seconds_differ_by_no_more_than_their_spread(config: dict[str, float]) -> None:
    curves = PowerLawCurves(seconds=10.0, seconds_spread=0.5, startup=3.0)

    assert 5.0 <= curves.seconds_per_unit(config) <= 15.0
    assert curves.startup_seconds(config) == 3.0


def test_a_bowl_rises_with_the_distance_from_its_centre() -> None:
    bowl = Bowl({"lr": -3.0, "units": 64}, {"units": 32})

    assert bowl({"lr": -3.0, "units": 64, "other": "x"}) == 0.0
    assert bowl({"lr": -1.0, "units": 96}) == 4.0 + 1.0


def test_a_bowl_ignores_what_the_config_lacks() -> None:
    assert Bowl({"lr": -3.0, "momentum": 0.9})({"lr": -3.0}) == 0.0


def test_a_nan_region_reports_nan_from_its_resource_on() -> None:
    program = NaNRegion(program=PowerLawCurves(), region=corner, from_resource=3)

    assert math.isfinite(program.metrics(CONFIG, 2, 0)["val_loss"])
    assert math.isnan(program.metrics(CONFIG, 3, 0)["val_loss"])


def test_a_nan_region_leaves_others_alone() -> None:
    program = NaNRegion(program=PowerLawCurves(), region=corner)

    assert math.isfinite(program.metrics({"x1": 6.0, "x2": 2.0}, 3, 0)["val_loss"])


def test_a_crash_region_fails_when_its_resource_is_reached() -> None:
    program = CrashRegion(
        program=PowerLawCurves(), region=corner, from_resource=3, outcome=Outcome.OUT_OF_MEMORY
    )

    assert program.metrics(CONFIG, 2, 0)
    with pytest.raises(ProgramFailedError) as error:
        program.metrics(CONFIG, 3, 0)
    assert error.value.outcome is Outcome.OUT_OF_MEMORY


def test_regions_keep_the_times_of_the_program_within() -> None:
    inner = PowerLawCurves(seconds=7.0, startup=2.0)
    outer = NaNRegion(program=CrashRegion(program=inner, region=corner), region=corner)

    assert outer.seconds_per_unit(CONFIG) == 7.0
    assert outer.startup_seconds(CONFIG) == 2.0


def test_a_config_without_the_value_lies_outside_the_region() -> None:
    assert {"x1": 1.0} not in corner

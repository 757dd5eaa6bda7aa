"""Distributions of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from slurmtune.space.numeric import (
    Distribution,
    Integer,
    LogInteger,
    LogNormal,
    LogUniform,
    Normal,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    Uniform,
)

DRAWS = np.random.default_rng(11).random(4000).tolist()


@pytest.mark.parametrize(
    ("domain", "reference"),
    [
        (Uniform(-2, 3), stats.uniform(-2, 5)),
        (LogUniform(1e-5, 1e-1), stats.loguniform(1e-5, 1e-1)),
        (Normal(1, 0.5), stats.norm(1, 0.5)),
        (LogNormal(-1, 0.5), stats.lognorm(0.5, scale=math.exp(-1))),
    ],
)
def test_continuous_distributions_are_scipys(domain: Distribution, reference: Any) -> None:
    """Checklist 5, 7, 8, 11: quantiles agree with scipy's to ten digits."""
    for u in (0.01, 0.2, 0.5, 0.77, 0.99):
        assert domain.decode(u) == pytest.approx(reference.ppf(u), rel=1e-8)
        assert domain.encode(domain.decode(u)) == pytest.approx(u, abs=1e-8)


@pytest.mark.parametrize(
    ("domain", "reference", "q"),
    [
        (QUniform(0, 0.4, 0.05), stats.uniform(0, 0.4), 0.05),
        (QLogUniform(1, 64, 8), stats.loguniform(1, 64), 8),
        (QNormal(0, 0.4, 0.1), stats.norm(0, 0.4), 0.1),
        (QLogNormal(0, 1, 0.5), stats.lognorm(1), 0.5),
    ],
)
def test_stepped_distributions_round_to_the_nearest_step(
    domain: Distribution, reference: Any, q: float
) -> None:
    """Checklist 6, 7, 8: round(x / q) * q, not the floor that some tools take."""
    for u in DRAWS[:300]:
        wanted = round(reference.ppf(u) / q) * q
        low, high = domain.limits

        assert domain.decode(u) == pytest.approx(min(max(wanted, low), high))


@pytest.mark.parametrize(
    ("domain", "weights"),
    [
        (Integer(1, 5), [1, 1, 1, 1, 1]),
        (Uniform(1, 5, type="int"), [0.5, 1, 1, 1, 0.5]),
        (LogInteger(1, 4), [math.log((k + 0.5) / (k - 0.5)) for k in range(1, 5)]),
        (QUniform(0, 2, 0.5), [0.5, 1, 1, 1, 0.5]),
        (QUniform(2, 10, 5), [0.5, 5, 2.5]),
    ],
)
def test_shares_of_values(domain: Distribution, weights: Sequence[float]) -> None:
    """Checklist 10: 4000 draws, each count within 5 sigma (false alarm 6e-7 for each value)."""
    drawn = [domain.decode(u) for u in DRAWS]
    for value, weight in zip(domain.values(), weights, strict=True):
        share = weight / sum(weights)
        sigma = math.sqrt(len(drawn) * share * (1 - share))

        assert abs(drawn.count(value) - len(drawn) * share) < 5 * sigma


@pytest.mark.parametrize(
    "domain", [Uniform(-2, 3), LogUniform(1e-5, 1e-1), Normal(1, 0.5), LogNormal(-1, 0.5)]
)
def test_uniform_coordinates_give_the_distribution(domain: Distribution) -> None:
    """Kolmogorov-Smirnov on the encoded draws: p above 1e-6, the false-alarm rate."""
    encoded = [domain.encode(domain.decode(u)) for u in DRAWS]

    assert stats.kstest(encoded, "uniform").pvalue > 1e-6


def test_stepped_values_have_clean_decimals() -> None:
    """3 * 0.05 is 0.15, not 0.15000000000000002."""
    assert QUniform(0, 0.4, 0.05).values() == (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
    assert 0.30000000000000004 not in QUniform(0, 1, 0.1).values()


def test_no_negative_zero() -> None:
    """-0.0 and 0.0 would be two configs."""
    assert str(QNormal(0, 1, 0.5).decode(0.45)) == "0.0"
    assert str(Uniform(-1, 1).decode(0.5)) == "0.0"


def test_steps_are_moved_into_the_bounds() -> None:
    """Checklist 6: what rounding throws out of the bounds is moved back to them."""
    assert QUniform(2, 10, 5).values() == (2.0, 5.0, 10.0)
    assert QUniform(0.05, 0.95, 0.2).values() == (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)


def test_half_steps_at_the_ends_are_no_values_of_their_own() -> None:
    """0.5 rounds to 0 or 1; only numbers above it are drawn, so the first value is 1."""
    assert QUniform(0.5, 2.5, 1).values() == (1.0, 2.0)


def test_one_step_may_be_the_whole_way() -> None:
    """0.3 - 0.2 is 0.09999999999999998 for floats, but not for people."""
    assert QUniform(0.2, 0.3, 0.1).values() == (0.2, 0.3)


def test_type_int_gives_integers() -> None:
    """A width in steps of 8, as an int."""
    domain = QLogUniform(32, 512, 8, type="int")

    assert domain.values()[:4] == (32, 40, 48, 56)
    assert {type(domain.decode(u)) for u in DRAWS[:50]} == {int}
    assert all(domain.decode(u) % 8 == 0 for u in DRAWS[:50])


def test_clip_moves_to_the_nearer_bound() -> None:
    assert Normal(0, 1, clip=(-1, 2)).decode(0.0) == -1.0
    assert Normal(0, 1, clip=(-1, 2)).decode(1.0) == 2.0
    assert Normal(0, 1, clip=(0, 2)).encode(0) == 0.25
    assert QNormal(0, 0.4, 0.1, clip=(-1, 1)).size == 21
    assert QLogNormal(0, 1, 0.5, clip=(0.5, 8)).values()[0] == 0.5


def test_clip_between_steps_is_a_value() -> None:
    domain = QNormal(0, 1, 0.5, clip=(-0.7, 0.7))

    assert domain.values() == (-0.7, -0.5, 0.0, 0.5, 0.7)
    assert [domain.decode(domain.encode(value)) for value in domain.values()] == [
        -0.7, -0.5, 0.0, 0.5, 0.7,
    ]  # fmt: skip


def test_ends_of_normal_distributions_are_finite() -> None:
    """U = 0 and u = 1 are 8.2 standard deviations out."""
    assert Normal(0, 1).decode(0.0) == pytest.approx(-8.2095, abs=1e-3)
    assert Normal(0, 1).decode(1.0) == pytest.approx(8.2095, abs=1e-3)
    assert LogNormal(0, 1).decode(0.0) > 0


def test_far_values_can_be_start_points() -> None:
    """A default twenty standard deviations out is allowed; it encodes as the end."""
    assert Normal(0, 1).contains(20)
    assert Normal(0, 1).encode(20) == 1.0
    assert LogNormal(0, 1).encode(0) == 0.0


def test_continuous_values_have_eleven_digits() -> None:
    """Short in tables, and the same on machines whose exp and log differ in the last bit."""
    assert LogUniform(1e-5, 1e-1).decode(1 / 3) == 2.15443469e-4
    assert Uniform(0, 1).decode(1 / 3) == 0.3333333333


def test_narrow_bounds_keep_their_digits() -> None:
    """Digits count from the width: a million values fit between 1e6 and 1e6 + 1e-3."""
    domain = Uniform(1e6, 1e6 + 1e-3)

    assert len({domain.decode(n / 1000) for n in range(1001)}) == 1001


def test_whole_numbers_keep_their_type_and_accept_floats() -> None:
    assert Integer(1, 8).canonical(3.0) == 3
    assert isinstance(Integer(1, 8).canonical(3.0), int)
    assert isinstance(Uniform(0, 5).canonical(3), float)
    assert not Integer(1, 8).contains(3.5)


@pytest.mark.parametrize("domain", [Integer(0, 2**40), LogInteger(1, 2**40)])
def test_the_largest_integers_come_back(domain: Integer) -> None:
    for value in (domain.low, domain.low + 1, 12345, 2**39 + 1, 2**40 - 1, 2**40):
        assert domain.decode(domain.encode(value)) == value


def test_huge_numbers_are_outside() -> None:
    assert not Normal(0, 1).contains(10**400)
    assert not Uniform(0, 1).contains(math.nan)


@pytest.mark.parametrize(
    ("domain", "number", "value"),
    [
        (Uniform(0, 1), 0.25, 0.25),
        (Uniform(0, 1), 1.7, 1.0),
        (LogUniform(1e-5, 1e-1), -3.0, 1e-5),
        (LogUniform(1e-5, 1e-1), 1 / 30, 0.033333333333),
        (Integer(1, 8), 3.6, 4),
        (Integer(1, 8), 9.6, 8),
        (QUniform(2, 10, 5), 3.4, 5.0),
        (QUniform(2, 10, 5), -1, 2.0),
        (Normal(0, 1), -1e9, -1e9),
    ],
)
def test_any_number_is_rounded_and_moved_into_the_bounds(
    domain: Distribution, number: float, value: float
) -> None:
    nearest = domain.nearest(number)

    assert nearest == value
    assert domain.contains(nearest)
    assert type(nearest) is type(value)


def test_no_value_is_near_infinity() -> None:
    with pytest.raises(ValueError, match="finite"):
        Normal(0, 1).nearest(math.inf)


def test_values_that_cannot_be_listed() -> None:
    for domain in (Uniform(0, 1), QNormal(0, 1, 0.1)):
        assert domain.size is None
        with pytest.raises(ValueError, match="cannot be listed"):
            domain.values()
    with pytest.raises(ValueError, match="too many values to list"):
        Integer(1, 10**9).values()


def test_descriptions() -> None:
    assert LogUniform(1e-5, 1e-1).describe() == "1e-05 .. 0.1"
    assert Integer(1, 8).describe() == "1 .. 8"
    assert QUniform(0, 0.4, 0.05).describe() == "0 .. 0.4 step 0.05"
    assert QLogUniform(32, 512, 8, type="int").describe() == "32 .. 512 step 8"
    assert Normal(0, 0.1).describe() == "mean 0 sd 0.1"
    assert QNormal(0, 0.4, 0.1, clip=(-1, 1)).describe() == "mean 0 sd 0.4 step 0.1 clip -1 .. 1"
    assert LogNormal(0, 1).describe() == "exp(mean 0 sd 1)"
    assert QLogNormal(0, 1, 0.5, clip=(0, 8)).describe() == "exp(mean 0 sd 1) step 0.5 clip 0 .. 8"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Uniform(0.1, 1e-5), "low 0.1 is above high 1e-05"),
        (lambda: Uniform(1, 1), "low and high are both 1; use fixed"),
        (lambda: Uniform("1e-5", 1), "low must be a finite number, not '1e-5'"),  # type: ignore[arg-type]
        (lambda: Uniform(0, math.inf), "high must be a finite number"),
        (lambda: Uniform(-1e308, 1e308), "too far apart"),
        (lambda: Uniform(0, 1, type="str"), "type must be float or int, not 'str'"),  # type: ignore[arg-type]
        (lambda: Uniform(0.5, 3, type="int"), "whole bounds and steps, not 0.5"),
        (lambda: LogUniform(0, 0.1), "a logarithmic scale cannot reach 0"),
        (lambda: LogUniform(-5, -1), "bounds of loguniform are values and must be above 0"),
        (lambda: LogInteger(0, 5), "cannot reach 0"),
        (lambda: LogInteger(0.5, 5), "bounds of logint are whole numbers above 0"),  # type: ignore[arg-type]
        (lambda: Integer(1, 2.5), "whole bounds and steps, not 2.5"),  # type: ignore[arg-type]
        (lambda: Integer(0, 2**50), "steps of 1 from 0"),
        (lambda: QUniform(0, 1, 0), "the step q must be above 0, not 0"),
        (lambda: QUniform(0, 1, 2), "longer than the way from low to high"),
        (lambda: QUniform(0, 1, 1e-15), "steps of 1e-15 from 0"),
        (lambda: QLogUniform(1, 9, 0.5, type="int"), "whole bounds and steps, not 0.5"),
        (lambda: Normal(0, 0), "standard deviation must be above 0, not 0"),
        (lambda: Normal(0, 1, clip=(1, -1)), "low 1 is above high -1"),
        (lambda: Normal(0, 1, clip=(1, 2, 3)), "clip needs 2 numbers"),  # type: ignore[arg-type]
        (lambda: Normal(math.nan, 1), "mean must be a finite number"),
        (lambda: LogNormal(700, 1), "they are those of the logarithm"),
        (lambda: LogNormal(0, 1, clip=(-1, 1)), "lognormal is never below 0"),
    ],
)
def test_wrong_distributions_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()

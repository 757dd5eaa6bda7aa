"""What every domain has in common."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.space.domain import (
    Choice,
    Distribution,
    Domain,
    Fixed,
    Integer,
    LogInteger,
    LogNormal,
    LogUniform,
    Normal,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    Scalar,
    Uniform,
    boolean,
    from_range,
    geomspace,
    linspace,
    logspace,
)

finite = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))
positive = st.floats(1e-6, 1e6).map(lambda x: float(f"{x:.6g}"))
steps = st.sampled_from([1, 2, 8, 0.5, 0.25, 0.1, 0.05, 0.3, 1e-3])
units = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 1))


def spans(numbers: st.SearchStrategy[Any], least: float = 1e-3) -> st.SearchStrategy[list[Any]]:
    """Pairs of numbers, the first clearly below the second."""
    return st.tuples(numbers, numbers).map(sorted).filter(lambda ends: ends[1] - ends[0] >= least)


@st.composite
def stepped_spans(
    draw: st.DrawFn, numbers: st.SearchStrategy[float]
) -> tuple[float, float, float]:
    q = draw(steps)
    low, high = draw(spans(numbers.map(lambda x: float(f"{x % 1000 or 1:.4g}"))))
    return (low, max(high, round(low + q, 9)), q)


scalars = st.one_of(
    st.text(max_size=5), st.booleans(), st.integers(-99, 99), st.floats(-9, 9, allow_nan=False)
)
whole_spans = spans(st.integers(1, 10**6), least=1)
normals = st.tuples(finite, positive)
moderate = st.tuples(st.floats(-5, 5), st.floats(0.01, 3))
clips = st.one_of(st.none(), st.just((0.5, 8)), st.just((0, 1)))

listed = st.one_of(
    st.lists(scalars, min_size=1, max_size=9, unique=True).map(lambda v: Choice(tuple(v))),
    st.integers(1, 8).map(
        lambda n: Choice(tuple(range(n)), tuple((2 * k + 1) / n**2 for k in range(n)))
    ),
    scalars.map(Fixed),
    st.just(boolean()),
    st.builds(from_range, st.integers(-5, 5), st.integers(6, 30), steps),
    st.builds(lambda ends, n: linspace(ends[0], ends[1], n), spans(finite), st.integers(1, 20)),
    st.builds(logspace, st.integers(-9, 0), st.integers(1, 9), st.integers(2, 20)),
    st.builds(lambda ends, n: geomspace(ends[0], ends[1], n), spans(positive), st.integers(1, 20)),
)
counted = st.one_of(
    stepped_spans(positive).map(lambda args: QUniform(*args)),
    stepped_spans(positive).map(lambda args: QLogUniform(*args)),
    whole_spans.map(lambda ends: Integer(*ends)),
    whole_spans.map(lambda ends: LogInteger(*ends)),
    whole_spans.map(lambda ends: Uniform(*ends, type="int")),
    whole_spans.map(lambda ends: LogUniform(*ends, type="int")),
    st.just(QLogUniform(32, 512, 8, type="int")),
)
endless = st.one_of(
    spans(finite).map(lambda ends: Uniform(*ends)),
    spans(positive).map(lambda ends: LogUniform(*ends)),
)
tailed = st.one_of(
    st.builds(lambda args, clip: Normal(*args, clip=clip), normals, clips),
    st.builds(lambda args, clip: LogNormal(*args, clip=clip), moderate, clips),
    st.builds(lambda args, q: QNormal(args[0], args[1], q * args[1]), moderate, steps),
    st.builds(lambda args, q: QLogNormal(args[0], args[1], q), moderate, steps),
    st.just(QNormal(0, 0.4, 0.1, clip=(-1, 1))),
    st.just(QLogNormal(0, 1, 0.5, clip=(0.5, 8))),
    st.just(Normal(10, 4, clip=(1, 30), type="int")),
)
domains = st.one_of(listed, counted, endless, tailed)


@given(domain=domains, u=units)
def test_decoded_values_are_contained(domain: Domain, u: float) -> None:
    """Every u from 0 to 1, both ends included, gives a value of the domain."""
    assert domain.contains(domain.decode(u))


@given(domain=domains, u=units)
def test_decoded_values_survive_json(domain: Domain, u: float) -> None:
    """Values are plain, finite and come back from JSON in the same type."""
    value = domain.decode(u)
    again = json.loads(json.dumps(value, allow_nan=False))

    assert type(value) in {str, bool, int, float}
    assert (type(again), again) == (type(value), value)


@given(domain=st.one_of(listed, counted), u=units)
def test_listed_values_come_back_exactly(domain: Domain, u: float) -> None:
    """Checklist 10, 12: decode(encode(v)) == v wherever values are listed or counted."""
    value = domain.decode(u)

    assert domain.decode(domain.encode(value)) == value


@given(domain=endless, u=units)
def test_continuous_values_come_back(domain: Uniform, u: float) -> None:
    """decode(encode(v)) is v, save for the last digit relative to the width."""
    value = domain.decode(u)
    width = min(
        abs(value) if isinstance(domain, LogUniform) else math.inf, domain.high - domain.low
    )

    assert domain.decode(domain.encode(value)) == pytest.approx(value, rel=0, abs=2e-9 * width)


@given(domain=tailed, u=st.floats(0.001, 0.999))
def test_values_of_normal_distributions_come_back(domain: Domain, u: float) -> None:
    value = domain.decode(u)

    assert domain.decode(domain.encode(value)) == pytest.approx(value, rel=1e-8, abs=1e-8)


@given(domain=domains, u=units)
def test_encoded_values_are_in_the_unit_interval(domain: Domain, u: float) -> None:
    assert 0.0 <= domain.encode(domain.decode(u)) <= 1.0


@given(domain=st.one_of(counted, endless, tailed), one=units, other=units)
def test_numbers_never_decrease(domain: Distribution, one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert domain.decode(low) <= domain.decode(high)


@given(domain=st.one_of(counted, endless, tailed), u=units)
def test_numbers_stay_within_the_limits(domain: Distribution, u: float) -> None:
    low, high = domain.limits

    assert low <= domain.decode(u) <= high


@given(domain=st.one_of(listed, counted).filter(lambda domain: domain.size <= 500))
@settings(max_examples=50, deadline=None)
def test_all_values_are_listed_once_and_met(domain: Domain) -> None:
    """`values` are as many as `size` says, all different, and each comes back."""
    values = domain.values()

    assert len(values) == domain.size
    assert len(set(values)) == domain.size
    assert all(domain.contains(value) for value in values)
    assert [domain.decode(domain.encode(value)) for value in values] == list(values)


@given(domain=st.one_of(counted, endless))
def test_both_ends_count(domain: Distribution) -> None:
    """The coordinate 0 gives the least value and 1 the greatest."""
    low, high = domain.limits
    step = domain.step or 0

    assert domain.decode(0.0) == pytest.approx(low, rel=0, abs=step)
    assert domain.decode(1.0) == pytest.approx(high, rel=0, abs=step)


@pytest.mark.parametrize("domain", [Uniform(0, 1), Choice((1, 2)), Fixed(3), Normal(0, 1)])
@pytest.mark.parametrize("u", [-0.1, 1.1, math.nan])
def test_coordinates_outside_are_refused(domain: Domain, u: float) -> None:
    with pytest.raises(ValueError, match="a coordinate must be from 0 to 1"):
        domain.decode(u)


@given(domain=domains)
def test_descriptions_are_short(domain: Domain) -> None:
    assert 0 <= len(domain.describe()) <= 160
    assert domain.kind


@given(domain=st.one_of(counted, endless, tailed), value=st.one_of(st.text(), st.booleans()))
def test_text_and_booleans_are_no_numbers(domain: Domain, value: Scalar) -> None:
    assert not domain.contains(value)
    with pytest.raises(ValueError, match="is outside"):
        domain.encode(value)

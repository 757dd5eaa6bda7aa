"""Domains with listed values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.space.choice import (
    Choice,
    Fixed,
    boolean,
    from_range,
    geomspace,
    linspace,
    logspace,
)


def test_values_are_equally_likely() -> None:
    """Checklist 1: each value takes the same part of the unit interval."""
    domain = Choice(("sgd", "adamw", "lion"))

    assert [domain.decode(u) for u in (0, 0.33, 0.34, 0.66, 0.67, 1)] == [
        "sgd", "sgd", "adamw", "adamw", "lion", "lion",
    ]  # fmt: skip


def test_probabilities_are_the_parts() -> None:
    """Checklist 4: a value with probability 0.7 takes the first 0.7."""
    domain = Choice(("relu", "gelu", "silu"), (0.7, 0.2, 0.1))

    assert [domain.decode(u) for u in (0, 0.69, 0.71, 0.89, 0.91, 1)] == [
        "relu", "relu", "gelu", "gelu", "silu", "silu",
    ]  # fmt: skip


def test_drawn_shares_are_the_probabilities() -> None:
    """10,000 draws: each count within 5 sigma of what is expected (false alarm 2e-6)."""
    shares = (0.7, 0.2, 0.1)
    domain = Choice(("a", "b", "c"), shares)
    drawn = [domain.decode(u) for u in np.random.default_rng(3).random(10_000).tolist()]

    for value, share in zip("abc", shares, strict=True):
        sigma = math.sqrt(10_000 * share * (1 - share))
        assert abs(drawn.count(value) - 10_000 * share) < 5 * sigma


def test_probabilities_with_few_digits_are_enough() -> None:
    assert Choice((1, 2, 3), (0.333333, 0.333333, 0.333334)).size == 3


@pytest.mark.parametrize(
    ("values", "probabilities", "words"),
    [
        ((), None, "no values"),
        (("a", "a"), None, "the value a is listed twice"),
        ((1, True), None, "the values 1 and true are equal for Python"),
        ((1, 1.0), None, "listed twice"),
        ((math.nan,), None, "finite number"),
        ((None,), None, "a value must be a text"),
        (("a", "b"), (0.5, 0.3), "probabilities sum to 0.8, not 1"),
        (("a", "b"), (1.0, 0.0), "must be above 0"),
        (("a", "b"), (1.0,), "1 probabilities for 2 values"),
        (("a", "b"), (0.5, "x"), "a probability must be a finite number"),
        (tuple(range(100_001)), None, "use a distribution"),
    ],
)
def test_wrong_choices_are_refused(values: Any, probabilities: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Choice(values, probabilities)


def test_numbers_are_found_in_either_type() -> None:
    """A default written 1 is the listed 1.0; True is not."""
    domain = Choice((0.5, 1.0))

    assert domain.contains(1)
    assert not domain.contains(True)
    assert isinstance(domain.canonical(1), float)


def test_unlisted_value_is_told() -> None:
    with pytest.raises(ValueError, match="sdg is not one of sgd, adamw"):
        Choice(("sgd", "adamw")).encode("sdg")


def test_range_leaves_out_stop() -> None:
    """Checklist 2: the way Python's range does."""
    assert from_range(1, 10, 2).values() == (1, 3, 5, 7, 9)
    assert from_range(0, 3).values() == (0, 1, 2)
    assert from_range(5, 0, -2).values() == (5, 3, 1)


def test_range_of_decimals_is_exact() -> None:
    """Checklist 2: no 0.30000000000000004, and no 1.0 by rounding."""
    assert from_range(0, 1, 0.1).values() == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-9, 9).filter(bool))
def test_range_of_integers_is_pythons(start: int, stop: int, step: int) -> None:
    wanted = tuple(range(start, stop, step))
    if not wanted:
        with pytest.raises(ValueError, match="is empty"):
            from_range(start, stop, step)
        return

    values = from_range(start, stop, step).values()
    assert values == wanted
    assert {type(value) for value in values} == {int}


def test_linspace_includes_both_ends() -> None:
    """Checklist 3."""
    assert linspace(0.6, 1.0, 5).values() == (0.6, 0.7, 0.8, 0.9, 1.0)
    assert linspace(3, 5, 1).values() == (3.0,)


def test_logspace_takes_exponents() -> None:
    """Checklist 3: like numpy."""
    assert logspace(-5, -2, 4).values() == (1e-5, 1e-4, 1e-3, 1e-2)
    assert logspace(0, 3, 4, base=2).values() == (1.0, 2.0, 4.0, 8.0)


def test_geomspace_takes_values() -> None:
    """Checklist 3: like numpy."""
    assert geomspace(1e-4, 1e-1, 4).values() == (1e-4, 1e-3, 1e-2, 1e-1)
    assert geomspace(-1, -100, 3).values() == (-1.0, -10.0, -100.0)
    assert geomspace(7, 9, 1).values() == (7.0,)


@given(st.floats(-8, 0), st.floats(0.5, 8), st.integers(2, 30))
def test_spaces_agree_with_numpy(low: float, high: float, num: int) -> None:
    """Numpy is right to its last digits; ours are the same numbers, spelled cleaner."""
    assert linspace(low, high, num).values() == pytest.approx(np.linspace(low, high, num))
    assert logspace(low, high, num).values() == pytest.approx(np.logspace(low, high, num))
    assert geomspace(10**low, 10**high, num).values() == pytest.approx(
        np.geomspace(10**low, 10**high, num)
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: from_range(0, 1, 0), "step of a range cannot be 0"),
        (lambda: from_range(3, 3), "is empty"),
        (lambda: from_range(0, 1, 1e-9), "use a distribution"),
        (lambda: from_range(0, math.inf), "stop must be a finite number"),
        (lambda: linspace(0, 1, 0), "whole number above 0"),
        (lambda: linspace(0, 1, 2.5), "whole number above 0"),  # type: ignore[arg-type]
        (lambda: linspace(1, 1, 3), "listed twice"),
        (lambda: linspace("0", 1, 3), "start must be a finite number, not '0'"),  # type: ignore[arg-type]
        (lambda: linspace(0, 1, 10**7), "use a distribution"),
        (lambda: logspace(0, 500, 3), "start and stop are exponents"),
        (lambda: logspace(0, 307.5, 3, base=20.5), "start and stop are exponents"),
        (lambda: logspace(0, 1, 3, base=0), "base of logspace must be above 0"),
        (lambda: geomspace(0, 1, 3), "cannot reach 0"),
        (lambda: geomspace(-1, 1, 3), "same sign"),
    ],
)
def test_wrong_sequences_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_bool_is_false_or_true() -> None:
    assert boolean().values() == (False, True)
    assert boolean().kind == "bool"
    assert not boolean().contains(1)


def test_kinds_are_the_names_of_the_spec() -> None:
    assert Choice((1,)).kind == "values"
    assert Choice((1,), (1.0,)).kind == "pvalues"
    kinds = [from_range(0, 2), linspace(0, 1, 2), logspace(0, 1, 2), geomspace(1, 2, 2)]
    assert [domain.kind for domain in kinds] == ["range", "linspace", "logspace", "geomspace"]
    assert Fixed("cifar10").kind == "fixed"


def test_descriptions() -> None:
    assert Choice(("sgd", "adamw")).describe() == "sgd adamw"
    assert logspace(-5, -2, 4).describe() == "1e-05 0.0001 0.001 0.01"
    assert Choice(("a", "b"), (0.75, 0.25)).describe() == "a (0.75) b (0.25)"
    assert from_range(0, 100).describe() == "0 1 2 3 4 ... 99"
    assert boolean().describe() == "false true"
    assert Fixed(3.0).describe() == "3"


def test_fixed_has_one_value() -> None:
    domain = Fixed(3)

    assert (domain.size, domain.values(), domain.decode(0.3)) == (1, (3,), 3)
    assert domain.encode(3.0) == 0.5
    assert not domain.contains(4)
    with pytest.raises(ValueError, match="4 is not the fixed value 3"):
        domain.encode(4)
    with pytest.raises(ValueError, match="a value must be a text"):
        Fixed([1])  # type: ignore[arg-type]

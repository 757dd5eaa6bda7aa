"""Plain values."""

from __future__ import annotations

import enum
import math

import pytest

from slurmtune.space.scalar import Scalar, as_number, checked_scalar, same, show


def test_numbers_are_the_same_in_either_type() -> None:
    assert same(1, 1.0)
    assert not same(1, True)
    assert same(True, True)
    assert not same("1", 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-5, "1e-05"), (1.0, "1"), (3, "3"), (True, "true"), ("sgd", "sgd"), (1e300, "1e+300")],
)
def test_shown_as_people_write(value: Scalar, text: str) -> None:
    assert show(value) == text


def test_only_finite_numbers_are_numbers() -> None:
    assert as_number(3) == 3.0
    assert [as_number(value) for value in (True, "3", math.nan, math.inf, 10**400, None)] == [
        None
    ] * 6


def test_only_plain_types_are_values() -> None:
    """A member of a str enumeration would not come back from JSON as it was."""

    class Word(enum.StrEnum):
        A = "a"

    for value in (Word.A, None, [1], math.inf):
        with pytest.raises(ValueError, match="a value must be"):
            checked_scalar(value)

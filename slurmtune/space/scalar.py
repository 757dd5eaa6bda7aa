"""What every domain needs to know of plain values: type, sameness, spelling.

Values are Python's own str, int, float and bool. 1 and 1.0 are the same value written in two
types; True is neither of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

Scalar = str | int | float | bool
"""A value of a hyperparameter."""
Config = Mapping[str, Scalar]
"""Chosen values by name; a hyperparameter whose condition fails is absent."""


def same(one: Scalar, other: Scalar) -> bool:
    """Tell whether two values are the same: numbers by value, but no bool is a number."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def as_number(value: object) -> float | None:
    """Return a finite number as a float; None for text, booleans, NaN and infinities."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def show(value: Scalar) -> str:
    """Return a value as people write it: ``0.1``, ``3``, ``true``, ``adamw``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return str(value)


def checked_scalar(value: object) -> Scalar:
    """Return ``value`` when a config can hold it.

    Raises:
        ValueError: it is no text, number or boolean, or not a finite number.
    """
    if isinstance(value, str | bool) and type(value) in {str, bool}:
        return value
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    raise ValueError(f"a value must be a text, a finite number, true or false, not {value!r}")


def checked_number(value: object, what: str) -> float:
    """Return ``value`` as a finite float; ``what`` names it in the message.

    Raises:
        ValueError: it is not a finite number.
    """
    number = as_number(value)
    if number is None:
        raise ValueError(f"{what} must be a finite number, not {value!r}")
    return number


def checked_unit(u: float) -> float:
    """Return ``u`` when it is a coordinate of the unit cube, both ends included.

    Raises:
        ValueError: it is outside [0, 1] or NaN.
    """
    if not 0.0 <= u <= 1.0:
        raise ValueError(f"a coordinate must be from 0 to 1, not {u!r}")
    return u

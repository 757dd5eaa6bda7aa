"""Domains with listed values: categories, levels, sequences of numbers, and a fixed value.

Sequences are computed from the decimal digits that the user wrote, so ``from_range(0, 1, 0.1)``
holds 0.3 and not 0.30000000000000004.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate

from slurmtune.space.scalar import Scalar, checked_number, checked_scalar, checked_unit, same, show

MAX_LISTED = 100_000
"""More listed values than this are surely a slip, such as a range with a tiny step."""
_SUM_TOLERANCE = 1e-6
"""Room for probabilities written with few digits, such as 0.333333."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the listed values, by default each as likely as the others."""

    levels: tuple[Scalar, ...]
    probabilities: tuple[float, ...] | None = None
    """One for each value, all above 0, with the sum 1; None: all alike."""
    ordered: bool = False
    """Whether neighbours are alike (levels of a scale) or not (categories)."""
    kind: str = field(default="", compare=False)
    """Name of the distribution; empty stands for ``values`` or ``pvalues``."""

    def __post_init__(self) -> None:
        values = tuple(checked_scalar(value) for value in self.levels)
        object.__setattr__(self, "levels", values)
        if not values:
            raise ValueError("no values to choose among")
        if len(values) > MAX_LISTED:
            raise ValueError(
                f"{len(values)} values are more than {MAX_LISTED}: use a distribution"
            )
        _refuse_repeated(values)
        if self.probabilities is not None:
            scaled = _checked_probabilities(self.probabilities, len(values))
            object.__setattr__(self, "probabilities", scaled)
        if not self.kind:
            kind = "values" if self.probabilities is None else "pvalues"
            object.__setattr__(self, "kind", kind)

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.levels)

    def values(self) -> tuple[Scalar, ...]:
        """Return the values as listed."""
        return self.levels

    def decode(self, u: float) -> Scalar:
        """Return the value at ``u``: each takes a part of [0, 1] as long as it is likely."""
        checked_unit(u)
        count = len(self.levels)
        if self.probabilities is None:
            return self.levels[min(int(u * count), count - 1)]
        edges = _edges(self.probabilities)
        return self.levels[min(bisect_right(edges, u), count - 1)]

    def encode(self, value: Scalar) -> float:
        """Return the middle of the part of [0, 1] that ``value`` takes."""
        index = self.index(value)
        if self.probabilities is None:
            return (index + 0.5) / len(self.levels)
        edges = (0.0, *_edges(self.probabilities))
        return 0.5 * (edges[index] + edges[index + 1])

    def index(self, value: Scalar) -> int:
        """Return the position of ``value`` in the list.

        Raises:
            ValueError: it is not listed.
        """
        for index, listed in enumerate(self.levels):
            if same(listed, value):
                return index
        raise ValueError(f"{show(value)} is not one of {', '.join(map(show, self.levels))}")

    def contains(self, value: Scalar) -> bool:
        """Tell whether ``value`` is listed."""
        return any(same(listed, value) for listed in self.levels)

    def canonical(self, value: Scalar) -> Scalar:
        """Return the listed value that is the same as ``value``."""
        return self.levels[self.index(value)]

    def describe(self) -> str:
        """Return the values, with their probabilities when these differ."""
        words = [f"{x:.6g}" if isinstance(x, float) else show(x) for x in self.levels]
        if self.probabilities is not None:
            words = [
                f"{word} ({share:g})"
                for word, share in zip(words, self.probabilities, strict=True)
            ]
        if len(words) > 12:
            words = [*words[:5], "...", words[-1]]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Fixed:
    """One value that is not searched; it takes no coordinate of the unit cube."""

    value: Scalar

    def __post_init__(self) -> None:
        checked_scalar(self.value)

    @property
    def kind(self) -> str:
        """Name of the distribution."""
        return "fixed"

    @property
    def size(self) -> int:
        """One."""
        return 1

    def values(self) -> tuple[Scalar, ...]:
        """Return the value alone."""
        return (self.value,)

    def decode(self, u: float) -> Scalar:
        """Return the value."""
        checked_unit(u)
        return self.value

    def encode(self, value: Scalar) -> float:
        """Return the middle of [0, 1]."""
        self.canonical(value)
        return 0.5

    def contains(self, value: Scalar) -> bool:
        """Tell whether ``value`` is the value."""
        return same(self.value, value)

    def canonical(self, value: Scalar) -> Scalar:
        """Return the value in its own type."""
        if not self.contains(value):
            raise ValueError(f"{show(value)} is not the fixed value {show(self.value)}")
        return self.value

    def describe(self) -> str:
        """Return the value."""
        return show(self.value)


def boolean() -> Choice:
    """Return the choice between False and True."""
    return Choice((False, True), kind="bool")


def from_range(start: float, stop: float, step: float = 1) -> Choice:
    """Return ``start``, ``start + step``, ... without ``stop``, as Python's range.

    Integers when all three are integers, else floats with exact decimals.

    Raises:
        ValueError: the step is 0, or there is no value or are too many.
    """
    first, end, stride = _exact(start, "start"), _exact(stop, "stop"), _exact(step, "step")
    if stride == 0:
        raise ValueError("the step of a range cannot be 0")
    count = math.ceil((end - first) / stride)
    if count <= 0:
        raise ValueError(f"a range from {show(start)} to {show(stop)} is empty: stop is left out")
    _refuse_many(count)
    numbers = [first + index * stride for index in range(count)]
    whole = all(isinstance(number, int) for number in (start, stop, step))
    return _sequence([int(n) if whole else float(n) for n in numbers], "range")


def linspace(start: float, stop: float, num: int) -> Choice:
    """Return ``num`` floats at equal distances from ``start`` to ``stop``, both included.

    Raises:
        ValueError: ``num`` is not a whole number above 0, or two values are the same.
    """
    return _sequence([float(number) for number in _evenly(start, stop, num)], "linspace")


def logspace(start: float, stop: float, num: int, base: float = 10) -> Choice:
    """Return ``num`` powers of ``base``; ``start`` and ``stop`` are EXPONENTS, both included.

    Raises:
        ValueError: as `linspace`; the base is not above 0; a power is no finite number above 0.
    """
    if checked_number(base, "base") <= 0:
        raise ValueError(f"the base of logspace must be above 0, not {show(base)}")
    powers = [_power(base, exponent) for exponent in _evenly(start, stop, num)]
    if not all(0 < power < math.inf for power in powers):
        raise ValueError("a power leaves the range of numbers; start and stop are exponents")
    return _sequence(powers, "logspace")


def geomspace(start: float, stop: float, num: int) -> Choice:
    """Return ``num`` floats at equal ratios from ``start`` to ``stop``, both included.

    Raises:
        ValueError: as `linspace`; an end is 0, or the ends differ in sign.
    """
    low, high = checked_number(start, "start"), checked_number(stop, "stop")
    if low == 0 or high == 0:
        raise ValueError("a logarithmic scale cannot reach 0; start above 0, such as 1e-6")
    if (low < 0) != (high < 0):
        raise ValueError("the ends of geomspace must have the same sign")
    exponents = _evenly(0, 1, num)
    span = math.log(abs(high)) - math.log(abs(low))
    inner = [
        math.copysign(math.exp(math.log(abs(low)) + float(part) * span), low)
        for part in exponents[1:-1]
    ]
    ends = [low] if num == 1 else [low, high]
    return _sequence([ends[0], *map(_tidy, inner), *ends[1:]], "geomspace")


def _sequence(numbers: Sequence[float], kind: str) -> Choice:
    return Choice(tuple(numbers), ordered=True, kind=kind)


def _exact(number: float, what: str) -> Fraction:
    """Return the number that the shortest digits of a float say: 0.1 is one tenth."""
    checked_number(number, what)
    return Fraction(repr(number))


def _evenly(start: float, stop: float, num: int) -> list[Fraction]:
    first, last = _exact(start, "start"), _exact(stop, "stop")
    if type(num) is not int or num < 1:
        raise ValueError(f"the number of values must be a whole number above 0, not {num!r}")
    _refuse_many(num)
    if num == 1:
        return [first]
    return [first + (last - first) * index / (num - 1) for index in range(num)]


def _power(base: float, exponent: Fraction) -> float:
    try:
        if exponent.denominator == 1 and abs(exponent) < 400:
            return float(_exact(base, "base") ** int(exponent))
        return _tidy(math.pow(base, float(exponent)))
    except OverflowError:
        return math.inf


def _tidy(number: float) -> float:
    """Drop the last two of sixteen digits, which ``exp`` and ``pow`` do not get right."""
    return float(f"{number:.13e}")


def _refuse_many(count: int) -> None:
    if count > MAX_LISTED:
        raise ValueError(f"{count} values are more than {MAX_LISTED}: use a distribution")


def _refuse_repeated(values: Sequence[Scalar]) -> None:
    """Raise for values that are equal; Python's == counts 1, 1.0 and True as equal too."""
    seen: dict[Scalar, Scalar] = {}
    for value in values:
        if value in seen:
            first = seen[value]
            if show(first) == show(value):
                raise ValueError(f"the value {show(value)} is listed twice")
            raise ValueError(f"the values {show(first)} and {show(value)} are equal for Python")
        seen[value] = value


def _checked_probabilities(probabilities: Sequence[float], count: int) -> tuple[float, ...]:
    if len(probabilities) != count:
        raise ValueError(f"{len(probabilities)} probabilities for {count} values")
    numbers = [checked_number(share, "a probability") for share in probabilities]
    if not all(share > 0 for share in numbers):
        raise ValueError("a probability must be above 0; leave out what is never chosen")
    total = math.fsum(numbers)
    if abs(total - 1) > _SUM_TOLERANCE:
        raise ValueError(f"probabilities sum to {total:.6g}, not 1")
    return tuple(numbers)


@lru_cache(maxsize=1024)
def _edges(probabilities: tuple[float, ...]) -> tuple[float, ...]:
    """Return where the part of each value ends; the last ends at 1."""
    total = math.fsum(probabilities)
    sums = [part / total for part in accumulate(probabilities)]
    return (*sums[:-1], 1.0)

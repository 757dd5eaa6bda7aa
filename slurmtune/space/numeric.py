"""Domains of numbers given by a distribution, continuous or on steps.

A stepped value is ``round(x / q) * q``, then moved into the bounds: ``QUniform(2, 10, 5)`` gives
2, 5 and 10. ``type="int"`` rounds to whole numbers, the same as steps of 1. Bounds are values,
never logarithms, and both ends count.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist
from typing import ClassVar, Literal

from slurmtune.space.scalar import Scalar, as_number, checked_number, checked_unit, show

NumberType = Literal["float", "int"]
"""Type of the values of a distribution."""

_DIGITS = 10
"""Digits of a continuous value after the leading one of the width of its domain."""
_MAX_STEPS = 2**40
"""Beyond so many steps from 0, floats no longer tell neighbours apart on a logarithmic scale."""
_MAX_LISTED = 1_000_000
"""`values` lists no more than this."""
_LOWEST_U = 2.0**-53
"""Stands for 0 where the quantile of 0 is infinite; 8.2 standard deviations out."""
_STANDARD = NormalDist()


class Distribution(ABC):
    """What all distributions of numbers share; subclasses say bounds, quantiles and steps."""

    __slots__ = ()
    kind: ClassVar[str]

    def __post_init__(self) -> None:
        self._check()

    @property
    @abstractmethod
    def limits(self) -> tuple[float, float]:
        """Least and greatest value; infinite where there is none."""

    @property
    @abstractmethod
    def is_whole(self) -> bool:
        """Whether the values are of type int."""

    @property
    def step(self) -> float | None:
        """Distance of neighbouring values; None when the values are continuous."""
        return 1.0 if self.is_whole else None

    @abstractmethod
    def _check(self) -> None:
        """Raise ValueError for arguments that make no sense."""

    @abstractmethod
    def _quantile(self, u: float) -> float:
        """Return the unrounded number at ``u``."""

    @abstractmethod
    def _share_below(self, x: float) -> float:
        """Return the probability of unrounded numbers below ``x``."""

    def _resolution(self, x: float) -> float:
        """Return the width relative to which the digits of a continuous ``x`` count."""
        del x
        low, high = self.limits
        return high - low

    @abstractmethod
    def _indices(self, step: float) -> tuple[int, int] | None:
        """Return the least and greatest multiple of ``step``, or None when there is no end."""

    @property
    def size(self) -> int | None:
        """Number of values; None when they are continuous or have no end."""
        ends = self._ends()
        return None if ends is None else ends[1] - ends[0] + 1

    def values(self) -> tuple[int | float, ...]:
        """Return all values, increasing.

        Raises:
            ValueError: they are continuous, have no end, or are over a million.
        """
        ends = self._ends()
        if ends is None:
            raise ValueError(f"the values of {self.kind} {self.describe()} cannot be listed")
        if ends[1] - ends[0] >= _MAX_LISTED:
            raise ValueError(f"{self.kind} {self.describe()} has too many values to list")
        step = self.step or 1.0
        return tuple(self._at(index, step) for index in range(ends[0], ends[1] + 1))

    def decode(self, u: float) -> int | float:
        """Return the value at ``u``, from 0 to 1 with both ends."""
        return self._settle(self._quantile(checked_unit(u)))

    def nearest(self, number: float) -> int | float:
        """Return ``number`` rounded as the values are, and moved into the bounds.

        Raises:
            ValueError: it is not a finite number.
        """
        return self._settle(checked_number(number, "number"))

    def _settle(self, x: float) -> int | float:
        """Return the value that an unrounded number stands for."""
        step = self.step
        if step is None:
            # Rounding last would miss a bound that has more digits.
            x = x if x in self.limits else _rounded(x, self._resolution(x))
            return self._into_limits(x) + 0.0
        index = round(x / step)
        ends = self._indices(step)
        if ends is not None:
            index = min(max(index, ends[0]), ends[1])
        return self._at(index, step)

    def encode(self, value: Scalar) -> float:
        """Return the middle of all ``u`` that decode to ``value``."""
        number = float(self.canonical(value))
        step = self.step
        if step is None:
            low, high = self.limits
            share = self._share_below(number)
            # What lies beyond a bound was moved to it: the bound has all of that share.
            middle = share / 2 if number <= low else (1 + share) / 2 if number >= high else share
            return min(max(middle, 0.0), 1.0)
        index = self._index(number, step)
        ends = self._indices(step)
        lower = 0.0 if ends and index <= ends[0] else self._share_below((index - 0.5) * step)
        upper = 1.0 if ends and index >= ends[1] else self._share_below((index + 0.5) * step)
        return min(max(0.5 * (lower + upper), 0.0), 1.0)

    def contains(self, value: Scalar) -> bool:
        """Tell whether ``value`` is a number that can be chosen."""
        number = as_number(value)
        low, high = self.limits
        if number is None or not low <= number <= high:
            return False
        step = self.step
        return step is None or float(self._at(self._index(number, step), step)) == number

    def canonical(self, value: Scalar) -> int | float:
        """Return ``value`` as an int or float, as this distribution gives them."""
        if not self.contains(value):
            raise ValueError(f"{show(value)} is outside {self.describe()}")
        return int(value) if self.is_whole else float(value) + 0.0

    def describe(self) -> str:
        """Return the bounds, or mean and standard deviation, in few words."""
        low, high = self.limits
        return f"{show(low)} .. {show(high)}{self._describe_step()}"

    def _describe_step(self) -> str:
        step = self.step
        return "" if step is None or (step == 1 and self.is_whole) else f" step {show(step)}"

    def _ends(self) -> tuple[int, int] | None:
        step = self.step
        return None if step is None else self._indices(step)

    def _at(self, index: int, step: float) -> int | float:
        """Return ``index * step`` with clean decimals, moved into the bounds."""
        number = self._into_limits(round(index * step, _decimals(step)))
        return int(number) if self.is_whole else number + 0.0

    def _index(self, number: float, step: float) -> int:
        """Return the index that `_at` would turn into ``number``."""
        ends = self._indices(step)
        low, high = self.limits
        if ends is not None and number <= low:
            return ends[0]
        if ends is not None and number >= high:
            return ends[1]
        return round(number / step)

    def _into_limits(self, number: float) -> float:
        low, high = self.limits
        return min(max(number, low), high)


class _Stepped:
    """Turns a distribution into one on multiples of ``q``."""

    __slots__ = ()
    q: float

    @property
    def step(self) -> float | None:
        """Distance of neighbouring values."""
        return self.q


@dataclass(frozen=True, slots=True)
class Uniform(Distribution):
    """Any number from ``low`` to ``high``, all alike."""

    kind: ClassVar[str] = "uniform"
    low: float
    high: float
    type: NumberType = field(default="float", kw_only=True)

    @property
    def limits(self) -> tuple[float, float]:
        """The bounds."""
        return (float(self.low), float(self.high))

    @property
    def is_whole(self) -> bool:
        """Whether the values are of type int."""
        return self.type == "int"

    def _check(self) -> None:
        _check_bounds(self.low, self.high)
        if not math.isfinite(float(self.high) - float(self.low)):
            raise ValueError("the bounds are too far apart")
        _check_step(self)

    def _quantile(self, u: float) -> float:
        return (1.0 - u) * self.low + u * self.high

    def _share_below(self, x: float) -> float:
        return (x - self.low) / (self.high - self.low)

    def _indices(self, step: float) -> tuple[int, int] | None:
        return _indices_between(float(self.low), float(self.high), float(step))


@dataclass(frozen=True, slots=True)
class QUniform(_Stepped, Uniform):
    """Multiples of ``q`` from ``low`` to ``high``: ``round(uniform / q) * q``."""

    kind: ClassVar[str] = "quniform"
    q: float


@dataclass(frozen=True, slots=True)
class LogUniform(Uniform):
    """Any number from ``low`` to ``high``, every order of magnitude alike."""

    kind: ClassVar[str] = "loguniform"

    def _check(self) -> None:
        _check_logarithmic(self.low, self.high, self.kind)
        _check_bounds(self.low, self.high)
        _check_step(self)

    def _quantile(self, u: float) -> float:
        if u in {0.0, 1.0}:  # exp(log(x)) is not quite x
            return self.high if u else self.low
        exponent = (1.0 - u) * math.log(self.low) + u * math.log(self.high)
        return min(max(math.exp(min(exponent, 709.0)), self.low), self.high)

    def _share_below(self, x: float) -> float:
        low = math.log(self.low)
        return (math.log(x) - low) / (math.log(self.high) - low)

    def _resolution(self, x: float) -> float:
        return min(x, self.high - self.low)


@dataclass(frozen=True, slots=True)
class QLogUniform(_Stepped, LogUniform):
    """Multiples of ``q`` from ``low`` to ``high``: ``round(loguniform / q) * q``."""

    kind: ClassVar[str] = "qloguniform"
    q: float


@dataclass(frozen=True, slots=True)
class Integer(Distribution):
    """Any whole number from ``low`` to ``high``, all alike."""

    kind: ClassVar[str] = "int"
    low: int
    high: int

    @property
    def limits(self) -> tuple[float, float]:
        """The bounds."""
        return (float(self.low), float(self.high))

    @property
    def is_whole(self) -> bool:
        """Always."""
        return True

    def _check(self) -> None:
        _check_bounds(self.low, self.high)
        _check_step(self)

    def _quantile(self, u: float) -> float:
        return self.low - 0.5 + u * (self.high - self.low + 1)

    def _share_below(self, x: float) -> float:
        return (x - self.low + 0.5) / (self.high - self.low + 1)

    def _indices(self, step: float) -> tuple[int, int] | None:
        del step
        return (int(self.low), int(self.high))


@dataclass(frozen=True, slots=True)
class LogInteger(Integer):
    """Any whole number from ``low`` to ``high``, every order of magnitude alike.

    A number ``k`` takes the part from ``k - 0.5`` to ``k + 0.5`` of a logarithmic scale.
    """

    kind: ClassVar[str] = "logint"

    def _check(self) -> None:
        _check_logarithmic(self.low, self.high, self.kind)
        _check_bounds(self.low, self.high)
        _check_step(self)

    def _quantile(self, u: float) -> float:
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return math.exp((1.0 - u) * low + u * high)

    def _share_below(self, x: float) -> float:
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return (math.log(x) - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Normal(Distribution):
    """Numbers around ``mean`` with standard deviation ``sd``.

    ``clip`` moves numbers beyond its two bounds to the nearer bound.
    """

    kind: ClassVar[str] = "normal"
    mean: float
    sd: float
    clip: tuple[float, float] | None = field(default=None, kw_only=True)
    type: NumberType = field(default="float", kw_only=True)

    @property
    def limits(self) -> tuple[float, float]:
        """The bounds of ``clip``; infinite without."""
        if self.clip is None:
            return (-math.inf, math.inf)
        return (float(self.clip[0]), float(self.clip[1]))

    @property
    def is_whole(self) -> bool:
        """Whether the values are of type int."""
        return self.type == "int"

    def describe(self) -> str:
        """Return mean, standard deviation, step and clip in few words."""
        words = f"mean {show(self.mean)} sd {show(self.sd)}{self._describe_step()}"
        if self.clip is not None:
            words += f" clip {show(self.clip[0])} .. {show(self.clip[1])}"
        return words

    def _check(self) -> None:
        checked_number(self.mean, "mean")
        if checked_number(self.sd, "standard deviation") <= 0:
            raise ValueError(f"the standard deviation must be above 0, not {show(self.sd)}")
        if self.clip is not None:
            if len(self.clip) != 2:
                raise ValueError("clip needs 2 numbers: [low, high]")
            _check_bounds(*self.clip)
            object.__setattr__(self, "clip", (self.clip[0], self.clip[1]))
        _check_step(self)

    def _quantile(self, u: float) -> float:
        u = min(max(u, _LOWEST_U), 1.0 - _LOWEST_U)
        return self.mean + self.sd * _STANDARD.inv_cdf(u)

    def _share_below(self, x: float) -> float:
        # erfc keeps the digits of the lower tail, which 1 + erf loses.
        return 0.5 * math.erfc((self.mean - x) / (self.sd * math.sqrt(2.0)))

    def _resolution(self, x: float) -> float:
        del x
        return self.sd

    def _indices(self, step: float) -> tuple[int, int] | None:
        low, high = self.limits
        if math.isinf(low) or math.isinf(high):
            return None
        return _indices_around(low, high, float(step))


@dataclass(frozen=True, slots=True)
class QNormal(_Stepped, Normal):
    """Multiples of ``q`` around ``mean``: ``round(normal / q) * q``."""

    kind: ClassVar[str] = "qnormal"
    q: float


@dataclass(frozen=True, slots=True)
class LogNormal(Normal):
    """``exp`` of a normal distribution; ``mean`` and ``sd`` are those of the logarithm."""

    kind: ClassVar[str] = "lognormal"

    @property
    def limits(self) -> tuple[float, float]:
        """The bounds of ``clip``; without, anything from 0."""
        if self.clip is None:
            return (0.0, math.inf)
        return (float(self.clip[0]), float(self.clip[1]))

    def describe(self) -> str:
        """Return the parameters of the logarithm, step and clip in few words."""
        words = f"exp(mean {show(self.mean)} sd {show(self.sd)}){self._describe_step()}"
        if self.clip is not None:
            words += f" clip {show(self.clip[0])} .. {show(self.clip[1])}"
        return words

    def _check(self) -> None:
        mean = checked_number(self.mean, "mean")
        if abs(mean) + 9 * abs(checked_number(self.sd, "standard deviation")) > 700:
            raise ValueError(
                f"exp of mean {show(self.mean)} and sd {show(self.sd)} leaves the range of "
                "numbers; they are those of the logarithm"
            )
        Normal._check(self)  # noqa: SLF001  super() does not work in a dataclass with slots
        if self.clip is not None and self.clip[0] < 0:
            raise ValueError(f"{self.kind} is never below 0: clip cannot begin at {self.clip[0]}")

    def _quantile(self, u: float) -> float:
        u = min(max(u, _LOWEST_U), 1.0 - _LOWEST_U)
        return math.exp(self.mean + self.sd * _STANDARD.inv_cdf(u))

    def _share_below(self, x: float) -> float:
        if x <= 0:
            return 0.0
        return 0.5 * math.erfc((self.mean - math.log(x)) / (self.sd * math.sqrt(2.0)))

    def _resolution(self, x: float) -> float:
        return x


@dataclass(frozen=True, slots=True)
class QLogNormal(_Stepped, LogNormal):
    """Multiples of ``q``, from 0: ``round(lognormal / q) * q``."""

    kind: ClassVar[str] = "qlognormal"
    q: float


def _check_bounds(low: float, high: float) -> None:
    checked_number(low, "low")
    checked_number(high, "high")
    if low > high:
        raise ValueError(f"low {show(low)} is above high {show(high)}; swap them")
    if low == high:
        raise ValueError(f"low and high are both {show(low)}; use fixed for one value")


def _check_logarithmic(low: float, high: float, kind: str) -> None:
    if min(checked_number(low, "low"), checked_number(high, "high")) < 0:
        raise ValueError(f"bounds of {kind} are values and must be above 0, not logarithms")
    if low == 0 or high == 0:
        raise ValueError("a logarithmic scale cannot reach 0; start above 0, such as 1e-6")
    if kind == "logint" and low < 1:
        raise ValueError(f"bounds of {kind} are whole numbers above 0")


def _check_step(domain: Distribution) -> None:
    """Raise for a step that does not go with the bounds or the type."""
    kind = getattr(domain, "type", "int")
    if kind not in {"float", "int"}:
        raise ValueError(f"type must be float or int, not {kind!r}")
    step = domain.step
    if step is None:
        return
    if checked_number(step, "q") <= 0:
        raise ValueError(f"the step q must be above 0, not {show(step)}")
    ends = [limit for limit in domain.limits if math.isfinite(limit)]
    if domain.is_whole:
        for number in (step, *ends):
            if not float(number).is_integer():
                raise ValueError(f"whole numbers need whole bounds and steps, not {show(number)}")
    if any(abs(limit) / step > _MAX_STEPS for limit in ends):
        raise ValueError(f"the bounds are more than {_MAX_STEPS} steps of {show(step)} from 0")
    # In decimals: 0.3 - 0.2 is below 0.1 for floats.
    if len(ends) == 2 and _exact(step) > _exact(ends[1]) - _exact(ends[0]):
        raise ValueError(f"the step {show(step)} is longer than the way from low to high")


@lru_cache(maxsize=1024)
def _indices_between(low: float, high: float, step: float) -> tuple[int, int]:
    """Return the multiples that numbers from ``low`` to ``high`` round to.

    A multiple that is met only at the very end, half a step beyond it, is left out.
    """
    half, stride = Fraction(1, 2), _exact(step)
    first = math.floor(_exact(low) / stride + half)
    return (first, math.ceil(_exact(high) / stride - half))


@lru_cache(maxsize=1024)
def _indices_around(low: float, high: float, step: float) -> tuple[int, int]:
    """Return the multiples that stand for the bounds when numbers may lie beyond them."""
    stride = _exact(step)
    first = math.floor(_exact(low) / stride)
    return (first, math.ceil(_exact(high) / stride))


def _exact(number: float) -> Fraction:
    """Return the number that the shortest digits of a float say: 0.1 is one tenth."""
    return Fraction(repr(number))


@lru_cache(maxsize=1024)
def _decimals(step: float) -> int:
    """Return how many decimals ``step`` is written with."""
    exponent = Decimal(repr(step)).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _rounded(number: float, width: float) -> float:
    """Return ``number`` with ten digits after the leading one of ``width``."""
    if width <= 0 or number == 0:
        return number
    return round(number, _DIGITS - math.floor(math.log10(width)))

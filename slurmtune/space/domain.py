"""The one interface to the values of a hyperparameter, and every domain that has it."""

from __future__ import annotations

from typing import Protocol

from slurmtune.space.choice import (
    Choice,
    Fixed,
    boolean,
    from_range,
    geomspace,
    linspace,
    logspace,
)
from slurmtune.space.numeric import (
    Distribution,
    Integer,
    LogInteger,
    LogNormal,
    LogUniform,
    Normal,
    NumberType,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    Uniform,
)
from slurmtune.space.scalar import Config, Scalar

__all__ = [
    "Choice",
    "Config",
    "Distribution",
    "Domain",
    "Fixed",
    "Integer",
    "LogInteger",
    "LogNormal",
    "LogUniform",
    "Normal",
    "NumberType",
    "QLogNormal",
    "QLogUniform",
    "QNormal",
    "QUniform",
    "Scalar",
    "Uniform",
    "boolean",
    "from_range",
    "geomspace",
    "linspace",
    "logspace",
]


class Domain(Protocol):
    """The values of one hyperparameter and how likely they are.

    `decode` is the inverse of the distribution function, so a uniform ``u`` gives a value of the
    distribution. It never decreases in ``u`` for numbers. Continuous values carry eleven digits,
    counted from the width of their domain: more than any training can tell apart, short in
    tables, and equal on machines whose ``exp`` and ``log`` differ in the last bit.
    """

    @property
    def kind(self) -> str:
        """Name of the distribution as the spec writes it: ``loguniform``."""
        ...

    @property
    def size(self) -> int | None:
        """Number of values; None when they cannot be listed."""
        ...

    def decode(self, u: float) -> Scalar:
        """Return the value at ``u``, which is from 0 to 1 with both ends.

        Raises:
            ValueError: ``u`` is outside.
        """
        ...

    def encode(self, value: Scalar) -> float:
        """Return the middle of all ``u`` that decode to ``value``.

        Exact for listed values; the far ends of normal distributions, over seven standard
        deviations out, all encode alike.

        Raises:
            ValueError: the domain does not contain ``value``.
        """
        ...

    def contains(self, value: Scalar) -> bool:
        """Tell whether ``value`` can be chosen; 1 and 1.0 are the same, True is neither."""
        ...

    def canonical(self, value: Scalar) -> Scalar:
        """Return ``value`` in the type of this domain: 1 is 1.0 among floats.

        Raises:
            ValueError: the domain does not contain ``value``.
        """
        ...

    def values(self) -> tuple[Scalar, ...]:
        """Return all values in order.

        Raises:
            ValueError: they cannot be listed.
        """
        ...

    def describe(self) -> str:
        """Return the values in few words: ``1e-05 .. 0.1``."""
        ...

"""When a hyperparameter is active: what its ``when`` asks of other hyperparameters.

``{optimizer = ["sgd", "lion"], depth = ">= 3"}`` holds when every entry holds. A hyperparameter
that is not active is absent from the config, and an entry about an absent one does not hold.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from slurmtune.space.scalar import Config, Scalar, as_number, checked_scalar, same, show

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_COMPARISON = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value must be (or, if ``negated``, must not be) one of these."""

    options: tuple[Scalar, ...]
    negated: bool = False

    def holds(self, value: Scalar) -> bool:
        """Tell whether ``value`` satisfies this."""
        return any(same(option, value) for option in self.options) != self.negated

    def describe(self) -> str:
        """Return this as words after the name: ``is sgd or lion``."""
        return f"is {'not ' if self.negated else ''}{' or '.join(map(show, self.options))}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The value must be a number on this side of ``bound``."""

    operator: str
    """One of ``>=  <=  >  <``."""
    bound: float

    def holds(self, value: Scalar) -> bool:
        """Tell whether ``value`` satisfies this; text and booleans never do."""
        number = as_number(value)
        return number is not None and _COMPARE[self.operator](number, self.bound)

    def describe(self) -> str:
        """Return this as words after the name: ``>= 3``."""
        return f"{self.operator} {show(self.bound)}"


Requirement = OneOf | Comparison
"""What is asked of one value."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Requirements joined by "and", each with the name it is about."""

    requirements: tuple[tuple[str, Requirement], ...]

    def __post_init__(self) -> None:
        if not self.requirements:
            raise ValueError("a condition needs at least one entry; leave 'when' out otherwise")

    @classmethod
    def parse(cls, when: Mapping[str, object]) -> Condition:
        """Return the condition that a ``when`` table says.

        A list means "one of"; a text that begins with an operator is a comparison.

        Raises:
            ValueError: an entry is no value, list of values or comparison.
        """
        return cls(tuple((name, _requirement(name, asked)) for name, asked in when.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """Hyperparameters that this is about."""
        return tuple(name for name, _ in self.requirements)

    def holds(self, config: Config) -> bool:
        """Tell whether every requirement holds for the values in ``config``."""
        return all(
            name in config and requirement.holds(config[name])
            for name, requirement in self.requirements
        )

    def describe(self) -> str:
        """Return the condition in words: ``optimizer is sgd and depth >= 3``."""
        return " and ".join(f"{name} {asked.describe()}" for name, asked in self.requirements)


def activation_order(conditions: Mapping[str, Condition | None]) -> tuple[str, ...]:
    """Return the names so that each comes after all that its condition is about.

    The given order is kept as far as that allows.

    Raises:
        ValueError: a condition is about an unknown name, or conditions depend on each other.
    """
    order: list[str] = []
    done: set[str] = set()
    for name in conditions:
        _visit(name, conditions, order, done, ())
    return tuple(order)


def _visit(
    name: str,
    conditions: Mapping[str, Condition | None],
    order: list[str],
    done: set[str],
    path: Sequence[str],
) -> None:
    if name in done:
        return
    if name in path:
        circle = " -> ".join((*path[path.index(name) :], name))
        raise ValueError(f"these conditions depend on each other: {circle}")
    condition = conditions[name]
    for parent in condition.names if condition is not None else ():
        if parent not in conditions:
            known = ", ".join(conditions)
            raise ValueError(
                f"the condition of {name!r}: {parent!r} is not a hyperparameter; known: {known}"
            )
        _visit(parent, conditions, order, done, (*path, name))
    done.add(name)
    order.append(name)


def _requirement(name: str, asked: object) -> Requirement:
    if isinstance(asked, list | tuple):
        if not asked:
            raise ValueError(f"the condition on {name!r} allows nothing: the list is empty")
        return OneOf(tuple(checked_scalar(value) for value in asked))
    if isinstance(asked, str) and (found := _COMPARISON.fullmatch(asked)) is not None:
        return _comparison(name, found.group(1), found.group(2))
    return OneOf((checked_scalar(asked),))


def _comparison(name: str, sign: str, text: str) -> Requirement:
    if not text:
        raise ValueError(f"the condition on {name!r} compares with nothing; write '{sign} 3'")
    value = _literal(text)
    if sign in {"==", "!="}:
        return OneOf((value,), negated=sign == "!=")
    bound = as_number(value)
    if bound is None:
        raise ValueError(f"the condition on {name!r}: '{sign}' needs a number, found {text!r}")
    return Comparison(sign, bound)


def _literal(text: str) -> Scalar:
    """Return the number, truth value or text that ``text`` spells, with or without quotes."""
    if text in {"true", "True"}:
        return True
    if text in {"false", "False"}:
        return False
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    for kind in (int, float):
        try:
            return checked_scalar(kind(text))
        except ValueError:
            continue
    return text

"""All hyperparameters together: configs from points of the unit cube, and back.

A point has one coordinate for each hyperparameter that is not fixed, in the order of the spec.
Coordinates of hyperparameters that are not active have no effect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import TYPE_CHECKING

from slurmtune.space.condition import Comparison, Condition, OneOf, activation_order
from slurmtune.space.domain import Domain, Fixed
from slurmtune.space.expression import Expression
from slurmtune.space.scalar import Config, Scalar, as_number, show

if TYPE_CHECKING:
    import numpy as np

_MIDDLE = 0.5
"""Coordinate of a hyperparameter that is not active."""
_MAX_GROUPED = 1_000_000
"""`Space.size` looks at each value of a hyperparameter that conditions are about, up to these."""
_MAX_REFUSED = 1_000_000
"""So many combinations in a row that break the constraints end a grid with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameter:
    """A name with its domain, and when it is active."""

    name: str
    domain: Domain
    default: Scalar | None = None
    """A value of the domain; None when the user gave none."""
    when: Condition | None = None
    """None: always active."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a hyperparameter needs a name")
        if self.default is not None:
            if not self.domain.contains(self.default):
                raise ValueError(
                    f"{self.name}: default {show(self.default)} is outside "
                    f"{self.domain.describe()}"
                )
            object.__setattr__(self, "default", self.domain.canonical(self.default))


class Space:
    """The hyperparameters, their conditions, and the constraints that every config keeps."""

    def __init__(
        self,
        hyperparameters: Sequence[Hyperparameter],
        constraints: Mapping[str, Expression] | None = None,
    ) -> None:
        """Check that names, conditions and constraints go together.

        Raises:
            ValueError: a name stands twice or is unknown, conditions depend on each other, or ask
                for a value that cannot be chosen.
        """
        self._by_name = {item.name: item for item in hyperparameters}
        if len(self._by_name) < len(hyperparameters):
            names = [item.name for item in hyperparameters]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the hyperparameter {twice!r} is given twice")
        self._constraints = dict(constraints or {})
        order = activation_order({item.name: item.when for item in hyperparameters})
        self._order = tuple(self._by_name[name] for name in order)
        self._in_spec_order = order == tuple(self._by_name)
        self._coordinates = {
            name: index
            for index, name in enumerate(
                item.name for item in hyperparameters if not isinstance(item.domain, Fixed)
            )
        }
        self._check_conditions()
        self._check_constraints()

    @property
    def hyperparameters(self) -> tuple[Hyperparameter, ...]:
        """All hyperparameters in the order of the spec."""
        return tuple(self._by_name.values())

    @property
    def constraints(self) -> Mapping[str, Expression]:
        """The constraints by name."""
        return dict(self._constraints)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the spec."""
        return tuple(self._by_name)

    @property
    def searched(self) -> tuple[str, ...]:
        """Names that are not fixed: the coordinates of a point, in their order."""
        return tuple(self._coordinates)

    @property
    def dimension(self) -> int:
        """Number of coordinates of a point."""
        return len(self._coordinates)

    @property
    def size(self) -> int | None:
        """Number of distinct configs before constraints; None when there is no end to them.

        An upper bound when a condition is about a hyperparameter of over a million values.
        """
        sizes = {item.name: item.domain.size for item in self._order}
        if None in sizes.values():
            return None
        watched = _watched(self._order)
        if any((sizes[name] or 0) > _MAX_GROUPED for name in watched):
            return reduce(mul, (size or 0 for size in sizes.values()), 1)
        return self._count(0, {}, watched)

    def __getitem__(self, name: str) -> Hyperparameter:
        return self._by_name[name]

    def __len__(self) -> int:
        return len(self._by_name)

    def decode(self, point: Sequence[float]) -> Config:
        """Return the config at ``point``; constraints are not looked at.

        Raises:
            ValueError: the point has another dimension, or lies outside the unit cube.
        """
        return self._assemble(point, {})

    def complete(self, partial: Config, point: Sequence[float]) -> Config:
        """Return ``partial`` with what is missing taken from ``point``.

        A given value whose hyperparameter turns out not to be active is left out.

        Raises:
            ValueError: as `decode`; an unknown name or a value outside its domain.
        """
        return self._assemble(point, self._canonical(partial))

    def encode(self, config: Config) -> tuple[float, ...]:
        """Return the point in the middle of all that decode to ``config``.

        Hyperparameters that are not active get 0.5.

        Raises:
            ValueError: a value is outside its domain.
        """
        return tuple(
            self._by_name[name].domain.encode(config[name]) if name in config else _MIDDLE
            for name in self._coordinates
        )

    def defaults(self) -> Config:
        """Return the defaults; the middle of the domain where the user gave none."""
        given = {item.name: item.default for item in self._order if item.default is not None}
        return self._assemble([_MIDDLE] * self.dimension, given)

    def accepts(self, config: Config) -> bool:
        """Tell whether ``config`` is one of this space.

        It holds exactly the active hyperparameters, each within its domain, and keeps the
        constraints.
        """
        for item in self._order:
            is_active = item.when is None or item.when.holds(config)
            if is_active != (item.name in config):
                return False
            if is_active and not item.domain.contains(config[item.name]):
                return False
        return config.keys() <= self._by_name.keys() and self.keeps_constraints(config)

    def keeps_constraints(self, config: Config) -> bool:
        """Tell whether ``config`` keeps all constraints.

        Raises:
            ValueError: a constraint mixes up text and numbers; the message names it.
        """
        return all(self._holds(name, rule, config) for name, rule in self._constraints.items())

    def broken(self, config: Config) -> tuple[str, ...]:
        """Return the names of the constraints that ``config`` breaks.

        Raises:
            ValueError: as `keeps_constraints`.
        """
        return tuple(
            name for name, rule in self._constraints.items() if not self._holds(name, rule, config)
        )

    def check_start(self, partial: Config) -> None:
        """Raise when no config of this space holds the values of a start point.

        Raises:
            ValueError: an unknown name, a value outside its domain, a value that can have no
                effect because of another one, or a broken constraint.
        """
        given = self._canonical(partial)
        for name in given:
            when = self._by_name[name].when
            for parent, asked in when.requirements if when is not None else ():
                if parent in given and not asked.holds(given[parent]):
                    raise ValueError(
                        f"{name!r} has no effect here: it needs {parent} {asked.describe()}"
                    )
        for name in self.broken(given):
            rule = self._constraints[name].text
            raise ValueError(f"breaks the constraint {name!r}: {rule}")

    def key(self, config: Config) -> str:
        """Return the identity of ``config``: the same text exactly for the same config.

        The order of the names does not matter. Types do: 1, 1.0 and True are three values, so
        that a config means the same to the program whichever trial it came from; configs of this
        space have one type for each value anyway.
        """
        return json.dumps(dict(config), sort_keys=True, separators=(",", ":"))

    def grid(self) -> Iterator[Config]:
        """Return all configs that keep the constraints, each once; the last name changes fastest.

        A hyperparameter that others depend on comes before these, wherever the spec has it.

        Raises:
            ValueError: a hyperparameter has no list of values; or, while iterating, a million
                combinations in a row break the constraints.
        """
        for item in self._order:
            if item.domain.size is None:
                raise ValueError(
                    f"grid search cannot enumerate the continuous {item.name!r}; "
                    'use linspace or geomspace, or sampler = "sobol"'
                )
        lists = [item.domain.values() for item in self._order]
        return self._kept(self._combinations(0, {}, lists, self._rules_by_depth()))

    def draw(self, generator: np.random.Generator) -> Config:
        """Return the config at a random point; constraints are not looked at."""
        return self.decode(generator.random(self.dimension).tolist())

    def constraint_share(self, generator: np.random.Generator, draws: int = 10_000) -> float:
        """Return the share of random configs that keep the constraints.

        Raises:
            ValueError: as `keeps_constraints`.
        """
        if not self._constraints:
            return 1.0
        return sum(self.keeps_constraints(self.draw(generator)) for _ in range(draws)) / draws

    def _assemble(self, point: Sequence[float], given: Mapping[str, Scalar]) -> Config:
        if len(point) != len(self._coordinates):
            raise ValueError(
                f"a point of this space has {len(self._coordinates)} coordinates, not {len(point)}"
            )
        coordinates = self._coordinates
        config: dict[str, Scalar] = {}
        for item in self._order:
            name = item.name
            if item.when is not None and not item.when.holds(config):
                continue
            if name in given:
                config[name] = given[name]
            elif name in coordinates:
                config[name] = item.domain.decode(point[coordinates[name]])
            else:
                config[name] = item.domain.decode(_MIDDLE)
        return config if self._in_spec_order else self._sorted(config)

    def _sorted(self, config: Config) -> Config:
        return {name: config[name] for name in self._by_name if name in config}

    def _canonical(self, partial: Config) -> dict[str, Scalar]:
        """Return the given values in the types of their domains."""
        given: dict[str, Scalar] = {}
        for name, value in partial.items():
            if name not in self._by_name:
                known = ", ".join(self._by_name)
                raise ValueError(f"{name!r} is not a hyperparameter; known: {known}")
            try:
                given[name] = self._by_name[name].domain.canonical(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return given

    def _holds(self, name: str, rule: Expression, config: Config) -> bool:
        try:
            return rule.holds(config)
        except ValueError as error:
            raise ValueError(f"constraint {name!r}: {error} in {rule.text!r}") from None

    def _check_conditions(self) -> None:
        for item in self._order:
            for parent, asked in item.when.requirements if item.when is not None else ():
                domain = self._by_name[parent].domain
                words = f"the condition of {item.name!r}: {parent!r} is never"
                if isinstance(asked, Comparison):
                    if as_number(domain.decode(_MIDDLE)) is None:
                        raise ValueError(f"{words} a number; its values: {domain.describe()}")
                    continue
                for option in asked.options:
                    if not domain.contains(option):
                        raise ValueError(
                            f"{words} {show(option)}; its values: {domain.describe()}"
                        )

    def _check_constraints(self) -> None:
        for name, rule in self._constraints.items():
            if not rule.names:
                raise ValueError(f"constraint {name!r} is about no hyperparameter: {rule.text}")
            unknown = sorted(rule.names - self._by_name.keys())
            if unknown:
                raise ValueError(
                    f"constraint {name!r}: {unknown[0]!r} is not a hyperparameter "
                    f"(text needs quotes); known: {', '.join(self._by_name)}"
                )

    def _rules_by_depth(self) -> list[list[tuple[str, Expression]]]:
        """Return the constraints that can be judged as soon as the n-th name has its value."""
        depths = {item.name: depth for depth, item in enumerate(self._order)}
        rules: list[list[tuple[str, Expression]]] = [[] for _ in self._order]
        for name, rule in self._constraints.items():
            rules[max(depths[used] for used in rule.names)].append((name, rule))
        return rules

    def _combinations(
        self,
        depth: int,
        config: dict[str, Scalar],
        lists: Sequence[tuple[Scalar, ...]],
        rules: Sequence[Sequence[tuple[str, Expression]]],
    ) -> Iterator[Config | None]:
        """Yield every combination below ``config``, and None for a branch that breaks a rule."""
        if depth == len(self._order):
            yield self._sorted(config)
            return
        item = self._order[depth]
        is_active = item.when is None or item.when.holds(config)
        for value in lists[depth] if is_active else (None,):
            if value is not None:
                config[item.name] = value
            if all(self._holds(name, rule, config) for name, rule in rules[depth]):
                yield from self._combinations(depth + 1, config, lists, rules)
            else:
                yield None
        config.pop(item.name, None)

    def _kept(self, combinations: Iterator[Config | None]) -> Iterator[Config]:
        refused = 0
        for config in combinations:
            if config is not None:
                refused = 0
                yield config
                continue
            refused += 1
            if refused == _MAX_REFUSED:
                names = ", ".join(self._constraints)
                raise ValueError(
                    f"{_MAX_REFUSED} combinations in a row break the constraints ({names})"
                )

    def _count(self, depth: int, config: dict[str, Scalar], watched: Mapping[str, _Test]) -> int:
        """Return how many configs begin with ``config``, which holds watched names only."""
        rest = self._order[depth:]
        if not any(item.when is not None for item in rest):
            return reduce(mul, (item.domain.size or 0 for item in rest), 1)
        item = rest[0]
        if item.when is not None and not item.when.holds(config):
            return self._count(depth + 1, config, watched)
        size = item.domain.size or 0
        if item.name not in watched:
            return size * self._count(depth + 1, config, watched)
        groups: dict[tuple[bool, ...], list[Scalar]] = {}
        for value in item.domain.values():
            groups.setdefault(watched[item.name](value), []).append(value)
        return sum(
            len(group) * self._count(depth + 1, {**config, item.name: group[0]}, watched)
            for group in groups.values()
        )


_Test = Callable[[Scalar], tuple[bool, ...]]


def _watched(hyperparameters: Sequence[Hyperparameter]) -> Mapping[str, _Test]:
    """Return for each name that conditions are about which of its requirements a value meets.

    Values that meet the same requirements make the same hyperparameters active.
    """
    asked: dict[str, list[OneOf | Comparison]] = {}
    for item in hyperparameters:
        for parent, requirement in item.when.requirements if item.when is not None else ():
            asked.setdefault(parent, []).append(requirement)

    def test(requirements: Sequence[OneOf | Comparison]) -> _Test:
        return lambda value: tuple(requirement.holds(value) for requirement in requirements)

    return {name: test(requirements) for name, requirements in asked.items()}

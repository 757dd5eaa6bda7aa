"""What only the whole space shows: rules that nothing keeps, start points that cannot be."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from slurmtune.errors import SpecError
from slurmtune.space.space import Space
from slurmtune.spec.build import build_space
from slurmtune.spec.model import Spec
from slurmtune.spec.problem import Problem
from slurmtune.spec.rungs import trial_limit
from slurmtune.spec.source import Path, Tree

DRAWS = 2000
"""Random configs from which the share that keeps the constraints is taken."""


def problems_of_space(tree: Tree, spec: Spec) -> Iterator[Problem]:
    """Yield what is wrong with the constraints and the start points of an otherwise right spec."""
    if not spec.constraints and not spec.start:
        return
    try:
        space = build_space(spec)
    except SpecError:
        return  # told, with its own words, by whoever needs the space
    found = list(_impossible_starts(tree, space))
    yield from found
    if not found:
        yield from _impossible_rules(tree, spec, space)


def points(space: Space, seed: int, number: int) -> Iterator[list[float]]:
    """Yield points for examples; the real draws come from the sampler, which would need numpy."""
    source = random.Random(seed)  # noqa: S311 - for the eye
    return ([source.random() for _ in range(space.dimension)] for _ in range(number))


def share_kept(space: Space) -> float:
    """Return the share of random configs that keep the constraints.

    Raises:
        ValueError: a rule has no answer for one of them.
    """
    if not space.constraints:
        return 1.0
    return sum(space.keeps_constraints(space.decode(p)) for p in points(space, 0, DRAWS)) / DRAWS


def _impossible_starts(tree: Tree, space: Space) -> Iterator[Problem]:
    given = tree.get(("start",))
    is_single = isinstance(given, Mapping)
    tables: list[Any] = [given] if is_single else given or []
    for index, table in enumerate(tables):
        path: Path = ("start",) if is_single else ("start", index)
        try:
            space.check_start(table)
        except ValueError as error:
            fix = "change the start point: leave values out, and they are drawn"
            yield tree.problem("S25", f"start point: {error}", path, fix=fix, at_key=True)


def _impossible_rules(tree: Tree, spec: Spec, space: Space) -> Iterator[Problem]:
    limit = trial_limit(spec)
    if not spec.constraints or (limit is not None and limit <= len(spec.start)):
        return
    broken = dict.fromkeys(space.constraints, 0)
    is_possible = False
    for point in points(space, 0, DRAWS):
        config = space.decode(point)
        before = sum(broken.values())
        for name, rule in space.constraints.items():
            try:
                broken[name] += not rule.holds(config)
            except ValueError as error:
                fix = f"such as for {dict(config)}"
                yield tree.problem("S24", f"{error}", ("constraints", name), fix=fix)
                return
        is_possible = is_possible or sum(broken.values()) == before
    if is_possible or (spec.search.sampler == "grid" and _has_grid(space)):
        return
    worst = max(broken, key=broken.__getitem__)
    so = "this rule" if broken[worst] == DRAWS else "all rules, and this one least often"
    message = f"none of {DRAWS} random configs keeps {so}"
    fix = "loosen the rule, or change the space so that some of its configs keep it"
    yield tree.problem("S24", message, ("constraints", worst), fix=fix)


def _has_grid(space: Space) -> bool:
    """Tell whether a grid finds a config, however seldom they are."""
    try:
        return next(space.grid(), None) is not None
    except ValueError:
        return False

"""Where the config of a trial comes from: its ancestors, and what each step changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slurmtune.core.events import Config
from slurmtune.core.ports import Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One hyperparameter that differs between parent and child."""

    name: str
    old: Any
    """None where the parent does not have it, since its condition does not hold."""
    new: Any
    """None where the child does not have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One trial of a lineage."""

    trial: int
    parent: int | None
    """The trial that its config was varied from; None for the first of the line."""
    rung: int
    """Rung that it was trained up to first."""
    continues: bool
    """Whether it went on from what the parent had saved at the rung below."""
    changes: tuple[Change, ...]
    """In the order of the names in the child's config; what it lacks comes last."""


def lineage(
    trial: int,
    configs: Sequence[Config],
    asked: Sequence[Asked],
    sources: Sequence[int | None],
) -> tuple[Step, ...]:
    """Return the line of first parents that ends with ``trial``, the oldest first.

    Args:
        trial: The youngest.
        configs: By trial number.
        asked: By trial number.
        sources: Trial that each trial's training continues, by trial number.

    Raises:
        ValueError: there is no such trial, or a trial has a parent that came after it.
    """
    steps: list[Step] = []
    number: int | None = trial
    while number is not None:
        if not 0 <= number < len(configs):
            raise ValueError(f"trial {number} does not exist")
        parent = next(iter(asked[number].parents), None)
        if parent is not None and parent >= number:
            raise ValueError(f"trial {number} cannot be varied from trial {parent}")
        steps.append(
            Step(
                trial=number,
                parent=parent,
                rung=asked[number].rung,
                continues=parent is not None and sources[number] == parent,
                changes=() if parent is None else _changes(configs[parent], configs[number]),
            )
        )
        number = parent
    return tuple(reversed(steps))


def _changes(old: Config, new: Config) -> tuple[Change, ...]:
    names = [*new, *(name for name in old if name not in new)]
    return tuple(
        Change(name=name, old=old.get(name), new=new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    )

"""What all schedulers with a ladder of rungs share: the ladder and its reduction factor."""

from __future__ import annotations

from collections.abc import Sequence

from slurmtune.core.events import Resource
from slurmtune.core.resource import check_reduction_factor, explicit_levels
from slurmtune.schedulers.base import BaseScheduler

LAST_RUNG = "this is the last rung"
"""`Standing.rule` where there is nothing to go on to."""
NEVER_FAILED = "never: it failed or has no finite result"
"""`Standing.outlook` of a trial without a loss."""


class LadderScheduler(BaseScheduler):
    """One ladder, for one bracket or several; subclasses decide who climbs it."""

    def __init__(self, levels: Sequence[Resource], reduction_factor: int) -> None:
        self._levels = explicit_levels(levels)
        check_reduction_factor(reduction_factor)
        self._reduction_factor = reduction_factor

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return the resource of each rung, the same in every bracket."""
        if bracket:  # there always is the first one, and most ask for that
            self._check_bracket(bracket)
        return self._levels

    @property
    def _last(self) -> int:
        return len(self._levels) - 1

    def _check_bracket(self, bracket: int) -> None:
        """Let the brackets pass that there are: only bracket 0."""
        check_bracket(bracket)


def check_bracket(bracket: int) -> None:
    """Let bracket 0 pass.

    Raises:
        ValueError: it is another bracket.
    """
    if bracket != 0:
        raise ValueError(f"there is only bracket 0, not {bracket}")

"""Answers that most schedulers give alike: derive from this, and write what is your own."""

from __future__ import annotations

from collections.abc import Sequence

from slurmtune.core.events import Resource
from slurmtune.core.ports import Leaders, Standing


class BaseScheduler:
    """A scheduler whose trials pause at each rung and are promoted; see `core.ports.Scheduler`.

    What is left to write: ``ladder``, ``decide``, ``started`` and ``finished``. `standing` and
    `compared` are worth writing too: without them no decision can be explained.
    """

    @property
    def runs_through(self) -> bool:
        """False: a trial pauses at each rung until it is promoted."""
        return False

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Never asked: a trial pauses at each rung by itself."""
        raise ValueError(
            f"trial {trial} pauses at rung {rung} by itself, whatever its loss ({loss})"
        )

    @property
    def watches(self) -> bool:
        """False: only what is finished counts."""
        return False

    def reported(self, trial: int, resource: Resource, loss: float | None) -> bool:
        """Never asked: only what is finished counts."""
        raise ValueError(f"nobody wants to know of trial {trial} at {resource} ({loss})")

    @property
    def separate_rungs(self) -> bool:
        """False: a higher rung goes on from the one below."""
        return False

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return None: nothing is known."""
        del trial, rung
        return None

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return nothing."""
        del trial, rung
        return ()

    def leaders(self) -> Leaders | None:
        """Return None: losses at the highest rung tell who is best."""
        return None

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return nothing: as far as is known everything may still be needed."""
        del trials
        return ()

    @property
    def copies(self) -> bool:
        """False: every trial trains from its own state."""
        return False

    def is_control(self, trial: int) -> bool:
        """False: every trial is judged."""
        del trial
        return False

    def drop(self, rung: int) -> bool:
        """Return False: no rung can be left out."""
        del rung
        return False

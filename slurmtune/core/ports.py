"""The narrow interfaces by which the study asks for knowledge it does not have itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from slurmtune.core.events import Config, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTrial:
    """The scheduler wants a new trial in this bracket, at rung 0 of the bracket."""

    bracket: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """The scheduler wants this trial trained up to ``rung``."""

    trial: int
    rung: int


Decision = StartTrial | Promote
"""What should run next."""


class Scheduler(Protocol):
    """Decides for how long trials run. Deterministic, no IO, no clock, no random numbers.

    The study calls `started` once per trial, `finished` once per (trial, rung), and `decide`
    whenever something may run. Losses are minimised and finite; None stands for a result that
    ranks last and can never be promoted (NaN, a failed program).
    """

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return the resource of each rung of ``bracket``, increasing; ``(None,)``: none."""
        ...

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return what should run next, or None to wait (or because all is done).

        A `Promote` that is returned counts as carried out: it is never returned again.
        ``may_start`` is False when no further trial may be started.
        """
        ...

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started in ``bracket``; it will be trained up to rung 0."""
        ...

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` finished ``rung``; later calls with the same pair change nothing."""
        ...

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Tell whether a running trial that just passed ``rung`` must stop there.

        Only schedulers that let trials run through several rungs (`runs_through`) are asked; the
        result counts as `finished` at this rung.
        """
        ...

    @property
    def runs_through(self) -> bool:
        """Whether an attempt runs from rung to rung and is stopped, not paused and promoted."""
        ...

    def explain(self, trial: int) -> str:
        """Return in words, rung by rung, why the trial was promoted or was not."""
        ...


class HistoryView(Protocol):
    """What samplers may know of the study."""

    @property
    def configs(self) -> Sequence[Config]:
        """Configs of all trials proposed so far, by trial number."""
        ...

    @property
    def observations(self) -> Sequence[Observation]:
        """Finished rungs, in the order in which they were finished."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One finished rung of one trial."""

    trial: int
    rung: int
    resource: Resource | None
    loss: float | None
    """Minimised; None for a failed trial or a NaN."""


class Sampler(Protocol):
    """Chooses configs: a function of history, trial number and seed. No clock, no hidden state."""

    name: str

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return the config of trial ``trial``, or None when there is no further one.

        ``seed`` is the study's; the sampler derives its generator from (seed, purpose, trial) with
        `slurmtune.core.seeding`.
        """
        ...

    def origin(self, trial: int) -> str:
        """Return where the config of this trial comes from: ``start``, or the sampler's name."""
        ...

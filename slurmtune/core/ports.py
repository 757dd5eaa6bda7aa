"""The narrow interfaces by which the study asks for knowledge it does not have itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from slurmtune.core.events import Config, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTrial:
    """The scheduler wants a new trial in this bracket."""

    bracket: int = 0
    rung: int = 0
    """Rung of the bracket's ladder that it is trained up to first."""
    parents: tuple[int, ...] = ()
    """Trials that its config is made of, for samplers that vary configs; what each is for is
    between scheduler and sampler."""
    source: int | None = None
    """Trial whose training it continues: from what that one had saved at ``rung - 1``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """The scheduler wants this trial trained up to ``rung``."""

    trial: int
    rung: int


Decision = StartTrial | Promote
"""What should run next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a trial stands at a rung that it finished, as the scheduler sees it at this moment."""

    rule: str
    """Who goes on, in a few words: ``the best 1/3 of the rung go on``."""
    size: int
    """Trials that finished the rung, failed ones included."""
    place: int | None
    """How many of them are better; None for a failed trial, or one without a finite result."""
    places: int
    """How many of the best may go on now."""
    cutoff: float | None = None
    """Loss that had to be reached, where there is one."""
    best: float | None = None
    """Loss that it is ranked by, where that is not the one at the rung."""
    outlook: str = ""
    """What has to happen for the trial to go on, or why it never will; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaders:
    """The trials that a scheduler holds for the best, by more than their losses at a rung."""

    trials: tuple[int, ...]
    """Best first."""
    rung: int
    """Rung of which the result of the first of them is told; others may not have finished it."""
    rule: str
    """What makes the first of them the best, in a few words."""


class Scheduler(Protocol):
    """Decides for how long trials run. Deterministic, no IO, no clock.

    The study calls `started` once per trial, `finished` once per (trial, rung), and `decide`
    whenever something may run. Losses are minimised and finite; None stands for a result that
    ranks last and can never be promoted (NaN, a failed program). What is drawn by lot is drawn
    from `slurmtune.core.seeding`. A scheduler is restored by repeating its calls.

    `slurmtune.schedulers.base.BaseScheduler` answers what few schedulers need;
    `slurmtune.testing.scheduler_contract` has the tests that every scheduler must pass.
    """

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return the resource of each rung of ``bracket``, increasing; ``(None,)``: none.

        Rungs have the same number in every bracket, also where its trials begin at a higher one.
        """
        ...

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return what should run next, or None to wait (or because all is done).

        A `Promote` that is returned counts as carried out: it is never returned again. A
        `StartTrial` counts when `started` is called, which happens before the next `decide`, or
        never if there is no further config. ``may_start`` is False when no further trial may be
        started.
        """
        ...

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started, as the last `decide` wanted; trials count from 0."""
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

    @property
    def watches(self) -> bool:
        """Whether `reported` wants to know of every report."""
        ...

    def reported(self, trial: int, resource: Resource, loss: float | None) -> bool:
        """Tell whether the trial, which just reported at ``resource``, must stop.

        Only schedulers that `watches` are asked. The resources of a trial increase: one that it
        reports a second time, after a retry, is not told again; nor is anything of a trial that
        was told to stop.
        """
        ...

    @property
    def separate_rungs(self) -> bool:
        """Whether each rung is an evaluation of its own, such as a fold or a seed.

        An attempt then begins where the rung below ends, without a checkpoint.
        """
        ...

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how ``trial`` stands at ``rung``; None while it has not finished it.

        Costs no more than O(log n): the study asks at each promotion, pause and stop.
        """
        ...

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return trials and losses that the trial is compared with at ``rung``, best first.

        The trial itself is among them once it has finished the rung. For people: may be slow.
        """
        ...

    def leaders(self) -> Leaders | None:
        """Return who is best so far; None: those with the lowest losses at the highest rung.

        The study asks after each attempt: costs no more than O(number of leaders).
        """
        ...

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return (trial, rung) whose saved state nobody will ask for again; each pair once.

        From the state that the trial saved at the end of this rung neither it nor another trial
        will be trained on, if no more than ``trials`` trials are ever started. Each call tells
        what became spare since the one before; what is not provable is not told.
        """
        ...

    @property
    def copies(self) -> bool:
        """Whether trials start from what others saved (`StartTrial.source`)."""
        ...

    def is_control(self, trial: int) -> bool:
        """Whether the trial runs to the end whatever its results, for the sake of comparison."""
        ...

    def drop(self, rung: int) -> bool:
        """Send no further trial to ``rung``, which says nothing; False: it cannot be left out."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of the config of a trial, from the `StartTrial` that wanted it."""

    bracket: int = 0
    rung: int = 0
    resource: Resource | None = None
    """What the trial is trained for first."""
    parents: tuple[int, ...] = ()


class HistoryView(Protocol):
    """What samplers may know of the study."""

    @property
    def configs(self) -> Sequence[Config]:
        """Configs of all trials proposed so far, by trial number."""
        ...

    @property
    def asked(self) -> Sequence[Asked]:
        """What was asked of each trial, by trial number; last what is asked now."""
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

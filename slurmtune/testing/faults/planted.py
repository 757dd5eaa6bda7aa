"""Wrong drivers, studies and schedulers on purpose: the simulation must find each of them.

Each differs from the product in one thing that a tired programmer could write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slurmtune.core.events import Resource
from slurmtune.core.fleet import ArrayRecord
from slurmtune.core.ports import Decision, Leaders, Scheduler, Standing
from slurmtune.core.record import AttemptRecord
from slurmtune.core.study import Study
from slurmtune.core.trial import Outcome
from slurmtune.driver.loop import Driver
from slurmtune.driver.slots import SlotWatch
from slurmtune.driver.submission import Submission, Submissions
from slurmtune.testing.faults.journal import Record
from slurmtune.testing.faults.ports import RoughJournal


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a study is made of."""

    driver: type[Driver] = Driver
    study: type[Study] = Study
    journal: type[RoughJournal] = RoughJournal
    scheduler: type[WrappedScheduler] | None = None
    """Wraps the plan's scheduler; None: that one as it is."""


class WrappedScheduler:
    """Asks another scheduler."""

    def __init__(self, inner: Scheduler) -> None:
        self._inner = inner

    @property
    def runs_through(self) -> bool:
        """Whether trials run from rung to rung."""
        return self._inner.runs_through

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return the rungs."""
        return self._inner.ladder(bracket)

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return what should run next."""
        return self._inner.decide(may_start=may_start)

    def started(self, trial: int, bracket: int) -> None:
        """A trial was started."""
        self._inner.started(trial, bracket)

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """A trial finished a rung."""
        self._inner.finished(trial, rung, loss)

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Tell whether a trial must stop."""
        return self._inner.stops(trial, rung, loss)

    @property
    def watches(self) -> bool:
        """Whether every report counts."""
        return self._inner.watches

    def reported(self, trial: int, resource: Resource, loss: float | None) -> bool:
        """Tell whether a trial must stop."""
        return self._inner.reported(trial, resource, loss)

    @property
    def separate_rungs(self) -> bool:
        """Whether each rung is an evaluation of its own."""
        return self._inner.separate_rungs

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how a trial stands."""
        return self._inner.standing(trial, rung)

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return what a trial is compared with."""
        return self._inner.compared(trial, rung)

    def leaders(self) -> Leaders | None:
        """Return who is best."""
        return self._inner.leaders()

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return what nobody will ask for again."""
        return self._inner.spare(trials)

    @property
    def copies(self) -> bool:
        """Whether trials start from what others saved."""
        return self._inner.copies

    def is_control(self, trial: int) -> bool:
        """Tell whether a trial runs to the end whatever its results."""
        return self._inner.is_control(trial)

    def drop(self, rung: int) -> bool:
        """Send no further trial to a rung."""
        return self._inner.drop(rung)


class ActsFirst(Driver):
    """Writes what it decided only with its next batch, and acts at once."""

    def _save(self) -> None:
        late: list[Mapping[str, Any]] = getattr(self.journal, "late", [])
        self.journal.append(late)
        self.journal.late = list(self._unsaved)  # type: ignore[attr-defined]
        self._unsaved.clear()


class AsksNobody(Submissions):
    """Does not ask whether a submission without an answer succeeded."""

    def attempt(self, submission: Submission, now: float) -> bool:
        """Submit, whatever became of the sbatch before."""
        submission.look_first = False
        return super().attempt(submission, now)


class SubmitsAtOnce(Driver):
    """Submits without asking."""

    make_submissions = AsksNobody


class PromotesNan(WrappedScheduler):
    """Takes a result that is no number for a very good one."""

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Hide that the loss is not finite."""
        super().finished(trial, rung, -1e9 if loss is None else loss)

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Hide that the loss is not finite."""
        return super().stops(trial, rung, -1e9 if loss is None else loss)


class CountsTwice(Study):
    """Applies a record again when it is delivered again."""

    def _fresh(self, name: str, seq: int) -> AttemptRecord | None:
        del seq
        attempt = self.attempt(name)
        return attempt if attempt.is_live else None


class IgnoresEpoch(RoughJournal):
    """Never looks whether a later epoch began."""

    def check_owner(self) -> None:
        """Look away."""


class TakesSilenceForNo(SlotWatch):
    """Takes a slot that Slurm does not mention for one that is over."""

    def why_gone(self, attempt: AttemptRecord) -> tuple[Outcome, str] | None:
        """Give up what Slurm says nothing of."""
        if self.is_silent:
            return Outcome.LOST, "Slurm does not know it"
        return super().why_gone(attempt)


class TrustsSilence(Driver):
    """Believes so."""

    make_slots = TakesSilenceForNo


class ForgetsRepeats(Driver):
    """Does not carry out again what an earlier driver decided and perhaps did not do."""

    def open(self, *args: Any, **named: Any) -> None:
        """Open the study as if all earlier actions were done."""
        self.study.open_actions = list  # type: ignore[method-assign]
        super().open(*args, **named)


class AdoptsNothing(Submissions):
    """Does not adopt the arrays of earlier drivers."""

    def adopt(self, array: ArrayRecord, now: float) -> None:
        """Look away."""


class ForgetsSlots(Driver):
    """Begins without them."""

    make_submissions = AdoptsNothing


class WritesHalf(RoughJournal):
    """Loses the last record of every large batch."""

    def append(self, records: Sequence[Record]) -> None:
        """Write most of the records."""
        super().append(records[:-1] if len(records) > 3 else records)


class NeverRepeats(Study):
    """Forgets that an attempt that was cut short is to be repeated."""

    def _opened(self, event: Any) -> Any:
        actions = super()._opened(event)
        self._repeat.clear()
        return actions


class WorstFirst(WrappedScheduler):
    """Takes the loss for a score."""

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Turn the order around."""
        super().finished(trial, rung, None if loss is None else -loss)


PLANTED: Mapping[str, Parts] = {
    "acts-first": Parts(driver=ActsFirst),
    "submits-at-once": Parts(driver=SubmitsAtOnce),
    "promotes-nan": Parts(scheduler=PromotesNan),
    "counts-twice": Parts(study=CountsTwice),
    "ignores-epoch": Parts(journal=IgnoresEpoch),
    "trusts-silence": Parts(driver=TrustsSilence),
    "forgets-repeats": Parts(driver=ForgetsRepeats),
    "forgets-slots": Parts(driver=ForgetsSlots),
    "writes-half": Parts(journal=WritesHalf),
    "never-repeats": Parts(study=NeverRepeats),
    "worst-first": Parts(scheduler=WorstFirst),
}
"""By the name that ``scripts/simulate-faults --planted`` takes."""

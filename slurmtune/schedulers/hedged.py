"""A control group: some trials run to the end whatever their rank, so that ranks can be judged.

Trials that go on because they were among the best say little about whether the others would have
stayed behind. Trials that nobody chose do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fractions import Fraction

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, Promote, Scheduler, Standing, StartTrial
from slurmtune.schedulers.base import BaseScheduler
from slurmtune.schedulers.ladder import NEVER_FAILED
from slurmtune.schedulers.rung import Rung

_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Hedged(BaseScheduler):
    """Takes every ``1 / share``-th trial out of another scheduler, and trains it to the end.

    Of the first n trials exactly ``floor(n * share)`` are taken out, with ``share`` as the decimal
    number that it is written as: 0.1 is every tenth trial, and 0.3 the 4th, 7th, 10th, 14th. Such
    a trial begins where the other scheduler wanted a trial to begin; that one never hears of it,
    and wants one more. If it wants none, as it has all its trials, the trial that is due begins
    where the last one began. It is promoted rung by rung, before all others, unless it fails.

    Args:
        scheduler: Decides about all other trials; new.
        share: Share of the trials that are taken out, above 0 and at most 0.5.

    Raises:
        ValueError: ``share`` is out of range, or the scheduler's trials cannot be taken out: they
            start from what others saved, or each of their rungs is an evaluation of its own.
    """

    def __init__(self, scheduler: Scheduler, share: float) -> None:
        if not 0 < share <= 0.5:
            raise ValueError(f"the share must be above 0 and at most 0.5, not {share!r}")
        if scheduler.copies:
            raise ValueError("trials that start from what others saved cannot be a control group")
        if scheduler.separate_rungs:
            raise ValueError("where each rung is an evaluation of its own, none foretells another")
        self._inner = scheduler
        self._share = Fraction(str(share))
        self._count = 0
        """Trials that were started, also those of the other scheduler."""
        self._takes_next = False
        """Whether the trial that `decide` wanted last is taken out."""
        self._brackets: dict[int, int] = {}
        """Bracket of each trial that was taken out."""
        self._targets: dict[int, int] = {}
        """The rung that each of them is trained up to."""
        self._reached: dict[int, int] = {}
        """The highest rung that each of them finished."""
        self._start: StartTrial | None = None
        """What the other scheduler wanted last; the trial taken out next begins there."""
        self._waiting: deque[int] = deque()
        """Those that can be promoted, in the order in which they finished a rung."""
        self._rungs: dict[int, Rung] = {}
        """Results of those that were taken out, of all brackets."""
        self._dropped: set[int] = set()
        self._spare: list[tuple[int, int]] = []

    @property
    def runs_through(self) -> bool:
        """As the other scheduler has it."""
        return self._inner.runs_through

    @property
    def watches(self) -> bool:
        """As the other scheduler has it."""
        return self._inner.watches

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return the ladder of the other scheduler."""
        return self._inner.ladder(bracket)

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return the promotion of a trial that was taken out, else what the other one wants."""
        self._takes_next = False
        if self._waiting:
            trial = self._waiting.popleft()
            rung = self._targets[trial] = self._next_rung(self._targets[trial])
            return Promote(trial=trial, rung=rung)
        decision = self._inner.decide(may_start=may_start)
        is_due = self._taken_of(self._count + 1) > len(self._targets)
        if decision is None and may_start and is_due:
            decision = self._start_again()
        if isinstance(decision, StartTrial):
            self._takes_next = is_due
            self._start = decision
        return decision

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started; the other scheduler hears of it unless it is taken out."""
        if trial in self._targets:
            raise ValueError(f"trial {trial} was started before")
        if self._takes_next:
            assert self._start is not None
            last = len(self._inner.ladder(bracket)) - 1
            self._brackets[trial] = bracket
            self._targets[trial] = last if self._inner.runs_through else self._start.rung
        else:
            self._inner.started(trial, bracket)
        self._count += 1
        self._takes_next = False

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` finished ``rung``; later calls with the same pair change nothing."""
        if trial in self._targets:
            self._finish(trial, rung, loss)
        else:
            self._inner.finished(trial, rung, loss)

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        """Ask the other scheduler; a trial that was taken out is never stopped."""
        if trial not in self._targets:
            return self._inner.stops(trial, rung, loss)
        if not self.runs_through:
            return super().stops(trial, rung, loss)
        self._finish(trial, rung, loss)
        return False

    def reported(self, trial: int, resource: Resource, loss: float | None) -> bool:
        """Ask the other scheduler; a trial that was taken out is never stopped."""
        return trial not in self._targets and self._inner.reported(trial, resource, loss)

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how a trial stands; one that was taken out, among those that were."""
        if trial not in self._targets:
            return self._inner.standing(trial, rung)
        here = self._rungs.get(rung)
        if here is None or trial not in here:
            return None
        has_failed = here.loss(trial) is None
        is_last = rung == self._last(trial)
        waits = self._targets[trial] == rung and not is_last
        return Standing(
            rule=self._rule,
            size=here.size,
            place=None if has_failed else here.place(trial),
            places=0 if is_last else here.size,
            outlook=NEVER_FAILED if has_failed else "waits for a free slot" if waits else "",
        )

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return the trials that stand beside this one; see `standing`."""
        if trial not in self._targets:
            return self._inner.compared(trial, rung)
        here = self._rungs.get(rung)
        return () if here is None else here.results()

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return what is spare; the other scheduler gets no more than its share of ``trials``."""
        found, self._spare = self._spare, []
        return [*found, *self._inner.spare(trials - self._taken_of(trials))]

    def is_control(self, trial: int) -> bool:
        """Whether the trial was taken out."""
        return trial in self._targets or self._inner.is_control(trial)

    def drop(self, rung: int) -> bool:
        """Ask the other scheduler; what it leaves out, nobody goes to."""
        if not self._inner.drop(rung):
            return False
        self._dropped.add(rung)
        return True

    @property
    def _rule(self) -> str:
        taken, of = self._share.numerator, self._share.denominator
        number = _WORDS[of - 2] if of - 2 < len(_WORDS) else str(of)
        if taken == 1:
            return f"one in {number} runs to the end whatever its rank"
        return f"{taken} in {number} run to the end whatever their rank"

    def _taken_of(self, trials: int) -> int:
        """Return how many of the first ``trials`` trials are taken out."""
        return trials * self._share.numerator // self._share.denominator

    def _last(self, trial: int) -> int:
        return len(self._inner.ladder(self._brackets[trial])) - 1

    def _start_again(self) -> StartTrial | None:
        """Return a trial that begins where the last one did."""
        if self._start is None:
            return None
        rung = self._next_rung(self._start.rung - 1)
        return StartTrial(bracket=self._start.bracket, rung=rung)

    def _next_rung(self, rung: int) -> int:
        rung += 1
        while rung in self._dropped:
            rung += 1
        return rung

    def _finish(self, trial: int, rung: int, loss: float | None) -> None:
        here = self._rungs.setdefault(rung, Rung())
        if trial in here:
            return
        below, target = self._reached.get(trial, -1), self._targets[trial]
        if not below < rung <= target or (rung < target and not self.runs_through):
            raise ValueError(
                f"trial {trial} finished rung {rung} but was only scheduled up to rung {target}"
            )
        here.add(trial, loss)
        self._reached[trial] = rung
        if below >= 0:
            self._spare.append((trial, below))
        if here.loss(trial) is None or rung == self._last(trial):
            self._spare.append((trial, rung))
        elif not self.runs_through:
            self._waiting.append(trial)

"""What deciding costs: whole studies of events alone, without driver, cluster, journal or sampler.

Programs report after every unit of their resource and end in an order that follows from their
configs. The caller brings the clock, so that this stays a function of its arguments::

    cost = decide_all(lambda: Asha([1, 3, 9, 27], 3), 1000, timer=time.perf_counter)
    cost.seconds, cost.mean_seconds(AttemptReported)
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from slurmtune.core.actions import Action, DropCheckpoints, Offer, Propose, StopAttempt
from slurmtune.core.events import (
    AttemptClaimed,
    AttemptEnded,
    AttemptReported,
    AttemptStarted,
    CapacityChanged,
    CheckpointSaved,
    CheckpointsDropped,
    ConfigProposed,
    Event,
    Limits,
    Resource,
    StudyOpened,
)
from slurmtune.core.objective import Objective
from slurmtune.core.ports import Scheduler
from slurmtune.core.study import Study, StudySettings
from slurmtune.core.trial import Outcome
from slurmtune.testing.curves import PowerLawCurves
from slurmtune.testing.study_rig import METRIC, HashSampler

_SLOT = "st-bare-1.0.0"
_OPEN_END = 1


@dataclass(slots=True)
class Cost:
    """What one study took."""

    study: Study
    calls: Counter[type[Event]] = field(default_factory=Counter)
    seconds_by_event: dict[type[Event], float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Return the time of all calls of `Study.handle`."""
        return sum(self.seconds_by_event.values())

    def mean_seconds(self, kind: type[Event]) -> float:
        """Return the time of one call with such an event; 0 when there was none."""
        return self.seconds_by_event.get(kind, 0.0) / max(self.calls[kind], 1)


class _Step(NamedTuple):
    """A program that reaches its next unit."""

    time: float
    order: int
    offer: Offer
    resource: Resource


class _Programs:
    """Everything that trains, and what it tells the study."""

    def __init__(self, study: Study, timer: Callable[[], float], keep: str) -> None:
        self.cost = Cost(study)
        self._study = study
        self._timer = timer
        self._keep = keep
        self._curves = PowerLawCurves(seconds_spread=0.8)
        self._sampler = HashSampler()
        self._steps: list[_Step] = []
        self._seq: dict[str, int] = {}
        self._stopped: set[str] = set()
        self._waiting: deque[Action] = deque()
        self._now = 0.0
        self._order = 0

    def run(self, trials: int, in_flight: int) -> None:
        """Live through the study."""
        limits = Limits(trials=trials, keep=self._keep)
        self._tell(StudyOpened(time=0.0, spec_sha256="", limits=limits))
        self._tell(CapacityChanged(time=0.0, attempts=in_flight))
        self._act()
        while self._steps:
            self._advance(heapq.heappop(self._steps))
            self._act()

    def _tell(self, event: Event) -> None:
        kind, times = type(event), self.cost.seconds_by_event
        begin = self._timer()
        actions = self._study.handle(event)
        times[kind] = times.get(kind, 0.0) + self._timer() - begin
        self.cost.calls[kind] += 1
        self._waiting.extend(actions or ())

    def _act(self) -> None:
        """Carry out everything that follows from the last event."""
        while self._waiting:
            self._carry_out(self._waiting.popleft())

    def _carry_out(self, action: Action) -> None:
        match action:
            case Propose(trial=trial):
                config = self._sampler.propose(trial, self._study.results.history, 0)
                assert config is not None, "this sampler never ends"
                self._tell(
                    ConfigProposed(time=self._now, trial=trial, config=config, origin="hash")
                )
            case Offer(attempt=name):
                self._tell(AttemptClaimed(time=self._now, attempt=name, slot=_SLOT))
                self._seq[name] = 0
                self._tell(
                    AttemptStarted(
                        time=self._now,
                        attempt=name,
                        seq=0,
                        slot=_SLOT,
                        job="1",
                        host="here",
                        start=action.start,
                    )
                )
                self._schedule(action, action.start)
            case StopAttempt(attempt=name):
                self._stopped.add(name)
            case DropCheckpoints(trial=trial, names=names):
                self._tell(CheckpointsDropped(time=self._now, trial=trial, names=names))
            case _:
                pass

    def _schedule(self, offer: Offer, resource: Resource) -> None:
        self._order += 1
        time = self._now + self._curves.seconds_per_unit(offer.config)
        heapq.heappush(self._steps, _Step(time, self._order, offer, resource + 1))

    def _advance(self, step: _Step) -> None:
        self._now, offer = step.time, step.offer
        name, end = offer.attempt, _OPEN_END if offer.end is None else offer.end
        metrics = {METRIC: self._curves.metrics(offer.config, step.resource, 0)[METRIC]}
        self._tell(
            AttemptReported(
                time=self._now,
                attempt=name,
                seq=self._next_seq(name),
                resource=step.resource,
                metrics=metrics,
            )
        )
        self._act()
        is_stopped = name in self._stopped
        if step.resource < end and not is_stopped:
            self._schedule(offer, step.resource)
            return
        self._tell(
            CheckpointSaved(
                time=self._now,
                attempt=name,
                seq=self._next_seq(name),
                resource=step.resource,
                name=f"{step.resource!r}.{name}",
            )
        )
        self._tell(
            AttemptEnded(
                time=self._now,
                attempt=name,
                seq=self._next_seq(name),
                outcome=Outcome.CANCELLED if step.resource < end else Outcome.SUCCEEDED,
                seconds=1.0,
                exit_code=0,
            )
        )

    def _next_seq(self, attempt: str) -> int:
        self._seq[attempt] += 1
        return self._seq[attempt]


def decide_all(
    make_scheduler: Callable[[], Scheduler],
    trials: int,
    *,
    timer: Callable[[], float],
    in_flight: int = 256,
    keep: str = "best:3",
) -> Cost:
    """Live through a study of so many trials; return what each kind of event cost.

    Args:
        make_scheduler: makes a fresh scheduler.
        trials: configs to start at most.
        timer: in seconds; only differences count.
        in_flight: attempts that run at once.
        keep: the rule for checkpoints (``[checkpoint] keep``).
    """
    study = Study(StudySettings(seed=0, objective=Objective(METRIC)), make_scheduler())
    programs = _Programs(study, timer, keep)
    programs.run(trials, in_flight)
    assert study.finished == "done", f"the study ended as {study.finished!r}"
    return programs.cost

"""A study that meets everything that can happen, in any order: for properties of its decisions.

No slots and no files: a random walk over the events that a study can be told, with a ledger of the
checkpoints that exist. `StudyWalk.step` checks after every event what must always hold::

    walk = StudyWalk(lambda: Asha((1, 3, 9), 3), Random(7), trials=30)
    walk.run()
    assert not walk.study.live
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from slurmtune.core.actions import Action, DropCheckpoints, Finish, Offer, Propose
from slurmtune.core.events import (
    ArrayIntended,
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
    OfferWithdrawn,
    SpaceExhausted,
    StopRequested,
    StudyOpened,
)
from slurmtune.core.ids import parse_attempt_id
from slurmtune.core.objective import Objective
from slurmtune.core.overview import best
from slurmtune.core.ports import Scheduler
from slurmtune.core.study import Study, StudySettings
from slurmtune.core.trial import AttemptState, Outcome
from slurmtune.core.verdict import Verdict, VerdictKind
from slurmtune.driver.recovery import record_of

_TOKEN = "st-walk-1-1"  # noqa: S105 - the name of an array
_CUT_SHORT = (Outcome.PREEMPTED, Outcome.TIMEOUT, Outcome.NODE_FAILED, Outcome.LOST)
_MOST_STEPS = 20_000


class StudyWalk:
    """One walk.

    Args:
        make_scheduler: makes a fresh scheduler.
        random: chooses what happens.
        trials: configs to start in all.
        capacity: attempts in flight, at most.
        keep: ``[checkpoint] keep``.
        resume: whether higher rungs go on from checkpoints.
        accidents: part of the attempts that end otherwise than well.
        saves: part of the checkpoints that a good program saves that this one does save.
        configs: after so many configs the space is exhausted; None: never.
        seed: of the study.
    """

    def __init__(
        self,
        make_scheduler: Callable[[], Scheduler],
        random: Random,
        *,
        trials: int,
        capacity: int = 5,
        keep: str = "none",
        resume: bool = True,
        accidents: float = 0.2,
        saves: float = 1.0,
        configs: int | None = None,
        seed: int = 0,
    ) -> None:
        self._make_scheduler = make_scheduler
        self._settings = StudySettings(seed=seed, objective=Objective("loss"), resume=resume)
        self._random = random
        self._capacity = capacity
        self._accidents = accidents
        self._saves = saves
        self._configs = configs
        self._seq: dict[str, int] = {}
        self._reached: dict[str, float] = {}
        self._events: list[Event] = []
        self.records: list[dict[str, Any]] = []
        """The journal."""
        self.verdicts: list[Verdict] = []
        self.existing: set[str] = set()
        """Checkpoints that were saved and not removed."""
        self.study = self.empty_study()
        limits = Limits(
            trials=trials, keep=keep, max_failed_trials=None, retry_preempted=3, retry_crash=0
        )
        self.feed(StudyOpened(time=0.0, spec_sha256="walk", limits=limits))
        self.feed(ArrayIntended(time=0.0, token=_TOKEN, resource_class="c0", size=capacity))
        self.feed(CapacityChanged(time=0.0, attempts=capacity))

    def empty_study(self) -> Study:
        """Return the study before its first event."""
        return Study(self._settings, self._make_scheduler())

    def run(self) -> StudyWalk:
        """Walk to the end of the study.

        Raises:
            AssertionError: something that must always hold does not, or the study never ends.
        """
        for _ in range(_MOST_STEPS):
            if self.study.finished:
                return self
            self.step()
        raise AssertionError(f"after {_MOST_STEPS} steps the study still goes on")

    def step(self) -> None:
        """Let one thing happen."""
        roll = self._random.random()
        if roll < 0.05:
            self._tell_again()
        elif roll < 0.06:
            self._let_the_user_stop_one()
        elif roll < 0.09:
            attempts = self._random.randint(1, self._capacity)
            self.feed(CapacityChanged(time=0.0, attempts=attempts))
        else:
            self._let_one_go_on()

    def feed(self, event: Event) -> None:
        """Tell the study, keep the record, answer what it asks for."""
        actions = self.study.handle(event)
        if actions is None:
            return
        self._events.append(event)
        self.records.append(record_of(event, actions, self.study.verdicts))
        self.verdicts += self.study.verdicts
        for action in actions:
            self._carry_out(action)
        self._check_best()

    def _carry_out(self, action: Action) -> None:
        match action:
            case Propose(trial=trial):
                if self._configs is not None and trial >= self._configs:
                    self.feed(SpaceExhausted(time=0.0, trial=trial))
                else:
                    config = {"x": self._random.random()}
                    self.feed(ConfigProposed(time=0.0, trial=trial, config=config, origin="walk"))
            case Offer(checkpoint=checkpoint):
                assert checkpoint is None or checkpoint in self.existing, (
                    f"{action.attempt} is to start from {checkpoint}, which was removed"
                )
            case DropCheckpoints(trial=trial, names=names):
                self._check_drop(action)
                self.existing -= set(names)
                self.feed(CheckpointsDropped(time=0.0, trial=trial, names=names))
            case Finish():
                assert not self.study.live
            case _:
                pass

    def _check_drop(self, action: DropCheckpoints) -> None:
        assert set(action.names) <= self.existing, f"{action} was removed before"
        in_use = {
            attempt.checkpoint
            for attempt in self.study.live.values()
            if attempt.checkpoint is not None
        }
        assert in_use.isdisjoint(action.names), f"{action} is in use"

    def _check_best(self) -> None:
        found = best(self.study)
        if found is None or found["checkpoint"] is None:
            return
        assert found["checkpoint"] in self.existing, f"the best, {found}, lost its checkpoint"

    # ---------------------------------------------------------------- what happens

    def _let_one_go_on(self) -> None:
        live = list(self.study.live.values())
        if not live:
            self.feed(CapacityChanged(time=0.0, attempts=self._capacity))
            return
        attempt = self._random.choice(live)
        if attempt.withdrawing:
            self.feed(OfferWithdrawn(time=0.0, attempt=attempt.id))
        elif attempt.state is not AttemptState.RUNNING:
            self._start(attempt.id)
        elif attempt.stopping:
            self._end(attempt.id, Outcome.CANCELLED)
        else:
            self._train(attempt.id)

    def _start(self, name: str) -> None:
        attempt = self.study.attempt(name)
        slot = f"{_TOKEN}.0.0"
        self._seq[name] = 0
        self._reached[name] = attempt.start
        self.feed(AttemptClaimed(time=0.0, attempt=name, slot=slot))
        self.feed(
            AttemptStarted(
                time=0.0, attempt=name, seq=0, slot=slot, job="1", host="n", start=attempt.start
            )
        )

    def _train(self, name: str) -> None:
        attempt = self.study.attempt(name)
        if self._random.random() < self._accidents:
            outcome = self._random.choice((*_CUT_SHORT, Outcome.FAILED))
            self._end(name, outcome)
            return
        end = 1 if attempt.end is None else attempt.end
        reached = min(end, self._reached[name] + max(1, (end - attempt.start) / 3))
        self._reached[name] = reached
        loss = self._random.choice((self._random.random(), 0.5, float("nan")))
        self.feed(
            AttemptReported(
                time=0.0,
                attempt=name,
                seq=self._next(name),
                resource=reached,
                metrics={"loss": loss},
            )
        )
        if self._random.random() < self._saves * (1.0 if reached == end else 0.8):
            self._save(name, reached)
        if reached == end and name in self.study.live:
            self._end(name, Outcome.SUCCEEDED, holding=self._random.random() < 0.5)

    def _save(self, name: str, resource: float) -> None:
        if name not in self.study.live:
            return
        made = f"{resource:g}.{name}"
        self.existing.add(made)
        mine = [one for one in self._saved(name) if one != made]
        self.existing -= set(mine[:-1])  # a program keeps the last two
        self.feed(
            CheckpointSaved(
                time=0.0, attempt=name, seq=self._next(name), resource=resource, name=made
            )
        )

    def _saved(self, name: str) -> list[str]:
        trial = self.study.trials[parse_attempt_id(name).trial]
        return [one.name for one in trial.saved if one.attempt == name]

    def _end(self, name: str, outcome: Outcome, *, holding: bool = False) -> None:
        self.feed(
            AttemptEnded(
                time=0.0,
                attempt=name,
                seq=self._next(name),
                outcome=outcome,
                seconds=1.0,
                exit_code=1 if outcome is Outcome.FAILED else None,
                holding=holding,
            )
        )
        if self.study.halt == "paused":
            again = StudyOpened(time=0.0, spec_sha256="walk", limits=self.study.limits)
            self.feed(again)

    def _next(self, name: str) -> int:
        self._seq[name] += 1
        return self._seq[name]

    def _tell_again(self) -> None:
        """Deliver old news a second time: nothing may come of it."""
        kinds = (AttemptClaimed, AttemptStarted, AttemptReported, CheckpointSaved, AttemptEnded)
        old = [event for event in self._events[-30:] if isinstance(event, kinds)]
        if old:
            assert self.study.handle(self._random.choice(old)) is None, "old news was acted upon"

    def _let_the_user_stop_one(self) -> None:
        if self.study.trials:
            trial = self._random.randrange(len(self.study.trials))
            self.feed(StopRequested(time=0.0, trial=trial))

    # ---------------------------------------------------------------- what came of it

    def judged(self, kind: VerdictKind) -> list[tuple[int, int]]:
        """Return trial and rung of the verdicts of a kind, in order."""
        return [
            (verdict.trial, verdict.rung)
            for verdict in self.verdicts
            if verdict.kind is kind and verdict.trial is not None
        ]

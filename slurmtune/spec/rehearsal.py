"""A dry walk of a scheduler of the user's own: its mistakes are told before trials are paid.

A study makes the calls that it would make, with losses that are made up and always the same. What
is walked are fresh schedulers that are thrown away; slow ones are walked only so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from slurmtune.core.ports import Decision, Promote, Scheduler, StartTrial
from slurmtune.driver.clock import SystemClock
from slurmtune.spec.custom import SchedulerCode, SchedulerMistake

MOST_TRIALS = 30
"""Of one walk: enough for promotions to the third rung with a factor of 2 or 3."""
MOST_SECONDS = 1.0
"""Of all walks."""
_MOST_DECISIONS = 300
"""Of one walk."""

Answer = tuple[str, object]
"""What was asked, and what it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What happens to a scheduler in one walk."""

    loss: Callable[[int, int], float | None]
    """By trial and rung."""
    capacity: int
    """Trials that run at once."""
    exhausted: int | None = None
    """So many configs are there; None: enough."""
    withdrawn: int | None = None
    """Trial that the user stops as soon as it pauses."""


def _mixed(trial: int, rung: int) -> float | None:
    """Return few losses, so that some are equal, and now and then a failure."""
    roll = (trial * 5 + rung * 3) % 11
    return None if roll == 10 else roll / (rung + 1)


def _different(trial: int, rung: int) -> float:
    return ((trial * 37 + rung) % 101 - 50) / (rung + 1)


SCENES: Sequence[Scene] = (
    Scene(loss=_mixed, capacity=4),
    Scene(loss=_different, capacity=1, exhausted=7, withdrawn=1),
    Scene(loss=lambda _trial, _rung: None, capacity=3),
)


def rehearse(
    code: SchedulerCode, core: Mapping[str, Any], now: Callable[[], float] | None = None
) -> None:
    """Walk the scheduler that a study of these `core_settings` would have.

    ``now`` tells the time in seconds.

    Raises:
        SpecErrors: it does what no study can carry out; with the line of its file.
    """
    now = now or SystemClock().now
    end = now() + MOST_SECONDS
    arguments = core["code"]["arguments"]
    try:
        check_scheduler(
            lambda: code.make(core["levels"], core["reduction_factor"], arguments),
            trials=core["trials"],
            is_late=lambda: now() >= end,
        )
    except SchedulerMistake as mistake:
        line = code.line_of(mistake.member) if mistake.line is None else mistake.line
        code.refuse(
            f"{code.name}.{mistake.member} failed: {mistake.what}",
            "it was tried with made-up losses; nothing was trained",
            line,
        )


def check_scheduler(
    make: Callable[[], Scheduler],
    *,
    trials: int = MOST_TRIALS,
    is_late: Callable[[], bool] = lambda: False,
) -> None:
    """Walk through all scenes, each twice: a study is restored by repeating its calls.

    Args:
        make: Makes a fresh scheduler.
        trials: Configs that its study starts in all.
        is_late: Tells when to leave the rest out.

    Raises:
        SchedulerMistake: it does what no study can carry out.
        SpecError: it cannot be made.
    """
    most = min(trials, MOST_TRIALS)
    for scene in SCENES:
        first = Rehearsal(make(), scene, most, is_late).run()
        again = Rehearsal(make(), scene, most, is_late).run()
        for (member, answer), (_, other) in zip(first, again, strict=False):
            if answer != other:
                _refuse(
                    member,
                    f"it answered {answer!r}, and {other!r} when the same calls were repeated; a "
                    "study is restored by repeating them: keep nothing in the class or the "
                    "module, and draw lots from slurmtune.core.seeding",
                )


@dataclass(slots=True)
class _Run:
    """A trial that runs, and the rung that it comes to next."""

    trial: int
    rung: int


class Rehearsal:
    """A study without slots: it calls as `core.study` does, and checks what that one relies on."""

    def __init__(
        self, scheduler: Scheduler, scene: Scene, trials: int, is_late: Callable[[], bool]
    ) -> None:
        self._scheduler = scheduler
        self._scene = scene
        self._trials = trials
        self._is_late = is_late
        self._answers: list[Answer] = []
        self._decisions = 0
        self._brackets: list[int] = []
        """By trial."""
        self._running: list[_Run] = []
        self._results: dict[tuple[int, int], float | None] = {}
        self._reached: dict[int, int] = {}
        """The highest rung that each trial finished."""
        self._stopped: set[int] = set()
        self._promoted: set[Promote] = set()
        self._spared: set[tuple[int, int]] = set()
        self._is_exhausted = False

    def run(self) -> Sequence[Answer]:
        """Walk to the end; return all that was answered.

        Raises:
            SchedulerMistake: it does what no study can carry out.
        """
        self._fill()
        if self._decisions and not self._brackets:
            _refuse("decide", "it started no trial, so the study would end before it began")
        while self._running and not self._is_over():
            # Not in the order in which they began.
            self._advance(self._decisions % len(self._running))
            self._fill()
        return self._answers

    def _is_over(self) -> bool:
        return self._decisions >= _MOST_DECISIONS or self._is_late()

    def _fill(self) -> None:
        """Ask for decisions as long as more can run, then for what became spare."""
        while len(self._running) < self._scene.capacity and not self._is_over():
            may_start = len(self._brackets) < self._trials and not self._is_exhausted
            decision = self._scheduler.decide(may_start=may_start)
            self._decisions += 1
            self._answers.append(("decide", decision))
            if decision is None:
                break
            self._carry_out(decision, may_start=may_start)
        known = len(self._brackets)
        spare = self._scheduler.spare(known if self._is_exhausted else self._trials)
        self._answers.append(("spare", sorted(spare)))
        self._answers.append(("leaders", self._scheduler.leaders()))
        self._spared.update(spare)

    def _carry_out(self, decision: Decision, *, may_start: bool) -> None:
        if isinstance(decision, Promote):
            self._promote(decision)
            return
        if not may_start:
            _refuse("decide", "it started a trial although may_start was False")
        self._check_source(decision)
        if len(self._brackets) == self._scene.exhausted:
            self._is_exhausted = True
            return
        trial, bracket = len(self._brackets), decision.bracket
        last = len(self._scheduler.ladder(bracket)) - 1
        self._brackets.append(bracket)
        self._scheduler.started(trial, bracket)
        self._running.append(_Run(trial, last if self._scheduler.runs_through else decision.rung))
        # Its job may be cancelled before it finishes.
        self._explain(trial, decision.rung)

    def _check_source(self, start: StartTrial) -> None:
        if start.source is None:
            return
        below = (start.source, start.rung - 1)
        words = f"it started a trial at rung {start.rung} from trial {start.source}"
        if not self._scheduler.copies:
            _refuse("decide", f"{words}, but `copies` is False")
        if self._results.get(below) is None:
            _refuse("decide", f"{words}, which has no result at the rung below")
        self._check_kept(*below, words)

    def _promote(self, found: Promote) -> None:
        trial, rung = found.trial, found.rung
        words = f"it promoted trial {trial} to rung {rung}"
        if not 0 <= trial < len(self._brackets):
            _refuse("decide", f"{words}, but there is no such trial")
        if found in self._promoted:
            _refuse("decide", f"{words} a second time")
        self._promoted.add(found)
        if not 0 <= rung < len(self._scheduler.ladder(self._brackets[trial])):
            _refuse("decide", f"{words}, but the ladder has no such rung")
        if any(run.trial == trial for run in self._running):
            _refuse("decide", f"{words} while it runs")
        if trial in self._stopped:
            _refuse("decide", f"{words}, but it had told to stop it")
        below = self._reached[trial]
        if rung <= below:
            _refuse("decide", f"{words}, but it finished rung {below} already")
        if self._results[trial, below] is None:
            _refuse("decide", f"{words}, but it failed at rung {below}")
        if not self._scheduler.separate_rungs:
            self._check_kept(trial, below, words)
        if trial == self._scene.withdrawn:
            # The study lets the user's word stand, and nobody wait for the trial.
            self._finish(trial, rung, None)
            return
        self._explain(trial, below)
        self._running.append(_Run(trial, rung))

    def _check_kept(self, trial: int, rung: int, words: str) -> None:
        if (trial, rung) in self._spared:
            _refuse(
                "spare",
                f"it told that nobody needs what trial {trial} saved at rung {rung}; then {words}",
            )

    def _advance(self, which: int) -> None:
        """Let a trial come to the end of its rung, or of all if it runs through them."""
        run = self._running.pop(which)
        trial, rung = run.trial, run.rung
        loss = self._scene.loss(trial, rung)
        first = 0 if self._scheduler.runs_through else rung
        for passed in range(first, rung + 1):
            if self._is_stopped_on_its_way(trial, passed, rung):
                self._stopped.add(trial)
                loss = None  # as of any that does not come to the end of its attempt
                break
        self._finish(trial, rung, loss)

    def _is_stopped_on_its_way(self, trial: int, rung: int, end: int) -> bool:
        """Report on the way to ``rung`` and at it, and pass it unless it is the ``end``."""
        loss = self._scene.loss(trial, rung)
        if self._scheduler.watches:
            ladder = self._scheduler.ladder(self._brackets[trial])
            below = (ladder[rung - 1] or 0) if rung else 0
            level = ladder[rung] or 2
            for resource in ((below + level) / 2, level):
                stops = self._scheduler.reported(trial, resource, loss)
                self._answers.append(("reported", stops))
                if stops:
                    return True
        if not self._scheduler.runs_through or rung == end:
            return False
        self._results[trial, rung] = loss
        self._reached[trial] = rung
        stops = self._scheduler.stops(trial, rung, loss)
        self._answers.append(("stops", stops))
        self._explain(trial, rung)
        return stops

    def _finish(self, trial: int, rung: int, loss: float | None) -> None:
        self._results[trial, rung] = loss
        self._reached[trial] = rung
        self._scheduler.finished(trial, rung, loss)
        self._answers.append(("is_control", self._scheduler.is_control(trial)))
        self._explain(trial, rung)

    def _explain(self, trial: int, rung: int) -> None:
        self._answers.append(("standing", self._scheduler.standing(trial, rung)))
        self._scheduler.compared(trial, rung)


def _refuse(member: str, what: str) -> NoReturn:
    raise SchedulerMistake(f"{member} failed: {what}", member=member, what=what)

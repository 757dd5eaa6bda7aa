"""What every scheduler owes the study, as tests to inherit, and a small deterministic executor.

::

    class TestMyScheduler(SchedulerContract):
        def make_scheduler(self) -> ContractScheduler:
            return MyScheduler(levels=(1, 3, 9), reduction_factor=3)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, Promote, Scheduler, StartTrial

MAX_TRIALS = 30
"""Trials of one walk: enough for several promotions to the third rung with a factor of 2 or 3."""


class ContractScheduler(Scheduler, Protocol):
    """A scheduler that also explains itself."""

    def explain(self, trial: int) -> str:
        """Return in words why the trial was promoted or stopped, or was not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One thing that happens in a walk, if it can: else the next possible thing does."""

    finish: bool
    """A running trial gets a result; else the scheduler is asked what to run."""
    which: int
    """Which of the running trials, modulo their number."""
    loss: float | None
    may_start: bool


MOVES = st.lists(
    st.builds(
        Move,
        finish=st.booleans(),
        which=st.integers(0, MAX_TRIALS),
        loss=st.one_of(
            st.none(), st.integers(0, 5).map(float), st.floats(-1e6, 1e6, allow_nan=False)
        ),
        may_start=st.sampled_from((True, True, True, False)),
    ),
    max_size=150,
)
"""Random arrival orders, with equal losses and failures among them."""


@dataclass(slots=True)
class Walk:
    """A study reduced to its calls of the scheduler, in any order that can happen."""

    scheduler: Scheduler
    trials: int = MAX_TRIALS
    duplicates: bool = False
    """Deliver every result twice, and all results of the trial again after its last."""
    decisions: list[Decision | None] = field(default_factory=list)
    stopped: list[tuple[int, int]] = field(default_factory=list)
    """(trial, rung) of every trial that was stopped on its way."""
    results: dict[tuple[int, int], float | None] = field(default_factory=dict)
    """Losses by (trial, rung), in the order in which they came."""
    brackets: dict[int, int] = field(default_factory=dict)
    """Bracket of every trial that was started."""
    running: list[tuple[int, int]] = field(default_factory=list)
    """(trial, rung that it comes to next), in the order in which they were started."""
    sealed: bool = False
    """No further trial may be started, for good: the scheduler may have relied on it."""

    def follow(self, moves: Sequence[Move]) -> Walk:
        """Make these moves."""
        for move in moves:
            if move.finish and self.running:
                self.finish(move.which % len(self.running), move.loss)
            else:
                self.ask(may_start=move.may_start)
        return self

    def drain(self, loss: float | None = 1.0) -> Walk:
        """Run what is left without starting further trials; all results are ``loss``."""
        while True:
            while self.ask(may_start=False) is not None:
                pass
            if not self.running:
                return self
            self.finish(0, loss)

    def ask(self, *, may_start: bool) -> Decision | None:
        """Ask for a decision and carry it out."""
        # Without a running trial, "no further trial" is final, see SuccessiveHalving.
        may = may_start and len(self.brackets) < self.trials and not self.sealed
        self.sealed = self.sealed or not (may or self.running)
        decision = self.scheduler.decide(may_start=may)
        self.decisions.append(decision)
        match decision:
            case StartTrial(bracket=bracket):
                assert may, "a trial was started when none may be"
                trial = len(self.brackets)
                self.brackets[trial] = bracket
                self.scheduler.started(trial, bracket)
                self.running.append((trial, 0))
            case Promote(trial=trial, rung=rung):
                self.running.append((trial, rung))
            case None:
                pass
        return decision

    def finish(self, which: int, loss: float | None) -> None:
        """Give a running trial its next result."""
        trial, rung = self.running.pop(which)
        self.results[trial, rung] = loss
        last = len(self.scheduler.ladder(self.brackets[trial])) - 1
        if self.scheduler.runs_through and rung < last and loss is not None:
            self._pass(trial, rung, loss)
        else:
            self._end(trial, rung, loss)

    def _pass(self, trial: int, rung: int, loss: float) -> None:
        stops = self.scheduler.stops(trial, rung, loss)
        if self.duplicates:
            assert self.scheduler.stops(trial, rung, loss + 1) is stops
            self.scheduler.finished(trial, rung, loss)
        if stops:
            self.stopped.append((trial, rung))
        else:
            self.running.append((trial, rung + 1))

    def _end(self, trial: int, rung: int, loss: float | None) -> None:
        self.scheduler.finished(trial, rung, loss)
        if self.duplicates:
            for (other, at), first in list(self.results.items()):
                if other == trial:
                    self.scheduler.finished(other, at, first)
            self.scheduler.finished(trial, rung, None if loss is not None else -1.0)


class SchedulerContract(ABC):
    """Tests that any scheduler must pass; inherit and say how one is made."""

    @abstractmethod
    def make_scheduler(self) -> ContractScheduler:
        """Return a new scheduler in its first state, the same at every call."""

    # Hypothesis takes two classes that inherit one test for a mistake.
    checked = settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
    )

    @checked
    @given(moves=MOVES)
    def test_a_trial_is_promoted_from_a_good_result_to_a_higher_rung_and_once(
        self, moves: list[Move]
    ) -> None:
        """No trial is promoted twice to a rung, or down, or after a failure, or off the ladder."""
        scheduler = self.make_scheduler()
        walk = Walk(scheduler)
        reached: dict[int, int] = {}
        for move in moves:
            asked = len(walk.decisions)
            walk.follow([move])
            for decision in walk.decisions[asked:]:
                if isinstance(decision, Promote):
                    before = reached.get(decision.trial, 0)
                    assert before < decision.rung
                    assert walk.results[decision.trial, before] is not None
                    assert decision.rung < len(scheduler.ladder(walk.brackets[decision.trial]))
                    reached[decision.trial] = decision.rung

    @checked
    @given(moves=MOVES)
    def test_the_same_calls_give_the_same_decisions(self, moves: list[Move]) -> None:
        """A scheduler is restored by repeating its calls."""
        first = Walk(self.make_scheduler()).follow(moves)
        second = Walk(self.make_scheduler()).follow(moves)

        assert first.decisions == second.decisions
        assert first.stopped == second.stopped

    @checked
    @given(moves=MOVES)
    def test_results_that_come_twice_change_nothing(self, moves: list[Move]) -> None:
        """The first result of a trial at a rung stands."""
        once = Walk(self.make_scheduler()).follow(moves)
        twice = Walk(self.make_scheduler(), duplicates=True).follow(moves)

        assert once.decisions == twice.decisions
        assert once.stopped == twice.stopped

    @checked
    @given(moves=MOVES)
    def test_explaining_changes_no_decision(self, moves: list[Move]) -> None:
        """`explain` has words for every trial, also for an unknown one, and no effect."""
        quiet = Walk(self.make_scheduler()).follow(moves)
        scheduler = self.make_scheduler()
        asked = Walk(scheduler)
        for move in moves:
            asked.follow([move])
            assert all(scheduler.explain(trial) for trial in range(len(asked.brackets) + 1))

        assert quiet.decisions == asked.decisions

    @checked
    @given(moves=MOVES)
    def test_a_study_comes_to_its_end(self, moves: list[Move]) -> None:
        """With all results in and no further trial to start, nothing is left to decide."""
        walk = Walk(self.make_scheduler()).follow(moves).drain()

        assert walk.ask(may_start=False) is None

    @checked
    @given(moves=MOVES)
    def test_a_trial_that_failed_is_not_trained_on(self, moves: list[Move]) -> None:
        """When everything fails from some time on, only earlier results are promoted."""
        walk = Walk(self.make_scheduler()).follow(moves)
        walk.drain(loss=None)

        failed = {trial for (trial, _), loss in walk.results.items() if loss is None}
        last = {trial: rung for trial, rung in walk.results if trial in failed}
        assert all(walk.results[trial, rung] is None for trial, rung in last.items())

    def test_nothing_is_promoted_when_everything_fails(self) -> None:
        """Failed trials fill no places of the next rung."""
        walk = Walk(self.make_scheduler())
        while isinstance(walk.ask(may_start=True), StartTrial):
            pass
        walk.drain(loss=None)

        assert not any(isinstance(decision, Promote) for decision in walk.decisions)

    def test_ladders_increase(self) -> None:
        """Each rung trains for longer than the one below; only a single rung may have no level."""
        scheduler = self.make_scheduler()
        walk = Walk(scheduler)
        walk.ask(may_start=True)
        for bracket in set(walk.brackets.values()):
            ladder = scheduler.ladder(bracket)
            levels = [level for level in ladder if level is not None]
            assert list(ladder) in ([None], levels)
            assert levels == sorted(set(levels))

    def test_no_trial_is_started_when_none_may_be(self) -> None:
        """An empty study with ``may_start=False`` has nothing to do."""
        assert self.make_scheduler().decide(may_start=False) is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A worker took up a trial, to train it up to a rung."""

    time: Resource
    trial: int
    rung: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What `execute` saw."""

    starts: tuple[Start, ...]
    end: Resource
    """When the last worker finished."""

    def trials_at(self, rung: int) -> set[int]:
        """Return the trials that were trained up to ``rung``."""
        return {start.trial for start in self.starts if start.rung == rung}


def execute(
    scheduler: Scheduler, loss: Callable[[int, int], float | None], *, workers: int, trials: int
) -> Execution:
    """Run a study on ``workers`` workers with a virtual clock, and return what happened.

    One unit of resource takes one unit of time; a promoted trial goes on from its checkpoint.
    What ends at the same time is reported in the order of the starts; after that the free
    workers ask one by one. Only for schedulers that pause trials (not ``runs_through``).

    Args:
        scheduler: A new one, with levels.
        loss: Loss by trial and rung.
        workers: How many attempts run at once.
        trials: No more trials are started than these.
    """
    starts: list[Start] = []
    ends: list[tuple[Resource, int]] = []
    started, now = 0, 0.0
    while True:
        while len(ends) < workers:
            decision = scheduler.decide(may_start=started < trials)
            if decision is None:
                break
            if isinstance(decision, StartTrial):
                trial, rung = started, 0
                started += 1
                scheduler.started(trial, decision.bracket)
            else:
                trial, rung = decision.trial, decision.rung
            heappush(ends, (now + _duration(scheduler.ladder(0), rung), len(starts)))
            starts.append(Start(time=now, trial=trial, rung=rung))
        if not ends:
            return Execution(starts=tuple(starts), end=now)
        now = ends[0][0]
        while ends and ends[0][0] == now:
            done = starts[heappop(ends)[1]]
            scheduler.finished(done.trial, done.rung, loss(done.trial, done.rung))


def _duration(ladder: Sequence[Resource | None], rung: int) -> Resource:
    level, below = ladder[rung], ladder[rung - 1] if rung else 0
    assert level is not None, "a study with a virtual clock needs levels"
    assert below is not None
    return level - below

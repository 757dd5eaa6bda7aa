"""What every scheduler owes the study, as tests to inherit, and a small deterministic executor.

::

    class TestMyScheduler(SchedulerContract):
        def make_scheduler(self) -> Scheduler:
            return MyScheduler(levels=(1, 3, 9), reduction_factor=3)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, Promote, Scheduler, Standing, StartTrial

MAX_TRIALS = 30
"""Trials of one walk: enough for several promotions to the third rung with a factor of 2 or 3."""


REPORTS = 3
"""Reports on the way to a rung, the one at the rung included, to schedulers that watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One thing that happens in a walk, if it can: else the next possible thing does."""

    finish: bool
    """A running trial gets a result; else the scheduler is asked what to run."""
    which: int
    """Which of the running trials, modulo their number."""
    loss: float | None
    may_start: bool


def _loss(byte: int) -> float | None:
    """Return a failure, one of few losses so that some are equal, or one of many."""
    if byte < 16:
        return None
    return float(byte % 6) if byte < 128 else (byte * 37 % 101 - 50) * 1000.0 / byte


def _moves(code: bytes) -> list[Move]:
    return [
        Move(
            finish=bool(first & 1),
            which=first >> 1,
            loss=_loss(second),
            may_start=first & 14 != 0,
        )
        for first, second in zip(code[::2], code[1::2], strict=False)
    ]


# Long walks are what reaches the higher rungs, and lists of moves would mostly be short.
MOVES = st.one_of(st.binary(max_size=60), st.binary(min_size=200, max_size=400)).map(_moves)
"""Random arrival orders, with equal losses and failures among them."""


@dataclass(slots=True)
class _Run:
    """A trial that runs, and what it comes to next."""

    trial: int
    rung: int
    reports: int = 0
    """Reports since the rung below, where the scheduler watches."""


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
    reached: dict[int, int] = field(default_factory=dict)
    """The highest rung that each trial finished."""
    running: list[_Run] = field(default_factory=list)
    """What runs, in the order in which it was started."""
    spared: set[tuple[int, int]] = field(default_factory=set)
    """What `collect` was told."""
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
        if isinstance(decision, StartTrial):
            assert may, "a trial was started when none may be"
            self._start(decision)
        elif isinstance(decision, Promote):
            self._check_promotion(decision)
            self.running.append(_Run(decision.trial, decision.rung))
        return decision

    def finish(self, which: int, loss: float | None) -> None:
        """Give a running trial its next report or result."""
        run = self.running[which]
        if self.scheduler.watches and loss is not None and not self._report(run, loss):
            return
        del self.running[which]
        trial, rung = run.trial, run.rung
        self.results[trial, rung] = loss
        self.reached[trial] = rung
        is_stopped = (trial, rung) in self.stopped
        if self._runs_on(trial, rung) and loss is not None and not is_stopped:
            self._pass(trial, rung, loss)
        else:
            self._end(trial, rung, loss)

    def collect(self) -> list[tuple[int, int]]:
        """Ask what nobody needs any more; each pair is told once and was finished."""
        told = list(self.scheduler.spare(self.trials))
        assert len(told) == len(set(told))
        assert self.spared.isdisjoint(told)
        assert self.results.keys() >= set(told)
        self.spared.update(told)
        return told

    def ranking(self, rung: int, bracket: int = 0) -> list[tuple[int, float | None]]:
        """Return trials and losses of a rung, best first, as an independent sort has it."""
        here = [
            (trial, loss)
            for (trial, at), loss in self.results.items()
            if at == rung and self.brackets[trial] == bracket
        ]
        # Python's sort is stable: equals stay in the order in which they came.
        return sorted(here, key=lambda result: math.inf if result[1] is None else result[1])

    def above(self, rung: int, bracket: int = 0) -> set[int]:
        """Return the trials of a bracket that reached a rung above this one."""
        return {t for t, at in self.results if at > rung and self.brackets[t] == bracket}

    def _start(self, decision: StartTrial) -> None:
        trial = len(self.brackets)
        ladder = self.scheduler.ladder(decision.bracket)
        assert 0 <= decision.rung < len(ladder)
        assert all(parent in self.brackets for parent in decision.parents)
        if decision.source is not None:
            assert self.scheduler.copies
            below = (decision.source, decision.rung - 1)
            assert self.results[below] is not None, "a trial goes on from one that failed"
            assert below not in self.spared
        self.brackets[trial] = decision.bracket
        self.scheduler.started(trial, decision.bracket)
        self.running.append(_Run(trial, 0 if self.scheduler.runs_through else decision.rung))

    def _check_promotion(self, promotion: Promote) -> None:
        """No trial goes down, off its ladder, or on from a failure or from what was told spare."""
        below = self.reached[promotion.trial]
        assert all(run.trial != promotion.trial for run in self.running)
        assert below < promotion.rung < len(self.scheduler.ladder(self.brackets[promotion.trial]))
        assert self.results[promotion.trial, below] is not None
        # A rung that is an evaluation of its own needs nothing that was saved below.
        separate = self.scheduler.separate_rungs
        assert separate or (promotion.trial, below) not in self.spared

    def _runs_on(self, trial: int, rung: int) -> bool:
        last = len(self.scheduler.ladder(self.brackets[trial])) - 1
        return self.scheduler.runs_through and rung < last

    def _report(self, run: _Run, loss: float) -> bool:
        """Let the trial report once; tell whether it comes to its rung, or is stopped, by that."""
        run.reports += 1
        ladder = self.scheduler.ladder(self.brackets[run.trial])
        level, below = ladder[run.rung], ladder[run.rung - 1] if run.rung else 0
        assert level is not None, "a scheduler that watches needs levels"
        assert below is not None
        resource = below + (level - below) * run.reports / REPORTS
        if self.scheduler.reported(run.trial, resource, loss):
            self.stopped.append((run.trial, run.rung))
            return True
        return run.reports == REPORTS

    def _pass(self, trial: int, rung: int, loss: float) -> None:
        stops = self.scheduler.stops(trial, rung, loss)
        if self.duplicates:
            assert self.scheduler.stops(trial, rung, loss + 1) is stops
            self.scheduler.finished(trial, rung, loss)
        if stops:
            self.stopped.append((trial, rung))
        else:
            self.running.append(_Run(trial, rung + 1))

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
    def make_scheduler(self) -> Scheduler:
        """Return a new scheduler in its first state, the same at every call."""

    def went_on(self, standing: Standing) -> bool:
        """Tell whether a trial that was just promoted may stand so at the rung it comes from."""
        return standing.place is not None and standing.place < standing.places

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
        walk = Walk(self.make_scheduler()).follow(moves).drain()
        promotions = [decision for decision in walk.decisions if isinstance(decision, Promote)]

        assert len(promotions) == len(set(promotions))

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
    def test_explaining_and_collecting_change_no_decision(self, moves: list[Move]) -> None:
        """`standing` and `compared` answer for every trial, also for an unknown one."""
        quiet = Walk(self.make_scheduler()).follow(moves)
        scheduler = self.make_scheduler()
        asked = Walk(scheduler)
        for move in moves:
            asked.follow([move])
            asked.collect()
            for trial in range(len(asked.brackets) + 1):
                for rung in range(len(scheduler.ladder(asked.brackets.get(trial, 0)))):
                    scheduler.standing(trial, rung)
                    scheduler.compared(trial, rung)
            scheduler.leaders()

        assert quiet.decisions == asked.decisions
        assert quiet.stopped == asked.stopped

    @checked
    @given(moves=MOVES)
    def test_a_trial_stands_at_the_rungs_that_it_finished(self, moves: list[Move]) -> None:
        """And is among those that it is compared with; if anything is told, it fits together."""
        scheduler = self.make_scheduler()
        walk = Walk(scheduler).follow(moves)
        for trial, bracket in walk.brackets.items():
            for rung in range(len(scheduler.ladder(bracket))):
                standing = scheduler.standing(trial, rung)
                if (trial, rung) not in walk.results:
                    assert standing is None or scheduler.watches
                elif standing is not None:
                    assert standing.rule
                    assert (standing.place is None) == (walk.results[trial, rung] is None)
                    assert standing.place is None or 0 <= standing.place <= standing.size
                    assert trial in {other for other, _ in scheduler.compared(trial, rung)}

    @checked
    @given(moves=MOVES)
    def test_a_promoted_trial_stood_where_trials_go_on(self, moves: list[Move]) -> None:
        """What is recorded with a promotion says why it happened; see `went_on`."""
        scheduler = self.make_scheduler()
        walk = Walk(scheduler)
        for move in moves:
            asked = len(walk.decisions)
            walk.follow([move])
            for decision in walk.decisions[asked:]:
                if isinstance(decision, Promote):
                    rung = walk.reached[decision.trial]
                    standing = scheduler.standing(decision.trial, rung)
                    assert standing is None or self.went_on(standing)

    @checked
    @given(moves=MOVES)
    def test_the_first_leader_has_a_result_at_its_rung(self, moves: list[Move]) -> None:
        """Who is best so far is told of different trials, if at all, and the rule with them."""
        walk = Walk(self.make_scheduler())
        for move in moves:
            walk.follow([move])
            leaders = walk.scheduler.leaders()
            if leaders is not None:
                assert leaders.rule
                assert 0 < len(leaders.trials) == len(set(leaders.trials))
                assert walk.results[leaders.trials[0], leaders.rung] is not None
                assert set(leaders.trials) <= walk.brackets.keys()

    @checked
    @given(moves=MOVES)
    def test_what_is_spare_is_never_asked_for_again(self, moves: list[Move]) -> None:
        """Of a pair that `spare` told, nobody is trained on later: `Walk` looks at each start."""
        walk = Walk(self.make_scheduler())
        for move in moves:
            walk.follow([move]).collect()
        while walk.running or walk.ask(may_start=False) is not None:
            walk.collect()
            if walk.running:
                walk.finish(0, 1.0)

        walk.collect()
        assert walk.collect() == []

    @checked
    @given(moves=MOVES, rungs=st.lists(st.integers(0, 9), max_size=3))
    def test_no_trial_is_sent_to_a_dropped_rung(self, moves: list[Move], rungs: list[int]) -> None:
        """The last rung cannot be dropped, and the study still comes to its end."""
        scheduler = self.make_scheduler()
        walk = Walk(scheduler)
        dropped: set[int] = set()
        to_drop = iter(rungs)
        for number, move in enumerate(moves):
            rung = next(to_drop, None) if number % 10 == 0 else None
            if rung is not None and scheduler.drop(rung):
                dropped.add(rung)
            asked = len(walk.decisions)
            walk.follow([move]).collect()
            for decision in walk.decisions[asked:]:
                assert decision is None or decision.rung not in dropped
        assert not scheduler.drop(len(scheduler.ladder(0)) - 1)

        walk.drain()
        assert walk.ask(may_start=False) is None

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
    bracket: int = 0


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

    One unit of resource takes one unit of time; a promoted trial goes on from its checkpoint, and
    one with a source from that of its source.
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
    brackets: dict[int, int] = {}
    reached: dict[int, int] = {}
    started, now = 0, 0.0
    while True:
        while len(ends) < workers:
            decision = scheduler.decide(may_start=started < trials)
            if decision is None:
                break
            below = 0
            if isinstance(decision, StartTrial):
                trial = started
                started += 1
                scheduler.started(trial, decision.bracket)
                brackets[trial] = decision.bracket
                if decision.source is not None:
                    below = decision.rung
            else:
                trial, below = decision.trial, reached[decision.trial] + 1
            ladder = scheduler.ladder(brackets[trial])
            heappush(ends, (now + _duration(ladder, below, decision.rung), len(starts)))
            starts.append(
                Start(time=now, trial=trial, rung=decision.rung, bracket=brackets[trial])
            )
        if not ends:
            return Execution(starts=tuple(starts), end=now)
        now = ends[0][0]
        while ends and ends[0][0] == now:
            done = starts[heappop(ends)[1]]
            reached[done.trial] = done.rung
            scheduler.finished(done.trial, done.rung, loss(done.trial, done.rung))


def _duration(ladder: Sequence[Resource | None], first: int, rung: int) -> Resource:
    """Return the resource from the end of the rung below ``first`` up to ``rung``."""
    level, below = ladder[rung], ladder[first - 1] if first else 0
    assert level is not None, "a study with a virtual clock needs levels"
    assert below is not None
    return level - below

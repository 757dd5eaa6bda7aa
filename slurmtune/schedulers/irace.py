"""Iterated racing: races of configs over instances, each sampled around the best of the last.

Lopez-Ibanez, Dubois-Lacoste, Perez Caceres, Birattari and Stuetzle, "The irace package: Iterated
racing for automatic algorithm configuration", Operations Research Perspectives 3 (2016), in its
elitist form. An instance is a rung: a fold, a seed or a dataset, an evaluation of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, Leaders, Promote, Standing, StartTrial
from slurmtune.core.resource import explicit_levels
from slurmtune.core.seeding import derived_seed
from slurmtune.schedulers.base import BaseScheduler
from slurmtune.schedulers.race import Race, RaceRules
from slurmtune.schedulers.racing import RaceTest

_MOST_GROWTH = 5
"""Configs get more instances each from iteration to iteration, up to this one."""
_NEW_INSTANCES = 1
"""Instances that the elites do not know yet, which a race can surely pay for."""


class Irace(BaseScheduler):
    """Races newcomers against the elites of the iteration before.

    A bracket is an iteration, a rung an instance: rung k is finished when the trial has its result
    on instance k + 1 alone. A newcomer's parent is one of the elites, drawn with a probability
    that falls with its rank; in the first iteration, or when no config was left, it has none.

    The best trial is the first of those that the last finished race has left: of those that were
    evaluated on most instances. An elite of which the race has not seen all instances again stays
    before those that have beaten it on fewer. As long as no race has left any, be it that all of
    them failed later, the best is who leads the race that goes on.

    When `decide` is told ``may_start=False`` while nothing runs, no newcomer can come any more:
    the race goes on with those that are there. A race that none has joined waits for a time when
    trials may be started again.
    """

    def __init__(
        self,
        levels: Sequence[Resource],
        *,
        dimension: int,
        budget: int,
        seed: int,
        first_test: int = 5,
        test_every: int = 1,
        test: str = "friedman",
        alpha: float = 0.05,
    ) -> None:
        """Plan the first iteration.

        Args:
            levels: One for each instance: 1, 2, ..., n.
            dimension: Hyperparameters that are searched.
            budget: Evaluations (of one config on one instance) in all.
            seed: The study's.
            first_test: Instances before the first test.
            test_every: Instances from one test to the next.
            test: A value of `RaceTest`.
            alpha: Level of the tests.

        Raises:
            ValueError: an argument is out of range, or the budget is too small for one race.
        """
        self._levels = explicit_levels(levels)
        _check_counts(dimension=dimension, first_test=first_test, test_every=test_every)
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
        self._iterations = iterations(dimension)
        self._rules = RaceRules(
            instances=len(self._levels),
            first_test=first_test,
            test_every=test_every,
            test=RaceTest(test),
            alpha=alpha,
            least=self._iterations,
        )
        self._budget = budget
        self._seed = seed
        needed = least_budget(dimension, first_test=first_test, test_every=test_every)
        if budget < needed:
            raise ValueError(
                f"a budget of {budget} evaluations is too small to race in {dimension} "
                f"dimensions: at least {needed} are needed, or a smaller first_test than "
                f"{first_test}"
            )
        self._races: list[Race] = []
        self._is_done = False
        self._race_of: dict[int, int] = {}
        """The last race that each trial took part in."""
        self._targets: dict[int, int] = {}
        """The rung that each trial is evaluated on, or was last."""
        self._noted: set[tuple[int, int]] = set()
        self._failed: set[int] = set()
        self._newest: dict[int, int] = {}
        """The last rung that each trial finished, if it may still be among the best."""
        self._spare: list[tuple[int, int]] = []
        self._plan_race()

    @property
    def separate_rungs(self) -> bool:
        """True: every instance is an evaluation of its own."""
        return True

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return the instances, the same in every iteration."""
        if not 0 <= bracket < self._iterations:
            raise ValueError(f"there are iterations 0 to {self._iterations - 1}, not {bracket}")
        return self._levels

    def newcomers(self, bracket: int) -> int:
        """Return how many new configs this iteration was planned with.

        For the sampler, whose distributions narrow the more, the more configs are drawn.
        """
        return self._races[bracket].planned

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return a newcomer, else the evaluation on the lowest instance that may run."""
        while not self._is_done:
            race = self._races[-1]
            if race.is_over:
                self._plan_race()
            elif may_start and race.wants_newcomer:
                return StartTrial(bracket=len(self._races) - 1, parents=self._parents(race))
            elif race.joined and (going_on := race.take()) is not None:
                trial, rung = going_on
                self._targets[trial] = rung
                return Promote(trial=trial, rung=rung)
            elif may_start or not (race.wants_newcomer and race.is_idle):
                return None
            elif race.joined:
                race.close()
            else:
                return None  # Elites alone have nothing to find out.
        return None

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started; it joins the race of its iteration."""
        if trial in self._targets:
            raise ValueError(f"trial {trial} was started before")
        if bracket != len(self._races) - 1 or not self._races[-1].wants_newcomer:
            raise ValueError(
                f"trial {trial} was started in iteration {bracket}, which is complete"
            )
        race = self._races[bracket]
        if not race.joined:
            self._race_of.update(dict.fromkeys(race.elites, bracket))
        self._targets[trial] = 0
        self._race_of[trial] = bracket
        race.join(trial)

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` was evaluated on ``rung``; later calls with the pair change nothing."""
        target = self._targets.get(trial)
        if target is None or not 0 <= rung <= target:
            raise ValueError(f"trial {trial} finished rung {rung} but was not scheduled so far")
        if (trial, rung) in self._noted:
            return
        self._noted.add((trial, rung))
        if trial in self._newest:
            self._spare.append((trial, self._newest[trial]))
        self._newest[trial] = rung
        if loss is None:
            self._failed.add(trial)
        self._races[self._race_of[trial]].note(trial, rung, loss)

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how ``trial`` stands in the last race that it took part in."""
        race = self._race_of.get(trial)
        return None if race is None else self._races[race].standing(trial, rung)

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return the trials of its race with their mean losses over the instances so far."""
        race = self._race_of.get(trial)
        return () if race is None else self._races[race].compared(rung)

    def leaders(self) -> Leaders | None:
        """Return those that the last finished race has left; if there are none, who leads now."""
        newest_first = reversed(list(enumerate(self._races, start=1)))
        for number, race in sorted(newest_first, key=lambda one: not one[1].is_over):
            most = self._rules.least if race.is_over else len(race.order)
            trials = tuple(trial for trial in race.order[:most] if trial not in self._failed)
            if trials:
                seen = race.evaluated(trials[0]) if race.is_over else race.instances
                return Leaders(
                    trials=trials,
                    rung=seen - 1,
                    rule=self._why_best(race, number, trials, seen),
                )
        return None

    def _why_best(self, race: Race, number: int, trials: Sequence[int], instances: int) -> str:
        left = f"that race {number} left" if race.is_over else f"still in race {number}"
        if len(trials) == 1:
            return f"the only one {left}"
        most = sum(race.evaluated(trial) >= instances for trial in trials)
        seen = f"{instances} instance{'s' * (instances != 1)}"
        if most == 1:
            return f"of the {len(trials)} {left}, the one that was evaluated on most: {seen}"
        measure = "ranks" if self._rules.test is RaceTest.FRIEDMAN else "mean"
        fewer = f"; {len(trials) - most} more have seen fewer" if most < len(trials) else ""
        return f"the first of {most} {left}, by the {measure} on {seen}{fewer}"

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return what is no newest result of a trial that may be among the best.

        No evaluation goes on from another; but what the best saved is worth having.
        """
        del trials
        if self._races:
            self._release(self._races[-1].left)
            self._races[-1].left.clear()
        told, self._spare = self._spare, []
        return told

    def _release(self, trials: Iterable[int]) -> None:
        self._spare += [
            (trial, self._newest.pop(trial)) for trial in trials if trial in self._newest
        ]

    def _plan_race(self) -> None:
        """Begin the next iteration, or find that all are done or that it cannot be paid.

        An iteration whose share would not pay a race gets those of the next ones too.
        """
        number = len(self._races) + 1
        elites = self._races[-1].survivors() if self._races else {}
        self._release([trial for trial in self._newest if trial not in elites])
        left = self._budget - sum(race.used for race in self._races)
        for count in range(self._iterations, number - 1, -1):
            budget = iteration_budget(left, number, count)
            configs = race_size(
                budget,
                number,
                first_test=self._rules.first_test,
                test_every=self._rules.test_every,
                elite_instances=[len(losses) for losses in elites.values()],
            )
            # With no more than these, the race would be over before its first test.
            if configs > self._rules.least:
                planned = configs - len(elites)
                self._races.append(
                    Race(self._rules, planned=planned, budget=budget, elites=elites)
                )
                return
        self._is_done = True
        self._release(list(self._newest))

    def _parents(self, race: Race) -> tuple[int, ...]:
        """Return the parent of the next trial, if there are elites."""
        if not race.elites:
            return ()
        shares = parent_shares(len(race.elites))
        drawn = derived_seed(self._seed, "irace-parent", len(self._targets)) % sum(shares)
        ends = zip(race.elites, accumulate(shares), strict=True)
        return (next(elite for elite, end in ends if drawn < end),)


def iterations(dimension: int) -> int:
    """Return the number of iterations, also the number of elites: ``floor(2 + log2(dimension))``.

    Raises:
        ValueError: ``dimension`` is below 1.
    """
    _check_counts(dimension=dimension)
    return 1 + dimension.bit_length()


def iteration_budget(left: int, iteration: int, count: int) -> int:
    """Return the evaluations of iteration ``iteration`` (from 1) of ``count``: an equal share.

    ``left`` is what the iterations before did not use.
    """
    return left // (count - iteration + 1)


def race_size(
    budget: int,
    iteration: int,
    *,
    first_test: int = 5,
    test_every: int = 1,
    elite_instances: Sequence[int] = (),
) -> int:
    """Return how many configs race in iteration ``iteration`` (from 1), elites included.

    Every config can be paid for up to a few instances after the first test, and for one instance
    more than any elite knows. ``elite_instances`` says how many each elite knows already; these
    are not paid again.
    """
    length = first_test + test_every * min(_MOST_GROWTH, iteration)
    if elite_instances:
        length = max(length, max(elite_instances) + _NEW_INSTANCES)
    return (budget + sum(elite_instances)) // length


def least_budget(dimension: int, *, first_test: int = 5, test_every: int = 1) -> int:
    """Return the least budget whose first race has one config more than elites go on from it."""
    count = iterations(dimension)
    return count * (count + 1) * (first_test + test_every)


def parent_shares(elites: int) -> tuple[int, ...]:
    """Return in which proportion the elites, best first, become parents: n, n - 1, ..., 1."""
    return tuple(range(elites, 0, -1))


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}")

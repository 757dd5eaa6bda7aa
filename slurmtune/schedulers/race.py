"""One race: configs are evaluated instance by instance, and those that are worse leave it.

A round brings all configs that are in the race to the same number of instances; then they are
tested. Within a round every config goes its own pace. See `slurmtune.schedulers.racing` for the
tests, `slurmtune.schedulers.irace` for what comes before and after a race.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from slurmtune.core.ports import Standing
from slurmtune.schedulers.racing import RaceTest, judge, mean, ranking
from slurmtune.schedulers.rung import Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceRules:
    """How races are run."""

    instances: int
    first_test: int
    """Instances before the first test; with fewer in all, only the ranking at the end counts."""
    test_every: int
    """Instances from test to test; the last instance is always followed by one."""
    test: RaceTest
    alpha: float
    least: int
    """The race is over when no more configs than this are in it."""


@dataclass(slots=True)
class _Step:
    """What was found on one instance."""

    rung: Rung = field(default_factory=Rung)
    """Trials by their mean loss over the instances up to this one."""
    failed: int = 0
    places: dict[int, int] = field(default_factory=dict)
    """Order of those that were tested after this instance: who goes on, then who is dropped."""
    going_on: int = 0
    rule: str = ""


class Race:
    """A race of planned newcomers against the elites of the race before.

    Elites keep their results. One that was evaluated on c instances is not dropped by a test after
    fewer: the newcomers have to beat it on all of them. A failed trial leaves at once.
    """

    def __init__(
        self, rules: RaceRules, *, planned: int, budget: int, elites: Mapping[int, Sequence[float]]
    ) -> None:
        """Prepare the race.

        Args:
            rules: How it is run.
            planned: Newcomers that will join, if there are so many.
            budget: Evaluations that it may use.
            elites: Losses of each elite by instance, best elite first.
        """
        self.planned = planned
        self.elites = tuple(elites)
        self.used = 0
        """Evaluations that were asked for."""
        self.joined: list[int] = []
        self.is_over = False
        self.order: tuple[int, ...] = ()
        """Those in the race, best first, as the last round found them; over: all that are left."""
        self.instances = 0
        """Instances that all of them were evaluated on after the last round."""
        self.left: list[int] = []
        """Those that left the race, in their order."""
        self._rules = rules
        self._budget = budget
        self._losses = {trial: list(losses) for trial, losses in elites.items()}
        """Losses by instance of those in the race."""
        self._protected = {trial: len(losses) for trial, losses in elites.items()}
        self._steps: dict[int, _Step] = {}
        self._outlooks: dict[int, str] = {}
        """Why a trial left."""
        self._running: set[int] = set()
        self._open = True
        self._goal = min(rules.first_test, rules.instances)
        """Instances of everyone in the race at the end of the round."""
        self._missing: set[int] = set()
        self._ready: list[tuple[int, int]] = []
        """(rung to go to, trial) of all that wait in this round: a heap."""
        for trial, losses in elites.items():
            for rung in range(len(losses)):
                self._step(rung).rung.add(trial, mean(losses[: rung + 1]))
        self._begin_round()

    @property
    def wants_newcomer(self) -> bool:
        """Whether another trial should join."""
        return self._open

    @property
    def is_idle(self) -> bool:
        """Whether no trial is being evaluated."""
        return not self._running

    def join(self, trial: int) -> None:
        """Take up a new trial, which is evaluated on the first instance."""
        self.joined.append(trial)
        self.used += 1
        self._losses[trial] = []
        self._missing.add(trial)
        self._running.add(trial)
        if len(self.joined) == self.planned:
            self.close()

    def close(self) -> None:
        """Go on with those that joined."""
        self._open = False
        self._end_rounds()

    def take(self) -> tuple[int, int] | None:
        """Return the next trial to evaluate with its rung, the lowest first; None: wait."""
        if not self._ready:
            return None
        rung, trial = heappop(self._ready)
        self._running.add(trial)
        self.used += 1
        return trial, rung

    def note(self, trial: int, rung: int, loss: float | None) -> None:
        """Add the result of a trial that was taken."""
        self._running.discard(trial)
        step = self._step(rung)
        if loss is None:
            step.failed += 1
            step.rung.add(trial, None)
            self._outlooks[trial] = f"failed on instance {rung + 1}: out of the race at once"
            self._leave(trial)
        else:
            losses = self._losses[trial]
            losses.append(loss)
            step.rung.add(trial, mean(losses))
            if len(losses) < self._goal:
                heappush(self._ready, (len(losses), trial))
            else:
                self._missing.discard(trial)
        self._end_rounds()

    def ranked(self) -> list[int]:
        """Return those in the race, best first, by the instances that all of them have."""
        return [self._alive()[column] for column in ranking(self._table(), self._rules.test)]

    def ranked_at_end(self) -> list[int]:
        """Return those that the race has left, best first.

        Who was evaluated on more instances is the better one: the elitist race is there so that
        what it returns as the best was also evaluated most. Among those with equally many the
        criterion of the test decides, on all that they have.
        """
        order: list[int] = []
        for count in sorted({len(losses) for losses in self._losses.values()}, reverse=True):
            alike = [trial for trial, losses in self._losses.items() if len(losses) == count]
            table = [[self._losses[trial][row] for trial in alike] for row in range(count)]
            order += [alike[column] for column in ranking(table, self._rules.test)]
        return order

    def evaluated(self, trial: int) -> int:
        """Return on how many instances a trial of the race was evaluated; 0 once it has left."""
        return len(self._losses.get(trial, ()))

    def survivors(self) -> dict[int, Sequence[float]]:
        """Return the elites of a race that is over, best first, with all their losses."""
        return {trial: self._losses[trial] for trial in self.order[: self._rules.least]}

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how a trial of this race stands on the instance of ``rung``."""
        step = self._steps.get(rung)
        if step is None or trial not in step.rung:
            return None
        here = step.rung
        tested = trial in step.places
        failed = here.loss(trial) is None
        return Standing(
            rule=step.rule or "all go on until the next test",
            size=here.size,
            place=None if failed else step.places[trial] if tested else here.place(trial),
            places=step.going_on if tested else here.size - step.failed,
            outlook=self._outlooks.get(trial) or self._prospect(trial),
        )

    def compared(self, rung: int) -> list[tuple[int, float | None]]:
        """Return all trials evaluated up to ``rung`` with their mean losses, best first."""
        step = self._steps.get(rung)
        if step is None:
            return []
        return step.rung.results()

    # ---------------------------------------------------------------- rounds

    def _begin_round(self) -> None:
        self._missing = {
            trial for trial, losses in self._losses.items() if len(losses) < self._goal
        }
        for trial in self._missing:
            heappush(self._ready, (len(self._losses[trial]), trial))

    def _end_rounds(self) -> None:
        """Test and begin the next round as often as everyone has all instances of the round."""
        while not (self._open or self._missing or self.is_over):
            if not self._losses:
                self.is_over = True
                return
            self._test()
            goal = self._next_goal()
            if goal is None:
                self._finish()
            else:
                self._goal = goal
                self._begin_round()

    def _test(self) -> None:
        """Drop those that are worse than the best."""
        alive = self._alive()
        order = self.ranked()
        step = self._step(self._goal - 1)
        dropped: list[int] = []
        if self._goal >= self._rules.first_test:
            judgement = judge(self._table(), self._rules.test, self._rules.alpha)
            step.rule = judgement.rule
            order = [alive[column] for column in judgement.order]
            for column in judgement.worse:
                trial, note = alive[column], judgement.notes[column]
                if self._protected.get(trial, 0) > self._goal:
                    continue
                dropped.append(trial)
                self._outlooks[trial] = f"eliminated after instance {self._goal}: {note}"
                self._leave(trial)
        staying = [trial for trial in order if trial in self._losses]
        step.going_on = len(staying)
        step.places = {trial: place for place, trial in enumerate(staying + dropped)}
        self.order, self.instances = tuple(staying), self._goal

    def _next_goal(self) -> int | None:
        """Return the instances of the next round; None: the race is over."""
        rules = self._rules
        if len(self._losses) <= rules.least or self._goal == rules.instances:
            return None
        goal = min(self._goal + rules.test_every, rules.instances)
        cost = sum(max(0, goal - len(losses)) for losses in self._losses.values())
        return goal if cost <= self._budget - self.used else None

    def _finish(self) -> None:
        """Say who is among the best, and who is left over."""
        self.is_over = True
        step = self._step(self._goal - 1)
        order = self.ranked_at_end()
        self.order = tuple(order)
        step.places.update({trial: place for place, trial in enumerate(order)})
        step.going_on = min(len(order), self._rules.least)
        step.rule = step.rule or f"the best {step.going_on} of the race go on"
        for place, trial in enumerate(order):
            self._outlooks[trial] = (
                f"elite {place + 1} of {step.going_on} of its race, which ended after instance "
                f"{self._goal}"
                if place < step.going_on
                else f"the race ended after instance {self._goal}; the best {step.going_on} go on"
            )

    # ---------------------------------------------------------------- small steps

    def _alive(self) -> list[int]:
        return list(self._losses)

    def _table(self) -> list[list[float]]:
        """Return losses, a row for each instance that all in the race have."""
        least = min(len(losses) for losses in self._losses.values())
        return [[losses[row] for losses in self._losses.values()] for row in range(least)]

    def _leave(self, trial: int) -> None:
        del self._losses[trial]
        self.order = tuple(other for other in self.order if other != trial)
        self.left.append(trial)
        self._missing.discard(trial)

    def _step(self, rung: int) -> _Step:
        return self._steps.setdefault(rung, _Step())

    def _prospect(self, trial: int) -> str:
        protected = self._protected.get(trial, 0)
        if protected > self._goal:
            return f"an elite: it stays until the others have seen its {protected} instances"
        waiting = len(self._missing) + self._open * (self.planned - len(self.joined))
        have = "has" if waiting == 1 else "have"
        others = f", once {waiting} more {have} finished it" if waiting else ""
        if self._goal < self._rules.first_test:
            return f"ranked after instance {self._goal}{others}"
        return f"tested after instance {self._goal}{others}"

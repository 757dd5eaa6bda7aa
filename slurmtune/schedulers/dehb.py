"""DEHB: Hyperband whose configs evolve, with one population for each rung.

Awad, Mallik and Hutter, "DEHB: Evolutionary Hyperband for Scalable, Robust and Efficient
Hyperparameter Optimization", IJCAI 2021; differential evolution after Storn and Price 1997. The
arithmetic on configs is done by `slurmtune.samplers.dehb`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from slurmtune.core.events import Resource
from slurmtune.core.ids import trial_id
from slurmtune.core.ports import Decision, Promote, Standing, StartTrial
from slurmtune.core.resource import dehb_brackets, dehb_sizes
from slurmtune.core.seeding import derived_seed
from slurmtune.schedulers.ladder import LAST_RUNG, NEVER_FAILED, LadderScheduler
from slurmtune.schedulers.rung import Rung

_PARENTS = 3
"""Trials that a mutant is made of."""
_BEST_GO_ON = "the best of the rung's population go on that have not done so"


@dataclass(slots=True)
class _Population:
    """The individuals of one rung: a fixed number of places, at first empty."""

    places: list[int | None]
    """The trial at each place."""
    next_place: int = 0
    """Place that the next evaluation competes for."""

    def take_place(self) -> int:
        """Return the next place, going round."""
        place = self.next_place
        self.next_place = (place + 1) % len(self.places)
        return place


@dataclass(slots=True, kw_only=True)
class _Bracket:
    number: int
    base: int
    """Rung at which it begins."""
    sizes: tuple[int, ...]
    """Trials at each rung from the base on."""
    evolves: bool
    """Whether it belongs to a later iteration than the first."""
    rung: int
    """The rung that runs."""
    begun: int = 0
    """Evaluations of this rung that were decided."""
    running: int = 0
    """Those of them that have not finished."""
    going_on: deque[int] = field(default_factory=deque)
    """Trials to be promoted to this rung."""

    @property
    def size(self) -> int:
        """Evaluations that are planned for the rung that runs."""
        return self.sizes[self.rung - self.base]


@dataclass(frozen=True, slots=True)
class _Choice:
    """Who went on when a bracket had completed a rung."""

    among: tuple[int, ...]
    """The population without those that had gone on before, best first."""
    places: int
    """So many of them went on."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A trial to start."""

    bracket: _Bracket
    decision: StartTrial


class Dehb(LadderScheduler):
    """Evolves one population for each rung, in the order and the sizes of Hyperband's brackets.

    Bracket n has the layout ``n % brackets`` of `dehb_brackets`, without end. The population of a
    rung has as many places as the largest bracket has trials there. Every evaluation competes for
    one place of its rung's population, in turn: it takes an empty place if it has a finite result,
    and replaces the individual that it finds if its loss is less or the same.

    In the first iteration, the first rung of a bracket is filled by new configs, and the higher
    ones by promotion: the best individuals of the next lower rung's population that were not
    promoted before, in the order of (loss, then who finished first, then trial). In later
    iterations every evaluation is an offspring: a new trial, trained from nothing up to the rung,
    ``StartTrial(bracket, rung, parents=(target, a, b, c))``. The target is the individual at the
    place that the offspring competes for; a, b and c are drawn, all different, from the best
    individuals of the next lower rung's population, as many as the bracket has trials at this
    rung; at the first rung of a bracket from the rung's own population. When these are fewer than
    three, the rest is drawn from all populations.

    A rung of a bracket begins when all evaluations of the one below have finished. Meanwhile free
    slots go on with the next bracket. Work of earlier brackets goes first.

    Where the paper is silent:

    a, b and c may be the target. If the place is empty, since all who competed for it failed, the
    next individual of the population is the target, or a if there is none; the offspring takes
    the empty place. If there are fewer than three individuals in all populations, a new config
    takes part instead of an offspring (no parents). Failed trials, and those without a finite
    result, are never promoted nor individuals; where fewer than planned can be promoted, only
    these are. A place is won against who holds it when the evaluation finishes, so that no place
    ever gets worse, whatever ran at once.

    The first rung of a bracket of the first iteration closes with fewer trials when `decide` is
    told ``may_start=False`` and those that were started have finished. It goes on with sizes that
    follow from their number. Brackets that evolve end there: they need new trials at every rung.
    """

    def __init__(
        self,
        levels: Sequence[Resource],
        reduction_factor: int,
        *,
        seed: int,
        brackets: int | None = None,
    ) -> None:
        """Store the plan.

        Args:
            levels: Resource of each rung.
            reduction_factor: One of so many trials goes on to the next rung.
            seed: Of the study; decides who the parents are.
            brackets: Use only the first so many layouts; None: all, one for each rung.

        Raises:
            ValueError: the ladder, the factor or the number of brackets is wrong.
        """
        super().__init__(levels, reduction_factor)
        plans = dehb_brackets(levels, reduction_factor, brackets)
        self._seed = seed
        self._layouts = [plan.sizes for plan in plans]
        self._results = [Rung() for _ in self._levels]
        self._populations = [
            _Population([None] * max(self._layouts[b][rung - b] for b in self._bases(rung)))
            for rung in range(len(self._levels))
        ]
        self._unpromoted = [len(self._bases(rung)) for rung in range(self._last)]
        """By rung, brackets that will yet promote from it."""
        self._choices: dict[tuple[int, int], tuple[_Choice, int]] = {}
        """By (trial, rung), the last choice that it was part of, and its place there."""
        self._evolved: set[int] = set()
        """Trials of brackets that evolve."""
        self._brackets: list[_Bracket] = []
        """Those that are not complete, in their order."""
        self._begun = 0
        """Brackets that were begun."""
        self._targets: dict[int, int] = {}
        """Rung that each trial is trained up to."""
        self._competes: dict[tuple[int, int], int] = {}
        """By (trial, rung), the place in the rung's population that the trial competes for."""
        self._owners: dict[int, _Bracket] = {}
        """By trial on its way, the bracket that it works for."""
        self._plan: _Plan | None = None
        """What the `StartTrial` that was returned last is for."""
        self._spare: list[tuple[int, int]] = []
        self._met: dict[tuple[int, int], int] = {}
        """By (trial, rung), who held the place that it competed for."""

    # ---------------------------------------------------------------- what the study calls

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return what the earliest bracket can do, else the first trial of the next bracket."""
        self._plan = None
        for bracket in list(self._brackets):
            decision = self._decide_in(bracket, may_start=may_start)
            if decision is not None:
                return decision
        return self._begin(self._next_bracket()) if may_start else None

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started, as the last `decide` wanted."""
        if trial in self._targets:
            raise ValueError(f"trial {trial} was started before")
        plan = self._plan
        if plan is None or plan.bracket.number != bracket:
            raise ValueError(f"trial {trial} was started, but nobody asked for it")
        self._plan = None
        self._enter(trial, plan.bracket)

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` finished ``rung``; later calls with the same pair change nothing."""
        target = self._targets.get(trial)
        if target is None:
            raise ValueError(f"trial {trial} finished rung {rung} but was never started")
        place = self._competes.get((trial, rung))
        if place is None:
            raise ValueError(
                f"trial {trial} finished rung {rung} but was only scheduled up to rung {target}"
            )
        if trial in self._results[rung]:
            return
        self._results[rung].add(trial, loss)
        bracket = self._owners.pop(trial)
        bracket.running -= 1
        if rung and trial in self._results[rung - 1]:
            self._spare.append((trial, rung - 1))
        self._compete(trial, rung, place)
        self._advance(bracket)

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how ``trial`` stands among those that it was judged with.

        That is, once a bracket has completed the rung: those of the population that might go on
        then. For a trial of a bracket that evolves: who held the place that it competed for. Else
        all that finished the rung, in any bracket.
        """
        here = self._results[rung] if 0 <= rung <= self._last else None
        if here is None or trial not in here:
            return None
        if rung == self._last:
            return self._among_all(trial, rung, LAST_RUNG)
        if (found := self._choice_of(trial, rung)) is not None:
            choice, place = found
            return Standing(
                rule=_BEST_GO_ON,
                size=len(choice.among),
                place=place,
                places=choice.places,
                cutoff=here.loss(choice.among[choice.places - 1]) if choice.places else None,
                outlook=self._outlook(trial, rung),
            )
        if trial in self._evolved:
            return self._against_holder(trial, rung)
        return self._among_all(trial, rung, _BEST_GO_ON)

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return those of whom `standing` tells, best first."""
        if not 0 <= rung <= self._last:
            return ()
        here = self._results[rung]
        if trial not in here or rung == self._last:
            return here.results()
        if (found := self._choice_of(trial, rung)) is not None:
            return [(one, here.loss(one)) for one in found[0].among]
        if trial not in self._evolved:
            return here.results()
        holder, me = self._met.get((trial, rung)), (trial, here.loss(trial))
        if holder is None:
            return [me]
        rival = (holder, here.loss(holder))
        return [me, rival] if self._has_won(trial, rung) else [rival, me]

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return what was gone on from, and what can no longer be promoted.

        That is who is not in the population of the rung, and everybody once no bracket of the
        first iteration will promote from the rung. Offspring train from nothing.
        """
        del trials
        found, self._spare = self._spare, []
        return found

    def population(self, rung: int) -> Sequence[int | None]:
        """Return the trial at each place of the rung's population; None for an empty place."""
        return tuple(self._populations[rung].places)

    # ---------------------------------------------------------------- brackets

    def _check_bracket(self, bracket: int) -> None:
        """Let all brackets pass: they go on without end."""
        if bracket < 0:
            raise ValueError(f"brackets count from 0, not {bracket}")

    def _bases(self, rung: int) -> range:
        """Return the layouts that have this rung."""
        return range(min(rung + 1, len(self._layouts)))

    def _next_bracket(self) -> _Bracket:
        number = self._begun
        base = number % len(self._layouts)
        self._begun += 1
        bracket = _Bracket(
            number=number,
            base=base,
            sizes=self._layouts[base],
            evolves=number >= len(self._layouts),
            rung=base,
        )
        self._brackets.append(bracket)
        return bracket

    def _decide_in(self, bracket: _Bracket, *, may_start: bool) -> Decision | None:
        starts = bracket.evolves or bracket.rung == bracket.base
        if starts and not may_start and not bracket.evolves:
            self._close_base(bracket)
        if bracket.going_on:
            trial = bracket.going_on.popleft()
            self._enter(trial, bracket)
            return Promote(trial=trial, rung=bracket.rung)
        if starts and may_start and bracket.begun < bracket.size:
            return self._begin(bracket)
        return None

    def _begin(self, bracket: _Bracket) -> StartTrial:
        parents = self._parents(bracket) if bracket.evolves else ()
        decision = StartTrial(bracket=bracket.number, rung=bracket.rung, parents=parents)
        self._plan = _Plan(bracket, decision)
        return decision

    def _enter(self, trial: int, bracket: _Bracket) -> None:
        """The trial is trained up to the bracket's rung now, and competes for a place there."""
        rung = bracket.rung
        if bracket.evolves:
            self._evolved.add(trial)
        self._targets[trial] = rung
        self._owners[trial] = bracket
        self._competes[trial, rung] = self._populations[rung].take_place()
        bracket.begun += 1
        bracket.running += 1

    def _close_base(self, bracket: _Bracket) -> None:
        """Be content with the trials that were started, if all of them have finished."""
        if bracket.begun and not bracket.running and bracket.begun < bracket.size:
            count = len(bracket.sizes)
            bracket.sizes = dehb_sizes(bracket.begun, count, self._reduction_factor)
            self._advance(bracket)

    def _advance(self, bracket: _Bracket) -> None:
        """Go to the next rung if this one is complete."""
        if bracket.running or bracket.going_on or bracket.begun < bracket.size:
            return
        if bracket.rung == self._last:
            self._brackets.remove(bracket)
            return
        bracket.rung += 1
        bracket.begun = 0
        if bracket.evolves:
            return
        found = self._choose(bracket.rung - 1, bracket.size)
        bracket.going_on.extend(found)
        # Where fewer can go on than planned, the rung is complete with these.
        bracket.begun = bracket.size - len(found)
        if not found:
            self._brackets.remove(bracket)
            for rung in range(bracket.rung, self._last):
                self._note_promoted_from(rung)

    # ---------------------------------------------------------------- populations

    def _compete(self, trial: int, rung: int, place: int) -> None:
        """Give the place to the trial if it is empty or its holder no better."""
        here, places = self._results[rung], self._populations[rung].places
        loss, holder = here.loss(trial), places[place]
        if holder is not None:
            self._met[trial, rung] = holder
        if loss is None or not self._has_won(trial, rung):
            self._spare.append((trial, rung))
            return
        places[place] = trial
        if self._may_promote_from(rung):
            if holder is not None and self._targets[holder] == rung:
                self._spare.append((holder, rung))
        else:
            self._spare.append((trial, rung))

    def _has_won(self, trial: int, rung: int) -> bool:
        """Tell whether a trial was as good as who held the place that it competed for."""
        here, holder = self._results[rung], self._met.get((trial, rung))
        loss, held = here.loss(trial), None if holder is None else here.loss(holder)
        return loss is not None and (held is None or loss <= held)

    def _individuals(self, rung: int) -> list[int]:
        """Return the population without its empty places, best first."""
        found = [trial for trial in self._populations[rung].places if trial is not None]
        return sorted(found, key=self._results[rung].key)

    def _best_unpromoted(self, rung: int) -> list[int]:
        return [trial for trial in self._individuals(rung) if self._targets[trial] == rung]

    def _choose(self, rung: int, count: int) -> list[int]:
        """Return the best ``count`` that were not chosen before to go on from this rung."""
        among = self._best_unpromoted(rung)
        found = among[:count]
        choice = _Choice(tuple(among), len(found))
        for place, trial in enumerate(among):
            self._choices[trial, rung] = (choice, place)
        for trial in found:
            self._targets[trial] = rung + 1
        self._note_promoted_from(rung)
        return found

    def _may_promote_from(self, rung: int) -> bool:
        return rung < self._last and self._unpromoted[rung] > 0

    def _note_promoted_from(self, rung: int) -> None:
        """One bracket less will promote from this rung."""
        self._unpromoted[rung] -= 1
        if not self._unpromoted[rung]:
            self._spare += [(trial, rung) for trial in self._best_unpromoted(rung)]

    def _parents(self, bracket: _Bracket) -> tuple[int, ...]:
        """Return target, a, b and c of the next offspring; nothing if there are not so many."""
        rung = bracket.rung
        if rung == bracket.base:
            pool = self._individuals(rung)
        else:
            pool = self._individuals(rung - 1)[: bracket.size]
        number = len(self._targets)
        if len(pool) < _PARENTS:
            everybody = {t for k in range(len(self._levels)) for t in self._individuals(k)}
            others = sorted(everybody.difference(pool))
            pool += self._draw(others, _PARENTS - len(pool), "dehb-fill", number)
        if len(pool) < _PARENTS:
            return ()
        drawn = self._draw(pool, _PARENTS, "dehb-parent", number)
        target = self._target(rung)
        return (drawn[0] if target is None else target, *drawn)

    def _target(self, rung: int) -> int | None:
        """Return the individual at the next place, or at the first one after it that has one."""
        population = self._populations[rung]
        first = population.next_place
        turned = population.places[first:] + population.places[:first]
        return next((trial for trial in turned if trial is not None), None)

    def _draw(self, pool: Sequence[int], count: int, purpose: str, number: int) -> list[int]:
        """Return ``count`` different trials, all alike, or fewer if there are not so many."""
        rest = list(pool)
        found = []
        for draw in range(min(count, len(rest))):
            seed = derived_seed(self._seed, f"{purpose}-{draw}", number)
            found.append(rest.pop(seed % len(rest)))
        return found

    # ---------------------------------------------------------------- words

    def _choice_of(self, trial: int, rung: int) -> tuple[_Choice, int] | None:
        """Return the choice that tells of a trial, and its place there.

        Offspring are there to take a place: who went on says nothing of them, unless they did.
        """
        found = self._choices.get((trial, rung))
        if found is None or (trial in self._evolved and self._targets[trial] == rung):
            return None
        return found

    def _among_all(self, trial: int, rung: int, rule: str) -> Standing:
        here = self._results[rung]
        return Standing(
            rule=rule,
            size=here.size,
            place=None if here.loss(trial) is None else here.place(trial),
            places=0,
            outlook=self._outlook(trial, rung),
        )

    def _against_holder(self, trial: int, rung: int) -> Standing:
        """Return how a trial stands to who held the place that it competed for."""
        here, holder = self._results[rung], self._met.get((trial, rung))
        rule = "it takes a place in the rung's population that nobody held"
        if holder is not None:
            rule = f"it takes the place of {trial_id(holder)} in the rung's population if as good"
        return Standing(
            rule=rule,
            size=0 if holder is None else 2,
            place=None if here.loss(trial) is None else int(not self._has_won(trial, rung)),
            places=0,
            cutoff=None if holder is None else here.loss(holder),
            outlook=self._outlook(trial, rung),
        )

    def _outlook(self, trial: int, rung: int) -> str:
        if self._results[rung].loss(trial) is None:
            return NEVER_FAILED
        if self._targets[trial] > rung:
            is_begun = (trial, rung + 1) in self._competes
            return "" if is_begun else "waits for a free slot"
        holder = self._populations[rung].places[self._competes[trial, rung]]
        if holder is not None and holder != trial:
            return f"never: {trial_id(holder)} holds its place in the population"
        if self._may_promote_from(rung):
            return "decided when a bracket has completed the rung"
        replaced = self._met.get((trial, rung))
        took = "" if replaced is None else f", which was that of {trial_id(replaced)}"
        return f"holds a place in the population{took}"

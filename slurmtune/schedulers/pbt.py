"""Population-based training: after each generation the worst give way to heirs of the best.

Jaderberg et al., "Population Based Training of Neural Networks", 2017, with truncation selection
(section 4.1.1 and appendix A.1). An heir goes on from the weights of a donor with hyperparameters
varied from the donor's; the varying is done by `slurmtune.samplers.pbt`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from slurmtune.core.events import Resource
from slurmtune.core.ids import trial_id
from slurmtune.core.ports import Decision, Promote, Standing, StartTrial
from slurmtune.core.resource import exact, explicit_levels
from slurmtune.core.seeding import derived_seed
from slurmtune.schedulers.base import BaseScheduler
from slurmtune.schedulers.ladder import LAST_RUNG, NEVER_FAILED, check_bracket
from slurmtune.schedulers.rung import Rung

_WAITS = "waits for a free slot"


def exploited_count(members: int, quantile: float) -> int:
    """Return how many of ``members`` give way: ``ceil(quantile * members)``, at most half."""
    return min(math.ceil(exact(quantile) * members), members // 2)


@dataclass(frozen=True, slots=True)
class _Vacancy:
    """A place in the population whose member does not go on."""

    member: int
    """Trial that held it."""
    donor: int
    """Trial that the heir starts from."""
    failed: bool
    """Whether the member has nothing that it could be trained on from."""


@dataclass(slots=True)
class _Generation:
    ranked: Rung = field(default_factory=Rung)
    """Results that came before the generation was closed."""
    late: dict[int, float | None] = field(default_factory=dict)
    """Results of the stragglers, which nobody is compared with."""
    is_closed: bool = False
    places: int = 0
    """How many of the best go on unchanged, once it is closed."""


class Pbt(BaseScheduler):
    """Trains a population in step; rung g of the ladder ends generation g.

    A trial has one config. So a member that is exploited ends, and a new trial begins in its
    place at the next rung: ``StartTrial(rung=g + 1, parents=(donor,), source=donor)``.

    A generation is closed as soon as ``ceil(min_ready * members)`` of its members have finished.
    Of these n, ranked strictly (loss, then who finished first, then trial; failed ones last), the
    worst ``k = exploited_count(n, quantile)`` give way and the others go on. A failed member
    always gives way, also when more than k failed. The donor of each place is drawn from the best
    k with a finite result, all alike. The population keeps its size.

    Where the paper is silent:

    A member counts as failed when it has no finite result: its program failed or reported NaN, it
    was given up or stopped by the user. It has no state to go on from.

    A generation is not closed before every member has begun it, so that members that wait for a
    slot are not passed over; nor before one of them has a finite result, since without a donor
    nothing can be replaced. When all members of a generation fail, the search is over.

    With ``min_ready`` below 1, members that are still on their way when their generation is closed
    are stragglers. They are neither ranked there nor donors. A straggler that finishes later is
    trained on unchanged, to the end of the generation that is open by then, even if it skips one
    by that. A straggler that fails gives way to an heir, from the donors of the generation that
    was closed last, which begins in the open one. The last generation is never closed: every
    member is trained to its end.

    The first generation is complete with ``population`` members, or with fewer when `decide` is
    told ``may_start=False`` while no member is on its way. When no further trial may be started
    afterwards, exploited members go on unchanged, and the places of failed ones stay empty.
    """

    def __init__(
        self,
        levels: Sequence[Resource],
        population: int,
        *,
        quantile: float = 0.2,
        min_ready: float = 1.0,
        seed: int,
    ) -> None:
        """Store the plan.

        Args:
            levels: Resource at the end of each generation.
            population: How many members are trained at once.
            quantile: Share of a generation that gives way, and that donors are drawn from.
            min_ready: Share of a generation that must have finished before it is judged.
            seed: Of the study; decides who gets which donor.

        Raises:
            ValueError: the ladder is wrong, or a figure out of its range.
        """
        if population < 1:
            raise ValueError(f"population must be at least 1, not {population!r}")
        if not 0 < quantile <= 0.5:
            raise ValueError(f"quantile must be above 0 and at most 0.5, not {quantile!r}")
        if not 0 < min_ready <= 1:
            raise ValueError(f"min_ready must be above 0 and at most 1, not {min_ready!r}")
        self._levels = explicit_levels(levels)
        self._quantile = quantile
        self._min_ready = exact(min_ready)
        self._seed = seed
        self._generations = [_Generation() for _ in self._levels]
        self._open = 0
        """Generation that is trained now."""
        self._members = population
        """Places in the population that are not lost for good."""
        self._is_full = False
        """Whether the first generation is complete."""
        self._targets: dict[int, int] = {}
        """Rung that each trial is trained up to."""
        self._reached: dict[int, int] = {}
        """Rung that each trial finished last."""
        self._on_way: set[int] = set()
        """Trials that are being trained."""
        self._stragglers: set[int] = set()
        """Those of them whose generation is closed."""
        self._going_on: deque[int] = deque()
        """Trials that are to be trained up to the open generation's end, unchanged."""
        self._vacant: deque[_Vacancy] = deque()
        self._donors: tuple[int, ...] = ()
        """Of the generation before the open one, best first; and to look up."""
        self._are_donors: frozenset[int] = frozenset()
        self._donors_held = False
        """Whether an heir may still start from one of them."""
        self._kept: set[tuple[int, int]] = set()
        """(trial, rung) of those that should have given way, had another trial been allowed."""
        self._heirs: dict[int, tuple[int, int | None]] = {}
        """Donor, and heir when it was started, by the trial whose place the heir takes."""
        self._spare: list[tuple[int, int]] = []

    # ---------------------------------------------------------------- what the study calls

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        """Return the resource at the end of each generation; there is only bracket 0."""
        check_bracket(bracket)
        return self._levels

    @property
    def copies(self) -> bool:
        """True: heirs start from what their donor saved."""
        return True

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return a member of the first generation, else who goes on, else an heir."""
        if not self._is_full:
            if may_start:
                return StartTrial()
            self._seal()
        while self._going_on or self._vacant:
            if self._going_on:
                return self._send(self._going_on.popleft())
            if may_start:
                donor = self._vacant[0].donor
                return StartTrial(rung=self._open, parents=(donor,), source=donor)
            promotion = self._do_without(self._vacant.popleft())
            if promotion is not None:
                return promotion
        return None

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started: a member of the first generation, or the next heir."""
        check_bracket(bracket)
        if trial in self._targets:
            raise ValueError(f"trial {trial} was started before")
        if not self._is_full:
            self._enter(trial, 0)
            self._is_full = len(self._targets) == self._members
        elif self._vacant:
            self._enter(trial, self._open)
            vacancy = self._vacant.popleft()
            self._heirs[vacancy.member] = (vacancy.donor, trial)
            if not vacancy.failed:
                self._spare.append((vacancy.member, self._reached[vacancy.member]))
        else:
            raise ValueError(f"trial {trial} was started, but the population is complete")
        self._close_if_ready()
        self._free_donors()

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        """Trial ``trial`` finished ``rung``; later calls with the same pair change nothing."""
        target = self._targets.get(trial)
        if target is None:
            raise ValueError(f"trial {trial} finished rung {rung} but was never started")
        if not 0 <= rung <= target:
            raise ValueError(
                f"trial {trial} finished rung {rung} but was only scheduled up to rung {target}"
            )
        if rung < target or trial not in self._on_way:
            return
        if loss is not None and not math.isfinite(loss):
            loss = None
        self._on_way.remove(trial)
        self._pass(trial, rung, ends=loss is None or rung == self._last)
        if rung < self._open:
            self._stragglers.remove(trial)
            self._generations[rung].late[trial] = loss
            self._rejoin(trial, loss)
        else:
            self._generations[rung].ranked.add(trial, loss)
        self._close_if_ready()
        self._free_donors()

    def standing(self, trial: int, rung: int) -> Standing | None:
        """Return how ``trial`` stands in its generation; stragglers as if they had been in it."""
        if not 0 <= rung <= self._last:
            return None
        here = self._generations[rung]
        ranked = here.ranked
        if trial in ranked:
            size = ranked.size
            place = None if ranked.loss(trial) is None else ranked.place(trial)
        elif trial in here.late:
            size = ranked.size + 1
            place = _place_of(here.late[trial], ranked)
        else:
            return None
        is_exempt = (trial, rung) in self._kept or trial in here.late
        places = size if is_exempt else here.places
        return Standing(
            rule=self._rule(trial, rung),
            size=size,
            place=place,
            places=places,
            cutoff=None if is_exempt else ranked.cutoff(places),
            outlook="" if rung == self._last else self._outlook(trial, rung, place is None),
        )

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        """Return the results of the generation, best first; a straggler is put among them."""
        if not 0 <= rung <= self._last:
            return ()
        here = self._generations[rung]
        results = here.ranked.results()
        if trial in here.late:
            place = _place_of(here.late[trial], here.ranked)
            results.insert(len(results) if place is None else place, (trial, here.late[trial]))
        return results

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return what was gone on from and what ended; a donor's when no heir can need it.

        That is so when the generation of its heirs was completely started and no straggler can
        fail any more, and the donor itself has finished that generation.
        """
        del trials
        found, self._spare = self._spare, []
        return found

    # ---------------------------------------------------------------- the population

    @property
    def _last(self) -> int:
        return len(self._levels) - 1

    def _enter(self, trial: int, rung: int) -> None:
        self._targets[trial] = rung
        self._on_way.add(trial)

    def _send(self, trial: int) -> Promote:
        promotion = Promote(trial=trial, rung=self._open)
        self._enter(trial, self._open)
        # It may have been the last that the generation waited for to be begun.
        self._close_if_ready()
        self._free_donors()
        return promotion

    def _seal(self) -> None:
        """Be content with those that were started, when nobody is on the way any more."""
        if self._targets and not self._on_way:
            self._members = len(self._targets)
            self._is_full = True
            self._close_if_ready()

    def _do_without(self, vacancy: _Vacancy) -> Promote | None:
        """No heir may be started: let the member go on, or lose the place for good."""
        promotion = None
        self._heirs.pop(vacancy.member)
        if vacancy.failed:
            self._members -= 1
        else:
            self._kept.add((vacancy.member, self._reached[vacancy.member]))
            promotion = self._send(vacancy.member)
        self._close_if_ready()
        self._free_donors()
        return promotion

    def _rejoin(self, straggler: int, loss: float | None) -> None:
        if loss is None:
            self._vacate(straggler, failed=True)
        else:
            self._going_on.append(straggler)

    def _vacate(self, member: int, *, failed: bool) -> None:
        draw = derived_seed(self._seed, f"pbt-{self._open}", member)
        donor = self._donors[draw % len(self._donors)]
        self._vacant.append(_Vacancy(member, donor, failed))
        self._heirs[member] = (donor, None)

    def _missing(self) -> int:
        """Return how many more must finish the open generation before it may be closed."""
        needed = math.ceil(self._min_ready * self._members)
        return max(0, needed - self._generations[self._open].ranked.size)

    def _close_if_ready(self) -> None:
        """Judge the open generation if it is time for that, and open the next one."""
        here = self._generations[self._open]
        waiting = not self._is_full or self._going_on or self._vacant or self._missing()
        if self._open == self._last or waiting or not here.ranked.best(1):
            return
        count = exploited_count(here.ranked.size, self._quantile)
        self._release_donors()
        # One member alone exploits nobody, but stragglers that fail need a donor.
        self._donors = tuple(here.ranked.best(max(count, 1)))
        self._are_donors = frozenset(self._donors)
        self._donors_held = True
        self._stragglers = set(self._on_way)
        self._open += 1
        last_place = here.ranked.size - count
        for place, (trial, loss) in enumerate(here.ranked.results()):
            if loss is not None and place < last_place:
                self._going_on.append(trial)
            else:
                self._vacate(trial, failed=loss is None)
        here.is_closed, here.places = True, len(self._going_on)

    # ---------------------------------------------------------------- what is still needed

    def _pass(self, trial: int, rung: int, *, ends: bool) -> None:
        """The trial needs no more what it went on from; or, if it ends, what it saved here."""
        before = self._reached.get(trial)
        self._reached[trial] = rung
        is_donor = self._donors_held and before == self._open - 1 and trial in self._are_donors
        if before is not None and not is_donor:
            self._spare.append((trial, before))
        if ends:
            self._spare.append((trial, rung))

    def _free_donors(self) -> None:
        """Release the donors if no place can become vacant before the generation is closed."""
        if not self._vacant and not self._stragglers:
            self._release_donors()

    def _release_donors(self) -> None:
        if self._donors_held:
            self._donors_held = False
            below = self._open - 1
            self._spare += [(d, below) for d in self._donors if self._reached[d] > below]

    # ---------------------------------------------------------------- words

    def _rule(self, trial: int, rung: int) -> str:
        if rung == self._last:
            return LAST_RUNG
        if (trial, rung) in self._kept:
            return "everybody goes on who can, as no further trial may be started"
        if trial in self._generations[rung].late:
            return "who finishes after the generation was closed goes on with the next one"
        share = f"{100 * self._quantile:g} %"
        return f"the worst {share} of a generation give way to heirs of the best {share}"

    def _outlook(self, trial: int, rung: int, failed: bool) -> str:
        here = self._generations[rung]
        if trial in self._heirs and self._reached[trial] == rung:
            donor, heir = self._heirs[trial]
            who = "an heir" if heir is None else f"{trial_id(heir)}, an heir"
            return f"never: replaced by {who} of {trial_id(donor)}"
        if failed:
            return NEVER_FAILED if here.is_closed else "an heir of a better one takes its place"
        if not here.is_closed:
            return self._until_closed()
        if self._targets[trial] == rung:
            return _WAITS
        return ""

    def _until_closed(self) -> str:
        missing = self._missing()
        if not self._is_full or not missing:
            return "decided when all members have begun the generation and enough finished it"
        return f"decided when {missing} more of the generation have finished"


def _place_of(loss: float | None, rung: Rung) -> int | None:
    """Return how many of a rung are better than, or as good as, ``loss``."""
    if loss is None:
        return None

    def loss_at(place: int) -> float:
        found = rung.loss_at(place)
        return math.inf if found is None else found

    return bisect_right(range(rung.size), loss, key=loss_at)

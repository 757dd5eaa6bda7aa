"""What a study will train and what that costs, as far as it can be told before: for `check`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil

from slurmtune.core.events import Resource
from slurmtune.core.resource import BracketPlan, exact, halving_plan
from slurmtune.spec.model import Spec
from slurmtune.spec.rungs import (
    BRACKETED,
    brackets_of,
    hedged,
    is_own,
    kind_of,
    levels_of,
    population,
    race_budget,
    runs_through,
)

DEFAULT_TIME_SECONDS = 3600
"""Time limit of a slot when the spec has none: some sites would take ten minutes, some days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One rung of the plan that ``check`` prints.

    Where trials run through their rungs there is one row, with the last rung's request: a trial
    has one slot, whatever rung it is stopped at.
    """

    rung: int
    resource: Resource | None
    trials: int
    units_each: Resource | None
    """Resource that a trial is trained for at this rung; None where some continue and others
    begin here, or some are stopped on their way."""
    units_all: Resource | None
    time_limit_seconds: int
    gpus: int
    longest_seconds: float | None
    """What the longest of these trainings takes by ``fidelity.unit_time``; None without it."""
    slots: int
    """One for each training; more where one takes longer than the time limit and goes on in
    further slots from its checkpoints."""
    likely_gpu_hours: float | None
    """From ``fidelity.unit_time``; None without it."""
    most_gpu_hours: float
    """When each of the ``slots`` used its whole time limit, and nothing else was repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BracketRow:
    """One bracket of the plan, if no trial fails."""

    bracket: int | None
    """The scheduler's number of it, of the first one if it is run several times; None for the
    control group of `fidelity.hedge`."""
    first_rung: int
    plan: BracketPlan
    """Its rungs, and how many trials are trained up to each."""
    times: int = 1
    """How often the bracket is run."""
    step: int = 1
    """From the number of one run to that of the next."""
    room: int | None = None
    """Configs that it was meant for when there are fewer left; None: it has all of its own."""
    configs_each: int | None = None
    """Configs of one run; None: those that enter it, since promotions make no new ones."""

    @property
    def numbers(self) -> range:
        """The scheduler's numbers of all runs; empty for the control group."""
        if self.bracket is None:
            return range(0)
        return range(self.bracket, self.bracket + self.times * self.step, self.step)

    def compares_too_few(self, eta: int) -> bool:
        """Tell whether it promotes more than 1/eta of a rung, since the best one always goes on.

        So it does when it got fewer trials than it was meant for; a whole one never does.
        """
        if self.room is None:
            return False
        return any(above > below // eta for below, above in pairwise(self.plan.sizes))

    @property
    def configs(self) -> int:
        """Configs in all runs."""
        each = self.plan.trials if self.configs_each is None else self.configs_each
        return self.times * each

    @property
    def evaluations(self) -> int:
        """Rungs that are trained, in all runs."""
        return self.times * self.plan.evaluations

    @property
    def cost_from_scratch(self) -> Resource:
        """Resource spent when every rung is trained from the start again."""
        return self.times * self.plan.cost_from_scratch

    @property
    def cost_resumed(self) -> Resource:
        """Resource spent when every promoted trial goes on from its checkpoint."""
        if self.configs_each is not None:
            return self.cost_from_scratch
        return self.times * self.plan.cost_resumed


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceRow:
    """One iteration of irace, if it uses up its budget."""

    iteration: int
    budget: int
    """Evaluations."""
    configs: int
    """Configs that race, elites included."""


def build_brackets(spec: Spec, trials: int) -> tuple[BracketRow, ...]:
    """Return the brackets of a study with rungs, in the order in which they are begun.

    ``trials`` is how many configs are started in all. Empty for a study without rungs, and for
    irace, whose races end when the results say so (`build_race`).

    Raises:
        ValueError: there is no such ladder.
    """
    kind = kind_of(spec)
    levels = [level for level in levels_of(spec) if level is not None]
    if spec.fidelity is None or kind in {"none", "median", "irace"} or not levels:
        return ()
    if kind == "pbt":
        plan = BracketPlan(tuple(levels), (population(spec),) * len(levels))
        return (BracketRow(bracket=0, first_rung=0, plan=plan),)
    if kind == "dehb":
        return tuple(_evolving(spec, trials))
    control = hedged(trials, spec.fidelity.hedge)
    trials -= control
    rows: Iterable[BracketRow]
    if kind == "async_hyperband":
        rows = _asynchronous(spec, levels, trials)
    elif kind in BRACKETED:
        rows = _repeated(spec, levels, trials)
    else:
        # Somebody is trained to the end: the best one for the final, whoever came first to a rung.
        ends = (kind == "pasha" and spec.search.pasha.final) or runs_through(spec)
        halved = _begun if ends else halving_plan
        plan = halved(levels, spec.fidelity.eta, max(1, trials))
        rows = [BracketRow(bracket=0, first_rung=0, plan=plan)]
    if not control:
        return tuple(rows)
    to_the_end = BracketPlan(tuple(levels), (control,) * len(levels))
    return (*rows, BracketRow(bracket=None, first_rung=0, plan=to_the_end))


def _repeated(spec: Spec, levels: Sequence[Resource], trials: int) -> Iterator[BracketRow]:
    """Yield Hyperband's brackets, and what is left for the last one."""
    assert spec.fidelity is not None
    plans = brackets_of(spec)
    rounds, left = divmod(trials, sum(plan.trials for plan in plans))
    step = len(plans)
    for bracket, plan in enumerate(plans):
        is_whole = left >= plan.trials
        times = rounds + is_whole
        if times:
            yield BracketRow(
                bracket=bracket, first_rung=bracket, plan=plan, times=times, step=step
            )
        if not is_whole and left:
            rest = _begun(levels[bracket:], spec.fidelity.eta, left)
            number = bracket + rounds * step
            yield BracketRow(bracket=number, first_rung=bracket, plan=rest, room=plan.trials)
        left = left - plan.trials if is_whole else 0


def _begun(levels: Sequence[Resource], eta: int, trials: int) -> BracketPlan:
    """Return a bracket that got fewer trials than it has room for: the best one ends it."""
    plan = halving_plan(levels, eta, trials)
    return BracketPlan(plan.levels, tuple(max(1, size) for size in plan.sizes))


def _asynchronous(spec: Spec, levels: Sequence[Resource], trials: int) -> Iterator[BracketRow]:
    """Yield brackets that share the trials as Hyperband's do, each of them ASHA."""
    assert spec.fidelity is not None
    shares = [plan.trials for plan in brackets_of(spec)]
    for bracket, count in enumerate(_shared_out(trials, shares)):
        if count:
            plan = halving_plan(levels[bracket:], spec.fidelity.eta, count)
            yield BracketRow(bracket=bracket, first_rung=bracket, plan=plan)


def _shared_out(trials: int, shares: Sequence[int]) -> list[int]:
    """Return whole numbers in proportion to ``shares``: largest remainders first."""
    total = sum(shares)
    counts = [trials * share // total for share in shares]
    by_rest = sorted(range(len(shares)), key=lambda b: (-(trials * shares[b] % total), b))
    for bracket in by_rest[: trials - sum(counts)]:
        counts[bracket] += 1
    return counts


def _evolving(spec: Spec, trials: int) -> Iterator[BracketRow]:
    """Yield DEHB's brackets: the first round promotes, later ones make a config each time."""
    assert spec.fidelity is not None
    plans = brackets_of(spec)
    left = trials
    for bracket, plan in enumerate(plans):
        if left > 0:
            is_whole = left >= plan.trials
            here = plan if is_whole else _begun(plan.levels, spec.fidelity.eta, left)
            room = None if is_whole else plan.trials
            yield BracketRow(bracket=bracket, first_rung=bracket, plan=here, room=room)
        left -= plan.trials
    rounds, left = divmod(max(0, left), sum(plan.evaluations for plan in plans))
    for bracket, plan in enumerate(plans):
        number = len(plans) + bracket
        times = rounds + (left >= plan.evaluations)
        if times:
            yield _offspring(number, bracket, plan, times, step=len(plans))
        if 0 < left < plan.evaluations:
            last = number + rounds * len(plans)
            yield _offspring(last, bracket, _cut(plan, left), 1)
        left = max(0, left - plan.evaluations)


def _offspring(
    number: int, first_rung: int, plan: BracketPlan, times: int, *, step: int = 1
) -> BracketRow:
    """Return a bracket of DEHB in which every evaluation is one of a new config."""
    return BracketRow(
        bracket=number,
        first_rung=first_rung,
        plan=plan,
        times=times,
        step=step,
        configs_each=plan.evaluations,
    )


def _cut(plan: BracketPlan, evaluations: int) -> BracketPlan:
    """Return the plan up to so many evaluations, lower rungs first."""
    sizes = []
    for size in plan.sizes:
        sizes.append(min(size, evaluations))
        evaluations -= sizes[-1]
    return BracketPlan(plan.levels, tuple(sizes))


def race_iterations(dimension: int) -> int:
    """Return how many races irace plans: ``floor(2 + log2 d)``.

    López-Ibáñez et al., "The irace package", Operations Research Perspectives 2016.
    """
    return max(1, dimension).bit_length() + 1


def least_race_budget(spec: Spec, dimension: int) -> int:
    """Return the least budget with which irace's first race has more configs than go on."""
    count, options = race_iterations(dimension), spec.search.irace
    return count * (count + 1) * (options.first_test + options.test_every)


def build_race(spec: Spec, dimension: int) -> tuple[RaceRow, ...]:
    """Return the iterations of irace for so many hyperparameters, if each uses up its budget.

    ``B_j = (B - used) // (N - j + 1)`` evaluations for ``B_j // (first_test + min(5, j))``
    configs (López-Ibáñez et al. 2016, section 4); what elites need not do again lets more race.
    Empty for other schedulers.
    """
    if kind_of(spec) != "irace":
        return ()
    options, budget = spec.search.irace, race_budget(spec)
    count, used, rows = race_iterations(dimension), 0, []
    for iteration in range(1, count + 1):
        here = (budget - used) // (count - iteration + 1)
        configs = here // (options.first_test + options.test_every * min(5, iteration))
        rows.append(RaceRow(iteration=iteration, budget=here, configs=configs))
        used += here
    return tuple(rows)


def race_configs(
    budget: int, iteration: int, first_test: int, test_every: int, known: Sequence[int]
) -> int:
    """Return how many configs race in an iteration (from 1), elites included.

    ``known`` says how many instances each elite was evaluated on before (elitist irace,
    López-Ibáñez et al. 2016, section 4).
    """
    length = max(first_test + test_every * min(5, iteration), max(known, default=-1) + 1)
    return (budget + sum(known)) // length


def expected_race_trials(spec: Spec, dimension: int) -> tuple[int, int]:
    """Return about how many trials irace starts, at the fewest and at the most.

    Fewest when each race uses up its budget; most when each ends at its first test: what one
    leaves unused is the next one's, for more configs.
    """
    options, instances = spec.search.irace, len(levels_of(spec))
    short = min(instances, options.first_test)
    long = min(instances, options.first_test + 5 * options.test_every)
    found = [_race_trials(spec, dimension, seen) for seen in (long, short)]
    return min(found), max(found)


def _race_trials(spec: Spec, dimension: int, seen: int) -> int:
    """Return how many trials irace starts when all see so many instances, if that can be paid."""
    options, count, left = spec.search.irace, race_iterations(dimension), race_budget(spec)
    started = 0
    known: list[int] = []
    for iteration in range(1, count + 1):
        for shares in range(count, iteration - 1, -1):
            budget = left // (shares - iteration + 1)
            configs = race_configs(
                budget, iteration, options.first_test, options.test_every, known
            )
            if configs > count:
                break
        else:
            break
        newcomers = configs - len(known)
        started += newcomers
        left -= min(budget, newcomers * seen)
        known = [seen] * count
    return started


def build_plan(spec: Spec, trials: int) -> tuple[PlanRow, ...]:
    """Return what each rung will cost, as far as it can be told before.

    For irace one row for all evaluations: how many configs see an instance is for the results
    to say. One row as well where trials run through their rungs (`PlanRow`).
    """
    levels = levels_of(spec)
    fidelity = spec.fidelity
    if kind_of(spec) == "irace":
        evaluations = race_budget(spec)
        if spec.search.trials is not None:
            evaluations = min(evaluations, spec.search.trials * len(levels))
        return (_row(spec, 0, 1, [_Training(evaluations, exact(1))]),)
    if fidelity is None or len(levels) == 1:
        level = levels[-1]
        one = None if level is None else exact(level)
        return (_row(spec, 0, level, [_Training(trials, one)]),)
    brackets = build_brackets(spec, trials)
    if runs_through(spec):
        found = [training for row in brackets for training in _ends(row.plan)]
        return (_row(spec, len(levels) - 1, levels[-1], found),)
    return tuple(
        _row(spec, rung, level, list(_at_rung(brackets, rung, resumes=fidelity.resume)))
        for rung, level in enumerate(levels)
    )


@dataclass(frozen=True, slots=True)
class _Training:
    """Trainings that are alike."""

    count: int
    units: Fraction | None
    """Resource of each; None when trials end by themselves."""


def _at_rung(brackets: Sequence[BracketRow], rung: int, *, resumes: bool) -> Iterator[_Training]:
    """Yield what is trained up to a rung, bracket by bracket."""
    for row in brackets:
        at = rung - row.first_rung
        if at < 0:
            continue
        goes_on = resumes and row.configs_each is None and at > 0
        begin = exact(row.plan.levels[at - 1]) if goes_on else exact(0)
        yield _Training(row.times * row.plan.sizes[at], exact(row.plan.levels[at]) - begin)


def _ends(plan: BracketPlan) -> Iterator[_Training]:
    """Yield the trainings of trials that run on until they are stopped at a rung."""
    for level, size, above in zip(plan.levels, plan.sizes, (*plan.sizes[1:], 0), strict=True):
        if size > above:
            yield _Training(size - above, exact(level))


def _row(spec: Spec, rung: int, level: Resource | None, trainings: Sequence[_Training]) -> PlanRow:
    limit = time_limit(spec, levels_of(spec), rung)
    gpus = spec.slurm.at_rung(rung).gpu_count
    unit_time = None if spec.fidelity is None else spec.fidelity.unit_time
    plain = int if isinstance(level, int) else float
    each = {training.units for training in trainings}
    amounts = [(one.count, one.units) for one in trainings if one.units is not None]
    is_known = len(amounts) == len(trainings)
    units = sum((count * one for count, one in amounts), Fraction())
    trials = slots = sum(training.count for training in trainings)
    longest = likely = None
    if unit_time is not None and is_known:
        # Exact, so that what is likely cannot be above what is possible by a rounding.
        second = exact(unit_time)
        longest = float(max((one for count, one in amounts if count), default=0) * second)
        likely = float(units * second * gpus / 3600)
        slots = sum(count * ceil(one * second / limit) for count, one in amounts)
    return PlanRow(
        rung=rung,
        resource=level,
        trials=trials,
        units_each=plain(one) if len(each) == 1 and (one := each.pop()) is not None else None,
        units_all=plain(units) if is_known else None,
        time_limit_seconds=limit,
        gpus=gpus,
        longest_seconds=longest,
        slots=slots,
        likely_gpu_hours=likely,
        most_gpu_hours=float(Fraction(slots * limit * gpus, 3600)),
    )


def expected_units(plan: Sequence[PlanRow]) -> float | None:
    """Return the resource that the whole study is expected to train."""
    units = [row.units_all for row in plan]
    return float(sum(u for u in units if u is not None)) if None not in units else None


def time_limit(spec: Spec, levels: Sequence[Resource | None], rung: int) -> int:
    """Return the time limit of a slot for this rung, in seconds."""
    if runs_through(spec):
        rung = len(levels) - 1  # where every attempt is bound for
    table = spec.slurm.at_rung(rung)
    level = levels[rung]
    if table.time_per_unit is not None and level is not None:
        begin = levels[rung - 1] if rung and not _may_begin_at(spec, levels, rung) else 0
        seconds = table.time_per_unit * (level - (begin or 0)) + (table.time_extra or 0)
        return max(1, round(seconds))  # to Slurm 0 is no limit at all
    return DEFAULT_TIME_SECONDS if table.time is None else table.time


def _may_begin_at(spec: Spec, levels: Sequence[Resource | None], rung: int) -> bool:
    """Tell whether an attempt for ``rung`` may have to train more than from the rung below."""
    fidelity, kind = spec.fidelity, kind_of(spec)
    if fidelity is None or is_own(kind):
        return True
    if kind == "irace":
        return False  # each instance is an evaluation of its own
    if not fidelity.resume or fidelity.guard or runs_through(spec) or kind == "dehb":
        return True
    return kind in BRACKETED and rung < (fidelity.brackets or len(levels))

"""Which schedulers there are, what each of them needs, and the ladder that follows from a spec."""

from __future__ import annotations

from collections.abc import Mapping

from slurmtune.core.events import Resource
from slurmtune.core.resource import (
    BracketPlan,
    bracket_table,
    dehb_brackets,
    exact,
    explicit_levels,
    rung_levels,
)
from slurmtune.spec.field import MAX_RUNGS, own_scheduler
from slurmtune.spec.model import FidelityTable, Spec

DEFAULT_TRIALS = 100
DEFAULT_POPULATION = 20
EVALUATIONS_PER_TRIAL = 10
"""Default budget of irace for each config."""

BRACKETED = frozenset({"hyperband", "async_hyperband", "bohb", "dehb"})
"""Made of brackets that begin at different rungs; left out, `fidelity.brackets` means all."""
UNDIVIDED = frozenset({"none", "asha", "sha", "pasha", "median", "pbt"})
"""All trials are in one bracket."""
ONE_LEVEL = frozenset({"none", "median"})
"""Nobody pauses: there is one rung, at `fidelity.max`."""
VARYING = frozenset({"pbt", "irace", "dehb"})
"""Make new configs of old ones, so that the sampler only chooses the first."""
WITHOUT_ETA = frozenset({"none", "median", "pbt", "irace"})
CANNOT_HEDGE = frozenset({"none", "pbt", "irace", "dehb"})
CANNOT_GUARD: Mapping[str, str] = {
    "none": "every trial is trained in full",
    "median": "it looks at every report",
    "irace": "each instance is an evaluation of its own",
    "pbt": "configs change from one to the next",
}
"""Why no result at a rung says whether the one before it was worth anything."""
FIXED_RUNGS: Mapping[str, str] = {
    "sha": "asha",
    "hyperband": "async_hyperband",
    "bohb": "async_hyperband",
    "dehb": "async_hyperband",
}
"""Their table says how many trials each rung gets; and what leaves out rungs in their place."""
FIXED_TRIALS = frozenset({"sha", "pbt", "irace"})
"""Their plan rests on the number of trials, which a later launch may therefore not change."""


def is_own(scheduler: str) -> bool:
    """Tell whether it is a class of the user's."""
    return own_scheduler(scheduler) is not None


def kind_of(spec: Spec) -> str:
    """Return what works behind `search.scheduler`: asha with several brackets is another one."""
    scheduler, fidelity = spec.search.scheduler, spec.fidelity
    if fidelity is None:
        return "none"
    if scheduler == "asha" and (fidelity.brackets or 1) > 1:
        return "async_hyperband"
    return scheduler


def runs_through(spec: Spec) -> bool:
    """Tell whether a trial runs on from rung to rung, in one slot, until it is stopped."""
    return kind_of(spec) == "asha" and spec.search.variant == "stopping"


def bracket_name(kind: str, bracket: int) -> str:
    """Return what a bracket of a study is called, in `check` and wherever a trial is told of.

    ``bracket 3`` as the scheduler counts them, without end when they are repeated; ``iteration 2``
    for irace, which counts from 1. Empty where all trials share one.

    Args:
        kind: The scheduler as the study's core settings call it.
        bracket: The number that the scheduler gave it.
    """
    if kind == "irace":
        return f"{bracket_word(kind)} {bracket + 1}"
    # A scheduler of the user's own may have more than one, or not.
    is_one = kind in UNDIVIDED or (bracket == 0 and kind not in BRACKETED)
    return "" if is_one else f"{bracket_word(kind)} {bracket}"


def bracket_word(kind: str) -> str:
    """Return the word for what a scheduler's trials are divided into."""
    return "iteration" if kind == "irace" else "bracket"


def population(spec: Spec) -> int:
    """Return how many members the population of pbt has."""
    return spec.search.trials or DEFAULT_POPULATION


def race_budget(spec: Spec) -> int:
    """Return how many evaluations irace may make."""
    given = spec.search.irace.budget
    return given or EVALUATIONS_PER_TRIAL * (spec.search.trials or DEFAULT_TRIALS)


def hedged(trials: int, share: float) -> int:
    """Return how many of so many trials run to the end whatever their rank."""
    return int(trials * exact(share))


def levels_of(spec: Spec) -> tuple[Resource | None, ...]:
    """Return the resource of each rung; ``(None,)`` when trials decide by themselves.

    Raises:
        ValueError: there is no such ladder.
    """
    fidelity = spec.fidelity
    if fidelity is None:
        return (None,)
    kind = spec.search.scheduler
    if kind in ONE_LEVEL:
        return (fidelity.max,)
    if fidelity.rungs is not None:
        return explicit_levels(fidelity.rungs)
    if kind == "pbt":
        return _generations(fidelity)
    if kind == "irace":
        return _instances(fidelity)
    return rung_levels(fidelity.min, fidelity.max, fidelity.eta)


def _generations(fidelity: FidelityTable) -> tuple[Resource, ...]:
    """Return the resource after each generation: every ``min``, lastly ``max``."""
    step, top = exact(fidelity.min), exact(fidelity.max)
    count = int(top / step)
    if not 1 <= count <= MAX_RUNGS:
        raise ValueError(f"{count} generations: 1 to {MAX_RUNGS} are possible")
    levels = [fidelity.min * number for number in range(1, count)]
    return explicit_levels([*(_rounded(level) for level in levels), fidelity.max])


def _rounded(level: Resource) -> Resource:
    """Return a multiple without the error of binary fractions: 3 times 0.1 is 0.3."""
    return level if isinstance(level, int) else float(f"{level:.12g}")


def _instances(fidelity: FidelityTable) -> tuple[Resource, ...]:
    """Return the number of each instance, from 1 on: a rung is an evaluation of its own."""
    if fidelity.min != 1 or int(fidelity.max) != fidelity.max:
        raise ValueError("instances are numbered 1, 2, 3: min must be 1 and max a whole number")
    if fidelity.max > MAX_RUNGS:
        raise ValueError(f"at most {MAX_RUNGS} instances are possible, not {fidelity.max:g}")
    return tuple(range(1, int(fidelity.max) + 1))


def rung_count(spec: Spec) -> int | None:
    """Return how many rungs the study has; None when the spec does not say it rightly."""
    if spec.fidelity is None:
        return 1 if spec.search.scheduler == "none" else None
    if spec.search.scheduler in ONE_LEVEL:
        return 1
    if spec.fidelity.max / spec.fidelity.min > 1e15:
        return None
    try:
        return len(levels_of(spec))
    except ValueError:
        return None


def brackets_of(spec: Spec) -> tuple[BracketPlan, ...]:
    """Return the brackets of one iteration, for schedulers that are made of them.

    Hyperband's sizes are those of its Algorithm 1 (Li et al., JMLR 2018); DEHB has the smaller
    ones of its own publication (Awad et al., IJCAI 2021).

    Raises:
        ValueError: there is no such ladder.
    """
    assert spec.fidelity is not None
    levels = [level for level in levels_of(spec) if level is not None]
    eta = spec.fidelity.eta
    if spec.search.scheduler == "dehb":
        plans = dehb_brackets(levels, eta)
    else:
        plans = bracket_table(levels, eta)
    return plans[: spec.fidelity.brackets or len(plans)]


def trial_limit(spec: Spec) -> int | None:
    """Return how many configs to start; None: as many as the grid has.

    Raises:
        ValueError: it follows from a ladder that there is not.
    """
    given, kind = spec.search.trials, kind_of(spec)
    if kind == "pbt":
        return population(spec) * len(levels_of(spec))
    if kind == "irace":
        return given or race_budget(spec)
    if given is not None:
        return given
    if kind in BRACKETED:
        assert spec.fidelity is not None
        inside = sum(plan.trials for plan in brackets_of(spec))
        trials = inside
        # The control group comes on top, so that every bracket is complete.
        while trials - hedged(trials, spec.fidelity.hedge) < inside:
            trials += 1
        return trials
    return None if spec.search.sampler == "grid" else DEFAULT_TRIALS

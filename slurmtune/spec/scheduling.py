"""Whether scheduler, sampler, ladder and trials go together: what no single key shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from slurmtune.spec.plan import least_race_budget
from slurmtune.spec.problem import Problem, Severity
from slurmtune.spec.rungs import (
    BRACKETED,
    CANNOT_GUARD,
    CANNOT_HEDGE,
    DEFAULT_TRIALS,
    FIXED_RUNGS,
    ONE_LEVEL,
    VARYING,
    WITHOUT_ETA,
    hedged,
    is_own,
    kind_of,
    levels_of,
    population,
    race_budget,
    rung_count,
)
from slurmtune.spec.words import number_text

if TYPE_CHECKING:
    from slurmtune.spec.check import Checker

_SCHEDULER_TABLES = ("median", "pasha", "pbt", "irace", "dehb")


def scheduling_problems(check: Checker) -> Iterator[Problem]:
    """Yield what does not go together in ``[search]`` and ``[fidelity]``; both are there."""
    if not check.is_sound("search", "scheduler"):
        return
    yield from _without_effect(check)
    yield from _ladder(check)
    yield from _sampler(check)
    yield from _brackets(check)
    yield from _hedge_and_guard(check)
    yield from _trials(check)
    match check.spec.search.scheduler:
        case "pbt":
            yield from _population(check)
        case "irace":
            yield from _race(check)


def _without_effect(check: Checker) -> Iterator[Problem]:
    """Yield options of a sampler or scheduler that was not chosen."""
    search = check.spec.search
    chosen = search.scheduler
    idle = [(name, name, chosen == name) for name in _SCHEDULER_TABLES]
    idle.append(("tpe", "the sampler tpe", search.sampler == "tpe"))
    idle.append(("options", "a scheduler of your own", is_own(chosen)))
    idle.append(("variant", "the scheduler asha", chosen == "asha"))
    for key, owner, has_effect in idle:
        if check.given("search", key) and not has_effect:
            message = f"'{key}' does nothing: it is for {owner}"
            if key in _SCHEDULER_TABLES:
                message = f"'{key}' does nothing: the scheduler is {chosen}"
            yield _idle(check, ("search", key), message)
    if check.given("search", "startup") and search.sampler == "tpe":
        message = "'startup' does nothing with tpe: it knows itself when it has seen enough"
        yield _idle(check, ("search", "startup"), message)
    for key, kinds in (("eta", WITHOUT_ETA), ("rungs", ONE_LEVEL), ("resume", {"irace"})):
        if check.given("fidelity", key) and chosen in kinds and chosen != "none":
            yield _idle(check, ("fidelity", key), f"'{key}' does nothing with {chosen}")


def _idle(check: Checker, path: tuple[str, ...], message: str) -> Problem:
    note = Severity.NOTE
    return check.tree.problem("M11", message, path, fix="remove it", at_key=True, severity=note)


def _ladder(check: Checker) -> Iterator[Problem]:
    spec = check.spec
    kind = spec.search.scheduler
    try:
        levels = levels_of(spec)
    except ValueError as error:
        keys = [key for key in ("rungs", "min", "max") if check.given("fidelity", key)]
        yield check.tree.problem("M6", f"{error}", ("fidelity", *keys[:1]))
        return
    if kind == "irace" and levels != tuple(range(1, len(levels) + 1)):
        message = "the rungs of irace are its instances, counted from 1"
        fix = f"write  max = {len(levels)}  in place of rungs"
        yield check.tree.problem("M6", message, ("fidelity", "rungs"), fix=fix)
    if len(levels) == 1 and (kind in BRACKETED or kind == "pasha"):
        assert spec.fidelity is not None
        low, high = number_text(spec.fidelity.min), number_text(spec.fidelity.max)
        message = f"{kind} needs at least two rungs, and from {low} to {high} there is one"
        fix = f"make max larger, or eta smaller than {spec.fidelity.eta}"
        if spec.fidelity.rungs is not None:
            fix = "give more rungs"
        path = ("fidelity", "rungs" if spec.fidelity.rungs is not None else "max")
        yield check.tree.problem("M6", message, path, fix=fix)
    elif len(levels) == 1 and kind in {"asha", "sha"}:
        assert spec.fidelity is not None
        low, high = number_text(spec.fidelity.min), number_text(spec.fidelity.max)
        yield check.tree.problem(
            "M6",
            f"{kind} compares nothing: from {low} to {high} there is one rung",
            ("fidelity", "max"),
            fix=f"make max larger, or eta smaller than {spec.fidelity.eta}",
            severity=Severity.NOTE,
        )


def _sampler(check: Checker) -> Iterator[Problem]:
    search = check.spec.search
    path = ("search", "sampler")
    if not check.is_sound(*path):
        return
    if search.scheduler == "bohb" and search.sampler != "tpe":
        message = f"bohb is Hyperband with the sampler tpe, not {search.sampler}"
        fix = f'remove the sampler; or write  scheduler = "hyperband"  with {search.sampler}'
        yield check.tree.problem("M14", message, path, fix=fix)
    if search.scheduler in VARYING and search.sampler == "grid":
        message = f"{search.scheduler} makes new configs of old ones, and a grid has none"
        fix = 'write  sampler = "random"  or  sampler = "sobol"'
        yield check.tree.problem("M14", message, path, fix=fix)


def _brackets(check: Checker) -> Iterator[Problem]:
    spec = check.spec
    assert spec.fidelity is not None
    count, rungs = spec.fidelity.brackets, rung_count(spec)
    scheduler, path = spec.search.scheduler, ("fidelity", "brackets")
    if count is None or rungs is None or not check.is_sound(*path):
        return
    if scheduler not in BRACKETED and scheduler != "asha":
        if count > 1:
            message = f"{scheduler} has no brackets"
            fix = 'remove them; or write  scheduler = "hyperband"  or  "async_hyperband"'
            yield check.tree.problem("M14", message, path, fix=fix)
    elif count > rungs:
        message = f"{rungs} rungs make at most {rungs} brackets, not {count}"
        fix = f"write brackets = {rungs}" + (", or leave it out" if scheduler != "asha" else "")
        yield check.tree.problem("M14", message, path, fix=fix)
    elif count > 1 and spec.search.variant == "stopping" and scheduler == "asha":
        message = "the stopping variant of asha has one bracket"
        fix = "remove brackets, or the variant"
        yield check.tree.problem("M14", message, path, fix=fix)


def _hedge_and_guard(check: Checker) -> Iterator[Problem]:
    spec = check.spec
    assert spec.fidelity is not None
    kind, scheduler = kind_of(spec), spec.search.scheduler
    if spec.fidelity.hedge and scheduler in CANNOT_HEDGE:
        message = f"{scheduler} cannot hedge: it has no trials that are trained in full apart"
        if scheduler == "none":
            message = "without a scheduler every trial is trained in full: nothing to hedge"
        yield check.tree.problem("M14", message, ("fidelity", "hedge"), fix="remove it")
    path = ("fidelity", "guard")
    if not spec.fidelity.guard:
        return
    if scheduler in CANNOT_GUARD:
        message = f"{scheduler} has no rungs that a guard could compare: {CANNOT_GUARD[scheduler]}"
        yield check.tree.problem("M14", message, path, fix="remove it")
    elif kind in FIXED_RUNGS:
        message = f"{scheduler} cannot leave out a rung: one that tells nothing is only told"
        fix = f'remove it, you are told all the same; or write  scheduler = "{FIXED_RUNGS[kind]}"'
        note = Severity.NOTE
        yield check.tree.problem("M15", message, path, fix=fix, severity=note)


def _trials(check: Checker) -> Iterator[Problem]:
    spec, rungs = check.spec, rung_count(check.spec)
    assert spec.fidelity is not None
    path = ("search", "trials" if check.given("search", "trials") else "scheduler")
    if rungs is None or not check.is_sound("search", "trials"):
        return
    if spec.search.scheduler == "sha":
        needed = spec.fidelity.eta ** (rungs - 1)
        trials = spec.search.trials or DEFAULT_TRIALS
        if trials - hedged(trials, spec.fidelity.hedge) < needed and (
            spec.search.sampler != "grid" or spec.search.trials
        ):
            message = f"{trials} trials are too few for {rungs} rungs: none would reach the last"
            fix = f"at least {needed} are needed, or a larger min"
            yield check.tree.problem("M13", message, path, fix=fix)


def _population(check: Checker) -> Iterator[Problem]:
    spec = check.spec
    assert spec.fidelity is not None
    members = population(spec)
    if not spec.fidelity.resume:
        message = "pbt copies checkpoints from trial to trial, so that they must be resumed"
        yield check.tree.problem("M14", message, ("fidelity", "resume"), fix="remove it")
    if members < 2 and check.is_sound("search", "trials"):
        message = "a population of 1 has nobody to learn from"
        fix = "trials is the size of the population: 20 is usual"
        yield check.tree.problem("M13", message, ("search", "trials"), fix=fix)
    if len(spec.start) > members:
        message = f"{len(spec.start)} start points are more than the {members} members"
        fix = f"write  trials = {len(spec.start)}, the size of the population"
        yield check.tree.problem("M13", message, ("start",), fix=fix)


def _race(check: Checker) -> Iterator[Problem]:
    spec = check.spec
    assert spec.fidelity is not None
    first = spec.search.irace.first_test
    if spec.fidelity.max < first:
        one = spec.fidelity.max == 1
        there = "1 instance is" if one else f"{number_text(spec.fidelity.max)} instances are"
        message = f"{there} fewer than the {first} of the first test"
        fix = (
            f"max = {first} or more: how many folds, seeds or data sets there are; or a smaller "
            "first_test in [search.irace]"
        )
        yield check.tree.problem("M6", message, ("fidelity", "max"), fix=fix)
    # Without those that are wrong themselves there would be fewer than the user means.
    dimension = sum(item.distribution != "fixed" for item in spec.space.values())
    least = least_race_budget(spec, dimension)
    if race_budget(spec) < least and check.is_sound("search") and check.is_sound("space"):
        given = check.given("search", "irace", "budget")
        path = ("search", "irace", "budget") if given else ("search", "scheduler")
        word = "hyperparameter" if dimension == 1 else "hyperparameters"
        message = (
            f"{race_budget(spec)} evaluations are too few to race with {dimension} {word}: "
            f"at least {least} are needed"
        )
        fix = f"write  [search.irace]  budget = {least}  or more; hundreds are usual"
        yield check.tree.problem("M13", message, path, fix=fix)

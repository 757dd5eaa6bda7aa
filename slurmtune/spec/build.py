"""The composition root: from a checked spec to the objects of a study.

Together with `launching` this is the only place that knows concrete domains, samplers, schedulers
and backends. Everything that a later launch may change is part of the journal (`Limits`).
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slurmtune.core.events import Limits, Resource
from slurmtune.core.objective import Goal, Objective
from slurmtune.core.ports import Sampler, Scheduler
from slurmtune.core.request import ResourceRequest
from slurmtune.core.study import Study, StudySettings
from slurmtune.errors import SpecError
from slurmtune.spec.domain import build_domain
from slurmtune.spec.model import RequestTable, Spec
from slurmtune.spec.plan import race_iterations, time_limit
from slurmtune.spec.rungs import (
    hedged,
    kind_of,
    levels_of,
    population,
    race_budget,
    runs_through,
    trial_limit,
)

if TYPE_CHECKING:
    from slurmtune.samplers.start import StartPointSampler
    from slurmtune.space.space import Space
    from slurmtune.spec.custom import SchedulerCode

OWN = "own"
"""How `core_settings` call a scheduler that the user wrote."""


def build_objective(spec: Spec) -> Objective:
    """Return the objective; the first one when there are several."""
    table = spec.objective[0]
    return Objective(table.metric, Goal(table.goal))


def build_levels(spec: Spec) -> tuple[Resource | None, ...]:
    """Return the resource of each rung; ``(None,)`` when trials decide by themselves.

    Raises:
        SpecError: there is no such ladder.
    """
    try:
        return levels_of(spec)
    except ValueError as error:
        raise SpecError(f"[fidelity]: {error}") from error


def core_settings(
    spec: Spec, trials: int, code: SchedulerCode | None = None, space: Space | None = None
) -> dict[str, Any]:
    """Return what a study is about, as JSON data: enough to replay its journal.

    ``code`` is the scheduler of the user's own, if it is one.

    Raises:
        SpecError: there is no such ladder.
    """
    objective = build_objective(spec)
    fidelity = spec.fidelity
    kind = kind_of(spec)
    core = {
        "seed": spec.study.seed,
        "metric": objective.metric,
        "goal": objective.goal.value,
        "scheduler": kind if code is None else OWN,
        "variant": spec.search.variant,
        "levels": list(build_levels(spec)),
        "reduction_factor": 2 if fidelity is None else fidelity.eta,
        "trials": trials,
        "resume": fidelity is None or fidelity.resume,
        "resource": "" if fidelity is None else fidelity.resource,
        "brackets": None if fidelity is None else fidelity.brackets,
        "guard": fidelity is not None and fidelity.guard,
        "hedge": 0.0 if fidelity is None else fidelity.hedge,
        "options": _scheduler_options(spec, kind, space),
    }
    if code is not None:
        core["code"] = {
            "file": code.file,
            "class": code.name,
            "sha256": code.sha256,
            "arguments": dict(spec.search.options),
        }
    return core


def _scheduler_options(spec: Spec, kind: str, space: Space | None) -> dict[str, Any]:
    """Return the arguments that only this scheduler has."""
    search, fidelity = spec.search, spec.fidelity
    if fidelity is None:
        return {}
    if kind == "median":
        return {"grace": fidelity.min, "min_trials": search.median.min_trials}
    if kind == "pasha":
        return {"final": search.pasha.final}
    if kind == "pbt":
        return {
            "population": population(spec),
            "quantile": search.pbt.quantile,
            "min_ready": search.pbt.min_ready,
        }
    if kind == "irace":
        return {
            "seed": spec.study.seed,
            "dimension": (space or build_space(spec)).dimension,
            "budget": race_budget(spec),
            "first_test": search.irace.first_test,
            "test_every": search.irace.test_every,
            "test": search.irace.test,
            "alpha": search.irace.alpha,
        }
    return {}


def build_study(core: Mapping[str, Any], code: SchedulerCode | None = None) -> Study:
    """Return an empty study of these `core_settings`.

    ``code`` is the scheduler of the user's own, if it is one.

    Raises:
        SpecError: the scheduler cannot work with them.
    """
    settings = StudySettings(
        seed=core["seed"],
        objective=Objective(core["metric"], Goal(core["goal"])),
        resume=core["resume"],
        guard=core.get("guard", False),
    )
    return Study(settings, build_scheduler(core, code))


def build_scheduler(core: Mapping[str, Any], code: SchedulerCode | None = None) -> Scheduler:
    """Return a fresh scheduler.

    Raises:
        SpecError: it cannot work with these settings.
    """
    try:
        scheduler = _own_scheduler(core, code) if code else _plain_scheduler(core)
        share = core.get("hedge", 0.0)
        if share:
            from slurmtune.schedulers.hedged import Hedged

            return Hedged(scheduler, share)
        return scheduler
    except SpecError:
        raise  # tells all already
    except ValueError as error:
        raise SpecError(f"search.scheduler = {core['scheduler']!r}: {error}") from error


def _own_scheduler(core: Mapping[str, Any], code: SchedulerCode) -> Scheduler:
    return code.make(core["levels"], core["reduction_factor"], core["code"]["arguments"])


def _plain_scheduler(core: Mapping[str, Any]) -> Scheduler:
    kind, levels, factor = core["scheduler"], core["levels"], core["reduction_factor"]
    brackets, options = core.get("brackets"), core.get("options", {})
    if kind == "none":
        from slurmtune.schedulers.single import SingleRung

        return SingleRung(levels[-1])
    if kind == "sha":
        from slurmtune.schedulers.successive_halving import SuccessiveHalving

        # The control group is not its business.
        inside = core["trials"] - hedged(core["trials"], core.get("hedge", 0.0))
        return SuccessiveHalving(levels, factor, inside)
    if kind == "asha" and core["variant"] == "stopping":
        from slurmtune.schedulers.asha_stopping import AshaStopping

        return AshaStopping(levels, factor)
    if kind == "asha":
        from slurmtune.schedulers.asha import Asha

        return Asha(levels, factor)
    if kind in {"hyperband", "bohb"}:
        from slurmtune.schedulers.hyperband import Hyperband

        return Hyperband(levels, factor, brackets)
    if kind == "async_hyperband":
        from slurmtune.schedulers.async_hyperband import AsyncHyperband

        return AsyncHyperband(levels, factor, brackets)
    if kind == "pasha":
        from slurmtune.schedulers.pasha import Pasha

        return Pasha(levels, factor, **options)
    if kind == "median":
        from slurmtune.schedulers.median import MedianRule

        return MedianRule(levels[-1], **options)
    if kind == "pbt":
        from slurmtune.schedulers.pbt import Pbt

        return Pbt(levels, seed=core["seed"], **options)
    if kind == "dehb":
        from slurmtune.schedulers.dehb import Dehb

        return Dehb(levels, factor, seed=core["seed"], brackets=brackets)
    if kind == "irace":
        from slurmtune.schedulers.irace import Irace

        return Irace(levels, **options)
    raise SpecError(f"this slurmtune knows no scheduler {kind!r}")


def build_space(spec: Spec) -> Space:
    """Return the space of the spec.

    Raises:
        SpecError: a domain, a condition or a constraint cannot be.
    """
    from slurmtune.space.condition import Condition
    from slurmtune.space.expression import Expression
    from slurmtune.space.space import Hyperparameter, Space

    hyperparameters = []
    for entry in spec.space.values():
        try:
            domain = build_domain(entry)
            hyperparameters.append(
                Hyperparameter(
                    name=entry.name,
                    domain=domain,
                    default=entry.default,
                    when=Condition.parse(entry.when) if entry.when else None,
                )
            )
        except ValueError as error:
            raise SpecError(f"space.{entry.name}: {error}") from error
    try:
        rules = {rule.name: Expression(rule.expression) for rule in spec.constraints}
        return Space(hyperparameters, rules)
    except ValueError as error:
        raise SpecError(f"[space]: {error}") from error


def build_sampler(
    spec: Spec, space: Space, trials: int, scheduler: Scheduler | None = None
) -> StartPointSampler:
    """Return the sampler, behind the start points of the spec.

    ``scheduler`` is the study's own: iterated racing plans its draws with the races.

    Raises:
        SpecError: it cannot work with this space.
    """
    from slurmtune.samplers.start import StartPointSampler

    try:
        if kind_of(spec) == "pbt":
            trials = population(spec)  # the heirs are no draws of the sampler
        sampler = _varying(spec, space, _first_sampler(spec, space, trials), scheduler)
        points = [dict(start.values) for start in spec.start]
        return StartPointSampler(space, points, sampler)
    except ValueError as error:
        raise SpecError(f"search.sampler = {spec.search.sampler!r}: {error}") from error


def _varying(spec: Spec, space: Space, then: Sampler, scheduler: Scheduler | None) -> Sampler:
    """Return the sampler of a scheduler that makes configs of configs, else ``then``."""
    search, kind = spec.search, kind_of(spec)
    if kind == "pbt":
        from slurmtune.samplers.pbt import PbtSampler

        return PbtSampler(space, then, resample=search.pbt.resample, perturb=search.pbt.perturb)
    if kind == "dehb":
        from slurmtune.samplers.dehb import DehbSampler

        return DehbSampler(
            space, then, mutation=search.dehb.mutation, crossover=search.dehb.crossover
        )
    if kind == "irace":
        from slurmtune.samplers.irace import IraceSampler
        from slurmtune.schedulers.irace import Irace

        assert isinstance(scheduler, Irace)
        return IraceSampler(
            space,
            then,
            iterations=race_iterations(space.dimension),
            newcomers=scheduler.newcomers,
        )
    return then


def _first_sampler(spec: Spec, space: Space, trials: int) -> Sampler:
    """Return what `search.sampler` names; a model has `search.initial` behind it."""
    if spec.search.sampler != "tpe":
        return _plain_sampler(spec, space, spec.search.sampler, trials)
    from slurmtune.samplers.tpe import TpeSampler

    options = spec.search.tpe
    return TpeSampler(
        space,
        _plain_sampler(spec, space, spec.search.initial, trials),
        good=options.good,
        random=options.random,
        candidates=options.candidates,
        bandwidth_factor=options.bandwidth_factor,
        min_bandwidth=options.min_bandwidth,
    )


def _plain_sampler(spec: Spec, space: Space, kind: str, trials: int) -> Sampler:
    if kind == "random":
        from slurmtune.samplers.random import RandomSampler

        return RandomSampler(space)
    if kind == "grid":
        from slurmtune.samplers.grid import GridSampler

        return GridSampler(space)
    if kind in {"sobol", "halton", "hammersley", "lhs"}:
        from slurmtune.samplers.qmc import QmcSampler

        return QmcSampler(space, kind, trials=max(1, trials - len(spec.start)))
    raise SpecError(f"search.sampler = {kind!r} is not available yet")


def count_trials(spec: Spec, space: Space | None = None) -> int:
    """Return how many configs are started at most; for a grid without a limit: all of it.

    Raises:
        SpecError: nothing says how many.
    """
    try:
        wanted = trial_limit(spec)
    except ValueError as error:
        raise SpecError(f"[fidelity]: {error}") from error
    if wanted is not None:
        return wanted
    space = space or build_space(spec)
    if space.size is None:
        raise SpecError("search.trials is missing: this space has no end")
    return space.size


def build_requests(
    spec: Spec, *, local: bool = False, gpus: bool = True
) -> tuple[tuple[str, ...], dict[str, ResourceRequest]]:
    """Return the resource class of each rung, and the classes by name.

    A class is named by what it asks for: after a change of ``[slurm]`` the slots of the old class
    are still told from those of the new one. ``local`` leaves time limits out, ``gpus=False``
    the GPUs: a trial run on a machine that has none.
    """
    names: list[str] = []
    classes: dict[str, ResourceRequest] = {}
    levels = build_levels(spec)
    for number in range(len(levels)):
        # Who runs on from rung to rung has one slot for all of them.
        rung = len(levels) - 1 if runs_through(spec) else number
        table = spec.slurm.at_rung(rung)
        request = ResourceRequest(
            name="",
            options=(*_options(table), ("comment", spec.slurm.comment)),
            time_limit_seconds=None if local else time_limit(spec, levels, rung),
            gpus=table.gpu_count if gpus else 0,
            cpus=table.cpus_per_task or 1,
            setup=setup_lines(spec),
            array_limit=spec.slurm.array_limit,
            extra=tuple(table.extra.items()),
        )
        known = next((c.name for c in classes.values() if replace(c, name="") == request), None)
        if known is None:
            digest = hashlib.sha256(repr(request).encode()).hexdigest()
            known = f"c{len(classes)}-{digest[:8]}"
            classes[known] = replace(request, name=known)
        names.append(known)
    return tuple(names), classes


def _options(table: RequestTable) -> tuple[tuple[str, str | int | bool], ...]:
    keys = (
        "partition",
        "account",
        "qos",
        "gpus_per_node",
        "gres",
        "cpus_per_task",
        "mem",
        "constraint",
        "exclude",
    )
    given = ((key.replace("_", "-"), getattr(table, key)) for key in keys)
    return tuple((key, value) for key, value in given if value is not None)


def setup_lines(spec: Spec) -> tuple[str, ...]:
    """Return the shell lines of ``[env]``: what a slot does before its first program.

    The Python that runs slurmtune comes first on PATH, so that a plain ``python`` means it unless
    ``[env]`` says otherwise.
    """
    env = spec.env
    lines = [f'export PATH={shlex.quote(os.path.dirname(sys.executable))}:"$PATH"']
    if env.modules:
        lines.append("module load " + " ".join(shlex.quote(module) for module in env.modules))
    if env.conda:
        lines.append(f'eval "$(conda shell.bash hook)" && conda activate {shlex.quote(env.conda)}')
    if env.venv:
        lines.append(f". {shlex.quote(os.path.join(env.venv, 'bin', 'activate'))}")
    return (*lines, *env.setup)


def build_limits(
    spec: Spec, trials: int, rung_classes: tuple[str, ...], requests: Mapping[str, ResourceRequest]
) -> Limits:
    """Return what a later launch may change."""
    most = spec.retry.max_failed
    objective = build_objective(spec)
    target = spec.stop.target.get(objective.metric)
    return Limits(
        trials=trials,
        retry_node_fail=spec.retry.node_fail,
        retry_preempted=spec.retry.preempted,
        retry_timeout=spec.retry.timeout,
        retry_out_of_memory=spec.retry.oom,
        retry_crash=spec.retry.crash,
        retry_bad_node=spec.retry.bad_node,
        # A share of the trials; at least two failures, so that one bad config is no reason.
        max_failed_trials=most if isinstance(most, int) else max(2, int(most * trials)),
        gpu_hours=spec.stop.gpu_hours,
        target_loss=None if target is None else objective.loss(target),
        stall_trials=spec.stop.stall,
        rung_classes=rung_classes,
        gpus={name: request.gpus for name, request in requests.items()},
        keep=spec.checkpoint.keep,
    )

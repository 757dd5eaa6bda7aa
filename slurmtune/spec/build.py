"""The composition root: from a checked spec to the objects of a study.

Together with `launching` this is the only place that knows concrete domains, samplers, schedulers
and backends. Everything that a later launch may change is part of the journal (`Limits`).
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slurmtune.core.events import Limits, Resource
from slurmtune.core.objective import Goal, Objective
from slurmtune.core.ports import Sampler, Scheduler
from slurmtune.core.request import ResourceRequest
from slurmtune.core.resource import rung_levels
from slurmtune.core.study import Study, StudySettings
from slurmtune.errors import SpecError
from slurmtune.spec.domain import build_domain
from slurmtune.spec.model import RequestTable, Spec

if TYPE_CHECKING:
    from slurmtune.samplers.start import StartPointSampler
    from slurmtune.space.space import Space

DEFAULT_TIME_SECONDS = 3600
"""Time limit of a slot when the spec has none: some sites would take ten minutes, some days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """One rung of the plan that ``check`` prints."""

    rung: int
    resource: Resource | None
    trials: int
    units_each: Resource | None
    """Resource that a trial is trained for at this rung."""
    units_all: Resource | None
    time_limit_seconds: int | None
    gpus: int
    likely_gpu_hours: float | None
    """From ``fidelity.unit_time``; None without it."""
    most_gpu_hours: float | None
    """When every attempt used its whole time limit; None without a limit."""


def build_objective(spec: Spec) -> Objective:
    """Return the objective; the first one when there are several."""
    table = spec.objective[0]
    return Objective(table.metric, Goal(table.goal))


def build_levels(spec: Spec) -> tuple[Resource | None, ...]:
    """Return the resource of each rung; ``(None,)`` when trials decide by themselves.

    Raises:
        SpecError: there is no such ladder.
    """
    fidelity = spec.fidelity
    if fidelity is None:
        return (None,)
    if spec.search.scheduler == "none":
        return (fidelity.max,)
    try:
        return rung_levels(fidelity.min, fidelity.max, fidelity.eta)
    except ValueError as error:
        raise SpecError(f"[fidelity]: {error}") from error


def core_settings(spec: Spec, trials: int) -> dict[str, Any]:
    """Return what a study is about, as JSON data: enough to replay its journal.

    Raises:
        SpecError: there is no such ladder.
    """
    objective = build_objective(spec)
    fidelity = spec.fidelity
    return {
        "seed": spec.study.seed,
        "metric": objective.metric,
        "goal": objective.goal.value,
        "scheduler": "none" if fidelity is None else spec.search.scheduler,
        "variant": spec.search.variant,
        "levels": list(build_levels(spec)),
        "reduction_factor": 2 if fidelity is None else fidelity.eta,
        "trials": trials,
        "resume": fidelity is None or fidelity.resume,
        "resource": "" if fidelity is None else fidelity.resource,
    }


def build_study(core: Mapping[str, Any]) -> Study:
    """Return an empty study of these `core_settings`.

    Raises:
        SpecError: the scheduler cannot work with them.
    """
    settings = StudySettings(
        seed=core["seed"],
        objective=Objective(core["metric"], Goal(core["goal"])),
        resume=core["resume"],
    )
    return Study(settings, build_scheduler(core))


def build_scheduler(core: Mapping[str, Any]) -> Scheduler:
    """Return a fresh scheduler.

    Raises:
        SpecError: it cannot work with these settings.
    """
    kind, levels, factor = core["scheduler"], core["levels"], core["reduction_factor"]
    try:
        if kind == "none":
            from slurmtune.schedulers.single import SingleRung

            return SingleRung(levels[-1])
        if kind == "sha":
            from slurmtune.schedulers.successive_halving import SuccessiveHalving

            return SuccessiveHalving(levels, factor, core["trials"])
        if kind == "asha" and core["variant"] == "stopping":
            from slurmtune.schedulers.asha_stopping import AshaStopping

            return AshaStopping(levels, factor)
        if kind == "asha":
            from slurmtune.schedulers.asha import Asha

            return Asha(levels, factor)
    except ValueError as error:
        raise SpecError(f"search.scheduler = {kind!r}: {error}") from error
    raise SpecError(f"search.scheduler = {kind!r} is not available yet")


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


def build_sampler(spec: Spec, space: Space, trials: int) -> StartPointSampler:
    """Return the sampler, behind the start points of the spec.

    Raises:
        SpecError: it cannot work with this space.
    """
    from slurmtune.samplers.start import StartPointSampler

    try:
        sampler = _plain_sampler(spec, space, trials)
        points = [dict(start.values) for start in spec.start]
        return StartPointSampler(space, points, sampler)
    except ValueError as error:
        raise SpecError(f"search.sampler = {spec.search.sampler!r}: {error}") from error


def _plain_sampler(spec: Spec, space: Space, trials: int) -> Sampler:
    kind = spec.search.sampler
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
    """Return how many configs are started in all; for a grid without a limit: all of it."""
    wanted = spec.search.trial_limit
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
    for rung in range(len(levels)):
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


def time_limit(spec: Spec, levels: Sequence[Resource | None], rung: int) -> int:
    """Return the time limit of a slot for this rung, in seconds."""
    table = spec.slurm.at_rung(rung)
    level = levels[rung]
    if table.time_per_unit is not None and level is not None:
        below = levels[rung - 1] if rung else 0
        resumes = spec.fidelity is not None and spec.fidelity.resume
        units = level - (below or 0) if resumes else level
        return round(table.time_per_unit * units + (table.time_extra or 0))
    return DEFAULT_TIME_SECONDS if table.time is None else table.time


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
    )


def build_plan(spec: Spec, trials: int) -> tuple[PlanRow, ...]:
    """Return what each rung will cost, as far as it can be told before."""
    levels = build_levels(spec)
    fidelity = spec.fidelity
    rows = []
    for rung, level in enumerate(levels):
        below = levels[rung - 1] if rung else 0
        resumes = fidelity is not None and fidelity.resume
        count = trials if fidelity is None else trials // fidelity.eta**rung
        each = None if level is None else (level - (below or 0) if resumes else level)
        units = None if each is None else each * count
        limit = time_limit(spec, levels, rung)
        gpus = spec.slurm.at_rung(rung).gpu_count
        unit_time = None if fidelity is None else fidelity.unit_time
        rows.append(
            PlanRow(
                rung=rung,
                resource=level,
                trials=count,
                units_each=each,
                units_all=units,
                time_limit_seconds=limit,
                gpus=gpus,
                likely_gpu_hours=(
                    None if unit_time is None or units is None else units * unit_time * gpus / 3600
                ),
                most_gpu_hours=count * limit * gpus / 3600,
            )
        )
    return tuple(rows)


def expected_units(plan: Sequence[PlanRow]) -> float | None:
    """Return the resource that the whole study is expected to train."""
    units = [row.units_all for row in plan]
    return float(sum(u for u in units if u is not None)) if None not in units else None

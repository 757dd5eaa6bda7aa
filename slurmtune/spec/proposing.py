"""The sampler of a study that exists, from its ``study.json`` alone: to draw its configs again.

The user's spec may have moved on, and what it rests on (defaults, included files) may be gone.
What decides about configs never changes in the life of a study but for the number of trials, which
each launch has recorded.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from slurmtune import __version__
from slurmtune.core.ports import Sampler, Scheduler
from slurmtune.errors import StudyStateError
from slurmtune.spec import build
from slurmtune.spec.hyperparameter import HyperparameterSpec
from slurmtune.spec.model import (
    ConstraintTable,
    FidelityTable,
    SearchTable,
    Spec,
    StartTable,
    StudyTable,
)

MakeSampler = Callable[[int, Scheduler], Sampler]
"""Returns the sampler for so many trials, and for the study's own scheduler."""
_LIBRARIES = ("numpy", "scipy")


def stored_sampler(identity: Mapping[str, Any]) -> MakeSampler:
    """Return how the sampler of a study is made; ``identity`` is its ``study.json``.

    Raises:
        StudyStateError: it tells of no space or sampler that this version knows.
    """
    try:
        spec = _stored_spec(identity["spec"])
        space = build.build_space(spec)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        words = str(error).partition("\n")[0]
        raise StudyStateError(f"its spec cannot be read from study.json: {words}") from error
    return lambda trials, scheduler: build.build_sampler(spec, space, trials, scheduler)


def drawn_by() -> str:
    """Return what decides about every bit of a config: versions, and the kind of processor."""
    libraries = [f"{name} {_version(name)}" for name in _LIBRARIES]
    return ", ".join([f"slurmtune {__version__}", *libraries, platform.machine()])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def _stored_spec(data: Mapping[str, Any]) -> Spec:
    """Return as much of an effective spec as samplers are made of."""
    fidelity = data.get("fidelity")
    parameters = [_hyperparameter(item) for item in data["space"]]
    return Spec.model_construct(
        study=StudyTable.model_validate_json(json.dumps(data["study"])),
        search=SearchTable.model_validate_json(json.dumps(data["search"])),
        fidelity=None
        if fidelity is None
        else FidelityTable.model_validate_json(json.dumps(fidelity)),
        space={parameter.name: parameter for parameter in parameters},
        constraints=tuple(ConstraintTable(**item) for item in data.get("constraints") or ()),
        start=tuple(StartTable(**item) for item in data.get("start") or ()),
    )


def _hyperparameter(item: Mapping[str, Any]) -> HyperparameterSpec:
    given = dict(item)
    for key in ("arguments", "clip", "prior"):
        if given.get(key) is not None:
            given[key] = tuple(given[key])
    return HyperparameterSpec(**given)

"""From one line of ``[space]`` to the domain that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slurmtune.space.domain import Domain
    from slurmtune.spec.hyperparameter import HyperparameterSpec


def build_domain(parameter: HyperparameterSpec) -> Domain:
    """Return the domain of a hyperparameter.

    Raises:
        ValueError: there is no such domain.
    """
    from slurmtune.space import domain as d

    arguments = parameter.arguments
    if parameter.distribution == "pvalues":
        values, shares = zip(*arguments, strict=True)
        return d.Choice(values, shares, ordered=parameter.ordered)
    if parameter.distribution == "values":
        return d.Choice(arguments, ordered=parameter.ordered)
    makers: Mapping[str, Callable[..., Domain]] = {
        "bool": d.boolean,
        "fixed": d.Fixed,
        "range": d.from_range,
        "linspace": d.linspace,
        "logspace": d.logspace,
        "geomspace": d.geomspace,
        "uniform": d.Uniform,
        "quniform": d.QUniform,
        "loguniform": d.LogUniform,
        "qloguniform": d.QLogUniform,
        "int": d.Integer,
        "logint": d.LogInteger,
        "normal": d.Normal,
        "qnormal": d.QNormal,
        "lognormal": d.LogNormal,
        "qlognormal": d.QLogNormal,
    }
    options: dict[str, Any] = {}
    if parameter.type is not None and parameter.distribution not in {"int", "logint"}:
        options["type"] = parameter.type
    if parameter.clip is not None:
        options["clip"] = parameter.clip
    return makers[parameter.distribution](*arguments, **options)

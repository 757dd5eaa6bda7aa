"""What one slot asks of the machine; rungs that ask for the same share a resource class.

An attempt that ran out of time or memory is repeated in a class derived from its own, named
``BASE.tNmM``: N times a longer limit, M times more memory, each by a factor of 1.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from typing import NamedTuple

GROWTH = Fraction(3, 2)
"""By which time limit and memory grow at each repetition."""

_DERIVED = re.compile(r"(.+)\.t(\d+)m(\d+)")
_MEMORY = re.compile(r"(\d+)([KMGT]?)", re.IGNORECASE)
_MEGABYTES = {
    "K": Fraction(1, 1024),
    "": Fraction(1),
    "M": Fraction(1),
    "G": Fraction(1024),
    "T": Fraction(1024 * 1024),
}


class ClassName(NamedTuple):
    """The parts of the name of a resource class."""

    base: str
    longer: int
    """How often the time limit grew."""
    larger: int
    """How often the memory grew."""

    def __str__(self) -> str:
        grew = self.longer or self.larger
        return f"{self.base}.t{self.longer}m{self.larger}" if grew else self.base


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequest:
    """One resource class: what each of its slots asks for."""

    name: str
    """Name of the class, such as ``c0``; part of paths."""
    options: tuple[tuple[str, str | int | bool], ...] = field(default=())
    """sbatch's long options without dashes, in the order of the spec: ``("partition", "gpu")``;
    True stands for an option without a value."""
    time_limit_seconds: int | None = None
    """None: no limit that we know of (a local process)."""
    gpus: int = 0
    """GPUs of one slot: for GPU-hours, and for the GPU list of the local backend."""
    cpus: int = 1
    setup: tuple[str, ...] = field(default=())
    """Shell lines of ``[env]``, run before the worker starts; written by the user as shell."""
    array_limit: int | None = None
    """How many slots of one array may run at once (``%k``)."""
    extra: tuple[tuple[str, str | int | bool], ...] = field(default=())
    """Options of ``slurm.extra``, passed on after ``options``."""


def limit_array(request: ResourceRequest, size: int, parallel: int) -> ResourceRequest:
    """Return the request of an array of ``size`` slots, of which at most ``parallel`` run at once.

    A limit of the spec's own stays; none is needed by an array that is no larger.
    """
    if request.array_limit is not None or size <= parallel:
        return request
    return replace(request, array_limit=parallel)


def parse_class(name: str) -> ClassName:
    """Take the name of a resource class apart."""
    found = _DERIVED.fullmatch(name)
    if found is None:
        return ClassName(name, 0, 0)
    return ClassName(found[1], int(found[2]), int(found[3]))


def derive(base: ResourceRequest, name: ClassName, longest_seconds: int | None) -> ResourceRequest:
    """Return the request of class ``name``, grown from its base.

    Args:
        base: The request of the class that it is derived from.
        name: How often it grew.
        longest_seconds: What Slurm allows at most; None when not known.
    """
    limit = base.time_limit_seconds
    if limit is not None:
        grown = ceil(limit * GROWTH**name.longer)
        limit = grown if longest_seconds is None else max(limit, min(grown, longest_seconds))
    options = tuple(
        (key, larger_memory(str(value), name.larger) if key == "mem" else value)
        for key, value in base.options
    )
    return replace(base, name=str(name), time_limit_seconds=limit, options=options)


def exclude_nodes(request: ResourceRequest, nodes: tuple[str, ...]) -> ResourceRequest:
    """Return the request with these nodes left out too."""
    if not nodes:
        return request
    given = [str(value) for key, value in request.options if key == "exclude"]
    others = tuple(option for option in request.options if option[0] != "exclude")
    return replace(request, options=(*others, ("exclude", ",".join([*given, *nodes]))))


def larger_memory(size: str, steps: int) -> str:
    """Return an sbatch memory size grown ``steps`` times; ``0`` (all of the node) stays."""
    found = _MEMORY.fullmatch(size)
    if found is None or not steps or not int(found[1]):
        return size
    megabytes = int(found[1]) * _MEGABYTES[found[2].upper()] * GROWTH**steps
    return f"{ceil(megabytes)}M"

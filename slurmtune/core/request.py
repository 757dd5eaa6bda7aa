"""What one slot asks of the machine; rungs that ask for the same share a resource class."""

from __future__ import annotations

from dataclasses import dataclass, field


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

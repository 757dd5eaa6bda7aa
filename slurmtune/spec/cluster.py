"""Where a study would run, seen from outside: what Slurm says before, and ending what is left.

Like `launching` a part of the composition root: it knows the concrete backends. Nothing here
belongs to a driver; `check`, `init` and `stop` use it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slurmtune.backends.base import ArraySpec, Backend
from slurmtune.core.request import ResourceRequest
from slurmtune.core.study import Study
from slurmtune.driver.clock import SystemClock
from slurmtune.slurm.advice import NO_ANSWER, NO_SLURM, Advice, Facts
from slurmtune.slurm.limits import ClusterConfig
from slurmtune.spec.load import LoadedSpec
from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout

__all__ = [
    "NO_ANSWER",
    "NO_SLURM",
    "Survey",
    "Verdict",
    "cancel_slots",
    "facts",
    "is_here",
    "scripts",
    "survey",
]

_TOKEN = "st-00000000-1-1"  # noqa: S105 - the name of an array that is never submitted
_LOCAL_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What Slurm says to one resource class."""

    partition: str
    rungs: tuple[int, ...]
    accepted: bool
    says: str
    """Slurm's own words."""
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found out about a cluster for one spec."""

    facts: Facts
    config: ClusterConfig
    verdicts: tuple[Verdict, ...]


def is_here() -> bool:
    """Tell whether this machine can submit jobs."""
    return shutil.which("sbatch") is not None


def facts() -> Facts:
    """Return what partitions, nodes and accounts there are.

    Raises:
        BackendError: there is no Slurm here, or it does not answer.
    """
    from slurmtune.backends.probe import gather_facts

    return gather_facts()[0]


def survey(
    loaded: LoadedSpec,
    directory: str,
    requests: Mapping[str, ResourceRequest],
    rung_classes: Sequence[str],
    slots: int,
) -> Survey:
    """Let Slurm look at a first array of each resource class; nothing is submitted.

    Raises:
        BackendError: there is no Slurm here, or it does not answer.
        SpecError: an option cannot stand in a script.
    """
    from slurmtune.backends.probe import gather_facts, probe

    known, config = gather_facts()
    # What is more is submitted as further arrays, or later.
    size = max(1, min(slots, known.max_array_size, known.submit_limit or slots))
    verdicts = []
    for name, script in scripts(loaded, directory, requests, rung_classes, size).items():
        request = requests[name]
        found = probe(script, request, known)
        partition = dict((*request.options, *request.extra)).get("partition")
        verdicts.append(
            Verdict(
                partition=str(partition or known.default_partition),
                rungs=tuple(rung for rung, one in enumerate(rung_classes) if one == name),
                accepted=found.accepted,
                says=found.says,
                advice=found.advice,
            )
        )
    return Survey(facts=known, config=config, verdicts=tuple(verdicts))


def scripts(
    loaded: LoadedSpec,
    directory: str,
    requests: Mapping[str, ResourceRequest],
    rung_classes: Sequence[str],
    slots: int,
) -> dict[str, str]:
    """Return the batch script of a first array of each resource class, in the order of rungs.

    ``directory`` is where the study would live.

    Raises:
        SpecError: an option cannot stand in a script.
    """
    from slurmtune.backends.slurm import SlurmBackend

    spec = loaded.spec
    with tempfile.TemporaryDirectory(prefix="slurmtune-check-") as aside:
        backend = SlurmBackend(
            directory,
            _Aside(StudyLayout(directory).logs, aside),
            [sys.executable],
            clock=SystemClock(),
            signal=spec.slurm.signal,
            requeue=spec.slurm.requeue,
            workdir=os.path.abspath(os.path.join(loaded.base_dir, spec.run.workdir)),
        )
        return {
            name: backend.script(
                ArraySpec(
                    token=_TOKEN, request=requests[name], size=slots, manifest_sha256="0" * 64
                )
            )
            for name in dict.fromkeys(rung_classes)
        }


def cancel_slots(layout: StudyLayout, study: Study) -> None:
    """End all slots of a study that nobody drives; the next driver sees that they are gone.

    Raises:
        BackendError: they could not be ended.
        StudyStateError: others may write into the directory, and so choose what is ended.
    """
    fs.check_private(layout.root)
    arrays = study.fleet.live_arrays
    # The local backend's name of a job is the token itself.
    is_local = any(array.job == token for token, array in arrays.items())
    backend = _backend(layout, is_local=is_local)
    for token, array in arrays.items():
        request = ResourceRequest(name=array.resource_class)
        spec = ArraySpec(token=token, request=request, size=array.size, manifest_sha256="")
        if array.job:
            backend.adopt(spec, array.job)
        backend.cancel(token)
    if is_local:
        _see_off(backend)
    backend.close()


def _backend(layout: StudyLayout, *, is_local: bool) -> Backend:
    if is_local:
        from slurmtune.backends.local import LocalBackend

        return LocalBackend(layout, slots=1)
    from slurmtune.backends.slurm import SlurmBackend

    return SlurmBackend(layout.root, layout, [sys.executable], clock=SystemClock())


def _see_off(backend: Backend) -> None:
    """Wait for slots of this machine: only their backend kills, after a while, what stays."""
    clock = SystemClock()
    deadline = clock.now() + _LOCAL_PATIENCE_SECONDS
    while backend.poll() and clock.now() < deadline:
        clock.wait(0.2)


@dataclass(slots=True)
class _Aside:
    """Paths of a study that need not exist: what has to be written goes to another folder."""

    logs: str
    folder: str

    def array(self, token: str) -> str:
        """Return a folder that may be written."""
        del token
        return self.folder

"""Where a study would run, seen from outside: what Slurm says before, and ending what is left.

Like `launching` a part of the composition root: it knows the concrete backends. Nothing here
belongs to a driver; `check`, `init`, `stop` and a launch on another backend than before use it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slurmtune.backends.base import ArraySpec, Backend, SlotState, SlotStatus
from slurmtune.core.events import ArrayRefused, Event, SlotEnded
from slurmtune.core.fleet import ArrayRecord
from slurmtune.core.request import ResourceRequest, limit_array
from slurmtune.core.study import Study
from slurmtune.core.trial import Outcome
from slurmtune.driver.clock import SystemClock
from slurmtune.errors import BackendError, BackendUnavailableError, StudyStateError
from slurmtune.slurm.advice import NO_ANSWER, NO_SLURM, Advice, Facts
from slurmtune.slurm.limits import ClusterConfig
from slurmtune.spec.load import LoadedSpec
from slurmtune.store import fs, sealed
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
    "settle_elsewhere",
    "survey",
]

_TOKEN = "st-00000000-1-1"  # noqa: S105 - the name of an array that is never submitted
_LOCAL_PATIENCE_SECONDS = 10.0
_FIND_PATIENCE_SECONDS = 20.0
"""Slurm's "there is none" is believed when it says so twice, some 12 s apart."""
_POLL_PATIENCE_SECONDS = 75.0
"""Without accounting a slot that nobody knows any more is given up after a minute."""
_LOOK_SECONDS = 2.0
_LOCAL = "local"
_SLURM = "slurm"


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
                    token=_TOKEN,
                    request=limit_array(requests[name], slots, spec.search.parallel),
                    size=slots,
                    manifest_sha256="0" * 64,
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
    before = _last_backend(layout) or _SLURM
    backends: dict[str, Backend] = {}
    for token, array in study.fleet.live_arrays.items():
        name = _backend_of(layout, array) or before
        if name not in backends:
            backends[name] = _backend(layout, name)
        backend = backends[name]
        # An array whose submission is not recorded: Slurm finds it by its name.
        job = array.job or (backend.find(token) if name == _LOCAL else None)
        if job:
            backend.adopt(_spec(array), job)
        backend.cancel(token)
    if _LOCAL in backends:
        _see_off(backends[_LOCAL])
    for backend in backends.values():
        backend.close()


def settle_elsewhere(
    layout: StudyLayout, study: Study, name: str, *, local: bool
) -> Sequence[Event]:
    """Return what became of the arrays of the backend that is not launched on now.

    Args:
        layout: Of the study; nothing is written there.
        study: As its journal tells it.
        name: Of the study, for messages.
        local: Whether it is launched on this machine now, else on Slurm.

    Raises:
        StudyStateError: some of their slots live, or may.
    """
    here, there = (_LOCAL, _SLURM) if local else (_SLURM, _LOCAL)
    live = study.fleet.live_arrays.values()
    found = {array.token: _backend_of(layout, array) for array in live}
    if None in found.values():
        # Only Slurm may have an array that left no trace here.
        before = _SLURM if local and _last_backend(layout) == _SLURM else here
        found = {token: backend or before for token, backend in found.items()}
    arrays = [array for array in live if found[array.token] == there]
    if not arrays:
        return ()
    where = "slots on this machine" if there == _LOCAL else "jobs on Slurm"
    refusal = f"the study {name} still has {where}; end them first with  slurmtune stop {name}"
    if there == _SLURM and not is_here():
        raise StudyStateError(f"{refusal}  where Slurm is: {NO_SLURM}")
    backend = _backend(layout, there, slots=0)
    try:
        events = _last_events(backend, arrays)
    except BackendError as error:
        raise StudyStateError(f"{refusal}  ({error})") from error
    finally:
        backend.close()
    if events is None:
        raise StudyStateError(refusal)
    return events


def _last_events(backend: Backend, arrays: Sequence[ArrayRecord]) -> list[Event] | None:
    """Return how the arrays ended; None when some slot has not."""
    clock = SystemClock()
    events: list[Event] = []
    missing = set()
    for array in arrays:
        job = array.job or _found(backend, array.token, clock)
        if job is None:
            message = f"{backend.name} has no such array"
            events.append(ArrayRefused(time=clock.now(), token=array.token, message=message))
            continue
        backend.adopt(_spec(array), job)
        missing |= {(array.token, task) for task in range(array.size) if task not in array.ended}
    deadline = clock.now() + _POLL_PATIENCE_SECONDS
    while missing:
        for status in backend.poll():
            key = (status.token, status.index)
            if status.state is SlotState.ENDED:
                if key in missing:
                    events.append(_slot_ended(status, clock.now()))
                missing.discard(key)
            elif key in missing and _is_known(status):
                return None
        if missing:
            if clock.now() >= deadline:
                return None
            clock.wait(_LOOK_SECONDS)
    return events


def _is_known(status: SlotStatus) -> bool:
    """Tell whether the backend says that the slot is there, not only that it never saw its end."""
    return status.state is SlotState.RUNNING or bool(status.reason)


def _slot_ended(status: SlotStatus, now: float) -> SlotEnded:
    return SlotEnded(
        time=now,
        token=status.token,
        index=status.index,
        outcome=status.outcome or Outcome.LOST,
        reason=status.reason,
        node=status.node,
    )


def _found(backend: Backend, token: str, clock: SystemClock) -> str | None:
    """Return the job of an array whose submission is not recorded; None: there is none.

    Raises:
        BackendUnavailableError: no clear answer.
    """
    deadline = clock.now() + _FIND_PATIENCE_SECONDS
    while True:
        try:
            return backend.find(token)
        except BackendUnavailableError:
            if clock.now() >= deadline:
                raise
        clock.wait(_LOOK_SECONDS)


def _spec(array: ArrayRecord) -> ArraySpec:
    request = ResourceRequest(name=array.resource_class)
    return ArraySpec(token=array.token, request=request, size=array.size, manifest_sha256="")


def _backend_of(layout: StudyLayout, array: ArrayRecord) -> str | None:
    """Return where the array was submitted; None when it may not have been."""
    if array.job:
        # The local backend's name of a job is the token itself.
        return _LOCAL if array.job == array.token else _SLURM
    return _LOCAL if _backend(layout, _LOCAL).find(array.token) else None


def _last_backend(layout: StudyLayout) -> str | None:
    """Return where the study ran when its overview was last written; None when not known."""
    try:
        name = sealed.unseal(fs.read_file(layout.status)).get("backend")
    except (OSError, ValueError):
        return None
    return name if name in (_LOCAL, _SLURM) else None


def _backend(layout: StudyLayout, name: str, *, slots: int = 1) -> Backend:
    if name == _LOCAL:
        from slurmtune.backends.local import LocalBackend

        return LocalBackend(layout, slots=slots)
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

"""Slots as processes of this machine: for laptops, workstations, and a look before Slurm.

Each slot is a session of its own and lives on when the driver ends. A slot starts by publishing a
file with its process id, put-if-absent, before anything else: a driver that died between starting
a process and writing that down leaves a slot that the next driver finds, or none, and when both
start the same slot the second process leaves at once.

A process is told from a later one with the same id by its start time and the machine's boot id.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from slurmtune.backends.base import ArraySpec, BackendLimits, SlotState, SlotStatus
from slurmtune.core.trial import Outcome
from slurmtune.errors import BackendUnavailableError, SubmissionRefusedError
from slurmtune.slurm import script, slot_log
from slurmtune.store import event_log, fs
from slurmtune.store.layout import StudyLayout
from slurmtune.store.lib import publish_library

FORMAT = 1
KILL_SECONDS = 30.0
"""How long a slot may take to leave after a polite signal."""
SLOT_VARIABLE = "_SLURMTUNE_LOCAL_SLOT"
"""Environment variable that marks every process of a slot. A slot hides names that begin with
``SLURMTUNE_`` from the user's program, and this one must reach it."""

_ARRAY_NAME = "local.json"
_TAKEN_EXIT_CODE = 75
_INTERRUPTED_EXIT_CODE = 85
"""By which a slot says that a signal made it leave."""
_CANCELLED = "cancelled"
_OUTPUT_BYTES = 16 * 1024
"""At the end of what a slot printed."""
# The first thing that a slot does. ``ln`` refuses a name that is taken; 75 is _TAKEN_EXIT_CODE.
_LAUNCH = """
slot=$1; aside=$1.$$.tmp; shift
(umask 077; { cat /proc/sys/kernel/random/boot_id; uname -n; cat "/proc/$$/stat"
  printf '%s\\n' "${CUDA_VISIBLE_DEVICES-}"; } > "$aside") && ln "$aside" "$slot"
taken=$?; rm -f "$aside"; [ "$taken" = 0 ] || exit 75
exec "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """Which process a slot is, as its file tells."""

    boot_id: str
    host: str
    pid: int
    start_ticks: int
    gpus: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class _Slot:
    """One slot that is tracked."""

    token: str
    index: int
    state: SlotState = SlotState.PENDING
    gpus: tuple[str, ...] = ()
    pid: int | None = None
    process: subprocess.Popen[bytes] | None = None
    """The process, when it is a child of this driver."""
    identity: _Identity | None = None
    """The process, when an earlier driver started it."""
    is_cancelled: bool = False
    kill_time: float | None = None
    """When it is killed, by the monotonic clock, if it has not left by then."""
    outcome: Outcome | None = None
    reason: str = ""

    def end(self, outcome: Outcome, reason: str = "") -> None:
        self.state, self.outcome, self.reason = SlotState.ENDED, outcome, reason
        self.process, self.gpus = None, ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Array:
    """One array that is tracked."""

    spec: ArraySpec
    slots: list[_Slot] = field(default_factory=list)


class LocalBackend:
    """Runs slots as processes, at most ``slots`` at once (see `backends.base.Backend`).

    ``gpus`` are the GPUs to hand out, as ``CUDA_VISIBLE_DEVICES`` names them; ``python`` runs the
    slots; setup lines run in ``workdir``, the study's own directory when left out; a cancelled
    slot is killed after ``kill_seconds``.
    """

    name = "local"
    poll_seconds = 0.5
    submit_interval_seconds = 0.0

    def __init__(
        self,
        layout: StudyLayout,
        *,
        slots: int,
        gpus: Sequence[str] = (),
        python: str = sys.executable,
        workdir: str | None = None,
        kill_seconds: float = KILL_SECONDS,
    ) -> None:
        self._layout = StudyLayout(os.path.abspath(layout.root))
        self._most_running = slots
        self._gpus = tuple(gpus)
        self._python = python
        self._workdir = self._layout.root if workdir is None else workdir
        self._kill_seconds = kill_seconds
        self._arrays: dict[str, _Array] = {}

    def limits(self) -> BackendLimits:
        """Return no limits: what does not fit waits here."""
        return BackendLimits()

    def submit(self, array: ArraySpec) -> str:
        """Record the array and return its job id; its slots are started by `poll`.

        Raises:
            SubmissionRefusedError: a slot asks for more GPUs than there are.
            BackendUnavailableError: the record could not be written.
        """
        if array.token in self._arrays:
            return array.token
        if array.request.gpus > len(self._gpus):
            raise SubmissionRefusedError(
                f"a slot of class {array.request.name} asks for {array.request.gpus} GPUs, "
                f"and the local backend has {len(self._gpus)}"
            )
        record = {
            "format": FORMAT,
            "token": array.token,
            "size": array.size,
            # A later driver may have to start slots that wait, and knows the array only by name.
            "manifest_sha256": array.manifest_sha256,
        }
        data = json.dumps({**record, "nonce": uuid.uuid4().hex}).encode("ascii") + b"\n"
        try:
            publish_library(self._layout)
            fs.make_dir(self._layout.array(array.token))
            fs.publish_once(os.path.join(self._layout.array(array.token), _ARRAY_NAME), data)
        except OSError as error:
            raise BackendUnavailableError(
                f"the array {array.token} could not be recorded: {error}"
            ) from error
        self.adopt(array, array.token)
        return array.token

    def find(self, token: str) -> str | None:
        """Return the job id of the array with this token, or None when there surely is none.

        Raises:
            BackendUnavailableError: its folder cannot be listed.
        """
        try:
            return token if _ARRAY_NAME in self._names(token) else None
        except OSError as error:
            raise BackendUnavailableError(f"the array {token} cannot be read: {error}") from error

    def adopt(self, array: ArraySpec, job: str) -> None:
        """Track the slots of an array that an earlier driver submitted.

        Raises:
            BackendUnavailableError: its folder cannot be read, or its slots are on another host.
        """
        if array.token in self._arrays:
            return
        try:
            names = frozenset(self._names(array.token))
            slots = [self._found(array.token, index, names) for index in range(array.size)]
            sha256 = array.manifest_sha256 or self._recorded_sha256(array.token, names)
        except OSError as error:
            raise BackendUnavailableError(f"the array {job} cannot be read: {error}") from error
        spec = replace(array, manifest_sha256=sha256)
        self._arrays[array.token] = _Array(spec=spec, slots=slots)

    def poll(self) -> Sequence[SlotStatus]:
        """Start what fits and return the status of every slot.

        Raises:
            BackendUnavailableError: the files of a slot cannot be read.
        """
        try:
            for slot in self._tracked():
                if slot.state is SlotState.RUNNING:
                    self._look(slot)
        except OSError as error:
            raise BackendUnavailableError(f"a slot cannot be watched: {error}") from error
        self._start_waiting()
        statuses = [_status(slot) for slot in self._tracked()]
        for token, array in list(self._arrays.items()):
            array.slots[:] = [slot for slot in array.slots if slot.state is not SlotState.ENDED]
            if not array.slots:
                del self._arrays[token]
        return statuses

    def cancel(self, token: str, indices: Sequence[int] | None = None) -> None:
        """End these slots of the array, or all: politely, and after a while by force.

        Raises:
            BackendUnavailableError: that a slot must not start could not be recorded.
        """
        array = self._arrays.get(token)
        if array is None:
            return
        for slot in array.slots:
            if indices is not None and slot.index not in indices:
                continue
            if slot.state is SlotState.PENDING:
                self._cancel_waiting(slot)
            if slot.state is SlotState.RUNNING and not slot.is_cancelled:
                self._cancel_running(slot)

    def close(self) -> None:
        """Let go of the processes; they live on."""
        for slot in self._tracked():
            if slot.process is not None and slot.process.poll() is None:
                # Its destructor warns about a process that still runs; this one does on purpose.
                slot.process.returncode = 0
        self._arrays.clear()

    def _tracked(self) -> Iterator[_Slot]:
        for array in self._arrays.values():
            yield from array.slots

    def _names(self, token: str) -> list[str]:
        try:
            return fs.list_dir(self._layout.array(token))
        except FileNotFoundError:
            return []

    def _recorded_sha256(self, token: str, names: frozenset[str]) -> str:
        """Return the digest of the manifest that `submit` was given; empty when none is known."""
        if _ARRAY_NAME not in names:
            return ""
        data = fs.read_listed(os.path.join(self._layout.array(token), _ARRAY_NAME))
        try:
            record = json.loads(data)
        except ValueError:
            return ""
        found = record.get("manifest_sha256") if isinstance(record, dict) else None
        return found if isinstance(found, str) else ""

    def _slot_path(self, slot: _Slot) -> str:
        return os.path.join(self._layout.array(slot.token), _slot_name(slot.index))

    def _found(self, token: str, index: int, names: frozenset[str]) -> _Slot:
        """Return a slot as an earlier driver left it."""
        slot = _Slot(token=token, index=index)
        if _slot_name(index) in names:
            self._take_over(slot)
        elif os.path.basename(self._layout.slot_log(token, index, 0)) in names:
            # It ran, and its file did not survive a crash of the machine.
            slot.end(Outcome.LOST, "the machine was restarted")
        return slot

    def _take_over(self, slot: _Slot) -> None:
        """Track the process that the slot's file names."""
        text = fs.read_listed(self._slot_path(slot)).decode("utf-8", "replace")
        if text.startswith(_CANCELLED):
            slot.end(Outcome.CANCELLED)
            return
        identity = _parse_identity(text)
        if identity is None:
            slot.end(Outcome.LOST, "its file makes no sense")
            return
        host = os.uname().nodename
        if identity.host != host and identity.boot_id != _boot_id():
            raise BackendUnavailableError(
                f"slots of this study run on {identity.host}, and this is {host}: "
                f"start the driver on {identity.host}"
            )
        slot.state, slot.process = SlotState.RUNNING, None
        slot.identity, slot.gpus, slot.pid = identity, identity.gpus, identity.pid

    def _look(self, slot: _Slot) -> None:
        """Notice that a running slot has ended, or must be killed."""
        if slot.kill_time is not None and time.monotonic() >= slot.kill_time:
            _kill_all(self._mark(slot))
        if slot.process is not None:
            exit_code = slot.process.poll()
            if exit_code is None:
                return
            if exit_code == _TAKEN_EXIT_CODE and _slot_name(slot.index) in self._names(slot.token):
                # Another driver's process came first, or the slot was cancelled.
                own = slot.pid
                self._take_over(slot)
                if slot.pid != own or slot.state is SlotState.ENDED:
                    return
            outcome, reason = _meaning(exit_code)
            words = self._last_words(slot) if outcome is Outcome.FAILED else ""
            self._end(slot, outcome, f"{reason}: {words}" if words else reason)
        elif slot.identity is not None and not _is_alive(slot.identity):
            if self._left_by_itself(slot):
                self._end(slot, Outcome.SUCCEEDED, "")
            else:
                self._end(slot, Outcome.LOST, "ended while no driver watched it")

    def _end(self, slot: _Slot, outcome: Outcome, reason: str) -> None:
        # The user's program is a process group of its own and outlives a killed slot.
        _kill_all(self._mark(slot))
        slot.end(Outcome.CANCELLED if slot.is_cancelled else outcome, reason)

    def _last_words(self, slot: _Slot) -> str:
        """Return what the slot printed about its end, such as which setup line failed."""
        try:
            with open(self._layout.slot_output(slot.token, slot.index), "rb") as file:
                file.seek(-min(_OUTPUT_BYTES, os.fstat(file.fileno()).st_size), os.SEEK_END)
                lines = file.read(_OUTPUT_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return slot_log.last_words(lines)

    def _left_by_itself(self, slot: _Slot) -> bool:
        """Tell whether the slot's log ends with its farewell."""
        try:
            records = event_log.read(self._layout.slot_log(slot.token, slot.index, 0))
        except OSError:
            return False
        return bool(records) and records[-1].get("k") == "slot_exit"

    def _start_waiting(self) -> None:
        """Start waiting slots in their order, as many as fit."""
        running = [slot for slot in self._tracked() if slot.state is SlotState.RUNNING]
        count = len(running)
        used = {gpu for slot in running for gpu in slot.gpus}
        free = [gpu for gpu in self._gpus if gpu not in used]
        for array in self._arrays.values():
            wanted = array.spec.request.gpus
            for slot in array.slots:
                if slot.state is not SlotState.PENDING:
                    continue
                if count >= self._most_running:
                    return
                if wanted > len(free):
                    # Later slots do not overtake, or a wide one would wait for ever; but one that
                    # can never fit (the driver has fewer GPUs than before) holds nobody up.
                    if wanted <= len(self._gpus):
                        free = []
                    break
                slot.gpus, free = tuple(free[:wanted]), free[wanted:]
                self._spawn(array.spec, slot)
                count += 1

    def _spawn(self, array: ArraySpec, slot: _Slot) -> None:
        if not array.manifest_sha256:
            slot.end(Outcome.CANCELLED, "the record of its array is damaged")
            return
        command = [self._python, "-m", "slurmtune.worker", self._layout.root, array.token]
        command += [array.manifest_sha256, "--task", str(slot.index)]
        lines = script.setup_lines(array.request.setup, outlives_worker=False)
        lines += [script.enter_line(self._layout.root), 'exec "$@"']
        command = ["bash", "-c", "\n".join(lines), "bash", *command]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            output = os.open(self._layout.slot_output(slot.token, slot.index), flags, 0o600)
            try:
                slot.process = subprocess.Popen(
                    ["/bin/sh", "-c", _LAUNCH, "sh", self._slot_path(slot), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self._workdir,
                    env=self._environment(slot, os.environ),
                    start_new_session=True,
                )
            finally:
                os.close(output)
        except OSError as error:
            slot.end(Outcome.FAILED, f"could not be started: {error}")
        else:
            slot.state, slot.pid = SlotState.RUNNING, slot.process.pid

    def _mark(self, slot: _Slot) -> str:
        """Return what tells this slot from all others, also from those of a copy of the study."""
        return f"{slot.token}.{slot.index} {os.path.realpath(self._layout.root)}"

    def _environment(self, slot: _Slot, outer: Mapping[str, str]) -> dict[str, str]:
        """Return the slot's environment: ours, without traces of a Slurm job or another slot."""
        inner = {
            name: value
            for name, value in outer.items()
            if not name.startswith(("SLURM_", "SLURMD_", "SLURMTUNE_"))
        }
        inner[SLOT_VARIABLE] = self._mark(slot)
        if self._gpus:
            inner["CUDA_VISIBLE_DEVICES"] = ",".join(slot.gpus)
        search = [self._layout.library, *filter(None, [outer.get("PYTHONPATH")])]
        inner["PYTHONPATH"] = os.pathsep.join(search)
        return inner

    def _cancel_waiting(self, slot: _Slot) -> None:
        """Take the slot's place, so that it can never start; or find that it just started."""
        data = f"{_CANCELLED} {uuid.uuid4().hex}\n".encode("ascii")
        try:
            is_ours = fs.publish_once(self._slot_path(slot), data)
            if is_ours:
                slot.end(Outcome.CANCELLED)
            else:
                self._take_over(slot)
        except OSError as error:
            raise BackendUnavailableError(
                f"slot {slot.index} of {slot.token} could not be cancelled: {error}"
            ) from error

    def _cancel_running(self, slot: _Slot) -> None:
        slot.is_cancelled = True
        slot.kill_time = time.monotonic() + self._kill_seconds
        is_alive = slot.process is not None or (
            slot.identity is not None and _is_alive(slot.identity)
        )
        if is_alive and slot.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(slot.pid, signal.SIGTERM)


def _slot_name(index: int) -> str:
    return f"local-{index}.slot"


def _status(slot: _Slot) -> SlotStatus:
    reason = slot.reason
    if slot.state is SlotState.PENDING:
        reason = "waits for a free slot"
    return SlotStatus(
        token=slot.token,
        index=slot.index,
        state=slot.state,
        job=str(slot.pid or ""),
        reason=reason,
        outcome=slot.outcome,
        node=socket.gethostname() if slot.state is SlotState.RUNNING else "",
    )


def _meaning(exit_code: int) -> tuple[Outcome, str]:
    """Return what the exit code of a slot (negative: its signal) says."""
    if exit_code == 0:
        return Outcome.SUCCEEDED, ""
    if exit_code == _INTERRUPTED_EXIT_CODE:
        return Outcome.PREEMPTED, "interrupted by a signal"
    if exit_code > 0:
        return Outcome.FAILED, f"exit code {exit_code}"
    try:
        return Outcome.LOST, f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return Outcome.LOST, f"killed by signal {-exit_code}"


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _parse_identity(text: str) -> _Identity | None:
    """Return the process that a slot's file names."""
    try:
        boot_id, host, stat, gpus = text.splitlines()
        state_and_more = stat.rpartition(")")[2].split()
        return _Identity(
            boot_id=boot_id,
            host=host,
            pid=int(stat.split(" ", 1)[0]),
            start_ticks=int(state_and_more[19]),
            gpus=tuple(filter(None, gpus.split(","))),
        )
    except (ValueError, IndexError):
        return None


def _is_alive(identity: _Identity) -> bool:
    """Tell whether this very process runs; a zombie does not."""
    if identity.boot_id != _boot_id():
        return False
    try:
        with open(f"/proc/{identity.pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(fields[19]) == identity.start_ticks and fields[0] not in ("Z", "X")


def _kill_all(mark: str) -> None:
    """Kill every process of a slot, recognised by the mark in its environment."""
    entry = os.fsencode(f"{SLOT_VARIABLE}={mark}")
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                is_ours = entry in file.read().split(b"\0")
            if is_ours:
                os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue  # gone in between, or not ours

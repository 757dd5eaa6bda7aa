"""Slots in this process: the real slot's code, one step at a time, on real files.

A slot is an actor that runs `slurmtune.worker.__main__.main`; it hands over where the real one
waits. Its programs are generators that use the real session. Slots live on when a driver dies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from slurmtune.backends.base import ArraySpec, BackendLimits, SlotState, SlotStatus
from slurmtune.core.trial import Outcome
from slurmtune.errors import BackendUnavailableError, SlurmtuneError
from slurmtune.testing.crash.seam import DRIVER, Death, Seam
from slurmtune.testing.faults.actors import Actor
from slurmtune.worker import __main__ as worker
from slurmtune.worker.metrics import append_line, more_line
from slurmtune.worker.program import ProgramEnd
from slurmtune.worker.session import Trial, _read_answer

METRIC = "loss"
_SIGKILL = 9
_BEGIN = 1_700_000_000.0


class Start(NamedTuple):
    """One start of a program."""

    attempt: str
    start: float
    loaded: str
    """What stood in its checkpoint; empty without one."""


def loss(q: float, epoch: float) -> float:
    """Return what a trial reports at an epoch."""
    return q + 1.0 / epoch


def state(trial: str, epoch: float) -> str:
    """Return what a program saves at an epoch."""
    return f"{trial} {epoch}"


class Clock:
    """Virtual time for everybody: as a driver's clock, and in place of the module ``time``."""

    def __init__(self, most_seconds: float) -> None:
        self._now = _BEGIN
        self._most_seconds = most_seconds
        self.cluster: Cluster | None = None
        self.alarms: list[tuple[float, Callable[[], None]]] = []
        """What else happens: seconds after the beginning, while the driver waits."""

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._now

    def wait(self, seconds: float) -> None:
        """Let time pass for the driver: slots run meanwhile."""
        self.advance(seconds)
        while self.alarms and self.alarms[0][0] <= self._now - _BEGIN:
            self.alarms.pop(0)[1]()
        if self.cluster is not None:
            self.cluster.step()

    def advance(self, seconds: float) -> None:
        """Let time pass while nobody runs.

        Raises:
            AssertionError: the study does not end.
        """
        self._now += max(seconds, 0.001)
        assert self._now < _BEGIN + self._most_seconds, "the study goes on and on"

    def interrupt(self) -> None:
        """Do nothing: a virtual wait is over at once."""

    def time(self) -> float:
        """Return seconds since 1970."""
        return self._now

    monotonic = process_time = perf_counter = time

    def time_ns(self) -> int:
        """Return nanoseconds since 1970."""
        return int(self._now * 1e9)

    def sleep(self, seconds: float) -> None:
        """Wait within a call: a slot hands over, the driver just goes on later."""
        if self.cluster is not None and self.cluster.current is not None:
            self.cluster.current.rest(seconds)
        else:
            self.advance(seconds)


class LocalSlot:
    """One slot of an array."""

    def __init__(
        self, cluster: Cluster, array: ArraySpec, index: int, copy: int, *, waits: bool
    ) -> None:
        self.token, self.index = array.token, index
        self.name = f"slot {array.token}.{index}.{copy}"
        startup = float("inf") if waits else cluster.startup_seconds
        self.due = cluster.clock.now() + startup
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self._cluster = cluster
        self._arguments = [cluster.root, array.token, array.manifest_sha256, "--task", str(index)]
        self._actor = Actor(self._live)

    @property
    def state(self) -> SlotState:
        """Where it stands."""
        if self.outcome is not None:
            return SlotState.ENDED
        return SlotState.PENDING if self.due == float("inf") else SlotState.RUNNING

    def rest(self, seconds: float) -> None:
        """Hand over for a while."""
        if seconds > 0:
            seam = self._cluster.seam
            runs, self.due = seam.actor, self._cluster.clock.now() + seconds
            self._actor.hand_over()
            seam.actor = runs

    def resume(self) -> None:
        """Let it run until it waits."""
        self._actor.resume()
        if self._actor.is_over and self.outcome is None:
            self.outcome = Outcome.LOST
        if self._actor.error is not None:
            raise self._actor.error

    def end(self, outcome: Outcome) -> None:
        """End it where it stands."""
        if self.outcome is None:
            self._cluster.seam.kill(self.name)
            self._cluster.seam.actor = self.name
            self._actor.kill()
            self._cluster.seam.actor = DRIVER
            self._cluster.seam.bury(self.name)
            self.outcome = outcome

    def _live(self) -> None:
        try:
            code = worker.main(list(self._arguments))
        except Death:
            self._cluster.seam.bury(self.name)
            self.outcome = Outcome.NODE_FAILED
        else:
            self.outcome = Outcome.SUCCEEDED if code == 0 else Outcome.FAILED


class Cluster:
    """All slots of a study, and what their programs did; outlives the drivers."""

    def __init__(self, root: str, seam: Seam, clock: Clock) -> None:
        self.root, self.seam, self.clock = root, seam, clock
        clock.cluster = self
        self.slots: list[LocalSlot] = []
        self.submissions: list[str] = []
        """Tokens, as often as they were submitted."""
        self.starts: list[Start] = []
        """Every start of a program."""
        self.denials = 0
        """So many questions for an array are answered with no, whatever is true."""
        self.lonely_programs = False
        """Whether a program dies without its slot."""
        self.waiting_index: int | None = None
        """Slots of this index wait in the queue for ever."""
        self.startup_seconds = 0.0
        """How long a slot takes to begin."""
        self.current: LocalSlot | None = None

    def step(self) -> None:
        """Let every slot run whose time has come."""
        for slot in self.slots:
            if slot.state is SlotState.RUNNING and slot.due <= self.clock.now():
                self.current, self.seam.actor = slot, slot.name
                try:
                    slot.resume()
                finally:
                    self.current, self.seam.actor = None, DRIVER

    def submit(self, array: ArraySpec) -> str:
        """Start the slots of an array, also when there are some already."""
        copy = self.submissions.count(array.token)
        self.submissions.append(array.token)
        for index in range(array.size):
            waits = index == self.waiting_index
            self.slots.append(LocalSlot(self, array, index, copy, waits=waits))
        return array.token

    def cancel(self, token: str, indices: Sequence[int] | None) -> None:
        """End slots of an array."""
        for slot in self.slots:
            if slot.token == token and (indices is None or slot.index in indices):
                slot.end(Outcome.CANCELLED)

    def close(self) -> None:
        """End what still runs."""
        for slot in self.slots:
            slot.end(Outcome.CANCELLED)


class LocalSlots:
    """The backend of one driver (see `slurmtune.backends.base.Backend`).

    Submitting a token again starts its slots again, as Slurm would.
    """

    name = "local"
    poll_seconds = 0.2
    submit_interval_seconds = 0.0

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._tracked: dict[str, set[int]] = {}

    def limits(self) -> BackendLimits:
        """Return that there are none."""
        return BackendLimits()

    def submit(self, array: ArraySpec) -> str:
        """Submit; a place to die.

        Raises:
            BackendUnavailableError: the seam says so, before or after it was done.
        """
        job = str(self._change("submit", lambda: self._cluster.submit(array)))
        self.adopt(array, job)
        return job

    def find(self, token: str) -> str | None:
        """Return the job of an array."""
        if self._cluster.denials:
            self._cluster.denials -= 1
            return None
        return token if token in self._cluster.submissions else None

    def adopt(self, array: ArraySpec, job: str) -> None:
        """Track the slots of an array."""
        del job
        self._tracked.setdefault(array.token, set(range(array.size)))

    def poll(self) -> Sequence[SlotStatus]:
        """Return the status of every tracked slot."""
        found: dict[tuple[str, int], LocalSlot] = {}
        for slot in self._cluster.slots:
            key = (slot.token, slot.index)
            if slot.index in self._tracked.get(slot.token, ()) and (
                key not in found or found[key].outcome is not None
            ):
                found[key] = slot
        statuses = []
        for (token, index), slot in found.items():
            if slot.outcome is not None:
                self._tracked[token].remove(index)
            statuses.append(
                SlotStatus(
                    token=token, index=index, state=slot.state, job="", outcome=slot.outcome
                )
            )
        return statuses

    def cancel(self, token: str, indices: Sequence[int] | None = None) -> None:
        """Cancel; a place to die.

        Raises:
            BackendUnavailableError: the seam says so, before or after it was done.
        """
        self._change("cancel", lambda: self._cluster.cancel(token, indices))

    def close(self) -> None:
        """Slots live on."""

    def _change(self, verb: str, call: Any) -> Any:
        try:
            return self._cluster.seam.change(verb, "array", call)
        except OSError as error:
            raise BackendUnavailableError(str(error)) from error


class NoSignals:
    """In place of the slot's `SignalInbox`: no signal ever comes, and waiting hands over."""

    cluster: Cluster

    def __init__(self) -> None:
        self.received: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, seconds: float, also: Sequence[int] = ()) -> list[int]:
        """Hand over."""
        del also
        assert self.cluster.current is not None
        self.cluster.current.rest(seconds)
        return []


class SteppedProgram:
    """In place of the slot's `Program`: trains a piece whenever it is asked whether it ended."""

    cluster: Cluster
    output = None

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: str,
        output: int,
        capture: bool,
        inherited: Sequence[int] = (),
    ) -> None:
        del argv, folder, output, capture, inherited
        self._training = train(environment, self.cluster.starts)
        self._end: ProgramEnd | None = None
        self._is_asked = False

    def has_ended(self) -> bool:
        """Train a piece, and tell whether that was the last one."""
        if self._end is not None:
            return True
        cluster = self.cluster
        slot = cluster.seam.actor
        cluster.seam.actor = f"program of {slot}"
        try:
            if self._is_asked:
                self._end = ProgramEnd(None, 15)
            else:
                next(self._training)
        except StopIteration:
            self._end = ProgramEnd(0, None)
        except (OSError, SlurmtuneError):
            self._end = ProgramEnd(1, None)
        except Death:
            cluster.seam.bury(cluster.seam.actor)
            if not cluster.lonely_programs:
                cluster.seam.kill(slot)
                raise
            self._end = ProgramEnd(None, _SIGKILL)
        finally:
            cluster.seam.actor = slot
        return self._end is not None

    def read(self) -> bytes:
        """Return no output."""
        return b""

    def ask_to_leave(self) -> None:
        """Let it end by the signal."""
        self._is_asked = True

    def kill(self) -> None:
        """End it."""
        self._end = self._end or ProgramEnd(None, _SIGKILL)

    def finish(self) -> ProgramEnd:
        """Return how it ended."""
        assert self._end is not None
        return self._end


def train(environment: Mapping[str, str], starts: list[Start]) -> Iterator[None]:
    """Train as a user's script does; every fourth trial saves as a shell script does.

    Both wait for more, as their kind does it, and go on in place.
    """
    variables = dict(environment)
    trial = Trial(variables, {})
    memory = "" if trial.checkpoint is None else (trial.checkpoint / "state").read_text()
    is_shell = int(trial.id[1:]) % 4 == 1
    goes_on = True
    while goes_on:
        starts.append(Start(trial.attempt, trial.start, memory))
        yield
        for epoch in trial.steps(stay=False):
            memory = state(trial.id, epoch)
            trial.report(**{METRIC: loss(float(trial["q"]), epoch)})
            yield
            if not is_shell:
                with trial.save() as folder:
                    _write(folder / "state", memory)
                yield
        if is_shell:
            _write(Path(variables["SLURMTUNE_SAVE"]) / "state", memory)
        goes_on = yield from _wait_for_more(trial, variables, is_shell=is_shell)


def _wait_for_more(
    trial: Trial, variables: Mapping[str, str], *, is_shell: bool
) -> Generator[None, None, bool]:
    """Wait as `Trial.steps` does, but without holding up its slot; tell whether there is more."""
    assert trial.end is not None
    more = variables["SLURMTUNE_MORE"]
    if not more or not (is_shell or trial._has_done(trial.end)):  # noqa: SLF001
        return False
    append_line(variables["SLURMTUNE_METRICS"], more_line())
    while True:
        yield
        answer = _read_answer(more)
        if answer is not None:
            return trial._go_on(answer)  # noqa: SLF001


def _write(path: Path, text: str) -> None:
    descriptor = os.open(str(path), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    os.write(descriptor, text.encode())
    os.close(descriptor)

"""A simulated cluster in virtual time: the test bench of everything that decides.

Purely discrete-event: it never sleeps, never reads the real time, and the same seed gives the same
events in the same order. The same `Backend` and `Exchange` as on a real cluster, so the driver
does not know the difference::

    clock = VirtualClock()
    cluster = SimulatedCluster(clock, program=program, model=ClusterModel(slots=16), seed=1)
    cluster.backend.submit(array)
    cluster.exchange.publish(offer)
    clock.wait(60.0)
    events = cluster.exchange.read(clock.now())
"""

from __future__ import annotations

from collections.abc import Sequence

from slurmtune.backends.base import ArraySpec, BackendLimits, SlotState, SlotStatus
from slurmtune.backends.simulation.clock import VirtualClock
from slurmtune.backends.simulation.folder import SharedFolder, SimulatedExchange
from slurmtune.backends.simulation.model import (
    ClusterModel,
    Constant,
    Exponential,
    Interval,
    LogNormal,
    Uniform,
)
from slurmtune.backends.simulation.program import Program, ProgramFailedError
from slurmtune.backends.simulation.queue import SlotQueue
from slurmtune.backends.simulation.slot import Slot
from slurmtune.backends.simulation.usage import Ledger, Span
from slurmtune.errors import BackendUnavailableError, SubmissionRefusedError

__all__ = [
    "ClusterModel",
    "Constant",
    "Exponential",
    "Interval",
    "LogNormal",
    "Program",
    "ProgramFailedError",
    "SimulatedBackend",
    "SimulatedCluster",
    "SimulatedExchange",
    "Span",
    "Uniform",
    "VirtualClock",
]


class SimulatedBackend:
    """A `Backend` whose slots live in virtual time; one driver's view of the queue."""

    name = "simulator"

    def __init__(self, queue: SlotQueue, model: ClusterModel, clock: VirtualClock) -> None:
        self.poll_seconds = model.poll_seconds
        self.submit_interval_seconds = model.submit_interval_seconds
        self._queue = queue
        self._model = model
        self._clock = clock
        self._tracked: dict[tuple[str, int], Slot] = {}
        self._known: set[str] = set()

    def limits(self) -> BackendLimits:
        """Return the limits of the model."""
        return BackendLimits(
            max_array_size=self._model.max_array_size,
            max_live_slots=self._model.max_live_slots,
        )

    def submit(self, array: ArraySpec) -> str:
        """Queue the array and return its job id; a known token is not submitted again.

        Raises:
            BackendUnavailableError: within a silence, or the reply is lost.
            SubmissionRefusedError: within a refusal, or above a limit.
        """
        self._answer_or_raise()
        known = self._queue.job(array.token)
        if known is None:
            self._refuse(array)
            known = self._queue.submit(array)
            if self._within(self._model.lost_replies):
                raise BackendUnavailableError(
                    "sbatch: error: Batch job submission failed: Socket timed out on send/recv"
                    " operation"
                )
        self._track(array.token)
        return known

    def find(self, token: str) -> str | None:
        """Return the job id of the array with this token, None when there is none.

        Raises:
            BackendUnavailableError: within a silence.
        """
        self._answer_or_raise()
        return self._queue.job(token)

    def adopt(self, array: ArraySpec, job: str) -> None:
        """Track the slots of an array that an earlier driver submitted."""
        del job
        self._track(array.token)

    def poll(self) -> Sequence[SlotStatus]:
        """Return the status of every tracked slot; those that ended are tracked no more.

        Raises:
            BackendUnavailableError: within a silence.
        """
        self._answer_or_raise()
        statuses = [slot.status() for slot in self._tracked.values()]
        for status in statuses:
            if status.state is SlotState.ENDED:
                del self._tracked[status.token, status.index]
        return statuses

    def cancel(self, token: str, indices: Sequence[int] | None = None) -> None:
        """End these slots of the array, or all.

        Raises:
            BackendUnavailableError: within a silence.
        """
        self._answer_or_raise()
        for slot in self._queue.slots(token):
            if indices is None or slot.index in indices:
                slot.cancel()

    def close(self) -> None:
        """Nothing to let go of."""

    def _track(self, token: str) -> None:
        if token not in self._known:
            self._known.add(token)
            for slot in self._queue.slots(token):
                self._tracked[token, slot.index] = slot

    def _within(self, intervals: Sequence[Interval]) -> bool:
        now = self._clock.now()
        return any(now in interval for interval in intervals)

    def _answer_or_raise(self) -> None:
        if self._within(self._model.silences):
            raise BackendUnavailableError("the simulated Slurm gives no answer")

    def _refuse(self, array: ArraySpec) -> None:
        largest = self._model.max_array_size
        if largest is not None and array.size > largest:
            raise SubmissionRefusedError(
                f"an array of {array.size} slots; the simulated Slurm takes {largest} at most"
            )
        if self._within(self._model.refusals):
            raise SubmissionRefusedError(
                "the simulated Slurm takes no submissions now", retryable=True
            )
        most = self._model.max_live_slots
        if most is not None and self._queue.live_slots() + array.size > most:
            raise SubmissionRefusedError(
                f"more than {most} slots queued or running", retryable=True
            )


class SimulatedCluster:
    """A cluster, its shared folder, and a driver's access to both.

    Args:
        clock: shared with the driver.
        program: what every attempt runs.
        model: sizes, times and accidents.
        seed: of all that is drawn: queue waits, start-up times, accidents.
    """

    def __init__(
        self, clock: VirtualClock, *, program: Program, model: ClusterModel, seed: int
    ) -> None:
        self.clock = clock
        self.model = model
        self._ledger = Ledger()
        self.folder = SharedFolder(clock, visibility_delay_seconds=model.visibility_delay_seconds)
        self._queue = SlotQueue(
            program=program,
            model=model,
            clock=clock,
            folder=self.folder,
            ledger=self._ledger,
            seed=seed,
        )
        self.restart_driver()

    def restart_driver(self) -> None:
        """Give a new ``backend`` and ``exchange``, as a driver has them that starts again.

        They track and watch nothing; slots and files are as they were.
        """
        self.backend = SimulatedBackend(self._queue, self.model, self.clock)
        self.exchange = SimulatedExchange(self.folder)

    def announce_end(self, *, finished: bool) -> None:
        """Tell slots that no more work comes, so that idle ones leave; or take that back."""
        self.folder.announce_end(finished=finished)

    def announce_settled(self, attempts: Sequence[str]) -> None:
        """Tell programs that wait for more: what follows from these ends is on offer."""
        self.folder.announce_settled(attempts)

    def preempt(self, token: str, index: int) -> None:
        """Take the machine away from a running slot, as a pre-emption does."""
        self._queue.slots(token)[index].preempt()

    def fail_node(self, token: str, index: int) -> None:
        """Let the node fail under a running slot."""
        self._queue.slots(token)[index].lose_node()

    @property
    def queue(self) -> SlotQueue:
        """The whole queue, as nobody but the cluster itself knows it."""
        return self._queue

    def slot_spans(self) -> Sequence[Span]:
        """Return when which slot was on which machine; a slot still there ends at infinity."""
        return self._ledger.slots()

    def attempt_spans(self) -> Sequence[Span]:
        """Return when which attempt ran where; one that still runs ends at infinity."""
        return self._ledger.attempts()

    def busy_seconds(self, until: float | None = None) -> dict[str, float]:
        """Return by slot (``TOKEN.INDEX.RESTART``) how long it ran attempts before ``until``."""
        return self._ledger.busy_seconds(self.clock.now() if until is None else until)

    def utilisation(self, until: float | None = None) -> float:
        """Return which part of all machine time before ``until`` (None: now) ran attempts."""
        end = self.clock.now() if until is None else until
        total = self.model.slots * (end - self.clock.start)
        return sum(self.busy_seconds(end).values()) / total if total > 0 else 0.0

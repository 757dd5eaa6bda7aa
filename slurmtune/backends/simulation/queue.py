"""The simulated Slurm: arrays, the queue of their slots, and the machines they start on.

Slots start in the order in which their queue wait is over; an array with a limit on running slots
holds its own back, not those behind them.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from slurmtune.backends.base import ArraySpec, SlotState
from slurmtune.backends.simulation.clock import VirtualClock
from slurmtune.backends.simulation.folder import SharedFolder
from slurmtune.backends.simulation.model import ClusterModel
from slurmtune.backends.simulation.program import Program
from slurmtune.backends.simulation.slot import Slot
from slurmtune.backends.simulation.usage import Ledger

_FIRST_JOB = 1001


@dataclass(slots=True)
class _Array:
    """One submitted array."""

    job: str
    limit: int | None
    slots: list[Slot] = field(default_factory=list)
    running: int = 0
    held: list[Slot] = field(default_factory=list)
    """Slots that could start but for the array's limit, first come first."""


class SlotQueue:
    """Arrays by token, and which slot runs where."""

    def __init__(
        self,
        *,
        program: Program,
        model: ClusterModel,
        clock: VirtualClock,
        folder: SharedFolder,
        ledger: Ledger,
        seed: int,
    ) -> None:
        self._program = program
        self._model = model
        self._clock = clock
        self._folder = folder
        self._ledger = ledger
        self._seed = seed
        self._arrays: dict[str, _Array] = {}
        self._live: list[Slot] = []
        self._free = list(range(model.slots))
        self._ready: list[tuple[float, int, Slot]] = []
        self._count = 0

    def job(self, token: str) -> str | None:
        """Return the job id of an array, None when there is no such array."""
        array = self._arrays.get(token)
        return None if array is None else array.job

    def slots(self, token: str) -> Sequence[Slot]:
        """Return the slots of an array; empty for an unknown one."""
        array = self._arrays.get(token)
        return () if array is None else array.slots

    @property
    def all_slots(self) -> Sequence[Slot]:
        """The slots of all arrays, in the order in which they were submitted."""
        return [slot for array in self._arrays.values() for slot in array.slots]

    def live_slots(self) -> int:
        """Return how many slots wait or run."""
        self._live = [slot for slot in self._live if slot.state is not SlotState.ENDED]
        return len(self._live)

    def submit(self, spec: ArraySpec) -> str:
        """Queue the slots of an array and return its job id; a known token changes nothing."""
        known = self._arrays.get(spec.token)
        if known is not None:
            return known.job
        ordinal = len(self._arrays)
        array = _Array(job=str(_FIRST_JOB + ordinal), limit=spec.request.array_limit)
        self._arrays[spec.token] = array
        for index in range(spec.size):
            # The ordinal, not the token, names the random stream: tokens may be random.
            slot = Slot(
                spec,
                index,
                f"{array.job}_{index}",
                stream=f"{ordinal}.{index}",
                seed=self._seed,
                queue=self,
                program=self._program,
                model=self._model,
                clock=self._clock,
                folder=self._folder,
                ledger=self._ledger,
            )
            array.slots.append(slot)
            self._live.append(slot)
            slot.wait_in_queue()
        return array.job

    def enqueue(self, slot: Slot, delay_seconds: float) -> float:
        """Let the slot start after the delay, when a machine is free; return the earliest time."""
        eligible_at = self._clock.now() + delay_seconds
        self._clock.call_at(eligible_at, lambda: self._make_ready(slot))
        return eligible_at

    def release(self, slot: Slot, machine: int) -> None:
        """Take back the machine of a slot that left it; whoever waits starts when time passes."""
        array = self._arrays[slot.array.token]
        array.running -= 1
        self._let_one_go(array)
        heapq.heappush(self._free, machine)
        self._clock.call_in(0.0, self._dispatch)

    def _let_one_go(self, array: _Array) -> None:
        if array.held:
            self._push(array.held.pop(0))

    def _make_ready(self, slot: Slot) -> None:
        self._push(slot)
        self._dispatch()

    def _push(self, slot: Slot) -> None:
        self._count += 1
        heapq.heappush(self._ready, (self._clock.now(), self._count, slot))

    def _dispatch(self) -> None:
        while self._free and self._ready:
            slot = heapq.heappop(self._ready)[2]
            array = self._arrays[slot.array.token]
            if slot.state is not SlotState.PENDING:
                # Cancelled while it waited: its turn passes to one that the array held back.
                self._let_one_go(array)
                continue
            if array.limit is not None and array.running >= array.limit:
                array.held.append(slot)
                continue
            array.running += 1
            slot.start(heapq.heappop(self._free))

"""The one interface to where attempts run, and to the clock that goes with it.

A backend runs *slots*; it knows nothing of trials. A slot of array ``token`` runs::

    python -m slurmtune.worker STUDY_DIR TOKEN MANIFEST_SHA256 [--task INDEX]

and serves the offers it finds in the study's directory. Offers, claims and event logs pass through
an `Exchange`, never through the backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from slurmtune.core.actions import Offer
from slurmtune.core.events import Event
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome


class Clock(Protocol):
    """Time as an interface: the system's, or a virtual one that jumps."""

    def now(self) -> float:
        """Return seconds since 1970."""
        ...

    def wait(self, seconds: float) -> None:
        """Return after ``seconds``, or earlier when something may have happened."""
        ...


class SlotState(Enum):
    """What the backend says about a slot."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySpec:
    """One array to submit: ``size`` slots of one resource class under a unique token."""

    token: str
    """Job name; unique in the study and on the cluster."""
    request: ResourceRequest
    size: int
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatus:
    """What the backend knows about one slot now."""

    token: str
    index: int
    state: SlotState
    job: str
    """For people: ``4711_3``; a process id for a local slot."""
    reason: str = ""
    """Slurm's own word for why it waits or how it ended; empty when unknown."""
    outcome: Outcome | None = None
    """How it ended; None while it has not. SUCCEEDED: the slot left by itself."""
    start_estimate: float | None = None
    """When a waiting slot should start, in seconds since 1970; None when not known."""
    node: str = ""
    failed_node: str = ""
    """Of a slot that waits again: the node that it ran on, when that is out of order."""
    hopeless: str = ""
    """Why it can never start, in words; empty while it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendLimits:
    """What the backend takes; None is no limit."""

    max_array_size: int | None = None
    """Slots in one array."""
    max_live_slots: int | None = None
    """Slots queued or running at once."""
    longest_seconds: Mapping[str, int] = field(default_factory=dict)
    """Longest time limit of a slot by partition; ``""`` is the default partition. A partition
    that is missing here has none that we know of."""


class Backend(Protocol):
    """Runs arrays of slots. Every method is safe to call again after a crash."""

    name: str
    """``slurm``, ``local`` or ``simulator``."""
    poll_seconds: float
    """Least time between two calls of `poll`."""
    submit_interval_seconds: float
    """Least time between two calls of `submit`."""

    def limits(self) -> BackendLimits:
        """Return the limits; asks the backend at most once."""
        ...

    def submit(self, array: ArraySpec) -> str:
        """Submit the array and return its job id. The slots are tracked from now on.

        A token that is already known is not submitted again: its job id is returned.

        Raises:
            BackendUnavailableError: no clear answer; the array may exist. Ask `find` later.
            SubmissionRefusedError: a clear no.
        """
        ...

    def find(self, token: str) -> str | None:
        """Return the job id of the array with this token, or None when there surely is none.

        Raises:
            BackendUnavailableError: no clear answer.
        """
        ...

    def adopt(self, array: ArraySpec, job: str) -> None:
        """Track the slots of an array that an earlier driver submitted."""
        ...

    def poll(self) -> Sequence[SlotStatus]:
        """Return the status of every tracked slot, one query for all.

        A slot that is reported as ENDED is not tracked (and not returned) any more.

        Raises:
            BackendUnavailableError: nothing is known; keep every state.
        """
        ...

    def cancel(self, token: str, indices: Sequence[int] | None = None) -> None:
        """End these slots of the array, or all; slots that are gone already are no error.

        Raises:
            BackendUnavailableError: no clear answer.
        """
        ...

    def close(self) -> None:
        """Let go of resources of this process; slots live on."""
        ...


class Exchange(Protocol):
    """Offers out, events in: the only way between driver and workers.

    Events carry the driver's time of reading. They come in order for each attempt, from its first
    record; after a restart they come again from the first: the study knows by ``seq``.
    """

    def publish(self, offer: Offer) -> None:
        """Publish the offer; publishing it again changes nothing."""
        ...

    def withdraw(self, attempt: str) -> bool:
        """Take the offer back. Return False when a slot has claimed it already."""
        ...

    def request_stop(self, attempt: str) -> None:
        """Ask the running attempt to save and leave."""
        ...

    def drop_checkpoints(self, trial: int, names: Sequence[str]) -> None:
        """Remove these checkpoints of the trial; what is gone already is no error.

        Raises:
            OSError: some could not be removed.
        """
        ...

    def watch(self, attempt: str, *, offered: bool) -> None:
        """Read this attempt from now on; ``offered``: no slot is known to have claimed it."""
        ...

    def forget(self, attempt: str) -> None:
        """Read this attempt no more."""
        ...

    def read(self, now: float) -> Sequence[Event]:
        """Return what workers wrote since the last call: started, reported, saved, ended."""
        ...

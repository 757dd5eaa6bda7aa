"""What the study wants done; every action is safe to carry out twice."""

from __future__ import annotations

from dataclasses import dataclass

from slurmtune.core.events import Config, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A request to the shell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose(Action):
    """Draw the config of this trial and answer with `ConfigProposed` or `SpaceExhausted`."""

    trial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer(Action):
    """Publish this attempt for the slots of its resource class."""

    attempt: str
    trial: int
    rung: int
    config: Config
    start: Resource
    """Resource of the checkpoint; 0 for a start from nothing."""
    end: Resource | None
    """Resource to train up to; None when the program decides by itself."""
    checkpoint: str | None
    """Name of the checkpoint's folder in the ``checkpoints/`` of the trial that the name tells."""
    seed: int
    priority: int
    """Lower is claimed first."""
    resource_class: str
    holder: str = ""
    """Slot whose program waits to go on with this trial, as ``TOKEN.INDEX.RESTART``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw(Action):
    """Take the offer of this attempt back, if no slot claimed it."""

    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAttempt(Action):
    """Ask the running attempt to save and leave."""

    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropCheckpoints(Action):
    """Remove these checkpoints, which nobody needs, and answer with `CheckpointsDropped`."""

    trial: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish(Action):
    """The study has nothing left to do; slots may leave and the driver may end."""

    reason: str
    """``done``, ``stopped``, ``paused`` or the limit that was reached."""

"""Facts that happened, each with its time: what goes into `Study.handle` and into the journal.

Events are frozen. ``time`` is in seconds since 1970 by the driver's clock and only informs: no
decision reads it, except limits on wall time. Everything that a worker wrote carries ``seq``, its
position in the attempt's event log, so that a second delivery is recognised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slurmtune.core.trial import Outcome

Scalar = str | int | float | bool
"""A value of a hyperparameter."""
Config = Mapping[str, Scalar]
"""Chosen values by name; a hyperparameter whose condition fails is absent."""
Resource = int | float
"""What a trial is trained for, such as epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact with its time in seconds since 1970."""

    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a user may change between two launches of one study. None is no limit."""

    trials: int
    """Configs to start in all."""
    retry_node_fail: int = 3
    retry_preempted: int = 20
    retry_timeout: int = 1
    retry_out_of_memory: int = 1
    retry_crash: int = 0
    retry_bad_node: int = 2
    """Failures of a node in a day from which on it is left out; 0: it never is."""
    max_failed_trials: int | None = None
    """With more failed trials than this the study pauses."""
    gpu_hours: float | None = None
    target_loss: float | None = None
    """A completed trial with at most this loss ends the study."""
    stall_trials: int | None = None
    """Trials that may finish their first rung without a better best."""
    rung_classes: tuple[str, ...] = ("c0",)
    """Resource class by rung; the last one holds for all higher rungs."""
    gpus: Mapping[str, int] = field(default_factory=dict)
    """GPUs of one slot, by resource class."""
    keep: str = "all"
    """Checkpoints that stay although nothing needs them: all, none, promoted or best:N."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOpened(Event):
    """A driver opened the study, for the first time or again, with these limits.

    A study that was paused or stopped goes on. The limits are part of the event, since the spec
    may change between two launches and old records must still mean the same.
    """

    spec_sha256: str
    limits: Limits
    drawn_by: str = ""
    """The versions of all that configs are drawn with from now on; empty: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityChanged(Event):
    """So many attempts may be in flight (offered or running) at once from now on."""

    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigProposed(Event):
    """The sampler answered a `Propose` action."""

    trial: int
    config: Config
    origin: str
    """``start`` for a start point of the spec, else the name of the sampler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceExhausted(Event):
    """The sampler has no further config (a grid is done, all unique configs were tried)."""

    trial: int
    """The trial that was asked for and will not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptQueued(Event):
    """The offer of the attempt is published."""

    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptClaimed(Event):
    """A slot claimed the attempt; nothing else can run it any more."""

    attempt: str
    slot: str
    """Array token, index and incarnation: ``TOKEN.INDEX.RESTART``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    """The program of the attempt runs."""

    attempt: str
    seq: int
    slot: str
    """Array token, index and incarnation: ``TOKEN.INDEX.RESTART``."""
    job: str
    """For people and for Slurm: ``4711_3``, or the process id of a local slot."""
    host: str
    start: Resource
    """Resource that the training really starts from; 0 when no checkpoint could be loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReported(Event):
    """The program reported metrics at a resource."""

    attempt: str
    seq: int
    resource: Resource
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Event):
    """A checkpoint of the attempt is published."""

    attempt: str
    seq: int
    resource: Resource
    name: str
    """Name of its folder in the trial's ``checkpoints/``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointsDropped(Event):
    """The driver removed checkpoints of a trial, as it was asked to."""

    trial: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Event):
    """The attempt is over: the worker said so, or its slot is gone."""

    attempt: str
    seq: int | None
    """None when the driver says so in place of a worker that cannot."""
    outcome: Outcome
    seconds: float
    """How long the program ran, by the worker's monotonic clock; 0 when not known."""
    exit_code: int | None = None
    cause: str = ""
    """Likely cause in words, empty when there is nothing to say."""
    tail: tuple[str, ...] = field(default=())
    """Last lines of the program's output."""
    gave_up: bool = False
    """The program itself said that this config cannot work: a result, not an error."""
    holding: bool = False
    """The program still lives and waits for more work on its trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferWithdrawn(Event):
    """The driver took the offer back before any slot claimed it."""

    attempt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested(Event):
    """The user asked to stop a trial, or the whole study when ``trial`` is None."""

    trial: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached(Event):
    """A limit of ``[stop]`` was reached: no new attempts; what runs goes on to its rung."""

    limit: str
    """Key of the spec: ``wall_time``, ``gpu_hours``, ``target`` or ``stall``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayIntended(Event):
    """An array will be submitted under this token; recorded before sbatch."""

    token: str
    resource_class: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySubmitted(Event):
    """The array of this token is known to the backend under ``job``."""

    token: str
    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayRefused(Event):
    """The array of this token was refused and will not run."""

    token: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEnded(Event):
    """A slot is over, as the backend says."""

    token: str
    index: int
    outcome: Outcome
    reason: str = ""
    node: str = ""
    """Where it ran; empty when not known."""

"""What the study remembers of each trial and each attempt."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from slurmtune.core.events import Config, Resource
from slurmtune.core.ids import trial_id
from slurmtune.core.trial import AttemptState, Outcome, TrialState


class SavedCheckpoint(NamedTuple):
    """A checkpoint that is known and was not removed."""

    name: str
    resource: Resource
    attempt: str


@dataclass(slots=True, kw_only=True)
class AttemptRecord:
    """One attempt; its state changes only through `slurmtune.core.transitions`."""

    id: str
    trial: int
    rung: int
    number: int
    start: Resource
    end: Resource | None
    checkpoint: str | None
    resource_class: str
    priority: int
    queued_time: float
    holder: str = ""
    """Slot whose program waits to go on with the trial."""
    state: AttemptState = AttemptState.SUBMITTED
    outcome: Outcome | None = None
    last_seq: int = -1
    """Position of the last record of its event log that was applied."""
    slot: str = ""
    job: str = ""
    host: str = ""
    started_time: float | None = None
    ended_time: float | None = None
    seconds: float = 0.0
    exit_code: int | None = None
    cause: str = ""
    tail: tuple[str, ...] = ()
    gave_up: bool = False
    resource: Resource | None = None
    """Largest resource reported so far."""
    value: float | None = None
    """The objective at the smallest resource at or above `end`, else the last one reported."""
    value_resource: Resource | None = None
    """Resource at which `value` was reported."""
    reached_end: bool = False
    saved: Resource | None = None
    """Resource of its newest checkpoint."""
    withdrawing: bool = False
    stopping: bool = False

    def __str__(self) -> str:
        return f"attempt {self.id}"

    @property
    def is_live(self) -> bool:
        """Whether it is on offer or runs."""
        return self.state is not AttemptState.ENDED

    def seconds_until(self, now: float) -> float:
        """Return for how long it has run, by the driver's clock; 0 when nobody claimed it."""
        return 0.0 if self.started_time is None else max(0.0, now - self.started_time)


@dataclass(slots=True, kw_only=True)
class TrialRecord:
    """One trial: a config and all its attempts."""

    number: int
    config: Config
    origin: str
    bracket: int
    source: int | None = None
    """Trial whose training it continued; None: it began with nothing."""
    state: TrialState = TrialState.WAITING
    first_rung: int = 0
    """Rung that its first attempt trains up to."""
    target_rung: int = 0
    """Rung that its newest attempt trains up to."""
    finished_rung: int = -1
    values: dict[int, float | None] = field(default_factory=dict)
    """The objective by finished rung, as reported; None where the trial failed. Where each rung is
    an evaluation of its own: the mean over the rungs up to this one."""
    other_resources: dict[int, Resource] = field(default_factory=dict)
    """By finished rung, the resource at which its value was reported, if that is not its own."""
    has_result: bool = False
    """Whether it has a finite result and did not fail."""
    attempts: list[AttemptRecord] = field(default_factory=list)
    checkpoint: str | None = None
    """Name of the newest, also of one that was taken over from `source`."""
    checkpoint_resource: Resource = 0
    saved: list[SavedCheckpoint] = field(default_factory=list)
    """Its own checkpoints that were not removed, oldest first."""
    rung_checkpoints: dict[int, tuple[str, Resource]] = field(default_factory=dict)
    """Name and resource of the newest checkpoint when a rung was finished."""
    spare_rungs: set[int] = field(default_factory=set)
    """Rungs from whose checkpoint nobody will ever go on, as the scheduler knows."""
    heirs: list[int] = field(default_factory=list)
    """Trials that go on from a checkpoint of this one."""
    told: Resource = 0
    """Largest resource that the scheduler was told a report of."""
    holder: str = ""
    """Slot whose program waits to go on with the trial."""
    seconds: float = 0.0
    """Time of all attempts since it began with nothing."""
    retries: dict[Outcome, int] = field(default_factory=dict)
    longer: int = 0
    """How often the time limit of this rung grew."""
    larger: int = 0
    """How often the memory grew."""
    stop_wanted: bool = False
    """The scheduler or the user wants its running attempt to end."""
    stopped_rung: int | None = None
    """Rung that it ran through and was stopped at: it was admitted to none above."""

    def __str__(self) -> str:
        return f"trial {trial_id(self.number)}"

    @property
    def last_attempt(self) -> AttemptRecord | None:
        """Its newest attempt."""
        return self.attempts[-1] if self.attempts else None

    def forget_checkpoints(self, names: Collection[str]) -> None:
        """These checkpoints are removed: nothing may start from them any more."""
        self.saved = [one for one in self.saved if one.name not in names]
        if self.checkpoint in names:
            self.checkpoint, self.checkpoint_resource = None, 0

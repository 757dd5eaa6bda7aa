"""What the study remembers of each trial and each attempt."""

from __future__ import annotations

from dataclasses import dataclass, field

from slurmtune.core.events import Config, Resource
from slurmtune.core.trial import AttemptState, Outcome, TrialState


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
    reached_end: bool = False
    saved: Resource | None = None
    """Resource of its newest checkpoint."""
    withdrawing: bool = False
    stopping: bool = False

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
    state: TrialState = TrialState.WAITING
    target_rung: int = 0
    """Rung that its newest attempt trains up to."""
    finished_rung: int = -1
    values: dict[int, float | None] = field(default_factory=dict)
    """The objective by finished rung, as reported; None where the trial failed."""
    attempts: list[AttemptRecord] = field(default_factory=list)
    checkpoint: str | None = None
    checkpoint_resource: Resource = 0
    retries: dict[Outcome, int] = field(default_factory=dict)
    longer: int = 0
    """How often the time limit of this rung grew."""
    larger: int = 0
    """How often the memory grew."""
    stop_wanted: bool = False
    """The scheduler or the user wants its running attempt to end."""

    @property
    def last_attempt(self) -> AttemptRecord | None:
        """Its newest attempt."""
        return self.attempts[-1] if self.attempts else None

"""What kind of cluster is simulated: sizes, times, and how often what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from slurmtune.core.events import Resource
from slurmtune.errors import SpecError

Draw = Callable[[Random], float]
"""A distribution of seconds: draws one value, at least 0, from a generator."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same."""

    seconds: float = 0.0

    def __call__(self, random: Random) -> float:
        """Return the constant; nothing is drawn."""
        del random
        return self.seconds


@dataclass(frozen=True, slots=True)
class Exponential:
    """Exponential distribution: waits that know nothing of their past."""

    mean_seconds: float

    def __call__(self, random: Random) -> float:
        """Draw one value."""
        return random.expovariate(1.0) * self.mean_seconds


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every value between two ends alike."""

    low_seconds: float
    high_seconds: float

    def __call__(self, random: Random) -> float:
        """Draw one value."""
        return random.uniform(self.low_seconds, self.high_seconds)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Log-normal distribution: most waits short, some very long, as in real queues."""

    median_seconds: float
    sigma: float
    """Standard deviation of the logarithm; 1 means that one wait in six is over e times the
    median."""

    def __call__(self, random: Random) -> float:
        """Draw one value."""
        return self.median_seconds * math.exp(random.gauss(0.0, self.sigma))


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``begin`` up to, not including, ``end``; seconds since 1970 by the virtual clock."""

    begin: float
    end: float

    def __contains__(self, time: float) -> bool:
        return self.begin <= time < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterModel:
    """One simulated cluster."""

    slots: int
    """Machines; each runs one slot at a time, of any resource class."""
    queue_wait: Draw = Constant(0.0)
    """How long a slot waits before it may start, besides waiting for a machine."""
    startup: Draw = Constant(0.0)
    """From the start of a slot on its machine to its first look at the offers."""
    report_every: Resource | None = 1
    """Resource units between two reports; None: one report, at the end of the attempt."""
    checkpoint_every: Resource | None = None
    """Resource units between two checkpoints; None: one checkpoint, at the end of the attempt."""
    open_end: Resource = 1
    """Where an attempt ends whose offer names no end."""
    reuse: bool = True
    """Whether a slot serves one attempt after the other; False: it leaves after one."""
    linger_seconds: float = 60.0
    """How long a slot without an offer stays."""
    load_seconds: float = 0.0
    """What each attempt pays besides its program's own start-up: starting a process, loading a
    checkpoint. Not paid, like that, by an attempt that goes on in place."""
    continue_in_place: bool = False
    """Whether a program that finished its attempt waits for the next attempt of its trial."""
    visibility_delay_seconds: float = 0.0
    """How long a file takes to be seen by the other side: offers, stop requests, event logs."""
    preemptions_per_hour: float = 0.0
    """Mean number per hour of a running slot."""
    node_failures_per_hour: float = 0.0
    """Mean number per hour of a running slot."""
    grace_seconds: float = 30.0
    """From the warning to the kill, for pre-emption, cancellation and the time limit. A program
    that ends a resource unit within it saves a checkpoint. With 0 a slot leaves no record."""
    requeue: bool = True
    """Whether Slurm queues a slot again after pre-emption and node failure."""
    requeue_delay_seconds: float = 121.0
    """Slurm's own wait before a requeued job may start, besides the queue wait (measured)."""
    least_remaining_seconds: float = 60.0
    """A slot with less time before its limit, or with less than a fifth of the limit, starts no
    further attempt."""
    silences: tuple[Interval, ...] = ()
    """When Slurm gives no answer to anything."""
    lost_replies: tuple[Interval, ...] = ()
    """When a submission is accepted but the answer does not arrive."""
    refusals: tuple[Interval, ...] = ()
    """When every submission is refused for now."""
    max_array_size: int | None = None
    """Slots in one array."""
    max_live_slots: int | None = None
    """Slots queued or running at once; a submission above it is refused for now."""
    poll_seconds: float = 30.0
    """The backend's `poll_seconds`."""
    submit_interval_seconds: float = 0.0
    """The backend's `submit_interval_seconds`."""

    def __post_init__(self) -> None:
        """Refuse a cluster that cannot be.

        Raises:
            SpecError: no machine, a negative time or rate, or a step that is not positive.
        """
        if self.slots < 1:
            raise SpecError(f"a simulated cluster needs at least one slot, not {self.slots}")
        for name in (
            "linger_seconds",
            "load_seconds",
            "visibility_delay_seconds",
            "preemptions_per_hour",
            "node_failures_per_hour",
            "grace_seconds",
            "requeue_delay_seconds",
            "least_remaining_seconds",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise SpecError(f"{name} must be at least 0, not {getattr(self, name)}")
        for name in ("report_every", "checkpoint_every"):
            step = getattr(self, name)
            if step is not None and not step > 0:
                raise SpecError(f"{name} must be above 0, not {step}")

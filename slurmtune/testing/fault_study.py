"""Whole studies in which everything goes wrong, from nothing but a seed.

One seed is one study: its size and scheduler, its cluster, and every accident. Drivers die, sleep
and are replaced, Slurm is silent or wrong, files are seen late, users change their minds; after
every record all invariants are checked (`slurmtune.testing.faults.audit`). What the driver does
is the product's own code: only its ports are rough::

    outcome = simulate(7)
    assert not outcome.broken, outcome.story()
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import NamedTuple

from slurmtune.backends.base import SlotState
from slurmtune.backends.simulator import ClusterModel, SimulatedCluster, VirtualClock
from slurmtune.core.ports import Scheduler
from slurmtune.core.request import ResourceRequest
from slurmtune.core.study import Study, StudySettings
from slurmtune.driver.loop import Driver, LoopSettings
from slurmtune.driver.ports import Command
from slurmtune.driver.recovery import replay
from slurmtune.errors import BackendError, DriverFencedError
from slurmtune.testing.faults.actors import Actor, Killed
from slurmtune.testing.faults.audit import Auditor, BrokenInvariantError
from slurmtune.testing.faults.journal import EpochJournal, Record, Segment
from slurmtune.testing.faults.plan import CLASSES, HistorySampler, Plan, Rates, draw_plan
from slurmtune.testing.faults.planted import Parts
from slurmtune.testing.faults.ports import (
    RoughBackend,
    RoughExchange,
    RoughFiles,
    WatchedSampler,
)

_HOUR = 3600.0
_EPOCH = 1.7e9
"""The drivers' clock when the world begins."""
_PEACE = Rates(**dict.fromkeys(Rates.__dataclass_fields__, 0.0))
_MOST_STEPS_AT_ONCE = 20_000
"""Calls of one driver without any wait in between."""
_MOST_LAUNCHES = 300
_FATES = {
    "killed": 6,
    "killed in an append": 2,
    "disk full": 2,
    "paused and replaced": 4,
    "paused": 2,
    "detached": 2,
}
_LOG = logging.getLogger("slurmtune.driver.loop")


class Told(NamedTuple):
    """A line of the story."""

    time: float
    epoch: int
    what: str | Record

    def __str__(self) -> str:
        if isinstance(self.what, str):
            return f"{self.time:10.1f}  driver {self.epoch}  ** {self.what}"
        event = dict(self.what["e"])
        kind = event.pop("t")
        event.pop("time", None)
        fields = " ".join(f"{key}={value}" for key, value in event.items())
        actions = "".join(f"\n{'':30}-> {line}" for line in self.what.get("a", ()))
        return f"{self.time:10.1f}  driver {self.epoch}  {kind} {fields[:300]}{actions}"


@dataclass(slots=True, kw_only=True)
class Result:
    """How a simulated study went."""

    plan: Plan
    broken: str = ""
    """The invariant that was broken, in words; empty when none was."""
    events: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    drivers: int = 0
    virtual_seconds: float = 0.0
    reason: str = ""
    """Why the study ended."""
    lines: list[Told] = field(default_factory=list)

    def story(self) -> str:
        """Return everything that happened, line by line."""
        return "\n".join([str(self.plan), *map(str, self.lines), f"BROKEN: {self.broken}"])


class _DriverClock:
    """The clock of the machine that drivers run on; somebody sets it now and then."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life

    def now(self) -> float:
        return self._world.clock.now() + self._world.clock_error

    def wait(self, seconds: float) -> None:
        self._world.wait(self._life, seconds)


class Life:
    """One driver from its launch to its end."""

    def __init__(self, world: World, epoch: int) -> None:
        self.world = world
        self.epoch = epoch
        self.random = Random(f"{world.plan.seed}/life/{epoch}")  # noqa: S311 - not a secret
        self.tears = self.is_disk_full = self.slept = False
        self.steps = 0
        self.steps_at_once = 0
        self.reason = ""
        self.driver: Driver | None = None
        self.actor = Actor(self._live)
        self._fate_at = self._draw_fate()
        self._fate = ""

    @property
    def rates(self) -> Rates:
        """Return how often calls go wrong now."""
        return self.world.rates

    @property
    def is_newest(self) -> bool:
        """Whether no other driver took over."""
        return self.epoch == self.world.journal.epoch

    def step(self) -> None:
        """Die, sleep or go on."""
        self.steps += 1
        self.steps_at_once += 1
        if self.steps_at_once > _MOST_STEPS_AT_ONCE:
            raise BrokenInvariantError("the driver runs in circles")
        if self.steps == self._fate_at:
            self._meet_fate()

    def tell(self, kind: str, text: str = "") -> None:
        """Count a fault."""
        self.world.result.faults[kind] += 1
        self.world.tell(self.epoch, f"{kind} {text}".rstrip())

    def wrote(self, records: Sequence[Record]) -> None:
        """Check new records against everything else."""
        world = self.world
        for record in records:
            world.result.lines.append(Told(world.clock.now(), self.epoch, record))
        world.audit.read(records)
        assert self.driver is not None
        if not self.tears:
            world.audit.compare(self.driver.study)
        if self.random.random() < 0.003:
            world.audit.replay_from_start(world.empty_study(), world.journal.history)
            if not self.tears:
                world.audit.compare_all(self.driver.study)

    def _live(self) -> None:
        world = self.world
        world.tell(self.epoch, "begins")
        segment = world.journal.open()
        study = world.empty_study()
        replay(study, world.journal.history)
        driver = self.driver = world.make_driver(self, study, segment)
        self.step()
        try:
            driver.open(world.plan.make_limits(raised=world.is_raised), "simulated")
            self.reason = driver.run()
        except DriverFencedError:
            self.reason = "fenced"
        except OSError as error:
            self.reason = f"ended by {error}"
        except BackendError as error:
            self.reason = f"ended by {error}"
        world.tell(self.epoch, f"ends: {self.reason}")

    def _draw_fate(self) -> int:
        draw = self.random.random()
        return self.steps + (
            self.random.randint(1, 40) if draw < 0.4 else self.random.randint(1, 1500)
        )

    def _meet_fate(self) -> None:
        world = self.world
        if not world.take_death():
            return
        self._fate_at = self._draw_fate()
        fate = self.random.choices(list(_FATES), list(_FATES.values()))[0]
        if fate == "killed":
            self.tell(fate)
            raise Killed
        if fate == "killed in an append":
            self.tears = True
        elif fate == "disk full":
            self.is_disk_full = True
        elif fate == "detached":
            self.tell(fate)
            if self.driver is not None:
                self.driver.detach()
        else:
            self.tell(fate)
            self.slept = True
            seconds = self.random.choice((5.0, 60.0, 600.0, 5000.0)) * self.random.random()
            world.sleep(self, seconds, is_replaced=fate == "paused and replaced")


class World:
    """A study, its cluster, and the drivers that come and go."""

    def __init__(self, plan: Plan, parts: Parts) -> None:
        self.plan = plan
        self.parts = parts
        self.result = Result(plan=plan)
        self.random = Random(f"{plan.seed}/world")  # noqa: S311 - not a secret
        self.clock = VirtualClock(least_wait_seconds=10 * _HOUR)
        self.clock_error = _EPOCH
        self.journal = EpochJournal()
        self.cluster = SimulatedCluster(
            self.clock,
            program=plan.program,
            model=ClusterModel(**plan.model, reuse=plan.loop["reuse"]),
            seed=plan.seed,
        )
        self.audit = Auditor(plan, self.cluster, self.empty_study())
        self.rates = plan.rates
        self.is_raised = False
        self.waiting: list[Command] = []
        self._deaths = plan.deaths
        self._lives: list[Life] = []
        self._launch_at: float | None = 0.0
        self._commands = 0
        self._progress = (0, 0.0)
        """Steps of the study at the last look that found a new one, and when that was."""

    def empty_study(self) -> Study:
        """Return the study before its first event."""
        scheduler: Scheduler = self.plan.make_scheduler()
        wrap = self.parts.scheduler
        if wrap is not None:
            scheduler = wrap(scheduler)
        return self.parts.study(
            StudySettings(seed=self.plan.seed, objective=self.plan.objective), scheduler
        )

    def make_driver(self, life: Life, study: Study, segment: Segment) -> Driver:
        """Return the driver of a life, with ports as rough as the plan says."""
        plan, audit = self.plan, self.audit
        self.cluster.restart_driver()
        return self.parts.driver(
            study=study,
            journal=self.parts.journal(segment, life),
            backend=RoughBackend(self.cluster.backend, self.cluster, audit, life),
            exchange=RoughExchange(self.cluster.exchange, audit, life),
            sampler=WatchedSampler(
                HistorySampler(plan.configs),
                lambda trial: audit.check_draw(trial) if life.is_newest else None,
            ),
            clock=_DriverClock(self, life),
            settings=LoopSettings(
                name="simulated",
                directory="simulated",
                resource="epoch",
                parallel=plan.parallel,
                requests={
                    name: ResourceRequest(
                        name=name,
                        gpus=plan.limits["gpus"][name],
                        time_limit_seconds=plan.time_limit_seconds,
                        array_limit=plan.array_limit,
                    )
                    for name in CLASSES
                },
                **plan.loop,
            ),
            make_token=lambda number: f"st-sim-{life.epoch}-{number}",
            files=RoughFiles(self.cluster, self.waiting, life),
        )

    def tell(self, epoch: int, text: str) -> None:
        """Write into the story."""
        self.result.lines.append(Told(self.clock.now(), epoch, text))

    # ------------------------------------------------------------------ time

    def wait(self, life: Life, seconds: float) -> None:
        """Let time pass for one driver, and for whoever else is alive."""
        life.steps_at_once = 0
        if len(self._lives) == 1 and self._launch_at is None:
            self._pass_time(seconds)
        else:
            life.actor.due = self.clock.now() + seconds
            life.actor.hand_over()

    def sleep(self, life: Life, seconds: float, *, is_replaced: bool) -> None:
        """Stop a driver inside a call; another one may take its place meanwhile."""
        if is_replaced and life.is_newest:
            self._launch_at = self.clock.now() + seconds * self.random.random()
        life.actor.due = self.clock.now() + seconds
        life.actor.hand_over()

    def take_death(self) -> bool:
        """Tell whether an accident of a driver is left to happen."""
        if self.clock.now() > self.plan.horizon or self._deaths == 0:
            return False
        self._deaths -= 1
        return True

    def _pass_time(self, seconds: float) -> None:
        self.clock.wait(seconds)
        now = self.clock.now()
        if self.audit.steps != self._progress[0] or now < self.plan.horizon:
            self._progress = (self.audit.steps, now)
        elif now - self._progress[1] > self.plan.longest_pause():
            raise BrokenInvariantError("nothing happens any more, but the study is not over")

    # ------------------------------------------------------------------ the course of the world

    def run(self) -> Result:
        """Live through the study; return how it went."""
        result = self.result
        try:
            self._schedule()
            with _no_ignored_events():
                self._run_drivers()
            self._come_to_rest()
            self.audit.replay_from_start(self.empty_study(), self.journal.history)
            self.audit.check_end(result.reason)
        except BrokenInvariantError as error:
            result.broken = str(error)
        finally:
            for life in self._lives:
                life.actor.kill()
        result.events = self.audit.seen
        result.drivers = self.journal.epoch
        result.virtual_seconds = self.clock.now()
        return result

    def _schedule(self) -> None:
        plan, clock = self.plan, self.clock
        clock.call_at(plan.horizon, self._make_peace)
        for time, kind in plan.accidents:
            clock.call_at(time, partial(self._hit_slot, kind))
        for time, seconds in plan.clock_jumps:
            clock.call_at(time, partial(self._set_clock, seconds))
        for time, trial in plan.stops:
            clock.call_at(time, partial(self._stop, trial))

    def _run_drivers(self) -> None:
        while self._lives or self._launch_at is not None:
            life = min(self._lives, key=lambda one: one.actor.due, default=None)
            launch_at = self._launch_at
            if launch_at is not None and (life is None or launch_at <= life.actor.due):
                self._pass_time(max(0.0, launch_at - self.clock.now()))
                self._launch_at = None
                life = Life(self, self.journal.epoch + 1)
                self._lives.append(life)
            assert life is not None
            self._pass_time(max(0.0, life.actor.due - self.clock.now()))
            life.actor.resume()
            if life.actor.is_over:
                self._lives.remove(life)
                self._bury(life)

    def _bury(self, life: Life) -> None:
        """Decide what comes after the end of a driver."""
        error = life.actor.error
        if isinstance(error, BrokenInvariantError):
            raise error
        if error is not None:
            raise BrokenInvariantError(f"the driver ended with {error!r}") from error
        if not life.is_newest or self._launch_at is not None:
            return
        self.result.reason = life.reason
        if self.journal.epoch > _MOST_LAUNCHES:
            raise BrokenInvariantError(f"still {life.reason!r} after {_MOST_LAUNCHES} launches")
        away = self.random.choice((0.0, 10.0, 300.0, 2 * _HOUR)) * self.random.random()
        if life.reason == "done":
            if self.is_raised or not self.plan.raised_trials:
                return
            self.is_raised = True
            self.tell(life.epoch, f"the user wants {self.plan.raised_trials} more trials")
        elif life.reason in ("gpu_hours", "stall", "target"):
            return
        self._launch_at = self.clock.now() + away

    def _come_to_rest(self) -> None:
        """Let idle slots leave: those that wait in the queue see the end when they start."""
        for _ in range(100):
            self.clock.wait(_HOUR)
            if all(slot.state is SlotState.ENDED for slot in self.cluster.queue.all_slots):
                return

    # ------------------------------------------------------------------ accidents

    def _make_peace(self) -> None:
        self.rates = _PEACE
        self.tell(0, "nothing goes wrong any more")

    def _hit_slot(self, kind: str) -> None:
        running = [s for s in self.cluster.queue.all_slots if s.state is SlotState.RUNNING]
        if not running:
            return
        slot = self.random.choice(running)
        self.result.faults[f"slot: {kind}"] += 1
        self.tell(0, f"{kind} {slot.name}")
        getattr(slot, kind)()

    def _set_clock(self, seconds: float) -> None:
        self.clock_error += seconds
        self.result.faults["clock set"] += 1
        self.tell(0, f"the drivers' clock jumps by {seconds:.0f} s")

    def _stop(self, trial: int | None) -> None:
        self._commands += 1
        self.waiting.append(Command(name=str(self._commands), verb="stop", trial=trial))
        self.result.faults["user stops the study" if trial is None else "user stops a trial"] += 1
        self.tell(0, "the user stops " + ("the study" if trial is None else f"trial {trial}"))


class _Ignored(logging.Handler):
    """Events that the study refused: only those that a user or a wrong state can cause."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("ignored:") and "does not exist" not in text:
            raise BrokenInvariantError(text)


@contextmanager
def _no_ignored_events() -> Iterator[None]:
    handler = _Ignored()
    propagates = _LOG.propagate
    _LOG.addHandler(handler)
    _LOG.propagate = False
    try:
        yield
    finally:
        _LOG.removeHandler(handler)
        _LOG.propagate = propagates


def simulate(seed: int, parts: Parts | None = None) -> Result:
    """Live through the study of this seed."""
    return World(draw_plan(seed), parts or Parts()).run()


@dataclass(slots=True)
class Totals:
    """Figures of many studies."""

    studies: int = 0
    events: int = 0
    drivers: int = 0
    virtual_hours: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    broken: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count one study."""
        self.studies += 1
        self.events += result.events
        self.drivers += result.drivers
        self.virtual_hours += result.virtual_seconds / _HOUR
        self.faults += result.faults
        self.reasons[result.reason] += 1
        if result.broken:
            self.broken.append(result)


def simulate_many(seeds: Iterable[int], parts: Parts | None = None) -> Totals:
    """Live through the studies of these seeds."""
    totals = Totals()
    for seed in seeds:
        totals.add(simulate(seed, parts))
    return totals

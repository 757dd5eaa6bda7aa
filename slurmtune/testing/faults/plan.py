"""What one seed stands for: a study, a cluster, and everything that will go wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from slurmtune.backends.simulator import Constant, Exponential, ProgramFailedError
from slurmtune.core.events import Config, Limits, Resource
from slurmtune.core.objective import Goal, Objective
from slurmtune.core.ports import HistoryView, Scheduler
from slurmtune.core.trial import Outcome
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.async_hyperband import AsyncHyperband
from slurmtune.schedulers.dehb import Dehb
from slurmtune.schedulers.hyperband import Hyperband
from slurmtune.schedulers.irace import Irace, least_budget
from slurmtune.schedulers.median import MedianRule
from slurmtune.schedulers.pasha import Pasha
from slurmtune.schedulers.pbt import Pbt
from slurmtune.schedulers.racing import RaceTest
from slurmtune.schedulers.single import SingleRung
from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.testing.curves import uniform_of

METRIC = "val_loss"
"""What the programs report."""
CLASSES = ("c0", "c1")
"""Resource classes; a study uses one or both."""
_HOUR = 3600.0
_FIRST_TEST = 2
"""Instances of a race before its first test: studies are small."""
_LADDERS = ((1, 3), (1, 2, 4), (1, 3, 9), (2, 4, 8), (1, 2, 4, 8), (3,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often a call goes wrong, as parts of 1."""

    silence: float
    """Slurm does not answer."""
    lost_reply: float
    """sbatch succeeds, at once or within seconds, and nobody hears of it."""
    refusal: float
    late_state: float
    """Slurm tells an old state of a slot."""
    second_end: float
    """Slurm tells once more that a slot is over."""
    lost_slot: float
    """Slurm says that a slot is gone which works on."""
    hidden: float
    """The records of an attempt are not seen yet."""
    read_again: float
    """The records of an attempt are read once more from the first."""
    io_error: float
    """The study's directory cannot be read or written; the driver ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One study with its accidents; everything follows from the seed."""

    seed: int
    trials: int
    raised_trials: int
    """Further trials that the user asks for when the study is done; 0: none."""
    kind: str
    """``asha``, ``asha_stopping``, ``sha``, ``single``, or one of `_RARE`."""
    levels: tuple[int, ...]
    factor: int
    parallel: int
    goal: Goal
    configs: int | None
    """Configs that the sampler has; None: as many as wanted."""
    limits: Mapping[str, Any]
    model: Mapping[str, Any]
    loop: Mapping[str, Any]
    time_limit_seconds: int | None
    array_limit: int | None
    program: RoughProgram
    rates: Rates
    horizon: float
    """After this virtual time nothing goes wrong any more."""
    deaths: int
    """Accidents of drivers: deaths, pauses, full disks."""
    accidents: tuple[tuple[float, str], ...]
    """When which accident happens to some running slot."""
    clock_jumps: tuple[tuple[float, float], ...]
    """When the drivers' clock jumps, and by how much."""
    stops: tuple[tuple[float, int | None], ...]
    """When the user stops which trial; None: the study."""

    @property
    def objective(self) -> Objective:
        """Return what is optimised."""
        return Objective(METRIC, self.goal)

    def make_scheduler(self) -> Scheduler:
        """Return a fresh scheduler."""
        if self.kind == "asha":
            return Asha(self.levels, self.factor)
        if self.kind == "asha_stopping":
            return AshaStopping(self.levels, self.factor)
        if self.kind == "sha":
            return SuccessiveHalving(self.levels, self.factor, self.trials)
        if self.kind in _RARE:
            return _RARE[self.kind](self)
        return SingleRung(self.levels[-1])

    @property
    def budget(self) -> int:
        """Return how many evaluations races may use, each of one config on one instance."""
        return max(least_budget(1, first_test=_FIRST_TEST), 5 * self.trials)

    @property
    def race_test(self) -> RaceTest:
        """Return the test of the races."""
        return tuple(RaceTest)[self.seed % len(RaceTest)]

    def make_limits(self, *, raised: bool) -> Limits:
        """Return the limits of the spec, before or after the user raised the trials."""
        more = self.raised_trials if raised else 0
        return Limits(**{**self.limits, "trials": self.trials + more})

    def longest_pause(self) -> float:
        """Return how long nothing may happen once nothing goes wrong any more; generous."""
        longest = self.program.startup + 2 * self.program.unit * self.levels[-1]
        return longest + 4 * _HOUR


_RARE: Mapping[str, Callable[[Plan], Scheduler]] = {
    "hyperband": lambda plan: Hyperband(plan.levels, plan.factor),
    "async_hyperband": lambda plan: AsyncHyperband(plan.levels, plan.factor),
    "pasha": lambda plan: Pasha(plan.levels, plan.factor),
    "median": lambda plan: MedianRule(plan.levels[-1], grace=1, min_trials=3),
    "pbt": lambda plan: Pbt(plan.levels, max(5, plan.trials // len(plan.levels)), seed=plan.seed),
    "dehb": lambda plan: Dehb(plan.levels, plan.factor, seed=plan.seed),
    "irace": lambda plan: Irace(
        plan.levels,
        dimension=1,
        budget=plan.budget,
        seed=plan.seed,
        first_test=_FIRST_TEST,
        test=plan.race_test.value,
    ),
}
"""Schedulers of every fourth study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoughProgram:
    """Curves that cross, and configs that fail, overflow or say nothing."""

    seed: int
    unit: float
    spread: float
    startup: float
    crash: float
    """Part of the configs whose program fails."""
    memory: float
    """Part of the configs that need too much memory."""
    bad: float
    """Part of the configs that report NaN or an infinity."""
    silent: float
    """Part of the configs whose reports lack the metric."""

    def startup_seconds(self, config: Config) -> float:
        """Return the start-up time, the same for all."""
        del config
        return self.startup

    def seconds_per_unit(self, config: Config) -> float:
        """Return how long one unit takes with this config."""
        return self.unit * (1.0 + self.spread * (2.0 * float(config["speed"]) - 1.0))

    def metrics(self, config: Config, resource: Resource, seed: int) -> Mapping[str, float]:
        """Return the metric at ``resource``.

        Raises:
            ProgramFailedError: this config fails at this resource.
        """
        fate, when = float(config["fate"]), 1 + 6 * float(config["when"])
        if resource >= when:
            if fate < self.crash:
                raise ProgramFailedError("RuntimeError: no luck", exit_code=1)
            fate -= self.crash
            if fate < self.memory:
                raise ProgramFailedError("killed", outcome=Outcome.OUT_OF_MEMORY, exit_code=137)
            fate -= self.memory
            if fate < self.bad:
                wrong = (math.nan, math.inf, -math.inf)[int(1000 * float(config["when"])) % 3]
                return {METRIC: wrong}
            fate -= self.bad
            if fate < self.silent:
                return {"other": 1.0}
        # Some configs are exactly alike: ties must be broken the same way everywhere.
        floor = round(float(config["floor"]), 1)
        noise = uniform_of(seed, resource) if fate > 0.5 else 0.0
        return {METRIC: floor + (1.0 + noise) / float(resource)}


class HistorySampler:
    """Its configs depend on all that was finished before: one drawn twice would differ."""

    name = "history"

    def __init__(self, configs: int | None) -> None:
        self._configs = configs

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return a config, or None when there is no further one."""
        if self._configs is not None and trial >= self._configs:
            return None
        seen = f"{len(history.configs)}/{len(history.observations)}"
        draw = Random(f"{seed}/{trial}/{seen}")  # noqa: S311 - a simulation, not a secret
        return {name: draw.random() for name in ("fate", "floor", "speed", "when")}

    def origin(self, trial: int) -> str:
        """Return the name of the sampler."""
        del trial
        return self.name


def draw_plan(seed: int) -> Plan:
    """Return what ``seed`` stands for."""
    draw = Random(f"plan/{seed}")  # noqa: S311 - a simulation, not a secret
    shape = Random(f"shape/{seed}")  # noqa: S311
    kind = draw.choices(("asha", "asha_stopping", "sha", "single"), (4, 2, 3, 1))[0]
    levels: tuple[int, ...] = draw.choice(_LADDERS)
    factor = draw.choice((2, 3, 4))
    trials = 5 + int(56 * draw.random() ** 5)
    if kind == "sha":
        while factor ** (len(levels) - 1) > trials:
            levels = levels[1:]
    if len(levels) > 1 and shape.random() < 0.25:
        kind = shape.choice(tuple(_RARE))
    if kind == "irace":
        levels = tuple(range(1, shape.randint(4, 8)))
    parallel = draw.randint(1, 8)
    program = RoughProgram(
        seed=seed,
        unit=draw.choice((20.0, 60.0, 300.0, 900.0)),
        spread=draw.choice((0.0, 0.3, 0.9)),
        startup=draw.choice((0.0, 20.0)),
        crash=draw.choice((0.0, 0.0, 0.1, 0.3)),
        memory=draw.choice((0.0, 0.0, 0.1)),
        bad=draw.choice((0.0, 0.1, 0.4)),
        silent=draw.choice((0.0, 0.0, 0.1)),
    )
    rough_seconds = trials * levels[-1] * (program.unit + 30.0) / parallel
    horizon = rough_seconds * draw.uniform(0.1, 1.0) + 300.0
    longest_tick = draw.choice((60.0, 120.0, 300.0))

    def times(most: int) -> list[float]:
        return sorted(draw.uniform(0.0, horizon) for _ in range(draw.randint(0, most)))

    return Plan(
        seed=seed,
        trials=trials,
        raised_trials=0 if kind == "sha" else draw.choice((0, 0, 3, 10)),
        kind=kind,
        levels=levels,
        factor=factor,
        parallel=parallel,
        goal=draw.choice(tuple(Goal)),
        configs=trials - 2 if draw.random() < 0.1 else None,
        limits={
            **_draw_limits(draw, trials),
            "keep": shape.choice(("all", "none", "promoted", "best:2")),
        },
        model={
            **_draw_model(draw, parallel),
            "load_seconds": shape.choice((0.0, 15.0)),
            "continue_in_place": shape.random() < 0.6,
        },
        loop={
            "ahead": shape.choice((1.0, 1.0, 1.5, 2.0)),
            "reuse": draw.random() < 0.8,
            "grace_seconds": draw.choice((30.0, 60.0, 300.0)),
            "shortest_tick_seconds": draw.choice((5.0, 10.0, 20.0)),
            "longest_tick_seconds": longest_tick,
            "adaptive": draw.random() < 0.5,
        },
        time_limit_seconds=draw.choice((None, None, 3600, 7200)),
        array_limit=draw.choice((None, None, None, 1, 3)),
        program=program,
        rates=_draw_rates(draw),
        horizon=horizon,
        deaths=draw.choice((0, 1, 2, 3, 6, 10)),
        accidents=tuple(
            (time, draw.choice(("preempt", "lose_node", "cut_off", "cancel")))
            for time in times(12)
        ),
        clock_jumps=tuple(
            (time, draw.uniform(-1.0, 1.0) * draw.choice((60.0, _HOUR, 240 * _HOUR)))
            for time in times(2)
        ),
        stops=tuple(
            (time, None if draw.random() < 0.3 else draw.randrange(trials + 2))
            for time in times(3)
        ),
    )


def _draw_limits(draw: Random, trials: int) -> dict[str, Any]:
    limits: dict[str, Any] = {
        "retry_node_fail": draw.choice((0, 1, 3)),
        "retry_preempted": draw.choice((0, 2, 20)),
        "retry_timeout": draw.choice((0, 1)),
        "retry_out_of_memory": draw.choice((0, 1)),
        "retry_crash": draw.choice((0, 0, 2)),
        "rung_classes": draw.choice((("c0",), ("c0",), ("c0", "c1"))),
        "gpus": {"c0": 1, "c1": draw.choice((0, 4))},
    }
    if draw.random() < 0.15:
        limits["max_failed_trials"] = draw.randint(1, 5)
    if draw.random() < 0.1:
        limits["gpu_hours"] = draw.uniform(0.5, 20.0)
    if draw.random() < 0.1:
        limits["stall_trials"] = draw.randint(3, trials)
    if draw.random() < 0.1:
        limits["target_loss"] = draw.uniform(-2.0, 0.5)
    return limits


def _draw_model(draw: Random, parallel: int) -> dict[str, Any]:
    waits: tuple[Callable[[Random], float], ...] = (Constant(0.0), Exponential(300.0))
    return {
        "slots": max(1, parallel + draw.randint(-2, 2)),
        "queue_wait": draw.choice(waits),
        "startup": Constant(draw.choice((0.0, 10.0))),
        "report_every": draw.choice((1, 1, 1, 2)),
        "checkpoint_every": draw.choice((None, 1, 2)),
        "linger_seconds": draw.choice((0.0, 60.0, 600.0)),
        "visibility_delay_seconds": draw.choice((0.0, 2.0, 30.0)),
        "grace_seconds": draw.choice((0.0, 10.0, 120.0)),
        "requeue": draw.random() < 0.7,
        "requeue_delay_seconds": draw.choice((0.0, 121.0)),
        "max_array_size": draw.choice((None, None, 1, 4)),
        "max_live_slots": draw.choice((None, None, parallel, 2)),
        "poll_seconds": draw.choice((10.0, 30.0)),
        "submit_interval_seconds": draw.choice((0.0, 10.0)),
    }


def _draw_rates(draw: Random) -> Rates:
    def rate(most: float) -> float:
        return most * draw.random() if draw.random() < 0.5 else 0.0

    return Rates(
        silence=rate(0.3),
        lost_reply=rate(0.6),
        refusal=rate(0.4),
        late_state=rate(0.3),
        second_end=rate(0.2),
        lost_slot=rate(0.02),
        hidden=rate(0.4),
        read_again=rate(0.2),
        io_error=rate(0.01),
    )

"""A whole study on the simulated cluster, with drivers that come and go: for tests and benchmarks.

Everything happens in virtual time and follows from the arguments::

    rig = StudyRig(trials=81, slots=16)
    assert rig.run() == "done"
    rig.study.results.rungs, rig.journal.records, rig.cluster.attempt_spans()

`StudyRig.new_driver` is what a second launch does: it replays the journal into an empty study and
meets slots and files as the driver before left them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from slurmtune.backends.simulator import ClusterModel, Program, SimulatedCluster, VirtualClock
from slurmtune.core.events import Config, Limits
from slurmtune.core.objective import Objective
from slurmtune.core.ports import HistoryView, Sampler, Scheduler
from slurmtune.core.request import ResourceRequest
from slurmtune.core.study import Study, StudySettings
from slurmtune.driver.loop import Driver, LoopSettings
from slurmtune.driver.ports import Command, NoFiles
from slurmtune.driver.recovery import replay
from slurmtune.schedulers.asha import Asha
from slurmtune.store import frame
from slurmtune.store.memory import MemoryJournal
from slurmtune.testing.curves import PowerLawCurves, uniform_of

METRIC = "val_loss"
"""What the programs of `slurmtune.testing.curves` report."""
_HOUR = 3600.0


class HashSampler:
    """Configs for `curves.branin_floor`, from the seed and the number of the trial."""

    name = "hash"

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        """Return a point of Branin's domain."""
        del history
        return {
            "x1": 15.0 * uniform_of("x1", seed, trial) - 5.0,
            "x2": 15.0 * uniform_of("x2", seed, trial),
        }

    def origin(self, trial: int) -> str:
        """Return the name of the sampler."""
        del trial
        return self.name


class RigFiles(NoFiles):
    """Hands commands to the driver and its farewell to the slots."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self.waiting: list[Command] = []
        """Commands that the driver has not acknowledged."""

    def announce_end(self, *, finished: bool) -> None:
        """Tell the simulated slots."""
        self._cluster.announce_end(finished=finished)

    def announce_settled(self, attempts: Sequence[str]) -> None:
        """Tell the programs that wait."""
        self._cluster.announce_settled(attempts)

    def commands(self) -> Sequence[Command]:
        """Return what was not acknowledged yet."""
        return tuple(self.waiting)

    def acknowledge(self, command: Command) -> None:
        """Forget a command."""
        self.waiting.remove(command)


class BoundedClock(VirtualClock):
    """A virtual clock that ends a study which never would."""

    def __init__(self, *, most_seconds: float, least_wait_seconds: float = 0.0) -> None:
        super().__init__(start=0.0, least_wait_seconds=least_wait_seconds)
        self._most_seconds = most_seconds

    def wait(self, seconds: float) -> None:
        """Jump as `VirtualClock` does.

        Raises:
            AssertionError: more time has passed than the study may take.
        """
        super().wait(seconds)
        if self.now() > self._most_seconds:
            raise AssertionError(f"the study goes on after {self.now() / _HOUR:.0f} virtual hours")


class StudyRig:
    """A study, its cluster, its journal, and its newest driver.

    Args:
        trials: configs to start in all.
        slots: machines, and attempts that may be in flight.
        levels: resource of each rung.
        factor: reduction factor of ASHA.
        scheduler: makes a fresh scheduler; None: ASHA on these levels.
        program: what trains; None: power-law curves on Branin's function, a minute a unit.
        model: of the cluster; ``slots`` is taken from here.
        limits: fields of `Limits` besides ``trials``.
        sampler: chooses configs.
        seed: of the study.
        guard: whether rungs that are not worth their cost are left out.
        cluster_seed: of what the cluster draws.
        most_hours: virtual time after which a study counts as hanging.
        woken: whether a driver that waits is woken by what it can see; a real one is not.
        loop: fields of `LoopSettings` that differ from the rig's.
    """

    def __init__(
        self,
        *,
        trials: int,
        slots: int,
        levels: Sequence[float] = (1, 3, 9, 27),
        factor: int = 3,
        scheduler: Callable[[], Scheduler] | None = None,
        program: Program | None = None,
        model: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        sampler: Sampler | None = None,
        seed: int = 0,
        guard: bool = False,
        cluster_seed: int = 1,
        most_hours: float = 2000.0,
        woken: bool = True,
        **loop: Any,
    ) -> None:
        self._make_scheduler = scheduler or (lambda: Asha(levels, factor))
        self._settings = StudySettings(seed=seed, objective=Objective(METRIC), guard=guard)
        self.limits = Limits(**{"trials": trials, "gpus": {"c0": 1}, **(limits or {})})
        self.sampler: Sampler = sampler or HashSampler()
        self.clock = BoundedClock(
            most_seconds=most_hours * _HOUR, least_wait_seconds=0.0 if woken else _HOUR
        )
        self.cluster = SimulatedCluster(
            self.clock,
            program=program or PowerLawCurves(),
            model=ClusterModel(**{"slots": slots, **(model or {})}),
            seed=cluster_seed,
        )
        self.journal = MemoryJournal()
        self.files = RigFiles(self.cluster)
        self.study = self.empty_study()
        self.epoch = 0
        self._loop: dict[str, Any] = {
            "name": "rig",
            "directory": "rig",
            "resource": "epoch",
            "parallel": slots,
            "requests": {"c0": ResourceRequest(name="c0", gpus=1)},
            "reuse": self.cluster.model.reuse,
            "shortest_tick_seconds": 1.0,
            "longest_tick_seconds": 30.0,
            "adaptive": False,
            **loop,
        }

    def empty_study(self) -> Study:
        """Return the study before its first event."""
        return Study(self._settings, self._make_scheduler())

    def new_driver(self, kind: type[Driver] = Driver, **ports: Any) -> Driver:
        """Return a driver that goes on from the journal; ``ports`` replace those of the rig."""
        self.epoch += 1
        epoch = self.epoch
        self.study = self.empty_study()
        replay(self.study, self.stored_records())
        self.cluster.restart_driver()
        given: dict[str, Any] = {
            "journal": self.journal,
            "backend": self.cluster.backend,
            "exchange": self.cluster.exchange,
            "sampler": self.sampler,
            "files": self.files,
            **ports,
        }
        return kind(
            study=self.study,
            clock=self.clock,
            settings=LoopSettings(**self._loop),
            make_token=lambda number: f"st-rig-{epoch}-{number}",
            **given,
        )

    def launch(self, driver: Driver) -> str:
        """Open the study with this driver and run it; return why it ended."""
        driver.open(self.limits, "rig")
        return driver.run()

    def run(self) -> str:
        """Launch a new driver."""
        return self.launch(self.new_driver())

    def frames(self) -> bytes:
        """Return the journal as the bytes that a file would hold."""
        return b"".join(frame.encode(record) for record in self.journal.records)

    def stored_records(self) -> list[dict[str, Any]]:
        """Return the records as they come back from a file."""
        return frame.parse(self.frames()).records

    def recorded(self, kind: str) -> list[dict[str, Any]]:
        """Return the recorded events of a type, such as ``ConfigProposed``."""
        events = (record["e"] for record in self.stored_records())
        return [event for event in events if event["t"] == kind]


def snapshot(value: Any) -> Any:
    """Return all that ``value`` holds as nested tuples of text, for comparing two states.

    Follows dataclasses, containers and the attributes of objects; leaves functions out. Order of
    insertion counts, and NaN equals NaN. An object that is met again is told by its number.
    """
    return _snapshot(value, {})


def _snapshot(value: Any, met: dict[int, tuple[int, Any]]) -> Any:
    if value is None or isinstance(value, str | int | float | Enum):
        return repr(value)
    if isinstance(value, Mapping):
        return _pairs(value.items(), met)
    if isinstance(value, set | frozenset):
        return tuple(sorted(map(repr, value)))
    if isinstance(value, Iterable):
        return tuple(_snapshot(item, met) for item in value)
    if id(value) in met:
        return ("object", met[id(value)][0])
    met[id(value)] = (len(met), value)  # kept, so that no other object gets its id
    if is_dataclass(value):
        return _pairs(((field.name, getattr(value, field.name)) for field in fields(value)), met)
    return _pairs(getattr(value, "__dict__", {}).items(), met)


def _pairs(
    items: Iterable[tuple[Any, Any]], met: dict[int, tuple[int, Any]]
) -> tuple[tuple[str, Any], ...]:
    return tuple((repr(key), _snapshot(item, met)) for key, item in items if not callable(item))

"""A study that can be launched, killed anywhere, and launched again, a hundred times a second.

Everything is real but time, Slurm and processes: `slurmtune.spec.launching`, driver, journal,
exchange, slots and sessions work on the files of a folder. What must hold at the end is
`CrashStudy.faults`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self
from unittest import mock

from slurmtune.core.events import AttemptReported, AttemptStarted, ConfigProposed, Event
from slurmtune.core.ids import parse_attempt_id, trial_id
from slurmtune.core.study import Study
from slurmtune.core.trial import TrialState
from slurmtune.errors import SlurmtuneError
from slurmtune.spec import launching
from slurmtune.spec.launching import LaunchOptions, Session
from slurmtune.spec.load import LoadedSpec, load_spec
from slurmtune.store import checkpoint, control, lease, lib
from slurmtune.store.codec import decode_event
from slurmtune.store.journal import history
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.crash.cluster import (
    METRIC,
    Clock,
    Cluster,
    LocalSlots,
    NoSignals,
    SteppedProgram,
    loss,
    state,
)
from slurmtune.testing.crash.seam import DRIVER, Death, Fault, Operation, Seam
from slurmtune.worker import __main__ as worker
from slurmtune.worker import attempt as worker_attempt
from slurmtune.worker import slot as worker_slot

SPEC = f"""
[study]
name = "crash"
seed = {{seed}}
[run]
command = ["train"]
args = "none"
[objective]
metric = "{METRIC}"
goal = "minimize"
[space]
q = {{{{ uniform = [0.0, 1.0] }}}}
[fidelity]
resource = "epoch"
min = 1
max = 4
eta = 4
[search]
scheduler = "asha"
sampler = "random"
trials = 4
parallel = 3
[retry]
crash = 5
node_fail = 5
"""
"""Four trials, the best of which is trained on: by the last result, so the order plays no part."""
IN_PLACE = 3
"""Seed of a study whose best trial goes on in the process that finished the rung below."""
_SLOTS = 3
_MOST_SECONDS = 600.0


@contextlib.contextmanager
def scratch_folder() -> Iterator[str]:
    """Give a folder for studies: where there is no disk, if possible, since that is fastest.

    All of them must lie on one file system, so that the names in a folder come in one order.
    """
    shm = "/dev/shm"  # noqa: S108 - the name of the folder in it cannot be guessed
    base = shm if os.access(shm, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="crash", dir=base) as folder:
        yield folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What a study came to, for comparing a disturbed one with one that nobody disturbed."""

    reason: str
    configs: Mapping[int, Mapping[str, Any]]
    trials: Mapping[int, tuple[TrialState, Mapping[int, float | None]]]
    reports: frozenset[tuple[str, float, float]]
    """Attempt, resource and value of each report."""


class CrashStudy:
    """One study in a folder, and everything that can happen to it."""

    def __init__(
        self,
        folder: str,
        *,
        seed: int = 0,
        commands: Sequence[tuple[float, Mapping[str, Any]]] = (),
        away_seconds: float = 0.0,
    ) -> None:
        self.folder = folder
        self.seed = seed
        self.layout = StudyLayout(os.path.join(folder, "runs", "crash"))
        self.clock = Clock(_MOST_SECONDS)
        self.seam = Seam(folder)
        self.cluster = Cluster(self.layout.root, self.seam, self.clock)
        self.cluster.waiting_index = _SLOTS - 1
        self.reason = ""
        self.lives = 0
        self.errors: list[Exception] = []
        """What drivers ended with that met a fault and said so."""
        self._begins: list[int] = []
        self.clock.alarms += [(after, partial(self._send, command)) for after, command in commands]
        self._away_seconds = away_seconds
        self._context = contextlib.ExitStack()
        self._loaded = _load(folder, seed)

    def __enter__(self) -> Self:
        self._context.enter_context(_in_place(self))
        self._context.enter_context(self.seam)
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.close()
        self._context.close()

    # ------------------------------------------------------------------ lives

    def live(self, *faults: Fault | None) -> None:
        """Launch drivers, one after the other; each meets one of the faults, the last none."""
        for fault in (*faults, None):
            self.seam.arm(fault)
            if self._is_done(fault):
                return

    def is_done_despite(self) -> bool:
        """Launch a driver that may end with an error; tell whether it came to the end."""
        self.seam.arm(None)
        return self._is_done(None, may_fail=True)

    def live_with(self, fault: Fault | None, victims: Callable[[str], bool]) -> None:
        """Launch a driver while one of the victims meets the fault."""
        self.seam.arm(fault, victims)
        assert self._is_done(None)

    def _is_done(self, fault: Fault | None, *, may_fail: bool = False) -> bool:
        """Launch a driver; tell whether it came to the end of the study."""
        self.lives += 1
        self._begins.append(len(self.seam.operations))
        try:
            self.reason = self._drive()
        except Death:
            pass
        except (OSError, SlurmtuneError) as error:
            if fault is None and not may_fail:
                raise
            self.errors.append(error)
        else:
            return True
        finally:
            self.seam.bury(DRIVER)
        for _ in range(int(self._away_seconds)):
            self.clock.wait(1.0)
        return False

    def _drive(self) -> str:
        session: Session | None = None
        try:
            session = launching.prepare(self._loaded, LaunchOptions(local_slots=_SLOTS))
            session.open()
            return session.driver.run()
        finally:
            if session is not None:
                session.close()

    def _send(self, command: Mapping[str, Any]) -> None:
        """Let the user give a command."""
        self.seam.actor = "user"
        control.send(self.layout, command)
        self.seam.actor = DRIVER

    def operations(
        self, of: Callable[[str], bool] = DRIVER.__eq__, life: int = 0
    ) -> list[Operation]:
        """Return what was asked for by these actors since this life of a driver began."""
        begins = [*self._begins, len(self.seam.operations)]
        found = self.seam.operations[begins[life] : begins[life + 1]]
        return [operation for operation in found if of(operation.actor)]

    # ------------------------------------------------------------------ what came of it

    @cached_property
    def events(self) -> list[Event]:
        """What the journal tells, once the study is over."""
        return [decode_event(record["e"]) for record in history(self.layout)]

    @cached_property
    def study(self) -> Study:
        """What the journal comes to, once the study is over."""
        return launching.read_study(self.layout)

    def outcomes(self) -> Outcomes:
        """Return what the journal tells."""
        study = self.study
        reports = frozenset(
            (event.attempt, float(event.resource), event.metrics[METRIC])
            for event in self.events
            if isinstance(event, AttemptReported)
        )
        return Outcomes(
            reason=self.reason,
            configs={trial.number: dict(trial.config) for trial in study.trials},
            trials={trial.number: (trial.state, dict(trial.values)) for trial in study.trials},
            reports=reports,
        )

    def faults(self, reference: Outcomes) -> list[str]:
        """Return everything that is wrong after any accident, in words."""
        return [
            *self._wrong_ends(reference),
            *self._wrong_records(),
            *self._wrong_runs(),
            *self._wrong_files(),
        ]

    def lost_work(self, reference: Outcomes) -> list[str]:
        """Return what is missing when only drivers met accidents: slots lose nothing by that."""
        started = {start.attempt for start in self.cluster.starts}
        claimed = {name for name in os.listdir(self.layout.claims) if not name.startswith(".")}
        found = [f"{name} was claimed, and never ran" for name in sorted(claimed - started)]
        reports = self.outcomes().reports
        if reports != reference.reports:
            found.append(f"other reports: {sorted(reports ^ reference.reports)}")
        return found

    def _wrong_ends(self, reference: Outcomes) -> Iterator[str]:
        found = self.outcomes()
        if found.reason != reference.reason:
            yield f"ended as {found.reason!r}"
        if found.configs != reference.configs:
            yield f"other configs: {found.configs}"
        if found.trials != reference.trials:
            yield f"other results: {found.trials}"

    def _wrong_records(self) -> Iterator[str]:
        configs: dict[int, float] = {}
        seen: Counter[tuple[object, ...]] = Counter()
        for event in self.events:
            if isinstance(event, ConfigProposed):
                configs[event.trial] = float(event.config["q"])
                seen["proposed", event.trial] += 1
            if isinstance(event, AttemptReported):
                q = configs[parse_attempt_id(event.attempt).trial]
                if event.metrics != {METRIC: loss(q, float(event.resource))}:
                    yield f"a report that nobody made: {event}"
            if isinstance(event, AttemptReported | AttemptStarted):
                seen[event.attempt, event.seq] += 1
        yield from (f"{key} was recorded {n} times" for key, n in seen.items() if n > 1)

    def _wrong_runs(self) -> Iterator[str]:
        runs = Counter(start.attempt for start in self.cluster.starts)
        yield from (f"{name} ran {count} times" for name, count in runs.items() if count > 1)
        study = self.study
        decided = {attempt.id for trial in study.trials for attempt in trial.attempts}
        yield from (f"{name} was never decided" for name in runs if name not in decided)
        for start in self.cluster.starts:
            trial = trial_id(parse_attempt_id(start.attempt).trial)
            wanted = state(trial, start.start) if start.start else ""
            if start.loaded != wanted:
                yield f"{start.attempt} loaded {start.loaded!r}, not {wanted!r}"
        for token in self.cluster.submissions:
            if token not in study.fleet.arrays:
                yield f"the array {token} is not in the journal"

    def _wrong_files(self) -> Iterator[str]:
        layout = self.layout
        for parent, folders, files in os.walk(layout.root):
            for name in (*folders, *files):
                if ("tmp" in name or "trash" in name) and not name.startswith("."):
                    yield f"{os.path.join(parent, name)} was left behind, in sight"
        for trial in os.listdir(layout.trials):
            folder = os.path.join(layout.trials, trial, "checkpoints")
            for name in os.listdir(folder) if os.path.isdir(folder) else ():
                if not name.startswith(".") and not checkpoint.verify(os.path.join(folder, name)):
                    yield f"the checkpoint {name} is damaged"
        open_files = [path for path in self.seam.open_files if not path.endswith(".log")]
        if open_files:
            yield f"still open: {open_files}"


def _load(folder: str, seed: int) -> LoadedSpec:
    path = os.path.join(folder, "spec.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(SPEC.format(seed=seed))
    return load_spec(path, (), launching=True)


_LIBRARY = b"PK: what the programs import; here they are in this process"


@contextlib.contextmanager
def _in_place(study: CrashStudy) -> Iterator[None]:
    """Put clock, backend and programs of the study in place of the real ones."""
    NoSignals.cluster = SteppedProgram.cluster = study.cluster
    patches: list[tuple[Any, str, Any]] = [
        (launching, "SystemClock", lambda: study.clock),
        (launching, "_backend", lambda *_, **__: LocalSlots(study.cluster)),
        (lib, "build_library", lambda: _LIBRARY),
        # Each launch is a new process, and those before it are dead.
        (lease, "_process_start", lambda _: study.lives),
        (worker, "SignalInbox", NoSignals),
        (worker_attempt, "Program", SteppedProgram),
        (worker_attempt, "oom_kills", lambda: 0),
        (worker_slot, "_say", lambda _: None),
    ]
    patches += [
        (module, "time", study.clock)
        for name, module in sys.modules.items()
        if name.startswith(("slurmtune.store.", "slurmtune.worker."))
        and getattr(module, "time", None) is sys.modules["time"]
    ]
    with contextlib.ExitStack() as stack:
        for target, attribute, replacement in patches:
            stack.enter_context(mock.patch.object(target, attribute, replacement))
        # Slots and programs complain of what they meet.
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(mock.patch.dict(os.environ, {"SLURMTUNE_DIR": study.layout.root}))
        yield

"""From a checked spec to a driver that is ready to run: directory, backend, journal."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurmtune import __version__
from slurmtune.core.events import Event, Limits
from slurmtune.core.study import Study
from slurmtune.driver.clock import SystemClock
from slurmtune.driver.files import DirectoryFiles
from slurmtune.driver.loop import Driver, LoopSettings
from slurmtune.driver.opening import open_study
from slurmtune.driver.ports import NoObserver, Observer
from slurmtune.driver.recovery import replay
from slurmtune.errors import (
    NewerFormatError,
    SpecError,
    StudyNotFoundError,
    StudyStateError,
)
from slurmtune.schedulers.pbt import exploited_count
from slurmtune.slurm.token import make_token
from slurmtune.spec import build
from slurmtune.spec.custom import SchedulerCode, read_code, stored_code
from slurmtune.spec.difference import Change, code_difference, difference, effective
from slurmtune.spec.load import LoadedSpec
from slurmtune.spec.model import Spec
from slurmtune.spec.plan import build_plan, expected_units
from slurmtune.spec.proposing import drawn_by
from slurmtune.spec.rehearsal import rehearse
from slurmtune.spec.rungs import kind_of, levels_of, population
from slurmtune.store import fs, sealed
from slurmtune.store.exchange import FileExchange
from slurmtune.store.journal import Journal, history
from slurmtune.store.layout import StudyLayout
from slurmtune.store.lib import publish_library

if TYPE_CHECKING:
    from slurmtune.backends.base import Backend

FORMAT = 1
"""Version of ``study.json``."""
DEFAULT_POLL_SECONDS = 30.0
_SUBMIT_INTERVAL_SECONDS = 10.0
_LOCAL_GRACE_SECONDS = 2.0
_SLURM_GRACE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """What the command line adds to the spec."""

    local_slots: int | None = None
    """Run on this machine with so many slots; None: on Slurm."""
    gpus: tuple[str, ...] = ()
    """GPUs of this machine for local slots, as CUDA_VISIBLE_DEVICES names them."""
    takeover: bool = False
    """Replace a driver that seems alive."""
    poll_seconds: float = DEFAULT_POLL_SECONDS
    """Least time between two questions to Slurm."""


@dataclass(slots=True, kw_only=True)
class Session:
    """A study that this process drives."""

    driver: Driver
    layout: StudyLayout
    clock: SystemClock
    journal: Journal
    limits: Limits
    sha256: str
    changes: Sequence[Change]
    """What the spec says otherwise than at the last launch."""
    is_new: bool

    def open(self) -> None:
        """Start or continue the study; no slot is submitted before `Driver.run`."""
        self.driver.open(self.limits, self.sha256)

    def close(self) -> None:
        """Let go of journal and backend; slots live on."""
        self.driver.backend.close()
        self.journal.close()


def study_directory(loaded: LoadedSpec) -> str:
    """Return where the study of this spec lives.

    Raises:
        SpecError: Slurm or a shell would read its path otherwise than it stands.
    """
    study = loaded.spec.study
    path = os.path.abspath(os.path.join(loaded.base_dir, study.dir, study.name))
    if "%" in path or not path.isprintable():
        raise SpecError(
            f"the study would live in {path!r}: Slurm replaces % in paths, and control characters "
            "do not belong there; move the spec, or set study.dir"
        )
    return path


def expected_trials(spec: Spec) -> int | None:
    """Return how many configs pbt starts if no member fails; None: another scheduler."""
    if kind_of(spec) != "pbt":
        return None
    members, steps = population(spec), len(levels_of(spec)) - 1
    return members + steps * exploited_count(members, spec.search.pbt.quantile)


def prepare(
    loaded: LoadedSpec, options: LaunchOptions, observer: Observer | None = None
) -> Session:
    """Make or find the study's directory, become its driver, and replay its journal.

    Raises:
        SpecError: the spec cannot run, or changes what an existing study is about.
        DriverBusyError: another driver is alive.
        StudyStateError: the directory cannot be used, or slots of another backend live.
        OSError: it cannot be written.
    """
    spec = loaded.spec
    layout = StudyLayout(study_directory(loaded))
    clock = SystemClock()
    local = options.local_slots is not None
    trials = build.count_trials(spec)
    classes, requests = build.build_requests(
        spec, local=local, gpus=not local or bool(options.gpus)
    )
    space = build.build_space(spec)
    code = read_code(spec.search.scheduler, loaded.base_dir)
    core = build.core_settings(spec, trials, code, space)
    # A scheduler or sampler that cannot be is told before anything is written.
    build.build_sampler(spec, space, trials, build.build_study(core, code).scheduler)
    if code is not None and read_identity(layout) is None:
        rehearse(code, core)
    identity, changes, is_new = _identify(layout, loaded, core, code)
    study = _study_of(layout, identity)
    sampler = build.build_sampler(spec, space, trials, study.scheduler)
    settled = () if is_new else _settle_elsewhere(layout, identity, spec.study.name, local=local)
    for name in requests:
        fs.make_dir(layout.offers(name))
    opened = open_study(layout, study, clock, takeover=options.takeover)
    if changes:
        _publish_identity(
            layout, {**identity, "spec": effective(loaded.spec), "sha256": loaded.sha256}
        )
        fs.publish_file(layout.spec, loaded.text.encode())
    parallel = _parallel(spec, options)
    if spec.study.group or any(change.path == "study.group" for change in changes):
        layout.show_to_group(spec.study.group)
    files = DirectoryFiles(
        layout,
        manifest_base=_manifest_base(loaded, layout, identity, study),
        mine=opened.lease,
        group=spec.study.group,
    )
    driver = Driver(
        study=study,
        journal=opened.journal,
        backend=_backend(loaded, layout, options, clock),
        exchange=FileExchange(layout, sorted(requests)),
        sampler=sampler,
        clock=clock,
        settings=LoopSettings(
            name=spec.study.name,
            directory=layout.root,
            resource="" if spec.fidelity is None else spec.fidelity.resource,
            parallel=parallel,
            requests=requests,
            reuse=spec.slurm.reuse,
            grace_seconds=_LOCAL_GRACE_SECONDS if local else _SLURM_GRACE_SECONDS,
            shortest_tick_seconds=0.1 if local else 0.25,
            longest_tick_seconds=0.5 if local else 5.0,
            wall_seconds=spec.stop.wall_time,
            expected_units=expected_units(build_plan(spec, trials)),
            expected_trials=expected_trials(spec),
            ahead=spec.slurm.ahead,
            drawn_by=drawn_by(),
        ),
        make_token=lambda number: make_token(
            str(identity["study_id"]), opened.journal.epoch, number
        ),
        files=files,
        observer=observer or NoObserver(),
        opened_time=opened.first_time or 0.0,
        settled=settled,
    )
    return Session(
        driver=driver,
        layout=layout,
        clock=clock,
        journal=opened.journal,
        limits=build.build_limits(spec, trials, classes, requests),
        sha256=loaded.sha256,
        changes=changes,
        is_new=is_new,
    )


def read_study(layout: StudyLayout) -> Study:
    """Return the study as its journal tells it, without becoming its driver.

    Raises:
        StudyNotFoundError: there is no study.
        StudyStateError: identity or journal cannot be read.
    """
    study, records = read_journal(layout)
    replay(study, records)
    return study


def read_journal(layout: StudyLayout) -> tuple[Study, list[dict[str, Any]]]:
    """Return the study before its first event, and the records of its journal.

    Raises:
        StudyNotFoundError: there is no study.
        StudyStateError: identity or journal cannot be read.
    """
    identity = read_identity(layout)
    if identity is None:
        raise StudyNotFoundError(f"{layout.root} is not the directory of a study")
    return _study_of(layout, identity), history(layout)


def _settle_elsewhere(
    layout: StudyLayout, identity: Mapping[str, Any], name: str, *, local: bool
) -> Sequence[Event]:
    """Return what became of slots of another backend; see `cluster.settle_elsewhere`."""
    from slurmtune.spec.cluster import settle_elsewhere

    study = _study_of(layout, identity)
    replay(study, history(layout))
    return settle_elsewhere(layout, study, name, local=local)


def _study_of(layout: StudyLayout, identity: Mapping[str, Any]) -> Study:
    """Return the empty study of this identity.

    Raises:
        StudyStateError: it tells of none.
    """
    try:
        return build.build_study(identity["core"], stored_code(layout, identity["core"]))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise StudyStateError(f"{layout.study} is damaged: it tells of no study") from error


def read_identity(layout: StudyLayout) -> dict[str, Any] | None:
    """Return ``study.json``, or None when there is no study.

    Raises:
        StudyStateError: it is damaged.
        NewerFormatError: a newer slurmtune wrote it.
    """
    try:
        identity = sealed.unseal(fs.read_file(layout.study))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StudyStateError(f"{layout.study} is damaged: {error}") from error
    version = identity.get("format", 0)
    if not isinstance(identity.get("study_id"), str) or not isinstance(version, int):
        raise StudyStateError(f"{layout.study} is damaged: it names no study")
    if version > FORMAT:
        raise NewerFormatError(f"{layout.root} was written by a newer slurmtune: please upgrade")
    return identity


def _identify(
    layout: StudyLayout,
    loaded: LoadedSpec,
    core: Mapping[str, Any],
    code: SchedulerCode | None,
) -> tuple[dict[str, Any], Sequence[Change], bool]:
    """Return identity, changes and whether the study is new; makes a new directory if it is."""
    is_there = os.path.lexists(layout.root)
    if is_there:
        fs.check_private(layout.root)
    identity = read_identity(layout) if is_there else None
    if identity is not None:
        changes = _changes(layout, identity, loaded.spec, core)
        _refuse_changes(loaded.spec, changes)
        return {**identity, "overrides": list(loaded.overrides)}, changes, False
    layout.create()
    fs.check_private(layout.root)
    _ignore_in_git(os.path.dirname(layout.root))
    publish_library(layout)
    identity = {
        "format": FORMAT,
        "study_id": uuid.uuid4().hex,
        "name": loaded.spec.study.name,
        "slurmtune": __version__,
        "sha256": loaded.sha256,
        "overrides": list(loaded.overrides),
        "core": dict(core),
        "spec": effective(loaded.spec),
    }
    fs.publish_file(layout.spec, loaded.text.encode())
    if code is not None:
        fs.publish_file(layout.scheduler, code.text)
    _publish_identity(layout, identity)
    return identity, (), True


def _changes(
    layout: StudyLayout, identity: Mapping[str, Any], spec: Spec, core: Mapping[str, Any]
) -> Sequence[Change]:
    try:
        found = difference(identity["spec"], effective(spec))
        return [*found, *code_difference(identity["core"], core)]
    except (AttributeError, LookupError, TypeError) as error:
        raise StudyStateError(f"{layout.study} is damaged: it holds no spec") from error


def _publish_identity(layout: StudyLayout, identity: Mapping[str, Any]) -> None:
    fs.publish_file(layout.study, sealed.seal(identity))


def _refuse_changes(spec: Spec, changes: Sequence[Change]) -> None:
    refused = [change for change in changes if not change.allowed]
    if refused:
        lines = "\n".join(f"  {c.path}: {c.old!r} -> {c.new!r}" for c in refused)
        raise SpecError(
            f"the study {spec.study.name} exists, and its spec may not change in\n{lines}\n"
            "use another study.name, or put the old values back"
        )


def _ignore_in_git(folder: str) -> None:
    """Keep studies out of the user's repository."""
    if ".gitignore" not in fs.list_dir(folder):
        fs.publish_file(os.path.join(folder, ".gitignore"), b"*\n", mode=0o644)


def _parallel(spec: Spec, options: LaunchOptions) -> int:
    if options.local_slots is None:
        return spec.search.parallel
    return min(spec.search.parallel, options.local_slots)


def _backend(
    loaded: LoadedSpec, layout: StudyLayout, options: LaunchOptions, clock: SystemClock
) -> Backend:
    spec = loaded.spec
    if options.local_slots is not None:
        from slurmtune.backends.local import LocalBackend

        return LocalBackend(
            layout, slots=options.local_slots, gpus=options.gpus, workdir=_workdir(loaded)
        )
    from slurmtune.backends.slurm import SlurmBackend

    return SlurmBackend(
        layout.root,
        layout,
        [sys.executable],
        clock=clock,
        signal=spec.slurm.signal,
        requeue=spec.slurm.requeue,
        workdir=_workdir(loaded),
        poll_seconds=options.poll_seconds,
        submit_interval_seconds=min(_SUBMIT_INTERVAL_SECONDS, options.poll_seconds),
    )


def _workdir(loaded: LoadedSpec) -> str:
    return os.path.abspath(os.path.join(loaded.base_dir, loaded.spec.run.workdir))


def _manifest_base(
    loaded: LoadedSpec, layout: StudyLayout, identity: Mapping[str, Any], study: Study
) -> dict[str, Any]:
    """Return what the manifests of all arrays of the study have in common."""
    spec = loaded.spec
    run = spec.run
    args: str | dict[str, str] = run.args
    if run.args not in {"gnu", "hydra", "json", "none"}:
        args = {"template": run.args}
    return {
        "study": spec.study.name,
        "study_id": identity["study_id"],
        "reuse": spec.slurm.reuse,
        "linger_seconds": spec.slurm.linger,
        "kill_wait_seconds": 30,
        "command": list(run.command) if isinstance(run.command, tuple) else run.command,
        "shell": False,
        "args": args,
        "function": run.function,
        "workdir": _workdir(loaded),
        "parse": dict(run.parse),
        "files": {
            target: os.path.abspath(os.path.join(loaded.base_dir, template))
            for target, template in run.files.items()
        },
        "vars": dict(spec.env.vars),
        "hyperparameters": list(spec.space),
        "objectives": [table.metric for table in spec.objective[:1]],
        "resource": "" if spec.fidelity is None else spec.fidelity.resource,
        "keep_checkpoints": 2,
        "top": study.scheduler.ladder(0)[-1],
        "resume": study.settings.resume and not study.scheduler.separate_rungs,
        "python": sys.executable,
        "lib": layout.library,
    }

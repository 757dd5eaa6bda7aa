"""The study that a command is about: finding it, and what can be said without replaying it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurmtune.analysis import record
from slurmtune.cli import clock, output, text
from slurmtune.core.ids import parse_attempt_id
from slurmtune.errors import StudyNotFoundError, StudyStateError
from slurmtune.store import fs, lease, sealed
from slurmtune.store.checkpoint import parse_checkpoint_name
from slurmtune.store.layout import StudyLayout

if TYPE_CHECKING:
    from slurmtune.analysis.wording import Wording
    from slurmtune.core.study import Study

Overview = Mapping[str, Any]
"""What ``status.json`` holds (`slurmtune.core.overview`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverState:
    """Whether a driver is alive, as far as this machine can tell."""

    alive: bool
    host: str
    pid: int
    beat: float
    """When it last said so, in seconds since 1970; 0 when it never did."""
    released: bool
    """Whether it ended on purpose."""


def find(argument: str | None) -> StudyLayout:
    """Return the study; says on stderr which one was chosen when the user named none.

    Raises:
        StudyNotFoundError: there is none.
    """
    found = record.find_study(argument, os.getcwd())
    if found.note:
        output.complain(f"note: {found.note}")
    return found.layout


def driver_state(layout: StudyLayout) -> DriverState:
    """Return the state of the last driver."""
    held = record.driver_of(layout)
    if held is None:
        return DriverState(alive=False, host="", pid=0, beat=0.0, released=False)
    if held.released:
        alive = False
    elif held.is_here:
        alive = held.is_alive_here
    else:
        alive = clock.now() - held.time < lease.PATIENCE_SECONDS
    return DriverState(
        alive=alive, host=held.host, pid=held.pid, beat=held.time, released=held.released
    )


def driver_state_at(directory: str) -> DriverState:
    """Return the state of the last driver of a study that may not exist."""
    return driver_state(StudyLayout(directory))


def overview_of(layout: StudyLayout) -> dict[str, Any]:
    """Return the overview with the driver as it is now; made anew when none can be read.

    Raises:
        StudyStateError: the journal is damaged as well.
    """
    try:
        found = record.read_overview(layout)
    except StudyStateError as error:
        output.warn(f"{error}; this is what the journal tells")
        found = None
    if found is None:
        found = _replayed_overview(layout)
    state = driver_state(layout)
    found["driver"] = {
        "alive": state.alive,
        "host": state.host,
        "pid": state.pid,
        "beat": state.beat or found["time"],
        "released": state.released,
    }
    found["dir"] = layout.root
    return found


def overview_json(overview: Overview) -> dict[str, Any]:
    """Return the overview with its times in ISO form."""
    driver = dict(overview["driver"])
    driver["beat"] = text.iso_utc(driver["beat"])
    return {
        **overview,
        "time": text.iso_utc(overview["time"]),
        "opened": text.iso_utc(overview["opened"]),
        "ended": text.iso_utc(overview.get("ended")),
        "driver": driver,
        "queue": [{**group, "start": text.iso_utc(group["start"])} for group in overview["queue"]],
    }


def read_study(layout: StudyLayout) -> Study:
    """Return the whole study, replayed from its journal."""
    from slurmtune.spec import launching

    # The overview first: a driver at work writes its journal before it.
    try:
        told = (record.read_overview(layout) or {}).get("trials", {}).get("started", 0)
    except StudyStateError:
        told = 0
    study = launching.read_study(layout)
    if told > len(study.trials):
        output.warn(
            f"{layout.journal} tells of {text.plural(len(study.trials), 'trial')}, and there were "
            f"{told}: a part of it is missing"
        )
    return study


def identity(layout: StudyLayout) -> dict[str, Any]:
    """Return ``study.json``.

    Raises:
        StudyNotFoundError: there is none that can be read.
    """
    try:
        found = sealed.unseal(fs.read_file(layout.study))
    except (OSError, ValueError) as error:
        raise StudyNotFoundError(f"{layout.study} cannot be read: {error}") from error
    spec = found.get("spec")
    found["spec"] = spec = spec if isinstance(spec, dict) else {}
    for table in ("run", "fidelity"):
        if not isinstance(spec.get(table), dict):
            spec[table] = {}
    for key in ("command", "args", "function"):
        if not _is_words(spec["run"].get(key)):
            spec["run"].pop(key, None)
    return found


def _is_words(value: Any) -> bool:
    words = value if isinstance(value, list) and value else [value]
    return all(isinstance(word, str) for word in words)


def why_code_is_not_run(layout: StudyLayout) -> str:
    """Return why the study's own scheduler is not run here; empty when it is, or there is none."""
    from slurmtune.spec import launching

    try:
        core = (launching.read_identity(layout) or {}).get("core")
        owner = os.stat(layout.root).st_uid
    except (StudyStateError, OSError):
        return ""
    if not isinstance(core, dict) or core.get("code") is None:
        return ""
    if owner != os.geteuid():
        return (
            "that runs the study's own scheduler, the code of another user, which is not done; "
            "its owner can"
        )
    try:
        fs.check_private(layout.root)
    except StudyStateError as error:
        return f"that runs the study's own scheduler, which is not done: {error}"
    except OSError:
        pass
    return ""


def command_to_continue(layout: StudyLayout, *, is_local: bool = False) -> str:
    """Return the command that continues the study, with the spec that it was launched with."""
    try:
        overrides = identity(layout).get("overrides")
    except StudyNotFoundError:
        overrides = None
    given = overrides if isinstance(overrides, list) and _is_words(overrides) else []
    return launch_command(_spec_of(layout), given, "--local" if is_local else "")


def launch_command(path: str, overrides: Sequence[str], local: str = "") -> str:
    """Return the command that launches this spec with these overrides, quoted for a shell."""
    given = [f"-s {shlex.quote(text.printable(one))}" for one in overrides]
    return " ".join(["slurmtune launch", path, *given, *filter(None, [local])])


def _spec_of(layout: StudyLayout) -> str:
    """Return the path of the user's spec: the one beside ``runs`` that equals the study's copy."""
    folder = os.path.dirname(os.path.dirname(layout.root))
    try:
        wanted = fs.read_file(layout.spec)
        for entry in fs.list_dir(folder):
            path = os.path.join(folder, entry)
            if entry.endswith(".toml") and fs.read_file(path) == wanted:
                return text.short_path(path)
    except OSError:
        pass
    path = os.path.join(folder, "spec.toml")
    return text.short_path(path) if os.path.exists(path) else "SPEC"


def resource_word(layout: StudyLayout) -> str:
    """Return the name of the resource, such as ``epoch``; empty when there is none."""
    return str((identity(layout)["spec"].get("fidelity") or {}).get("resource", ""))


def checkpoint_path(layout: StudyLayout, checkpoint: str) -> str:
    """Return the folder of a checkpoint; that of an heir may be another trial's."""
    _, writer = parse_checkpoint_name(checkpoint)
    return layout.checkpoint(parse_attempt_id(writer).trial, checkpoint)


def bracket_name(layout: StudyLayout, bracket: int) -> str:
    """Return what a bracket of this study is called; empty where all trials share one."""
    from slurmtune.spec.rungs import bracket_name as name_of

    return name_of(str(identity(layout)["core"]["scheduler"]), bracket)


def wording(layout: StudyLayout, whole: Study) -> Wording:
    """Return how the decisions of the study are told."""
    from slurmtune.analysis.wording import Wording

    word = resource_word(layout)
    return Wording(whole.settings.objective, word, text.many(word))


def name(layout: StudyLayout) -> str:
    """Return the name of the study."""
    return os.path.basename(layout.root)


def must_exist(study: Study, number: int) -> None:
    """Raise when there is no such trial.

    Raises:
        StudyNotFoundError: there is none.
    """
    if number >= len(study.trials):
        raise StudyNotFoundError(
            f"there is no trial {number}: the study has "
            f"{text.plural(len(study.trials), 'trial')}, from 0 on"
        )


def is_watched() -> bool:
    """Tell whether somebody sits at a terminal."""
    return output.is_terminal(sys.stdout)


def _replayed_overview(layout: StudyLayout) -> dict[str, Any]:
    from slurmtune.core.overview import Surroundings, overview

    data = identity(layout)
    spec = data.get("spec", {})
    fidelity = spec.get("fidelity") or {}
    now = clock.now()
    return overview(
        read_study(layout),
        Surroundings(
            name=name(layout),
            directory=layout.root,
            backend="",
            resource=str(fidelity.get("resource", "")),
            now=now,
            opened=os.stat(layout.study).st_mtime,
        ),
    )

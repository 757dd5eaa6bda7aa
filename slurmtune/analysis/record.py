"""Finding and reading a study's directory; nothing here writes, except a request to stop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slurmtune.analysis import overview_check
from slurmtune.errors import StudyNotFoundError, StudyStateError
from slurmtune.store import control, fs, lease, sealed
from slurmtune.store.layout import StudyLayout

RUNS = "runs"
"""Where studies live below the current folder unless the spec says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A study that was looked for."""

    layout: StudyLayout
    note: str
    """How it was chosen when the user did not name it; empty otherwise."""


def find_study(argument: str | None, folder: str) -> Found:
    """Return the study that ``argument`` names, seen from ``folder``.

    It may be a study's directory, a spec file, or the name of a study below ``runs/``. None takes
    the only study there, or the newest.

    Raises:
        StudyNotFoundError: there is none; says where was looked.
    """
    if argument is None:
        return _newest(os.path.join(folder, RUNS))
    path = os.path.join(folder, argument)
    if _is_study(path):
        return Found(layout=StudyLayout(os.path.abspath(path)), note="")
    if argument.endswith(".toml"):
        return Found(layout=StudyLayout(_directory_of_spec(path)), note="")
    below = os.path.join(folder, RUNS, argument)
    if os.sep not in argument and _is_study(below):
        return Found(layout=StudyLayout(os.path.abspath(below)), note="")
    raise StudyNotFoundError(
        f"no study {argument!r}: neither {path} nor {below} is a study's directory"
    )


def list_studies(folder: str) -> list[StudyLayout]:
    """Return all studies below ``folder``/runs, by name."""
    runs = os.path.join(folder, RUNS)
    try:
        names = fs.list_dir(runs)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [
        StudyLayout(os.path.abspath(os.path.join(runs, name)))
        for name in names
        if _is_study(os.path.join(runs, name))
    ]


def read_overview(layout: StudyLayout) -> dict[str, Any] | None:
    """Return the overview that the driver published last, or None when there is none yet.

    Raises:
        StudyStateError: it is damaged.
    """
    try:
        overview = sealed.unseal(fs.read_file(layout.status))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StudyStateError(f"{layout.status} is damaged: {error}") from error
    wrong = overview_check.first_fault(overview)
    if wrong:
        raise StudyStateError(f"{layout.status} is damaged: {wrong} makes no sense")
    return overview


def driver_of(layout: StudyLayout) -> lease.Lease | None:
    """Return the lease of the last driver, alive or not."""
    return lease.read(layout)


def request_stop(layout: StudyLayout, trial: int | None) -> None:
    """Ask the driver of the study to stop a trial, or all of it."""
    command: Mapping[str, Any] = {"command": "stop", "trial": trial}
    control.send(layout, command)


def _newest(runs: str) -> Found:
    studies = list_studies(os.path.dirname(runs))
    if not studies:
        raise StudyNotFoundError(f"no study below {runs}; name a spec file or a study's directory")
    if len(studies) == 1:
        return Found(layout=studies[0], note="")
    beats = [(getattr(lease.read(layout), "time", 0.0), layout.root) for layout in studies]
    _, root = max(beats)
    return Found(
        layout=StudyLayout(root),
        note=f"{os.path.basename(root)}, the newest of {len(studies)} studies in {runs}",
    )


def _is_study(path: str) -> bool:
    try:
        return "study.json" in fs.list_dir(path)
    except OSError:
        return False


def _directory_of_spec(path: str) -> str:
    """Return the study's directory of a spec file, read without checking the rest of the spec.

    Raises:
        StudyNotFoundError: no such file, or its study was never launched.
    """
    import tomllib

    try:
        table = tomllib.loads(fs.read_file(path).decode("utf-8")).get("study", {})
        name, runs = str(table["name"]), str(table.get("dir", RUNS))
    except FileNotFoundError:
        raise StudyNotFoundError(f"no file {path}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyNotFoundError(f"{path} names no study ({error})") from error
    directory = os.path.abspath(os.path.join(os.path.dirname(path), runs, name))
    if not _is_study(directory):
        raise StudyNotFoundError(
            f"the study {name} was not launched yet: {directory} is missing. "
            f"Start it with  slurmtune launch {path}"
        )
    return directory

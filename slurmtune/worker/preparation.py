"""What a program is given for one attempt: its files, its arguments, its variables.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, NamedTuple

from slurmtune.core import ids
from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout
from slurmtune.worker import command, environment
from slurmtune.worker.held import linger_seconds, may_stay
from slurmtune.worker.metrics import Number
from slurmtune.worker.task import Task

# A program hears from its slot within this time after its patience should have ended; it leaves by
# itself if the slot is gone.
_LATE_ANSWER_SECONDS = 60.0
NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags for a file that only this attempt has."""


class Preparation(NamedTuple):
    """All that it is made from."""

    layout: StudyLayout
    manifest: Mapping[str, Any]
    task: Task
    start: Number
    """Resource that the training starts from."""
    checkpoint_folder: str
    """Folder to load; empty on a fresh start."""
    save_folder: str
    """Folder to write a checkpoint to."""

    @property
    def files_folder(self) -> str:
        """Folder of the files made from ``[run] files``."""
        return os.path.join(self.layout.attempt(self.task.attempt), "files")

    @property
    def context(self) -> Dict[str, str]:
        """The values of the command's placeholders that are no hyperparameters."""
        task = self.task
        return {
            "start": environment.format_number(self.start),
            "end": environment.format_number(task.end),
            "resource": self.manifest.get("resource") or "",
            "config": self.layout.config(task.attempt),
            "trial": ids.trial_id(task.trial),
            "rung": str(task.rung),
            "seed": str(task.seed),
            "checkpoint": self.checkpoint_folder,
            "save": self.save_folder,
        }

    def write_files(self) -> None:
        """Write what the program reads.

        Raises:
            ValueError: one would lie outside of the attempt's folder.
            OSError: it could not be done.
        """
        task, layout, context = self.task, self.layout, self.context
        _write(context["config"], environment.config_json(task.config))
        _write(layout.params(task.attempt), environment.shell_assignments(task.config))
        # Made here, so that no cache can remember that it was not there.
        _write(layout.metrics(task.attempt), b"")
        values = {**context, **{k: command.format_value(v) for k, v in task.config.items()}}
        for name, template in (self.manifest.get("files") or {}).items():
            text = fs.read_file(template).decode("utf-8")
            target = _inside(self.files_folder, name)
            fs.make_dir(os.path.dirname(target))
            _write(target, command.substitute(text, values).encode("utf-8"))

    def argv(self) -> List[str]:
        """Return the arguments of the program.

        Raises:
            SpecError: they cannot be made.
        """
        manifest, config = self.manifest, self.task.config
        if manifest.get("function"):
            return [manifest["python"], "-m", "slurmtune.worker.call", manifest["function"]]
        return command.build_argv(
            manifest["command"],
            shell=bool(manifest.get("shell")),
            args=manifest.get("args") or "none",
            config=config,
            context=self.context,
            absent=[name for name in manifest.get("hyperparameters") or () if name not in config],
        )

    def variables(self, bell: str) -> environment.Variables:
        """Return the variables; ``bell`` is what the program knows its bell by."""
        task, layout, manifest, context = self.task, self.layout, self.manifest, self.context
        stays = may_stay(manifest, task)
        patience_seconds = linger_seconds(manifest) + _LATE_ANSWER_SECONDS
        return environment.Variables(
            study=str(manifest.get("study", "")),
            dir=layout.root,
            trial=context["trial"],
            trial_dir=layout.trial(task.trial),
            attempt=task.attempt,
            rung=context["rung"],
            start=context["start"],
            end=context["end"],
            resource=context["resource"],
            seed=context["seed"],
            config=context["config"],
            sh=layout.params(task.attempt),
            metrics=layout.metrics(task.attempt),
            checkpoint=self.checkpoint_folder,
            save=self.save_folder,
            files=self.files_folder if manifest.get("files") else "",
            objectives=environment.join_names(list(manifest.get("objectives") or [])),
            keep_checkpoints=str(manifest.get("keep_checkpoints") or 2),
            more=layout.more(task.attempt) if stays else "",
            more_seconds=f"{patience_seconds:.0f}" if stays else "",
            bell=bell if stays else "",
        )


def _inside(folder: str, name: str) -> str:
    """Return the path of ``name`` below ``folder``.

    Raises:
        ValueError: it would lie elsewhere.
    """
    path = os.path.normpath(os.path.join(folder, name))
    if not path.startswith(folder + os.sep):
        raise ValueError(f"[run] files: {name!r} would be written outside of the trial's folder")
    return path


def _write(path: str, data: bytes) -> None:
    """Write a new file of the attempt.

    Not synced: only this node's program reads it, and closing hands it to the server.
    """
    descriptor = os.open(path, NEW_FILE, 0o600)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of the data, whatever a single call takes.

    Raises:
        OSError: it could not be done; a part may be written.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

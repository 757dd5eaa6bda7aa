"""What an attempt starts from: the checkpoint that was asked for, or the best that is still whole.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

from typing import NamedTuple

from slurmtune.core import ids
from slurmtune.store import checkpoint, fs
from slurmtune.store.layout import StudyLayout
from slurmtune.worker import environment
from slurmtune.worker.metrics import Number
from slurmtune.worker.task import Task


class Origin(NamedTuple):
    """The checkpoint to load."""

    name: str
    """Empty: there is none, and the training begins with nothing."""
    start: Number
    """Resource that the training starts from."""
    note: str = ""
    """Why it is not the one that was asked for; empty when it is."""


def find_origin(layout: StudyLayout, task: Task, *, resumes: bool) -> Origin:
    """Return the checkpoint to load.

    One that holds all that was asked for is of no use: whoever saved it never reported what was
    reached there, and a program that loads it has nothing left to train and to report.

    Args:
        layout: The paths of the study.
        task: What the offer asks for.
        resumes: Whether a rung goes on from the one below; where each rung is trained from
            nothing, only checkpoints of this rung count.
    """
    name, end = task.checkpoint, task.end
    if name is None:
        return Origin("", task.start)
    if end is not None and task.start >= end:
        why = f"the checkpoint {name} leaves nothing to train"
    elif _is_whole(layout, name):
        return Origin(name, task.start)
    else:
        why = f"the checkpoint {name} is missing or damaged"
    older = _older_checkpoint(layout, task, name, resumes=resumes)
    start = checkpoint.parse_checkpoint_name(older)[0] if older else 0
    note = f"{why}; training starts from {environment.format_number(start)}"
    return Origin(older, start, note)


def checkpoint_folder(layout: StudyLayout, name: str) -> str:
    """Return the folder of a checkpoint: it is with the trial whose attempt saved it.

    Raises:
        ValueError: ``name`` is not the name of a checkpoint.
    """
    _, writer = checkpoint.parse_checkpoint_name(name)
    return layout.checkpoint(ids.parse_attempt_id(writer).trial, name)


def _older_checkpoint(layout: StudyLayout, task: Task, name: str, *, resumes: bool) -> str:
    """Return the newest whole checkpoint below the end, except ``name``; empty: there is none."""
    try:
        names = fs.list_dir(layout.checkpoints(task.trial))
    except FileNotFoundError:
        return ""
    found = []
    for other in names:
        try:
            resource, writer = checkpoint.parse_checkpoint_name(other)
        except ValueError:
            continue  # one that is being built or removed
        is_ours = resumes or ids.parse_attempt_id(writer).rung == task.rung
        if is_ours and other != name and (task.end is None or resource < task.end):
            found.append((resource, other))
    ordered = sorted(found, reverse=True)
    return next((other for _, other in ordered if _is_whole(layout, other)), "")


def _is_whole(layout: StudyLayout, name: str) -> bool:
    try:
        return checkpoint.verify(checkpoint_folder(layout, name))
    except ValueError:
        return False

"""Slurm's spellings of job ids: arrays, ranges, steps, cut-off lists.

What is met in the outputs of ``squeue`` and ``sacct``::

    7  7_3  7_[4-9,12%2]  7_[0-40:2%4]  7_3.batch  7_3.0  7+1  7_[2,9,22...%7]  7_[2,9,22

The last two are cut off after 64 characters; the number before ``...`` is itself cut. Lists that
end without a bracket are cut at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_JOB_ID = re.compile(
    r"(?P<job>\d+)(?:\+\d+)?"
    r"(?:_(?:(?P<index>\d+)|\[(?P<list>[^\]%]*)(?:%\d+)?(?P<close>\])?))?"
    r"(?:\.(?P<step>.+))?"
)
_PART = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobId:
    """A job id, taken apart."""

    job: str
    """Id of the job, or of the whole array."""
    indices: tuple[int, ...] | None
    """Array indices that it stands for; None for a job that is no array."""
    is_list: bool
    """Whether it was written as a list, ``7_[4-9]``: one row for many tasks."""
    is_cut: bool
    """Whether indices are missing because the output was cut off."""
    step: str | None
    """``batch``, ``extern`` or the number of a step; None for the job itself."""


def parse_job_id(text: str) -> JobId | None:
    """Take a job id apart; None when ``text`` is not one."""
    found = _JOB_ID.fullmatch(text.strip())
    if found is None:
        return None
    index, listed = found["index"], found["list"]
    indices: tuple[int, ...] | None = None
    is_cut = False
    if listed is not None:
        indices, is_cut = _expand(listed)
        is_cut = is_cut or found["close"] is None
    elif index is not None:
        indices = (int(index),)
    return JobId(
        job=found["job"],
        indices=indices,
        is_list=listed is not None,
        is_cut=is_cut,
        step=found["step"],
    )


def format_task(job: str, index: int) -> str:
    """Return the name of one array task, such as ``4711_3``."""
    return f"{job}_{index}"


def format_tasks(job: str, indices: Iterable[int]) -> str:
    """Return one id for some tasks of an array, such as ``4711_[0-2,5]``."""
    parts: list[str] = []
    ordered = sorted(set(indices))
    position = 0
    while position < len(ordered):
        first = last = ordered[position]
        while position + 1 < len(ordered) and ordered[position + 1] == last + 1:
            position += 1
            last = ordered[position]
        parts.append(str(first) if first == last else f"{first}-{last}")
        position += 1
    return f"{job}_[{','.join(parts)}]"


def _expand(listed: str) -> tuple[tuple[int, ...], bool]:
    """Return the indices in a list such as ``1-9:2,14``, and whether the list was cut off."""
    indices: list[int] = []
    for part in listed.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            return tuple(indices), True
        first = int(found[1])
        last = int(found[2] or first)
        step = max(int(found[3] or 1), 1)
        indices.extend(range(first, last + 1, step))
    return tuple(indices), False

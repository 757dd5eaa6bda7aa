"""What accounting remembers of tasks that squeue has forgotten.

Accounting may be off, and it lags: a new job appears up to five seconds late, first without name
and index. A row for a range of tasks (``7_[3-9%3]``) is not updated when its tasks start, so a
row of its own always counts for more. Job ids are used again after a crash of slurmctld, so rows
of another name or of an earlier submission are left out. Needs ``SLURM_TIME_FORMAT=%s`` and
``SLURM_BITSTR_LEN=0`` in the environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slurmtune.slurm.jobid import parse_job_id
from slurmtune.slurm.state import state_word

_FIELDS = ("JobID", "State", "ExitCode", "DerivedExitCode", "Submit", "NodeList", "JobName")
_NAMELESS = "allocation"
"""What sacct prints as name of a job whose name has not arrived yet."""
_EARLY_SECONDS = 120.0
"""How much earlier than our own clock a submission may seem to be: clocks differ."""
_FIND_DAYS = 30
_DISABLED = ("accounting storage is disabled", "not running a supported accounting_storage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What we know of a job that sacct is asked for."""

    name: str
    time: float
    """When we submitted it, in seconds since 1970; 0 when not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """What accounting knows of one task."""

    state: str
    """Bare state word."""
    exit_code: str
    """``code:signal``."""
    derived_exit_code: str
    """Highest ``code:signal`` of the steps."""
    submitted: float
    nodes: str
    is_own: bool
    """Whether the row was the task's own, not one for a range of tasks."""


def command(jobs: Iterable[str]) -> list[str]:
    """Return the command that asks for these jobs and arrays."""
    listed = ",".join(sorted(set(jobs), key=int))
    return ["sacct", "-X", "-n", "-P", "-D", "-j", listed, "-o", ",".join(_FIELDS)]


def find_command(name: str) -> list[str]:
    """Return the command that looks for the user's jobs of this name in the last 30 days."""
    start = f"now-{_FIND_DAYS}days"
    window = ["-S", start, "-E", "now+1day"]
    return ["sacct", "-X", "-n", "-P", "--name", name, *window, "-o", "JobID,JobName"]


def parse(
    text: str, submissions: Mapping[str, Submission]
) -> dict[tuple[str, int | None], AccountRow]:
    """Return the row that counts for each task, by job id and array index.

    Args:
        text: What sacct printed for `command`.
        submissions: By job id, what is known of each job that was asked for.
    """
    rows: dict[tuple[str, int | None], AccountRow] = {}
    for line in text.splitlines():
        fields = line.split("|", len(_FIELDS) - 1)
        if len(fields) < len(_FIELDS):
            continue
        name = fields[-1]
        parsed = parse_job_id(fields[0])
        known = None if parsed is None else submissions.get(parsed.job)
        if parsed is None or known is None or parsed.step is not None:
            continue
        submitted = float(fields[4]) if fields[4].isdigit() else 0.0
        if name not in (known.name, _NAMELESS) or submitted < known.time - _EARLY_SECONDS:
            continue
        row = AccountRow(
            state=state_word(fields[1]),
            exit_code=fields[2],
            derived_exit_code=fields[3],
            submitted=submitted,
            nodes="" if fields[5] == "None assigned" else fields[5],
            is_own=not parsed.is_list and parsed.indices is not None,
        )
        for index in (None,) if parsed.indices is None else parsed.indices:
            key = (parsed.job, index)
            old = rows.get(key)
            if old is None or (row.is_own, row.submitted) >= (old.is_own, old.submitted):
                rows[key] = row
    return rows


def parse_found(text: str, name: str) -> list[str]:
    """Return the ids of the jobs of this name, lowest first."""
    jobs: set[str] = set()
    for line in text.splitlines():
        job_id, _, found_name = line.partition("|")
        parsed = parse_job_id(job_id)
        if parsed is not None and found_name == name:
            jobs.add(parsed.job)
    return sorted(jobs, key=int)


def is_disabled(message: str) -> bool:
    """Tell whether sacct's complaint means that this cluster keeps no accounts."""
    return any(words in message.lower() for words in _DISABLED)

"""Which jobs of a study Slurm knows, whatever its journal says. Part of the composition root."""

from __future__ import annotations

from slurmtune.backends.command import CommandRunner, SubprocessRunner
from slurmtune.errors import BackendUnavailableError
from slurmtune.slurm import squeue
from slurmtune.slurm.state import Phase, phase
from slurmtune.slurm.token import ArrayToken, make_token, parse_token
from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout

ARRAY_NAME = "local.json"
"""What the local backend writes into the folder of each of its arrays."""


def backend_name(layout: StudyLayout) -> str:
    """Return where the arrays of a study went: ``local``, ``slurm``, or empty without any."""
    try:
        tokens = fs.list_dir(layout.arrays)
        if not tokens:
            return ""
        is_local = any(ARRAY_NAME in fs.list_dir(layout.array(token)) for token in tokens)
    except (OSError, ValueError):
        return ""
    return "local" if is_local else "slurm"


def live_jobs(study_id: str, runner: CommandRunner | None = None) -> dict[str, str]:
    """Return the user's jobs that belong to this study and have not ended, by array token.

    Raises:
        BackendError: there is no Slurm here, or it does not answer.
    """
    answer = (runner or SubprocessRunner()).run(squeue.command())
    if answer.returncode:
        raise BackendUnavailableError(f"squeue says: {answer.stderr.strip()}")
    mine = parse_token(make_token(study_id, 0, 0))
    assert mine is not None
    return {
        row.name: row.job
        for row in squeue.parse(answer.stdout)
        if _is_of(mine, row.name) and phase(row.state) is not Phase.ENDED
    }


def _is_of(mine: ArrayToken, name: str) -> bool:
    token = parse_token(name)
    return token is not None and token.study == mine.study

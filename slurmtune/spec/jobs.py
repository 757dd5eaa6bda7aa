"""Which jobs of a study Slurm knows, whatever its journal says. Part of the composition root."""

from __future__ import annotations

from slurmtune.backends.command import CommandRunner, SubprocessRunner
from slurmtune.errors import BackendUnavailableError
from slurmtune.slurm import squeue
from slurmtune.slurm.state import Phase, phase
from slurmtune.slurm.token import ArrayToken, make_token, parse_token


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

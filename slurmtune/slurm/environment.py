"""Which variables must not reach Slurm's commands.

Variables change what the commands do: ``SQUEUE_STATES`` hides rows, ``SBATCH_TIMELIMIT`` wins
over the lines of the script. And a driver that runs inside a job would pass on that job's own
``SLURM_*`` variables, which then contradict the request of the new job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

QUERY_VARIABLES = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0", "LC_ALL": "C"}
"""Times as seconds since 1970, lists of array indices whole, messages in English."""

_ALWAYS = ("SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_", "SCONTROL_", "SACCTMGR_", "SBATCH_")
_INSIDE_A_JOB = ("SLURM_", "SLURMD_", "SLURMSTEPD_", "SRUN_", "SUBMITIT_", "PMI_", "PMIX_")
_ALSO = frozenset({"SLURM_CLUSTERS", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN"})
_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER"})
DEFAULTS = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_PARTITION": "partition",
    "SBATCH_QOS": "qos",
    "SBATCH_RESERVATION": "reservation",
}
"""Defaults that some centres tell their users to set; they hold unless the spec says more."""


def unwanted(environment: Mapping[str, str], given: Iterable[str]) -> list[str]:
    """Return the names of variables to remove, sorted.

    Args:
        environment: The variables of this process.
        given: Options that the job sets itself, by sbatch's long names. The user's
            ``SBATCH_ACCOUNT`` and its like are kept when the job does not set theirs.
    """
    prefixes = _ALWAYS + (_INSIDE_A_JOB if "SLURM_JOB_ID" in environment else ())
    options = set(given)
    kept = _KEPT | {name for name, option in DEFAULTS.items() if option not in options}
    return sorted(
        name
        for name in environment
        if name not in kept and (name.startswith(prefixes) or name in _ALSO)
    )


def for_command(command: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a command of Slurm.

    The user's ``SBATCH_ACCOUNT`` and its like stay for ``sbatch --test-only``, whose times are
    for people.
    """
    removed = set(unwanted(environment, given=()))
    kept = {name: value for name, value in environment.items() if name not in removed}
    return kept if command == "sbatch" else {**kept, **QUERY_VARIABLES}

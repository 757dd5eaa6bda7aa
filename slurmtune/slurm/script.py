"""The shell lines of a slot's batch script, around the worker.

submitit writes the ``#SBATCH`` lines; what follows them comes from here.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

SETUP_FAILED_EXIT_CODE = 78
"""What a slot ends with when a line of ``[env]`` fails, before any attempt is claimed."""


def setup_lines(setup: Sequence[str], *, outlives_worker: bool = True) -> list[str]:
    """Return the user's setup lines so that a failing one ends the slot and says which it was.

    ``outlives_worker`` is for a shell that waits for the worker; without it, the worker is to take
    the shell's place, and signals end the slot during its setup too.
    """
    lines = [
        # Slurm sends its signals to the batch shell too. It must outlive the worker, which saves
        # its state meanwhile; a handler that does nothing makes bash wait for it.
        *(["trap : TERM INT USR1 USR2"] if outlives_worker else []),
        # From 22.05 to 23.02 srun does not take this over from sbatch.
        '[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
        "export PYTHONUNBUFFERED=1",
    ]
    if setup:
        complaint = "slurmtune: this setup line failed: $BASH_COMMAND"
        lines.append(
            f"trap 'echo \"{complaint}\" >&2; exit {SETUP_FAILED_EXIT_CODE}' ERR",
        )
        lines.extend(setup)
        lines.append("trap - ERR")
    return lines


def enter_line(study_dir: str) -> str:
    """Return the line that leaves the user's folder for the study's.

    ``python -m`` imports from where it starts: a ``json.py`` of the user would come before the
    standard library.
    """
    return f"cd -- {shlex.quote(study_dir)} || exit {SETUP_FAILED_EXIT_CODE}"


def warning_signal(signal: str, time_limit_seconds: int | None) -> str:
    """Return the warning ``NAME@SECONDS``, with at most a quarter of the time limit.

    A warning that is as long as the limit would come at once, and no slot would do any work.
    """
    name, _, seconds = signal.partition("@")
    if time_limit_seconds is None or not seconds.isdigit():
        return signal
    return f"{name}@{max(1, min(int(seconds), time_limit_seconds // 4))}"


def worker_command(
    *,
    python: Sequence[str],
    study_dir: str,
    token: str,
    manifest_sha256: str,
    use_srun: bool,
) -> str:
    """Return the line that runs the worker, quoted for the shell.

    Under srun the worker is a step: only steps get the early signal of a pre-emption with grace
    time. Without srun it takes the place of the batch shell, so that it gets the signals.
    """
    worker = ["-m", "slurmtune.worker", study_dir, token, manifest_sha256]
    srun = ["srun", "--nodes=1", "--ntasks=1", "--unbuffered"]
    prefix = srun if use_srun else ["exec"]
    return shlex.join([*prefix, *python, *worker])

"""Running Slurm's commands: with a time limit, without the variables that would mislead them.

The one place that starts a process to ask Slurm something; tests give the backend another runner.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from slurmtune.errors import BackendError, BackendUnavailableError
from slurmtune.slurm import environment
from slurmtune.slurm.advice import NO_SLURM

_TIMEOUT_SECONDS = 60.0
"""A controller that hangs makes Slurm's commands wait for up to 18 s by themselves."""


class CommandResult(NamedTuple):
    """What a command that ran to its end left behind."""

    returncode: int
    stdout: str
    stderr: str


class CommandRunner(Protocol):
    """Runs one command."""

    def run(self, argv: Sequence[str], stdin: str = "") -> CommandResult:
        """Run the command to its end.

        Raises:
            BackendUnavailableError: It did not end in time.
            BackendError: There is no such command.
        """
        ...


class SubprocessRunner:
    """Runs commands as processes of this machine."""

    def __init__(
        self,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        variables: Callable[[], Mapping[str, str]] = lambda: os.environ,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._variables = variables

    def run(self, argv: Sequence[str], stdin: str = "") -> CommandResult:
        """Run the command to its end, as `CommandRunner` says."""
        try:
            done = subprocess.run(
                list(argv),
                input=stdin,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=self._timeout_seconds,
                env=environment.for_command(argv[0], self._variables()),
                check=False,
                # Ctrl-C at the terminal is for the driver, not for the command it waits for.
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise BackendUnavailableError(
                f"{argv[0]} did not answer within {self._timeout_seconds:.0f} s"
            ) from error
        except FileNotFoundError as error:
            raise BackendError(str(NO_SLURM)) from error
        except OSError as error:
            # Out of processes or memory on the login node: for us the same as no answer.
            raise BackendUnavailableError(f"{argv[0]} could not be started: {error}") from error
        return CommandResult(done.returncode, done.stdout, done.stderr)

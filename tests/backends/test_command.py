"""Running commands as processes."""

from __future__ import annotations

import pytest

from slurmtune.backends.command import SubprocessRunner
from slurmtune.errors import BackendError, BackendUnavailableError


def test_the_result_is_returncode_and_both_outputs() -> None:
    done = SubprocessRunner().run(["sh", "-c", "cat; echo no >&2; exit 3"], "yes")
    assert done == (3, "yes", "no\n")


def test_a_command_that_hangs_is_no_answer() -> None:
    with pytest.raises(BackendUnavailableError, match="sleep did not answer"):
        SubprocessRunner(timeout_seconds=0.05).run(["sleep", "5"])


def test_a_command_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(BackendError, match="no Slurm login node"):
        SubprocessRunner().run(["no-such-command"])


def test_output_that_is_no_utf8_does_no_harm() -> None:
    assert SubprocessRunner().run(["printf", "a\\377"]).stdout == "a\ufffd"


def test_variables_that_mislead_are_left_out() -> None:
    runner = SubprocessRunner(variables=lambda: {"SQUEUE_STATES": "x", "PATH": "/usr/bin:/bin"})
    assert "SQUEUE_STATES" not in runner.run(["env"]).stdout

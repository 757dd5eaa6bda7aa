"""The shell lines around the worker."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slurmtune.slurm.script import enter_line, setup_lines, warning_signal, worker_command


def command(**changes: Any) -> Any:
    arguments = {
        "python": ["/opt/my python/bin/python3"],
        "study_dir": "/scratch/a b/study",
        "token": "st-00000000-1-1",
        "manifest_sha256": "ab" * 32,
        "use_srun": True,
    }
    return worker_command(**{**arguments, **changes})


def run(lines: Any) -> Any:
    return subprocess.run(
        ["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )


def test_the_worker_is_a_step_of_its_own() -> None:
    assert command().startswith("srun --nodes=1 --ntasks=1 ")


def test_without_srun_the_worker_takes_the_place_of_the_shell() -> None:
    assert command(use_srun=False).startswith("exec ")


def test_every_word_survives_the_shell() -> None:
    words = shlex.split(command())
    assert words[-5:] == [
        "-m",
        "slurmtune.worker",
        "/scratch/a b/study",
        "st-00000000-1-1",
        "ab" * 32,
    ]
    assert "/opt/my python/bin/python3" in words


def test_a_python_in_a_container_is_a_prefix() -> None:
    words = shlex.split(command(python=["apptainer", "exec", "i.sif", "python3"]))
    assert words[4:8] == ["apptainer", "exec", "i.sif", "python3"]


def test_a_setup_line_that_fails_ends_the_slot_and_is_named() -> None:
    done = run([*setup_lines(["true", "cd /no/such/folder"]), "echo worker"])
    assert done.returncode == 78
    assert "this setup line failed: cd /no/such/folder" in done.stderr
    assert done.stdout == ""


def test_the_worker_may_fail_without_that_message() -> None:
    done = run([*setup_lines(["export A=1"]), "echo $A; false"])
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 1)


def test_files_of_the_user_do_not_shadow_the_standard_library(tmp_path: Path) -> None:
    mine, study = tmp_path / "mine", tmp_path / "a 'study'"
    mine.mkdir()
    study.mkdir()
    (mine / "json.py").write_text("raise SystemExit('shadowed')")
    lines = [*setup_lines([f"cd {mine}"]), enter_line(str(study)), f"{sys.executable} -m json"]
    assert "shadowed" not in run([*lines[:-1], lines[-1] + " --help"]).stderr
    assert run([*lines[:-1], "pwd"]).stdout == f"{study}\n"


def test_the_shell_outlives_sigterm_while_it_waits_for_the_worker() -> None:
    done = run([*setup_lines([]), "bash -c 'kill -TERM $PPID; sleep 0.1; echo saved; exit 85'"])
    assert (done.stdout, done.returncode) == ("saved\n", 85)


@pytest.mark.parametrize(
    ("signal", "limit", "expected"),
    [
        ("USR1@120", 3600, "USR1@120"),
        ("USR1@120", 120, "USR1@30"),
        ("USR1@120", None, "USR1@120"),
        ("USR1", 60, "USR1"),
        ("USR1@120", 1, "USR1@1"),
    ],
)
def test_the_warning_leaves_most_of_the_time_for_work(
    signal: str, limit: Any, expected: Any
) -> None:
    assert warning_signal(signal, limit) == expected

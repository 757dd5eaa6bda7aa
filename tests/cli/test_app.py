"""The entry point: exit codes, messages, quick starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import slurmtune
from slurmtune.cli import explain, options, study
from slurmtune.errors import BackendError, DriverBusyError, UsageError

COMMANDS = [
    "init",
    "check",
    "launch",
    "status",
    "trials",
    "show",
    "best",
    "logs",
    "stop",
    "report",
    "explain",
    "replay",
    "schema",
    "version",
]
HEAVY = ("numpy", "scipy", "sklearn", "pandas", "submitit")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run: Any, command: str) -> None:
    ended = run(command, "-h")

    assert ended.code == 0
    assert f"slurmtune {command}" in ended.out.partition("Usage:")[2].partition("\n")[2]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns(run: Any, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    shown = run(*command.split(), "--help").out

    assert max(map(len, shown.splitlines())) <= 80


def test_version_is_one_line(run: Any) -> None:
    assert run("-V").out == f"slurmtune {slurmtune.__version__}\n"


def test_versions_as_json(run: Any) -> None:
    assert json.loads(run("version", "--json").out)["slurmtune"] == slurmtune.__version__


def test_an_unknown_command_is_one_clean_message(run: Any) -> None:
    ended = run("lauch")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: no such command 'lauch'")


def test_an_unknown_option_names_the_help(run: Any) -> None:
    ended = run("status", "--jsn")

    assert ended.code == 2
    assert "help: slurmtune status --help" in ended.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("a"), 2),
        (BackendError("a"), 3),
        (DriverBusyError("a"), 5),
        (PermissionError(13, "Permission denied", "runs/asha"), 3),
        (OSError(28, "No space left on device", "runs/asha"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_exit_code_and_no_traceback(
    run: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    monkeypatch.setattr(study, "find", _raiser(error))

    ended = run("best")

    assert ended.code == code
    assert "Traceback" not in ended.err


def test_an_error_of_our_own_leaves_a_report(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """D15: the traceback goes into a file, the user gets one line and exit code 70."""
    monkeypatch.setattr(study, "find", _raiser(RuntimeError("a bug")))

    ended = run("best", cwd=tmp_path)

    [report] = tmp_path.glob("crash-*.txt")
    assert ended.code == 70
    assert ended.err == (f"error: internal error (RuntimeError); please report with {report}\n")
    assert "RuntimeError: a bug" in report.read_text()


def test_debug_shows_the_traceback_too(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(study, "find", _raiser(RuntimeError("a bug")))

    assert "Traceback" in run("best", "--debug", cwd=tmp_path).err


def test_options_without_a_value_do_not_eat_the_study() -> None:
    words = ["launch", "--local", "spec.toml", "--watch", "5", "--local=3"]

    assert options.expand_optional_values(words) == [
        "launch", "--local=0", "spec.toml", "--watch=5", "--local=3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "number", "rung"), [("t0017", 17, None), ("17", 17, None), ("17@2", 17, 2)]
)
def test_forms_of_a_trial(word: str, number: int, rung: int | None) -> None:
    assert options.parse_trial(word) == (number, rung)


def test_study_and_trial_come_in_any_order() -> None:
    assert options.study_and_trial(["t3", "asha"]) == ("asha", "t3")


def test_overrides_are_quoted_where_sbatch_takes_text() -> None:
    given = options.overrides(
        ["slurm.mem=2G"],
        partition="2024",
        account=None,
        qos=None,
        time="30",
        constraint=None,
        exclude=None,
        job_name=None,
    )

    assert given == ['slurm.partition="2024"', 'slurm.time="30"', "slurm.mem=2G"]


def test_report_outside_of_a_trial_prints(run: Any) -> None:
    assert json.loads(run("report", "loss=0.5").out) == {"loss": 0.5}


def test_schema_is_a_json_schema(run: Any) -> None:
    assert "space" in json.loads(run("schema").out)["properties"]


@pytest.mark.parametrize("code", [*explain.CLUSTER, "K2", "k2", "U1"])
def test_codes_are_explained(run: Any, code: str) -> None:
    assert run("explain", code).out.startswith(f"{code.upper()}: ")


def test_an_unknown_code_is_a_mistake_of_usage(run: Any) -> None:
    assert run("explain", "Q99").code == 2


@pytest.mark.parametrize(
    "words", [["--help"], ["status"], ["best"], ["check", "--offline"], ["explain", "C9"]]
)
def test_no_heavy_library_is_imported(fake: Any, toy: Any, words: list[str]) -> None:
    """What people call all the time starts at once; numpy alone would double the time."""
    toy(fake.folder)
    code = (
        "import sys; from slurmtune.cli import app; app.run(sys.argv[1:]);"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    checkout = os.path.dirname(os.path.dirname(slurmtune.__file__))

    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=fake.folder,
        env={**os.environ, "PYTHONPATH": checkout},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [["--help"], ["status"], ["best"], ["logs", "--help"]])
def test_the_model_of_specs_is_left_out_where_no_spec_is_read(fake: Any, words: list[str]) -> None:
    code = (
        "import sys; from slurmtune.cli import app; app.run(sys.argv[1:]);"
        "print('slurmtune.spec.model' in sys.modules, file=sys.stderr)"
    )
    checkout = os.path.dirname(os.path.dirname(slurmtune.__file__))

    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=fake.folder,
        env={**os.environ, "PYTHONPATH": checkout},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr.splitlines()[-1] == "False"


def test_a_reader_that_had_enough_is_no_error() -> None:
    """``slurmtune schema | head -1``."""
    checkout = os.path.dirname(os.path.dirname(slurmtune.__file__))
    with subprocess.Popen(
        [sys.executable, "-m", "slurmtune.cli.app", "schema"],
        env={**os.environ, "PYTHONPATH": checkout},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""

    assert process.returncode == 141


def _raiser(error: BaseException) -> Any:
    def find(_: object) -> None:
        raise error

    return find

"""Reports from a shell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurmtune.worker.report import report_from_shell


@pytest.fixture
def metrics(tmp_path: Any, monkeypatch: Any) -> Any:
    path = tmp_path / "metrics.jsonl"
    monkeypatch.setenv("SLURMTUNE_METRICS", str(path))
    monkeypatch.setenv("SLURMTUNE_RESOURCE", "epoch")
    monkeypatch.setenv("SLURMTUNE_OBJECTIVES", "val_loss")
    return path


@pytest.mark.parametrize(
    "argv",
    [
        ["val_loss=0.5", "--step", "3"],
        ["--step=3", "val_loss=0.5"],
        ["epoch=3", "val_loss=0.5"],
    ],
)
def test_report_is_a_line(metrics: Any, argv: Any) -> None:
    assert report_from_shell(argv) == 0
    assert json.loads(metrics.read_text()) == {"val_loss": 0.5, "epoch": 3}


def test_without_a_step_the_reader_counts(metrics: Any) -> None:
    report_from_shell(["val_loss=nan"])

    assert metrics.read_text() == '{"val_loss": NaN}\n'


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "nothing to report"),
        (["val_loss"], "cannot read 'val_loss'"),
        (["val_loss=x"], "val_loss must be a number, not 'x'"),
        (["loss=1"], "the study wants val_loss, this report has loss"),
        (["val_loss=1", "--step", "-1"], "a step must be a finite number"),
        (["val_loss=1", "--step"], "cannot read '--step'"),
    ],
)
def test_mistake_is_told_and_writes_nothing(
    metrics: Any, capsys: Any, argv: Any, message: Any
) -> None:
    assert report_from_shell(argv) == 2
    assert message in capsys.readouterr().err
    assert not metrics.exists()


def test_outside_it_is_printed(monkeypatch: Any, capsys: Any) -> None:
    for name in ("METRICS", "RESOURCE", "OBJECTIVES"):
        monkeypatch.delenv(f"SLURMTUNE_{name}", raising=False)

    assert report_from_shell(["loss=1", "--step", "2"]) == 0
    assert json.loads(capsys.readouterr().out) == {"loss": 1.0, "step": 2}


def test_unwritable_file_is_told(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("SLURMTUNE_METRICS", "/no/such/folder/metrics.jsonl")

    assert report_from_shell(["loss=1"]) == 3
    assert "cannot write" in capsys.readouterr().err

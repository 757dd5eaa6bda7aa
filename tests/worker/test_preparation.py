"""What a program is given, without a process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout
from slurmtune.worker.preparation import Preparation
from slurmtune.worker.task import Task

ATTEMPT = "t00007.r1.a1"


@pytest.fixture
def prepared(tmp_path: Path) -> Any:
    layout = StudyLayout(str(tmp_path / "study"))
    layout.create()
    fs.make_dir(layout.attempt(ATTEMPT))
    task = Task(
        attempt=ATTEMPT, trial=7, rung=1, config={"lr": 0.1}, start=1, end=3, checkpoint=None, seed=5, nonce=""
    )  # fmt: skip
    manifest = {"command": ["train", "{lr}", "{save}"], "resource": "epoch", "linger_seconds": 60}
    return Preparation(layout, manifest, task, 1, "", "/save")


def with_manifest(prepared: Any, **manifest: Any) -> Any:
    return prepared._replace(manifest={**prepared.manifest, **manifest})


def test_placeholders_become_arguments(prepared: Any) -> None:
    assert prepared.argv() == ["train", "0.1", "/save"]


def test_the_start_is_the_real_one(prepared: Any) -> None:
    assert prepared._replace(start=2).context["start"] == "2"


def test_files_of_the_attempt_are_written(prepared: Any) -> None:
    prepared.write_files()

    assert json.loads(Path(prepared.layout.config(ATTEMPT)).read_text()) == {"lr": 0.1}
    assert Path(prepared.layout.params(ATTEMPT)).read_text() == "lr=0.1\n"
    assert Path(prepared.layout.metrics(ATTEMPT)).read_text() == ""


def test_no_file_is_written_outside(prepared: Any, tmp_path: Path) -> None:
    (tmp_path / "template").write_text("x")
    outside = with_manifest(prepared, files={"../../x": str(tmp_path / "template")})

    with pytest.raises(ValueError, match="outside of the trial's folder"):
        outside.write_files()


def test_who_may_wait_is_told_where_and_for_how_long(prepared: Any) -> None:
    variables = prepared.variables("3:77")

    assert variables.more == prepared.layout.more(ATTEMPT)
    assert (variables.more_seconds, variables.bell) == ("120", "3:77")


@pytest.mark.parametrize(
    "manifest",
    [
        {"top": 3},
        {"linger_seconds": 0},
        {"reuse": False},
        {"resume": False},
        {"parse": {"loss": "loss=(.*)"}},
    ],
)
def test_who_may_not_wait_is_told_nothing(prepared: Any, manifest: dict[str, Any]) -> None:
    variables = with_manifest(prepared, **manifest).variables("3:77")

    assert (variables.more, variables.more_seconds, variables.bell) == ("", "", "")

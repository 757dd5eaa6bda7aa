"""``init``, and that every template is right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from slurmtune.cli import resources
from slurmtune.errors import SlurmtuneError
from slurmtune.spec.load import load_spec
from slurmtune.testing.fake_slurm import FakeSlurm


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.mark.parametrize("kind", ["asha", "grid", "bash"])
def test_every_template_loads_without_a_problem(run: Any, tmp_path: Path, kind: str) -> None:
    assert run("init", "--template", kind, str(tmp_path)).code == 0

    assert load_spec(str(tmp_path / "spec.toml"), launching=True).problems == ()


@pytest.mark.parametrize(
    ("kind", "program"), [("asha", "train.py"), ("grid", "train.py"), ("bash", "run.sh")]
)
def test_the_program_that_the_spec_runs_is_written(
    run: Any, tmp_path: Path, kind: str, program: str
) -> None:
    run("init", "--template", kind, "new", cwd=tmp_path)

    assert program in (tmp_path / "new" / "spec.toml").read_text()
    assert (tmp_path / "new" / program).exists()


def test_the_script_can_be_executed(run: Any, tmp_path: Path) -> None:
    run("init", "--template", "bash", cwd=tmp_path)

    assert os.access(tmp_path / "run.sh", os.X_OK)


def test_it_tells_what_it_wrote_and_what_comes_next(run: Any, tmp_path: Path) -> None:
    assert run("init", "--template", "bash", cwd=tmp_path).out == (
        "wrote spec.toml   17 lines\n"
        "wrote run.sh      a toy that runs in a second; put your training in its place\n"
        "next: slurmtune check spec.toml      the plan and its cost\n"
        "      slurmtune launch spec.toml --local    try it here, without Slurm\n"
    )


def test_a_spec_is_never_overwritten(run: Any, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text("mine")

    ended = run("init", "--template", "asha", cwd=tmp_path)

    assert ended.code == 2
    assert "--force" in ended.err
    assert (tmp_path / "spec.toml").read_text() == "mine"


def test_a_program_of_the_user_is_kept(run: Any, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("mine")

    assert "kept train.py" in run("init", "--template", "asha", cwd=tmp_path).out
    assert (tmp_path / "train.py").read_text() == "mine"


def test_force_overwrites(run: Any, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text("mine")

    assert run("init", "--template", "asha", "--force", cwd=tmp_path).code == 0
    assert (tmp_path / "spec.toml").read_text() != "mine"


def test_without_a_terminal_nothing_is_asked(run: Any, tmp_path: Path) -> None:
    ended = run("init", cwd=tmp_path)

    assert ended.code == 2
    assert "--template asha|grid|bash" in ended.err


def test_partition_and_account_come_from_the_cluster(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PATH", FakeSlurm(str(tmp_path / "slurm"), slots=0).path)

    ended = run("init", "--template", "asha", "new", cwd=tmp_path)

    assert "from this cluster" in ended.out
    assert "\npartition = " in (tmp_path / "new" / "spec.toml").read_text()


def test_the_site_file_is_a_right_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(resources.read_template("site.toml"))
    (tmp_path / "spec.toml").write_text(resources.read_template("spec-asha.toml"))
    monkeypatch.setenv("SLURMTUNE_CONFIG_FILE", str(tmp_path / "site.toml"))

    assert load_spec(str(tmp_path / "spec.toml")).spec.slurm.partition == "gpu"


def test_a_missing_template_is_told_as_a_broken_installation() -> None:
    with pytest.raises(SlurmtuneError, match="install slurmtune again"):
        resources.read_template("nothing.toml")

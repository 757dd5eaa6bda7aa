"""``best`` of a training that went through several configs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from slurmtune.cli.study import overview_of, read_study
from slurmtune.store import sealed
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.written_study import simulate_into, spec_text

PBT = spec_text("pbt", trials=6)


@pytest.fixture(scope="module")
def pbt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_into(tmp_path_factory.mktemp("best") / "pbt", PBT)


@pytest.fixture(scope="module")
def asha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_into(tmp_path_factory.mktemp("best") / "asha", PBT.replace("pbt", "asha"))


def test_the_lineage_of_the_best_leads_to_it(run: Any, pbt: Path) -> None:
    found = json.loads(run("best", "--json", cwd=pbt).out)

    stages = found["lineage"]
    assert stages[-1]["trial"] == found["trial"]
    assert stages[-1]["params"] == found["params"]
    assert stages[0]["start"] == 0
    assert stages[-1]["end"] == found["resource"] == 9


def test_the_schedule_of_the_best_is_printed_if_it_has_one(run: Any, pbt: Path) -> None:
    stages = json.loads(run("best", "--json", cwd=pbt).out)["lineage"]

    out = run("best", cwd=pbt).out

    assert out.count("lineage") == (len(stages) > 1)
    assert all(stage["trial"] in out for stage in stages)


def test_without_heirs_best_says_nothing_of_them(run: Any, asha: Path) -> None:
    assert "lineage" not in json.loads(run("best", "--json", cwd=asha).out)
    assert "lineage" not in run("best", cwd=asha).out


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = spec_text("irace", trials=12, top=12)
    return simulate_into(tmp_path_factory.mktemp("best") / "race", spec)


def test_the_best_of_races_is_what_the_last_one_left_first(run: Any, race: Path) -> None:
    leaders = read_study(StudyLayout(str(race / "runs" / "rig"))).scheduler.leaders()
    assert leaders is not None

    found = json.loads(run("best", "--json", cwd=race).out)
    rows = json.loads(run("trials", "--json", cwd=race).out)

    assert found["trial"] == f"t{leaders.trials[0]:05d}"
    assert found["resource"] == leaders.rung + 1
    assert [row["trial"] for row in rows][: len(leaders.trials)] == [
        f"t{number:05d}" for number in leaders.trials
    ]


def test_why_a_race_is_won_is_told(run: Any, race: Path) -> None:
    told = run("best", cwd=race)

    assert told.err.count("note: ") == 1
    assert "that race 2 left" in told.err


def test_a_rule_that_is_damaged_is_not_told(run: Any, race: Path, tmp_path: Path) -> None:
    folder = tmp_path / "race"
    shutil.copytree(race, folder)
    layout = StudyLayout(str(folder / "runs" / "rig"))
    overview = overview_of(layout)
    overview["best"]["rule"] = ["not", "text"]
    Path(layout.status).write_text(json.dumps(overview))

    told = run("best", cwd=folder)

    assert told.code == 0
    assert "text" not in told.err


@pytest.fixture
def of_another_user(asha: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study with a scheduler of its own, seen by somebody else."""
    folder = tmp_path / "theirs"
    shutil.copytree(asha, folder)
    layout = StudyLayout(str(folder / "runs" / "rig"))
    Path(layout.status).write_text(json.dumps(overview_of(layout)))
    identity = sealed.unseal(Path(layout.study).read_bytes())
    identity["core"]["code"] = {"file": "mine.py", "class": "Mine", "sha256": "0" * 64}
    identity["spec"]["search"]["scheduler"] = "mine.py:Mine"
    Path(layout.study).write_bytes(sealed.seal(identity))
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    return folder


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_best_of_another_user_needs_none_of_their_code(
    run: Any, of_another_user: Path, options: list[str]
) -> None:
    ended = run("best", *options, cwd=of_another_user)

    assert ended.code == 0
    assert "t00000" in ended.out
    assert "error" not in ended.err
    assert "note: whether it went through several configs is not known" in ended.err


def test_nobody_is_told_to_start_the_study_of_another_user_again(
    run: Any, of_another_user: Path
) -> None:
    ended = run("fsck", cwd=of_another_user)

    assert ended.code == 3
    told = " ".join(ended.out.split())
    assert "the code of another user, which is not done; its owner can (replay)" in told
    assert "start again" not in told
    assert "study.name" not in told


def published(folder: Path, **changes: Any) -> None:
    """Publish the overview of the study below this folder with changes."""
    layout = StudyLayout(str(folder / "runs" / "rig"))
    overview = overview_of(layout)
    Path(layout.status).write_text(json.dumps({**overview, **changes}))


@pytest.fixture
def mine(asha: Path, tmp_path: Path) -> Path:
    """A copy of a study that a test may change."""
    return Path(shutil.copytree(asha, tmp_path / "mine"))


@pytest.mark.parametrize(
    ("count", "words"),
    [(9, "has no result: all 9 trials ended"), (1, "has no result: the only trial ended")],
)
def test_without_any_finite_result_it_says_so(
    run: Any, mine: Path, count: int, words: str
) -> None:
    trials = {"total": 9, "started": 9, "finished": 9, "good": 0, "failed": 0}
    published(mine, best=None, trials={**trials, "without_result": count})

    ended = run("best", cwd=mine)

    assert ended.code == 4
    assert f"{words} without a finite val_loss. Look at  slurmtune trials\n" in ended.err


def test_a_value_that_was_reported_below_the_top_rung_is_still_of_the_top_rung(
    run: Any, mine: Path
) -> None:
    found = overview_of(StudyLayout(str(mine / "runs" / "rig")))["best"]
    published(mine, best={**found, "resource": 8, "level": 9, "top_resource": 9, "lower": None})

    ended = run("best", cwd=mine)

    assert " at 8 of 9 epochs\n" in ended.out
    assert "nothing has finished" not in ended.err

"""``best`` of a training that went through several configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slurmtune.testing.written_study import rig_of, write_study

PBT = """
[study]
name = "rig"
[run]
command = "python train.py"
[space]
lr = { loguniform = [1e-4, 1e-1] }
[objective]
metric = "val_loss"
goal = "minimize"
[search]
scheduler = "pbt"
trials = 6
parallel = 3
[fidelity]
resource = "epoch"
max = 9
"""


def write(folder: Path, spec: str) -> Path:
    folder.mkdir()
    (folder / "spec.toml").write_text(spec)
    rig = rig_of(folder / "spec.toml")
    rig.run()
    write_study(folder / "spec.toml", rig.stored_records())
    return folder


@pytest.fixture(scope="module")
def pbt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("best") / "pbt", PBT)


@pytest.fixture(scope="module")
def asha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("best") / "asha", PBT.replace("pbt", "asha"))


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

"""``show`` of trials that continue others, and of those that are evaluated again and again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slurmtune.testing.written_study import simulate_into, spec_text

PBT = spec_text("pbt", trials=6)


@pytest.fixture(scope="module")
def pbt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_into(tmp_path_factory.mktemp("show") / "pbt", PBT)


@pytest.fixture(scope="module")
def asha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_into(tmp_path_factory.mktemp("show") / "asha", PBT.replace("pbt", "asha"))


@pytest.fixture(scope="module")
def irace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = PBT.replace("pbt", "irace").replace("trials = 6", "trials = 12")
    return simulate_into(tmp_path_factory.mktemp("show") / "irace", spec)


@pytest.fixture
def heir(run: Any, pbt: Path) -> dict[str, Any]:
    trials = json.loads(run("trials", "--json", cwd=pbt).out)
    shown = [json.loads(run("show", one["trial"], "--json", cwd=pbt).out) for one in trials]
    found: dict[str, Any] = next(one for one in shown if one["source"])
    return found


def test_show_of_an_heir_tells_donor_and_changes(
    run: Any, pbt: Path, heir: dict[str, Any]
) -> None:
    out = run("show", heir["trial"], cwd=pbt).out

    assert f"heir of {heir['source']}" in out
    own = heir["lineage"][-1]
    row = next(
        line for line in out.split("lineage", 1)[1].splitlines() if line.startswith(heir["trial"])
    )
    assert f"{own['start']} -> {own['end']}" in row
    assert all(f"{name} " in row for name in own["changes"])
    assert row.count(" -> ") == 1 + len(own["changes"])


def test_show_of_an_heir_names_a_checkpoint_where_it_is(run: Any, pbt: Path) -> None:
    trials = json.loads(run("trials", "--json", cwd=pbt).out)
    saved = [one for one in trials if one["checkpoint"]]

    for one in saved:
        writer = one["checkpoint"].split(".", 1)[1].split(".")[0]
        out = run("show", one["trial"], cwd=pbt).out
        assert f"trials/{writer}/checkpoints/{one['checkpoint']}" in out
    assert saved


def test_of_separate_rungs_the_mean_is_shown(run: Any, irace: Path) -> None:
    best = json.loads(run("best", "--json", cwd=irace).out)
    data = json.loads(run("show", best["trial"], "--json", cwd=irace).out)

    out = run("show", best["trial"], cwd=irace).out

    own = [attempt["value"] for attempt in data["attempts"]]
    assert data["values"][str(len(own) - 1)] == pytest.approx(sum(own) / len(own))
    assert "  mean  " in out


def test_of_other_schedulers_there_is_no_mean(run: Any, asha: Path) -> None:
    assert "mean" not in run("show", "0", cwd=asha).out


def test_of_separate_rungs_the_one_that_is_repeated_is_told(run: Any, irace: Path) -> None:
    best = json.loads(run("best", "--json", cwd=irace).out)

    again = run("show", best["trial"], cwd=irace).out.splitlines()[-1]

    assert again.startswith("again   python train.py --x")
    assert again.endswith(f"     (epoch {best['resource']} alone)")


def test_of_other_schedulers_the_command_is_all(run: Any, asha: Path) -> None:
    assert "(" not in run("show", "0", cwd=asha).out.splitlines()[-1]

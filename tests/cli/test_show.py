"""``show`` of trials that continue others, and of those that are evaluated again and again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.written_study import (
    rig_of,
    simulate_into,
    spec_text,
    write_journal,
    write_study,
)

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


def test_the_rank_is_that_of_the_bracket(run: Any, tmp_path: Path) -> None:
    """As `explain` tells it: trials of other brackets began elsewhere."""
    spec = spec_text("hyperband", trials=17).replace("trials = 17\n", "")
    study = simulate_into(tmp_path / "hyperband", spec)
    trials = json.loads(run("trials", "--json", cwd=study).out)
    shown = [run("show", trial["trial"], cwd=study).out for trial in trials]

    # By hand: the brackets have 9, 3, 1 and 5, 1 and 3 trials at their rungs.
    ranks = [re.findall(r"^ +(\d) .* ok, (\d)\w\w of (\d)", out, re.MULTILINE) for out in shown]
    sizes = (9, 3, 1, 5, 1, 3)
    rungs = (0, 1, 2, 1, 2, 2)
    assert sorted(tuple(map(int, rank)) for told in ranks for rank in told) == sorted(
        (rung, place + 1, size)
        for rung, size in zip(rungs, sizes, strict=True)
        for place in range(size)
    )


def test_of_other_schedulers_the_command_is_all(run: Any, asha: Path) -> None:
    assert "(" not in run("show", "0", cwd=asha).out.splitlines()[-1]


def report_late(study: Path, attempt: str, **metrics: float) -> None:
    """Do what a slot does when a program reports after the end of its attempt."""
    layout = StudyLayout(str(next(study.glob("runs/*"))))
    fs.make_dir(layout.attempt(attempt))
    log = fs.Appender(layout.events(attempt))
    log.append({"n": log.count, "k": "report", "late": True, "resource": 1, "metrics": metrics})
    log.close()


def test_what_else_was_reported_is_shown_by_rung(run: Any, asha: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(asha, tmp_path / "copy"))
    metric = json.loads(run("show", "0", "--json", cwd=study).out)["metric"]
    before = json.loads(run("show", "0", "--json", cwd=study).out)["attempts"][0]
    assert "also" not in run("show", "0", cwd=study).out

    report_late(study, "t00000.r0.a1", test_acc=0.875, **{metric: -99.0})

    assert "also    rung 0: test_acc 0.8750\n" in run("show", "0", cwd=study).out
    after = json.loads(run("show", "0", "--json", cwd=study).out)["attempts"][0]
    assert after["value"] == before["value"]
    assert after["metrics"] == {metric: -99.0, "test_acc": 0.875}


def test_of_many_metrics_some_are_shown(run: Any, asha: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(asha, tmp_path / "copy"))
    report_late(study, "t00000.r0.a1", **{f"m{number}": 1.0 for number in range(20)})

    out = run("show", "0", cwd=study).out

    assert "m11 1.000" in out
    assert "m12" not in out
    assert "and 8 more: --json" in " ".join(out.split())


def test_of_a_population_that_is_not_complete_no_total_is_told(run: Any, tmp_path: Path) -> None:
    """The limit is what it may need at most, and most likely will not."""
    spec = tmp_path / "spec.toml"
    spec.write_text(spec_text("pbt", trials=6))
    rig = rig_of(spec)
    rig.run()
    records = rig.stored_records()
    write_study(spec, records[: len(records) // 2])
    begun = run("show", "2", cwd=tmp_path).out
    write_journal(StudyLayout(str(tmp_path / "runs" / "rig")), records)

    assert "drawn by hash (trial 2)\n" in begun
    assert f"(trial 2 of {len(rig.study.trials)})" in run("show", "2", cwd=tmp_path).out

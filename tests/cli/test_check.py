"""``check``: the plan, the warnings, what Slurm says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slurmtune.testing.fake_slurm import FakeSlurm

CHECKED = """\
spec.toml: ok    study toy, new, in runs/toy

Space    1 hyperparameter     on the right: three draws
  lr  loguniform  0.0001 .. 0.1  DRAW  DRAW  DRAW

Search   random, asha, minimize loss
         4 trials, 2 at a time

Plan     eta 3, promoted trials continue from their checkpoint
  5 evaluations: 7 epochs from scratch, 6 resumed
   rung  epochs  trials  epochs each  in all  time limit
      0       1       4            1       4     0:10:00
      1       3       1            2       2     0:10:00
  total                                    6
  Without early stopping: 4 x 3 = 12 epochs, 2.0 times as many.

nothing was submitted.   next: slurmtune launch spec.toml
"""
NO_SLURM = (
    "  note  sbatch  this is no Slurm login node: there is no sbatch here. To try\n"
    "                without Slurm: slurmtune launch spec.toml --local\n"
)


@pytest.fixture
def folder(toy: Any, tmp_path: Path) -> Path:
    where: Path = toy(tmp_path / "toy")
    return where


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSlurm:
    fake = FakeSlurm(str(tmp_path / "slurm"), slots=0)
    monkeypatch.setenv("PATH", fake.path)
    return fake


def without_draws(text: str) -> str:
    """Return the text without the three values at the end of the line of ``lr``."""
    return re.sub(
        r"(0\.1)((?:  [\d.e-]+ *){3})$", r"\1  DRAW  DRAW  DRAW", text, flags=re.MULTILINE
    )


def test_the_stopping_variant_promotes_nobody(run: Any, folder: Path) -> None:
    told = run("check", "spec.toml", "--offline", "-s", "search.variant=stopping", cwd=folder).out

    assert "Plan     eta 3, a trial runs on, and stops at a rung unless in its best 1/3\n" in told
    assert "promoted" not in told


def test_check_as_a_whole(run: Any, folder: Path) -> None:
    ended = run("check", "spec.toml", "--offline", cwd=folder)

    assert (ended.code, ended.err) == (0, "")
    assert without_draws(ended.out) == CHECKED


def test_check_writes_nothing(run: Any, folder: Path) -> None:
    run("check", "spec.toml", "--offline", cwd=folder)

    assert sorted(path.name for path in folder.iterdir()) == ["spec.toml", "train.py"]


def test_validate_and_dry_run_are_the_same(run: Any, folder: Path) -> None:
    wanted = run("check", "spec.toml", "--offline", cwd=folder).out

    assert run("validate", "spec.toml", "--offline").out == wanted
    assert run("launch", "spec.toml", "-n", "--local").out == wanted


def test_the_plan_fits_80_columns(run: Any, folder: Path) -> None:
    out = run("check", "--offline", "-s", "slurm.gpus_per_node=1", cwd=folder).out

    assert max(map(len, out.splitlines())) <= 80


def test_gpu_hours_are_told(run: Any, folder: Path) -> None:
    given = ["-s", "slurm.gpus_per_node=2", "-s", "fidelity.unit_time=60"]

    out = run("check", "--offline", *given, cwd=folder).out

    assert re.search(r"total +6 +0\.2 h +1\.7 h", out)
    assert "likely from fidelity.unit_time = 60 s" in out


def test_overrides_of_sbatch_change_the_plan(run: Any, folder: Path) -> None:
    assert "0:42:00" in run("check", "--offline", "-t", "42", cwd=folder).out


def test_all_errors_come_at_once_with_their_places(run: Any, folder: Path) -> None:
    text = (folder / "spec.toml").read_text()
    (folder / "spec.toml").write_text(
        text.replace("metric =", "metirc =").replace("[1e-4, 1e-1]", "[1e-1, 1e-4]")
    )

    ended = run("check", "--offline", cwd=folder)

    assert (ended.code, ended.out) == (2, "")
    assert "did you mean 'metric'?" in ended.err
    assert "low 0.1 is above high 0.0001" in ended.err
    assert "Traceback" not in ended.err


def test_errors_as_json_have_places(run: Any, folder: Path) -> None:
    text = (folder / "spec.toml").read_text()
    (folder / "spec.toml").write_text(text.replace("[1e-4, 1e-1]", "[1e-1, 1e-4]"))

    ended = run("check", "--offline", "--json", cwd=folder)
    [problem] = json.loads(ended.out)["problems"]

    assert ended.code == 2
    assert problem["code"] == "S1"
    assert problem["line"] == 7


BRACKETS = """\
  bracket  trials@epochs            configs  evaluations  from scratch  resumed
        0  81@1 27@3 9@9 3@27 1@81       81          121           405      297
        1  34@3 11@9 3@27 1@81           34           49           363      276
        2  15@9 5@27 1@81                15           21           351      279
        3  8@27 2@81                      8           10           378      324
        4  5@81                           5            5           405      405
    total                               143          206          1902     1581
"""


def test_brackets_of_hyperband_are_shown_with_their_costs(run: Any, folder: Path) -> None:
    """Li et al. 2018, for R = 81 and eta = 3."""
    given = ["-s", "search.scheduler=hyperband", "-s", "fidelity.max=81"]

    out = run("check", "--offline", *given, "-s", "search.trials=143", cwd=folder).out

    assert BRACKETS in out
    assert max(map(len, out.splitlines())) <= 80


def test_brackets_as_json(run: Any, folder: Path) -> None:
    given = ["-s", "search.scheduler=hyperband", "-s", "search.trials=5"]

    data = json.loads(run("check", "--offline", "--json", *given, cwd=folder).out)

    assert data["brackets"] == [
        {
            "bracket": 0,
            "times": 1,
            "rungs": [
                {"rung": 0, "resource": 1, "trials": 3},
                {"rung": 1, "resource": 3, "trials": 1},
            ],
            "configs": 3,
            "evaluations": 4,
            "cost_from_scratch": 6,
            "cost_resumed": 5,
        },
        {
            "bracket": 1,
            "times": 1,
            "rungs": [{"rung": 1, "resource": 3, "trials": 2}],
            "configs": 2,
            "evaluations": 2,
            "cost_from_scratch": 6,
            "cost_resumed": 6,
        },
    ]


def test_a_control_group_is_shown_apart(run: Any, folder: Path) -> None:
    given = ["-s", "fidelity.hedge=0.1", "-s", "search.trials=20"]

    out = run("check", "--offline", *given, cwd=folder).out

    assert re.search(r"^    hedge  2@1 2@3 +2 +4 +8 +6$", out, re.MULTILINE)


def test_generations_of_a_population(run: Any, folder: Path) -> None:
    given = ["-s", "search.scheduler=pbt", "-s", "search.trials=10", "-s", "fidelity.max=20"]

    out = run("check", "--offline", *given, cwd=folder).out

    assert "a population of 10, 20 generations, 2 at a time" in out
    assert "200 evaluations: 200 epochs; after each generation 2 of 10 give way" in out
    assert re.search(r"^    \.\.\.$", out, re.MULTILINE)


def test_iterations_of_a_race(run: Any, folder: Path) -> None:
    given = ["-s", "search.scheduler=irace", "-s", "fidelity.resource=fold"]

    out = run(
        "check", "--offline", *given, "-s", "fidelity.max=10", "-s", "search.trials=20", cwd=folder
    ).out

    assert "200 evaluations of at most 20 trials" in out
    assert re.search(r"iteration +evaluations +configs\n +1 +100 +16\n +2 +100 +14", out)


@pytest.mark.parametrize("scheduler", ["pasha", "median", "dehb", "bohb", "async_hyperband"])
def test_every_scheduler_has_a_plan(run: Any, folder: Path, scheduler: str) -> None:
    ended = run("check", "--offline", "-s", f"search.scheduler={scheduler}", cwd=folder)

    assert (ended.code, ended.err) == (0, "")
    assert "\nPlan  " in ended.out


def test_a_last_rung_that_nobody_reaches_is_a_warning(run: Any, folder: Path) -> None:
    out = run("check", "--offline", "-s", "search.trials=2", cwd=folder).out

    assert "so few trials promote none to the last rung: 3 would be enough" in out


def test_a_scheduler_of_the_users_own_is_made(run: Any, folder: Path) -> None:
    (folder / "mine.py").write_text("class Mine:\n    pass\n")

    ended = run("check", "--offline", "-s", "search.scheduler=mine.py:Mine", cwd=folder)

    assert ended.code == 2
    assert "error: Mine cannot be made: TypeError: Mine() takes no arguments" in ended.err
    assert "Traceback" not in ended.err


def test_json_has_the_plan(run: Any, folder: Path) -> None:
    data = json.loads(run("check", "--offline", "--json", cwd=folder).out)

    assert data["ok"] is True
    assert [row["trials"] for row in data["plan"]] == [4, 1]
    assert len(data["draws"]) == 3


def test_a_warning_counts_when_strict(run: Any, folder: Path) -> None:
    given = ["-s", "stop.gpu_hours=0.1", "-s", "slurm.gpus_per_node=1"]

    assert run("check", "--offline", *given, cwd=folder).code == 0
    ended = run("check", "--offline", "--strict", *given)

    assert ended.code == 2
    assert "is below the most this can use" in ended.out


def test_rules_that_nothing_keeps_are_told(run: Any, folder: Path) -> None:
    with (folder / "spec.toml").open("a") as file:
        file.write('[constraints]\nnever = "lr > 1"\n')

    for command in (["check", "--offline"], ["launch", "--local=1"]):
        ended = run(*command, cwd=folder)
        assert ended.code == 2
        assert "error: none of 2000 random configs keeps this rule" in ended.err
        assert '21 | never = "lr > 1"\n    |         ^^^^^^^^' in ended.err
    assert not (folder / "runs").exists()


def test_rules_that_few_keep_are_a_warning(run: Any, folder: Path) -> None:
    with (folder / "spec.toml").open("a") as file:
        file.write('[constraints]\nseldom = "lr > 0.097"\n')

    ended = run("check", "--offline", cwd=folder)

    assert ended.code == 0
    assert " % of 2000 random configs keep the constraints" in ended.out


def test_a_start_without_effect_has_a_place(run: Any, folder: Path) -> None:
    with (folder / "spec.toml").open("a") as file:
        file.write('[[start]]\nkind = "sgd"\nbeta = 0.5\n')
    space = ["-s", 'space.kind={values=["adam", "sgd"]}']
    space += ["-s", 'space.beta={uniform=[0.0, 1.0], when={kind="adam"}}']

    ended = run("check", "--offline", *space, cwd=folder)

    assert ended.code == 2
    assert "error: start point: 'beta' has no effect here: it needs kind is adam" in ended.err
    assert "spec.toml:20:3 (start[0])" in ended.err


def test_what_is_not_available_yet_is_a_note(run: Any, folder: Path) -> None:
    ended = run("check", "--offline", "-s", "search.sampler=gp", cwd=folder)

    assert ended.code == 0
    assert 'note: not available yet: sampler = "gp"' in ended.err


def test_a_grid_shows_its_first_configs(run: Any, folder: Path) -> None:
    given = ["-s", "search.sampler=grid", "-s", "space.lr={values=[1, 2, 3, 4]}"]

    out = run("check", "--offline", *given, cwd=folder).out

    assert re.search(r"lr  values  1 2 3 4  1  2  3$", out, re.MULTILINE)


def test_without_slurm_it_says_how_to_try(
    run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C9 is a note of `check`: a laptop is a fine place to write a spec."""
    monkeypatch.setenv("PATH", "")

    ended = run("check", cwd=folder)

    assert ended.code == 0
    assert NO_SLURM in ended.out
    assert ended.out.endswith("next: slurmtune launch spec.toml --local\n")


def test_slurm_is_asked(run: Any, folder: Path, slurm: FakeSlurm) -> None:
    ended = run("check", cwd=folder)

    assert ended.code == 0
    assert "checked with sbatch --test-only" in ended.out
    assert slurm.tasks == []


def test_a_refusal_by_slurm_is_exit_code_3(run: Any, folder: Path, slurm: FakeSlurm) -> None:
    slurm.fail("sbatch", "sbatch: error: invalid partition specified: gpuu")

    ended = run("check", "-p", "gpuu", cwd=folder)

    assert ended.code == 3
    assert "no partition 'gpuu'" in ended.out
    assert "Slurm says: " in ended.out


def test_the_cluster_as_json(run: Any, folder: Path, slurm: FakeSlurm) -> None:
    found = json.loads(run("check", "--json", cwd=folder).out)["slurm"]["findings"]

    assert {one["level"] for one in found} <= {"ok", "warn"}


def test_the_batch_script_is_printed(run: Any, folder: Path) -> None:
    ended = run("check", "--sbatch", cwd=folder)

    assert ended.code == 0
    assert ended.out.startswith("# rungs 0 and 1, first array of 2\n#!/bin/bash\n")
    assert "#SBATCH --array=0-1" in ended.out
    assert "slurmtune.worker" in ended.out


def test_an_existing_study_shows_what_would_change(run: Any, finished: Path) -> None:
    given = ["-s", "search.trials=5", "-s", "study.seed=7"]

    out = run("check", "--offline", *given, cwd=finished).out

    assert "study toy, exists, in runs/toy" in out
    assert "search.trials: 4 -> 5\n" in out
    assert "study.seed: 0 -> 7   refused: it would be another study" in out

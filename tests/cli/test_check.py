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


# ------------------------------------------------------------------ what the plan promises

GPU = ("-s", "slurm.gpus_per_node=1")


def told_by(run: Any, folder: Path, *given: str) -> str:
    """Return what check says, every override with its -s, without its line breaks."""
    options = [word for one in given for word in ("-s", one)]
    ended = run("check", "--offline", *GPU, *options, cwd=folder)
    assert (ended.code, ended.err) == (0, "")
    return str(ended.out)


def flat(told: str) -> str:
    return " ".join(told.split())


def test_a_training_that_does_not_fit_is_a_warning(run: Any, folder: Path) -> None:
    """The toy has 0:10:00; rung 3 trains 18 epochs of an hour."""
    given = ("fidelity.max=27", "fidelity.unit_time=3600", "search.trials=30")

    told = told_by(run, folder, *given)

    assert (
        "18 epochs take 18 h at fidelity.unit_time = 3600 s, 108 times the time limit of rung 3, "
        "0:10:00: that needs several slots in a row, and checkpoints to go on from; not even 1 "
        "epoch fits into one. If that is not meant, raise slurm.time, or let it grow with the "
        "rungs: slurm.time_per_unit"
    ) in flat(told)
    assert re.search(r"total +86 +86\.0 h +86\.0 h", told)
    assert "at most if all slots that this takes used the whole time limit" in flat(told)


def test_a_training_that_fits_is_none(run: Any, folder: Path) -> None:
    assert "several slots" not in told_by(run, folder, "fidelity.unit_time=300")


def test_the_warning_about_long_trainings_refuses_nothing(run: Any, folder: Path) -> None:
    ended = run("check", "--offline", "-s", "fidelity.unit_time=3600", cwd=folder)

    assert ended.code == 0
    assert "\n1 warning; nothing was submitted." in ended.out


STOPPING = """\
Plan     eta 3, a trial runs on, and stops at a rung unless in its best 1/3
  trials@epochs if 1/3 of each rung run on: 81@1 27@3 9@9 3@27
  up to epochs  trials  in all  time limit  GPUs  at most
            27      81     243     0:10:00     1   13.5 h
  Without early stopping: 81 x 27 = 2187 epochs, 9.0 times as many.
"""


@pytest.mark.parametrize("resume", ["true", "false"])
def test_the_stopping_variant_has_one_slot_for_each_trial(
    run: Any, folder: Path, resume: str
) -> None:
    given = ("search.variant=stopping", "search.trials=81", "fidelity.max=27")

    assert STOPPING in told_by(run, folder, *given, f"fidelity.resume={resume}")


def test_the_stopping_variant_has_one_batch_script(run: Any, folder: Path) -> None:
    text = (folder / "spec.toml").read_text()
    limit = 'time_per_unit = "2:00"\ntime_extra = "5:00"'
    (folder / "spec.toml").write_text(re.sub(r"time += .*", limit, text))
    given = ["-s", "search.variant=stopping", "-s", "fidelity.max=9"]

    out = run("check", "--sbatch", *given, cwd=folder).out

    assert out.startswith("# rungs 0, 1 and 2, first array of 2\n")
    assert re.findall(r"#SBATCH --time=(.*)", out) == ["23"]


def test_slots_that_are_queued_ahead_are_in_the_first_array(run: Any, folder: Path) -> None:
    out = run("check", "--sbatch", "-s", "slurm.ahead=2.0", cwd=folder).out

    assert out.startswith("# rungs 0 and 1, first array of 4\n")
    assert "#SBATCH --array=0-3%2\n" in out


def test_the_first_array_of_a_population_has_a_slot_for_each_member(
    run: Any, folder: Path
) -> None:
    given = ["search.scheduler=pbt", "search.trials=3", "search.parallel=9", "fidelity.max=3"]
    options = [word for one in given for word in ("-s", one)]

    assert "first array of 3\n" in run("check", "--sbatch", *options, cwd=folder).out


def irace(*given: str) -> list[str]:
    return ["search.scheduler=irace", "fidelity.resource=fold", "fidelity.max=10", *given]


def without_trials(folder: Path) -> None:
    text = (folder / "spec.toml").read_text()
    (folder / "spec.toml").write_text(re.sub(r"^trials.*\n", "", text, flags=re.MULTILINE))


def test_trials_that_end_a_race_before_its_budget_are_told(run: Any, folder: Path) -> None:
    told = flat(told_by(run, folder, *irace("search.trials=10", "search.irace.budget=100")))

    assert "at most 100 evaluations of at most 10 trials" in told
    assert (
        "Warnings search.trials = 10 may leave a part of search.irace.budget = 100 unused: the "
        "races would start about 12 to 16 trials; leave search.trials out, or write at least 16"
    ) in told


def test_a_budget_that_follows_from_the_trials_is_no_warning(run: Any, folder: Path) -> None:
    told = flat(told_by(run, folder, *irace("search.trials=20")))

    assert "search.trials = 20 ends it before, with fewer evaluations" in told
    assert "Warnings" not in told


def test_a_race_tells_how_many_trials_it_may_start(run: Any, folder: Path) -> None:
    without_trials(folder)

    told = flat(told_by(run, folder, *irace("search.irace.budget=1000")))

    assert re.search(r"at most 1000 evaluations of about \d+ to \d+ trials", told)
    assert "of at most 1000 trials" not in told


def test_a_bracket_with_too_few_trials_is_a_warning(run: Any, folder: Path) -> None:
    given = ("search.scheduler=hyperband", "fidelity.max=9", "search.trials=11")

    assert (
        "bracket 1 has 2 of its 5 trials, so that its rungs hold 2 and 1: where fewer than eta = "
        "3 are left, the best one goes on all the same; search.trials = 14 would fill it, 9 would "
        "leave it out"
    ) in flat(told_by(run, folder, *given))


def test_whole_brackets_are_no_warning(run: Any, folder: Path) -> None:
    given = ("search.scheduler=hyperband", "fidelity.max=9", "search.trials=17")

    assert "Warnings" not in told_by(run, folder, *given)


def test_repeated_brackets_have_the_numbers_that_explain_tells(run: Any, folder: Path) -> None:
    given = ("search.scheduler=hyperband", "fidelity.max=9", "search.trials=51")

    told = told_by(run, folder, *given)

    assert re.search(r"^  0, 3, \.\.\.      3  9@1 3@3 1@9 ", told, re.MULTILINE)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["search.trials=1"], "1 evaluation: 1 epoch from scratch, 1 resumed"),
        (
            ["search.scheduler=pbt", "search.trials=4"],
            "after each generation 1 of 4 gives way to an heir",
        ),
        (["fidelity.max=300000", "search.trials=9"], "9 x 300000 = 2700000 epochs"),
    ],
)
def test_numbers_and_words_agree(run: Any, folder: Path, given: list[str], words: str) -> None:
    assert words in told_by(run, folder, *given)


def test_a_scheduler_that_is_not_there_has_a_place(run: Any, folder: Path) -> None:
    ended = run("check", "--offline", "-s", "search.scheduler=nofile.py:X", cwd=folder)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(
        "error: cannot read nofile.py: No such file or directory\n"
        "  --> command line:1:21 (search.scheduler)\n"
    )
    assert "its path is relative to the spec" in ended.err
    assert ended.err.endswith("1 error; nothing was submitted.\n")


def test_a_scheduler_with_a_wrong_name_is_guessed(run: Any, folder: Path) -> None:
    (folder / "greedy.py").write_text("")

    ended = run("check", "--offline", "-s", "search.scheduler=gredy.py:Greedy", cwd=folder)

    assert "did you mean 'greedy.py:Greedy'?" in ended.err

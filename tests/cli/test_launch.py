"""``launch`` and ``stop``, with real slots on this machine."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from slurmtune.cli import check, launch
from slurmtune.cli.study import overview_of
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.fake_slurm import FakeSlurm

SLOW = """\
import time, slurmtune
trial = slurmtune.trial(lr=0.1, epoch=3)
for epoch in trial.steps():
    while not trial.should_stop:
        time.sleep(0.05)
"""
CRASHES = """\
raise RuntimeError("no luck \\x1b[31m")
"""
NOT_FINITE = """\
import slurmtune
trial = slurmtune.trial(lr=0.1, epoch=3)
for epoch in trial.steps():
    trial.report(loss=float("nan"))
"""
SILENT = """\
import slurmtune
trial = slurmtune.trial(lr=0.1)
"""


def wait_until_it_runs(process: subprocess.Popen[str], folder: Path) -> None:
    """Return when an attempt runs."""
    deadline = time.monotonic() + 30
    while not list(folder.glob("runs/toy/trials/*/*/events.log")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_launch_tells_what_happened(finished_once: Any) -> None:
    _, ended = finished_once
    lines = ended.out.splitlines()

    assert (ended.code, ended.err) == (0, "")
    assert lines[0] == "study toy   4 trials, random, asha 1-3 epochs   runs/toy"
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d  "
    assert re.fullmatch(stamp + "started 2 slots on this machine", lines[1])
    assert any(re.match(stamp + r"t\d{5} rung 1 loss \d", line) for line in lines)
    assert "first result after" in ended.out
    assert re.search(r"^done: 4 of 4 trials, 4 good; \d+ s$", ended.out, re.MULTILINE)
    assert re.search(r"^t\d{5}   loss \S+ at 3 of 3 epochs$", ended.out, re.MULTILINE)


def test_without_a_terminal_there_is_no_escape_byte(finished_once: Any) -> None:
    _, ended = finished_once

    assert "\x1b" not in ended.out
    assert "\r" not in ended.out


def test_launching_a_finished_study_again_says_it_is_done(run: Any, finished: Path) -> None:
    shutil.rmtree(finished / "runs" / "toy" / "control", ignore_errors=True)
    (finished / "runs" / "toy" / "control").mkdir()

    ended = run("launch", "spec.toml", "--local=1", cwd=finished)

    assert ended.code == 0
    assert ended.out.startswith("continuing toy")
    assert "done: 4 of 4 trials" in ended.out


def test_more_trials_continue_a_finished_study(run: Any, finished: Path) -> None:
    ended = run("launch", "--local=1", "-s", "search.trials=5", cwd=finished)

    assert ended.code == 0
    assert "  changed search.trials: 4 -> 5\n" in ended.out
    assert "done: 5 of 5 trials" in ended.out


def test_another_space_is_another_study(run: Any, finished: Path) -> None:
    ended = run("launch", "--local", "-s", "space.lr={uniform=[0, 1]}", cwd=finished)

    assert ended.code == 2
    assert "space.lr" in ended.err


def test_when_everything_fails_it_says_so(run: Any, toy: Any, tmp_path: Path) -> None:
    """No word of success, the commonest cause, exit code 1."""
    ended = run("launch", "--local=1", cwd=toy(tmp_path / "toy", train=CRASHES))

    assert ended.code == 1
    assert ended.err.startswith("error: all 3 finished trials failed, so the study was paused\n")
    assert "3 x  RuntimeError: no luck" in ended.err
    assert "done" not in ended.out
    assert "\x1b" not in ended.out + ended.err


def test_a_failure_is_told_in_full(run: Any, toy: Any, tmp_path: Path) -> None:
    out = run("launch", "--local=1", cwd=toy(tmp_path / "toy", train=CRASHES)).out

    assert re.search(r"t00000 rung 0 failed, exit code 1 on \S+ \(job \d+\)\n", out)
    assert "          command  python train.py\n" in out
    assert "          cause    RuntimeError: no luck" in out
    assert "                   | RuntimeError: no luck" in out
    assert "          then     not repeated (retry.crash); the trial counts as the worst\n" in out
    assert "          log      runs/toy/trials/t00000/t00000.r0.a1/output.log\n" in out


def test_a_missing_metric_pauses_at_once(run: Any, toy: Any, tmp_path: Path) -> None:
    """D5: a program that reports nothing will report nothing the next time either."""
    ended = run("launch", "--local=1", cwd=toy(tmp_path / "toy", train=SILENT))

    assert ended.code == 1
    assert "reported no 'loss'" in ended.out
    assert "the only finished trial failed, so the study was paused" in ended.err


def test_no_slurm_is_told_before_anything_is_written(
    run: Any, toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    folder = toy(tmp_path / "toy")

    ended = run("launch", cwd=folder)

    assert ended.code == 3
    assert "slurmtune launch spec.toml --local" in ended.err
    assert not (folder / "runs").exists()


def test_a_refusal_by_slurm_is_told_before_anything_is_written(
    run: Any, toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = FakeSlurm(str(tmp_path / "slurm"), slots=0)
    monkeypatch.setenv("PATH", slurm.path)
    slurm.fail("sbatch", "sbatch: error: invalid partition specified: gpuu")
    folder = toy(tmp_path / "toy")

    ended = run("launch", "-p", "gpuu", cwd=folder)

    assert ended.code == 3
    assert "no partition 'gpuu'" in ended.err
    assert ended.err.endswith("Nothing was submitted.\n")
    assert not (folder / "runs").exists()


def test_gpus_are_for_local_slots_only(run: Any, toy: Any, tmp_path: Path) -> None:
    assert run("launch", "--gpus", "0", cwd=toy(tmp_path / "toy")).code == 2


@pytest.mark.slow
def test_one_ctrl_c_leaves_the_slots_and_stop_ends_them(
    run: Any, toy: Any, tmp_path: Path, start_process: Any, finish_process: Any
) -> None:
    folder = toy(tmp_path / "toy", train=SLOW)
    process = start_process("launch", "--local=1", "-s", "study.tags=[]", cwd=folder)
    wait_until_it_runs(process, folder)
    process.send_signal(signal.SIGTERM)
    ended = finish_process(process)

    assert ended.code == 143
    assert ended.out.endswith(
        "Stopped watching. 1 slot stays on this machine and will finish by itself;\n"
        "promotions wait for the driver.\n"
        "  continue   slurmtune launch spec.toml -s 'study.tags=[]' --local=1\n"
        "  cancel     slurmtune stop toy\n"
    )
    assert "driver left" in run("status", cwd=folder).out
    assert run("stop").code == 2
    stopped = run("stop", "--yes")
    assert stopped.out == (
        "toy: cancelled its jobs. 0 results kept.   "
        "continue: slurmtune launch spec.toml -s 'study.tags=[]' --local\n"
    )


@pytest.mark.slow
def test_a_second_ctrl_c_cancels(
    toy: Any, tmp_path: Path, start_process: Any, finish_process: Any
) -> None:
    folder = toy(tmp_path / "toy", train=SLOW)
    process = start_process("launch", "--local=1", cwd=folder)
    wait_until_it_runs(process, folder)
    process.send_signal(signal.SIGINT)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    ended = finish_process(process)

    assert ended.code == 130
    assert "press Ctrl-C again within 5 s" in ended.out
    assert ended.out.endswith("Cancelled 1 slot. Results and checkpoints stay.\n")


@pytest.mark.slow
def test_a_living_driver_is_respected_and_obeys(
    run: Any, toy: Any, tmp_path: Path, start_process: Any, finish_process: Any
) -> None:
    folder = toy(tmp_path / "toy", train=SLOW)
    process = start_process("launch", "--local=1", cwd=folder)
    wait_until_it_runs(process, folder)

    second = run("launch", "--local=1", cwd=folder)
    assert second.code == 5
    assert "is already driven by pid" in second.err
    assert second.out == ""
    stopped = run("stop", "--yes")
    ended = finish_process(process)

    assert re.match(r"toy: cancelled (no jobs|.*running jobs?)\. 0 results kept\.", stopped.out)
    assert ended.code == 0
    assert "stopped: " in ended.out


@pytest.mark.parametrize("seconds", ["0.5", "often", "nan", "1e9"])
def test_slurm_is_not_asked_more_often_than_once_a_second(
    run: Any, toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("PATH", FakeSlurm(str(tmp_path / "slurm")).path)
    monkeypatch.setenv("SLURMTUNE_POLL_SECONDS", seconds)

    ended = run("launch", "--yes", cwd=toy(tmp_path / "toy"))

    assert ended.code == 2
    assert f"SLURMTUNE_POLL_SECONDS is '{seconds}': seconds between 1 and 3600" in ended.err
    assert not (tmp_path / "toy" / "runs").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "4 trials, random, asha 1-3 epochs"),
        (["search.scheduler=none"], "4 trials, random, 3 epochs"),
        (["search.scheduler=none", "fidelity.max=1"], "4 trials, random, 1 epoch "),
    ],
)
def test_the_first_line_tells_how_far_trials_are_trained(
    toy: Any, tmp_path: Path, given: list[str], words: str
) -> None:
    folder = toy(tmp_path / "toy")

    assert words in launch._first_line(check.examine(str(folder / "spec.toml"), given))


def test_when_every_trial_failed_no_trial_is_left(run: Any, toy: Any, tmp_path: Path) -> None:
    folder = toy(tmp_path / "toy", train="raise SystemExit(3)")
    given = ["-s", "search.trials=2", "-s", "retry.max_failed=100"]
    ended = run("launch", "--local=2", *given, cwd=folder)

    assert ended.code == 1
    assert "no trial is left: mend the cause, then start a new study" in ended.err


def test_when_nothing_is_finite_it_says_so(run: Any, toy: Any, tmp_path: Path) -> None:
    """All trials have ended: none is left to go on with, and none is the best."""
    folder = toy(tmp_path / "toy", train=NOT_FINITE)
    ended = run("launch", "--local=2", cwd=folder)

    assert ended.code == 1
    assert ended.err.splitlines()[0] == "error: all 4 trials ended without a finite loss"
    assert "no trial is left: mend the cause, then start a new study" in ended.err
    assert "the same command" not in ended.err
    assert "done: 4 of 4 trials, 0 good, 4 without a finite loss; " in ended.out
    assert "first result" not in ended.out
    assert "slurmtune best" not in ended.out
    status = run("status", cwd=folder).out
    assert "ended  4 of 4 trials, 0 good, 4 without a finite loss\n" in status


def test_launching_a_finished_study_again_does_not_make_it_longer(
    run: Any, finished: Path
) -> None:
    before = overview_of(StudyLayout(str(finished / "runs" / "toy")))
    run("launch", "spec.toml", "--local=1", cwd=finished)
    after = overview_of(StudyLayout(str(finished / "runs" / "toy")))

    assert after["time"] > before["time"]
    assert after["ended"] == before["ended"]


def test_a_race_is_headed_by_what_trials_are_compared_on(
    run: Any, toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = toy(tmp_path / "toy") / "spec.toml"
    words = spec.read_text().replace('"asha"', '"irace"').replace("max = 3", "max = 10")
    spec.write_text(words.replace('"epoch"', '"fold"'))
    monkeypatch.chdir(spec.parent)
    checked = check.examine("spec.toml", ["search.irace.budget=72"])

    assert ", irace on up to 10 folds   " in launch._first_line(checked)

"""``explain TRIAL``: the story of a trial as the user reads it; ``explain WORD``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slurmtune.analysis.decisions import Rival
from slurmtune.cli import explain
from slurmtune.testing.written_study import simulate_into, spec_text

SPEC = spec_text("asha", trials=12)


@pytest.fixture(scope="module")
def asha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_into(tmp_path_factory.mktemp("explain") / "asha", SPEC)


@pytest.fixture(scope="module")
def unlucky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose slots are pre-empted again and again."""
    model = {"preemptions_per_hour": 20.0}
    return simulate_into(tmp_path_factory.mktemp("explain") / "unlucky", SPEC, model=model)


@pytest.fixture(scope="module")
def pbt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = SPEC.replace('"asha"', '"pbt"').replace("trials = 12", "trials = 6")
    return simulate_into(tmp_path_factory.mktemp("explain") / "pbt", spec)


@pytest.fixture(scope="module")
def stopping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = SPEC.replace('"asha"', '"asha"\nvariant = "stopping"')
    return simulate_into(tmp_path_factory.mktemp("explain") / "stopping", spec)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_story_begins_with_the_config(run: Any, asha: Path) -> None:
    lines = run("explain", "t0", cwd=asha).out.splitlines()

    assert lines[0] == "t00000   done; val_loss, lower is better"
    assert lines[1].startswith("x1 ")
    assert "drawn by hash; to be trained up to 1 epoch" in lines[3]


def test_a_promotion_tells_place_rule_and_cutoff(run: Any, asha: Path) -> None:
    out = flat(run("explain", "t0", cwd=asha).out)

    assert re.search(
        r"promoted to 3 epochs: val_loss [\d.]+, 1st of 3; the best 1/3 of the rung go on: "
        r"1 place, val_loss at most [\d.]+",
        out,
    )
    assert "1 t00000 0.9482 <- this trial, the last that may go on 2 t00001" in out


def test_who_has_no_finite_result_is_never_the_last_that_may_go_on() -> None:
    compared = [Rival(trial=trial, value=None) for trial in range(3)]

    lines = [*explain._neighbours(2, compared, 3, everything=False)]

    assert lines[-1].endswith("<- this trial")


def test_what_a_paused_trial_waits_for(run: Any, asha: Path) -> None:
    out = flat(run("explain", "rig", "1", cwd=asha).out)

    assert re.search(r"now paused at 1 epoch: \d+th of 12; .* on when \d+ have finished", out)


def test_a_trial_that_runs_on_tells_each_rung_that_it_passed(run: Any, stopping: Path) -> None:
    out = flat(run("explain", "t0", cwd=stopping).out)

    assert re.search(
        r"runs on at 1 epoch: val_loss ([\d.]+), 1st of 1; on arrival the best 1/3 of the rung "
        r"run on, at least one: 1 place, val_loss at most \1 .*runs on at 3 epochs: .*completed",
        out,
    )


def test_decisions_to_run_on_are_computed_anew(run: Any, stopping: Path) -> None:
    ended = run("replay", "--check", cwd=stopping)

    assert ended.code == 0
    assert "   6  trials let run on\n" in ended.out


def test_all_shows_every_trial_of_the_rung(run: Any, asha: Path) -> None:
    few = run("explain", "1", cwd=asha).out
    every = run("explain", "1", "--all", cwd=asha).out

    assert "..." in few
    assert "..." not in every
    assert {f"t{number:05d}" for number in range(12)} <= set(every.split())


def test_dots_never_stand_for_a_single_trial(run: Any, asha: Path) -> None:
    missing = []
    for number in range(12):
        out = run("explain", str(number), cwd=asha).out
        for shown in re.findall(r"(?: {10} +(?:\.\.\.|\d+  t).*\n)+", out):
            ranks = re.findall(r"^ +(\.\.\.|\d+)", shown, re.MULTILINE)
            for before, dots, after in zip(["0", *ranks], ranks, ranks[1:], strict=False):
                if dots == "...":
                    missing.append(int(after) - int(before) - 1)

    assert missing
    assert min(missing) > 1


def test_the_story_as_json_has_numbers_in_full(run: Any, asha: Path) -> None:
    data = json.loads(run("explain", "t0", "--json", cwd=asha).out)
    shown = json.loads(run("show", "t0", "--json", cwd=asha).out)

    assert data["schema"] == "slurmtune.explain/1"
    verdicts = [(one["kind"], one["rung"], one["resource"]) for one in data["verdicts"]]
    assert verdicts == [
        ("paused", 0, 1),
        ("promoted", 0, 1),
        ("paused", 1, 3),
        ("promoted", 1, 3),
        ("completed", 2, 9),
    ]
    assert data["verdicts"][-1]["value"] == shown["value"]
    promoted = data["verdicts"][1]
    assert promoted["compared"][0] == {"trial": "t00000", "value": promoted["value"]}
    assert promoted["standing"]["place"] == 1


def test_a_repeated_attempt_is_told_with_its_reason(run: Any, unlucky: Path) -> None:
    trials = json.loads(run("trials", "--json", cwd=unlucky).out)
    stories = [run("explain", trial["trial"], cwd=unlucky).out for trial in trials]

    told = [line for story in stories for line in story.splitlines() if "repeated " in line]
    assert told
    assert re.match(r"repeated  t0\d+\.r\d\.a1 was pre-empted on sim\d+", told[0])


def test_an_heir_tells_whom_it_continues_from_where(run: Any, pbt: Path) -> None:
    trials = json.loads(run("trials", "--json", cwd=pbt).out)
    shown = [json.loads(run("show", one["trial"], "--json", cwd=pbt).out) for one in trials]
    heir = next(one for one in shown if one["source"])
    donor = heir["lineage"][-2]

    out = flat(run("explain", heir["trial"], cwd=pbt).out)

    epochs = f"{donor['end']} epoch{'s' * (donor['end'] != 1)}"
    assert f"heir of {heir['source']}: goes on from what that saved at {epochs}" in out
    data = json.loads(run("explain", heir["trial"], "--json", cwd=pbt).out)
    assert data["began"]["source"] == heir["source"]


def test_an_unknown_trial(run: Any, asha: Path) -> None:
    ended = run("explain", "t99", cwd=asha)

    assert ended.code == 4
    assert ended.err == "error: there is no trial 99: the study has 12 trials, from 0 on\n"


def test_a_trial_without_a_study(run: Any, tmp_path: Path) -> None:
    assert run("explain", "t0", cwd=tmp_path).code == 4


def test_two_words_without_a_trial(run: Any, asha: Path) -> None:
    ended = run("explain", "rig", "K2", cwd=asha)

    assert ended.code == 2
    assert "which trial?" in ended.err


@pytest.mark.parametrize("code", [*explain.CLUSTER, "K2", "T1"])
def test_a_code_is_no_trial(run: Any, asha: Path, code: str) -> None:
    assert run("explain", code, cwd=asha).out.startswith(f"{code}: ")


def test_a_method_is_described(run: Any, tmp_path: Path) -> None:
    ended = run("explain", "asha", cwd=tmp_path)

    assert ended.code == 0
    assert len(ended.out) > 40


def test_a_word_that_is_neither(run: Any, tmp_path: Path) -> None:
    ended = run("explain", "foo", cwd=tmp_path)

    assert ended.code == 2
    assert "'foo' is no trial, no code of a message, no scheduler and no sampler" in ended.err


@pytest.mark.parametrize(
    ("scheduler", "trials", "name"),
    [("hyperband", 34, "bracket 3"), ("dehb", 30, "bracket 3"), ("irace", 20, "iteration 2")],
)
def test_a_bracket_has_the_name_and_number_of_check(
    run: Any, tmp_path: Path, scheduler: str, trials: int, name: str
) -> None:
    """Of the second round: what `check` lists as ``0, 3`` or ``3``, and as iteration 2."""
    folder = simulate_into(tmp_path / scheduler, spec_text(scheduler, trials=trials))
    told = flat(run("explain", "t19", cwd=folder).out)

    assert f"; {name}; to be trained up to" in told
    check = run("check", "--offline", cwd=folder).out
    word, number = name.split()
    assert re.search(rf"^ *{word} .*(\n.*)*\n[ \d,]*\b{number} ", check, re.MULTILINE)


def test_a_trial_without_brackets_names_none(run: Any, asha: Path) -> None:
    assert "bracket" not in run("explain", "t0", cwd=asha).out

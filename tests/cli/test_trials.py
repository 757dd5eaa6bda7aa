"""``trials``, ``show`` and ``logs`` of a study that really ran."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest


def test_the_best_of_the_highest_rung_comes_first(run: Any, finished: Path) -> None:
    rows = json.loads(run("trials", "--json", cwd=finished).out)

    assert len(rows) == 4
    assert rows[0]["rung"] == 1
    order = [(-row["rung"], row["value"]) for row in rows]
    assert order == sorted(order)


def test_the_table_has_a_line_per_trial(run: Any, finished: Path) -> None:
    lines = run("trials", cwd=finished).out.splitlines()

    assert lines[0].split() == ["trial", "rung", "state", "epochs", "loss", "lr", "node"]
    assert len(lines) == 5
    assert lines[1].split()[1:4] == ["1", "done", "3/3"]


def test_top_tells_how_many_are_hidden(run: Any, finished: Path) -> None:
    out = run("trials", "--top", "1", cwd=finished).out

    assert out.splitlines()[-1].startswith("3 more: --all")


def test_sorting_by_a_hyperparameter(run: Any, finished: Path) -> None:
    rows = json.loads(run("trials", "--sort", "lr", "--json", cwd=finished).out)

    values = [row["params"]["lr"] for row in rows]
    assert values == sorted(values)


def test_sorting_by_nothing_known(run: Any, finished: Path) -> None:
    ended = run("trials", "--sort", "lrr", cwd=finished)

    assert ended.code == 2
    assert "cannot sort by 'lrr'; one of: lr, trial" in ended.err


def test_only_one_state(run: Any, finished: Path) -> None:
    assert run("trials", "--state", "failed", cwd=finished).out.endswith("no such trials\n")


def test_csv_can_be_read_back_in_full(run: Any, finished: Path) -> None:
    wanted = json.loads(run("trials", "--json", cwd=finished).out)
    rows = list(csv.DictReader(io.StringIO(run("trials", "--csv").out)))

    assert [float(row["lr"]) for row in rows] == [one["params"]["lr"] for one in wanted]


def test_show_lists_every_rung(run: Any, finished: Path) -> None:
    best = json.loads(run("best", "--json", cwd=finished).out)["trial"]

    out = run("show", best).out

    assert out.startswith(f"{best}   promoted 1 time; now done\n")
    assert re.search(r" ok, 1st of \d\n", out)
    assert re.search(r" ok, (1st|2nd) of 4, promoted\n", out)
    assert "again   python train.py" in out


def test_show_as_json(run: Any, finished: Path) -> None:
    data = json.loads(run("show", "0", "--json", cwd=finished).out)

    assert data["command"] == ["python", "train.py"]
    assert data["attempts"][0]["outcome"] == "SUCCEEDED"


@pytest.mark.parametrize("words", [["show", "99"], ["logs", "99"], ["stop", "99", "--yes"]])
def test_an_unknown_trial_is_exit_code_4(run: Any, finished: Path, words: list[str]) -> None:
    ended = run(*words, cwd=finished)

    assert ended.code == 4
    assert ended.err.startswith("error: ")


def test_show_needs_a_trial(run: Any, finished: Path) -> None:
    assert run("show", cwd=finished).code == 2


def test_logs_show_what_the_program_printed(run: Any, finished: Path) -> None:
    first, *rest = run("logs", "0@0", cwd=finished).out.splitlines()

    assert first.startswith("== t00000 rung 0, job ")
    assert first.endswith(", ok ==")
    assert rest == ["epoch 1"]


def test_following_ends_with_the_attempt(run: Any, finished: Path) -> None:
    assert run("logs", "0", "-f", cwd=finished).out.count(", ok ==") == 2


def test_logs_without_a_trial_show_a_slot(run: Any, finished: Path) -> None:
    assert run("logs", cwd=finished).out.startswith("== runs/toy/logs/")

"""``trials``, ``show`` and ``logs`` of a study that really ran."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from slurmtune.backends.simulation.program import ProgramFailedError
from slurmtune.cli.trials import row
from slurmtune.core.events import Config, Resource, StopRequested
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.median import MedianRule
from slurmtune.testing.curves import PowerLawCurves
from slurmtune.testing.study_rig import StudyRig
from slurmtune.testing.written_study import simulate_into, spec_text


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


def test_a_trial_that_is_done_is_not_stopped(run: Any, finished: Path) -> None:
    ended = run("stop", "0", cwd=finished)

    assert ended.code == 0
    assert ended.out == "t00000 is done already: there is nothing to stop\n"
    assert not list((finished / "runs").glob("*/control/*-*.json"))


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


# ------------------------------------------------------------------ states and resources


def rows_of(rig: StudyRig) -> list[dict[str, Any]]:
    return [row(rig.study, trial) for trial in rig.study.trials]


def part_of(rig: StudyRig, results: int) -> StudyRig:
    """Let the study go on until there are so many results."""
    driver = rig.new_driver()
    driver.open(rig.limits, "rig")
    while len(rig.study.results.history.observations) < results:
        driver.tick()
        rig.clock.wait(10.0)
    return rig


def test_a_trial_that_may_go_on_is_paused_and_done_when_the_study_is() -> None:
    rig = part_of(StudyRig(trials=9, slots=2, levels=(1, 3)), 4)
    paused = [one["trial"] for one in rows_of(rig) if one["state"] == "paused"]
    assert paused
    assert "done" not in {one["state"] for one in rows_of(rig)}

    rig.run()

    assert {one["state"] for one in rows_of(rig)} == {"done"}


def test_in_a_study_that_was_stopped_a_trial_may_still_go_on() -> None:
    rig = part_of(StudyRig(trials=9, slots=2, levels=(1, 3)), 4)
    rig.study.handle(StopRequested(time=rig.clock.now(), trial=None))

    assert "paused" in {one["state"] for one in rows_of(rig)}
    assert "done" not in {one["state"] for one in rows_of(rig)}


def test_a_new_trial_that_runs_through_is_at_the_first_rung() -> None:
    rig = StudyRig(
        trials=9,
        slots=3,
        scheduler=lambda: AshaStopping([1, 3, 9], 3),
        program=PowerLawCurves(seconds_spread=0.9),
    )
    part_of(rig, 1)

    new = [one for one in rows_of(rig) if not one["values"]]
    assert new
    assert {(one["rung"], one["of"]) for one in new} == {(0, 1)}
    passed = next(one for one in rows_of(rig) if one["values"])
    assert (passed["rung"], passed["of"]) == (1, 3)


def test_a_trial_that_was_stopped_between_rungs_has_its_last_value() -> None:
    rig = StudyRig(trials=9, slots=3, scheduler=lambda: MedianRule(9, grace=1, min_trials=2))
    rig.run()

    stopped = [one for one in rows_of(rig) if one["state"] == "stopped"]
    assert stopped
    for one in stopped:
        attempt = rig.study.trials[int(one["trial"][1:])].attempts[-1]
        assert one["value"] == attempt.value is not None
        assert one["resource"] == attempt.resource is not None
        assert one["values"] == {}


class FailsAfter(PowerLawCurves):
    """Fails in what follows on the first rung."""

    def metrics(self, config: Config, resource: Resource, seed: int) -> Mapping[str, float]:
        if resource > 2:
            raise ProgramFailedError("no luck")
        return super().metrics(config, resource, seed)


def test_a_trial_that_failed_at_a_higher_rung_keeps_what_it_had() -> None:
    rig = StudyRig(trials=6, slots=2, levels=(2, 6), program=FailsAfter())
    rig.run()

    [failed] = [one for one in rows_of(rig) if one["state"] == "failed"][:1]
    assert (failed["rung"], failed["resource"], failed["of"]) == (1, 2, 6)


def test_the_resource_of_a_finished_rung_is_what_was_reported() -> None:
    """Reports at 2, 4, 6, 8: the rung at 3 is judged by the one at 4."""
    rig = StudyRig(
        trials=6,
        slots=2,
        scheduler=lambda: AshaStopping([3, 9], 3),
        model={"report_every": 2},
    )
    rig.run()

    stopped = [one for one in rows_of(rig) if one["state"] == "stopped"]
    assert stopped
    assert {(one["resource"], one["of"]) for one in stopped} == {(4, 3)}


def test_trials_that_were_stopped_on_the_way_are_sorted_by_what_they_reported(
    run: Any, tmp_path: Path
) -> None:
    spec = spec_text("median", trials=12).replace("[fidelity]", "[search.median]\n[fidelity]")
    folder = simulate_into(tmp_path / "median", spec)
    rows = json.loads(run("trials", "--json", cwd=folder).out)

    values = [one["value"] for one in rows if one["state"] == "stopped"]
    assert len(values) > 1
    assert values == sorted(values)

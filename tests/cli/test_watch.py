"""What `launch` tells while it watches."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

from slurmtune.cli.output import LiveLine
from slurmtune.cli.watch import Watcher
from slurmtune.core.ids import trial_id
from slurmtune.core.overview import best
from slurmtune.core.study import Study
from slurmtune.core.trial import TrialState
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.irace import Irace
from slurmtune.schedulers.median import MedianRule
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.curves import PowerLawCurves
from slurmtune.testing.study_rig import StudyRig


def told(folder: Path, rig: StudyRig, *, after: Callable[[Study], bool] | None = None) -> str:
    """Return all that a person is told about a study, until it is as ``after`` wants."""
    stream = io.StringIO()
    watcher = Watcher(
        LiveLine(stream),
        StudyLayout(str(folder)),
        name="rig",
        resource="epoch",
        command_of=str,
    )
    driver = rig.new_driver(observer=watcher)
    driver.open(rig.limits, "rig")
    while after is not None and not after(rig.study):
        driver.tick()
        rig.clock.wait(10.0)
    if after is None:
        driver.run()
    return stream.getvalue()


def test_a_checkpoint_that_was_removed_was_left(tmp_path: Path) -> None:
    words = told(tmp_path, StudyRig(trials=12, slots=3, levels=(1, 3, 9), limits={"keep": "none"}))

    assert "t00000 rung 2 val_loss" in words
    assert "left no checkpoint" not in words


# ------------------------------------------------------------------ trials that run through


def passing() -> StudyRig:
    return StudyRig(trials=9, slots=3, scheduler=lambda: AshaStopping([1, 3, 9], 3))


def test_every_rung_that_is_passed_has_a_line(tmp_path: Path) -> None:
    rig = passing()
    words = told(tmp_path, rig)

    for trial in rig.study.trials:
        for rung, value in trial.values.items():
            assert f"{trial_id(trial.number)} rung {rung} val_loss {value:#.4g}" in words


def test_a_stop_is_told_at_its_rung_with_the_loss_and_only_once(tmp_path: Path) -> None:
    rig = passing()
    words = told(tmp_path, rig)

    stopped = [one for one in rig.study.trials if one.stopped_rung == 0]
    assert stopped
    for trial in stopped:
        lines = [line for line in words.splitlines() if trial_id(trial.number) in line]
        assert re.search(r"rung 0 val_loss \S+ +stopped there$", lines[-1])
    assert "was stopped" not in words


def test_the_first_result_is_that_of_the_first_rung(tmp_path: Path) -> None:
    [line] = [one for one in told(tmp_path, passing()).splitlines() if "first result" in one]

    assert " rung 0 " in line


def by_median() -> StudyRig:
    return StudyRig(trials=9, slots=3, scheduler=lambda: MedianRule(9, grace=1, min_trials=2))


def test_a_stop_between_rungs_is_told_with_the_last_report(tmp_path: Path) -> None:
    rig = by_median()
    words = told(tmp_path, rig)

    stopped = [one for one in rig.study.trials if one.state is TrialState.STOPPED]
    assert stopped
    for trial in stopped:
        name = trial_id(trial.number)
        assert re.search(rf"{name} rung 0 val_loss \S+ at epoch \d +stopped there\n", words)


def test_a_trial_that_ends_before_it_can_be_stopped_says_so(tmp_path: Path) -> None:
    rig = by_median()
    words = told(tmp_path, rig)

    late = [
        one for one in rig.study.trials if one.stop_wanted and one.state is TrialState.COMPLETED
    ]
    assert late
    for trial in late:
        name = trial_id(trial.number)
        assert re.search(rf"{name} rung 0 \S+ \S+ +ended before it could be stopped\n", words)


# ------------------------------------------------------------------ trials that race


def racing() -> StudyRig:
    return StudyRig(
        trials=40,
        slots=4,
        scheduler=lambda: Irace(range(1, 13), dimension=2, budget=200, seed=0),
        program=PowerLawCurves(noise=0.3),
    )


def test_a_race_tells_means_and_not_single_instances(tmp_path: Path) -> None:
    rig = racing()
    words = told(tmp_path, rig)

    trial = next(one for one in rig.study.trials if len(one.values) > 2)
    here = next(one.value for one in trial.attempts if one.rung == 2)
    assert (
        f"{trial_id(trial.number)} rung 2 val_loss {trial.values[2]:#.4g}, "
        f"the mean of 3; here {here:#.4g}" in words
    )


def test_after_a_relaunch_only_who_leads_is_the_new_best(tmp_path: Path) -> None:
    """A single instance says nothing against a mean."""
    rig = racing()
    told(tmp_path, rig, after=lambda study: len(study.results.history.observations) > 60)
    before = best(rig.study)
    words = told(tmp_path, rig, after=lambda study: len(study.results.history.observations) > 75)
    after = best(rig.study)

    assert before is not None
    assert after is not None
    if (before["trial"], before["rung"]) == (after["trial"], after["rung"]):
        assert "new best" not in words
    else:
        assert f"{after['trial']} rung {after['rung']} " in words


# ------------------------------------------------------------------ reports beside the rungs


def test_rungs_that_no_report_hits_are_told_once(tmp_path: Path) -> None:
    rig = StudyRig(
        trials=6,
        slots=2,
        scheduler=lambda: AshaStopping([1, 3, 10], 3),
        model={"report_every": 2},
    )
    words = told(tmp_path, rig)

    assert words.count("reports come at") == 1
    assert "a rung at epoch 1 is judged by the first report at or after it, at 2" in words

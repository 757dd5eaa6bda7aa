"""The configs that a training went through."""

from __future__ import annotations

from itertools import pairwise

import pytest

from slurmtune.core.lineage import Change, changes, heir_record, lineage
from slurmtune.core.study import Study
from slurmtune.schedulers.pbt import Pbt
from slurmtune.testing.study_rig import StudyRig


@pytest.fixture(scope="module")
def study() -> Study:
    """Of population-based training; with several heirs of heirs."""
    rig = StudyRig(
        trials=60,
        slots=6,
        scheduler=lambda: Pbt((1, 2, 3, 4, 5), 6, quantile=0.34, min_ready=1.0, seed=0),
    )
    assert rig.run() == "done"
    return rig.study


def test_a_trial_that_began_with_nothing_is_its_own_lineage(study: Study) -> None:
    (stage,) = lineage(study, 0)

    assert (stage.trial, stage.start, stage.changes) == (0, 0, ())


def test_each_stage_begins_where_its_donor_was_left(study: Study) -> None:
    for trial in study.trials:
        stages = lineage(study, trial.number)
        assert stages[0].start == 0
        assert stages[-1].trial == trial.number
        for donor, heir in pairwise(stages):
            assert study.trials[heir.trial].source == donor.trial
            assert donor.end == heir.start
            assert heir.changes == changes(donor.config, heir.config)


def test_an_heir_of_an_heir_has_three_stages(study: Study) -> None:
    assert max(len(lineage(study, trial.number)) for trial in study.trials) >= 3


def test_the_start_is_what_the_first_attempt_started_from(study: Study) -> None:
    heirs = [trial for trial in study.trials if trial.source is not None and trial.attempts]

    assert heirs
    assert all(lineage(study, t.number)[-1].start == t.attempts[0].start for t in heirs)


def test_changes_are_those_values_that_differ() -> None:
    assert changes({"lr": 0.1, "a": 1, "old": 2}, {"lr": 0.12, "a": 1, "new": 3}) == (
        Change(name="lr", old=0.1, new=0.12),
        Change(name="new", old=None, new=3),
        Change(name="old", old=2, new=None),
    )


def test_the_record_of_an_heir_names_parent_step_and_what_changed(study: Study) -> None:
    heir = next(trial for trial in study.trials if trial.source is not None)
    assert heir.source is not None
    parent = study.trials[heir.source]
    record = heir_record(study, heir.number)

    assert record["trial"] == f"t{heir.number:05d}"
    assert record["parent"] == f"t{parent.number:05d}"
    assert (record["checkpoint"], record["resource"]) == parent.rung_checkpoints[record["rung"]]
    assert record["config"] == heir.config
    assert all(
        [parent.config.get(name), heir.config.get(name)] == values
        for name, values in record["changed"].items()
    )

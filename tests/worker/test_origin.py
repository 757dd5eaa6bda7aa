"""Which checkpoint an attempt starts from: of another trial, damaged, missing, replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

READ_STATE = """
import slurmtune
trial = slurmtune.trial()
print((trial.checkpoint / "state").read_text() if trial.resumed else "nothing")
for epoch in trial.steps():
    trial.report(val_loss=1)
"""


def test_without_a_checkpoint_an_attempt_begins_at_its_start(study: Any) -> None:
    """A rung may be an evaluation of its own, such as a fold."""
    study.program(READ_STATE)
    attempt = study.offer(rung=1, start=3, end=5)

    study.run_slot()

    assert study.events(attempt)[0]["start"] == 3
    assert [at for at, _ in study.reports(attempt)] == [4, 5]


def test_a_checkpoint_may_be_of_another_trial(study: Any) -> None:
    study.program(READ_STATE)
    name = study.checkpoint(5, 0, 3, state="of trial 5")
    attempt = study.offer(trial=8, rung=1, start=3, end=5, checkpoint=name)

    study.run_slot()

    assert study.output(attempt) == "of trial 5\n"
    assert [at for at, _ in study.reports(attempt)] == [4, 5]


def test_a_damaged_checkpoint_of_another_trial_is_not_loaded(study: Any) -> None:
    study.program(READ_STATE)
    name = study.checkpoint(5, 0, 3, state="of trial 5")
    (Path(study.layout.checkpoint(5, name)) / "state").write_text("of trial x")
    attempt = study.offer(trial=8, rung=1, start=3, end=5, checkpoint=name)

    study.run_slot()

    start = study.events(attempt)[0]
    assert (start["start"], start["checkpoint"]) == (0, None)
    assert "missing or damaged; training starts from 0" in start["note"]


def test_a_missing_checkpoint_of_another_trial_is_replaced_by_an_older_one(study: Any) -> None:
    study.program(READ_STATE)
    older = study.checkpoint(8, 1, 4, state="of this trial")
    attempt = study.offer(trial=8, rung=1, number=2, start=3, end=5, checkpoint="3.t00005.r0.a1")

    study.run_slot()

    assert study.events(attempt)[0]["checkpoint"] == older
    assert study.output(attempt).splitlines()[-1] == "of this trial"


@pytest.mark.parametrize(("resume", "loaded"), [(True, True), (False, False)])
def test_a_damaged_checkpoint_is_replaced_by_one_of_the_rung_below_where_rungs_go_on(
    study: Any, resume: bool, loaded: bool
) -> None:
    study.program(READ_STATE, resume=resume)
    older = study.checkpoint(8, 0, 2, state="of the rung below")
    newest = study.checkpoint(8, 0, 3, state="damaged")
    (Path(study.layout.checkpoint(8, newest)) / "state").write_text("torn")
    attempt = study.offer(trial=8, rung=1, start=3, end=5, checkpoint=newest)

    study.run_slot()

    assert study.events(attempt)[0]["checkpoint"] == (older if loaded else None)

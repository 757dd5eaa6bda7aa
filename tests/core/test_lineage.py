"""Lines of ancestors, and what each step changed."""

from __future__ import annotations

import pytest

from slurmtune.core.events import Config
from slurmtune.core.lineage import Change, Step, lineage
from slurmtune.core.ports import Asked

CONFIGS: list[Config] = [
    {"lr": 0.1, "optimizer": "sgd", "momentum": 0.9},
    {"lr": 0.5, "optimizer": "adam"},
    {"lr": 0.12, "optimizer": "sgd", "momentum": 0.9},
    {"lr": 0.12, "optimizer": "adam"},
]
ASKED = [Asked(), Asked(), Asked(rung=1, parents=(0,)), Asked(rung=2, parents=(2, 1))]
SOURCES = [None, None, 0, None]


def test_a_line_goes_from_the_oldest_to_the_trial() -> None:
    assert lineage(3, CONFIGS, ASKED, SOURCES) == (
        Step(trial=0, parent=None, rung=0, continues=False, changes=()),
        Step(
            trial=2,
            parent=0,
            rung=1,
            continues=True,
            changes=(Change(name="lr", old=0.1, new=0.12),),
        ),
        Step(
            trial=3,
            parent=2,
            rung=2,
            continues=False,
            changes=(
                Change(name="optimizer", old="sgd", new="adam"),
                Change(name="momentum", old=0.9, new=None),
            ),
        ),
    )


def test_a_trial_without_parents_is_a_line_of_its_own() -> None:
    assert [step.trial for step in lineage(1, CONFIGS, ASKED, SOURCES)] == [1]


@pytest.mark.parametrize("trial", [-1, 4])
def test_an_unknown_trial_has_no_line(trial: int) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        lineage(trial, CONFIGS, ASKED, SOURCES)


def test_a_parent_comes_before_its_child() -> None:
    with pytest.raises(ValueError, match="cannot be varied from trial 0"):
        lineage(0, CONFIGS[:1], [Asked(parents=(0,))], [None])

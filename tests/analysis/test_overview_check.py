"""What an overview must hold to be shown, whoever wrote it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurmtune.analysis.overview_check import first_fault
from slurmtune.core.overview import Surroundings, overview
from slurmtune.testing.study_rig import StudyRig


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """Return the overview of a study that ran."""
    rig = StudyRig(trials=6, slots=2, levels=(1, 3))
    rig.run()
    around = Surroundings(
        name="rig", directory="rig", backend="slurm", resource="epoch", now=1.0, opened=0.0
    )
    found: dict[str, Any] = json.loads(json.dumps(overview(rig.study, around)))
    return found


def changed(shown: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return a copy in which the part at this dotted path is another."""
    copy: dict[str, Any] = json.loads(json.dumps(shown))
    *above, last = path.split(".")
    part: Any = copy
    for key in above:
        part = part[int(key) if key.isdigit() else key]
    part[last] = value
    return copy


def test_an_overview_is_without_fault(shown: dict[str, Any]) -> None:
    assert first_fault(shown) == ""


@pytest.mark.parametrize(
    "path",
    [
        "ended",
        "limit",
        "parallel",
        "array_limit",
        "best.level",
        "trials.without_result",
        "trials.stopped",
        "trials.expected",
        "rungs.0.stopped",
    ],
)
def test_parts_that_came_later_may_be_missing_but_not_make_no_sense(
    shown: dict[str, Any], path: str
) -> None:
    missing = changed(shown, path, None)
    *above, last = path.split(".")
    part: Any = missing
    for key in above:
        part = part[int(key) if key.isdigit() else key]
    del part[last]

    assert first_fault(missing) == ""
    assert first_fault(changed(shown, path, ["not", "it"])) != ""


@pytest.mark.parametrize("path", ["trials.good", "rungs.0.done", "opened", "metric"])
def test_parts_that_were_always_there_must_be_there(shown: dict[str, Any], path: str) -> None:
    assert first_fault(changed(shown, path, ["not", "it"])) != ""

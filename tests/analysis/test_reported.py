"""Metrics of an attempt, read from its own log."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from slurmtune.analysis.reported import newest_metrics
from slurmtune.store import frame, fs
from slurmtune.store.layout import StudyLayout

ATTEMPT = "t00003.r0.a1"


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    layout = StudyLayout(str(tmp_path))
    fs.make_dir(layout.attempt(ATTEMPT))
    return layout


def write(layout: StudyLayout, *records: dict[str, Any]) -> None:
    Path(layout.events(ATTEMPT)).write_bytes(b"".join(map(frame.encode, records)))


def test_the_newest_value_of_each_metric_counts_also_behind_the_end(layout: StudyLayout) -> None:
    write(
        layout,
        {"n": 0, "k": "report", "resource": 1, "metrics": {"loss": 0.5, "acc": 0.1}},
        {"n": 1, "k": "report", "resource": 2, "metrics": {"loss": 0.4}},
        {"n": 2, "k": "end"},
        {"n": 3, "k": "report", "resource": 2, "metrics": {"test": 0.9}, "late": True},
    )

    assert list(newest_metrics(layout, ATTEMPT).items()) == [
        ("loss", 0.4),
        ("acc", 0.1),
        ("test", 0.9),
    ]


def test_values_that_are_no_finite_numbers_are_as_they_were_reported(layout: StudyLayout) -> None:
    write(layout, {"n": 0, "k": "report", "resource": 1, "metrics": {"a": "nan", "b": "-inf"}})

    found = newest_metrics(layout, ATTEMPT)

    assert math.isnan(found["a"])
    assert found["b"] == -math.inf


@pytest.mark.parametrize("metrics", [None, [1], {"a": "x"}, {"a": [1]}, {"a": 10**400}])
def test_what_makes_no_sense_is_left_out(layout: StudyLayout, metrics: object) -> None:
    write(layout, {"n": 0, "k": "report", "resource": 1, "metrics": metrics})

    assert newest_metrics(layout, ATTEMPT) == {}


def test_without_a_log_there_is_nothing(layout: StudyLayout) -> None:
    assert newest_metrics(layout, ATTEMPT) == {}

"""Spellings of job ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.slurm.jobid import format_task, format_tasks, parse_job_id


@pytest.mark.parametrize(
    ("text", "job", "indices"),
    [
        ("7", "7", None),
        ("7_12", "7", (12,)),
        ("7_[4-6]", "7", (4, 5, 6)),
        ("7_[4-6,9,12%2]", "7", (4, 5, 6, 9, 12)),
        ("7_[1-5:2]", "7", (1, 3, 5)),
        ("7_[0-8:2%4]", "7", (0, 2, 4, 6, 8)),
        ("7+1", "7", None),
    ],
)
def test_jobs_and_tasks_are_told_apart(text: str, job: Any, indices: Any) -> None:
    parsed = parse_job_id(text)
    assert parsed is not None
    assert (parsed.job, parsed.indices, parsed.is_cut) == (job, indices, False)


@pytest.mark.parametrize(
    ("text", "step"), [("7.batch", "batch"), ("7_3.0", "0"), ("7_3.extern", "extern")]
)
def test_steps_are_recognised(text: str, step: Any) -> None:
    parsed = parse_job_id(text)
    assert parsed is not None
    assert parsed.step == step


@pytest.mark.parametrize(
    ("text", "indices"),
    [("7_[2,9,22...%7]", (2, 9)), ("7_[2,9,22...]", (2, 9)), ("7_[2,9,10", (2, 9, 10))],
)
def test_a_list_that_was_cut_off_says_so(text: str, indices: Any) -> None:
    parsed = parse_job_id(text)
    assert parsed is not None
    assert (parsed.indices, parsed.is_cut) == (indices, True)


def test_a_list_is_no_row_of_a_single_task() -> None:
    parsed = parse_job_id("7_[3]")
    assert parsed is not None
    assert parsed.is_list


@pytest.mark.parametrize("text", ["", "x", "7_", "7_x", "JobID", "-7"])
def test_other_text_is_no_job_id(text: str) -> None:
    assert parse_job_id(text) is None


def test_every_job_id_in_the_recorded_outputs_is_understood(
    recorded: Callable[[str], str],
) -> None:
    texts = [line.split("|")[0] for line in recorded("squeue_i_T_r").splitlines()]
    texts += [line.split("|")[0] for line in recorded("sacct_X_D_recommended").splitlines()]
    texts += [line.split("|")[0] for line in recorded("sacct_steps").splitlines()[1:]]
    texts += [line.split()[0] for line in recorded("squeue_default").splitlines()[1:]]
    texts += [line.split()[0] for line in recorded("squeue_start").splitlines()[1:]]
    assert [text for text in texts if parse_job_id(text) is None] == []


def test_a_task_is_written_with_its_index() -> None:
    assert format_task("4711", 3) == "4711_3"


def test_tasks_are_written_as_one_list() -> None:
    assert format_tasks("4711", [5, 1, 0, 2]) == "4711_[0-2,5]"


@given(st.sets(st.integers(0, 2000), min_size=1))
def test_what_is_written_is_read_back(indices: Any) -> None:
    parsed = parse_job_id(format_tasks("4711", indices))
    assert parsed is not None
    assert parsed.indices == tuple(sorted(indices))

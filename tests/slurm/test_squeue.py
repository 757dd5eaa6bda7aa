"""Reading squeue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slurmtune.slurm import squeue


@pytest.fixture
def rows(recorded: Callable[[str], str]) -> Any:
    return {(row.job, row.index): row for row in squeue.parse(recorded("squeue_poll"))}


def test_one_command_asks_for_all_jobs_of_the_user() -> None:
    argv = squeue.command()
    assert argv[:2] == ["squeue", "--me"]
    assert {"-a", "-h", "-r", "all"} <= set(argv)


def test_the_free_text_stands_last() -> None:
    assert squeue.command()[-1].endswith("%r")


def test_a_job_is_looked_for_by_name() -> None:
    argv = squeue.find_command("st-00000000-1-1")
    assert argv[argv.index("-n") + 1] == "st-00000000-1-1"


def test_every_task_of_an_array_has_its_row(rows: Any) -> None:
    assert sorted(index for job, index in rows if job == "42") == list(range(10))


def test_a_waiting_task_tells_why(rows: Any) -> None:
    row = rows["42", 9]
    assert (row.state, row.reason, row.name) == ("PENDING", "JobArrayTaskLimit", "st-00000000-1-1")


def test_a_running_task_tells_where(rows: Any) -> None:
    row = rows["42", 6]
    assert (row.state, row.nodes, row.reason) == ("RUNNING", "node1", "")


def test_a_task_that_waits_for_its_time_tells_when(rows: Any) -> None:
    assert rows["46", 4].start == 1795236106.0


def test_an_unknown_start_is_none(rows: Any) -> None:
    assert rows["43", None].start is None


def test_several_nodes_are_kept_as_they_are_written(rows: Any) -> None:
    assert rows["56", None].nodes == "node[2-3]"


def test_a_name_with_a_bar_does_not_shift_the_fields_before_it(rows: Any) -> None:
    assert (rows["53", None].state, rows["53", None].submitted) == ("PENDING", 1795235981.0)


def test_a_reason_may_hold_spaces_and_bars() -> None:
    text = "7|N/A|7|1|PENDING|N/A||name|Job's account (high|low) not permitted\n"
    assert squeue.parse(text)[0].reason == "Job's account (high|low) not permitted"


@pytest.mark.parametrize(
    "name",
    ["squeue_default", "squeue_start", "squeue_i_T_r", "sdiag", "squeue_me_r_tall_recommended"],
)
def test_lines_of_another_form_are_left_out(recorded: Callable[[str], str], name: str) -> None:
    assert squeue.parse(recorded(name)) == []


def test_no_answer_is_no_row() -> None:
    assert squeue.parse("") == []

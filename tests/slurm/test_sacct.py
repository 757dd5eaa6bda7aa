"""Reading sacct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slurmtune.slurm import sacct
from slurmtune.slurm.sacct import Submission

TOKEN = "st-00000000-1-1"
KNOWN = {"42": Submission(name=TOKEN, time=1795235979.0)}


def parse(text: str, **known: Any) -> Any:
    return sacct.parse(text, known or KNOWN)


def line(
    job_id: Any,
    state: Any,
    *,
    submit: Any = 1795235979,
    name: str = TOKEN,
    exit_code: Any = "0:0",
    derived: Any = "0:0",
) -> Any:
    return f"{job_id}|{state}|{exit_code}|{derived}|{submit}|node1|{name}\n"


def test_jobs_are_asked_for_once_each_and_in_order() -> None:
    argv = sacct.command(["12", "7", "12"])
    assert argv[argv.index("-j") + 1] == "7,12"


def test_all_incarnations_are_asked_for() -> None:
    assert "-D" in sacct.command(["7"])


def test_a_recorded_array_is_read(recorded: Callable[[str], str]) -> None:
    rows = parse(recorded("sacct_poll"))
    assert [rows["42", index].state for index in range(4)] == [
        "COMPLETED",
        "FAILED",
        "COMPLETED",
        "FAILED",
    ]
    assert rows["42", 1].exit_code == "1:0"
    assert rows["42", 3].nodes == "node2"


def test_a_range_stands_for_each_of_its_tasks(recorded: Callable[[str], str]) -> None:
    rows = parse(recorded("sacct_poll"))
    assert [rows["42", index].state for index in (6, 9)] == ["PENDING", "PENDING"]
    assert not rows["42", 6].is_own


def test_jobs_that_were_not_asked_for_are_left_out(recorded: Callable[[str], str]) -> None:
    assert {job for job, _ in parse(recorded("sacct_poll"))} == {"42"}


def test_a_row_of_its_own_counts_for_more_than_a_range() -> None:
    own, listed = line("42_3", "COMPLETED"), line("42_[3-9%3]", "PENDING", submit=1795239999)
    for text in (own + listed, listed + own):
        assert parse(text)["42", 3].state == "COMPLETED"


def test_the_later_incarnation_counts() -> None:
    text = line("42_4", "PENDING", submit=1795235990) + line("42_4", "PREEMPTED")
    assert parse(text)["42", 4].state == "PENDING"


def test_a_recorded_requeue_is_waiting_again(recorded: Callable[[str], str]) -> None:
    known = {"46": Submission(name="fx-requeue", time=0.0)}
    assert sacct.parse(recorded("sacct_poll"), known)["46", 4].state == "PENDING"


def test_a_row_of_another_name_is_of_a_reused_id() -> None:
    assert parse(line("42_1", "COMPLETED", name="other")) == {}


def test_a_row_from_before_our_submission_is_of_a_reused_id() -> None:
    assert parse(line("42_1", "COMPLETED", submit=1795235979 - 121)) == {}


def test_a_clock_that_differs_by_a_minute_does_no_harm() -> None:
    assert ("42", 1) in parse(line("42_1", "COMPLETED", submit=1795235979 - 60))


def test_a_name_may_arrive_late() -> None:
    assert parse(line("42", "PENDING", name="allocation"))["42", None].state == "PENDING"


def test_the_row_of_a_whole_job_is_not_one_of_a_task() -> None:
    assert not parse(line("42", "CANCELLED by 0"))["42", None].is_own


def test_steps_are_left_out() -> None:
    assert parse(line("42_1.batch", "COMPLETED")) == {}


def test_who_cancelled_is_left_out() -> None:
    assert parse(line("42_1", "CANCELLED by 1000"))["42", 1].state == "CANCELLED"


def test_a_list_that_was_cut_off_gives_its_readable_part() -> None:
    assert sorted(parse(line("42_[2,9,22...%7]", "PENDING"))) == [("42", 2), ("42", 9)]


@pytest.mark.parametrize("name", ["sacct_default", "sacct_steps", "sacct_json"])
def test_other_forms_give_nothing(recorded: Callable[[str], str], name: str) -> None:
    assert parse(recorded(name)) == {}


def test_an_array_is_found_by_its_name(recorded: Callable[[str], str]) -> None:
    assert sacct.parse_found(recorded("sacct_find"), TOKEN) == ["42"]


def test_ids_are_found_in_numerical_order() -> None:
    assert sacct.parse_found("100_1|x\n99_1|x\n99_[2-3]|x\n7|y\n", "x") == ["99", "100"]


@pytest.mark.parametrize(
    "message",
    [
        "Slurm accounting storage is disabled",
        "You are not running a supported accounting_storage plugin",
    ],
)
def test_accounting_that_is_off_is_recognised(message: str) -> None:
    assert sacct.is_disabled(message)


def test_accounting_that_is_down_is_not_off() -> None:
    assert not sacct.is_disabled(
        "sacct: error: Problem talking to the database: Connection refused"
    )

"""Reasons for waiting."""

from __future__ import annotations

import pytest

from slurmtune.slurm.reason import is_broken, never_starts, plain_reason


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Resources", "no free node of this size; next in line"),
        ("Priority", "other jobs are ahead"),
        ("ReqNodeNotAvail, UnavailableNodes:node4", "nodes are down or reserved: node4"),
        ("ReqNodeNotAvail", "nodes are down or reserved"),
        ("QOSMaxGRESPerUser", "your limit in the QOS is in use (QOSMaxGRESPerUser)"),
        ("AssocGrpGRES", "your account has reached its limit (AssocGrpGRES): ask its owner"),
        (
            "QOSMaxGRESPerJob",
            "asks for more than one job may have (QOSMaxGRESPerJob): it never starts",
        ),
        ("NodeDown", "a node that it needs is down"),
    ],
)
def test_known_reasons_are_said_in_plain_words(reason: str, words: str) -> None:
    assert plain_reason(reason) == words


def test_an_unknown_reason_is_shown_as_it_is() -> None:
    assert plain_reason("FrontEndDown, x") == "FrontEndDown, x"


def test_the_limit_of_the_array_is_named() -> None:
    assert plain_reason("JobArrayTaskLimit", array_limit=32) == "your own array_limit (32)"


def test_slots_that_are_queued_ahead_are_no_limit_of_the_user() -> None:
    words = plain_reason("JobArrayTaskLimit", parallel=2)

    assert words == "queued ahead; at most 2 run at once"


def test_an_array_limit_of_the_user_is_told_before_how_many_run_at_once() -> None:
    words = plain_reason("JobArrayTaskLimit", parallel=8, array_limit=2)

    assert words == "your own array_limit (2)"


def test_the_qos_is_named() -> None:
    assert "QOS short" in plain_reason("QOSMaxJobsPerUserLimit", qos="short")


def test_the_account_is_named() -> None:
    assert plain_reason("AssocMaxJobsLimit", account="proj1").startswith("account proj1 ")


@pytest.mark.parametrize(
    "reason",
    [
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "PartitionConfig",
        "DependencyNeverSatisfied",
        "BadConstraints",
        "InvalidAccount",
        "InvalidQOS",
        "AccountNotAllowed",
        "QOSNotAllowed",
        "QOSMaxWallDurationPerJobLimit",
        "QOSMaxCpuPerJobLimit",
        "JobHeldAdmin",
        "Job's account not permitted to use this partition (high allows default not lab)",
    ],
)
def test_some_reasons_never_go_away(reason: str) -> None:
    assert never_starts(reason)


@pytest.mark.parametrize("reason", ["launch failed requeued held", "JobHoldMaxRequeue"])
def test_a_job_that_a_node_could_not_start_is_broken_but_another_may_start(reason: str) -> None:
    assert is_broken(reason)
    assert not never_starts(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "Priority",
        "JobHeldUser",
        "QOSMaxJobsPerUserLimit",
        "AssocGrpGRES",
        "ReqNodeNotAvail, x",
        "",
    ],
)
def test_other_reasons_may_go_away(reason: str) -> None:
    assert not never_starts(reason)

"""Limits of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slurmtune.slurm import limits
from slurmtune.slurm.limits import Association, Qos


def association(max_submit: Any, *qos: Any) -> Any:
    return Association(
        account="a", partition="", max_jobs=None, max_submit=max_submit, qos=qos, default_qos=""
    )


def test_the_recorded_configuration_is_read(recorded: Callable[[str], str]) -> None:
    config = limits.parse_config(recorded("scontrol_show_config"))
    assert (config.max_array_size, config.min_job_age_seconds, config.kill_wait_seconds) == (
        1001,
        120,
        2,
    )
    assert (config.version, config.cluster, config.preempt_mode) == ("22.05.8", "local", "REQUEUE")
    assert config.requeues
    assert config.has_accounting
    assert config.enforced == ("associations", "limits", "qos")


def test_a_configuration_without_accounting() -> None:
    text = "AccountingStorageType = accounting_storage/none\nAccountingStorageEnforce = none\nJobRequeue = 0"
    config = limits.parse_config(text)
    assert not config.has_accounting
    assert not config.requeues
    assert config.enforced == ()


def test_what_is_missing_is_slurms_default() -> None:
    assert limits.parse_config("") == limits.ClusterConfig()


def test_the_recorded_association_is_read(recorded: Callable[[str], str]) -> None:
    assert limits.parse_associations(recorded("sacctmgr_assoc")) == [
        Association(
            account="root",
            partition="",
            max_jobs=None,
            max_submit=None,
            qos=("normal",),
            default_qos="",
        )
    ]


def test_the_recorded_qos_is_read(recorded: Callable[[str], str]) -> None:
    assert limits.parse_qos(recorded("sacctmgr_qos")) == [
        Qos(name="normal", max_jobs=None, max_submit=None)
    ]


def test_limits_of_an_association_are_read() -> None:
    (one,) = limits.parse_associations("proj1|gpu|16|210|normal,long|long\n")
    assert (one.max_jobs, one.max_submit, one.qos, one.default_qos) == (
        16,
        210,
        ("normal", "long"),
        "long",
    )


@pytest.mark.parametrize(
    ("mine", "qos", "expected"),
    [
        ([association(None)], [], None),
        ([association(100)], [], 100),
        ([association(100), association(300)], [], 300),
        ([association(100), association(None)], [], None),
        ([association(100, "q")], [Qos(name="q", max_jobs=None, max_submit=40)], 40),
        ([association(None, "q")], [Qos(name="other", max_jobs=None, max_submit=40)], None),
    ],
)
def test_the_submit_limit_is_the_tightest_that_surely_holds(
    mine: Any, qos: Any, expected: Any
) -> None:
    assert limits.submit_limit(mine, qos, ("limits",)) == expected


def test_limits_that_are_not_enforced_are_none() -> None:
    assert limits.submit_limit([association(5)], [], ("associations",)) is None

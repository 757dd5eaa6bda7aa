"""Asking a cluster before anything is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slurmtune.backends.probe import gather_facts, probe
from slurmtune.core.request import ResourceRequest
from slurmtune.errors import BackendUnavailableError
from slurmtune.testing.fake_slurm import FakeSlurm


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    cluster = FakeSlurm(str(tmp_path / "slurm"))
    monkeypatch.setenv("PATH", cluster.path)
    yield cluster
    cluster.stop()


def script(*lines: str) -> str:
    return "\n".join(["#!/bin/bash", *(f"#SBATCH --{line}" for line in lines), "true", ""])


def test_facts_tell_partitions_accounts_and_limits(cluster: FakeSlurm) -> None:
    cluster.set(max_submit=40)
    facts, config = gather_facts()
    assert (facts.default_partition, facts.partitions) == ("gpu", ("gpu", "high"))
    assert (facts.default_account, facts.submit_limit) == ("fake", 40)
    assert (config.version, facts.max_array_size) == ("22.05.8", 1001)


def test_facts_without_accounting(cluster: FakeSlurm) -> None:
    cluster.set(accounting=False)
    facts, config = gather_facts()
    assert (facts.associations, facts.default_account) == ((), "")
    assert not config.has_accounting
    assert "sacctmgr" not in cluster.calls


def test_a_cluster_that_does_not_answer_is_told(cluster: FakeSlurm) -> None:
    cluster.fail("scontrol", "Unable to contact slurm controller")
    with pytest.raises(BackendUnavailableError, match="does not answer"):
        gather_facts()


def test_a_good_request_is_accepted_and_nothing_is_submitted(cluster: FakeSlurm) -> None:
    facts, _ = gather_facts()
    found = probe(script("partition=gpu"), ResourceRequest(name="c0"), facts)
    assert found.accepted
    assert found.says.startswith("Job 9 to start at ")
    assert (found.advice, cluster.tasks) == ((), [])


def test_a_bad_request_is_explained(cluster: FakeSlurm) -> None:
    facts, _ = gather_facts()
    request = ResourceRequest(name="c0", options=(("cpus_per_task", 64),))
    found = probe(script("cpus-per-task=64"), request, facts)
    assert not found.accepted
    assert [one.code for one in found.advice] == ["C2"]


def test_a_full_queue_is_no_reason_against_a_request(cluster: FakeSlurm) -> None:
    facts, _ = gather_facts()
    cluster.fail(
        "sbatch", "sbatch: error: AssocMaxSubmitJobLimit\nallocation failure: Job violates"
    )
    found = probe(script("partition=gpu"), ResourceRequest(name="c0"), facts)
    assert found.accepted
    assert [(one.code, one.is_error) for one in found.advice] == [("C11", False)]


def test_an_account_that_sbatch_takes_is_warned_of(cluster: FakeSlurm) -> None:
    facts, _ = gather_facts()
    request = ResourceRequest(name="c0", options=(("account", "nope"),))
    found = probe(script("account=nope"), request, facts)
    assert found.accepted
    assert [(one.code, one.is_error) for one in found.advice] == [("C7", False)]

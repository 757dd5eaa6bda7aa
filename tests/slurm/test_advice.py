"""Refusals, explained with what the cluster has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slurmtune.slurm import advice, sinfo
from slurmtune.slurm.advice import Facts, explain, hopeless, too_long, unknown_names, wanted_gpu
from slurmtune.slurm.limits import Association

UNAVAILABLE = "allocation failure: Requested node configuration is not available"


@pytest.fixture
def facts(recorded: Callable[[str], str]) -> Any:
    mine = Association(
        account="proj1",
        partition="",
        max_jobs=None,
        max_submit=None,
        qos=("normal",),
        default_qos="",
    )
    return Facts(
        nodes=tuple(sinfo.parse(recorded("sinfo"))), associations=(mine,), default_account="proj1"
    )


def test_c1_names_the_nearest_partition(facts: Facts) -> None:
    found = explain("invalid partition specified: gpuu", {"partition": "gpuu"}, facts)
    assert found.code == "C1"
    assert "did you mean 'gpu'? Partitions here: gpu (default), high" in str(found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cpus-per-task": 64}, "no node of partition gpu has 64 CPUs: the largest has 8"),
        ({"gpus-per-node": 8}, "has 8 GPUs: the largest has 4"),
        ({"mem": "99G"}, 'Set slurm.mem to "4000M" or less'),
        ({"cpus-per-task": 8, "mem": "4000M"}, "can give all of this at once"),
    ],
)
def test_c2_says_which_number_is_too_big(facts: Facts, options: Any, words: str) -> None:
    found = explain(UNAVAILABLE, options, facts)
    assert found.code == "C2"
    assert words in str(found)


def test_c3_tells_that_gpus_have_no_type(facts: Facts) -> None:
    found = explain(UNAVAILABLE, {"gres": "gpu:a100:1"}, facts)
    assert found.code == "C3"
    assert "Write gpus_per_node = 1" in str(found)


def test_c3_lists_the_types_there_are() -> None:
    nodes = sinfo.parse("gpu*|up|infinite|1|8|4000|gpu:v100:4|(null)|n1\n")
    found = explain(UNAVAILABLE, {"gpus-per-node": "a100:1"}, Facts(nodes=tuple(nodes)))
    assert "GPU types here: v100" in str(found)


@pytest.mark.parametrize(
    ("says", "options", "code", "words"),
    [
        ("Invalid feature specification", {"constraint": "a100"}, "C4", "Features here: none"),
        ("Invalid job array specification", {}, "C5", "1001"),
        ("Invalid --time specification", {}, "C6", "time limit"),
        (
            "Invalid account or account/partition combination",
            {"account": "proj2"},
            "C7",
            "did you mean 'proj1'?",
        ),
        ("Invalid qos specification", {"qos": "nope"}, "C7", "Yours: normal"),
        ("Invalid node name specified", {"nodelist": "node9"}, "C8", "Nodes: node[1-4]"),
        ("Unable to contact slurm controller", {}, "C10", "Running jobs are not affected"),
        ("AssocMaxSubmitJobLimit", {}, "C11", "submits the rest later"),
        (
            "QOSMaxSubmitJobPerUserLimit; ... (job submit limit, user's size and/or time limits)",
            {},
            "C11",
            "submits the rest later",
        ),
        ("something new", {}, "C0", "something new"),
    ],
)
def test_other_refusals_have_their_message(
    facts: Facts, says: str, options: Any, code: str, words: str
) -> None:
    found = explain(says, options, facts)
    assert found.code == code
    assert words in str(found)


def test_slurms_own_words_follow(facts: Facts) -> None:
    assert str(explain(UNAVAILABLE, {"cpus-per-task": 64}, facts)).endswith(
        f"Slurm says: {UNAVAILABLE}"
    )


def test_c7_warns_of_an_account_that_sbatch_takes_but_nobody_knows(facts: Facts) -> None:
    (found,) = unknown_names({"account": "nope"}, facts)
    assert (found.code, found.is_error) == ("C7", False)


def test_a_known_account_and_qos_are_fine(facts: Facts) -> None:
    assert unknown_names({"account": "proj1", "qos": "normal"}, facts) == []


def test_without_accounting_every_account_is_fine() -> None:
    assert unknown_names({"account": "nope", "qos": "nope"}, Facts()) == []


def test_c9_offers_local_slots() -> None:
    assert "--local" in str(advice.NO_SLURM)


def test_c12_counts_the_jobs_that_never_start() -> None:
    found = hopeless(["Priority", "PartitionTimeLimit", "PartitionTimeLimit"])
    assert found is not None
    assert found.code == "C12"
    assert found.message.startswith(
        "these 2 jobs can never start: the time limit is above the partition's"
    )


def test_jobs_that_only_wait_are_left_alone() -> None:
    assert hopeless(["Priority", "Resources"]) is None


def test_a_time_limit_above_the_partitions_is_found_before_submission() -> None:
    nodes = tuple(sinfo.parse("gpu*|up|1:00:00|1|8|4000|(null)|(null)|n1\n"))
    found = too_long({}, 7200, Facts(nodes=nodes))
    assert found is not None
    assert 'Set slurm.time to "01:00:00" or less' in str(found)
    assert too_long({}, 3600, Facts(nodes=nodes)) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"gpus-per-node": 2}, ("", 2)),
        ({"gpus-per-node": "a100:2"}, ("a100", 2)),
        ({"gres": "gpu:2"}, ("", 2)),
        ({"gres": "gpu"}, ("", 1)),
        ({"gres": "tmp:5"}, ("", 0)),
        ({}, ("", 0)),
    ],
)
def test_the_gpus_of_a_request(options: Any, expected: Any) -> None:
    assert wanted_gpu(options) == expected

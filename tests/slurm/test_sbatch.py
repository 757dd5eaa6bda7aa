"""What may be submitted, and what sbatch answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.errors import SpecError
from slurmtune.slurm import sbatch
from slurmtune.slurm.sbatch import RefusalKind

POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    ("stdout", "job"),
    [
        ("Submitted batch job 4711\n", "4711"),
        ("4711\n", "4711"),
        ("4711;cluster\n", "4711"),
        ("Welcome to the cluster\nSubmitted batch job 12\n", "12"),
        ("Submitted batch job 12 on cluster x", None),
        ("", None),
        ("no job", None),
    ],
)
def test_the_job_id_is_read_from_the_last_line(stdout: str, job: Any) -> None:
    assert sbatch.parse_submitted(stdout) == job


@pytest.mark.parametrize(
    "stderr",
    [
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
        "sbatch: error: Slurm backup controller in standby mode",
        "sbatch: error: Batch job submission failed: Protocol authentication error",
    ],
)
def test_silence_is_ambiguous(stderr: str) -> None:
    assert sbatch.classify(1, stderr).kind is RefusalKind.AMBIGUOUS


@pytest.mark.parametrize("returncode", [-2, -9, 124, 137])
def test_an_sbatch_that_was_ended_is_ambiguous(returncode: Any) -> None:
    assert sbatch.classify(returncode, "").kind is RefusalKind.AMBIGUOUS


@pytest.mark.parametrize(
    "stderr",
    [
        f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}",
        f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}",
        f"sbatch: error: AssocGrpSubmitJobsLimit\n{POLICY}",
        POLICY,
        (
            "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
            "sbatch: error: Batch job submission failed: Resource temporarily unavailable"
        ),
    ],
)
def test_a_limit_on_the_number_of_jobs_is_for_later(stderr: str) -> None:
    assert sbatch.classify(1, stderr).kind is RefusalKind.LATER


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("sbatch: error: invalid partition specified: nope", "partition"),
        (
            "sbatch: error: Batch job submission failed: Requested node configuration is not available",
            "node",
        ),
        ("sbatch: error: Invalid generic resource (gres) specification", "gres"),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "QOS"),
        ("sbatch: error: Invalid account or account/partition combination specified", "account"),
        (
            "sbatch: error: Batch job submission failed: Requested reservation is invalid",
            "reservation",
        ),
        (
            f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}",
            "limit of your account or QOS",
        ),
        ("sbatch: error: Something new", "refused"),
    ],
)
def test_other_refusals_are_for_good(stderr: str, words: str) -> None:
    refusal = sbatch.classify(1, stderr)
    assert refusal.kind is RefusalKind.PERMANENT
    assert words in refusal.message


def test_slurms_own_words_are_kept_on_one_line(complaint: Callable[[str], str]) -> None:
    assert sbatch.classify(1, complaint("sbatch_bad_partition")).says == (
        "invalid partition specified: nope; "
        "Batch job submission failed: Invalid partition name specified"
    )


@pytest.mark.parametrize("name", ["st-9f31c2aa-3-17", "a", "A.b_c-d", "x" * 64])
def test_plain_job_names_are_taken(name: str) -> None:
    sbatch.check_job_name(name)


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a|b", "a\nb", "a;b", "ä", "a%j"])
def test_other_job_names_are_refused(name: str) -> None:
    with pytest.raises(SpecError):
        sbatch.check_job_name(name)


def test_the_name_of_an_option_gets_dashes() -> None:
    assert sbatch.check_option("gpus_per_node", 1) == "gpus-per-node"


@pytest.mark.parametrize("name", ["", "Mail", "a b", "-x", "a=b", "a\nb", "mail--type", "x" * 65])
def test_strange_options_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="not the name"):
        sbatch.check_option(name, "x")


@pytest.mark.parametrize("name", ["array", "job-name", "output", "open_mode", "time", "signal"])
def test_options_that_slurmtune_sets_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="itself"):
        sbatch.check_option(name, "x")


@pytest.mark.parametrize("name", ["wrap", "parsable", "clusters", "wait"])
def test_options_that_would_change_what_sbatch_does_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="together"):
        sbatch.check_option(name, "x")


@given(st.sampled_from("\n\r\t\x00\x0b\x0c\x1b\x7f\x85\u2028\u2029"))
def test_a_value_that_would_end_the_line_is_refused(character: Any) -> None:
    with pytest.raises(SpecError, match="control character"):
        sbatch.check_option("comment", f"a{character}rm -rf /")


def test_a_long_value_is_refused() -> None:
    with pytest.raises(SpecError, match="longer"):
        sbatch.check_option("comment", "x" * 1001)


def test_a_setup_line_may_hold_tabs_but_no_line_break() -> None:
    sbatch.check_setup_line("\tmodule load cuda")
    with pytest.raises(SpecError):
        sbatch.check_setup_line("true\nrm -rf /")

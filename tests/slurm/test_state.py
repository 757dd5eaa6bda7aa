"""Slurm's state words."""

from __future__ import annotations

from typing import Any

import pytest

from slurmtune.core.trial import Outcome
from slurmtune.slurm.state import Phase, outcome, phase, state_word


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("CANCELLED by 1000", "CANCELLED"),
        ("CANCELLED+", "CANCELLED"),
        ("running", "RUNNING"),
        ("", ""),
    ],
)
def test_the_word_is_freed_from_what_sacct_adds(text: str, word: str) -> None:
    assert state_word(text) == word


@pytest.mark.parametrize(
    "word", ["PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"]
)
def test_a_job_without_a_started_script_waits(word: str) -> None:
    assert phase(word) is Phase.WAITING


@pytest.mark.parametrize(
    "word", ["RUNNING", "COMPLETING", "SUSPENDED", "SIGNALING", "STOPPED", "STAGE_OUT"]
)
def test_a_job_with_resources_runs(word: str) -> None:
    assert phase(word) is Phase.RUNNING


def test_an_unknown_word_stands_for_a_living_job() -> None:
    assert phase("HIBERNATING") is Phase.RUNNING
    assert outcome("HIBERNATING") is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("COMPLETED", Outcome.SUCCEEDED),
        ("FAILED", Outcome.FAILED),
        ("TIMEOUT", Outcome.TIMEOUT),
        ("DEADLINE", Outcome.TIMEOUT),
        ("PREEMPTED", Outcome.PREEMPTED),
        ("NODE_FAIL", Outcome.NODE_FAILED),
        ("BOOT_FAIL", Outcome.NODE_FAILED),
        ("OUT_OF_MEMORY", Outcome.OUT_OF_MEMORY),
        ("CANCELLED by 0", Outcome.CANCELLED),
        ("REVOKED", Outcome.CANCELLED),
    ],
)
def test_every_final_word_has_an_outcome(word: str, expected: Any) -> None:
    assert phase(word) is Phase.ENDED
    assert outcome(word) is expected


def test_memory_that_ran_out_in_a_step_is_seen_in_the_derived_exit_code() -> None:
    assert outcome("FAILED", "1:0", "0:125") is Outcome.OUT_OF_MEMORY


def test_a_worker_that_was_told_to_leave_counts_as_preempted() -> None:
    assert outcome("FAILED", "85:0", "0:0") is Outcome.PREEMPTED


def test_exit_codes_do_not_change_other_states() -> None:
    assert outcome("TIMEOUT", "85:0", "0:125") is Outcome.TIMEOUT

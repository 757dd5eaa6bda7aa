"""Names of arrays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.slurm.sbatch import check_job_name
from slurmtune.slurm.token import make_token, parse_token


@given(st.integers(0, 2**128 - 1), st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1))
def test_a_token_can_be_taken_apart(study: Any, epoch: Any, number: Any) -> None:
    study_id = f"{study:032x}"
    token = make_token(study_id, epoch, number)
    assert parse_token(token) == (study_id[:8], epoch, number)
    check_job_name(token)


def test_a_study_id_must_be_hexadecimal() -> None:
    with pytest.raises(ValueError, match="cannot name"):
        make_token("my-study", 1, 1)


@pytest.mark.parametrize(
    "text", ["", "st-1-2-3", "st-9f31c2aa-3", "st-9f31c2aa-3-17x", "xx-9f31c2aa-3-17"]
)
def test_other_names_are_no_tokens(text: str) -> None:
    assert parse_token(text) is None

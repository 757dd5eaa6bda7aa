"""Names of trials and attempts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.core.ids import (
    AttemptKey,
    attempt_id,
    parse_attempt_id,
    parse_trial_id,
    trial_id,
)


@given(st.integers(0, 10**9 - 1), st.integers(0, 9999), st.integers(1, 9999))
def test_names_and_numbers_are_the_same_thing(trial, rung, number):
    assert parse_attempt_id(attempt_id(trial, rung, number)) == AttemptKey(trial, rung, number)
    assert parse_trial_id(trial_id(trial)) == trial


def test_names_have_the_documented_form():
    assert attempt_id(7, 2, 1) == "t00007.r2.a1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "t7",
        "t00007.r2",
        "t00007.r2.a1/..",
        "../t00007",
        "t00007.r2.a1\n",
        "t\uff11\uff12\uff13\uff14\uff15",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="not the name of"):
        parse_attempt_id(text)


@pytest.mark.parametrize(("trial", "rung", "number"), [(-1, 0, 1), (0, -1, 1), (0, 0, 0)])
def test_impossible_numbers_are_refused(trial, rung, number):
    with pytest.raises(ValueError):
        attempt_id(trial, rung, number)

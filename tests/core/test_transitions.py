"""Every pair of states: either the table has it, or it raises."""

import itertools

import pytest

from slurmtune.core.transitions import ATTEMPT, TRIAL, follow
from slurmtune.core.trial import AttemptState, TrialState
from slurmtune.errors import TransitionError


@pytest.mark.parametrize(
    ("table", "now", "then"),
    [(TRIAL, a, b) for a, b in itertools.product(TrialState, repeat=2)]
    + [(ATTEMPT, a, b) for a, b in itertools.product(AttemptState, repeat=2)],
)
def test_only_what_the_table_has_can_follow(table, now, then):
    if then in table[now]:
        assert follow(table, now, then, "it") is then
    else:
        with pytest.raises(TransitionError, match=f"it is {now.value}"):
            follow(table, now, then, "it")


def test_every_state_has_a_row():
    assert set(TRIAL) == set(TrialState)
    assert set(ATTEMPT) == set(AttemptState)


def test_final_states_absorb():
    assert {state for state in TrialState if state.is_final} == {
        state for state, following in TRIAL.items() if not following
    }

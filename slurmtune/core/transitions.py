"""Which state may follow which: the only place that says so. Anything absent raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from slurmtune.core.trial import AttemptState, TrialState
from slurmtune.errors import TransitionError

State = TypeVar("State", TrialState, AttemptState)

TRIAL: Mapping[TrialState, frozenset[TrialState]] = {
    TrialState.WAITING: frozenset({TrialState.RUNNING, TrialState.STOPPED}),
    TrialState.RUNNING: frozenset(
        {
            TrialState.WAITING,  # its attempt was cut short and is repeated
            TrialState.PAUSED,
            TrialState.STOPPED,
            TrialState.COMPLETED,
            TrialState.FAILED,
        }
    ),
    TrialState.PAUSED: frozenset({TrialState.WAITING, TrialState.STOPPED}),
    TrialState.STOPPED: frozenset(),
    TrialState.COMPLETED: frozenset(),
    TrialState.FAILED: frozenset(),
}

ATTEMPT: Mapping[AttemptState, frozenset[AttemptState]] = {
    # A slot may claim an offer before the driver has recorded that it is published.
    AttemptState.SUBMITTED: frozenset(
        {AttemptState.PENDING, AttemptState.RUNNING, AttemptState.ENDED}
    ),
    AttemptState.PENDING: frozenset({AttemptState.RUNNING, AttemptState.ENDED}),
    AttemptState.RUNNING: frozenset({AttemptState.ENDED}),
    AttemptState.ENDED: frozenset(),
}


def follow(table: Mapping[State, frozenset[State]], now: State, then: State, who: object) -> State:
    """Return ``then`` if it may follow ``now``.

    Raises:
        TransitionError: it may not; the message names ``who``, by its ``str``.
    """
    if then not in table[now]:
        raise TransitionError(f"{who} is {now.value} and cannot become {then.value}")
    return then

"""Outcomes, from everything that was seen."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from slurmtune.worker.verdict import BY_DEADLINE, BY_SIGNAL, BY_STOP, Seen, judge


def seen(**changes: Any) -> Any:
    fields: dict[str, Any] = {
        "exit_code": 0,
        "signal": None,
        "objectives": ["val_loss"],
        "reported": ["val_loss"],
        "reached": 3,
        "end": 3,
        "resource_name": "epoch",
        "expressions": {},
        "gave_up": None,
        "interrupted_by": "",
        "is_near_deadline": False,
        "memory_was_hit": False,
        "tail": [],
    }
    fields.update(changes)
    return Seen(**fields)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "SUCCEEDED"),
        ({"reached": 2}, "SUCCEEDED"),
        ({"end": None, "reached": 1}, "SUCCEEDED"),
        ({"objectives": [], "reported": [], "reached": None}, "SUCCEEDED"),
        ({"reported": ["loss"]}, "FAILED"),
        ({"exit_code": 1}, "FAILED"),
        ({"gave_up": "too large"}, "FAILED"),
        ({"exit_code": None, "signal": signal.SIGSEGV}, "FAILED"),
        ({"exit_code": None, "signal": signal.SIGKILL}, "FAILED"),
        ({"exit_code": None, "signal": signal.SIGKILL, "memory_was_hit": True}, "OUT_OF_MEMORY"),
        ({"exit_code": 137, "tail": ["Detected 1 oom_kill event"]}, "OUT_OF_MEMORY"),
        ({"exit_code": 1, "tail": ["Detected 1 oom_kill event"]}, "FAILED"),
        ({"exit_code": 1, "memory_was_hit": True}, "OUT_OF_MEMORY"),
        ({"memory_was_hit": True}, "SUCCEEDED"),
        ({"interrupted_by": BY_SIGNAL, "reached": 2}, "PREEMPTED"),
        ({"interrupted_by": BY_SIGNAL, "exit_code": None, "signal": signal.SIGTERM}, "PREEMPTED"),
        ({"interrupted_by": BY_SIGNAL, "reached": 2, "is_near_deadline": True}, "TIMEOUT"),
        ({"interrupted_by": BY_DEADLINE, "reached": 2, "is_near_deadline": True}, "TIMEOUT"),
        ({"interrupted_by": BY_STOP, "reached": 2, "is_near_deadline": True}, "CANCELLED"),
        ({"interrupted_by": BY_SIGNAL, "end": None}, "PREEMPTED"),
        ({"interrupted_by": BY_SIGNAL}, "SUCCEEDED"),
        ({"interrupted_by": BY_STOP}, "SUCCEEDED"),
        ({"interrupted_by": BY_SIGNAL, "reported": ["loss"]}, "PREEMPTED"),
    ],
)
def test_outcome(changes: Any, outcome: Any) -> None:
    assert judge(seen(**changes))[0] == outcome


def test_interruption_says_how_far_it_came() -> None:
    assert judge(seen(interrupted_by=BY_SIGNAL, is_near_deadline=True, reached=2))[1] == (
        "the time limit of the slot came first; reached epoch 2 of 3"
    )
    assert judge(seen(interrupted_by=BY_STOP, reached=None, end=None))[1] == (
        "stopped on request; reached epoch 0"
    )

"""Studies of events alone: complete, and counted."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from slurmtune.core.events import AttemptEnded, AttemptReported, ConfigProposed, SlotEnded
from slurmtune.core.ports import Scheduler
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.median import MedianRule
from slurmtune.testing.decisions import decide_all


def ticks() -> Callable[[], float]:
    """A clock that goes on by one each time it is asked."""
    numbers = count()
    return lambda: float(next(numbers))


def test_each_event_is_counted_and_timed():
    cost = decide_all(lambda: Asha([1, 3], 3), 9, timer=ticks(), in_flight=4)

    assert cost.calls[ConfigProposed] == 9
    promoted = cost.calls[AttemptEnded] - 9
    assert promoted >= 3
    assert cost.calls[AttemptReported] == 9 + 2 * promoted
    assert cost.mean_seconds(AttemptEnded) == 1.0
    assert cost.seconds == sum(cost.calls.values())
    assert cost.mean_seconds(SlotEnded) == 0.0


@pytest.mark.parametrize(
    "make", [lambda: AshaStopping([1, 3, 9], 3), lambda: MedianRule(9, grace=1)]
)
def test_schedulers_that_stop_running_trials_come_to_an_end_too(make: Callable[[], Scheduler]):
    cost = decide_all(make, 40, timer=ticks(), in_flight=8)

    assert cost.study.finished == "done"
    assert cost.calls[AttemptReported] < 40 * 9

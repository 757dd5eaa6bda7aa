"""What simulated studies found (``scripts/simulate-faults``), each as small as it gets."""

from __future__ import annotations

import pytest

from slurmtune.backends.simulator import Interval
from slurmtune.driver.loop import Driver
from slurmtune.testing.study_rig import StudyRig

HOUR = 3600.0
DAY = 24 * HOUR


class SetBack:
    """A clock that somebody sets back once."""

    def __init__(self, rig: StudyRig, *, at: float, by: float) -> None:
        self._rig = rig
        self._at = at
        self._by = by

    def now(self) -> float:
        true = self._rig.clock.now()
        return true - self._by if true >= self._at else true

    def wait(self, seconds: float) -> None:
        self._rig.clock.wait(seconds)


def small(**more: object) -> StudyRig:
    return StudyRig(trials=6, slots=3, levels=(1, 3), **more)  # type: ignore[arg-type]


def launch(rig: StudyRig, clock: SetBack) -> str:
    driver = rig.new_driver()
    driver.clock = clock
    return rig.launch(driver)


def test_a_queue_that_is_full_for_a_day_is_tried_less_and_less_often() -> None:
    """Each try is a line of the journal and a folder for its manifest."""
    rig = small(model={"refusals": (Interval(0.0, DAY),)}, woken=False)

    assert rig.run() == "done"
    assert len(rig.recorded("ArrayRefused")) < 160
    assert rig.clock.now() < DAY + 2 * HOUR


def test_the_pause_after_a_refusal_is_short_again_after_a_success() -> None:
    intervals = (Interval(0.0, 2 * HOUR), Interval(3 * HOUR, 3 * HOUR + 60.0))
    rig = small(model={"refusals": intervals, "linger_seconds": 0.0, "reuse": False}, woken=False)
    rig.run()

    times = [event["time"] for event in rig.recorded("ArrayRefused")]
    assert max(b - a for a, b in zip(times, times[1:], strict=False)) <= 15 * 60.0


def test_refusals_without_end_do_not_end_the_driver() -> None:
    rig = small(model={"refusals": (Interval(0.0, 1e9),)}, woken=False, most_hours=1e9)
    driver = rig.new_driver()
    driver.open(rig.limits, "rig")
    for _ in range(3000):
        driver.tick()
        rig.clock.wait(600.0)

    assert len(rig.recorded("ArrayRefused")) > 2000


@pytest.mark.parametrize("by", [HOUR, 10_000 * DAY])
def test_a_clock_that_is_set_back_stops_nothing(by: float) -> None:
    undisturbed = small(woken=False)
    undisturbed.run()
    rig = small(woken=False)

    assert launch(rig, SetBack(rig, at=90.0, by=by)) == "done"
    assert rig.clock.now() < undisturbed.clock.now() + 120.0


def test_a_suspicion_outlives_a_clock_that_is_set_back() -> None:
    rig = small(woken=False)
    rig.clock.call_at(70.0, lambda: rig.cluster.fail_node("st-rig-1-1", 0))

    assert launch(rig, SetBack(rig, at=125.0, by=1000 * HOUR)) == "done"
    assert rig.clock.now() < 2 * HOUR


def test_an_array_intended_by_a_clock_that_was_ahead_is_submitted_soon() -> None:
    """Two login nodes need not agree on the time."""
    rig = small(woken=False)

    class DiesBeforeSbatch(Driver):
        def _try_submission(self, submission: object, now: float) -> bool:
            raise KeyboardInterrupt

    driver = rig.new_driver(DiesBeforeSbatch)
    driver.clock = SetBack(rig, at=0.0, by=-DAY)
    with pytest.raises(KeyboardInterrupt):
        rig.launch(driver)

    assert rig.run() == "done"
    assert rig.clock.now() < 2 * HOUR

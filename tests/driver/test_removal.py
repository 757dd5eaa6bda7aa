"""Checkpoints that nobody needs are removed without keeping the driver from its work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.testing.study_rig import StudyRig


class SlowDisk:
    """An exchange that takes its time to remove, and counts what it removed in which tick."""

    def __init__(self, rig: StudyRig, seconds: float) -> None:
        self._exchange = rig.cluster.exchange
        self._rig = rig
        self._seconds = seconds
        self.tick = 0
        self.removed: Counter[int] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def read(self, now: float) -> Any:
        """Begin another tick."""
        self.tick += 1
        return self._exchange.read(now)

    def drop_checkpoints(self, trial: int, names: Sequence[str]) -> None:
        """Remove them slowly."""
        self._exchange.drop_checkpoints(trial, names)
        self.removed[self.tick] += 1
        self._rig.clock.wait(self._seconds)


def halving(**more: Any) -> StudyRig:
    """Return a study at the end of whose first stage dozens of checkpoints become unnecessary."""
    return StudyRig(
        trials=81,
        slots=27,
        levels=(1, 9),
        scheduler=lambda: SuccessiveHalving((1, 9), 9, 81),
        limits={"keep": "none"},
        **more,
    )


def test_a_tick_removes_for_a_second_and_the_next_goes_on() -> None:
    rig = halving()
    driver = rig.new_driver()
    disk = driver.exchange = SlowDisk(rig, seconds=0.3)
    assert rig.launch(driver) == "done"

    last = max(disk.removed)
    # Four of 0.3 s; a wait of the virtual clock may be cut short by what it wakes for.
    assert max(count for tick, count in disk.removed.items() if tick != last) <= 8
    assert sum(disk.removed.values()) >= 80


def test_nothing_is_left_over_when_the_study_is_done() -> None:
    rig = halving()
    driver = rig.new_driver()
    driver.exchange = SlowDisk(rig, seconds=0.3)
    rig.launch(driver)

    assert list(rig.study.open_actions()) == []
    assert [t.number for t in rig.study.trials if t.saved] == [
        trial for _, trial in rig.study.results.rungs[1].best[:1]
    ]


def test_what_is_left_when_a_driver_leaves_is_removed_by_the_next() -> None:
    rig = halving()
    driver = rig.new_driver()
    disk = driver.exchange = SlowDisk(rig, seconds=0.3)
    driver.open(rig.limits, "rig")
    while not disk.removed:
        driver.tick()
        rig.clock.wait(5.0)
    assert rig.study.open_actions()

    assert rig.run() == "done"
    assert list(rig.study.open_actions()) == []

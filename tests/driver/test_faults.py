"""What simulated studies found (``scripts/simulate-faults``), each as small as it gets."""

from __future__ import annotations

import pytest

from slurmtune.backends.base import ArraySpec
from slurmtune.backends.simulator import Interval
from slurmtune.core.fleet import ArrayState
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome
from slurmtune.driver.loop import Driver
from slurmtune.driver.submission import Submissions
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
    rig = small(model={"refusals": (Interval(0.0, HOUR),)}, woken=False)
    driver = rig.new_driver()

    rig.launch(driver)

    assert len(rig.recorded("ArrayRefused")) > 3
    assert driver.submissions.refusals == 0


def test_refusals_without_end_do_not_end_the_driver() -> None:
    rig = small(model={"refusals": (Interval(0.0, 1e9),)}, woken=False, most_hours=1e9)
    driver = rig.new_driver()
    driver.open(rig.limits, "rig")
    for _ in range(3000):
        driver.tick()
        rig.clock.wait(600.0)

    assert len(rig.recorded("ArrayRefused")) > 2000


@pytest.mark.parametrize("by", [3 * HOUR, 10_000 * DAY])
@pytest.mark.parametrize("at", [250.0, 315.0, 335.0, 395.0])
def test_a_clock_that_is_set_back_delays_nothing(at: float, by: float) -> None:
    """Neither the look at the queue, nor the end of the grace, nor the next submission."""

    def rig() -> StudyRig:
        made = StudyRig(trials=3, slots=3, levels=(10, 30), woken=False, model={"requeue": False})
        made.clock.call_at(300.0, lambda: made.cluster.fail_node("st-rig-1-1", 0))
        return made

    undisturbed, disturbed = rig(), rig()
    undisturbed.run()

    assert launch(disturbed, SetBack(disturbed, at=at, by=by)) == "done"
    assert disturbed.clock.now() < undisturbed.clock.now() + 120.0


def test_an_array_intended_by_a_clock_that_was_ahead_is_submitted_soon() -> None:
    """Two login nodes need not agree on the time."""
    rig = small(woken=False)

    class Deadly(Submissions):
        def attempt(self, submission: object, now: float) -> bool:
            raise KeyboardInterrupt

    class DiesBeforeSbatch(Driver):
        make_submissions = Deadly

    driver = rig.new_driver(DiesBeforeSbatch)
    driver.clock = SetBack(rig, at=0.0, by=-DAY)
    with pytest.raises(KeyboardInterrupt):
        rig.launch(driver)

    assert rig.run() == "done"
    assert rig.clock.now() < 2 * HOUR


def test_an_array_that_was_refused_and_came_all_the_same_is_adopted() -> None:
    """A driver slept before its sbatch; the next one was refused, then the first one woke."""
    rig = small(model={"refusals": (Interval(0.0, 10.0),)}, woken=False)
    token = "st-rig-1-1"
    late = ArraySpec(
        token=token, request=ResourceRequest(name="c0", gpus=1), size=3, manifest_sha256=""
    )

    def come_late() -> None:
        rig.cluster.queue.submit(late)

    rig.clock.call_at(5.0, come_late)

    assert rig.run() == "done"
    assert rig.recorded("ArrayRefused")[0]["token"] == token
    assert rig.study.fleet.arrays[token].state is ArrayState.SUBMITTED
    assert {a.outcome for t in rig.study.trials for a in t.attempts} == {Outcome.SUCCEEDED}

"""How many attempts are in flight when slots are queued ahead, and how many slots are queued."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from slurmtune.backends.simulator import Constant, Exponential
from slurmtune.core.events import AttemptClaimed, Event
from slurmtune.core.request import ResourceRequest
from slurmtune.core.study import Study
from slurmtune.core.trial import AttemptState
from slurmtune.schedulers.single import SingleRung
from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.testing.study_rig import StudyRig

MINUTE = 60.0
HOUR = 3600.0


class Watch:
    """Keeps the most attempts in flight, and how many of them nobody had claimed."""

    def __init__(self) -> None:
        self.most = 0
        self.most_on_offer = 0
        self.unserved: list[int] = []
        """How many offers were left when a slot had claimed one."""

    def applied(self, event: Event, study: Study) -> None:
        waiting = sum(a.state is not AttemptState.RUNNING for a in study.live.values())
        self.most = max(self.most, len(study.live))
        self.most_on_offer = max(self.most_on_offer, waiting)
        if isinstance(event, AttemptClaimed):
            self.unserved.append(waiting)

    def message(self, text: str) -> None:
        pass

    def looked(self, overview: Mapping[str, Any]) -> None:
        pass


def ahead(factor: float = 2.0, *, slots: int = 4, trials: int = 40, **more: Any) -> StudyRig:
    model = {"queue_wait": Exponential(10 * MINUTE), "startup": Constant(10.0)}
    return StudyRig(
        **{
            "trials": trials,
            "slots": slots,
            "levels": (10,),
            "scheduler": lambda: SingleRung(10),
            "woken": False,
            "ahead": factor,
            "longest_tick_seconds": 5.0,
            **more,
            "model": {**model, **more.get("model", {})},
        }
    )


def watched(rig: StudyRig) -> Watch:
    driver, watch = rig.new_driver(), Watch()
    driver.observer = watch
    assert rig.launch(driver) == "done"
    return watch


def sizes(rig: StudyRig) -> list[int]:
    return [array.size for array in rig.study.fleet.arrays.values()]


def test_twice_as_many_slots_are_queued_as_attempts_may_run() -> None:
    rig = ahead()
    rig.run()

    assert sizes(rig)[0] == 8


def test_no_more_of_an_array_run_than_attempts_may_be_in_flight() -> None:
    rig = ahead(model={"queue_wait": Constant(0.0), "slots": 16})
    rig.run()

    begins = [(span.begin, 1) for span in rig.cluster.slot_spans()]
    ends = [(span.end, -1) for span in rig.cluster.slot_spans()]
    running = most = 0
    for _, step in sorted(begins + ends):
        running += step
        most = max(most, running)
    assert most == 4


def test_a_limit_on_running_slots_that_the_user_set_stays() -> None:
    request = ResourceRequest(name="c0", gpus=1, array_limit=3)
    rig = ahead(model={"queue_wait": Constant(0.0), "slots": 16}, requests={"c0": request})
    watch = watched(rig)

    assert watch.most <= 4
    assert len({span.machine for span in rig.cluster.slot_spans()}) == 3


def test_a_config_is_chosen_when_there_is_a_slot_for_it() -> None:
    """Of the 4 attempts that may be in flight one is on offer, and those that slots run."""
    rig = ahead(model={"queue_wait": Exponential(10 * HOUR)}, trials=12)
    watch = watched(rig)

    assert watch.most == 4
    assert watch.most_on_offer <= 2


def test_without_ahead_every_attempt_that_may_be_in_flight_is_on_offer_at_once() -> None:
    assert watched(ahead(1.0)).most_on_offer == 4


def test_a_slot_that_starts_finds_an_offer_at_once_in_the_usual_case() -> None:
    """Slots start one by one; each claims in the moment of its first look."""
    rig = ahead(slots=16, trials=100)
    rig.run()

    claimed: dict[str, float] = {}
    for span in rig.cluster.attempt_spans():
        claimed[span.slot] = min(span.begin, claimed.get(span.slot, span.begin))
    begun = {span.slot: span.begin for span in rig.cluster.slot_spans()}
    at_once = [claimed[slot] - begun[slot] == 10.0 for slot in claimed]
    assert sum(at_once) >= 0.8 * len(at_once)


def test_slots_that_all_start_at_once_have_work_within_seconds() -> None:
    rig = ahead(slots=32, trials=64, model={"queue_wait": Constant(0.0)})
    rig.run()

    first: dict[str, float] = {}
    for span in rig.cluster.attempt_spans():
        first[span.slot] = min(span.begin, first.get(span.slot, span.begin))
    assert len(first) == 32
    assert max(first.values()) < 10.0 + 35.0  # their start-up, and one look at the queue


def test_slots_that_left_for_lack_of_work_are_not_submitted_again() -> None:
    """One trial is much slower than the others, and the next bracket waits for it."""
    rig = ahead(
        slots=8,
        trials=27,
        levels=(1, 3, 9),
        scheduler=lambda: SuccessiveHalving([1, 3, 9], 3, 27),
        model={"queue_wait": Constant(0.0), "slots": 32, "linger_seconds": 5.0},
    )
    rig.run()

    assert sum(sizes(rig)) <= 16 + 27


def test_slots_that_start_in_excess_do_not_come_again_and_again() -> None:
    """The cluster is free: a slot that ends is replaced, and what is too many leaves for good."""
    request = ResourceRequest(name="c0", gpus=1, time_limit_seconds=3600)
    rig = ahead(
        trials=120,
        model={"queue_wait": Constant(0.0), "slots": 32},
        requests={"c0": request},
    )
    rig.run()

    served = {span.slot for span in rig.cluster.attempt_spans()}
    assert sum(sizes(rig)) - len(served) <= len(served)


def test_slots_that_end_at_their_limit_are_replaced() -> None:
    request = ResourceRequest(name="c0", gpus=1, time_limit_seconds=3600)
    rig = ahead(trials=60, requests={"c0": request}, limits={"retry_timeout": 9})
    rig.run()

    assert len({span.slot for span in rig.cluster.slot_spans()}) > 8


def test_slots_that_wait_are_cancelled_when_no_further_trial_is_to_be_started() -> None:
    rig = ahead(model={"queue_wait": Constant(0.0), "slots": 4}, trials=9)
    rig.run()

    rig.clock.wait(HOUR)
    rig.cluster.backend.poll()
    assert rig.cluster.queue.live_slots() == 0


@pytest.mark.parametrize("reuse", [True, False])
def test_a_study_with_two_classes_is_done(reuse: bool) -> None:
    requests = {name: ResourceRequest(name=name, gpus=1) for name in ("c0", "c1")}
    rig = StudyRig(
        trials=30,
        slots=4,
        levels=(1, 3, 9),
        ahead=2.0,
        woken=False,
        requests=requests,
        limits={"rung_classes": ("c0", "c1"), "gpus": {"c0": 1, "c1": 1}},
        model={"queue_wait": Exponential(300.0), "reuse": reuse},
    )

    assert rig.run() == "done"
    classes = Counter(a.resource_class for t in rig.study.trials for a in t.attempts)
    assert classes["c0"] == 30
    assert classes["c1"] >= 13


def test_a_driver_that_comes_later_binds_late_too() -> None:
    rig = ahead(trials=30)
    first = rig.new_driver()
    rig.clock.call_at(HOUR, first.detach)
    assert rig.launch(first) == "detached"

    rig.clock.wait(HOUR)
    watch = watched(rig)

    assert watch.most <= 4
    assert len(rig.study.trials) == 30


def test_offers_are_kept_ahead_of_short_attempts_too() -> None:
    rig = ahead(
        slots=4,
        trials=400,
        levels=(1,),
        scheduler=lambda: SingleRung(1),
        model={"queue_wait": Constant(0.0), "report_every": None},
        adaptive=True,
    )
    watch = watched(rig)

    assert 60.0 < rig.clock.now() < 3 * HOUR
    assert watch.most <= 8

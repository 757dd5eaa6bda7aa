"""Arrays and slots: what lives, and how many are missing."""

import pytest

from slurmtune.core.events import (
    ArrayIntended,
    ArrayRefused,
    ArraySubmitted,
    AttemptClaimed,
    SlotEnded,
)
from slurmtune.core.fleet import Demand, Fleet
from slurmtune.core.trial import Outcome
from slurmtune.errors import TransitionError


def fleet_of(size: int, token: str = "st-1-1-1", name: str = "c0") -> Fleet:
    fleet = Fleet()
    fleet.handle(ArrayIntended(time=0, token=token, resource_class=name, size=size))
    fleet.handle(ArraySubmitted(time=0, token=token, job="7"))
    return fleet


def end(fleet: Fleet, index: int, token: str = "st-1-1-1") -> bool:
    return fleet.handle(SlotEnded(time=1, token=token, index=index, outcome=Outcome.SUCCEEDED))


def claim(fleet: Fleet, index: int) -> None:
    fleet.handle(AttemptClaimed(time=1, attempt="t00000.r0.a1", slot=f"st-1-1-1.{index}.0"))


def test_nothing_is_missing_when_nothing_is_wanted():
    assert Fleet().shortfall({}, 4, reuse=True) == {}


def test_as_many_slots_as_attempts_up_to_the_limit():
    assert Fleet().shortfall({"c0": Demand(3, 0)}, 8, reuse=True) == {"c0": 3}
    assert Fleet().shortfall({"c0": Demand(30, 0)}, 8, reuse=True) == {"c0": 8}


def test_an_intended_array_counts_before_it_is_submitted():
    fleet = Fleet()
    fleet.handle(ArrayIntended(time=0, token="st-1-1-1", resource_class="c0", size=3))

    assert fleet.shortfall({"c0": Demand(3, 0)}, 8, reuse=True) == {}


def test_slots_that_ended_are_replaced_only_as_needed():
    fleet = fleet_of(4)
    end(fleet, 0)
    end(fleet, 1)

    assert fleet.shortfall({"c0": Demand(1, 2)}, 4, reuse=True) == {"c0": 1}


def test_a_slot_ends_once():
    fleet = fleet_of(2)

    assert end(fleet, 0)
    assert not end(fleet, 0)


def test_a_refused_array_has_no_slots():
    fleet = Fleet()
    fleet.handle(ArrayIntended(time=0, token="st-1-1-1", resource_class="c0", size=3))
    fleet.handle(ArrayRefused(time=0, token="st-1-1-1", message="no"))

    assert fleet.shortfall({"c0": Demand(3, 0)}, 8, reuse=True) == {"c0": 3}
    assert not fleet.live_arrays


def test_without_reuse_each_offer_needs_a_slot_that_is_unused():
    fleet = fleet_of(4)
    claim(fleet, 0)
    claim(fleet, 1)

    assert fleet.shortfall({"c0": Demand(3, 2)}, 8, reuse=False) == {"c0": 1}


def test_classes_share_the_limit():
    fleet = fleet_of(3)

    assert fleet.shortfall({"c0": Demand(0, 3), "c1": Demand(4, 0)}, 5, reuse=True) == {"c1": 2}


def test_slots_are_queued_ahead_of_what_is_on_offer():
    fleet = fleet_of(3)

    assert fleet.shortfall({"c0": Demand(1, 2)}, 4, reuse=True, ahead={"c0": 8}) == {"c0": 5}


def test_slots_ahead_are_no_fewer_than_those_that_work_needs():
    assert Fleet().shortfall({"c0": Demand(4, 0)}, 4, reuse=True, ahead={"c0": 2}) == {"c0": 4}


def test_slots_of_other_classes_that_have_work_count_as_queued_ahead():
    fleet = fleet_of(3)

    demand = {"c0": Demand(0, 2), "c1": Demand(1, 0)}
    assert fleet.shortfall(demand, 4, reuse=True, ahead={"c1": 8}) == {"c1": 6}


def test_a_token_is_used_once():
    fleet = fleet_of(1)
    with pytest.raises(TransitionError, match="intended before"):
        fleet.handle(ArrayIntended(time=0, token="st-1-1-1", resource_class="c0", size=1))


def test_a_slot_of_no_array_cannot_end():
    with pytest.raises(TransitionError, match="no array"):
        end(Fleet(), 0)


def test_it_remembers_how_a_slot_ended():
    fleet = fleet_of(1)
    assert fleet.is_live("st-1-1-1.0.0")
    assert fleet.outcome("st-1-1-1.0.0") is None
    end(fleet, 0)

    assert not fleet.is_live("st-1-1-1.0.0")
    assert fleet.outcome("st-1-1-1.0.0") is Outcome.SUCCEEDED


def test_slots_of_a_class_without_work_hold_no_room():
    """After a change of the spec, or between two rungs that ask for different things."""
    fleet = fleet_of(4)

    assert fleet.shortfall({"c1": Demand(4, 0)}, 4, reuse=True) == {"c1": 4}
    assert fleet.shortfall({"c0": Demand(0, 1), "c1": Demand(4, 0)}, 4, reuse=True) == {"c1": 3}

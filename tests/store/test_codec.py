"""Events as records and back, and actions in words."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.core import actions, events
from slurmtune.core.trial import Outcome
from slurmtune.errors import CorruptJournalError
from slurmtune.store import frame
from slurmtune.store.codec import decode_event, describe_action, encode_event

finite = st.floats(allow_nan=False, allow_infinity=False)
times = st.floats(0, 4e9)
names = st.text(max_size=12)
counts = st.integers(0, 10**6)
resources = st.integers(0, 10**6) | st.floats(0, 1e6)
scalars = names | st.integers() | finite | st.booleans()
attempts = st.builds("t{:05d}.r{}.a{}".format, counts, st.integers(0, 9), st.integers(1, 99))
limits = st.builds(
    events.Limits,
    trials=counts,
    retry_crash=counts,
    max_failed_trials=st.none() | counts,
    gpu_hours=st.none() | st.floats(0, 1e9),
    target_loss=st.none() | finite,
    stall_trials=st.none() | counts,
    rung_classes=st.lists(names, min_size=1, max_size=3).map(tuple),
    gpus=st.dictionaries(names, counts, max_size=3),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "time": times,
    "spec_sha256": names,
    "drawn_by": st.text(max_size=9),
    "limits": limits,
    "attempts": counts,
    "trial": counts,
    "config": st.dictionaries(names, scalars, max_size=4),
    "origin": names,
    "attempt": attempts,
    "slot": names,
    "seq": counts,
    "job": names,
    "host": names,
    "start": resources,
    "resource": resources,
    "metrics": st.dictionaries(names, st.floats(), max_size=4),
    "name": names,
    "names": st.lists(names, max_size=4).map(tuple),
    "outcome": st.sampled_from(Outcome),
    "seconds": st.floats(0, 1e9),
    "exit_code": st.none() | st.integers(-255, 255),
    "cause": names,
    "tail": st.lists(names, max_size=4).map(tuple),
    "gave_up": st.booleans(),
    "holding": st.booleans(),
    "limit": names,
    "token": names,
    "resource_class": names,
    "size": counts,
    "message": names,
    "index": counts,
    "reason": names,
    "node": names,
}


def kinds(module: Any, base: type) -> list[type[Any]]:
    found = [item for item in vars(module).values() if isinstance(item, type)]
    return [item for item in found if issubclass(item, base) and item is not base]


EVENT_TYPES = kinds(events, events.Event)


def event_of(cls: type[events.Event]) -> st.SearchStrategy[events.Event]:
    fields: dict[str, Any] = {field.name: FIELDS[field.name] for field in dataclasses.fields(cls)}
    if cls is events.StopRequested:
        fields["trial"] = st.none() | counts
    if cls is events.AttemptEnded:
        fields["seq"] = st.none() | counts
    return st.builds(cls, **fields)


def stored(event: events.Event) -> dict[str, Any]:
    """The record as it comes back from a file."""
    return frame.parse(frame.encode(encode_event(event))).records[0]


@given(event=st.one_of([event_of(cls) for cls in EVENT_TYPES]))
def test_every_event_comes_back_as_it_was(event: events.Event) -> None:
    # repr tells 1 from 1.0 and from True, and NaN equals NaN there.
    assert repr(decode_event(stored(event))) == repr(event)


@pytest.mark.parametrize("cls", EVENT_TYPES)
def test_every_type_of_event_is_known(cls: type[events.Event]) -> None:
    assert cls.__name__ in repr(EVENT_TYPES)
    with pytest.raises(CorruptJournalError, match="damaged"):
        decode_event({"t": cls.__name__})


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_a_metric_that_is_no_number_is_kept_as_text(value: float, text: str) -> None:
    event = events.AttemptReported(
        time=1.0, attempt="t00000.r0.a1", seq=1, resource=1, metrics={"loss": value}
    )

    assert stored(event)["metrics"] == {"loss": text}
    decoded = decode_event(stored(event))
    assert isinstance(decoded, events.AttemptReported)
    assert repr(decoded.metrics["loss"]) == repr(value)


def test_a_config_may_hold_any_letters() -> None:
    config: events.Config = {"модель": "größe 🙂 \ud800", "n": 3, "flag": True}
    event = events.ConfigProposed(time=1.0, trial=0, config=config, origin="start")

    assert decode_event(stored(event)) == event
    assert json.dumps(stored(event)).isascii()


def test_fields_at_their_default_are_left_out() -> None:
    event = events.AttemptEnded(
        time=1.0, attempt="t00000.r0.a1", seq=None, outcome=Outcome.LOST, seconds=0.0
    )

    assert encode_event(event) == {
        "t": "AttemptEnded",
        "time": 1.0,
        "attempt": "t00000.r0.a1",
        "seq": None,
        "outcome": "LOST",
        "seconds": 0.0,
    }


def test_a_field_that_equals_its_default_only_by_value_is_kept_in_kind() -> None:
    """An exit code of 0 is not the absence of one."""
    event = events.AttemptEnded(
        time=1.0,
        attempt="t00000.r0.a1",
        seq=0,
        outcome=Outcome.SUCCEEDED,
        seconds=0.0,
        exit_code=0,
    )

    assert encode_event(event)["exit_code"] == 0


LIMITS = {"trials": 1, "rung_classes": ["c0"]}
OPENED = {"t": "StudyOpened", "time": 0, "spec_sha256": "x", "limits": LIMITS}
ENDED = {"t": "AttemptEnded", "time": 0, "attempt": "a", "seq": 1, "outcome": "LOST", "seconds": 0}


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"t": None},
        {"t": 7},
        {"t": ["StudyOpened"]},
        {"t": "Event", "time": 0},
        {"t": "TrialInvented", "time": 0},
    ],
)
def test_an_unknown_type_is_told(record: dict[str, Any]) -> None:
    with pytest.raises(CorruptJournalError, match="unknown record"):
        decode_event(record)


@pytest.mark.parametrize(
    "record",
    [
        {"t": "AttemptQueued"},
        {"t": "AttemptQueued", "time": 0, "attempt": "a", "colour": "red"},
        {**ENDED, "outcome": "SUCCESS"},
        {**ENDED, "outcome": ["LOST"]},
        {**ENDED, "tail": 5},
        {**OPENED, "limits": 5},
        {**OPENED, "limits": {}},
        {**OPENED, "limits": {"trials": 1}},
        {**OPENED, "limits": {**LIMITS, "colour": "red"}},
        {**OPENED, "limits": {**LIMITS, "rung_classes": None}},
        {"t": "AttemptReported", "time": 0, "attempt": "a", "seq": 1, "resource": 1, "metrics": 3},
        {
            "t": "AttemptReported",
            "time": 0,
            "attempt": "a",
            "seq": 1,
            "resource": 1,
            "metrics": {"loss": "low"},
        },
        {"t": "AttemptQueued", "time": "noon", "attempt": "a"},
    ],
)
def test_a_damaged_record_is_told_by_its_type(record: dict[str, Any]) -> None:
    with pytest.raises(CorruptJournalError, match=rf"damaged {record['t']} record"):
        decode_event(record)


OFFER = actions.Offer(
    attempt="t00007.r1.a1",
    trial=7,
    rung=1,
    config={"x": 1},
    start=1,
    end=3,
    checkpoint="1.t00007.r0.a1",
    seed=5,
    priority=990,
    resource_class="c0",
)
WORDS = {
    actions.Propose(trial=7): "Propose t00007",
    actions.Withdraw(attempt="t00007.r1.a1"): "Withdraw t00007.r1.a1",
    actions.StopAttempt(attempt="t00007.r1.a1"): "StopAttempt t00007.r1.a1",
    actions.Finish(reason="done"): "Finish done",
    actions.DropCheckpoints(trial=7, names=("1.t00007.r0.a1", "3.t00007.r1.a1")): (
        "DropCheckpoints t00007 1.t00007.r0.a1 3.t00007.r1.a1"
    ),
}


@pytest.mark.parametrize(("action", "words"), WORDS.items())
def test_an_action_is_one_line(action: actions.Action, words: str) -> None:
    assert describe_action(action) == words


def test_an_offer_tells_what_it_goes_on_from() -> None:
    fresh = dataclasses.replace(OFFER, start=0, checkpoint=None, end=None)

    assert describe_action(OFFER) == "Offer t00007.r1.a1 1 -> 3 from 1.t00007.r0.a1"
    assert describe_action(fresh) == "Offer t00007.r1.a1 0 -> None from nothing"


def test_every_action_has_words() -> None:
    described = {type(action) for action in [*WORDS, OFFER]}

    assert described == set(kinds(actions, actions.Action))


def test_what_is_no_action_raises() -> None:
    with pytest.raises(TypeError, match="not an action"):
        describe_action(actions.Action())

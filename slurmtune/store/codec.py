"""Events and verdicts as JSON records and back, and actions as one line of text.

The record of an event holds its type under ``t`` and its fields under their own names; fields at
their default are left out. What a decision led to is recorded beside the event as text, so that a
replay can compare and a reader understands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from slurmtune.core import events
from slurmtune.core.actions import (
    Action,
    DropCheckpoints,
    Finish,
    Offer,
    Propose,
    StopAttempt,
    Withdraw,
)
from slurmtune.core.ids import trial_id
from slurmtune.core.ports import Standing
from slurmtune.core.trial import Outcome
from slurmtune.core.verdict import Verdict
from slurmtune.errors import CorruptJournalError
from slurmtune.store.frame import decode_number, encode_number

_TYPES: Mapping[str, type[events.Event]] = {
    cls.__name__: cls for cls in events.Event.__subclasses__()
}

_ENCODE: Mapping[str, Callable[[Any], Any]] = {
    "outcome": lambda outcome: outcome.value,
    "tail": list,
    "names": list,
    "config": dict,
    "metrics": lambda metrics: {k: encode_number(v) for k, v in metrics.items()},
    "limits": asdict,
}
_DECODE: Mapping[str, Callable[[Any], Any]] = {
    "outcome": Outcome,
    "tail": tuple,
    "names": tuple,
    "metrics": lambda metrics: {k: decode_number(v) for k, v in metrics.items()},
    "limits": lambda limits: events.Limits(
        **{**limits, "rung_classes": tuple(limits["rung_classes"])}
    ),
}
_FIELDS: Mapping[str, tuple[tuple[str, Any, Callable[[Any], Any] | None], ...]] = {
    name: tuple(
        (
            field.name,
            field.default_factory() if field.default_factory is not MISSING else field.default,
            _ENCODE.get(field.name),
        )
        for field in fields(cls)
    )
    for name, cls in _TYPES.items()
}

_CONVERTED: Mapping[str, tuple[tuple[str, Callable[[Any], Any]], ...]] = {
    name: tuple((field, _DECODE[field]) for field, _, _ in described if field in _DECODE)
    for name, described in _FIELDS.items()
}
"""By type: those of its fields that JSON has no form for, and how each is read."""
_NUMBERS = (int, float)

_VERDICT_FIELDS = tuple(field.name for field in fields(Verdict))
_STANDING_FIELDS = tuple(field.name for field in fields(Standing))


def encode_event(event: events.Event) -> dict[str, Any]:
    """Return the record of an event."""
    name = type(event).__name__
    record: dict[str, Any] = {"t": name}
    for field, default, convert in _FIELDS[name]:
        value = getattr(event, field)
        if value != default:
            record[field] = convert(value) if convert is not None else value
    return record


def decode_event(record: Mapping[str, Any]) -> events.Event:
    """Return the event of a record.

    Raises:
        CorruptJournalError: it is no record of an event that this version knows.
    """
    values = dict(record)
    name = values.pop("t", None)
    cls = _TYPES.get(name) if isinstance(name, str) else None
    if cls is None:
        raise CorruptJournalError(f"the journal holds an unknown record: {name!r}")
    try:
        for field, convert in _CONVERTED[cls.__name__]:
            if field in values:
                values[field] = convert(values[field])
        event = cls(**values)
        if not isinstance(event.time, _NUMBERS):
            raise TypeError(f"the time is {event.time!r}")
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CorruptJournalError(f"the journal holds a damaged {name} record: {error}") from error
    return event


def describe_action(action: Action) -> str:
    """Return an action as one line."""
    match action:
        case Propose(trial=trial):
            return f"Propose {trial_id(trial)}"
        case Offer():
            source = action.checkpoint or "nothing"
            return f"Offer {action.attempt} {action.start} -> {action.end} from {source}"
        case Withdraw(attempt=attempt):
            return f"Withdraw {attempt}"
        case StopAttempt(attempt=attempt):
            return f"StopAttempt {attempt}"
        case DropCheckpoints(trial=trial, names=names):
            return f"DropCheckpoints {trial_id(trial)} {' '.join(names)}"
        case Finish(reason=reason):
            return f"Finish {reason}"
        case _:
            raise TypeError(f"not an action: {action!r}")


def encode_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return the record of a verdict."""
    record = _given(verdict, _VERDICT_FIELDS)
    record["kind"] = verdict.kind.value
    if verdict.standing is not None:
        record["standing"] = _given(verdict.standing, _STANDING_FIELDS)
    return record


def _given(value: Verdict | Standing, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that are neither None nor empty."""
    given = {}
    for name in names:
        one = getattr(value, name)
        if one is not None and one != "":
            given[name] = one
    return given

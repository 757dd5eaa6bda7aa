"""From the records of a journal back to the study they tell of, checking every decision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

from slurmtune.core.actions import Action, DropCheckpoints
from slurmtune.core.events import Event
from slurmtune.core.study import Study
from slurmtune.core.verdict import Verdict
from slurmtune.errors import CorruptJournalError, ReplayError, TransitionError
from slurmtune.store import frame
from slurmtune.store.codec import decode_event, describe_action, encode_event, encode_verdict

_MOST_LINES = 200
"""Actions of one event that are recorded in words: a pause may take thousands of offers back, and
a record has a greatest length."""
_SLACK_BYTES = 256
"""Of a record: its keys, and the line that stands for verdicts that are left out."""
_MANY_RECORDS = 10_000
"""Of a journal whose replay takes so long that the collector of garbage would cost more."""
_NOTHING: list[Any] = []


def record_of(
    event: Event, actions: Sequence[Action], verdicts: Sequence[Verdict] = ()
) -> dict[str, Any]:
    """Return the journal's record of an event, of what it led to and of what was judged."""
    record: dict[str, Any] = {"e": encode_event(event)}
    if actions:
        record["a"] = _described(actions)
    if verdicts:
        room = frame.MAX_FRAME_BYTES - _SLACK_BYTES - len(json.dumps(record))
        record["v"] = _fitting([encode_verdict(verdict) for verdict in verdicts], room)
    return record


def _fitting(verdicts: list[dict[str, Any]], room_bytes: int) -> list[dict[str, Any]]:
    """Return the verdicts; of more than a record can hold the first, and a digest of all.

    The end of a stage promotes as many trials as there is room for at once.
    """
    fitting = 0
    for verdict in verdicts:
        room_bytes -= len(json.dumps(verdict)) + 1
        fitting += room_bytes >= 0
    if fitting == len(verdicts):
        return verdicts
    digest = hashlib.sha256(json.dumps(verdicts, sort_keys=True).encode()).hexdigest()
    return [*verdicts[:fitting], {"more": len(verdicts) - fitting, "digest": digest[:16]}]


def replay(study: Study, records: Iterable[Mapping[str, Any]]) -> float | None:
    """Fold the records into ``study``; return the time of the first one.

    Raises:
        ReplayError: the study decides otherwise than it did when the record was written; names
            both decisions. Or a record tells what cannot happen, or happened before.
        CorruptJournalError: a record is damaged.
    """
    if not isinstance(records, Sized) or len(records) < _MANY_RECORDS:
        return _replay(study, records)
    with frame.collector_paused():
        return _replay(study, records)


def _replay(study: Study, records: Iterable[Mapping[str, Any]]) -> float | None:
    first: float | None = None
    for number, record in enumerate(records):
        told, recorded = record.get("e"), record.get("a", _NOTHING)
        if not isinstance(told, dict) or not isinstance(recorded, list):
            raise CorruptJournalError(f"record {number} of the journal holds no event")
        event = decode_event(told)
        first = event.time if first is None else first
        actions = _applied(study, number, event)
        if recorded or actions:
            _check_actions(number, event, actions, recorded)
        if (judged := record.get("v")) is not None:
            _check_verdicts(study, number, event, actions, judged)
    return first


def _check_actions(
    number: int, event: Event, actions: Sequence[Action], recorded: list[Any]
) -> None:
    derived = _described(actions)
    if recorded != derived and recorded != _described(_without_drops(actions)):
        raise ReplayError(
            f"record {number} ({_name(event)}): the journal says "
            f"{'; '.join(map(str, recorded)) or 'nothing'}, but "
            f"{'; '.join(derived) or 'nothing'} follows from the records before it"
        )


def _without_drops(actions: Sequence[Action]) -> list[Action]:
    """Return what an older slurmtune, which removed no checkpoints, would have decided."""
    return [action for action in actions if not isinstance(action, DropCheckpoints)]


def _check_verdicts(
    study: Study, number: int, event: Event, actions: Sequence[Action], recorded: Any
) -> None:
    """Compare what was judged; an older slurmtune recorded only what followed."""
    derived = [encode_verdict(verdict) for verdict in study.verdicts]
    if derived == recorded:
        return
    derived = record_of(event, actions, study.verdicts).get("v", [])
    if derived != recorded:
        raise ReplayError(
            f"record {number} ({_name(event)}): the journal says that it was judged {recorded}, "
            f"but {derived or 'nothing'} follows from the records before it"
        )


def _applied(study: Study, number: int, event: Event) -> tuple[Action, ...]:
    """Return what follows from the event."""
    try:
        actions = study.handle(event)
    except TransitionError as error:
        raise ReplayError(f"record {number} ({_name(event)}) cannot be: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Its fields are of the right names, but not of the right kinds.
        raise CorruptJournalError(
            f"record {number} ({_name(event)}) of the journal makes no sense: {error}"
        ) from error
    if actions is None:
        raise ReplayError(
            f"record {number} ({_name(event)}) changes nothing after the records before it; "
            "only what changes something is recorded"
        )
    return actions


def _described(actions: Sequence[Action]) -> list[str]:
    lines = [describe_action(action) for action in actions]
    if len(lines) <= _MOST_LINES:
        return lines
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} more, {digest[:16]} in all"]


def _name(event: Event) -> str:
    return type(event).__name__

"""From the records of a journal back to the study they tell of, checking every decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slurmtune.core.actions import Action
from slurmtune.core.events import Event
from slurmtune.core.study import Study
from slurmtune.errors import ReplayError
from slurmtune.store.codec import decode_event, describe_action, encode_event


def record_of(event: Event, actions: Sequence[Action]) -> dict[str, Any]:
    """Return the journal's record of an event and of what it led to."""
    record: dict[str, Any] = {"e": encode_event(event)}
    if actions:
        record["a"] = [describe_action(action) for action in actions]
    return record


def replay(study: Study, records: Iterable[Mapping[str, Any]]) -> float | None:
    """Fold the records into ``study``; return the time of the first one.

    Raises:
        ReplayError: the study decides otherwise than it did when the record was written; names
            both decisions.
        CorruptJournalError: a record is damaged.
    """
    first: float | None = None
    for number, record in enumerate(records):
        event = decode_event(record["e"])
        first = event.time if first is None else first
        actions = study.handle(event) or ()
        derived = [describe_action(action) for action in actions]
        recorded = record.get("a", [])
        if derived != recorded:
            raise ReplayError(
                f"record {number} ({record['e'].get('t')}): the journal says "
                f"{'; '.join(recorded) or 'nothing'}, but {'; '.join(derived) or 'nothing'} "
                "follows from the records before it"
            )
    return first

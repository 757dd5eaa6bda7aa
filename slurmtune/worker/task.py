"""What an offer asks for, read from its file and checked.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import json
from typing import Any, Collection, Mapping, NamedTuple, Optional, cast

from slurmtune.core import ids
from slurmtune.worker.metrics import Number


class Task(NamedTuple):
    """What an offer asks for."""

    attempt: str
    trial: int
    rung: int
    config: Mapping[str, Any]
    start: Number
    end: Optional[Number]
    checkpoint: Optional[str]
    """Its name tells whose it is: it may be of another trial."""
    seed: int
    nonce: str
    holder: str = ""
    """Slot with a program that waits to go on with this trial, as ``TOKEN.INDEX.RESTART``."""


def parse_offer(data: bytes, attempt: str, names: Optional[Collection[str]] = None) -> Task:
    """Return the task in an offer of ``attempt``; unknown keys are ignored.

    ``names`` are the hyperparameters that it may give values to; None allows all.

    Raises:
        ValueError: it is no offer of this attempt.
    """
    try:
        offer = json.loads(data.decode("utf-8"))
        if offer["attempt"] != attempt or not isinstance(offer["config"], dict):
            raise ValueError("the content does not belong to the name")
        for name, value in offer["config"].items():
            is_known = names is None or name in names
            if not (is_known and isinstance(value, (str, int, float))):
                raise ValueError(f"{name[:100]!r} is no hyperparameter, or has no plain value")
        has_text = isinstance(offer.get("checkpoint"), (str, type(None)))
        if not has_text:
            raise ValueError("the name of its checkpoint is no text")
        key = ids.parse_attempt_id(attempt)
        return Task(
            attempt=attempt,
            trial=key.trial,
            rung=key.rung,
            config=offer["config"],
            start=_resource(offer.get("start") or 0),
            end=None if offer.get("end") is None else _resource(offer["end"]),
            checkpoint=offer.get("checkpoint"),
            seed=int(offer.get("seed") or 0),
            nonce=str(offer.get("nonce", "")),
            holder=str(offer.get("holder") or ""),
        )
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not an offer: {error!r}") from None


def _resource(value: Any) -> Number:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and 0 <= value < float("inf"):
        return cast("Number", value)
    raise ValueError(f"no resource: {value!r}")

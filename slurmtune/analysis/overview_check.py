"""Whether an overview that was read has the parts that are shown: the file may hold anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from slurmtune.core.ids import parse_trial_id
from slurmtune.core.trial import Outcome
from slurmtune.store.checkpoint import parse_checkpoint_name

Check = Callable[[Any], bool]

_LATEST = 4_102_444_800.0
"""The year 2100: a later time is none."""
_LARGEST = 10**12
_MAYBE = "?"
"""Before a key: an overview of an older version does not have it."""


def first_fault(overview: Mapping[str, Any]) -> str:
    """Return the dotted path of the first part that cannot be; empty when all can."""
    return _fault(overview, _SHAPE, "")


def _fault(data: Any, shape: Any, path: str) -> str:
    if callable(shape):
        return "" if shape(data) else path
    if isinstance(shape, list):
        if not isinstance(data, list):
            return path
        faults = (_fault(item, shape[0], f"{path}[{i}]") for i, item in enumerate(data))
        return next(filter(None, faults), "")
    if not isinstance(data, dict):
        return path or "all of it"
    for given, inner in shape.items():
        key = given.removeprefix(_MAYBE)
        name = f"{path}.{key}" if path else key
        if key not in data:
            if key != given:
                continue
            return name
        if found := _fault(data[key], inner, name):
            return found
    return ""


def _text(item: Any) -> bool:
    return isinstance(item, str)


def _number(item: Any) -> bool:
    return (
        isinstance(item, (int, float))
        and not isinstance(item, bool)
        and (abs(item) <= _LARGEST if isinstance(item, int) else math.isfinite(item))
    )


def _count(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= _LARGEST


def _time(item: Any) -> bool:
    return _number(item) and 0 <= item <= _LATEST


def _seconds(item: Any) -> bool:
    return _number(item) and abs(item) <= _LATEST


def _may_be_none(check: Check) -> Check:
    return lambda item: item is None or check(item)


def _trial(item: Any) -> bool:
    return _text(item) and not _raises(parse_trial_id, item)


def _checkpoint(item: Any) -> bool:
    return _text(item) and not _raises(parse_checkpoint_name, item)


def _outcome(item: Any) -> bool:
    return _text(item) and not _raises(Outcome, item)


def _config(item: Any) -> bool:
    return isinstance(item, dict) and all(isinstance(v, (str, int, float)) for v in item.values())


def _best(item: Any) -> bool:
    return item is None or not (
        _fault(item, _BEST, "")
        or not item["values"]
        or not _may_be_none(_checkpoint)(item.get("checkpoint"))
        or _fault(item.get("next") or [], [_RANKED], "next")
    )


def _values(item: Any) -> bool:
    return isinstance(item, dict) and all(map(_number, item.values()))


def _raises(parse: Callable[[Any], object], item: Any) -> bool:
    try:
        parse(item)
    except (ValueError, OverflowError):
        return True
    return False


_RANKED = {"trial": _trial, "values": _values, "params": _config}
_BEST = {
    **_RANKED,
    "resource": _may_be_none(_number),
    "top_resource": _may_be_none(_number),
    "?level": _may_be_none(_number),
}
_SHAPE = {
    "study": _text,
    "backend": _text,
    "state": _text,
    "reason": _may_be_none(_text),
    "time": _time,
    "opened": _time,
    "?ended": _may_be_none(_time),
    "?limit": _text,
    "metric": _text,
    "resource": _text,
    "trials": {
        **dict.fromkeys(("total", "started", "finished", "good", "failed"), _count),
        **dict.fromkeys(("?without_result", "?stopped"), _count),
        "?expected": _may_be_none(_count),
    },
    "rungs": [
        {
            "rung": _count,
            "resource": _may_be_none(_number),
            **dict.fromkeys(("waiting", "running", "done", "promoted", "failed"), _count),
            "?stopped": _count,
            "best": _may_be_none(_number),
        }
    ],
    "slots": {"waiting": _count, "running": _count},
    "queue": [{"reason": _text, "jobs": _count, "start": _may_be_none(_time)}],
    "?parallel": _may_be_none(_count),
    "?array_limit": _may_be_none(_count),
    "gpus_now": _count,
    "gpu_hours": {"used": _number, "limit": _may_be_none(_number), "retried": _number},
    "best": _best,
    "eta_seconds": _may_be_none(_seconds),
    "failures": [
        {"trial": _trial, "outcome": _may_be_none(_outcome), "cause": _may_be_none(_text)}
    ],
}

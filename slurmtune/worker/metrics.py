"""Lines of ``metrics.jsonl``: how a program of any language tells what it reached.

A line is a JSON object of numbers: ``{"epoch": 3, "val_loss": 0.2}``. Keys that begin with ``_``
are ours: a checkpoint that the session published, the trial's own word that it cannot work, or
that it is done and waits for more.
The reader takes whole lines only; the last one may still be torn.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from slurmtune.errors import MissingMetricError, TrialError
from slurmtune.store import fs

Number = Union[int, float]

CHECKPOINT_KEY = "_checkpoint"
RESOURCE_KEY = "_resource"
FAIL_KEY = "_fail"
MORE_KEY = "_more"
MAX_METRICS = 100
"""Metrics in one report."""
MAX_NAME_LENGTH = 128
"""Characters in the name of a metric."""
MAX_REPORTS = 10_000
"""Reports of one attempt; more would fill the driver's memory, not its knowledge."""

_MAX_LINE_BYTES = 64 * 1024
_MAX_READ_BYTES = 1 << 20
# Shells print what C prints: {"val_loss": nan}, which is no JSON.
_BARE_NON_FINITE = re.compile(r"(:\s*)([+-]?)(nan|inf)(?:inity)?(?=\s*[,}])", re.IGNORECASE)


class Report(NamedTuple):
    """Metrics at a resource."""

    resource: Number
    metrics: Dict[str, float]


class Saved(NamedTuple):
    """A checkpoint that the program published itself."""

    resource: Number
    name: str


class Failed(NamedTuple):
    """The program says that this config cannot work."""

    why: str


class More(NamedTuple):
    """The program did and saved all that it was asked for, and waits for more work."""


Item = Union[Report, Saved, Failed, More]


def check_metrics(metrics: Mapping[str, Any], objectives: Sequence[str]) -> Dict[str, float]:
    """Return the metrics as floats; scalars of numpy and torch are taken.

    Raises:
        MissingMetricError: an objective is not among them.
        TrialError: a value is no number, or there are too many or too long names.
    """
    for objective in objectives:
        if objective not in metrics:
            given = ", ".join(metrics) or "nothing"
            raise MissingMetricError(f"the study wants {objective}, this report has {given}")
    if len(metrics) > MAX_METRICS:
        raise TrialError(f"a report may hold {MAX_METRICS} metrics, this one has {len(metrics)}")
    result = {}
    for name, value in metrics.items():
        if not name or len(name) > MAX_NAME_LENGTH or name.startswith("_"):
            raise TrialError(
                f"{name[:40]!r} cannot be the name of a metric: "
                f"1 to {MAX_NAME_LENGTH} characters, the first no underscore"
            )
        result[name] = _as_float(name, value)
    return result


def report_line(resource_name: str, step: Optional[Number], metrics: Mapping[str, float]) -> bytes:
    """Return the line of a report; ``step`` None leaves counting to the reader."""
    record: Dict[str, Number] = dict(metrics)
    if step is not None:
        record[resource_name or "step"] = step
    return _line(record)


def checkpoint_line(resource: Number, name: str) -> bytes:
    """Return the line that tells of a published checkpoint."""
    return _line({CHECKPOINT_KEY: name, RESOURCE_KEY: resource})


def fail_line(why: str) -> bytes:
    """Return the line that tells that the config cannot work."""
    return _line({FAIL_KEY: why[:1000]})


def more_line() -> bytes:
    """Return the line that tells that the program waits for more work."""
    return _line({MORE_KEY: True})


def append_line(path: str, line: bytes) -> None:
    """Append one line with one write.

    There is no fsync: the one reader, the slot, brings what it read to the disk. Closing hands the
    bytes to a network file system's server, should this process run on another node.

    Raises:
        OSError: it was not written, or only in part.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        written = os.write(descriptor, line)
    finally:
        os.close(descriptor)
    if written != len(line):
        raise OSError(f"wrote {written} of {len(line)} bytes to {path}")


def as_resource(value: Any) -> Number:
    """Return ``value`` as a resource: finite, not negative, integers as ``int``.

    Raises:
        TrialError: it is no such number.
    """
    number = _as_float("the step", value)
    if not math.isfinite(number) or number < 0:
        raise TrialError(f"a step must be a finite number from 0 on, not {value!r}")
    return int(number) if number.is_integer() else number


class MetricReader:
    """Reads what was appended to ``metrics.jsonl`` since the last call.

    ``note`` is called with a sentence for the user, once for each kind of trouble.
    """

    def __init__(
        self, path: str, *, resource_name: str, start: Number, note: Callable[[str], None]
    ) -> None:
        self._path = path
        self._resource_name = resource_name
        self._note = note
        self._offset = 0
        self._told: List[str] = []
        self._counter = Counter(start)

    def skip_to_last(self, most_bytes: int) -> None:
        """Pass over all but the last whole lines, of so many bytes at most.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            begin = os.stat(self._path).st_size - most_bytes
        except FileNotFoundError:
            return
        if begin > self._offset:
            # One byte earlier: a line that begins just there is whole.
            data = fs.read_file(self._path, begin - 1, _MAX_READ_BYTES)
            self._offset = begin + data.find(b"\n")

    def read(self, *, final: bool = False) -> List[Item]:
        """Return the items of the new whole lines; ``final`` takes a last line without its end."""
        items: List[Item] = []
        while True:
            try:
                data = fs.read_file(self._path, self._offset, _MAX_READ_BYTES)
            except FileNotFoundError:
                return items
            end = data.rfind(b"\n") + 1
            is_full = len(data) == _MAX_READ_BYTES
            if (end == 0 and is_full) or (final and not is_full):
                end = len(data)
            for line in data[:end].split(b"\n"):
                item = self._item(line)
                if item is not None:
                    items.append(item)
            self._offset += end
            if not is_full:
                return items

    def _item(self, line: bytes) -> Optional[Item]:
        if not line.strip():
            return None
        record = _parse_line(line)
        if record is None:
            text = line[:200].decode("utf-8", "replace")
            self._tell("invalid", f"not a JSON object of numbers, ignored: {text}")
            return None
        if FAIL_KEY in record:
            return Failed(str(record[FAIL_KEY])[:1000])
        if MORE_KEY in record:
            return More() if record[MORE_KEY] is True else None
        if CHECKPOINT_KEY in record:
            resource = _number(record.get(RESOURCE_KEY))
            if resource is None or not _is_resource(resource):
                return None
            return Saved(_plain(resource), str(record[CHECKPOINT_KEY]))
        return self._report(record)

    def _report(self, record: Dict[str, Any]) -> Optional[Report]:
        resource: Optional[Number] = None
        for key in (self._resource_name, "step"):
            if resource is None and key and key in record:
                found = _number(record.pop(key))
                if found is not None and _is_resource(found):
                    resource = _plain(found)
                else:
                    self._tell("resource", f"{key} is no number from 0 on: line ignored")
                    return None
        metrics = _numbers_only(record)
        if len(metrics) < len(record):
            left_out = ", ".join(sorted(str(name)[:40] for name in set(record) - set(metrics)))
            self._tell("value", f"only numbers can be reported; left out: {left_out}")
        if not metrics:
            return None
        if resource is None:
            resource = self._counter.next("")
            if self._resource_name:
                self._tell(
                    "counted",
                    f"reports carry no '{self._resource_name}'; counting reports instead: "
                    f"{resource}, ... Say trial.report(step=...) or set fidelity.resource",
                )
        return Report(resource, metrics)

    def _tell(self, kind: str, sentence: str) -> None:
        if kind not in self._told:
            self._told.append(kind)
            self._note(sentence)


class Counter:
    """Counts reports that carry no resource, for each name on its own."""

    def __init__(self, start: Number) -> None:
        self._start = start
        self._counts: Dict[str, int] = {}

    def next(self, name: str) -> Number:
        """Return the resource of the next report of ``name``."""
        self._counts[name] = self._counts.get(name, 0) + 1
        return self._start + self._counts[name]


def merged(items: Sequence[Item]) -> List[Item]:
    """Return the items with reports at the same resource, one after the other, joined to one.

    Programs that print the metrics of an epoch one by one cost one record, and not one each. What
    is reported again is never joined: of several values at a rung the first one counts, and that
    must not depend on when this was read.
    """
    result: List[Item] = []
    for item in items:
        last = result[-1] if result else None
        if isinstance(item, Report) and isinstance(last, Report):
            is_new = last.metrics.keys().isdisjoint(item.metrics)
            both = {**last.metrics, **item.metrics}
            if is_new and last.resource == item.resource and len(both) <= MAX_METRICS:
                result[-1] = Report(item.resource, both)
                continue
        result.append(item)
    return result


def _line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record) + "\n").encode("ascii")


def _parse_line(line: bytes) -> Optional[Dict[str, Any]]:
    if len(line) > _MAX_LINE_BYTES:
        return None
    text = line.decode("utf-8", "replace").lstrip("\ufeff").strip()
    for candidate in (text, _BARE_NON_FINITE.sub(r'\1"\2\3"', text)):
        try:
            record = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        return record if isinstance(record, dict) else None
    return None


def _numbers_only(record: Mapping[str, Any]) -> Dict[str, float]:
    metrics: Dict[str, float] = {}
    for name, value in record.items():
        number = _number(value)
        if (
            number is not None
            and 0 < len(name) <= MAX_NAME_LENGTH
            and not name.startswith("_")
            and len(metrics) < MAX_METRICS
        ):
            metrics[name] = float(number)
    return metrics


def _number(value: Any) -> Optional[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _is_resource(number: float) -> bool:
    return math.isfinite(number) and number >= 0


def _plain(number: float) -> Number:
    return int(number) if float(number).is_integer() else number


def _as_float(name: str, value: Any) -> float:
    # float("1.0") would work, and hide that something else is wrong.
    if isinstance(value, (str, bytes)) or value is None:
        raise TrialError(f"{name} must be a number, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise TrialError(f"{name} is too large for a float") from None
    except (TypeError, ValueError):
        raise TrialError(
            f"{name} must be a number, not {type(value).__name__}: {str(value)[:60]}"
        ) from None

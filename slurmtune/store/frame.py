"""Framed records: the one format of every log of a study.

A frame is one line, ``CRC LENGTH JSON``: the CRC-32 of the JSON as eight hex digits, its length in
bytes, and one JSON object in compact ASCII. A reader therefore tells a whole record from a torn or
overwritten one, and gets a prefix of what the writer wrote, never a wrong record.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import gc
import json
import math
import zlib
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Union

MAX_FRAME_BYTES = 64 * 1024
"""Longest JSON of one frame; a reader never has to keep more than this of an unfinished one."""

END = "end"
"""`Parsed.stop`: every byte was read."""
PARTIAL = "partial"
"""`Parsed.stop`: the last line is not finished; more may come."""
CORRUPT = "corrupt"
"""`Parsed.stop`: a finished line is no frame."""

_LENGTH_AT = len("00000000 ")
_LONGEST_LINE = MAX_FRAME_BYTES + len("00000000 65536 \n")
_EXACT_INTEGER = 2**53
_LARGE_BYTES = 1024 * 1024
"""Of a log whose reading takes so long that the collector of garbage would cost more."""

Record = Dict[str, Any]
"""One record: a JSON object."""


class Parsed(NamedTuple):
    """What was read from a log."""

    records: List[Record]
    end: int
    """Offset just after the last whole record."""
    stop: str
    """Why reading stopped there: `END`, `PARTIAL` or `CORRUPT`."""


def encode(record: Mapping[str, Any]) -> bytes:
    """Return the frame of ``record``.

    Raises:
        ValueError: a number is not finite (see `encode_number`), or the record is over 64 KiB.
        TypeError: a value is no JSON.
    """
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    body = text.encode("ascii")
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a record of {len(body)} bytes is over the {MAX_FRAME_BYTES} of a frame")
    return _header(body) + body + b"\n"


@contextmanager
def collector_paused() -> Iterator[None]:
    """Search for no cycles of garbage meanwhile: for where much is made at once that stays.

    Else everything made so far is searched again and again as it grows, for nothing. Afterwards it
    counts as old, or the next search, due at once, would go through all of it. Not for what is
    done often: garbage that counts as old is found late.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
        gc.enable()


def parse(data: bytes, offset: int = 0) -> Parsed:
    """Return the whole records of ``data`` from ``offset`` on; stops at the first that is none."""
    if len(data) - offset < _LARGE_BYTES:
        return _parse(data, offset)
    with collector_paused():
        return _parse(data, offset)


def _parse(data: bytes, offset: int) -> Parsed:
    records: List[Record] = []
    while offset < len(data):
        newline = data.find(b"\n", offset, offset + _LONGEST_LINE)
        if newline < 0:
            overlong = len(data) - offset >= _LONGEST_LINE
            return Parsed(records, offset, CORRUPT if overlong else PARTIAL)
        try:
            records.append(_decode(data[offset:newline]))
        except (TypeError, ValueError, RecursionError):
            return Parsed(records, offset, CORRUPT)
        offset = newline + 1
    return Parsed(records, offset, END)


def encode_number(number: float) -> Union[float, int, str]:
    """Return ``number`` in a form that JSON has; non-finite ones as ``nan``, ``inf``, ``-inf``."""
    if isinstance(number, int) and abs(number) <= _EXACT_INTEGER:
        return int(number)
    try:
        plain = float(number)
    except OverflowError:
        return "inf" if number > 0 else "-inf"
    if math.isfinite(plain):
        return plain
    if math.isnan(plain):
        return "nan"
    return "inf" if plain > 0 else "-inf"


def decode_number(value: object) -> Union[float, int]:
    """Return the number that `encode_number` made ``value`` of.

    Raises:
        ValueError: ``value`` is no such number.
    """
    if type(value) is float:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if value in ("nan", "inf", "-inf"):
        return float(str(value))
    raise ValueError(f"not a number: {value!r}")


def _header(body: bytes) -> bytes:
    return b"%08x %d " % (zlib.crc32(body), len(body))


def _decode(line: bytes) -> Record:
    """Return the record of one line.

    The header is compared as a whole with the one that the body must have: ``int`` would also
    take signs, underscores and capital digits.
    """
    start = line.find(b" ", _LENGTH_AT) + 1
    body = line[start:]
    if line[:start] != _header(body):
        raise ValueError("the header does not belong to the body")
    text = body.decode("ascii")
    record, end = _decode_object(text)
    if end != len(text):
        raise ValueError("something follows the object")
    if not isinstance(record, dict):
        raise TypeError("a record must be an object")
    return record


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


# Made once: `json.loads` makes a new one at each call that refuses constants.
_decode_object = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode

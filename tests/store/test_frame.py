"""Frames: a reader gets a prefix of what was written, never a wrong record."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.store import frame

RECORDS = [
    {"n": 0, "k": "start"},
    {"n": 1, "loss": 0.5, "name": "é\n"},
    {"n": 2, "tail": ["a b", ""]},
]
LOG = b"".join(frame.encode(record) for record in RECORDS)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=4))
def test_what_was_encoded_is_parsed(records: list[dict[str, Any]]) -> None:
    data = b"".join(frame.encode(record) for record in records)

    assert frame.parse(data) == (records, len(data), frame.END)


def test_a_frame_is_one_ascii_line() -> None:
    data = frame.encode({"name": "é\n\x00"})

    assert data.isascii()
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")


@pytest.mark.parametrize("cut", range(len(LOG)))
def test_a_truncated_log_is_a_prefix_that_waits_for_more(cut: int) -> None:
    parsed = frame.parse(LOG[:cut])

    assert parsed.records == RECORDS[: len(parsed.records)]
    assert parsed.stop == (frame.END if parsed.end == cut else frame.PARTIAL)
    assert frame.parse(LOG, parsed.end).records == RECORDS[len(parsed.records) :]


@pytest.mark.parametrize("position", range(len(LOG)))
def test_a_changed_byte_never_gives_a_wrong_record(position: int) -> None:
    for flip in (0x01, 0x20, 0x80, 0xFF):
        data = bytearray(LOG)
        data[position] ^= flip

        parsed = frame.parse(bytes(data))

        assert parsed.records == RECORDS[: len(parsed.records)]
        assert parsed.end <= position
        assert parsed.stop in (frame.CORRUPT, frame.PARTIAL)


@given(st.binary(max_size=200), st.integers(0, len(LOG)))
def test_garbage_after_a_log_changes_nothing_before_it(garbage: bytes, cut: int) -> None:
    parsed = frame.parse(LOG[:cut] + garbage)

    whole = frame.parse(LOG[:cut]).records
    assert parsed.records[: len(whole)] == whole


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        frame.encode({}).replace(b" 2 ", b" +2 "),
        frame.encode({}).replace(b" 2 ", b" 02 "),
        frame.encode({"a": 1}).upper(),
        b"\0" * 30 + b"\n",
    ],
)
def test_a_line_in_another_form_is_corrupt(line: bytes) -> None:
    assert frame.parse(line) == ([], 0, frame.CORRUPT)


@pytest.mark.parametrize(
    "body",
    [
        *(b"[1]", b"NaN", b'{"a":NaN}', b'{"a":Infinity}', b"{", b'{"a":"\xc3\xa9"}'),
        *(b"{}{}", b"{} ", b" {}", b"\xef\xbb\xbf{}"),
    ],
)
def test_a_body_that_no_writer_makes_is_corrupt(body: bytes) -> None:
    assert frame.parse(frame._header(body) + body + b"\n").stop == frame.CORRUPT


def test_a_deeply_nested_body_is_corrupt() -> None:
    body = b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"

    assert frame.parse(frame._header(body) + body + b"\n").stop == frame.CORRUPT


def test_a_line_without_end_is_corrupt() -> None:
    assert frame.parse(b"x" * 70_000).stop == frame.CORRUPT


def test_the_collector_is_paused_for_a_while_only() -> None:
    with frame.collector_paused():
        assert not gc.isenabled()

    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with frame.collector_paused():
            pass

        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_goes_on_after_an_error() -> None:
    with pytest.raises(ValueError, match="on purpose"), frame.collector_paused():
        raise ValueError("on purpose")

    assert gc.isenabled()


def test_objects_that_others_froze_stay_frozen() -> None:
    gc.freeze()
    try:
        with frame.collector_paused():
            pass

        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_a_large_log_is_read_without_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()

    def decode(line: bytes) -> dict[str, Any]:
        seen.add(gc.isenabled())
        return {}

    monkeypatch.setattr(frame, "_decode", decode)
    frame.parse(frame.encode({}) * 80_000)

    assert seen == {False}


def test_the_longest_record_comes_back() -> None:
    record = {"a": "x" * (frame.MAX_FRAME_BYTES - len('{"a":""}'))}

    assert frame.parse(frame.encode(record)).records == [record]


def test_a_longer_record_is_refused() -> None:
    with pytest.raises(ValueError, match="65537 bytes"):
        frame.encode({"a": "x" * (frame.MAX_FRAME_BYTES - len('{"a":""}') + 1)})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_refused(number: float) -> None:
    with pytest.raises(ValueError):
        frame.encode({"a": number})


@given(st.floats() | st.integers(-(2**53), 2**53))
def test_numbers_survive(number: float) -> None:
    back = frame.decode_number(
        frame.parse(frame.encode({"a": frame.encode_number(number)})).records[0]["a"]
    )

    assert back == number or (math.isnan(back) and math.isnan(number))
    assert type(back) is type(number)


@pytest.mark.parametrize(("number", "text"), [(10**400, "inf"), (-(10**400), "-inf")])
def test_an_integer_beyond_all_floats_is_infinite(number: float, text: str) -> None:
    assert frame.encode_number(number) == text


@pytest.mark.parametrize("value", [None, True, "1.0", "NaN", [], {}])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a number"):
        frame.decode_number(value)

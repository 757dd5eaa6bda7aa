"""Times and memory sizes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.errors import SpecError
from slurmtune.slurm.duration import (
    format_memory,
    format_time,
    parse_memory,
    parse_time,
    time_in_minutes,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("10:30", 630),
        ("1:00:00", 3600),
        ("2-00", 172800),
        ("1-02:30", 95400),
        ("1-02:03:04", 93784),
        ("UNLIMITED", None),
        ("infinite", None),
    ],
)
def test_slurms_times_are_read(text: str, seconds: Any) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["4 hours", "1h", "", "1:2:3:4", "-5", "1.5", "1-"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="not a Slurm time"):
        parse_time(text)


@given(st.integers(0, 10**8))
def test_a_time_that_was_written_is_read_back(seconds: Any) -> None:
    assert parse_time(format_time(seconds)) == seconds


def test_days_are_written_only_when_there_are_any() -> None:
    assert (format_time(3661), format_time(90000)) == ("01:01:01", "1-01:00:00")


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(0, 1), (1, 1), (60, 1), (61, 2), (90.5, 2), (3600, 60)]
)
def test_minutes_are_rounded_up(seconds: Any, minutes: Any) -> None:
    assert time_in_minutes(seconds) == minutes


@pytest.mark.parametrize(
    ("text", "kib"),
    [
        ("500", 512000),
        ("500M", 512000),
        ("1G", 1048576),
        ("1GB", 1048576),
        ("1gib", 1048576),
        ("2T", 2**31),
        ("64K", 64),
    ],
)
def test_memory_sizes_are_read(text: str, kib: Any) -> None:
    assert parse_memory(text) == kib


@pytest.mark.parametrize("text", ["32 GB", "", "1.5G", "G", "-1"])
def test_other_memory_sizes_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="not a Slurm memory size"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("kib", "text"),
    [
        (48 * 2**20, "48G"),
        (1.5 * 2**20, "1536M"),
        (1500, "2M"),
        (64, "64K"),
        (2**30, "1T"),
        (0, "1K"),
    ],
)
def test_memory_is_written_in_the_largest_unit_that_fits(kib: Any, text: str) -> None:
    assert format_memory(kib) == text


@given(st.integers(1, 10**10))
def test_memory_is_never_rounded_down(kib: Any) -> None:
    assert parse_memory(format_memory(kib)) >= kib

"""Numbers, durations and tables as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.cli import text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (42.4, "42 s"),
        (447, "7 min 27 s"),
        (600, "10 min"),
        (11400, "3 h 10 min"),
        (187200, "2 d 4 h"),
    ],
)
def test_duration_has_two_units(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


@pytest.mark.parametrize(("seconds", "clock"), [(5, "0:05"), (422, "7:02"), (8045, "2:14:05")])
def test_stopwatch(seconds: float, clock: str) -> None:
    assert text.stopwatch(seconds) == clock


@pytest.mark.parametrize(
    ("number", "word"),
    [(0.612, "0.6120"), (123.0, "123.0"), (1e-05, "1.000e-05"), (None, "-"), (math.nan, "nan")],
)
def test_metric_has_four_digits(number: float | None, word: str) -> None:
    assert text.metric(number) == word


@pytest.mark.parametrize(
    ("number", "word"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (112, "112th")]
)
def test_ordinal(number: int, word: str) -> None:
    assert text.ordinal(number) == word


@pytest.mark.parametrize(
    ("word", "plural"), [("epoch", "epochs"), ("steps", "steps"), ("batch", "batches"), ("", "")]
)
def test_plural_of_a_resource(word: str, plural: str) -> None:
    assert text.many(word) == plural


def test_table_aligns_its_columns() -> None:
    rows = [["trial", "loss"], ["t1", "0.5"], ["t10", "12.5"]]
    assert text.table(rows, "<>") == "trial  loss\nt1      0.5\nt10    12.5"


@given(st.text(alphabet="ab ", min_size=1, max_size=200))
def test_wrapped_lines_fit(words: str) -> None:
    """No line is too long unless a single word is."""
    for line in text.wrap(words, first="x ", rest="  ", width=20).splitlines():
        assert len(line) <= 20 or " " not in line.strip()[2:]


@given(st.text())
def test_printable_holds_no_control_characters(words: str) -> None:
    """Nothing that a program printed can steer the user's terminal."""
    assert "\x1b" not in text.printable(words)
    assert "\r" not in text.printable(words)


def test_numbers_that_json_does_not_know_become_null() -> None:
    assert text.finite({"a": [math.nan, 1.0], "b": math.inf}) == {"a": [None, 1.0], "b": None}


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(1158000, "1158000"), (0.1 + 0.2, "0.3"), (1234567.5, "1234567.5"), (None, "-")],
)
def test_an_amount_of_a_resource_has_all_its_digits(amount: float | None, shown: str) -> None:
    assert text.resource(amount) == shown


@pytest.mark.parametrize(
    ("amount", "shown"), [(1, "1 epoch"), (1.0, "1 epoch"), (0.5, "0.5 epochs"), (27, "27 epochs")]
)
def test_an_amount_of_a_resource_agrees_with_its_name(amount: float, shown: str) -> None:
    assert text.of_resource(amount, "epoch") == shown

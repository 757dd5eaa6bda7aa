"""Lines of metrics: written by the session or by anything else, read by the slot."""

from __future__ import annotations

import math
from typing import Any

import pytest

from slurmtune.errors import MissingMetricError, TrialError
from slurmtune.worker.metrics import (
    Failed,
    Item,
    MetricReader,
    More,
    Report,
    Saved,
    append_line,
    as_resource,
    check_metrics,
    checkpoint_line,
    fail_line,
    merged,
    more_line,
    report_line,
)


class Reading:
    def __init__(self, path: Any, resource_name: Any = "epoch", start: Any = 0) -> None:
        self.path = path
        self.notes: list[str] = []
        self.reader = MetricReader(
            str(path), resource_name=resource_name, start=start, note=self.notes.append
        )

    def after(self, text: Any, *, final: Any = False) -> Any:
        with open(self.path, "ab") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return self.reader.read(final=final)


@pytest.fixture
def reading(tmp_path: Any) -> Any:
    return Reading(tmp_path / "metrics.jsonl")


def test_line_of_any_language(reading: Any) -> None:
    assert reading.after('{"epoch": 3, "val_loss": 0.2}\n') == [Report(3, {"val_loss": 0.2})]


def test_each_line_is_read_once(reading: Any) -> None:
    reading.after('{"epoch": 1, "x": 1}\n')

    assert reading.after('{"epoch": 2, "x": 2}\n') == [Report(2, {"x": 2.0})]


def test_torn_last_line_waits(reading: Any) -> None:
    assert reading.after('{"epoch": 1, "x": 1}\n{"epo') == [Report(1, {"x": 1.0})]
    assert reading.after('ch": 2, "x": 2}\n') == [Report(2, {"x": 2.0})]


def test_last_line_without_its_end_counts_when_the_program_has_ended(reading: Any) -> None:
    assert reading.after('{"epoch": 1, "x": 1}', final=True) == [Report(1, {"x": 1.0})]


def test_missing_file_is_no_report(tmp_path: Any) -> None:
    assert Reading(tmp_path / "none").reader.read() == []


def test_reports_without_a_resource_are_counted_and_told_once(tmp_path: Any) -> None:
    reading = Reading(tmp_path / "m", start=3)

    items = reading.after('{"x": 1}\n{"x": 2}\n')

    assert items == [Report(4, {"x": 1.0}), Report(5, {"x": 2.0})]
    assert len(reading.notes) == 1
    assert "carry no 'epoch'; counting reports instead: 4" in reading.notes[0]


def test_step_stands_for_the_resource(reading: Any) -> None:
    assert reading.after('{"step": 7, "x": 1}\n') == [Report(7, {"x": 1.0})]


def test_without_fidelity_counting_is_not_told(tmp_path: Any) -> None:
    reading = Reading(tmp_path / "m", resource_name="")

    assert reading.after('{"x": 1}\n') == [Report(1, {"x": 1.0})]
    assert reading.notes == []


@pytest.mark.parametrize("text", ["nan", "NaN", "-inf", "Infinity", '"nan"'])
def test_non_finite_numbers_of_every_language(reading: Any, text: Any) -> None:
    (item,) = reading.after(f'{{"epoch": 1, "x": {text}}}\n')

    assert not math.isfinite(item.metrics["x"])


@pytest.mark.parametrize(
    "line",
    [
        "loss 3",
        "[1, 2]",
        "[" * 100_000,
        "9" * 5000,
        '{"epoch": 1, "x":',
        "\0\0\0",
        '{"x": "' + "a" * 70_000 + '"}',
    ],
)
def test_invalid_line_is_left_out_and_told(reading: Any, line: Any) -> None:
    assert reading.after(line + '\n{"epoch": 1, "x": 1}\n') == [Report(1, {"x": 1.0})]
    assert len(reading.notes) == 1


def test_trouble_of_one_kind_is_told_once(reading: Any) -> None:
    reading.after("x\ny\nz\n")

    assert len(reading.notes) == 1


def test_values_that_are_no_numbers_are_left_out(reading: Any) -> None:
    items = reading.after(
        '{"epoch": 1, "x": 1, "phase": "train", "ok": true, "n": null, "l": []}\n'
    )

    assert items == [Report(1, {"x": 1.0})]
    assert "l, n, ok, phase" in reading.notes[0]


@pytest.mark.parametrize("resource", ["-1", '"x"', "NaN", "null"])
def test_line_with_a_bad_resource_is_left_out(reading: Any, resource: Any) -> None:
    assert reading.after(f'{{"epoch": {resource}, "x": 1}}\n') == []


def test_byte_order_mark_and_carriage_returns_are_taken(reading: Any) -> None:
    assert reading.after(b'\xef\xbb\xbf{"epoch": 1, "x": 1}\r\n') == [Report(1, {"x": 1.0})]


def test_endless_line_does_not_stop_the_reader(reading: Any) -> None:
    assert reading.after(b"a" * (3 << 20) + b'\n{"epoch": 1, "x": 1}\n') == [Report(1, {"x": 1.0})]


def test_whole_integers_are_integers(reading: Any) -> None:
    (item,) = reading.after('{"epoch": 2.0, "x": 1}\n')

    assert isinstance(item.resource, int)


def test_lines_of_the_session_are_understood(reading: Any) -> None:
    text = (
        report_line("epoch", 3, {"x": math.nan})
        + checkpoint_line(0.5, "0.5.t00000.r0.a1")
        + fail_line("no")
    )

    report, saved, failed = reading.after(text)

    assert math.isnan(report.metrics["x"])
    assert saved == Saved(0.5, "0.5.t00000.r0.a1")
    assert failed == Failed("no")


def test_append_adds_a_line(tmp_path: Any) -> None:
    path = tmp_path / "m"
    append_line(str(path), b"a\n")
    append_line(str(path), b"b\n")

    assert path.read_bytes() == b"a\nb\n"


def test_append_follows_no_link(tmp_path: Any) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(OSError, match="symbolic links"):
        append_line(str(tmp_path / "link"), b"a\n")


def test_reports_at_one_resource_are_joined() -> None:
    items: list[Item] = [
        Report(1, {"a": 1.0}),
        Report(1, {"b": 2.0}),
        Saved(1, "n"),
        Report(1, {"a": 3.0}),
    ]

    assert merged(items) == [Report(1, {"a": 1.0, "b": 2.0}), Saved(1, "n"), Report(1, {"a": 3.0})]


def test_what_is_reported_again_is_not_joined() -> None:
    """The first value at a rung counts, however the lines were read."""
    again: list[Item] = [Report(1, {"a": 1.0}), Report(1, {"a": 3.0, "b": 2.0})]

    assert merged(again) == again


def test_missing_objective_names_what_there_is() -> None:
    with pytest.raises(MissingMetricError) as raised:
        check_metrics({"loss": 1, "acc": 2}, ["val_loss"])

    assert str(raised.value) == "the study wants val_loss, this report has loss, acc"


class Scalar:
    """What numpy and torch scalars have in common."""

    def __float__(self) -> Any:
        return 0.5


def test_scalars_of_other_libraries_are_taken() -> None:
    assert check_metrics({"x": Scalar(), "n": 2, "b": True}, []) == {"x": 0.5, "n": 2.0, "b": 1.0}


@pytest.mark.parametrize("value", ["1.0", None, [], {}, 1 + 0j, 10**400, b"1"])
def test_metric_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(TrialError, match="x"):
        check_metrics({"x": value}, [])


@pytest.mark.parametrize("name", ["", "a" * 129, "_mine"])
def test_bad_names_of_metrics_are_refused(name: Any) -> None:
    with pytest.raises(TrialError, match="cannot be the name"):
        check_metrics({name: 1}, [])


def test_too_many_metrics_are_refused() -> None:
    with pytest.raises(TrialError, match="100 metrics, this one has 101"):
        check_metrics({f"m{index}": 1 for index in range(101)}, [])


@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "x"])
def test_bad_steps_are_refused(value: Any) -> None:
    with pytest.raises(TrialError):
        as_resource(value)


def test_a_program_asks_for_more(reading: Any) -> None:
    assert reading.after(more_line()) == [More()]


@pytest.mark.parametrize("line", ['{"_more": false}', '{"_more": 1}', '{"_more": "true"}'])
def test_who_does_not_ask_for_more_reports_nothing_by_it(reading: Any, line: str) -> None:
    assert reading.after(line + "\n") == []
    assert reading.notes == []

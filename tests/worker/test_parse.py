"""Reports from the output of a program that knows nothing of slurmtune."""

from __future__ import annotations

from typing import Any

import pytest

from slurmtune.worker.metrics import Report
from slurmtune.worker.parse import OutputParser

EPOCH = {"acc": r"acc=([0-9.]+)", "epoch": r"epoch (\d+)"}


def parser(expressions: Any, resource_name: Any = "epoch", start: Any = 0) -> Any:
    return OutputParser(expressions, resource_name=resource_name, start=start)


def test_metric_belongs_to_the_resource_seen_last() -> None:
    assert parser(EPOCH).feed(b"epoch 1\nacc=0.5\nepoch 2\nacc=0.6\n") == [
        Report(1, {"acc": 0.5}),
        Report(2, {"acc": 0.6}),
    ]


def test_resource_and_metric_on_one_line() -> None:
    assert parser(EPOCH).feed(b"epoch 4 acc=0.5\n") == [Report(4, {"acc": 0.5})]


def test_line_may_come_in_pieces() -> None:
    reader = parser(EPOCH)

    assert reader.feed(b"epoch 1 acc=0.") == []
    assert reader.feed(b"75\nep") == [Report(1, {"acc": 0.75})]
    assert reader.feed(b"och 2 acc=1", final=True) == [Report(2, {"acc": 1.0})]


def test_without_a_resource_each_metric_is_counted() -> None:
    reader = parser({"loss": r"loss (\S+)", "acc": r"acc (\S+)"}, start=3)

    assert reader.feed(b"loss 2\nacc 0.1\nloss 1\nacc 0.2\n") == [
        Report(4, {"loss": 2.0}),
        Report(4, {"acc": 0.1}),
        Report(5, {"loss": 1.0}),
        Report(5, {"acc": 0.2}),
    ]


def test_progress_bars_are_lines_too() -> None:
    assert parser(EPOCH).feed(b"epoch 1 acc=0.1\repoch 1 acc=0.2\n") == [
        Report(1, {"acc": 0.1}),
        Report(1, {"acc": 0.2}),
    ]


def test_colours_do_not_disturb() -> None:
    assert parser(EPOCH).feed(b"epoch \x1b[1m3\x1b[0m acc=\x1b[32m0.5\x1b[0m\n") == [
        Report(3, {"acc": 0.5})
    ]


@pytest.mark.parametrize("text", [b"acc=x\n", b"acc=...\n", b"\xff\xfe\n", b"\n\n", b"nothing\n"])
def test_lines_without_a_number_give_nothing(text: Any) -> None:
    assert parser({"acc": "acc=([0-9.x]+)"}).feed(text) == []


def test_expression_without_a_group_is_the_number() -> None:
    assert parser({"acc": r"0\.\d+"}).feed(b"is 0.25 now\n") == [Report(1, {"acc": 0.25})]


def test_last_number_of_a_line_counts() -> None:
    assert parser({"acc": r"acc=(\S+)"}).feed(b"acc=0.1 acc=0.2\n") == [Report(1, {"acc": 0.2})]


def test_endless_line_is_bounded() -> None:
    reader = parser(EPOCH)
    for _ in range(100):
        reader.feed(b"x" * 10_000)

    assert reader.feed(b"\nepoch 1 acc=1\n") == [Report(1, {"acc": 1.0})]

"""Parts of an attempt that need no process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurmtune.store import event_log
from slurmtune.worker.attempt import near_seconds
from slurmtune.worker.attempt_log import AttemptLog, fitting
from slurmtune.worker.task import parse_offer

ATTEMPT = "t00007.r1.a2"


def offer(**changes: Any) -> Any:
    content = {"attempt": ATTEMPT, "config": {"lr": 0.1}, "start": 3, "end": 9, "seed": 5}
    content.update(changes)
    return json.dumps(content).encode()


def test_offer_becomes_a_task() -> None:
    task = parse_offer(offer(unknown=1, checkpoint="3.t00007.r0.a1"), ATTEMPT)

    assert (task.trial, task.rung, task.config) == (7, 1, {"lr": 0.1})
    assert (task.start, task.end, task.seed) == (3, 9, 5)
    assert task.checkpoint == "3.t00007.r0.a1"


def test_offer_without_fidelity_has_no_end() -> None:
    assert parse_offer(offer(end=None), ATTEMPT).end is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        offer(attempt="t00001.r1.a2"),
        offer(config=[1]),
        offer(start=-1),
        offer(end="9"),
        offer(end=True),
        offer(seed=[1]),
    ],
)
def test_what_is_no_offer_is_refused(data: Any) -> None:
    with pytest.raises(ValueError):
        parse_offer(data, ATTEMPT)


@pytest.mark.parametrize(
    ("limit", "near"), [(60, 30), (600, 200), (1500, 300), (86400, 300), (0, 0)]
)
def test_near_the_limit(limit: Any, near: Any) -> None:
    assert near_seconds(limit) == near


def test_records_are_numbered(tmp_path: Any) -> None:
    log = AttemptLog(str(tmp_path / "events.log"))
    log.add("start", start=0)
    log.add("end", outcome="SUCCEEDED")
    log.finish(0)

    records = event_log.read(str(tmp_path / "events.log"))
    assert [(record["n"], record["k"]) for record in records] == [(0, "start"), (1, "end")]


def test_records_wait_while_the_disk_is_full(tmp_path: Any, monkeypatch: Any) -> None:
    log = AttemptLog(str(tmp_path / "events.log"))
    with monkeypatch.context() as patched:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        patched.setattr("slurmtune.store.fs.os.pwrite", full)
        log.add("start")
        log.add("report", resource=1)
    log.finish(0)

    records = event_log.read(str(tmp_path / "events.log"))
    assert [(record["n"], record["k"]) for record in records] == [(0, "start"), (1, "report")]


def test_disk_that_stays_full_is_an_error(tmp_path: Any, monkeypatch: Any) -> None:
    log = AttemptLog(str(tmp_path / "events.log"))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("slurmtune.store.fs.os.pwrite", full)
    log.add("start")

    with pytest.raises(OSError, match="cannot be written"):
        log.finish(0)


def test_record_that_fits_no_frame_is_left_out(tmp_path: Any) -> None:
    log = AttemptLog(str(tmp_path / "events.log"))
    log.add("report", text="x" * 70_000)
    log.add("end")
    log.finish(0)

    assert [record["n"] for record in event_log.read(str(tmp_path / "events.log"))] == [0]


def test_of_many_records_only_the_one_that_fits_no_frame_is_left_out(tmp_path: Any) -> None:
    log = AttemptLog(str(tmp_path / "events.log"))
    log.add_all("report", [{"text": "x" * size} for size in (1, 70_000, 2)])
    log.finish(0)

    records = event_log.read(str(tmp_path / "events.log"))
    assert [(record["n"], len(record["text"])) for record in records] == [(0, 1), (1, 2)]


def test_words_are_cut_to_fit() -> None:
    assert fitting(["a" * 9, "b", "c"], length=6, total=100, from_end=False) == [
        "aaa...",
        "b",
        "c",
    ]
    assert fitting(["aa", "bb", "cc"], length=9, total=10, from_end=False) == ["aa", "bb"]
    assert fitting(["aa", "bb", "cc"], length=9, total=10, from_end=True) == ["bb", "cc"]

"""Offers out, events in: the driver's side against hand-written files of slots."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurmtune.core.actions import Offer
from slurmtune.core.events import (
    AttemptClaimed,
    AttemptEnded,
    AttemptReported,
    AttemptStarted,
    CheckpointSaved,
    OfferWithdrawn,
)
from slurmtune.core.trial import Outcome
from slurmtune.store import frame, fs
from slurmtune.store.exchange import MAX_METRICS, MAX_READ_BYTES, FileExchange
from slurmtune.store.layout import StudyLayout
from slurmtune.store.offer import Claim, encode_claim

NOW = 1000.0
ATTEMPT = "t00007.r1.a1"
START = {"n": 0, "k": "start", "time": 1.0, "host": "n1", "pid": 7, "job": "4711_3", "token": "tok", "index": 3, "restart": 0, "start": 1, "checkpoint": None, "command": ["python"], "gpus": "0"}  # fmt: skip
REPORT = {"n": 1, "k": "report", "time": 2.0, "resource": 2, "metrics": {"loss": 0.5}}
SAVED = {"n": 2, "k": "checkpoint", "time": 2.0, "resource": 3, "name": "3.t00007.r1.a1"}
END = {"n": 3, "k": "end", "time": 3.0, "outcome": "SUCCEEDED", "exit_code": 0, "signal": None, "cause": "", "tail": ["done"], "seconds": 2.5}  # fmt: skip
EVENTS = [
    AttemptStarted(
        time=NOW, attempt=ATTEMPT, seq=0, slot="tok.3.0", job="4711_3", host="n1", start=1
    ),
    AttemptReported(time=NOW, attempt=ATTEMPT, seq=1, resource=2, metrics={"loss": 0.5}),
    CheckpointSaved(time=NOW, attempt=ATTEMPT, seq=2, resource=3, name="3.t00007.r1.a1"),
    AttemptEnded(
        time=NOW,
        attempt=ATTEMPT,
        seq=3,
        outcome=Outcome.SUCCEEDED,
        seconds=2.5,
        exit_code=0,
        tail=("done",),
    ),
]
CLAIMED = AttemptClaimed(time=NOW, attempt=ATTEMPT, slot="tok.3.0")


def an_offer(attempt: str = ATTEMPT, resource_class: str = "c0") -> Offer:
    return Offer(
        attempt=attempt, trial=7, rung=1, config={"lr": 0.1}, start=1, end=3, checkpoint="1.t00007.r0.a1",
        seed=5, priority=12, resource_class=resource_class,
    )  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    layout = StudyLayout(str(tmp_path))
    layout.create()
    return layout


@pytest.fixture
def exchange(layout: StudyLayout) -> FileExchange:
    return FileExchange(layout, ["c0", "c1"])


def offered(exchange: FileExchange, attempt: str = ATTEMPT, resource_class: str = "c0") -> None:
    exchange.publish(an_offer(attempt, resource_class))
    exchange.watch(attempt, offered=True)


def claim(layout: StudyLayout, attempt: str = ATTEMPT) -> bool:
    """Claim as a slot does; tell whether it is ours."""
    data = encode_claim(Claim("tok", 3, 0), attempt=attempt, job="4711_3", host="n1", pid=7)
    won = fs.publish_once(layout.claim(attempt), data)
    if won:
        fs.unlink(layout.offer("c0", 12, attempt))
    return won


def read(exchange: FileExchange) -> list[Any]:
    return list(exchange.read(NOW))


def write(
    layout: StudyLayout, *records: Mapping[str, Any], attempt: str = ATTEMPT, tail: bytes = b""
) -> None:
    """Append as a slot does, with a tail that is not finished."""
    fs.make_dir(layout.attempt(attempt))
    data = b"".join(frame.encode(record) for record in records)
    with open(layout.events(attempt), "ab") as file:
        file.write(data + tail)


def opened_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with the paths that are opened to read from now on."""
    opened: list[str] = []
    read_file = fs.read_file

    def noted(path: str, offset: int = 0, limit: int | None = None) -> bytes:
        opened.append(path)
        return read_file(path, offset, limit)

    monkeypatch.setattr(fs, "read_file", noted)
    return opened


class TestOffers:
    def test_an_offer_is_a_json_file(self, layout: StudyLayout, exchange: FileExchange) -> None:
        exchange.publish(an_offer())

        [name] = fs.list_dir(layout.offers("c0"))
        offer = json.loads(fs.read_file(os.path.join(layout.offers("c0"), name)))
        assert name == "000012-t00007.r1.a1.json"
        assert len(offer.pop("nonce")) == 32
        assert offer == {
            "format": 1, "attempt": ATTEMPT, "trial": 7, "rung": 1, "class": "c0", "priority": 12,
            "config": {"lr": 0.1}, "start": 1, "end": 3, "checkpoint": "1.t00007.r0.a1", "seed": 5,
            "holder": "",
        }  # fmt: skip

    def test_publishing_again_changes_nothing(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.publish(an_offer())
        before = fs.read_file(layout.offer("c0", 12, ATTEMPT))

        exchange.publish(an_offer())
        FileExchange(layout, ["c0"]).publish(an_offer())

        assert fs.read_file(layout.offer("c0", 12, ATTEMPT)) == before

    def test_publishing_again_after_a_claim_offers_nothing(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        offered(exchange)
        assert claim(layout)
        exchange.read(NOW)

        exchange.publish(an_offer())
        FileExchange(layout, ["c0"]).publish(an_offer())

        assert fs.list_dir(layout.offers("c0")) == []

    def test_an_offer_that_waits_makes_no_event(self, exchange: FileExchange) -> None:
        offered(exchange)

        assert exchange.read(NOW) == []

    def test_the_folder_of_the_attempt_is_there_before_the_offer(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.publish(an_offer())

        assert os.listdir(layout.attempt(ATTEMPT)) == []

    def test_a_full_disk_is_an_error_and_the_offer_can_be_published_later(
        self, layout: StudyLayout, exchange: FileExchange, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(path: str, data: bytes, mode: int = 0o600) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(fs, "publish_file", full)
            with pytest.raises(OSError, match="No space"):
                exchange.publish(an_offer())
        exchange.publish(an_offer())

        assert len(fs.list_dir(layout.offers("c0"))) == 1

    def test_one_that_somebody_deleted_is_published_anew(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        offered(exchange)
        os.unlink(layout.offer("c0", 12, ATTEMPT))
        for seconds in (0, 30, 59):
            assert exchange.read(NOW + seconds) == []
            assert fs.list_dir(layout.offers("c0")) == []

        exchange.read(NOW + 60)

        assert len(fs.list_dir(layout.offers("c0"))) == 1


class TestClaims:
    def test_a_claim_is_seen_when_its_offer_vanishes(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        offered(exchange)
        claim(layout)

        assert exchange.read(NOW) == [CLAIMED]
        assert exchange.read(NOW) == []

    def test_a_claim_is_not_looked_for_while_its_offer_is_listed(
        self, layout: StudyLayout, exchange: FileExchange, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        offered(exchange)
        opened = opened_paths(monkeypatch)

        exchange.read(NOW)
        exchange.read(NOW)

        assert opened == []

    def test_claim_and_events_come_in_one_read(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        offered(exchange)
        claim(layout)
        write(layout, START, REPORT, SAVED, END)

        assert exchange.read(NOW) == [CLAIMED, *EVENTS]

    def test_a_claim_that_is_hidden_is_found_later(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        offered(exchange)
        os.unlink(layout.offer("c0", 12, ATTEMPT))
        assert exchange.read(NOW) == []
        claim(layout)

        assert exchange.read(NOW) == [CLAIMED]

    def test_a_claim_that_makes_no_sense_still_takes_the_attempt(
        self, layout: StudyLayout, exchange: FileExchange, caplog: pytest.LogCaptureFixture
    ) -> None:
        offered(exchange)
        fs.publish_once(layout.claim(ATTEMPT), b"\xff")
        os.unlink(layout.offer("c0", 12, ATTEMPT))
        write(layout, START)

        nobody = AttemptClaimed(time=NOW, attempt=ATTEMPT, slot="nobody.0.0")
        assert exchange.read(NOW) == [nobody, EVENTS[0]]
        assert "makes no sense" in caplog.text

    def test_a_claim_made_while_no_driver_lived_is_seen(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.publish(an_offer())
        claim(layout)
        write(layout, START)
        second = FileExchange(layout, ["c0", "c1"])
        second.publish(an_offer())
        second.watch(ATTEMPT, offered=True)

        assert second.read(NOW) == [CLAIMED, EVENTS[0]]

    def test_a_stale_offer_of_a_claimed_attempt_hides_nothing(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.publish(an_offer())
        fs.publish_once(
            layout.claim(ATTEMPT),
            encode_claim(Claim("tok", 3, 0), attempt=ATTEMPT, job="", host="", pid=1),
        )
        second = FileExchange(layout, ["c0"])
        second.watch(ATTEMPT, offered=True)

        assert second.read(NOW) == [CLAIMED]
        assert fs.list_dir(layout.offers("c0")) == []

    def test_offers_of_other_classes_are_watched(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        offered(exchange, "t00008.r0.a1", "c1")

        assert exchange.read(NOW) == []
        second = FileExchange(layout, ["c0", "c1"])
        second.watch("t00008.r0.a1", offered=True)
        assert second.read(NOW) == []

    def test_other_files_in_the_folder_are_no_offers(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        offered(exchange)
        fs.publish_file(os.path.join(layout.offers("c0"), ".nfs0001"), b"")

        assert exchange.read(NOW) == []


class TestWithdrawing:
    def test_takes_the_offer_back(self, layout: StudyLayout, exchange: FileExchange) -> None:
        offered(exchange)

        assert exchange.withdraw(ATTEMPT)
        assert fs.list_dir(layout.offers("c0")) == []
        assert not claim(layout)
        assert exchange.read(NOW) == []

    def test_fails_when_a_slot_was_first(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        offered(exchange)
        claim(layout)

        assert not exchange.withdraw(ATTEMPT)
        assert exchange.read(NOW) == [CLAIMED]

    def test_can_be_done_again_by_another_driver(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        offered(exchange)
        exchange.withdraw(ATTEMPT)

        assert FileExchange(layout, ["c0"]).withdraw(ATTEMPT)

    def test_of_an_earlier_driver_is_noticed(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.publish(an_offer())
        exchange.withdraw(ATTEMPT)
        second = FileExchange(layout, ["c0"])
        second.watch(ATTEMPT, offered=True)

        assert second.read(NOW) == [OfferWithdrawn(time=NOW, attempt=ATTEMPT)]
        assert second.read(NOW) == []

    def test_of_an_offer_of_an_earlier_driver_removes_it(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.publish(an_offer())

        assert FileExchange(layout, ["c0"]).withdraw(ATTEMPT)
        assert fs.list_dir(layout.offers("c0")) == []

    def test_of_driver_and_slots_one_wins(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        attempts = [f"t{number:05d}.r0.a1" for number in range(20)]
        for attempt in attempts:
            offered(exchange, attempt)
        start = threading.Barrier(3)
        wins: dict[str, list[str]] = {"driver": [], "first": [], "second": []}

        def race(name: str, take: Callable[[str], bool]) -> None:
            start.wait()
            wins[name].extend(attempt for attempt in attempts if take(attempt))

        threads = [
            threading.Thread(target=race, args=("driver", exchange.withdraw)),
            threading.Thread(target=race, args=("first", lambda attempt: claim(layout, attempt))),
            threading.Thread(target=race, args=("second", lambda attempt: claim(layout, attempt))),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(wins["driver"] + wins["first"] + wins["second"]) == attempts
        claimed = {event.attempt for event in read(exchange)}
        assert claimed == {*wins["first"], *wins["second"]}


class TestEvents:
    def test_come_as_they_are_written(self, layout: StudyLayout, exchange: FileExchange) -> None:
        exchange.watch(ATTEMPT, offered=False)
        assert exchange.read(NOW) == []
        for record, event in zip([START, REPORT, SAVED, END], EVENTS, strict=True):
            write(layout, record)

            assert exchange.read(NOW) == [event]
        assert exchange.read(NOW) == []

    def test_come_again_after_a_restart(self, layout: StudyLayout, exchange: FileExchange) -> None:
        write(layout, START, REPORT)
        exchange.watch(ATTEMPT, offered=False)
        exchange.read(NOW)
        second = FileExchange(layout, ["c0"])
        second.watch(ATTEMPT, offered=False)

        assert second.read(NOW) == EVENTS[:2]

    def test_are_read_no_more_when_forgotten(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.watch(ATTEMPT, offered=False)
        exchange.forget(ATTEMPT)
        exchange.forget(ATTEMPT)
        write(layout, START)

        assert exchange.read(NOW) == []

    @settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
    )
    @given(st.lists(st.integers(0, 500), max_size=6))
    def test_are_the_same_however_the_bytes_arrive(
        self, tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
    ) -> None:
        layout = StudyLayout(str(tmp_path_factory.mktemp("study")))
        layout.create()
        exchange = FileExchange(layout, ["c0"])
        exchange.watch(ATTEMPT, offered=False)
        data = b"".join(frame.encode(record) for record in (START, REPORT, SAVED, END))
        events: list[Any] = []
        previous = 0
        for cut in [*sorted(cuts), len(data)]:
            write(layout, tail=data[previous:cut])
            previous = max(previous, min(cut, len(data)))
            events.extend(read(exchange))

        assert events == EVENTS

    def test_a_bad_frame_is_waited_for(self, layout: StudyLayout, exchange: FileExchange) -> None:
        exchange.watch(ATTEMPT, offered=False)
        good = frame.encode(REPORT)
        write(layout, START, tail=b"\0" * (len(good) - 1) + b"\n")
        assert exchange.read(NOW) == EVENTS[:1]
        assert exchange.read(NOW) == []
        assert exchange.read(NOW) == []

        fs.publish_file(layout.events(ATTEMPT), frame.encode(START) + good)

        assert exchange.read(NOW) == EVENTS[1:2]

    def test_a_log_that_was_taken_back_is_read_again(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        """A writer that could not sync takes its record back and may write another one."""
        exchange.watch(ATTEMPT, offered=False)
        taken_back = {**REPORT, "metrics": {"a longer name": 1.0}}
        write(layout, START, taken_back)
        assert len(exchange.read(NOW)) == 2
        # In place of the record: another one of other length, and more.
        fs.publish_file(
            layout.events(ATTEMPT),
            b"".join(frame.encode(record) for record in (START, REPORT, SAVED, END)),
        )

        events = [event for _ in range(3) for event in read(exchange)]

        assert events == EVENTS[2:]

    def test_nothing_counts_after_the_end(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.watch(ATTEMPT, offered=False)
        write(layout, START, {**END, "n": 1}, {**REPORT, "n": 2})

        assert [type(event) for event in exchange.read(NOW)] == [AttemptStarted, AttemptEnded]
        assert exchange.read(NOW) == []

    def test_numbers_that_json_does_not_have_come_back(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.watch(ATTEMPT, offered=False)
        write(layout, {**REPORT, "metrics": {"a": "nan", "b": "inf", "c": "-inf", "d": 3}})

        [event] = read(exchange)
        assert math.isnan(event.metrics["a"])
        assert [event.metrics[name] for name in "bcd"] == [math.inf, -math.inf, 3.0]

    @pytest.mark.parametrize(
        "record",
        [
            {},
            {"n": "1", "k": "report"},
            {**REPORT, "n": True},
            {**REPORT, "resource": -1},
            {**REPORT, "resource": "2"},
            {**REPORT, "resource": True},
            {**REPORT, "resource": None},
            {**REPORT, "metrics": None},
            {**REPORT, "metrics": []},
            {**REPORT, "metrics": {"loss": "0.5"}},
            {**REPORT, "metrics": {"loss": None}},
            {**REPORT, "metrics": {"loss": True}},
            {**REPORT, "metrics": {"loss": 10**400}},
            {**REPORT, "metrics": {"": 1}},
            {**REPORT, "metrics": {"x" * 129: 1}},
            {**REPORT, "metrics": {str(number): 1 for number in range(MAX_METRICS + 1)}},
            {**SAVED, "name": "../../x"},
            {**SAVED, "name": 3},
            {**SAVED, "name": "3.t00008.r1.a1"},
            {**START, "n": 1, "start": -1},
            {**START, "n": 1, "index": "3"},
            {**START, "n": 1, "host": "x" * 1000},
            {**END, "n": 1, "outcome": "GREAT"},
            {**END, "n": 1, "outcome": None},
            {**END, "n": 1, "seconds": "nan"},
            {**END, "n": 1, "exit_code": "0"},
            {**END, "n": 1, "tail": "x"},
        ],
    )
    def test_a_record_that_makes_no_sense_is_skipped(
        self,
        layout: StudyLayout,
        exchange: FileExchange,
        caplog: pytest.LogCaptureFixture,
        record: dict[str, Any],
    ) -> None:
        exchange.watch(ATTEMPT, offered=False)
        write(layout, START, record, {**REPORT, "n": 9})

        assert [event.seq for event in read(exchange)] == [0, 9]
        assert "makes no sense" in caplog.text

    def test_a_record_of_a_newer_kind_is_skipped(
        self, layout: StudyLayout, exchange: FileExchange, caplog: pytest.LogCaptureFixture
    ) -> None:
        exchange.watch(ATTEMPT, offered=False)
        write(layout, START, {"n": 1, "k": "moved"}, SAVED)

        assert exchange.read(NOW) == [EVENTS[0], EVENTS[2]]
        assert caplog.text == ""

    def test_long_texts_of_an_end_are_cut(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.watch(ATTEMPT, offered=False)
        write(layout, {**END, "n": 0, "cause": "x" * 2000, "tail": ["y" * 500] * 30})

        [event] = read(exchange)
        assert len(event.cause) == 1000
        assert event.tail == ("y" * 400,) * 20

    def test_a_long_log_comes_in_parts(self, layout: StudyLayout, exchange: FileExchange) -> None:
        exchange.watch(ATTEMPT, offered=False)
        names = {"x" * 100 + str(number): 1.0 for number in range(100)}
        count = 2 * MAX_READ_BYTES // len(frame.encode({**REPORT, "metrics": names}))
        write(layout, *({**REPORT, "n": n, "metrics": names} for n in range(count)))

        parts = [read(exchange) for _ in range(3)]

        assert [event.seq for part in parts for event in part] == list(range(count))
        assert len(parts[0]) < count

    def test_a_log_that_cannot_be_read_does_not_hold_up_others(
        self, layout: StudyLayout, exchange: FileExchange, caplog: pytest.LogCaptureFixture
    ) -> None:
        exchange.watch("t00008.r0.a1", offered=False)
        exchange.watch(ATTEMPT, offered=False)
        os.makedirs(layout.attempt("t00008.r0.a1"))
        os.symlink("/etc/passwd", layout.events("t00008.r0.a1"))
        write(layout, START)

        assert exchange.read(NOW) == EVENTS[:1]
        assert "t00008.r0.a1 cannot be read" in caplog.text

    def test_a_log_is_not_opened_before_it_is_listed(
        self, layout: StudyLayout, exchange: FileExchange, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Asking for a name that is not there yet hides it for half a minute on NFS."""
        exchange.publish(an_offer())
        exchange.watch(ATTEMPT, offered=False)
        opened = opened_paths(monkeypatch)

        exchange.read(NOW)
        assert opened == []
        write(layout, START)
        exchange.read(NOW)
        assert opened == [layout.events(ATTEMPT)]


class TestHolding:
    def test_an_end_may_leave_its_program_waiting(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.watch(ATTEMPT, offered=False)
        write(layout, {**END, "n": 0, "exit_code": None, "holds": True})

        [event] = read(exchange)
        assert event.holding
        assert event.exit_code is None

    @pytest.mark.parametrize("holds", [False, 1, "yes", None])
    def test_everything_else_is_no_waiting(
        self, layout: StudyLayout, exchange: FileExchange, holds: object
    ) -> None:
        exchange.watch(ATTEMPT, offered=False)
        write(layout, {**END, "n": 0, "holds": holds})

        [event] = read(exchange)
        assert not event.holding

    def test_an_offer_tells_who_waits_for_it(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.publish(dataclasses.replace(an_offer(), holder="tok.3.0"))

        [name] = fs.list_dir(layout.offers("c0"))
        offer = json.loads(fs.read_file(os.path.join(layout.offers("c0"), name)))
        assert offer["holder"] == "tok.3.0"


class TestDroppingCheckpoints:
    NAMES = ("1.t00007.r0.a1", "3.t00007.r1.a1")

    @pytest.fixture
    def folder(self, layout: StudyLayout) -> str:
        """The checkpoints of a trial: the two, and one that stays."""
        for name in (*self.NAMES, "9.t00007.r2.a1"):
            fs.make_dir(os.path.join(layout.checkpoint(7, name), "sub"))
            fs.publish_file(os.path.join(layout.checkpoint(7, name), "sub", "state"), b"x")
        return layout.checkpoints(7)

    def test_removes_them_and_no_others(self, exchange: FileExchange, folder: str) -> None:
        exchange.drop_checkpoints(7, self.NAMES)

        assert os.listdir(folder) == ["9.t00007.r2.a1"]

    def test_can_be_done_again(self, exchange: FileExchange, folder: str) -> None:
        exchange.drop_checkpoints(7, self.NAMES)
        exchange.drop_checkpoints(7, self.NAMES)

        assert os.listdir(folder) == ["9.t00007.r2.a1"]

    def test_of_a_trial_that_saved_nothing_is_no_error(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.drop_checkpoints(8, ["1.t00008.r0.a1"])

        assert not os.path.exists(layout.checkpoints(8))

    def test_takes_names_of_checkpoints_only(self, exchange: FileExchange, folder: str) -> None:
        with pytest.raises(ValueError, match=r"\.\./\.\./spec"):
            exchange.drop_checkpoints(7, [self.NAMES[0], "../../spec.toml"])

        assert len(os.listdir(folder)) == 3

    def test_one_that_cannot_be_removed_does_not_save_the_others(
        self, exchange: FileExchange, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remove_tree = fs.remove_tree

        def refuse_first(path: str) -> None:
            if path.endswith(self.NAMES[0]):
                raise OSError(5, "Input/output error")
            remove_tree(path)

        monkeypatch.setattr(fs, "remove_tree", refuse_first)
        with pytest.raises(OSError, match="Input/output error"):
            exchange.drop_checkpoints(7, self.NAMES)

        assert sorted(os.listdir(folder)) == [self.NAMES[0], "9.t00007.r2.a1"]


class TestStopping:
    def test_a_request_is_a_file_beside_the_log(
        self, layout: StudyLayout, exchange: FileExchange
    ) -> None:
        exchange.request_stop(ATTEMPT)
        exchange.request_stop(ATTEMPT)

        assert fs.list_dir(layout.attempt(ATTEMPT)) == ["stop"]


@pytest.mark.slow
def test_a_read_touches_only_what_is_live(
    layout: StudyLayout,
    exchange: FileExchange,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """With 1,000 live attempts a read opens each log once and lists no other folder."""
    for number in range(1000):
        attempt = f"t{number:05d}.r0.a1"
        os.makedirs(layout.attempt(attempt))
        with open(layout.events(attempt), "wb") as file:
            file.write(frame.encode(START))
        exchange.watch(attempt, offered=False)
    assert len(exchange.read(NOW)) == 1000
    calls = {"opened": 0, "listed": 0}
    read_file, list_dir = fs.read_file, fs.list_dir

    def counted_read(*arguments: Any) -> bytes:
        calls["opened"] += 1
        return read_file(*arguments)

    def counted_list(path: str) -> list[str]:
        calls["listed"] += 1
        return list_dir(path)

    monkeypatch.setattr(fs, "read_file", counted_read)
    monkeypatch.setattr(fs, "list_dir", counted_list)
    start = time.perf_counter()

    assert exchange.read(NOW) == []

    record_property("seconds_per_read", time.perf_counter() - start)
    assert calls == {"opened": 1000, "listed": 0}


def test_an_event_always_fits_into_a_record_of_the_journal() -> None:
    """A frame holds 64 KiB, and a character may take six bytes there."""
    from slurmtune.store.exchange import _short_tail

    tail = _short_tail(["\U0001f4a5" * 400] * 20)

    assert 0 < len(json.dumps(tail)) <= 32 * 1024

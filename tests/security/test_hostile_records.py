"""Claims, event logs and commands that somebody forged: the driver skips them and goes on."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from slurmtune.core.actions import Offer
from slurmtune.core.events import AttemptReported
from slurmtune.store import control, frame, lease
from slurmtune.store.exchange import MAX_REPORTS, FileExchange
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.live_study import PROGRAM

ATTEMPT = "t00007.r0.a1"
START = {
    "n": 0,
    "k": "start",
    "token": "tok",
    "index": 0,
    "restart": 0,
    "job": "1_0",
    "host": "n1",
    "start": 0,
}
END = {"n": 9, "k": "end", "outcome": "SUCCEEDED", "exit_code": 0, "seconds": 1.5}


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    layout = StudyLayout(str(tmp_path / "study"))
    layout.create()
    return layout


@pytest.fixture
def exchange(layout: StudyLayout) -> FileExchange:
    """The driver's side, with one attempt that a slot has claimed."""
    exchange = FileExchange(layout, ["c0"])
    exchange.publish(
        Offer(
            attempt=ATTEMPT, trial=7, rung=0, resource_class="c0", priority=1, config={"q": 1},
            start=0, end=3, checkpoint=None, seed=1,
        )
    )  # fmt: skip
    exchange.watch(ATTEMPT, offered=True)
    os.unlink(layout.offer("c0", 1, ATTEMPT))
    return exchange


def claim(layout: StudyLayout, data: bytes) -> None:
    Path(layout.claim(ATTEMPT)).write_bytes(data)


def honest_claim(layout: StudyLayout) -> None:
    claim(
        layout, json.dumps({"attempt": ATTEMPT, "token": "tok", "index": 0, "restart": 0}).encode()
    )


def kinds(exchange: FileExchange) -> list[str]:
    return [type(event).__name__ for event in exchange.read(1.0)]


HOSTILE_CLAIMS = [
    b"", b"\0", b"null", b"[]", b"{}", b"[" * 50_000, b'{"a":' * 10_000, b"\xff", b"9" * 60_000, b"x" * 200_000,
    *(
        json.dumps({"token": "tok", "index": 0, "restart": 0, **changes}).encode()
        for changes in (
            {"token": "../../x"}, {"token": ""}, {"token": 5}, {"token": "a\n"}, {"token": "x" * 1000},
            {"index": -1}, {"index": 10**30}, {"index": "0"}, {"index": True}, {"restart": 1.5}, {"restart": -1},
            {"restart": 10**300}, {"token": "\x1b[2J"}, {"token": "a/b"},
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE_CLAIMS, ids=range(len(HOSTILE_CLAIMS)))
def test_a_hostile_claim_counts_as_that_of_a_slot_that_is_gone(
    layout: StudyLayout, exchange: FileExchange, data: bytes
) -> None:
    claim(layout, data)
    (event,) = exchange.read(1.0)
    assert getattr(event, "slot", "") == "nobody.0.0"


def test_a_link_at_the_place_of_a_claim_is_not_followed(
    layout: StudyLayout, exchange: FileExchange, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text(json.dumps({"token": "tok", "index": 0, "restart": 0}))
    Path(layout.claim(ATTEMPT)).symlink_to(victim)
    assert kinds(exchange) == []


HOSTILE_RECORDS: list[dict[str, Any]] = [
    {},
    {"n": 0},
    {"n": "0", "k": "start"},
    {"n": 1, "k": ["end"]},
    {"n": 1, "k": "nonsense"},
    {"n": -5, "k": "end"},
    {"n": 10**400, "k": "report", "resource": 1, "metrics": {}},
    {**START, "token": "../x"},
    {**START, "token": 7},
    {**START, "index": -1},
    {**START, "restart": 10**40},
    {**START, "host": "h" * 10_000},
    {**START, "start": "nan"},
    {**START, "start": -1},
    {"n": 1, "k": "report", "resource": 1, "metrics": None},
    {"n": 1, "k": "report", "resource": 1, "metrics": {"": 1}},
    {"n": 1, "k": "report", "resource": 1, "metrics": {"m" * 200: 1}},
    {"n": 1, "k": "report", "resource": 1, "metrics": {f"m{i}": 1 for i in range(101)}},
    {"n": 1, "k": "report", "resource": 1, "metrics": {"m": True}},
    {"n": 1, "k": "report", "resource": 1, "metrics": {"m": "1.0"}},
    {"n": 1, "k": "report", "resource": 1, "metrics": {"m": [1]}},
    {"n": 1, "k": "report", "resource": 1, "metrics": {"m": 10**400}},
    {"n": 1, "k": "report", "resource": 10**400, "metrics": {"m": 1}},
    {"n": 1, "k": "report", "resource": True, "metrics": {"m": 1}},
    {"n": 1, "k": "checkpoint", "resource": 1, "name": "../../x"},
    {"n": 1, "k": "checkpoint", "resource": 1, "name": "1.t00008.r0.a1"},
    {"n": 1, "k": "checkpoint", "resource": 1, "name": "nan.t00007.r0.a1"},
    {"n": 1, "k": "checkpoint", "resource": 1, "name": None},
    {**END, "outcome": []},
    {**END, "outcome": "WON"},
    {**END, "seconds": "1"},
    {**END, "seconds": -1},
    {**END, "exit_code": 1.5},
    {**END, "tail": "x"},
]


@pytest.mark.parametrize("record", HOSTILE_RECORDS, ids=range(len(HOSTILE_RECORDS)))
def test_a_hostile_record_is_skipped_and_what_follows_is_read(
    layout: StudyLayout, exchange: FileExchange, record: dict[str, Any]
) -> None:
    honest_claim(layout)
    last = {**END, "n": 10**401}
    Path(layout.events(ATTEMPT)).write_bytes(frame.encode(record) + frame.encode(last))
    assert kinds(exchange)[-1] == "AttemptEnded"
    assert len(kinds(exchange)) == 0


def test_texts_of_the_last_record_are_cut(layout: StudyLayout, exchange: FileExchange) -> None:
    honest_claim(layout)
    record = {**END, "cause": "c" * 5000, "tail": ["t" * 900, [], {}, None] * 12}
    Path(layout.events(ATTEMPT)).write_bytes(frame.encode(record))
    event = exchange.read(1.0)[-1]
    assert len(getattr(event, "cause", "")) == 1000
    assert max(len(line) for line in getattr(event, "tail", ())) == 400


def test_a_line_of_ten_megabytes_is_not_kept(layout: StudyLayout, exchange: FileExchange) -> None:
    honest_claim(layout)
    Path(layout.events(ATTEMPT)).write_bytes(
        frame.encode(START) + b"x" * 10_000_000 + b"\n" + frame.encode(END)
    )
    seen = [kind for _ in range(4) for kind in kinds(exchange)]
    assert seen == ["AttemptClaimed", "AttemptStarted"]


def test_a_frame_that_lies_about_its_length_ends_the_reading(
    layout: StudyLayout, exchange: FileExchange
) -> None:
    honest_claim(layout)
    forged = frame.encode(END).replace(b" ", b" 9", 1)
    Path(layout.events(ATTEMPT)).write_bytes(frame.encode(START) + forged + frame.encode(END))
    assert [kind for _ in range(3) for kind in kinds(exchange)] == [
        "AttemptClaimed",
        "AttemptStarted",
    ]


def test_a_flood_of_reports_is_cut_off_and_the_end_is_still_read(
    layout: StudyLayout, exchange: FileExchange
) -> None:
    honest_claim(layout)
    lines = [
        frame.encode({"n": n, "k": "report", "resource": n, "metrics": {"loss": 1.0}})
        for n in range(100_000)
    ]
    Path(layout.events(ATTEMPT)).write_bytes(b"".join(lines) + frame.encode({**END, "n": 100_000}))
    began = time.monotonic()
    events = [event for _ in range(5) for event in exchange.read(1.0)]
    assert sum(isinstance(event, AttemptReported) for event in events) == MAX_REPORTS
    assert type(events[-1]).__name__ == "AttemptEnded"
    assert time.monotonic() - began < 10


def test_hostile_commands_are_skipped(layout: StudyLayout) -> None:
    contents = [
        b"",
        b"null",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"command": 5}',
        b'{"command": null}',
        b"\xff",
    ]
    for number, data in enumerate([*contents, b"{" + b" " * 3_000_000]):
        Path(layout.control, f"{number:019d}-{number:08x}.json").write_bytes(data)
    Path(layout.control, f"{50:019d}-{50:08x}.json").mkdir()
    Path(layout.control, f"{51:019d}-{51:08x}.json").symlink_to("/etc/passwd")
    Path(layout.control, "..json").write_text('{"command": "stop"}')
    Path(layout.control, "x.json").write_text('{"command": "stop"}')
    assert control.receive(layout) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"5", b'"x"', b"[" * 100_000, b"{}", b'{"id": 1}', b"\xff", b"9" * 9999]
    + [
        json.dumps(
            {"id": "a", "host": "h", "pid": 1, "boot_id": "b", "process_start": 1, **changes}
        ).encode()
        for changes in (
            {"pid": "../1"},
            {"time": "x"},
            {"counter": None},
            {"host": 5},
            {"time": 1e999},
            {"pid": 10**40},
        )
    ],
    ids=range(16),
)
def test_a_hostile_lease_is_none(layout: StudyLayout, content: bytes) -> None:
    Path(layout.lease).write_bytes(content)
    assert lease.read(layout) is None


@pytest.mark.slow
def test_a_program_that_forges_everything_in_reach_harms_only_itself(make_study: Any) -> None:
    """Each trial of the study writes rubbish wherever slots and driver read."""
    forge = """\
cd "$SLURMTUNE_DIR"
head -c 300000 /dev/urandom > "control/0000000000000000009-$(printf %08x $$).json"
echo '{"command": "shutdown; touch PWNED", "trial": "x"}' > "control/0000000000000000010-$(printf %08x $$).json"
echo '{"command": "stop", "trial": 987654321}' > "control/0000000000000000011-$(printf %08x $$).json"
echo '{"rungs": [[["$(touch PWNED)"]]]}' > status.json
mkdir -p trials/t00099/t00099.r0.a1
echo junk > trials/t00099/t00099.r0.a1/events.log
head -c 100000 /dev/urandom > claims/rubbish
head -c 1000 /dev/urandom > claims/t00099.r0.a1
for class in offers/*; do echo '{' > "$class/000000-t00098.r0.a1.json"; ln -sf /etc/passwd "$class/000000-t00097.r0.a1.json"; done
cd - > /dev/null
printf '%s\\n' '{"loss": NaN' '[1]' '{"loss": "x"}' '{"_checkpoint": "../../x", "_resource": 1}' '{"_x": 1}' >> "$SLURMTUNE_METRICS"
head -c 200000 /dev/zero >> "$SLURMTUNE_METRICS"
echo >> "$SLURMTUNE_METRICS"
"""
    live = make_study(programs={"train.sh": forge + PROGRAM})
    done = live.run("--local=2")
    assert "Traceback" not in done.text
    assert "internal error" not in done.text
    assert done.code == 0, done.text
    assert live.started_twice == []
    assert not list(live.folder.rglob("PWNED"))
    whole = live.study()
    assert len(whole.trials) == 9
    best = min(min(v for v in trial.values.values() if v is not None) for trial in whole.trials)
    assert live.overview()["best"]["values"]["loss"] >= best

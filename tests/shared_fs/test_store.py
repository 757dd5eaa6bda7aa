"""What driver and slots exchange, written through one mount and read through the other: late at worst, never wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.backends.base import Exchange
from slurmtune.core.actions import Offer
from slurmtune.core.events import AttemptClaimed, AttemptEnded, AttemptReported, Event
from slurmtune.errors import DriverFencedError
from slurmtune.store import checkpoint, fs, journal
from slurmtune.store.exchange import FileExchange
from slurmtune.store.layout import StudyLayout
from slurmtune.store.offer import Claim, encode_claim

pytestmark = pytest.mark.slow

ATTEMPT = "t00000.r0.a1"
RACES, EPOCHS = 4, 6
"""So many studies at once, each with so many drivers one after the other."""
PATIENCE_SECONDS = 15.0


@pytest.fixture
def sides(either: Any, request: pytest.FixtureRequest) -> tuple[StudyLayout, StudyLayout]:
    """A study as the driver sees it, and as a slot does."""
    name = f"store{abs(hash(request.node.name))}"
    driver, slot = (StudyLayout(str(mount / name)) for mount in (either.a, either.b))
    driver.create()
    return driver, slot


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.05)
    return found


def offer() -> Offer:
    return Offer(
        attempt=ATTEMPT,
        trial=0,
        rung=0,
        config={"q": 1},
        start=0,
        end=1,
        checkpoint=None,
        seed=1,
        priority=1000,
        resource_class="c0",
    )


def names(path: str) -> list[str]:
    try:
        return fs.list_dir(path)
    except FileNotFoundError:
        return []


def test_the_two_mounts_really_have_caches_of_their_own(either: Any) -> None:
    """Otherwise nothing here would prove anything."""
    probe = f"probe-{either.kind}"
    assert not (either.b / probe).exists()
    os.listdir(either.b)
    (either.a / probe).touch()
    is_hidden = not (either.b / probe).exists()
    is_unlisted = probe not in os.listdir(either.b)
    assert (is_hidden, is_unlisted) == (
        (True, False) if either.kind == "bindfs" else (False, True)
    )


def test_an_offer_comes_to_a_slot_and_its_claim_and_its_results_come_back(
    sides: tuple[StudyLayout, StudyLayout],
) -> None:
    driver, slot = sides
    exchange: Exchange = FileExchange(driver, ["c0"])
    exchange.watch(ATTEMPT, offered=True)
    assert exchange.read(0.0) == []
    exchange.publish(offer())
    (name,) = wait_for(lambda: names(slot.offers("c0")), "the slot sees the offer")
    data = encode_claim(Claim("st-1", 0, 0), attempt=ATTEMPT, job="", host="", pid=1)
    fs.read_listed(os.path.join(slot.offers("c0"), name))
    assert fs.publish_once(slot.claim(ATTEMPT), data)
    fs.unlink(os.path.join(slot.offers("c0"), name))

    events: list[Event] = []

    def seen(kind: type[Event]) -> bool:
        events.extend(exchange.read(0.0))
        return any(isinstance(event, kind) for event in events)

    wait_for(lambda: seen(AttemptClaimed), "the driver sees the claim")
    fs.make_dir(slot.attempt(ATTEMPT))
    log = fs.Appender(slot.events(ATTEMPT))
    for number in range(3):
        report = {
            "n": number,
            "k": "report",
            "time": 0.0,
            "resource": number,
            "metrics": {"loss": 1},
        }
        log.append(report)
        if not number:
            wait_for(lambda: seen(AttemptReported), "the driver sees a report")
    log.append({"n": 3, "k": "end", "time": 0.0, "outcome": "SUCCEEDED", "seconds": 1.0})
    log.close()
    wait_for(lambda: seen(AttemptEnded), "the driver sees the end")
    told = [(type(event).__name__, getattr(event, "seq", None)) for event in events]
    assert told == [
        ("AttemptClaimed", None),
        *(("AttemptReported", number) for number in range(3)),
        ("AttemptEnded", 3),
    ]


def test_an_attempt_is_claimed_on_one_mount_only(sides: tuple[StudyLayout, StudyLayout]) -> None:
    """Also by one that asked before, and so believes for seconds that nobody has claimed it."""
    driver, slot = sides
    for number in range(20):
        attempt = f"t{number:05d}.r0.a1"
        assert not os.path.exists(slot.claim(attempt))
        won = [
            fs.publish_once(
                side.claim(attempt),
                encode_claim(Claim(token, 0, 0), attempt=attempt, job="", host="", pid=1),
            )
            for side, token in ((driver, "driver"), (slot, "st-1"))
        ]
        assert won == [True, False]
        if number == 2:
            break  # each round waits for a cache


def test_an_offer_that_a_slot_claimed_cannot_be_taken_back(
    sides: tuple[StudyLayout, StudyLayout],
) -> None:
    driver, slot = sides
    exchange = FileExchange(driver, ["c0"])
    exchange.publish(offer())
    assert not os.path.exists(driver.claim(ATTEMPT))
    data = encode_claim(Claim("st-1", 0, 0), attempt=ATTEMPT, job="", host="", pid=1)
    assert fs.publish_once(slot.claim(ATTEMPT), data)
    assert exchange.withdraw(ATTEMPT) is False


def test_a_checkpoint_is_whole_on_the_other_mount(sides: tuple[StudyLayout, StudyLayout]) -> None:
    driver, slot = sides
    name = f"1.{ATTEMPT}"
    temporary = checkpoint.begin(slot, 0, name)
    Path(temporary, "model").write_bytes(os.urandom(300_000))
    described = {"trial": 0, "attempt": ATTEMPT, "resource": 1}
    assert checkpoint.publish(temporary, slot.checkpoint(0, name), described)
    wait_for(
        lambda: checkpoint.verify(driver.checkpoint(0, name)), "the other mount sees all of it"
    )


def test_a_driver_that_was_replaced_on_the_other_mount_stops(
    sides: tuple[StudyLayout, StudyLayout],
) -> None:
    first, _ = journal.Journal.open(sides[0], {"id": "1" * 32})
    first.append([{"number": 1}])
    first.check_owner()
    second, records = journal.Journal.open(sides[1], {"id": "2" * 32})
    assert records == [{"number": 1}]
    first.append([{"number": 2}])
    with pytest.raises(DriverFencedError):
        first.check_owner()
    second.append([{"number": 3}])
    second.check_owner()
    first.close()
    second.close()
    wait_for(lambda: histories(sides) == [[1, 3], [1, 3]], "both mounts tell the same history")


def histories(sides: tuple[StudyLayout, StudyLayout]) -> list[list[int]]:
    return [[record["number"] for record in journal.history(side)] for side in sides]


def test_what_was_written_a_moment_before_a_takeover_is_history(
    sides: tuple[StudyLayout, StudyLayout],
) -> None:
    """Its writer has acted on it: a client that knows the old size of the segment must not go by that."""
    first, _ = journal.Journal.open(sides[0], {"id": "1" * 32})
    first.append([{"number": 1}])
    assert journal.history(sides[1]) == [{"number": 1}]
    first.append([{"number": 2}])
    first.check_owner()
    second, records = journal.Journal.open(sides[1], {"id": "2" * 32})
    assert records == [{"number": 1}, {"number": 2}]
    first.close()
    second.close()


# ---------------------------------------------------------------- drivers that replace each other all the time


@pytest.fixture
def races(bindfs: Any, tmp_path: Path) -> Iterator[list[tuple[StudyLayout, list[Path]]]]:
    """Studies that two drivers fought for, and what each of both did."""
    started = []
    results = []
    for number in range(RACES):
        layout = StudyLayout(str(bindfs.truth / f"race{number}"))
        layout.create()
        logs = [tmp_path / f"{number}-{side}" for side in ("a", "b")]
        results.append((layout, logs))
        for mount, log in zip((bindfs.a, bindfs.b), logs, strict=True):
            root = str(mount / f"race{number}")
            script = str(Path(__file__).with_name("race.py"))
            started.append(subprocess.Popen([sys.executable, script, root, str(log), str(EPOCHS)]))
    try:
        for process in started:
            assert process.wait(60) == 0
        yield results
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_history_never_forks_and_nobody_acts_on_what_is_no_history(
    races: list[tuple[StudyLayout, list[Path]]],
) -> None:
    fenced = 0
    for layout, logs in races:
        final = [record["id"] for record in journal.history(layout)]
        lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
        acted = [line["acted"] for line in lines if "acted" in line]
        opened = [line["opened"] for line in lines if "opened" in line]
        assert len(acted) > EPOCHS
        assert set(acted) <= set(final)
        assert len(set(final)) == len(final)
        assert all(told == final[: len(told)] for told in opened)
        fenced += sum("fenced" in line for line in lines)
    assert fenced > 0

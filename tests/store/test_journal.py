"""The journal: epochs, sealing, fencing, damage."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.errors import (
    CorruptJournalError,
    DriverBusyError,
    DriverFencedError,
    NewerFormatError,
)
from slurmtune.store import frame, fs, journal
from slurmtune.store.journal import Journal, history
from slurmtune.store.layout import StudyLayout

Records = list[dict[str, Any]]


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    layout = StudyLayout(str(tmp_path / "study"))
    layout.create()
    return layout


_opened: list[Journal] = []


@pytest.fixture(autouse=True)
def closed_at_the_end() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def open_journal(layout: StudyLayout, name: str = "") -> tuple[Journal, Records]:
    owner = f"{name or len(_opened)}".ljust(8, "x")
    opened, records = Journal.open(layout, {"id": owner, "host": "login1", "pid": 1})
    _opened.append(opened)
    return opened, records


def note(number: int) -> dict[str, Any]:
    return {"e": {"t": "CapacityChanged", "time": 0.5, "attempts": number}}


def segment(layout: StudyLayout, epoch: int) -> Path:
    (found,) = Path(layout.journal).glob(f"{epoch:08d}-*.log")
    return found


def epochs(layout: StudyLayout) -> list[str]:
    return sorted(path.name for path in Path(layout.journal).glob("*.claim"))


# ------------------------------------------------------------------ writing and reading


def test_a_driver_that_takes_over_decodes_each_record_once(
    layout: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        opened, _ = open_journal(layout)
        opened.append([note(number) for number in range(50)])
    decoded: list[bytes] = []
    decode = frame._decode

    def counting(line: bytes) -> dict[str, Any]:
        decoded.append(line)
        return decode(line)

    monkeypatch.setattr(frame, "_decode", counting)
    _, records = open_journal(layout)

    assert len(records) == 100
    assert len([line for line in decoded if b'"open"' not in line]) == 100


def test_a_new_journal_is_empty_and_has_the_first_epoch(layout: StudyLayout) -> None:
    opened, records = open_journal(layout)

    assert (opened.epoch, records, history(layout)) == (1, [], [])


def test_what_was_appended_is_read_by_the_next_driver_in_order(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    first.append([note(1), note(2)])
    first.append([note(3)])
    second, records = open_journal(layout)
    second.append([note(4)])
    third, more = open_journal(layout)

    assert records == [note(1), note(2), note(3)]
    assert more == [note(1), note(2), note(3), note(4)]
    assert third.epoch == 3


def test_history_is_read_while_a_driver_writes(layout: StudyLayout) -> None:
    opened, _ = open_journal(layout)
    opened.append([note(1)])

    assert history(layout) == [note(1)]
    assert epochs(layout) == ["00000001.claim"]


def test_reading_writes_nothing(layout: StudyLayout) -> None:
    opened, _ = open_journal(layout)
    opened.append([note(1)])
    before = {path.name: path.read_bytes() for path in Path(layout.journal).iterdir()}

    history(layout)

    assert {path.name: path.read_bytes() for path in Path(layout.journal).iterdir()} == before


def test_an_append_of_nothing_writes_nothing(layout: StudyLayout) -> None:
    opened, _ = open_journal(layout)
    before = segment(layout, 1).read_bytes()

    opened.append([])

    assert segment(layout, 1).read_bytes() == before


def test_an_append_that_fails_leaves_nothing_behind(
    layout: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, _ = open_journal(layout)
    opened.append([note(1)])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            opened.append([note(2), note(3)])

    assert history(layout) == [note(1)]
    opened.append([note(4)])
    assert history(layout) == [note(1), note(4)]


def test_the_owner_is_told_to_people(layout: StudyLayout) -> None:
    open_journal(layout, "me")

    claim = json.loads((Path(layout.journal) / "00000001.claim").read_text())
    assert claim == {"id": "mexxxxxx", "host": "login1", "pid": 1}


def test_files_are_for_the_owner_only(layout: StudyLayout) -> None:
    opened, _ = open_journal(layout)
    opened.append([note(1)])

    modes = {path.stat().st_mode & 0o777 for path in Path(layout.journal).iterdir()}
    assert modes == {0o600}


# ------------------------------------------------------------------ damage


def test_a_torn_last_line_is_dropped(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    first.append([note(1)])
    with segment(layout, 1).open("ab") as log:
        log.write(frame.encode(note(2))[:-5])

    _, records = open_journal(layout)

    assert records == [note(1)]


def damaged(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x01]) + data[position + 1 :]


def is_prefix(found: Records, whole: Records) -> bool:
    return whole[: len(found)] == found


def test_every_truncation_of_the_newest_segment_gives_a_prefix(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    first.append([note(1), note(2)])
    second, _ = open_journal(layout)
    second.append([note(3), note(4)])
    whole, path = history(layout), segment(layout, 2)
    data = path.read_bytes()

    lengths = []
    for end in range(len(data)):
        path.write_bytes(data[:end])
        found = history(layout)
        assert is_prefix(found, whole)
        assert len(found) >= 2
        lengths.append(len(found))

    assert lengths == sorted(lengths)
    assert set(lengths) == {2, 3}


def test_every_flip_in_the_newest_segment_gives_a_prefix(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    first.append([note(1), note(2)])
    second, _ = open_journal(layout)
    begin = segment(layout, 2).stat().st_size
    second.append([note(3), note(4)])
    whole, path = history(layout), segment(layout, 2)
    data = path.read_bytes()

    for position in range(begin, len(data)):
        path.write_bytes(damaged(data, position))
        found = history(layout)
        assert is_prefix(found, whole)
        assert 2 <= len(found) < len(whole)


def test_every_flip_in_the_opening_record_of_the_newest_segment_is_told(
    layout: StudyLayout,
) -> None:
    """It was synced before what follows it, so this is no torn write: nothing is dropped silently."""
    first, _ = open_journal(layout)
    first.append([note(1)])
    second, _ = open_journal(layout)
    begin = segment(layout, 2).stat().st_size
    second.append([note(3)])
    second.append([note(4)])
    path = segment(layout, 2)
    data = path.read_bytes()

    for position in range(begin):
        path.write_bytes(damaged(data, position))
        with pytest.raises(CorruptJournalError, match=f"{path.name}: damaged at byte 0"):
            history(layout)


def test_every_flip_in_a_sealed_segment_names_file_and_byte(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    first.append([note(1), note(2)])
    second, _ = open_journal(layout)
    second.append([note(3)])
    path = segment(layout, 1)
    data = path.read_bytes()

    for position in range(len(data)):
        path.write_bytes(damaged(data, position))
        start = data.rfind(b"\n", 0, position) + 1
        with pytest.raises(CorruptJournalError, match=f"{path.name}: damaged at byte {start}"):
            history(layout)


def test_every_truncation_of_a_sealed_segment_raises(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    first.append([note(1), note(2)])
    second, _ = open_journal(layout)
    second.append([note(3)])
    path = segment(layout, 1)
    data = path.read_bytes()

    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(CorruptJournalError, match=rf"{path.name}: damaged at byte \d+"):
            history(layout)


def test_a_sealed_segment_that_is_missing_is_told(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    first.append([note(1)])
    second, _ = open_journal(layout)
    second.append([note(2)])
    segment(layout, 1).unlink()

    with pytest.raises(CorruptJournalError, match="segment of epoch 1 is missing"):
        open_journal(layout)


def test_a_claim_that_is_no_claim_is_told(layout: StudyLayout) -> None:
    open_journal(layout)
    (Path(layout.journal) / "00000001.claim").write_text("[]")

    with pytest.raises(CorruptJournalError, match=r"00000001\.claim: not a claim"):
        history(layout)


def test_a_newer_format_is_refused_and_not_claimed(layout: StudyLayout) -> None:
    """A driver of the newer slurmtune may be alive: a claim would end it."""
    opened, _ = open_journal(layout)
    path = segment(layout, 1)
    newer = {"open": 1, "format": journal.FORMAT + 1, "owner": {}, "sealed": {}}
    path.write_bytes(frame.encode(newer))

    with pytest.raises(NewerFormatError, match="please upgrade"):
        open_journal(layout)

    assert epochs(layout) == ["00000001.claim"]
    opened.check_owner()


def test_a_damaged_journal_is_not_claimed(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    first.append([note(1)])
    second, _ = open_journal(layout)
    segment(layout, 1).write_bytes(b"")

    with pytest.raises(CorruptJournalError):
        open_journal(layout)

    assert len(epochs(layout)) == 2
    second.check_owner()


def test_a_claim_that_is_missing_is_told(
    layout: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_HIDDEN_SECONDS", 0.0)
    open_journal(layout)
    open_journal(layout)
    (Path(layout.journal) / "00000001.claim").unlink()

    with pytest.raises(CorruptJournalError, match=r"00000001\.claim is missing"):
        history(layout)


def test_other_files_in_the_folder_do_not_matter(layout: StudyLayout) -> None:
    (Path(layout.journal) / "lease.json").write_text("{}")
    (Path(layout.journal) / "00000007.claim.tmp").write_text("")

    opened, _ = open_journal(layout)

    assert opened.epoch == 1


# ------------------------------------------------------------------ two drivers


def test_what_a_driver_writes_after_it_was_replaced_is_ignored(layout: StudyLayout) -> None:
    zombie, _ = open_journal(layout)
    zombie.append([note(1)])
    successor, _ = open_journal(layout)
    zombie.append([note(66), note(67)])
    successor.append([note(2)])

    assert history(layout) == [note(1), note(2)]
    _, records = open_journal(layout)
    assert records == [note(1), note(2)]


def test_a_driver_that_was_not_replaced_owns_the_journal(layout: StudyLayout) -> None:
    opened, _ = open_journal(layout)

    opened.check_owner()

    assert opened.epoch == 1


def test_a_driver_that_was_replaced_is_told(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    open_journal(layout)

    with pytest.raises(DriverFencedError, match="another driver took"):
        first.check_owner()


def test_a_driver_that_was_replaced_twice_is_told(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    open_journal(layout)
    open_journal(layout)

    with pytest.raises(DriverFencedError):
        first.check_owner()


def test_a_claim_that_the_listing_hides_is_found_by_its_name(
    layout: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = open_journal(layout)
    old = fs.list_dir(layout.journal)
    open_journal(layout)
    monkeypatch.setattr(fs, "list_dir", lambda path: old)

    with pytest.raises(DriverFencedError):
        first.check_owner()


def hide(monkeypatch: pytest.MonkeyPatch, name: str, *, listing: bool = False) -> None:
    """Let this machine's caches say that there is no such file."""
    read_file, list_dir = fs.read_file, fs.list_dir

    def reading(path: str, offset: int = 0, limit: int | None = None) -> bytes:
        if os.path.basename(path) == name:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return read_file(path, offset, limit)

    monkeypatch.setattr(fs, "read_file", reading)
    if listing:
        monkeypatch.setattr(fs, "list_dir", lambda path: [n for n in list_dir(path) if n != name])


def test_a_claim_that_cannot_be_opened_is_found_in_the_listing(
    layout: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = open_journal(layout)
    open_journal(layout)
    hide(monkeypatch, "00000002.claim")

    with pytest.raises(DriverFencedError):
        first.check_owner()


def test_an_opener_that_cannot_see_the_newest_claim_is_refused(
    layout: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """link(2) sees what the caches hide."""
    open_journal(layout)
    hide(monkeypatch, "00000001.claim", listing=True)

    with pytest.raises(DriverBusyError, match="took epoch 1"):
        open_journal(layout)


def test_an_opener_finds_a_claim_that_only_the_listing_hides(
    layout: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = open_journal(layout)
    first.append([note(1)])
    list_dir = fs.list_dir
    monkeypatch.setattr(
        fs, "list_dir", lambda path: [n for n in list_dir(path) if n != "00000001.claim"]
    )

    second, records = open_journal(layout)

    assert (second.epoch, records) == (2, [note(1)])


def test_a_driver_that_died_between_its_claim_and_its_first_record_left_nothing(
    layout: StudyLayout,
) -> None:
    first, _ = open_journal(layout)
    first.append([note(1)])
    claim = json.dumps({"id": "deadbeefdead"}).encode()
    assert fs.publish_once(os.path.join(layout.journal, "00000002.claim"), claim)

    third, records = open_journal(layout)

    assert (third.epoch, records) == (3, [note(1)])
    third.append([note(2)])
    assert history(layout) == [note(1), note(2)]


def test_a_driver_that_died_within_its_first_record_left_nothing(layout: StudyLayout) -> None:
    first, _ = open_journal(layout)
    first.append([note(1)])
    open_journal(layout)
    path = segment(layout, 2)
    path.write_bytes(path.read_bytes()[:-9])

    _, records = open_journal(layout)

    assert records == [note(1)]


def test_a_driver_that_slept_between_its_claim_and_its_first_record_changes_nothing(
    layout: StudyLayout,
) -> None:
    """It wakes up when its successor has opened already."""
    first, _ = open_journal(layout)
    first.append([note(1)])
    claim = json.dumps({"id": "sleepysleepy"}).encode()
    assert fs.publish_once(os.path.join(layout.journal, "00000002.claim"), claim)
    third, _ = open_journal(layout)
    third.append([note(3)])
    late = fs.Appender(os.path.join(layout.journal, "00000002-sleepysl.log"))
    late.append({"open": 2, "format": 1, "owner": {}, "sealed": {"1": 10**9}})
    late.append(note(66))
    late.close()

    assert history(layout) == [note(1), note(3)]
    _, records = open_journal(layout)
    assert records == [note(1), note(3)]


@pytest.mark.parametrize("seen", [None, 0, 40, 150])
def test_a_segment_that_grew_while_it_was_read_is_read_again(
    layout: StudyLayout, monkeypatch: pytest.MonkeyPatch, seen: int | None
) -> None:
    """A reader meets a segment early, and then a successor that sealed more of it."""
    first, _ = open_journal(layout)
    first.append([note(1), note(2)])
    second, _ = open_journal(layout)
    second.append([note(3)])
    path, read_listed = str(segment(layout, 1)), fs.read_listed
    early: set[str] = {path}

    def reading(name: str) -> bytes:
        if name in early:
            early.remove(name)
            if seen is None:
                raise FileNotFoundError(errno.ENOENT, "No such file", name)
            return read_listed(name)[:seen]
        return read_listed(name)

    monkeypatch.setattr(fs, "read_listed", reading)

    assert history(layout) == [note(1), note(2), note(3)]


def test_a_claim_whose_reply_was_lost_is_ours(
    layout: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def losing(source: str, target: str) -> None:
        link(source, target)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", losing)
        opened, _ = open_journal(layout)

    opened.append([note(1)])
    assert history(layout) == [note(1)]


def test_openers_that_race_never_share_an_epoch_and_history_never_forks(
    layout: StudyLayout,
) -> None:
    """What a driver knew when it was allowed to act is in the history for ever, in that order.

    One that was replaced before it could act may have read what nobody will read again.
    """
    epochs_taken: list[int] = []
    allowed: list[Records] = []
    refused: list[Exception] = []
    start = threading.Barrier(6)

    def contend(number: int) -> None:
        start.wait()
        for turn in range(4):
            owner = {"id": f"{number}{turn}".ljust(8, "o"), "host": "h", "pid": number}
            try:
                opened, records = Journal.open(layout, owner)
            except (DriverBusyError, CorruptJournalError) as error:
                refused.append(error)
                continue
            _opened.append(opened)
            epochs_taken.append(opened.epoch)
            for step in range(2):
                records = [*records, note(10 * opened.epoch + step)]
                opened.append(records[-1:])
                try:
                    opened.check_owner()
                except DriverFencedError:
                    break
                allowed.append(records)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(epochs_taken) == len(set(epochs_taken))
    assert [error for error in refused if not isinstance(error, DriverBusyError)] == []
    whole = history(layout)
    assert allowed
    assert all(is_prefix(records, whole) for records in allowed)
    order = [record["e"]["attempts"] for record in whole]
    assert order == sorted(order)

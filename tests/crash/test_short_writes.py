"""Writes that the kernel cuts short at a byte, by the limit on the size of files.

What a program like ``prlimit --fsize=K`` does, in this process: the write that crosses the limit
is short, the next one fails with EFBIG. Nothing is simulated here.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.store import event_log, frame, fs
from slurmtune.store.journal import Journal, history
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.crash.study import CrashStudy

pytestmark = pytest.mark.slow

RECORDS = [{"n": n, "e": {"t": "Event", "text": "x" * (7 * n % 40)}} for n in range(12)]


@contextlib.contextmanager
def no_file_over(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def journal_in(folder: Path) -> StudyLayout:
    layout = StudyLayout(str(folder))
    fs.make_dir(layout.journal)
    return layout


def write(layout: StudyLayout, name: str) -> int:
    """Append all records that are not there yet; return how many were appended."""
    journal, records = Journal.open(layout, {"id": name})
    appended = 0
    try:
        for record in RECORDS[len(records) :]:
            journal.append([record])
            appended += 1
    except OSError:
        pass
    finally:
        journal.close()
    return appended


def test_a_journal_may_be_cut_short_at_any_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    whole = journal_in(tmp_path / "whole")
    assert write(whole, "a" * 32) == len(RECORDS)
    (segment,) = (tmp_path / "whole" / "journal").glob("*.log")
    size = segment.stat().st_size
    assert size > 600

    bad = []
    for limit in range(1, size):
        layout = journal_in(tmp_path / str(limit))
        appended = 0
        with no_file_over(limit), contextlib.suppress(OSError):
            appended = write(layout, "b" * 32)
        if history(layout) != RECORDS[:appended]:
            bad.append(f"{limit}: not what was appended is history")
        write(layout, "c" * 32)
        if history(layout) != RECORDS:
            bad.append(f"{limit}: it cannot be continued")
    assert bad == []


def test_an_event_log_may_be_cut_short_at_any_byte_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    size = sum(len(frame.encode(record)) for record in RECORDS)
    for limit in range(1, size, 3):
        path = str(tmp_path / f"{limit}.log")
        log = fs.Appender(path)
        with no_file_over(limit):
            written = 0
            with contextlib.suppress(OSError):
                for record in RECORDS:
                    log.append(record)
                    written += 1
            assert event_log.read(path) == RECORDS[:written]
        # The same writer, when there is space again.
        for record in RECORDS[written:]:
            log.append(record)
        log.close()
        assert event_log.read(path) == RECORDS


def test_a_study_may_meet_the_limit_anywhere(rig: Any) -> None:
    """Every file of it: journal, status, lease, manifest, offers, logs, checkpoints."""
    with rig.make() as study:
        study.live()
    reference = study.outcomes()
    bad: dict[int, list[str]] = {}
    met = 0
    for limit in [*range(1, 200, 23), *range(200, 6000, 400)]:
        cut: CrashStudy = rig.make()
        try:
            with cut:
                with no_file_over(limit):
                    ended = cut.is_done_despite()
                met += not ended
                if not ended:
                    cut.live()
            wrong = cut.faults(reference)
        except Exception as error:  # noqa: BLE001 - told with the limit that led to it
            wrong = [f"{type(error).__name__}: {error}"]
        if wrong:
            bad[limit] = wrong
    assert bad == {}
    assert met > 10

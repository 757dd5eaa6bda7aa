"""Reports that come when the attempt is over."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from slurmtune.store import event_log
from slurmtune.worker.aftermath import Aftermath
from slurmtune.worker.attempt_log import AttemptLog
from slurmtune.worker.metrics import MetricReader


class Ended:
    """An attempt with a closed log, and the file that its program reports by."""

    def __init__(self, folder: Path) -> None:
        self.metrics, self.log = folder / "metrics.jsonl", folder / "events.log"
        self.metrics.write_text('{"epoch": 3, "loss": 0.5}\n')
        self.reader = MetricReader(
            str(self.metrics), resource_name="epoch", start=0, note=lambda _: None
        )
        self.reader.read()
        log = AttemptLog(str(self.log))
        log.add("end", outcome="SUCCEEDED")
        log.finish(0)

    def keep(self, text: str, most: int = 100) -> None:
        with self.metrics.open("a") as file:
            file.write(text)
        Aftermath(self.reader, str(self.log), most=most).keep()

    def records(self) -> list[Any]:
        return event_log.read(str(self.log))


@pytest.fixture
def ended(tmp_path: Path) -> Ended:
    return Ended(tmp_path)


def test_late_reports_go_behind_the_end(ended: Ended) -> None:
    ended.keep('{"epoch": 3, "test_acc": 0.9}\n')

    end, report = ended.records()
    assert end["k"] == "end"
    assert (report["n"], report["k"], report["late"]) == (1, "report", True)
    assert (report["resource"], report["metrics"]) == (3, {"test_acc": 0.9})


def test_who_reports_nothing_more_costs_no_write(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_log(path: str) -> Any:
        raise AssertionError(path)

    monkeypatch.setattr("slurmtune.worker.aftermath.AttemptLog", open_log)

    ended.keep('{"_more": true}\n')

    assert len(ended.records()) == 1


def test_a_last_line_without_its_end_counts(ended: Ended) -> None:
    ended.keep('{"epoch": 3, "test_acc": NaN}')

    assert ended.records()[-1]["metrics"] == {"test_acc": "nan"}


def test_a_word_that_comes_too_late_is_no_record(ended: Ended) -> None:
    ended.keep('{"_fail": "no"}\n{"_checkpoint": "3.t00000.r0.a1", "_resource": 3}\n')

    assert len(ended.records()) == 1


def test_of_too_many_the_newest_are_kept(ended: Ended) -> None:
    ended.keep("".join(f'{{"epoch": {n}, "a": {n}}}\n' for n in range(9)), most=2)

    assert [one.get("resource") for one in ended.records()] == [None, 7, 8]


def test_a_log_that_cannot_be_written_is_told(
    ended: Ended, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("slurmtune.worker.aftermath.AttemptLog", refused)

    ended.keep('{"epoch": 3, "test_acc": 0.9}\n')

    assert "late reports are not in it" in capsys.readouterr().out


def test_what_cannot_even_be_told_ends_nothing(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("slurmtune.worker.aftermath.AttemptLog", refused)
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", full)
        ended.keep('{"epoch": 3, "test_acc": 0.9}\n')
        with contextlib.suppress(OSError):
            full.close()

    assert len(ended.records()) == 1


def test_of_a_flood_only_the_end_is_read(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f'{{"epoch": {n}, "a": {n}}}\n' for n in range(10, 99)]
    monkeypatch.setattr("slurmtune.worker.aftermath._MOST_BYTES", 3 * len(lines[0]))

    ended.keep("".join(lines))

    assert [one.get("resource") for one in ended.records()] == [None, 96, 97, 98]


def test_all_are_brought_to_the_disk_at_once(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync takes a while on a shared file system, and the slot's time may be nearly up."""
    syncs: list[int] = []
    monkeypatch.setattr("slurmtune.store.fs.os.fsync", syncs.append)

    ended.keep("".join(f'{{"epoch": {n}, "a": {n}}}\n' for n in range(90)))

    assert len(ended.records()) == 91
    assert len(syncs) <= 2

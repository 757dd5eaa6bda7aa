"""Reading a framed log."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmtune.store import event_log, frame, fs


def test_an_unfinished_tail_is_left_out(tmp_path: Path) -> None:
    path = str(tmp_path / "events.log")
    fs.publish_file(path, frame.encode({"n": 0}) + frame.encode({"n": 1})[:-4])

    assert event_log.read(path) == [{"n": 0}]


def test_a_missing_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        event_log.read(str(tmp_path / "events.log"))

"""A process may die before any of its calls; what it leaves behind is whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.store import checkpoint, frame, fs
from slurmtune.store.layout import StudyLayout

NAME = "3.t00007.r1.a1"
MOST_CALLS = 200


class Death(BaseException):
    """The process is gone; nothing catches this."""


class MortalOs:
    """``os`` until the given call, which and after which nothing is carried out any more."""

    def __init__(self, calls: int) -> None:
        self._left = calls

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if not callable(real):
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            if self._left == 0:
                raise Death
            self._left -= 1
            return real(*arguments, **options)

        return call


def deaths(work: Callable[[Path], object], tmp_path: Path) -> Iterator[Path]:
    """Do the work in a new folder for each call at which it can die, and yield the folder."""
    for calls in range(MOST_CALLS):
        folder = tmp_path / str(calls)
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            mortal = MortalOs(calls)
            try:
                work_with(patch, mortal, work, folder)
            except Death:
                died = True
            else:
                died = False
        yield folder
        if not died:
            assert calls > 3
            return
    raise AssertionError("the work does not end")


def work_with(
    patch: pytest.MonkeyPatch, mortal: MortalOs, work: Callable[[Path], object], folder: Path
) -> None:
    patch.setattr(fs, "os", mortal)
    patch.setattr(checkpoint, "os", mortal)
    work(folder)


def test_a_published_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        (folder / "file").write_bytes(b"old")
        fs.publish_file(str(folder / "file"), b"new")

    found = set()
    for folder in deaths(work, tmp_path):
        found.add((folder / "file").read_bytes())
        fs.publish_file(str(folder / "file"), b"later")
        assert fs.read_file(str(folder / "file")) == b"later"

    assert found == {b"old", b"new"}


def test_what_is_published_once_is_whole_and_stays(tmp_path: Path) -> None:
    winners = set()
    for folder in deaths(
        lambda folder: fs.publish_once(str(folder / "claim"), b"first"), tmp_path
    ):
        is_second = fs.publish_once(str(folder / "claim"), b"second")

        winner = fs.read_file(str(folder / "claim"))
        assert winner == (b"second" if is_second else b"first")
        winners.add(winner)

    assert winners == {b"first", b"second"}


def test_a_log_is_a_row_of_whole_frames_that_can_go_on(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        log = fs.Appender(str(folder / "log"))
        for n in range(3):
            log.append({"n": n})

    lengths = set()
    for folder in deaths(work, tmp_path):
        log = fs.Appender(str(folder / "log"))
        lengths.add(log.count)
        log.append({"n": log.count})
        log.close()

        parsed = frame.parse(fs.read_file(str(folder / "log")))
        assert parsed.stop == frame.END
        assert [record["n"] for record in parsed.records] == list(range(log.count))

    assert lengths == {0, 1, 2, 3}


@pytest.mark.slow
def test_a_checkpoint_is_whole_or_absent(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        layout = StudyLayout(str(folder))
        temporary = checkpoint.begin(layout, 7, NAME)
        fs.write_new(f"{temporary}/model", b"weights")
        checkpoint.publish(temporary, layout.checkpoint(7, NAME), {"trial": 7})

    found = set()
    for folder in deaths(work, tmp_path):
        layout = StudyLayout(str(folder))
        final = layout.checkpoint(7, NAME)
        is_there = os.path.lexists(final)
        assert checkpoint.verify(final) == is_there
        found.add(is_there)

        # Another attempt of the same name still ends with one whole checkpoint.
        again = checkpoint.begin(layout, 7, NAME)
        assert checkpoint.publish(again, final, {"trial": 7}) != is_there
        assert checkpoint.verify(final)

    assert found == {False, True}


def test_a_removed_tree_is_whole_or_out_of_sight(tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        (folder / "tree" / "inner").mkdir(parents=True)
        (folder / "tree" / "inner" / "file").write_bytes(b"x")
        fs.remove_tree(str(folder / "tree"))

    for folder in deaths(work, tmp_path):
        if (folder / "tree").exists():
            assert (folder / "tree" / "inner" / "file").read_bytes() == b"x"
        fs.remove_tree(str(folder / "tree"))
        assert not (folder / "tree").exists()

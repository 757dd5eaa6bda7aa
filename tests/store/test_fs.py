"""Calls to the file system, with its faults."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurmtune.store import frame, fs

Install = Callable[..., None]


class FaultyOs:
    """``os`` as `fs` sees it, in which chosen calls fail.

    ``faults`` gives for a function the error of each call, in order; None lets the call through.
    With ``after`` the call is carried out before its error is raised: the reply was lost.
    """

    def __init__(self, *, after: bool = False, **faults: list[int | None]) -> None:
        self._faults = faults
        self._after = after

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self._faults:
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            error = self._faults[name].pop(0) if self._faults[name] else None
            if error is not None and not self._after:
                raise OSError(error, os.strerror(error))
            result = real(*arguments, **options)
            if error is not None:
                raise OSError(error, os.strerror(error))
            return result

        return call


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(*, after: Any = False, **by_function: Any) -> None:
        monkeypatch.setattr(fs, "os", FaultyOs(after=after, **by_function))
        monkeypatch.setattr(fs, "_FIRST_PAUSE_SECONDS", 0.0)

    return install


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "file")


def names(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path))


class TestReading:
    def test_from_an_offset_up_to_a_limit(self, path: str) -> None:
        fs.publish_file(path, b"0123456789")

        assert fs.read_file(path) == b"0123456789"
        assert fs.read_file(path, 4) == b"456789"
        assert fs.read_file(path, 4, 3) == b"456"
        assert fs.read_file(path, 40) == b""

    @pytest.mark.parametrize("code", [errno.ESTALE, errno.EINTR, errno.EAGAIN, errno.EBUSY])
    def test_errors_of_the_moment_are_tried_again(
        self, path: str, faults: Install, code: int
    ) -> None:
        fs.publish_file(path, b"x")
        faults(open=[code], pread=[code])

        assert fs.read_file(path) == b"x"

    def test_other_errors_are_not(self, path: str, faults: Install) -> None:
        fs.publish_file(path, b"x")
        faults(pread=[errno.EIO])

        with pytest.raises(OSError, match="Input/output"):
            fs.read_file(path)

    def test_symbolic_links_are_not_followed(self, tmp_path: Path, path: str) -> None:
        fs.publish_file(path, b"secret")
        os.symlink(path, tmp_path / "link")

        with pytest.raises(OSError):
            fs.read_file(str(tmp_path / "link"))

    def test_a_pipe_does_not_block(self, path: str) -> None:
        os.mkfifo(path)

        with pytest.raises(OSError, match="Illegal seek"):
            fs.read_file(path)

    def test_a_listed_file_that_is_hidden_is_waited_for(self, path: str, faults: Install) -> None:
        fs.publish_file(path, b"x")
        faults(open=[errno.ENOENT, errno.ENOENT])

        assert fs.read_listed(path) == b"x"

    def test_a_file_that_no_listing_shows_is_absent(self, path: str) -> None:
        with pytest.raises(FileNotFoundError):
            fs.read_listed(path)

    def test_a_file_that_stays_hidden_is_given_up(self, path: str, faults: Install) -> None:
        fs.publish_file(path, b"x")
        faults(open=[errno.ENOENT] * 3)

        with pytest.raises(FileNotFoundError):
            fs.read_listed(path, patience_seconds=0)

    def test_a_listing_is_sorted(self, tmp_path: Path) -> None:
        for name in "cab":
            fs.publish_file(str(tmp_path / name), b"")

        assert fs.list_dir(str(tmp_path)) == ["a", "b", "c"]

    def test_a_missing_folder_is_an_error(self, path: str) -> None:
        with pytest.raises(FileNotFoundError):
            fs.list_dir(path)


class TestPublishing:
    def test_replaces_as_a_whole_with_mode_0600(self, tmp_path: Path, path: str) -> None:
        fs.publish_file(path, b"old")
        fs.publish_file(path, b"new")

        assert fs.read_file(path) == b"new"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("function", ["open", "pwrite", "fsync", "close", "rename"])
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
    def test_a_fault_leaves_the_old_content_and_nothing_else(
        self, tmp_path: Path, path: str, faults: Install, function: str, code: int
    ) -> None:
        fs.publish_file(path, b"old")
        faults(**{function: [code]})

        with pytest.raises(OSError):
            fs.publish_file(path, b"new")

        assert fs.read_file(path) == b"old"
        assert names(tmp_path) == ["file"]

    def test_a_lost_reply_of_rename_is_success(
        self, tmp_path: Path, path: str, faults: Install
    ) -> None:
        faults(after=True, rename=[errno.ENOENT])

        fs.publish_file(path, b"new")

        assert names(tmp_path) == ["file"]

    def test_a_short_write_is_continued(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:3], offset))

        fs.publish_file(path, b"0123456789")

        assert fs.read_file(path) == b"0123456789"

    def test_once_is_once(self, tmp_path: Path, path: str) -> None:
        assert fs.publish_once(path, b"mine")
        assert not fs.publish_once(path, b"theirs")
        assert fs.read_file(path) == b"mine"
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO, errno.ENOENT])
    def test_a_lost_reply_of_link_is_success(
        self, tmp_path: Path, path: str, faults: Install, code: int
    ) -> None:
        faults(after=True, link=[code])

        assert fs.publish_once(path, b"mine")
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("code", [errno.EIO, errno.EPERM, errno.ENOSPC])
    def test_a_link_that_failed_is_an_error(
        self, tmp_path: Path, path: str, faults: Install, code: int
    ) -> None:
        faults(link=[code])

        with pytest.raises(OSError):
            fs.publish_once(path, b"mine")

        assert names(tmp_path) == []

    def test_a_hidden_winner_is_waited_for(self, path: str, faults: Install) -> None:
        fs.publish_once(path, b"theirs")
        # The first open makes our own file.
        faults(open=[None, errno.ENOENT])

        assert not fs.publish_once(path, b"mine")

    def test_of_many_threads_one_wins(self, tmp_path: Path, path: str) -> None:
        start = threading.Barrier(8)
        wins = []

        def race(number: int) -> None:
            start.wait()
            wins.append((fs.publish_once(path, b"%d" % number), number))

        threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        winners = [number for won, number in wins if won]
        assert fs.read_file(path) == b"%d" % winners[0]
        assert len(winners) == 1
        assert len(wins) == 8
        assert names(tmp_path) == ["file"]

    def test_of_many_processes_one_wins_each_claim(self, tmp_path: Path) -> None:
        program = (
            "import sys; from slurmtune.store import fs; sys.stdin.read(1)\n"
            "for i in range(20):\n"
            "    print(int(fs.publish_once(f'{sys.argv[1]}/{i}', sys.argv[2].encode())))\n"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(tmp_path), str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for number in range(3)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"g")
            process.stdin.flush()
        wins = [process.communicate()[0].split() for process in processes]

        assert [len(each) for each in wins] == [20, 20, 20]
        for i, each in enumerate(zip(*wins, strict=True)):
            assert sorted(each) == [b"0", b"0", b"1"]
            assert fs.read_file(str(tmp_path / str(i))) == b"%d" % each.index(b"1")

    def test_a_link_put_in_the_way_is_not_written_through(self, tmp_path: Path, path: str) -> None:
        other = tmp_path / "other"
        other.write_bytes(b"other")
        os.symlink(other, path)

        fs.publish_file(path, b"new")

        assert other.read_bytes() == b"other"
        assert fs.read_file(path) == b"new"


class TestFolders:
    def test_are_made_with_those_above_and_mode_0700(self, tmp_path: Path) -> None:
        fs.make_dir(str(tmp_path / "a" / "b" / "c"))
        fs.make_dir(str(tmp_path / "a" / "b" / "c"))

        for folder in ("a", "a/b", "a/b/c"):
            assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700

    def test_a_file_in_the_way_is_an_error(self, path: str) -> None:
        fs.publish_file(path, b"")

        with pytest.raises(NotADirectoryError):
            fs.make_dir(path)

    def test_a_folder_that_cannot_be_synced_is_no_error(
        self, tmp_path: Path, faults: Install
    ) -> None:
        faults(fsync=[errno.EINVAL, errno.EIO])

        fs.sync_dir(str(tmp_path))
        with pytest.raises(OSError, match="Input/output"):
            fs.sync_dir(str(tmp_path))

    def test_a_tree_is_removed_and_links_are_not_followed(self, tmp_path: Path) -> None:
        keep = tmp_path / "keep"
        keep.mkdir()
        (keep / "file").write_bytes(b"x")
        tree = tmp_path / "tree"
        (tree / "inner").mkdir(parents=True)
        (tree / "inner" / "file").write_bytes(b"x")
        os.symlink(keep, tree / "link")
        os.symlink(keep / "file", tree / "inner" / "link")

        fs.remove_tree(str(tree))

        assert names(tmp_path) == ["keep"]
        assert names(keep) == ["file"]

    def test_a_tree_that_is_gone_is_no_error(self, tmp_path: Path) -> None:
        fs.remove_tree(str(tmp_path / "gone"))

        assert names(tmp_path) == []

    def test_what_an_earlier_call_could_not_remove_is_removed_by_the_next(
        self, tmp_path: Path, faults: Install
    ) -> None:
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "file").write_bytes(b"x")
        faults(unlink=[errno.EIO])
        with pytest.raises(OSError, match="Input/output error"):
            fs.remove_tree(str(tmp_path / "tree"))
        assert len(names(tmp_path)) == 1

        fs.remove_tree(str(tmp_path / "tree"))

        assert names(tmp_path) == []

    def test_a_lost_reply_of_its_rename_still_removes_it(
        self, tmp_path: Path, faults: Install
    ) -> None:
        (tmp_path / "tree").mkdir()
        faults(after=True, rename=[errno.ENOENT])

        fs.remove_tree(str(tmp_path / "tree"))

        assert names(tmp_path) == []

    def test_what_another_machine_holds_open_stays_as_trash(
        self, tmp_path: Path, faults: Install
    ) -> None:
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree" / "file").write_bytes(b"")
        faults(unlink=[errno.EBUSY])

        fs.remove_tree(str(tmp_path / "tree"))

        assert [name[:12] for name in names(tmp_path)] == [".trash-tree-"]

    def test_a_file_that_is_gone_is_no_error(self, path: str) -> None:
        fs.publish_file(path, b"")

        fs.unlink(path)
        fs.unlink(path)

        with pytest.raises(FileNotFoundError):
            fs.read_file(path)


class TestAppender:
    def test_appends_frames(self, path: str) -> None:
        log = fs.Appender(path)
        log.append({"n": 0})
        log.append({"n": 1})
        log.close()
        log.close()

        data = fs.read_file(path)
        assert frame.parse(data) == ([{"n": 0}, {"n": 1}], log.end, frame.END)
        assert log.end == len(data)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    def test_goes_on_where_a_log_ends(self, path: str) -> None:
        first = fs.Appender(path)
        first.append({"n": 0})
        first.close()
        second = fs.Appender(path)
        second.append({"n": second.count})
        second.close()

        assert frame.parse(fs.read_file(path)).records == [{"n": 0}, {"n": 1}]

    @pytest.mark.parametrize(
        "tail", [b"0", b"00000000 2 {}\n", b"\0\0\0", frame.encode({"n": 1})[:-1]]
    )
    def test_drops_a_torn_tail(self, path: str, tail: bytes) -> None:
        fs.publish_file(path, frame.encode({"n": 0}) + tail)

        log = fs.Appender(path)
        log.append({"n": 1})
        log.close()

        assert frame.parse(fs.read_file(path)) == ([{"n": 0}, {"n": 1}], log.end, frame.END)

    @pytest.mark.parametrize("function", ["pwrite", "fsync"])
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
    def test_a_failed_append_is_taken_back(
        self, path: str, faults: Install, function: str, code: int
    ) -> None:
        log = fs.Appender(path)
        log.append({"n": 0})
        faults(**{function: [code]})

        with pytest.raises(OSError):
            log.append({"n": 1})

        assert fs.read_file(path) == frame.encode({"n": 0})
        log.append({"n": 1})
        log.close()
        assert frame.parse(fs.read_file(path)).records == [{"n": 0}, {"n": 1}]

    def test_heals_later_when_it_cannot_heal_at_once(self, path: str, faults: Install) -> None:
        log = fs.Appender(path)
        faults(fsync=[errno.EIO], ftruncate=[errno.EIO, errno.EIO])
        with pytest.raises(OSError):
            log.append({"long": "x" * 100})
        with pytest.raises(OSError):
            log.append({"n": 0})

        log.append({"n": 0})
        log.close()

        assert frame.parse(fs.read_file(path)) == ([{"n": 0}], log.end, frame.END)

    def test_a_record_that_is_none_writes_nothing(self, path: str) -> None:
        log = fs.Appender(path)
        with pytest.raises(ValueError):
            log.append({"a": float("nan")})
        log.close()

        assert fs.read_file(path) == b""

    def test_does_not_write_through_a_link(self, tmp_path: Path, path: str) -> None:
        os.symlink(tmp_path / "other", path)

        with pytest.raises(OSError):
            fs.Appender(path)

        assert names(tmp_path) == ["file"]


class TestPlacing:
    def test_the_file_appears_whole(self, path: str, tmp_path: Path) -> None:
        fs.place_file(path, b"one")
        fs.place_file(path, b"two")

        assert Path(path).read_bytes() == b"two"
        assert names(tmp_path) == [os.path.basename(path)]

    def test_a_failure_leaves_nothing_behind(
        self, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "rename", refuse)
        with pytest.raises(OSError, match="No space left"):
            fs.place_file(path, b"one")

        assert names(tmp_path) == []

    def test_a_success_told_as_a_failure_is_one(
        self, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rename = os.rename

        def lose_reply(source: str, target: str) -> None:
            rename(source, target)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "rename", lose_reply)
        fs.place_file(path, b"one")

        assert Path(path).read_bytes() == b"one"

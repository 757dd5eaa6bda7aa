"""Calls to the file system that hold on shared file systems (NFS, Lustre, sshfs, ...).

The rules that every part of the store follows:

1. Discover by listing a folder, then open by name. ``exists`` and ``stat`` ask caches that can be
   half a minute old, and asking for a name that is not there yet makes the client remember that.
2. Read by a fresh open: only ``open`` is promised to see what another machine wrote and synced.
3. One writer for a file, ever. Appends from two machines overwrite each other.
4. What is written is synced, and so is the folder that got a new name.
5. An error of ``link`` or ``rename`` may mean that it worked and the reply was lost: look at the
   content before believing it.
6. A name that a listing shows but ``open`` does not find is hidden by a cache, not absent.
7. Nothing follows symbolic links; new files have names that nobody can guess, and mode 0600.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
import time
import uuid
from typing import Any, Callable, List, Mapping, Optional, Sequence, TypeVar

from slurmtune.errors import StudyStateError
from slurmtune.store import frame

_RETRIED = frozenset({errno.ESTALE, errno.EINTR, errno.EAGAIN, errno.EBUSY})
_TRIES = 8
_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 1.0
# Most reads are of a few new lines; a larger buffer costs more than the reading.
_CHUNK_BYTES = 1 << 16
# A folder cannot be synced on some FUSE file systems; they have nothing to sync either.
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})
_GONE = frozenset({errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY, errno.ESTALE, errno.EEXIST})
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a FIFO put in place of a file would block the reader for ever.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

HIDDEN_SECONDS = 90.0
"""How long a listed name may stay hidden: three times the longest attribute cache measured."""

_Result = TypeVar("_Result")


def read_file(path: str, offset: int = 0, limit: Optional[int] = None) -> bytes:
    """Return the content from ``offset`` on, at most ``limit`` bytes, by a fresh open.

    Raises:
        FileNotFoundError: no such file, as far as this machine knows.
        OSError: any other fault that did not go away by trying again.
    """
    return _retry(lambda: _read_once(path, offset, limit))


def read_listed(path: str, patience_seconds: float = HIDDEN_SECONDS) -> bytes:
    """Return the content of a file that a listing showed, waiting while a cache hides it.

    Raises:
        FileNotFoundError: a fresh listing does not show it, or it stayed hidden for too long.
    """
    deadline = time.monotonic() + patience_seconds
    pause = _FIRST_PAUSE_SECONDS
    folder, name = os.path.split(path)
    while True:
        try:
            return read_file(path)
        except FileNotFoundError:
            # Listing also makes an NFS client look at the folder again and forget absent names.
            if name not in list_dir(folder) or time.monotonic() >= deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def ask_anew(path: str) -> None:
    """Make this machine ask for the attributes of a file again: by changing its times.

    Some clients (FUSE, GlusterFS, sshfs) read no further than the size that they heard of up to
    20 s ago, also after a fresh open. The answer to a change holds the size as it is.
    """
    with contextlib.suppress(OSError):
        os.utime(path, follow_symlinks=False)


def list_dir(path: str) -> List[str]:
    """Return the names in a folder, sorted.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return sorted(_retry(lambda: os.listdir(path)))


def publish_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Make ``path`` hold ``data``, at once and as a whole, whatever it held before.

    Raises:
        OSError: it could not be done; ``path`` is as it was.
    """
    temporary = _write_aside(path, data, mode)
    try:
        os.rename(temporary, path)
    except OSError:
        if not _holds(path, data):
            raise
    finally:
        _unlink_quietly(temporary)
    sync_dir(os.path.dirname(path))


def place_file(path: str, data: bytes) -> None:
    """Make a file appear whole, for a process that dies with this machine: nothing is synced.

    Raises:
        OSError: it could not be done.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
    try:
        descriptor = os.open(temporary, _CREATE, 0o600)
        try:
            _write_all(descriptor, data, 0)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        _unlink_quietly(temporary)
        if not _holds(path, data):
            raise


def publish_once(path: str, data: bytes) -> bool:
    """Make ``path`` hold ``data`` if there is no such file; tell whether it holds ours.

    ``data`` must be unique to the caller (hold a nonce): it is how a caller whose success was
    reported as an error recognises itself.

    Raises:
        OSError: it could not be done, and the file does not hold ``data``.
    """
    temporary = _write_aside(path, data, 0o600)
    try:
        os.link(temporary, path)
    except FileExistsError:
        ours = read_listed(path, patience_seconds=10.0) == data
        if not ours:
            return False
    except OSError:
        if not _holds(path, data):
            raise
    finally:
        _unlink_quietly(temporary)
    sync_dir(os.path.dirname(path))
    return True


def make_dir(path: str, mode: int = 0o700) -> None:
    """Make a folder and those above it that are missing; one that is there is left alone.

    Raises:
        NotADirectoryError: something else has the name.
    """
    path = path.rstrip("/") or "/"
    parent = os.path.dirname(path) or "."
    try:
        os.mkdir(path, mode)
    except FileNotFoundError:
        make_dir(parent, mode)
        make_dir(path, mode)
    except FileExistsError:
        # A dangling link, or one of a stranger into a folder of ours, is no folder.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        os.close(os.open(path, flags))
    else:
        sync_dir(parent)


def check_private(path: str, *, owner: bool = True) -> None:
    """Refuse a folder that others may write into.

    Whoever can write there can put a library or a checkpoint in place that runs as the user.
    ``owner`` looks at its owner too; a node that maps users differently cannot tell.

    Raises:
        StudyStateError: others may write there, or it belongs to somebody else.
        OSError: it is no folder that can be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        if not os.path.islink(path):
            raise
        raise StudyStateError(f"{path} is a link to a folder that does not exist") from None
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if owner and found.st_uid != os.geteuid():
        raise StudyStateError(
            f"{path} belongs to another user (uid {found.st_uid}), who could choose what your "
            "jobs run; use another study.dir or study.name"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StudyStateError(
            f"others may write into {path} (mode {stat.S_IMODE(found.st_mode):04o}), and so "
            f"choose what your jobs run; close it with  chmod go-w {shlex.quote(path)}"
        )


def sync_dir(path: str) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = _retry(lambda: os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def unlink(path: str) -> None:
    """Remove a file; one that is gone is no error."""
    with contextlib.suppress(FileNotFoundError):
        _retry(lambda: os.unlink(path))


def remove_tree(path: str) -> None:
    """Remove a folder with all it holds; one that is gone is no error.

    It is renamed first, so that nobody meets it half removed. What cannot be removed now, since
    another machine has it open, stays under the name ``.trash-*``; another call goes on with it.
    """
    folder, name = os.path.split(path.rstrip("/"))
    trash = os.path.join(folder, f".trash-{name}-{uuid.uuid4().hex}")
    try:
        _retry(lambda: os.rename(path, trash))
    except FileNotFoundError:
        # Absent; or renamed by an earlier call, or by this one although its reply was lost.
        with contextlib.suppress(FileNotFoundError):
            for left in list_dir(folder):
                if left.startswith(f".trash-{name}-"):
                    _remove_trash(os.path.join(folder, left))
    else:
        _remove_trash(trash)


def _remove_trash(trash: str) -> None:
    if os.path.islink(trash):
        # Walking would go to where it leads, and remove what is there.
        _tolerate_gone(os.unlink, trash)
        return
    for parent, folders, files in os.walk(trash, topdown=False):
        for entry in files:
            _tolerate_gone(os.unlink, os.path.join(parent, entry))
        for entry in folders:
            inner = os.path.join(parent, entry)
            _tolerate_gone(os.unlink if os.path.islink(inner) else os.rmdir, inner)
    _tolerate_gone(os.rmdir, trash)


def write_new(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write and sync a file that must not be there yet; nothing is left behind by a failure.

    Raises:
        FileExistsError: it is there.
    """
    descriptor = os.open(path, _CREATE, mode)
    try:
        try:
            _write_all(descriptor, data, 0)
            os.fsync(descriptor)
        finally:
            # Some file systems tell only here that the quota is used up.
            os.close(descriptor)
    except OSError:
        _unlink_quietly(path)
        raise


class Appender:
    """The single writer of a framed log.

    Opening drops an unfinished tail. A failed append takes back what it wrote, so that the log
    stays a row of whole frames and the same record can be appended again.
    """

    def __init__(self, path: str) -> None:
        flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = _retry(lambda: os.open(path, flags, 0o600))
        try:
            data = read_file(path)
            parsed = frame.parse(data)
            self.end = parsed.end
            """Length of the log in bytes: where the next frame goes."""
            self.count = len(parsed.records)
            """Number of records in the log."""
            self._is_dirty = len(data) > parsed.end
            self._heal()
            sync_dir(os.path.dirname(path))
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one record and bring it to the disk; see `append_all`."""
        self.append_all([record])

    def append_all(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Append the records, in this order, and bring them to the disk with one sync.

        Raises:
            ValueError, TypeError: one is no record (see `frame.encode`); nothing was written.
            OSError: none is in the log. After a failed sync the bytes are written anew by the
                next call, since the kernel may have dropped them and a second sync proves nothing.
        """
        data = b"".join(frame.encode(record) for record in records)
        self._heal()
        self._is_dirty = True
        try:
            _write_all(self._descriptor, data, self.end)
            os.fsync(self._descriptor)
        except OSError:
            # If healing fails too, the next append tries again, and so does the next opener.
            with contextlib.suppress(OSError):
                self._heal()
            raise
        self._is_dirty = False
        self.end += len(data)
        self.count += len(records)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _heal(self) -> None:
        """Cut off what stands behind the last whole frame."""
        if self._is_dirty:
            os.ftruncate(self._descriptor, self.end)
            self._is_dirty = False


def _retry(call: Callable[[], _Result]) -> _Result:
    """Return what ``call`` returns; errors of the moment are met by trying again."""
    pause = _FIRST_PAUSE_SECONDS
    for _ in range(_TRIES - 1):
        try:
            return call()
        except OSError as error:
            if error.errno not in _RETRIED:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    return call()


def _read_once(path: str, offset: int, limit: Optional[int]) -> bytes:
    descriptor = os.open(path, _READ)
    try:
        chunks: List[bytes] = []
        wanted = limit
        while wanted is None or wanted > 0:
            size = _CHUNK_BYTES if wanted is None else min(_CHUNK_BYTES, wanted)
            chunk = os.pread(descriptor, size, offset)
            if not chunk:
                break
            chunks.append(chunk)
            offset += len(chunk)
            wanted = None if wanted is None else wanted - len(chunk)
        return b"".join(chunks)
    except OSError as error:
        error.filename = path  # the kernel knows only the descriptor
        raise
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write ``data`` at ``offset``; the kernel may take less than it is given."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def _write_aside(path: str, data: bytes, mode: int) -> str:
    """Return the path of a new file with ``data`` in the folder of ``path``."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
    write_new(temporary, data, mode)
    return temporary


def _holds(path: str, data: bytes) -> bool:
    try:
        return read_file(path) == data
    except OSError:
        return False


def _unlink_quietly(path: str) -> None:
    """Remove a file of ours that nobody else knows; what stays behind is only untidy."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def _tolerate_gone(remove: Callable[[str], None], path: str) -> None:
    try:
        remove(path)
    except OSError as error:
        if error.errno not in _GONE:
            raise

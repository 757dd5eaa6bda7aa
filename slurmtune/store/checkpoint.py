"""Checkpoints: folders that appear whole, with a manifest that tells whether they still are.

A checkpoint is built in a temporary folder beside its final place, gets a ``MANIFEST`` (one frame
with size and digest of every file), is synced, and is published by renaming the folder: a reader
sees all of it or nothing, and a second publisher of the same name is refused.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

from slurmtune.core import ids
from slurmtune.errors import StudyStateError
from slurmtune.store import frame, fs
from slurmtune.store.layout import StudyLayout

FORMAT = 1
MANIFEST_NAME = "MANIFEST"
_DIGEST_BYTES = 16
_CHUNK_BYTES = 1 << 20
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def checkpoint_name(resource: float, attempt: str) -> str:
    """Return the name of a checkpoint, such as ``3.t00007.r1.a1`` or ``0.5.t00007.r0.a1``.

    Raises:
        ValueError: ``attempt`` is no attempt, or ``resource`` is negative or not finite.
    """
    ids.parse_attempt_id(attempt)
    if not 0 <= resource < float("inf"):
        raise ValueError(f"no resource: {resource!r}")
    plain = float(resource)
    return f"{int(resource) if plain.is_integer() else plain!r}.{attempt}"


def parse_checkpoint_name(name: str) -> Tuple[Union[int, float], str]:
    """Return resource and attempt in the name of a checkpoint.

    Raises:
        ValueError: ``name`` is not the name of a checkpoint.
    """
    before, separator, rest = name.partition(".t")
    attempt = "t" + rest
    number = float(before) if set(before) - set("0123456789") else int(before or "x")
    if not separator or checkpoint_name(number, attempt) != name:
        raise ValueError(f"not the name of a checkpoint: {name!r}")
    return number, attempt


def begin(layout: StudyLayout, trial: int, name: str) -> str:
    """Make and return an empty temporary folder for the checkpoint ``name`` of ``trial``.

    Raises:
        ValueError: ``name`` is not the name of a checkpoint.
        OSError: it could not be made.
    """
    parse_checkpoint_name(name)
    folder = layout.checkpoints(trial)
    fs.make_dir(folder)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
    os.mkdir(temporary, 0o700)
    return temporary


def publish(temporary: str, final: str, manifest: Mapping[str, Any]) -> bool:
    """Publish the folder ``temporary`` as ``final``, with ``manifest`` and the list of its files.

    Return False when ``final`` is there already; then ``temporary`` is removed. ``manifest`` tells
    trial, attempt and resource; the format, a unique id and the files are added.

    Raises:
        StudyStateError: the folder holds something else than files and folders (a symbolic link),
            or a file called ``MANIFEST``, or too many files for one manifest.
        OSError: it could not be published; ``temporary`` is as it was, without a manifest.
    """
    uid = uuid.uuid4().hex
    files = {name: _digest(os.path.join(temporary, name), sync=True) for name in _files(temporary)}
    if MANIFEST_NAME in files:
        raise StudyStateError(f"a checkpoint cannot hold a file called {MANIFEST_NAME}")
    manifest_path = os.path.join(temporary, MANIFEST_NAME)
    try:
        record = frame.encode({**manifest, "format": FORMAT, "uid": uid, "files": files})
    except ValueError as error:
        raise StudyStateError(
            f"a checkpoint of {len(files)} files cannot be described ({error}); "
            "pack them into one archive"
        ) from None
    fs.write_new(manifest_path, record)
    try:
        _sync_folders(temporary)
        os.rename(temporary, final)
    except OSError as error:
        if _uid(final) == uid:
            pass  # it was renamed, and the reply was lost
        elif error.errno in _TAKEN:
            fs.remove_tree(temporary)
            return False
        else:
            fs.unlink(manifest_path)
            raise
    fs.sync_dir(os.path.dirname(final))
    return True


def load(folder: str) -> Optional[Dict[str, Any]]:
    """Return the manifest of a checkpoint, or None when it has no whole one. Checks no files."""
    try:
        parsed = frame.parse(fs.read_file(os.path.join(folder, MANIFEST_NAME)))
    except OSError:
        return None
    if parsed.stop != frame.END or len(parsed.records) != 1:
        return None
    manifest = parsed.records[0]
    if manifest.get("format") != FORMAT or not isinstance(manifest.get("files"), dict):
        return None
    return manifest


def verify(folder: str) -> bool:
    """Tell whether a checkpoint is whole: the very files of its manifest, and nothing else."""
    manifest = load(folder)
    if manifest is None:
        return False
    try:
        names = [name for name in _files(folder) if name != MANIFEST_NAME]
        if set(names) != set(manifest["files"]):
            return False
        return all(
            _digest(os.path.join(folder, name), sync=False) == manifest["files"][name]
            for name in names
        )
    except (OSError, StudyStateError):
        return False


def _uid(folder: str) -> Optional[str]:
    manifest = load(folder)
    return None if manifest is None else manifest.get("uid")


def _files(folder: str, prefix: str = "") -> Iterator[str]:
    """Yield the paths of all files below ``folder``, relative to it, sorted.

    Raises:
        StudyStateError: something is neither a file nor a folder.
    """
    with os.scandir(os.path.join(folder, prefix)) as entries:
        found: List[os.DirEntry[str]] = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = os.path.join(prefix, entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _files(folder, name)
        elif entry.is_file(follow_symlinks=False):
            yield name
        else:
            raise StudyStateError(
                f"a checkpoint may hold files and folders only: {name!r} is a link or a device"
            )


def _digest(path: str, *, sync: bool) -> List[Union[int, str]]:
    """Return size and digest of a file; with ``sync`` bring it to the disk first."""
    descriptor = os.open(path, _READ)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StudyStateError(f"not a file: {path}")
        if sync:
            os.fsync(descriptor)
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        size = 0
        while True:
            chunk = os.read(descriptor, _CHUNK_BYTES)
            if not chunk:
                return [size, digest.hexdigest()]
            digest.update(chunk)
            size += len(chunk)
    finally:
        os.close(descriptor)


def _sync_folders(folder: str) -> None:
    for parent, _, _ in os.walk(folder, topdown=False):
        fs.sync_dir(parent)

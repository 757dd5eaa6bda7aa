"""The directory itself: who may write there, what was left over, how much there is."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator
from functools import partial

from slurmtune.analysis.fsck.finding import Finding, Severity
from slurmtune.analysis.fsck.results import DAMAGED
from slurmtune.analysis.fsck.subject import Subject
from slurmtune.analysis.record import read_overview
from slurmtune.core import ids
from slurmtune.errors import StudyStateError
from slurmtune.store import fs, lease
from slurmtune.store.checkpoint import parse_checkpoint_name

MOST_FILES = 100_000
"""More files and folders than this in one study are a burden for a shared file system."""

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp")
_TRASH = re.compile(r"\.trash-(.+)-[0-9a-f]{32}")
_OURS = {"events.log", "MANIFEST", "config.json", "params.sh", "more.json", "lineage.jsonl"}
"""Files below ``trials/`` that slurmtune wrote."""
_GROUP_LOOKS = stat.S_IRGRP | stat.S_IXGRP
_OPEN = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def check_size(subject: Subject, most_files: int) -> Iterator[Finding]:
    """Check how many files there are, and that all could be seen."""
    count = subject.tree.count
    if count > most_files:
        words = (
            f"{count:,} files and folders, more than {most_files:,}: delete checkpoints of trials "
            "that you do not need, or archive trials/*/*/output.log"
        )
        yield subject.finding(Severity.WARNING, "too-many-files", subject.layout.root, words)
    for path, why in sorted(subject.tree.unreadable.items()):
        words = f"it cannot be listed ({why}): what is in it was not checked"
        yield subject.finding(Severity.ERROR, "unreadable", path, words)


def check_modes(subject: Subject) -> Iterator[Finding]:
    """Check that nobody else can change what runs as this user."""
    root = subject.layout.root
    owner = os.lstat(root).st_uid
    yield from _mode(subject, root, os.lstat(root), owner)
    for path, entry in subject.tree.walk():
        if _is_ours(subject, path, entry):
            yield from _mode(subject, path, entry, owner)


def check_left_over(subject: Subject) -> Iterator[Finding]:
    """Look for what was being written or removed when its process died."""
    for path, entry in subject.tree.walk():
        name = os.path.basename(path)
        found = _TEMPORARY.fullmatch(name) or _TRASH.fullmatch(name)
        if found is None or not _is_over(subject, path, found[1]):
            continue
        is_folder = stat.S_ISDIR(entry.st_mode)
        remove = partial(fs.remove_tree if is_folder else fs.unlink, path)
        words = "left over: its process died before it was done"
        if subject.is_still_there(path):
            yield subject.finding(Severity.WARNING, "left-over", path, words, remove)


def check_status(subject: Subject) -> Iterator[Finding]:
    """Check what readers are shown; it is published anew by every repair."""
    try:
        overview = read_overview(subject.layout)
    except StudyStateError as error:
        words = f"{error}; the next driver writes it anew"
        yield subject.finding(
            Severity.WARNING, "status-damaged", subject.layout.status, words, _done_by_repair
        )
        return
    if overview is None and subject.study.trials and not subject.is_driven:
        words = "it is missing; the next driver writes it anew"
        yield subject.finding(
            Severity.NOTE, "status-missing", subject.layout.status, words, _done_by_repair
        )


def check_lease(subject: Subject) -> Iterator[Finding]:
    """Check the sign of life of the last driver."""
    path = subject.layout.lease
    held = lease.read(subject.layout)
    if held is None and subject.tree.entry(path) is not None:
        words = "it cannot be read: whether a driver is alive is not known"
        yield subject.finding(Severity.WARNING, "lease-damaged", path, words, _done_by_repair)
    elif held is not None and not held.released and not subject.is_driven:
        words = f"the driver (pid {held.pid} on {held.host}) died; the next launch continues"
        yield subject.finding(Severity.NOTE, "driver-died", path, words)


def _done_by_repair() -> None:
    """Whoever repairs has become the driver, and so has written it anew."""


def _is_ours(subject: Subject, path: str, entry: os.stat_result) -> bool:
    """Tell whether slurmtune made it, and not the user's program."""
    layout = subject.layout
    relative = os.path.relpath(path, layout.root).split(os.sep)
    if any(part.startswith(DAMAGED) for part in relative):
        return False
    top = relative[0]
    if stat.S_ISDIR(entry.st_mode):
        # Inside an attempt and inside a checkpoint the program makes folders as it likes.
        return top != "trials" or len(relative) <= (4 if "checkpoints" in relative else 3)
    if top == "trials":
        return relative[-1] in _OURS
    return top != "logs" and not path.endswith(".sh")


def _mode(subject: Subject, path: str, entry: os.stat_result, owner: int) -> Iterator[Finding]:
    mode = stat.S_IMODE(entry.st_mode)
    layout = subject.layout
    if path in {layout.root, layout.journal, *layout.shown}:
        mode &= ~_GROUP_LOOKS  # study.group
    if stat.S_ISLNK(entry.st_mode):
        words = "a symbolic link: nothing follows it, and slurmtune makes none"
        yield subject.finding(Severity.ERROR, "link", path, words)
        return
    if entry.st_uid != owner:
        words = f"it belongs to another user (uid {entry.st_uid}): look who put it there"
        yield subject.finding(Severity.ERROR, "owner", path, words)
    elif mode & _WRITABLE:
        words = f"others may write (mode {mode:04o}): mend with  chmod go= {shlex.quote(path)}"
        yield subject.finding(Severity.ERROR, "mode", path, words, partial(_close, path))
    elif mode & _OPEN:
        words = f"others may look in (mode {mode:04o}): mend with  chmod go= {shlex.quote(path)}"
        yield subject.finding(Severity.WARNING, "mode", path, words, partial(_close, path))


def _close(path: str) -> None:
    """Take all rights from others.

    Raises:
        OSError: it could not be done, or the path is a link meanwhile.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & ~_OPEN)
    finally:
        os.close(descriptor)


def _is_over(subject: Subject, path: str, name: str) -> bool:
    """Tell whether nobody can be at work on a temporary file or folder any more."""
    folder = os.path.dirname(path)
    relative = os.path.relpath(folder, subject.layout.root).split(os.sep)
    if relative[0] == "control":
        return False  # anybody may be sending a command
    if relative[0] == "claims":
        return _is_attempt(name) and subject.is_ended(name)
    if relative[0] == "arrays" and len(relative) > 1:
        return not subject.is_driven and relative[1] not in subject.study.fleet.live_arrays
    if relative[0] != "trials":
        return not subject.is_driven
    if relative[2:3] == ["checkpoints"]:
        try:
            return subject.is_ended(parse_checkpoint_name(name)[1])
        except ValueError:
            return False
    return len(relative) > 2 and _is_attempt(relative[2]) and subject.is_ended(relative[2])


def _is_attempt(name: str) -> bool:
    try:
        ids.parse_attempt_id(name)
    except ValueError:
        return False
    return True

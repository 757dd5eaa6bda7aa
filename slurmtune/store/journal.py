"""The journal: one segment for each driver epoch; the successor seals the predecessor.

An epoch is a number claimed with ``link(2)``. The first record of a segment says how many bytes of
each earlier segment are history, so whatever a driver writes after it was replaced is ignored.
A driver appends, syncs, checks that the epoch is still its own, and only then acts. No lock is
needed for any of this (reliability: README, "What survives").

``history`` may be read by anybody at any time; it never writes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from slurmtune.errors import (
    CorruptJournalError,
    DriverBusyError,
    DriverFencedError,
    NewerFormatError,
)
from slurmtune.store import frame, fs
from slurmtune.store.layout import StudyLayout

FORMAT = 1
"""Version of the records."""

_LOG = logging.getLogger(__name__)
_CLAIM = re.compile(r"(\d{8})\.claim")
_OWNER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HIDDEN_SECONDS = fs.HIDDEN_SECONDS


class Segment(NamedTuple):
    """The part of one epoch's segment that is history."""

    epoch: int
    path: str
    records: list[dict[str, Any]]
    end: int


class Journal:
    """The open segment of this driver's epoch."""

    def __init__(self, layout: StudyLayout, epoch: int, appender: fs.Appender) -> None:
        self._layout = layout
        self.epoch = epoch
        self._appender = appender

    @classmethod
    def open(
        cls, layout: StudyLayout, owner: Mapping[str, Any]
    ) -> tuple[Journal, list[dict[str, Any]]]:
        """Claim the next epoch and return the open journal with all earlier records.

        ``owner`` tells people who claimed it: host, pid. It must hold a unique ``id``.

        Raises:
            DriverBusyError: another driver claimed the same epoch at this moment.
            CorruptJournalError: a sealed part of an earlier segment is damaged.
            NewerFormatError: a newer slurmtune wrote it.
        """
        # What cannot be continued is not claimed: a driver that can may be alive.
        seen = _Seen()
        _segments(layout, before=None, seen=seen)
        epoch = 1 + max(_epochs(layout), default=0)
        claim = json.dumps(dict(owner), sort_keys=True).encode()
        try:
            is_ours = fs.publish_once(_claim_path(layout, epoch), claim)
        except FileNotFoundError:
            is_ours = False  # somebody has it, and a cache of this machine hides it
        if not is_ours:
            raise DriverBusyError(f"another driver took epoch {epoch} of {layout.root} just now")
        # What its predecessor did before it could see this claim is history, to the last byte.
        for earlier in range(1, epoch):
            fs.ask_anew(_segment_path(layout, earlier, _claim_id(layout, earlier)))
        segments = _segments(layout, before=epoch, seen=seen)
        appender = fs.Appender(_segment_path(layout, epoch, str(owner["id"])))
        appender.append(
            {
                "open": epoch,
                "format": FORMAT,
                "owner": dict(owner),
                "sealed": {str(segment.epoch): segment.end for segment in segments},
            }
        )
        return cls(layout, epoch, appender), _events(segments)

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Make the records durable, all or none.

        Raises:
            OSError: they are not in the journal.
        """
        if records:
            self._appender.append_all(records)

    def check_owner(self) -> None:
        """Look twice whether a later epoch was claimed: caches of names and of listings differ.

        Raises:
            DriverFencedError: it was; this driver may not act any more.
        """
        later = _claim_path(self._layout, self.epoch + 1)
        newest = max(_listed_epochs(self._layout), default=self.epoch)
        if newest <= self.epoch:
            try:
                fs.read_file(later)
            except FileNotFoundError:
                return
        raise DriverFencedError(
            f"another driver took {self._layout.root} over; this one does nothing more"
        )

    def close(self) -> None:
        """Close the segment."""
        self._appender.close()


def history(layout: StudyLayout) -> list[dict[str, Any]]:
    """Return all records that are history now, in order.

    Raises:
        CorruptJournalError: a sealed part is damaged.
        NewerFormatError: a newer slurmtune wrote it.
    """
    return _events(_segments(layout, before=None))


def segments(layout: StudyLayout) -> list[Segment]:
    """Return what is history now, epoch by epoch.

    Raises:
        CorruptJournalError: a sealed part is damaged.
        NewerFormatError: a newer slurmtune wrote it.
    """
    return _segments(layout, before=None)


def _events(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    return [record for segment in segments for record in segment.records if "open" not in record]


class _Seen:
    """Segments as they were read before, so that what did not change is not decoded again."""

    def __init__(self) -> None:
        self._parsed: dict[str, tuple[bytes, frame.Parsed]] = {}

    def parse(self, path: str, data: bytes) -> frame.Parsed:
        """Return the records of a segment that holds this."""
        known = self._parsed.get(path)
        if known is None or known[0] != data:
            known = self._parsed[path] = (data, frame.parse(data))
        return known[1]


def _segments(layout: StudyLayout, before: int | None, seen: _Seen | None = None) -> list[Segment]:
    """Read the history: of each epoch as many bytes as the newest segment sealed."""
    seen = seen or _Seen()
    paths = {
        epoch: _segment_path(layout, epoch, _claim_id(layout, epoch))
        for epoch in _epochs(layout)
        if before is None or epoch < before
    }
    found = {epoch: data for epoch, path in paths.items() if (data := _read(path)) is not None}
    opened = {epoch: _first_record(paths[epoch], data) for epoch, data in found.items()}
    newest = max((epoch for epoch, first in opened.items() if first is not None), default=None)
    if newest is None:
        return []
    first = opened[newest]
    assert first is not None
    try:
        sealed = {int(epoch): int(end) for epoch, end in first["sealed"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptJournalError(f"{paths[newest]}: its first record makes no sense") from error
    if not sealed.keys() <= paths.keys():
        raise CorruptJournalError(f"{paths[newest]}: it seals epochs that never were")
    segments = []
    for epoch, end in sorted(sealed.items()):
        path, data = paths[epoch], found.get(epoch, b"")
        if len(data) < end:
            # It may have been read before its successor sealed it, and be longer now.
            data = _read(path)
        if data is None:
            raise CorruptJournalError(
                f"{layout.journal}: the segment of epoch {epoch} is missing; "
                f"epoch {newest} says that {end} bytes of it are history"
            )
        segments.append(_sealed(epoch, path, seen.parse(path, data[:end]), end))
    parsed = seen.parse(paths[newest], found[newest])
    if parsed.stop == frame.CORRUPT and before is None:
        # A crash leaves a last line without its end, or with holes; anything else is damage.
        _LOG.warning(
            "%s is damaged at byte %d; the %d bytes from there on are not used",
            paths[newest],
            parsed.end,
            len(found[newest]) - parsed.end,
        )
    segments.append(Segment(newest, paths[newest], parsed.records, parsed.end))
    return segments


def _read(path: str) -> bytes | None:
    """Return a segment; None when its driver died between its claim and its first record."""
    try:
        return fs.read_listed(path)
    except FileNotFoundError:
        return None


def _sealed(epoch: int, path: str, parsed: frame.Parsed, end: int) -> Segment:
    if parsed.end != end:
        raise CorruptJournalError(
            f"{path}: damaged at byte {parsed.end}; {end} bytes were complete before"
        )
    return Segment(epoch, path, parsed.records, end)


def _first_record(path: str, data: bytes) -> dict[str, Any] | None:
    """Return the opening record, or None when its driver died before it was whole."""
    parsed = frame.parse(data[: data.find(b"\n") + 1] or data)
    if not parsed.records:
        if parsed.stop == frame.CORRUPT and data.find(b"\n") < len(data) - 1:
            # It was synced before anything was written behind it.
            raise CorruptJournalError(f"{path}: damaged at byte 0, and records follow")
        return None
    first = parsed.records[0]
    version = first.get("format", 0)
    if not isinstance(version, int):
        raise CorruptJournalError(f"{path}: its first record makes no sense")
    if version > FORMAT:
        raise NewerFormatError(f"{path} was written by a newer slurmtune: please upgrade")
    return first


def _epochs(layout: StudyLayout) -> list[int]:
    """Return all claimed epochs, also those that a cached listing does not show.

    They have no gaps, since each one is claimed as the successor of the newest.
    """
    newest = max(_listed_epochs(layout), default=0)
    while True:
        try:
            fs.read_file(_claim_path(layout, newest + 1))
        except FileNotFoundError:
            return list(range(1, newest + 1))
        newest += 1


def _listed_epochs(layout: StudyLayout) -> list[int]:
    matches = (_CLAIM.fullmatch(name) for name in fs.list_dir(layout.journal))
    return [int(match.group(1)) for match in matches if match]


def _claim_path(layout: StudyLayout, epoch: int) -> str:
    return os.path.join(layout.journal, f"{epoch:08d}.claim")


def _claim_id(layout: StudyLayout, epoch: int) -> str:
    """Return the id in a claim; a claim that is listed or linked but hidden is waited for."""
    path = _claim_path(layout, epoch)
    deadline = time.monotonic() + _HIDDEN_SECONDS
    while True:
        try:
            owner_id = json.loads(fs.read_listed(path))["id"]
            if not isinstance(owner_id, str) or _OWNER.fullmatch(owner_id) is None:
                raise CorruptJournalError(f"{path}: not a claim of a driver")
            return owner_id
        except FileNotFoundError as error:
            if time.monotonic() > deadline:
                raise CorruptJournalError(f"{path} is missing, though later ones exist") from error
            time.sleep(0.2)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptJournalError(f"{path}: not a claim of a driver") from error


def _segment_path(layout: StudyLayout, epoch: int, owner_id: str) -> str:
    return os.path.join(layout.journal, f"{epoch:08d}-{owner_id[:8]}.log")

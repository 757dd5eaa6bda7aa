"""The identity of the study and its journal: without them nothing else means anything.

Nothing here is mended: history that was sealed is either as it was or it is not history.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from slurmtune.analysis.fsck.finding import Finding, Severity
from slurmtune.analysis.record import read_overview
from slurmtune.core.events import CheckpointsDropped
from slurmtune.core.study import Study
from slurmtune.errors import NewerFormatError, SlurmtuneError, StudyStateError
from slurmtune.store import frame, fs, journal
from slurmtune.store.layout import StudyLayout

_CLAIM = re.compile(r"(\d{8})\.claim")
_SEGMENT = re.compile(r"(\d{8})-[0-9a-f]{8}\.log")
_ADVICE = (
    "Nothing that is left is touched: put the file back from a snapshot of the file system, or "
    "start again under another study.name; what was reported stands in trials/*/*/events.log"
)


def check_identity(
    layout: StudyLayout, read_identity: Callable[[], Mapping[str, Any] | None]
) -> Iterator[Finding]:
    """Check ``study.json`` and the copy of the spec."""
    try:
        identity = read_identity()
    except NewerFormatError as error:
        yield _error("newer", "study.json", str(error))
    except StudyStateError as error:
        yield _error("identity", "study.json", f"{error}. {_ADVICE}")
    else:
        if identity is None:
            yield _error("identity", "study.json", f"it is missing. {_ADVICE}")
    problem = ""
    try:
        tomllib.loads(fs.read_file(layout.spec).decode("utf-8"))
    except FileNotFoundError:
        problem = "it is missing"
    except (OSError, ValueError) as error:
        problem = f"it cannot be read ({error})"
    if problem:
        yield Finding(
            severity=Severity.WARNING,
            code="spec-copy",
            path="spec.toml",
            words=f"the copy of the spec: {problem}. Only people read it; copy your spec there",
        )


def check_journal(layout: StudyLayout) -> Iterator[Finding]:
    """Check claims, segments and seals; an error says that the journal cannot be replayed."""
    try:
        names = fs.list_dir(layout.journal)
    except OSError as error:
        yield _error("journal", "journal", f"it cannot be listed: {error.strerror}. {_ADVICE}")
        return
    claimed = {int(found[1]) for name in names if (found := _CLAIM.fullmatch(name))}
    missing = sorted(set(range(1, max(claimed, default=0))) - claimed)
    for epoch in missing:
        yield _error(
            "journal-claim",
            f"journal/{epoch:08d}.claim",
            f"the claim of epoch {epoch} is missing, and later ones exist. {_ADVICE}",
        )
    if missing:
        return
    try:
        segments = journal.segments(layout)
    except NewerFormatError as error:
        yield _error("newer", "journal", str(error))
        return
    except (SlurmtuneError, OSError) as error:
        yield _error("journal", "journal", f"{error}. {_ADVICE}")
        return
    newest = segments[-1].epoch if segments else 0
    for segment in segments:
        yield from _behind(segment, newest, layout)
    known = {os.path.basename(segment.path) for segment in segments}
    for name in names:
        found = _SEGMENT.fullmatch(name)
        if found is None or name in known:
            continue
        if int(found[1]) in claimed:
            words = "no later driver took it for history: its writer died, or was replaced"
            yield _note("journal-unused", f"journal/{name}", words)
        else:
            yield Finding(
                severity=Severity.WARNING,
                code="journal-stray",
                path=f"journal/{name}",
                words="nobody claimed its epoch: it is no part of this study's history",
            )


def check_replay(
    layout: StudyLayout, read_study: Callable[[], Study]
) -> tuple[Study | None, list[Finding]]:
    """Replay the journal, which checks every decision; return the study and what was found."""
    # The overview first: a driver at work writes its journal before it.
    try:
        told = int((read_overview(layout) or {}).get("trials", {}).get("started", 0))
    except (SlurmtuneError, OSError, ValueError, TypeError, AttributeError):
        told = 0
    try:
        study = read_study()
    except (SlurmtuneError, OSError) as error:
        words = f"the journal cannot be replayed: {error}. {_ADVICE}"
        return None, [_error("replay", "journal", words)]
    if told <= len(study.trials):
        return study, []
    words = (
        f"it tells of {len(study.trials)} trials, and status.json of {told}: "
        f"its end is missing. {_ADVICE}"
    )
    return study, [_error("journal-short", "journal", words)]


def dropped_checkpoints(layout: StudyLayout) -> frozenset[str]:
    """Return the names of the checkpoints that the journal says were removed.

    Raises:
        StudyStateError: the journal cannot be read.
    """
    events = (record["e"] for record in journal.history(layout))
    return frozenset(
        name
        for event in events
        if event["t"] == CheckpointsDropped.__name__
        for name in event["names"]
    )


def _behind(segment: journal.Segment, newest: int, layout: StudyLayout) -> Iterator[Finding]:
    """Look at what stands behind the history in a segment."""
    path = os.path.relpath(segment.path, layout.root)
    data = fs.read_listed(segment.path)
    rest = data[segment.end :]
    if segment.epoch < newest and rest:
        yield _note("journal-behind", path, f"{len(rest)} bytes of a replaced driver: ignored")
    if segment.epoch < newest or not rest or frame.parse(rest).records:
        return  # what was written since
    count = sum(_frames(rest))
    if count:
        yield _error(
            "journal-hole",
            path,
            f"damaged at byte {segment.end}, and {count} whole records follow: the next launch "
            f"goes on from before the damage. {_ADVICE}",
        )
    else:
        yield _note(
            "journal-tail",
            path,
            f"{len(rest)} bytes at its end are no whole record: its driver died while it wrote "
            "them, before anything came of them",
        )


def _frames(data: bytes) -> Iterator[int]:
    """Yield 1 for each line that is a whole record."""
    for line in data.splitlines(keepends=True):
        if line.endswith(b"\n") and len(frame.parse(line).records) == 1:
            yield 1


def _error(code: str, path: str, words: str) -> Finding:
    return Finding(severity=Severity.ERROR, code=code, path=path, words=words)


def _note(code: str, path: str, words: str) -> Finding:
    return Finding(severity=Severity.NOTE, code=code, path=path, words=words)

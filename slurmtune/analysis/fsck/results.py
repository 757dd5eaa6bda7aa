"""What attempts left behind: event logs, output, checkpoints."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from functools import partial

from slurmtune.analysis.fsck.finding import Finding, Severity
from slurmtune.analysis.fsck.subject import Subject
from slurmtune.core.actions import DropCheckpoints
from slurmtune.core.ids import parse_attempt_id, trial_id
from slurmtune.core.record import AttemptRecord, TrialRecord
from slurmtune.core.trial import AttemptState, Outcome
from slurmtune.store import checkpoint, event_log, frame, fs
from slurmtune.store.checkpoint import parse_checkpoint_name

DAMAGED = ".damaged-"
"""Begins the name of what was set aside."""


def set_aside(path: str) -> None:
    """Rename something damaged, so that nobody meets it under its old name.

    Raises:
        OSError: it could not be renamed.
    """
    folder, name = os.path.split(path)
    os.rename(path, os.path.join(folder, f"{DAMAGED}{name}-{uuid.uuid4().hex}"))
    fs.sync_dir(folder)


def check_logs(subject: Subject) -> Iterator[Finding]:
    """Check the event log of every attempt against the journal."""
    for trial in subject.tree.folders(subject.layout.trials):
        folder = os.path.join(subject.layout.trials, trial)
        for name in subject.tree.folders(folder):
            if name != "checkpoints" and name not in subject.attempts:
                yield subject.finding(
                    Severity.WARNING,
                    "attempt-unknown",
                    os.path.join(folder, name),
                    "the journal knows no such attempt: a replaced driver decided it",
                )
    for attempt in subject.attempts.values():
        yield from _log(subject, attempt)


def check_checkpoints(subject: Subject) -> Iterator[Finding]:
    """Check the checkpoints; those that a trial goes on from are read as a whole."""
    unneeded = {
        name
        for action in subject.study.open_actions()
        if isinstance(action, DropCheckpoints)
        for name in action.names
    }
    users: dict[str, TrialRecord] = {}
    """Trial that goes on from a checkpoint; of several one that has not ended."""
    for trial in subject.study.trials:
        name = trial.checkpoint
        # What an heir took over may be removed as soon as it has saved something itself.
        if name is None or name in unneeded or name in subject.dropped:
            continue
        if name not in users or users[name].state.is_final:
            users[name] = trial
    found: set[str] = set()
    for trial in subject.study.trials:
        names = subject.tree.folders(subject.layout.checkpoints(trial.number))
        found.update(names)
        for name in names:
            if name not in unneeded:
                yield from _checkpoint(subject, trial.number, name, users.get(name))
    for name, trial in users.items():
        if name not in found:
            yield from _missing_checkpoint(subject, trial, name)


def _log(subject: Subject, attempt: AttemptRecord) -> Iterator[Finding]:
    path = subject.layout.events(attempt.id)
    is_ended = attempt.state is AttemptState.ENDED
    try:
        data = fs.read_file(path)
    except FileNotFoundError:
        yield from _missing_log(subject, attempt, path)
        return
    except OSError as error:
        words = f"it cannot be read ({error.strerror}); what the journal has of it is kept"
        yield subject.finding(Severity.ERROR, "log-damaged", path, words)
        return
    parsed = frame.parse(data)
    # A log that is set aside keeps every byte, and what is whole stays in place.
    mend = partial(_keep_whole, path) if is_ended else None
    if parsed.stop == frame.CORRUPT:
        words = f"damaged at byte {parsed.end} of {len(data)}; "
        words += (
            "the attempt has ended, and what was read before is in the journal"
            if is_ended
            else "the driver waits there, and gives the attempt up when its slot is gone"
        )
        yield subject.finding(Severity.ERROR, "log-damaged", path, words, mend)
    elif parsed.stop == frame.PARTIAL and is_ended:
        words = f"its last {len(data) - parsed.end} bytes are no whole record: its slot was killed"
        yield subject.finding(Severity.NOTE, "log-torn", path, words, mend)
    yield from _records(subject, attempt, path, parsed.records)
    if parsed.records and not _is_continued(parsed.records) and not _has_output(subject, attempt):
        words = "what the program printed is missing"
        output = subject.layout.output(attempt.id)
        yield subject.finding(Severity.WARNING, "output-missing", output, words)


def _records(
    subject: Subject, attempt: AttemptRecord, path: str, records: list[frame.Record]
) -> Iterator[Finding]:
    """Compare the records with what the journal applied."""
    # What a program told when its attempt was over is no part of the attempt.
    records = [record for record in records if record.get("late") is not True]
    kinds = [record.get("k") for record in records]
    if event_log.END in kinds[:-1]:
        count = len(kinds) - 1 - kinds.index(event_log.END)
        words = f"{count} records follow its end: ignored"
        yield subject.finding(Severity.WARNING, "log-after-end", path, words)
    last = max((n for r in records if isinstance(n := r.get("n"), int)), default=-1)
    if last > attempt.last_seq and attempt.state is AttemptState.ENDED:
        words = (
            f"{last - attempt.last_seq} of its records came after the driver had given it up, "
            "and change nothing"
        )
        if attempt.last_seq < _end_position(records):
            yield subject.finding(Severity.NOTE, "log-late", path, words)
    elif last > attempt.last_seq and not subject.is_driven:
        words = f"{last - attempt.last_seq} records wait for the next launch"
        yield subject.finding(Severity.NOTE, "log-ahead", path, words)
    elif last < attempt.last_seq:
        words = f"{attempt.last_seq - last} records are missing at its end; the journal has them"
        yield subject.finding(Severity.WARNING, "log-short", path, words)


def _end_position(records: list[frame.Record]) -> int:
    """Return the position of the last record that counts: the end, or the last one."""
    for record in records:
        if record.get("k") == event_log.END and isinstance(record.get("n"), int):
            return int(record["n"])
    return max((n for r in records if isinstance(n := r.get("n"), int)), default=-1)


def _missing_log(subject: Subject, attempt: AttemptRecord, path: str) -> Iterator[Finding]:
    if attempt.last_seq >= 0:
        words = "it is missing; the journal has what was read of it"
        yield subject.finding(Severity.WARNING, "log-missing", path, words)
    elif attempt.state is AttemptState.RUNNING and not subject.is_driven:
        words = "claimed, and its program has not started: its slot starts it now, or is gone"
        yield subject.finding(Severity.NOTE, "log-missing", path, words)
    elif attempt.state is AttemptState.ENDED and attempt.outcome is Outcome.SUCCEEDED:
        words = "it is missing, and the journal says that the attempt succeeded"
        yield subject.finding(Severity.WARNING, "log-missing", path, words)


def _is_continued(records: list[frame.Record]) -> bool:
    """Tell whether the program of the attempt before went on; it prints where it always did."""
    return any(r.get("k") == event_log.START and r.get("continued") is True for r in records)


def _has_output(subject: Subject, attempt: AttemptRecord) -> bool:
    path = subject.layout.output(attempt.id)
    return subject.tree.entry(path) is not None or subject.is_still_there(path)


def _keep_whole(path: str) -> None:
    """Set a damaged log aside and put its whole records in its place.

    Raises:
        OSError: it could not be done; one of both is there.
    """
    data = fs.read_file(path)
    set_aside(path)
    fs.publish_file(path, data[: frame.parse(data).end])


def _missing_checkpoint(subject: Subject, trial: TrialRecord, name: str) -> Iterator[Finding]:
    writer = parse_attempt_id(parse_checkpoint_name(name)[1]).trial
    path = subject.layout.checkpoint(writer, name)
    attempt = trial.last_attempt
    if subject.is_still_there(path):
        return
    if attempt is not None and attempt.state is AttemptState.RUNNING:
        return  # a running program removes the older ones of its own checkpoints
    words = (
        "the journal says that it was saved, and it is missing; the results of the trial stay"
        if trial.state.is_final
        else f"the journal says that it was saved, and it is missing: {_starts_again(trial, name)}"
    )
    yield subject.finding(Severity.WARNING, "checkpoint-missing", path, words)


def _checkpoint(
    subject: Subject, number: int, name: str, user: TrialRecord | None
) -> Iterator[Finding]:
    """Look at a checkpoint of a trial; ``user`` goes on from it, if anybody does."""
    path = subject.layout.checkpoint(number, name)
    try:
        writer = parse_checkpoint_name(name)[1]
    except ValueError:
        words = "not the name of a checkpoint: nobody uses it"
        yield subject.finding(Severity.NOTE, "checkpoint-stray", path, words)
        return
    if name in subject.dropped:
        if subject.is_still_there(path):
            words = "the journal says that it was removed: nobody needs it"
            remove = partial(fs.remove_tree, path)
            yield subject.finding(Severity.WARNING, "checkpoint-dropped", path, words, remove)
        return
    is_whole = _is_complete(subject, path) if user is None else checkpoint.verify(path)
    if is_whole or not subject.is_still_there(path):
        return
    words = "its files are not those of its manifest"
    if user is not None and not user.state.is_final:
        words += f": {_starts_again(user, name)}"
    # The slot of an attempt verifies what it loads, so one that runs has done so.
    mend = partial(set_aside, path) if subject.is_ended(writer) else None
    severity = Severity.WARNING if user is None else Severity.ERROR
    yield subject.finding(severity, "checkpoint-damaged", path, words, mend)


def _starts_again(user: TrialRecord, name: str) -> str:
    """Return what it means for a trial that it cannot go on from the checkpoint."""
    is_own = parse_attempt_id(parse_checkpoint_name(name)[1]).trial == user.number
    return f"{'the trial' if is_own else trial_id(user.number)} starts from 0"


def _is_complete(subject: Subject, path: str) -> bool:
    """Tell whether a checkpoint has a manifest and files of these sizes; reads no file."""
    manifest = checkpoint.load(path)
    if manifest is None:
        return False
    for name, described in manifest["files"].items():
        entry = subject.tree.entry(os.path.join(path, name))
        if entry is None or not isinstance(described, list) or entry.st_size != described[0]:
            return False
    return True

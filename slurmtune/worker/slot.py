"""A slot: claims one offer after the other, runs it, and leaves when there is nothing left to do.

The claim is what makes an attempt run once: it is a file that only one process can create. Whether
the driver lives does not matter here; a slot serves the offers that exist.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
import uuid
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set

from slurmtune.store import frame, fs
from slurmtune.store.layout import StudyLayout
from slurmtune.store.offer import parse_offer_name
from slurmtune.worker.attempt import (
    Attempt,
    AttemptResult,
    Limits,
    SlotIdentity,
    Task,
    near_seconds,
    parse_offer,
)
from slurmtune.worker.signals import SignalInbox

EXIT_DONE = 0
EXIT_NO_SPACE = 75
"""The study's directory cannot be written: nothing is wrong with the config."""
EXIT_REFUSED = 78
"""The manifest is not the one that was submitted."""
EXIT_INTERRUPTED = 85
"""A signal ended a slot that had work; Slurm must not call that COMPLETED."""

_MARGIN_SECONDS = 15.0
_LEAST_REMAINING_SECONDS = 60.0
_FIRST_SCAN_SECONDS = 0.1
_SCAN_SECONDS = 1.0
_SLOW_SCAN_SECONDS = 5.0
_SLOW_AFTER_SECONDS = 30.0
_FINISHED_LOOK_SECONDS = 1.0
_MAX_DOUBLINGS = 8
# A link, a folder, a socket, or not ours to read: not put there by the driver.
_NO_FILE = frozenset(
    {errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ESPIPE, errno.EACCES, errno.EPERM}
)
_MAX_OFFER_BYTES = 16 * 1024 * 1024


class _Search(NamedTuple):
    """What one look at the offers gave."""

    task: Optional[Task]
    too_late: bool = False
    """There are offers, but none that fits into the time that is left."""
    look_again: bool = False
    """Others were faster; some offers were passed over."""


class Slot:
    """Serves the offers of one resource class until time, work or patience ends."""

    def __init__(
        self,
        layout: StudyLayout,
        manifest: Mapping[str, Any],
        identity: SlotIdentity,
        *,
        started: float,
        inbox: SignalInbox,
    ) -> None:
        self._layout = layout
        self._manifest = manifest
        self._identity = identity
        self._inbox = inbox
        self._offers = layout.offers(manifest["class"])
        # A value under another name could be a variable that the user's shell script obeys.
        self._names = manifest.get("hyperparameters")
        self._durations: Dict[int, List[float]] = {}
        self._unreadable: Set[str] = set()
        self._lost: Set[str] = set()
        limit = manifest.get("time_limit_seconds")
        kill_wait = float(manifest.get("kill_wait_seconds") or 30)
        self._limit_seconds = float(limit or 0)
        self._limits = Limits(
            deadline=None if not limit else started + limit - min(_MARGIN_SECONDS, limit / 4),
            near_seconds=near_seconds(self._limit_seconds),
            grace_seconds=max(kill_wait - 5, kill_wait / 2),
        )
        self._log = _SlotLog(layout, identity)

    def serve(self) -> int:
        """Serve offers and return the exit code of the slot.

        Raises:
            OSError: the study's directory cannot be written.
        """
        self._log.add("slot_start")
        try:
            code, why = self._serve()
        except OSError as error:
            self._log.add("slot_exit", why=str(error)[:400])
            raise
        self._log.add("slot_exit", why=why)
        _say(f"slot {self._identity.token}.{self._identity.position} leaves: {why}")
        return code

    def _serve(self) -> "tuple[int, str]":
        idle_since = time.monotonic()
        linger = float(self._manifest.get("linger_seconds") or 0)
        next_finished_look = idle_since
        pause = _FIRST_SCAN_SECONDS
        while True:
            if self._inbox.received:
                # Of a slot that did nothing there is nothing to resume.
                code = EXIT_INTERRUPTED if self._durations else EXIT_DONE
                return code, "interrupted by a signal"
            now = time.monotonic()
            if self._remaining(now) < self._least_remaining():
                return EXIT_DONE, "the time left is too short for another attempt"
            search = self._claim_next(now)
            if search.too_late:
                return EXIT_DONE, "no offer fits into the time left"
            if search.task is not None:
                self._run(search.task)
                if not self._manifest.get("reuse", True) and not self._inbox.received:
                    return EXIT_DONE, "one attempt was asked for"
                idle_since = time.monotonic()
                pause = _FIRST_SCAN_SECONDS
                continue
            if search.look_again:
                continue
            if now >= next_finished_look:
                why = self._why_leave()
                if why:
                    return EXIT_DONE, why
                next_finished_look = now + _FINISHED_LOOK_SECONDS
            idle = now - idle_since
            if idle >= linger:
                return EXIT_DONE, f"nothing on offer for {linger:g} s"
            self._inbox.wait(min(pause, linger - idle))
            longest = _SLOW_SCAN_SECONDS if idle > _SLOW_AFTER_SECONDS else _SCAN_SECONDS
            pause = min(1.5 * pause, longest)

    def _claim_next(self, now: float) -> _Search:
        """Claim the best offer that fits.

        Whoever loses a claim goes on a random number of offers further, up to twice as far each
        time: of hundreds of slots that start together each loses a few claims, and not hundreds.
        """
        remaining = self._remaining(now)
        too_late = False
        losses = passed_over = 0
        for name in self._listed():
            if passed_over > 0:
                passed_over -= 1
                continue
            try:
                _, attempt = parse_offer_name(name)
            except ValueError:
                continue  # a file that is being published, or not ours
            if attempt in self._lost:
                continue  # an old listing
            path = os.path.join(self._offers, name)
            try:
                task = parse_offer(
                    fs.read_file(path, limit=_MAX_OFFER_BYTES), attempt, self._names
                )
            except FileNotFoundError:
                continue  # another slot was faster
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno not in _NO_FILE:
                    raise
                if path not in self._unreadable:
                    self._unreadable.add(path)
                    _say(f"{path}: {error}")
                continue
            if self._usual_seconds(task.rung) > remaining:
                too_late = True
                continue
            is_ours = self._claim(task)
            # Claimed offers leave the listing, whoever claimed them: the driver counts on it.
            fs.unlink(path)
            if is_ours:
                return _Search(task)
            self._lost.add(attempt)
            losses += 1
            passed_over = uuid.uuid4().int % 2 ** min(losses, _MAX_DOUBLINGS)
        return _Search(None, too_late=too_late and not losses, look_again=losses > 0)

    def _listed(self) -> List[str]:
        """Return the names of the offers, best first.

        Among equals each slot begins at another one, so that few meet at the same claim.
        """
        try:
            names = fs.list_dir(self._offers)
        except FileNotFoundError:
            return []  # nothing was ever offered in this class
        equals: Dict[str, List[str]] = {}
        for name in names:
            equals.setdefault(name.partition("-")[0], []).append(name)
        ordered: List[str] = []
        for group in equals.values():
            first = self._identity.position % len(group)
            ordered += group[first:] + group[:first]
        return ordered

    def _claim(self, task: Task) -> bool:
        claim = {
            "format": 1,
            "attempt": task.attempt,
            **self._identity.record(),
            "nonce": uuid.uuid4().hex,
            "offer_nonce": task.nonce,
            "time": time.time(),
        }
        return fs.publish_once(self._layout.claim(task.attempt), json.dumps(claim).encode("ascii"))

    def _run(self, task: Task) -> AttemptResult:
        self._log.add("claim", attempt=task.attempt)
        attempt = Attempt(
            task,
            layout=self._layout,
            manifest=self._manifest,
            identity=self._identity,
            limits=self._limits,
            inbox=self._inbox,
        )
        result = attempt.run()
        self._durations.setdefault(task.rung, []).append(result.seconds)
        self._log.add("attempt_end", attempt=task.attempt, why=result.outcome)
        _say(f"{task.attempt} {result.outcome} after {result.seconds:.1f} s")
        return result

    def _remaining(self, now: float) -> float:
        deadline = self._limits.deadline
        return float("inf") if deadline is None else deadline - now

    def _least_remaining(self) -> float:
        """Return the time below which nothing is begun; short limits need a smaller share."""
        return min(_LEAST_REMAINING_SECONDS, 0.2 * self._limit_seconds)

    def _usual_seconds(self, rung: int) -> float:
        """Return the median time of the attempts at this rung so far; 0 when there were none."""
        seconds = sorted(self._durations.get(rung, ()))
        return seconds[len(seconds) // 2] if seconds else 0.0

    def _why_leave(self) -> str:
        """Return why an idle slot should leave before its patience ends; empty: it should not."""
        try:
            names = fs.list_dir(self._layout.control)
        except FileNotFoundError:
            return ""
        if os.path.basename(self._layout.finished) in names:
            return "the study is finished"
        idle_file = self._layout.idle_file(self._manifest["class"])
        if os.path.basename(idle_file) in names:
            return "other work needs the room"
        return ""


class _SlotLog:
    """What this slot did when, for figures of utilisation; losing it loses nothing else.

    Therefore it is not synced, and a full disk does not disturb.
    """

    def __init__(self, layout: StudyLayout, identity: SlotIdentity) -> None:
        self._identity = identity
        self._count = 0
        path = layout.slot_log(identity.token, identity.position, identity.restart)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(path, flags, 0o600)
        except FileExistsError:
            # A second copy of this very slot: it gets a file of its own.
            path = f"{path[: -len('.log')]}.{uuid.uuid4().hex[:8]}.log"
            self._descriptor = os.open(path, flags, 0o600)

    def add(self, kind: str, **fields: str) -> None:
        identity = self._identity
        record: Dict[str, Any] = {"n": self._count, "k": kind, "time": time.time(), **fields}
        record.update(host=identity.host, pid=identity.pid, job=identity.job)
        self._count += 1
        try:
            os.write(self._descriptor, frame.encode(record))
        except OSError as error:
            _say(f"cannot write the log of this slot: {error}")


def _say(text: str) -> None:
    sys.stdout.write(f"slurmtune: {text}\n")
    sys.stdout.flush()

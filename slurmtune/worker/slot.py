"""A slot: claims one offer after the other, runs it, and leaves when there is nothing left to do.

The claim is what makes an attempt run once: it is a file that only one process can create. Whether
the driver lives does not matter here; a slot serves the offers that exist.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
import uuid
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set

from slurmtune.core import ids
from slurmtune.store import frame, fs
from slurmtune.store.layout import StudyLayout
from slurmtune.store.offer import Claim, parse_offer_name
from slurmtune.worker.attempt import (
    Attempt,
    AttemptResult,
    Limits,
    SlotIdentity,
    near_seconds,
)
from slurmtune.worker.held import Held, linger_seconds, release
from slurmtune.worker.signals import SignalInbox
from slurmtune.worker.task import Task, parse_offer

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
# What follows an end is usually on offer within a moment, and a loaded GPU waits for it.
_FIRST_HELD_SCAN_SECONDS = 0.03
_SLOW_SCAN_SECONDS = 5.0
_SLOW_AFTER_SECONDS = 30.0
_FINISHED_LOOK_SECONDS = 1.0
# A program that waits for an offer is told of it well within this time.
_HOLDER_SECONDS = 5.0
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
    left_to_holder: bool = False
    """There are offers that are left to another slot for some seconds, whose program waits."""


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
        self._name = Claim(identity.token, identity.position, identity.restart).slot
        self._left_since: Dict[str, float] = {}
        self._too_long: Set[str] = set()
        self._linger_seconds = linger_seconds(manifest)
        self._holder_seconds = float(manifest.get("holder_seconds", _HOLDER_SECONDS))
        limit = manifest.get("time_limit_seconds")
        kill_wait = float(manifest.get("kill_wait_seconds") or 30)
        self._limit_seconds = float(limit or 0)
        self._limits = Limits(
            deadline=None if not limit else started + limit - min(_MARGIN_SECONDS, limit / 4),
            near_seconds=near_seconds(self._limit_seconds),
            grace_seconds=max(kill_wait - 5, kill_wait / 2),
            least_seconds=self._least_remaining(),
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
        linger = self._linger_seconds
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
                idle_since = self._work(search.task)
                if not self._manifest.get("reuse", True) and not self._inbox.received:
                    return EXIT_DONE, "one attempt was asked for"
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
            if search.left_to_holder:
                self._inbox.wait(pause)
            elif idle >= linger:
                return EXIT_DONE, f"nothing on offer for {linger:g} s"
            else:
                self._inbox.wait(min(pause, linger - idle))
            longest = _SLOW_SCAN_SECONDS if idle > _SLOW_AFTER_SECONDS else _SCAN_SECONDS
            pause = min(1.5 * pause, longest)

    def _claim_next(self, now: float, held: Optional[Held] = None) -> _Search:
        """Claim the best offer that fits; with ``held`` the best of those that it may do.

        Whoever loses a claim goes on a random number of offers further, up to twice as far each
        time: of hundreds of slots that start together each loses a few claims, and not hundreds.
        """
        remaining = self._remaining(now)
        too_late = left_to_holder = False
        losses = passed_over = 0
        for name in self._listed() if held is None else self._listed_for(held):
            if passed_over > 0:
                passed_over -= 1
                continue
            try:
                _, attempt = parse_offer_name(name)
            except ValueError:
                continue  # a file that is being published, or not ours
            if attempt in self._lost:
                continue  # an old listing
            if self._is_left(attempt, now):
                left_to_holder = True
                continue
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
            if task.holder not in ("", self._name):
                self._left_since.setdefault(attempt, now)
                if self._is_left(attempt, now):
                    left_to_holder = True
                    continue
            if self._seconds_for(task, held) > remaining:
                if held is not None:
                    self._too_long.add(attempt)  # its program knew, and will be gone
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
        return _Search(
            None,
            too_late=too_late and not losses and not left_to_holder,
            look_again=losses > 0,
            left_to_holder=left_to_holder,
        )

    def _is_left(self, attempt: str, now: float) -> bool:
        """Tell whether the offer is left to the slot whose program waits for it."""
        since = self._left_since.get(attempt)
        return since is not None and now - since < self._holder_seconds

    def _listed_for(self, held: Held) -> List[str]:
        """Return the names of the offers that a slot with a program that waits may take.

        Those of its own trial; others only when the driver has seen that the program waits and
        has nothing for it.
        """
        own, others = self._sorted_for(held)
        if own or not others or not self._is_settled(held):
            return own
        # What follows is published before it is said to be settled, and so may be missing in the
        # listing from before.
        own, others = self._sorted_for(held)
        return own or others

    def _sorted_for(self, held: Held) -> "tuple[List[str], List[str]]":
        """Return the names of the offers of its trial, and of those of others."""
        own: List[str] = []
        others: List[str] = []
        for name in self._listed():
            try:
                _, attempt = parse_offer_name(name)
            except ValueError:
                continue
            if attempt not in self._lost:
                is_own = ids.parse_attempt_id(attempt).trial == held.trial
                (own if is_own else others).append(name)
        return own, others

    def _is_settled(self, held: Held) -> bool:
        """Tell whether the driver has seen that the program waits, and published what follows."""
        path = self._layout.settled
        try:
            if os.path.basename(path) not in fs.list_dir(self._layout.control):
                return False
            record = json.loads(fs.read_file(path, limit=_MAX_OFFER_BYTES).decode("ascii"))
            return held.attempt in record["attempts"]
        except (FileNotFoundError, KeyError, TypeError, ValueError, RecursionError):
            return False

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

    def _work(self, task: Task) -> float:
        """Run the task and what follows without a pause; return since when the slot is idle."""
        following: Optional[Task] = task
        held: Optional[Held] = None
        idle_since = time.monotonic()
        while following is not None:
            result = self._run(following, held)
            idle_since = time.monotonic()
            following, held = None, result.held
            if held is not None:
                following, held = self._hold(held)
        return idle_since

    def _hold(self, held: Held) -> "tuple[Optional[Task], Optional[Held]]":
        """Wait with the program for more work on its trial.

        Return the task that was claimed meanwhile, if there is one, and the program if it goes on
        with that task. Otherwise it was told to leave, and has left.
        """
        try:
            task = self._task_while_held(held)
            if task is not None and held.can_go_on(task) and not held.has_ended:
                return task, held
            self._log.add("release", attempt=held.attempt)
            release(
                held,
                self._inbox,
                grace_seconds=self._limits.grace_seconds,
                deadline=self._limits.deadline,
                needed_seconds=0.0 if task is None else self._needed_seconds(task),
            )
        except BaseException:
            held.process.program.kill()
            raise
        return task, None

    def _task_while_held(self, held: Held) -> Optional[Task]:
        """Claim what comes while the program waits; None: it waits no longer."""
        now = time.monotonic()
        until = now + self._linger_seconds
        next_look = now + _FINISHED_LOOK_SECONDS
        pause = _FIRST_HELD_SCAN_SECONDS
        while not (self._inbox.received or held.has_ended):
            now = time.monotonic()
            if now >= until or self._remaining(now) < self._least_remaining():
                return None
            search = self._claim_next(now, held)
            if search.task is not None:
                return search.task
            if search.too_late or self._is_taken(held):
                return None
            if search.look_again:
                continue
            if now >= next_look:
                if self._why_leave():
                    return None
                next_look = now + _FINISHED_LOOK_SECONDS
            self._inbox.wait(min(pause, until - now))
            pause = min(1.5 * pause, _SCAN_SECONDS)
        return None

    def _is_taken(self, held: Held) -> bool:
        """Tell whether another slot has what the program waits for."""
        mine = ids.parse_attempt_id(held.attempt)
        keys = map(ids.parse_attempt_id, self._lost)
        return any(key.trial == mine.trial and key > mine for key in keys)

    def _run(self, task: Task, held: Optional[Held]) -> AttemptResult:
        self._log.add("claim", attempt=task.attempt)
        attempt = Attempt(
            task,
            layout=self._layout,
            manifest=self._manifest,
            identity=self._identity,
            limits=self._limits,
            inbox=self._inbox,
            held=held,
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

    def _seconds_for(self, task: Task, held: Optional[Held]) -> float:
        """Return how long the task will take; 0 when nothing like it was done here."""
        if held is not None and held.can_go_on(task):
            return held.seconds_for(task)
        return float("inf") if task.attempt in self._too_long else self._usual_seconds(task.rung)

    def _needed_seconds(self, task: Task) -> float:
        """Return the time that must be left for a task that was claimed."""
        return max(self._usual_seconds(task.rung), self._limits.least_seconds)

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
    # On a full disk what was done counts, and not what is told of it.
    with contextlib.suppress(OSError):
        sys.stdout.write(f"slurmtune: {text}\n")
        sys.stdout.flush()

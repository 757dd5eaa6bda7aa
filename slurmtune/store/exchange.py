"""The driver's side of the files between driver and slots: offers out, events in.

What a read costs is proportional to the attempts in flight: one listing for each resource class
that has open offers, and one open for each claimed attempt. A claim is opened only when its offer
has vanished from the listing, and a log only after a listing of its folder showed it: asking for
names that are not there yet would make an NFS client believe for half a minute that they are not.

Everything read here was written by somebody else: it is checked, and what makes no sense is
skipped with a warning.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from slurmtune.core.actions import Offer
from slurmtune.core.events import (
    AttemptClaimed,
    AttemptEnded,
    AttemptReported,
    AttemptStarted,
    CheckpointSaved,
    Event,
    OfferWithdrawn,
    Resource,
)
from slurmtune.core.ids import parse_attempt_id
from slurmtune.core.trial import Outcome
from slurmtune.store import event_log, frame, fs
from slurmtune.store.checkpoint import parse_checkpoint_name
from slurmtune.store.layout import StudyLayout
from slurmtune.store.offer import (
    DRIVER,
    FORMAT,
    MAX_NUMBER,
    Claim,
    decode_claim,
    encode_claim,
    is_token,
    parse_offer_name,
)

MAX_READ_BYTES = 4 * 1024 * 1024
"""Most bytes of one log in one read; the rest comes with the next."""
MAX_METRICS = 100
MAX_REPORTS = 20_000
"""Most reports of one attempt; a slot stops long before."""
MAX_NAME_CHARS = 128
MAX_TAIL_LINES = 20
MAX_LINE_CHARS = 400
_MAX_CAUSE_CHARS = 1000
_MAX_EVENT_BYTES = frame.MAX_FRAME_BYTES // 2
"""Of what one event carries: its record in the journal must fit into a frame, escapes included."""
_MAX_CLAIM_BYTES = 64 * 1024
_LOST_OFFER_SECONDS = 60.0
_NO_SLOT = Claim("nobody", 0, 0).slot
_LOG = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Watched:
    """What is known of one attempt that is read."""

    attempt: str
    is_claimed: bool
    offset: int = 0
    """Where the next record of its log starts."""
    next_seq: int = 0
    reports: int = 0
    is_listed: bool = False
    """A listing showed the log."""
    is_over: bool = False
    """Its last record was read."""
    corrupt_at: int | None = None
    """Where a bad frame was met; the log was read again from the start because of it."""
    missing_since: float | None = None
    """Since when neither offer nor claim can be seen."""


class _BadRecordError(ValueError):
    """A record that makes no sense."""


class FileExchange:
    """Offers, claims and event logs in the directory of a study (see `backends.base.Exchange`)."""

    def __init__(self, layout: StudyLayout, classes: Sequence[str]) -> None:
        self._layout = layout
        # Classes that grew out of these, or that an earlier spec had, are found by listing.
        self._classes = set(classes)
        self._watched: dict[str, _Watched] = {}
        self._offer_class: dict[str, str] = {}
        self._offer_path: dict[str, str] = {}
        self._offer_data: dict[str, bytes] = {}
        self._claimed_before: frozenset[str] | None = None

    def publish(self, offer: Offer) -> None:
        """Publish the offer; one that is published or claimed already stays as it is.

        Raises:
            OSError: it could not be published.
        """
        claimed = self._claims_of_earlier_drivers()
        attempt = offer.attempt
        watched = self._watched.get(attempt)
        is_claimed = attempt in claimed or (watched is not None and watched.is_claimed)
        if is_claimed or attempt in self._offer_path:
            return
        # The driver makes the folder, so that looking for the log in it never asks for a name
        # that is not there.
        fs.make_dir(self._layout.attempt(attempt))
        fs.make_dir(self._layout.offers(offer.resource_class))
        path = self._layout.offer(offer.resource_class, offer.priority, attempt)
        data = _offer_data(offer)
        fs.publish_file(path, data)
        self._offer_class[attempt] = offer.resource_class
        self._offer_path[attempt] = path
        self._offer_data[attempt] = data

    def withdraw(self, attempt: str) -> bool:
        """Take the offer back by claiming the attempt; False when a slot has it.

        Raises:
            OSError: it is not known who has it.
        """
        self._claims_of_earlier_drivers()
        path = self._layout.claim(attempt)
        driver = Claim(DRIVER, 0, 0)
        host, pid = socket.gethostname(), os.getpid()
        data = encode_claim(driver, attempt=attempt, job="", host=host, pid=pid)
        if not fs.publish_once(path, data):
            # An earlier driver may have claimed it for the same purpose.
            claim = decode_claim(fs.read_listed(path))
            if claim is None or claim.token != DRIVER:
                return False
        self._remove_offer(attempt)
        self.forget(attempt)
        return True

    def request_stop(self, attempt: str) -> None:
        """Ask the running attempt to save and leave.

        Raises:
            OSError: the request could not be published.
        """
        fs.make_dir(self._layout.attempt(attempt))
        fs.publish_file(self._layout.stop_file(attempt), b"stop\n")

    def drop_checkpoints(self, trial: int, names: Sequence[str]) -> None:
        """Remove these checkpoints of the trial; what is gone already is no error.

        Raises:
            ValueError: a name is none of a checkpoint.
            OSError: some could not be removed; the others are gone.
        """
        for name in names:
            parse_checkpoint_name(name)
        failures = []
        for name in names:
            try:
                fs.remove_tree(self._layout.checkpoint(trial, name))
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def watch(self, attempt: str, *, offered: bool) -> None:
        """Read this attempt from now on; watching it again changes nothing."""
        if attempt not in self._watched:
            parse_attempt_id(attempt)
            self._watched[attempt] = _Watched(attempt=attempt, is_claimed=not offered)

    def forget(self, attempt: str) -> None:
        """Read this attempt no more."""
        self._watched.pop(attempt, None)
        self._forget_offer(attempt)

    def read(self, now: float) -> Sequence[Event]:
        """Return what slots wrote since the last call; ``now`` becomes the time of the events.

        What cannot be read now is left for the next call, with a warning.
        """
        events: list[Event] = []
        self._find_claims(now, events)
        for watched in list(self._watched.values()):
            if watched.is_claimed and not watched.is_over:
                try:
                    events.extend(self._read_log(watched, now))
                except OSError as error:
                    _LOG.warning("the events of %s cannot be read: %s", watched.attempt, error)
        return events

    def _claims_of_earlier_drivers(self) -> frozenset[str]:
        """Return the attempts that were claimed before this driver published anything.

        Offers are listed before claims, and slots claim before they remove the offer: an attempt
        that is in neither listing was never published.
        """
        if self._claimed_before is None:
            self._classes.update(
                name for name in _list(self._layout.offer_classes) if not name.startswith(".")
            )
            for resource_class in sorted(self._classes):
                # Slots look into the folder before anything is in it.
                fs.make_dir(self._layout.offers(resource_class))
                for name in fs.list_dir(self._layout.offers(resource_class)):
                    self._note_offer(resource_class, name)
            self._claimed_before = frozenset(_list(self._layout.claims))
            for attempt in self._claimed_before.intersection(self._offer_path):
                self._remove_offer(attempt)
        return self._claimed_before

    def _note_offer(self, resource_class: str, name: str) -> None:
        try:
            _, attempt = parse_offer_name(name)
        except ValueError:
            return
        self._offer_class[attempt] = resource_class
        self._offer_path[attempt] = os.path.join(self._layout.offers(resource_class), name)

    def _remove_offer(self, attempt: str) -> None:
        path = self._offer_path.get(attempt)
        if path is not None:
            fs.unlink(path)
        self._forget_offer(attempt)

    def _forget_offer(self, attempt: str) -> None:
        self._offer_class.pop(attempt, None)
        self._offer_path.pop(attempt, None)
        self._offer_data.pop(attempt, None)

    def _find_claims(self, now: float, events: list[Event]) -> None:
        """Notice the watched offers that were claimed."""
        offered = [watched for watched in self._watched.values() if not watched.is_claimed]
        if not offered:
            return
        self._claims_of_earlier_drivers()
        open_offers: set[str] = set()
        for resource_class in self._classes_of(offered):
            try:
                names = _list(self._layout.offers(resource_class))
            except OSError as error:
                _LOG.warning("the offers of %s cannot be listed: %s", resource_class, error)
                return
            open_offers.update(_attempts(names))
        for watched in offered:
            if watched.attempt in open_offers:
                watched.missing_since = None
            else:
                self._open_claim(watched, now, events)

    def _classes_of(self, offered: Sequence[_Watched]) -> list[str]:
        """Return the classes whose offers must be listed; all when one offer's is not known."""
        classes = {self._offer_class.get(watched.attempt) for watched in offered}
        if None in classes:
            classes.update(self._classes)
        return sorted(name for name in classes if name is not None)

    def _open_claim(self, watched: _Watched, now: float, events: list[Event]) -> None:
        attempt = watched.attempt
        try:
            data = fs.read_file(self._layout.claim(attempt), limit=_MAX_CLAIM_BYTES)
        except FileNotFoundError:
            self._mend_lost_offer(watched, now)
            return
        except OSError as error:
            _LOG.warning("the claim of %s cannot be read: %s", attempt, error)
            return
        watched.is_claimed = True
        self._forget_offer(attempt)
        claim = decode_claim(data)
        if claim is None:
            # Who has it is not known; a slot that nobody knows is one that is gone.
            _LOG.warning("the claim of %s makes no sense: %r", attempt, data[:MAX_LINE_CHARS])
            events.append(AttemptClaimed(time=now, attempt=attempt, slot=_NO_SLOT))
        elif claim.token == DRIVER:
            self.forget(attempt)
            events.append(OfferWithdrawn(time=now, attempt=attempt))
        else:
            events.append(AttemptClaimed(time=now, attempt=attempt, slot=claim.slot))

    def _mend_lost_offer(self, watched: _Watched, now: float) -> None:
        """Publish an offer again that somebody deleted; a cache may also just be late."""
        if watched.missing_since is None:
            watched.missing_since = now
        elif now - watched.missing_since >= _LOST_OFFER_SECONDS:
            watched.missing_since = now
            attempt = watched.attempt
            path, data = self._offer_path.get(attempt), self._offer_data.get(attempt)
            if path is None or data is None:
                _LOG.warning("the offer of %s is gone and nobody claimed it", attempt)
                return
            _LOG.warning("the offer of %s is gone and nobody claimed it: published anew", attempt)
            try:
                fs.publish_file(path, data)
            except OSError as error:
                _LOG.warning("the offer of %s cannot be published: %s", attempt, error)

    def _read_log(self, watched: _Watched, now: float) -> Iterator[Event]:
        """Yield the new events of a claimed attempt."""
        attempt = watched.attempt
        if not watched.is_listed:
            if event_log.EVENTS_NAME not in _list(self._layout.attempt(attempt)):
                return
            watched.is_listed = True
        try:
            data = fs.read_file(self._layout.events(attempt), watched.offset, MAX_READ_BYTES)
        except FileNotFoundError:
            return  # hidden by a cache
        parsed = frame.parse(data)
        watched.offset += parsed.end
        for record in parsed.records:
            event = self._event(watched, record, now)
            if event is not None:
                yield event
                if isinstance(event, AttemptEnded):
                    watched.is_over = True
                    return
        if parsed.stop == frame.CORRUPT and watched.corrupt_at != watched.offset:
            # Bytes may arrive out of order, and a writer takes back what it could not sync: the
            # log is read once more from its start, then only this place is looked at again.
            _LOG.warning("the log of %s has a bad frame at %d", attempt, watched.offset)
            watched.corrupt_at = watched.offset
            watched.offset = 0

    def _event(self, watched: _Watched, record: frame.Record, now: float) -> Event | None:
        """Return the event of a record, or None for a known, an unknown or a senseless one."""
        try:
            seq = _integer(record, "n")
            if seq < watched.next_seq:
                return None
            watched.next_seq = seq + 1
            kind = _text(record, "k")
            if kind == event_log.REPORT:
                watched.reports += 1
                if watched.reports > MAX_REPORTS:
                    if watched.reports == MAX_REPORTS + 1:
                        _LOG.warning("too many reports of %s: the rest is left", watched.attempt)
                    return None
            convert = _CONVERTERS.get(kind)
            return None if convert is None else convert(watched.attempt, record, now)
        except (_BadRecordError, ValueError, OverflowError) as error:
            _LOG.warning("a record of %s makes no sense: %s", watched.attempt, error)
            return None


def _started(attempt: str, record: frame.Record, now: float) -> Event:
    token, index, restart = (
        _text(record, "token"),
        _integer(record, "index"),
        _integer(record, "restart"),
    )
    if not (0 <= index <= MAX_NUMBER and 0 <= restart <= MAX_NUMBER) or not is_token(token):
        raise _BadRecordError(f"no slot: {token!r}, {index!r:.100}, {restart!r:.100}")
    return AttemptStarted(
        time=now,
        attempt=attempt,
        seq=_integer(record, "n"),
        slot=Claim(token, index, restart).slot,
        job=_text(record, "job"),
        host=_text(record, "host"),
        start=_resource(record, "start"),
    )


def _reported(attempt: str, record: frame.Record, now: float) -> Event:
    metrics = record.get("metrics")
    if not isinstance(metrics, dict) or len(metrics) > MAX_METRICS:
        raise _BadRecordError(f"metrics must be at most {MAX_METRICS} numbers by name")
    if len(json.dumps(metrics)) > _MAX_EVENT_BYTES:
        raise _BadRecordError(f"metrics of more than {_MAX_EVENT_BYTES} bytes")
    for name in metrics:
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise _BadRecordError(f"not the name of a metric: {name[:MAX_LINE_CHARS]!r}")
    return AttemptReported(
        time=now,
        attempt=attempt,
        seq=_integer(record, "n"),
        resource=_resource(record, "resource"),
        metrics={name: float(frame.decode_number(value)) for name, value in metrics.items()},
    )


def _saved(attempt: str, record: frame.Record, now: float) -> Event:
    name = _text(record, "name")
    _, writer = parse_checkpoint_name(name)
    if parse_attempt_id(writer).trial != parse_attempt_id(attempt).trial:
        raise _BadRecordError(f"the checkpoint {name!r} is of another trial")
    return CheckpointSaved(
        time=now,
        attempt=attempt,
        seq=_integer(record, "n"),
        resource=_resource(record, "resource"),
        name=name,
    )


def _ended(attempt: str, record: frame.Record, now: float) -> Event:
    tail = record.get("tail", [])
    if not isinstance(tail, list):
        raise _BadRecordError("the tail must be a list of lines")
    cause = record.get("cause", "")
    return AttemptEnded(
        time=now,
        attempt=attempt,
        seq=_integer(record, "n"),
        outcome=Outcome(record.get("outcome")),
        seconds=_resource(record, "seconds"),
        exit_code=None if record.get("exit_code") is None else _integer(record, "exit_code"),
        cause=cause[:_MAX_CAUSE_CHARS] if isinstance(cause, str) else "",
        tail=_short_tail(tail),
        gave_up=record.get("gave_up") is True,
        holding=record.get("holds") is True,
    )


_CONVERTERS: Mapping[str, Callable[[str, frame.Record, float], Event]] = {
    event_log.START: _started,
    event_log.REPORT: _reported,
    event_log.CHECKPOINT: _saved,
    event_log.END: _ended,
}


def _short_tail(lines: Sequence[object]) -> tuple[str, ...]:
    """Return the last lines of a program, as many as a record of the journal can hold."""
    tail = [str(line)[:MAX_LINE_CHARS] for line in lines[-MAX_TAIL_LINES:]]
    while len(json.dumps(tail)) > _MAX_EVENT_BYTES:
        tail.pop(0)
    return tuple(tail)


def _integer(record: frame.Record, key: str) -> int:
    value = record.get(key)
    if type(value) is not int:
        raise _BadRecordError(f"{key} must be an integer, not {value!r:.100}")
    return value


def _text(record: frame.Record, key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or len(value) > 2 * MAX_NAME_CHARS:
        raise _BadRecordError(f"{key} must be a short text, not {value!r:.100}")
    return value


def _resource(record: frame.Record, key: str) -> Resource:
    value = record.get(key)
    if type(value) is not int and type(value) is not float:
        raise _BadRecordError(f"{key} must be a number, not {value!r:.100}")
    if not math.isfinite(value) or value < 0:
        raise _BadRecordError(f"{key} must be a finite number and not negative, not {value!r}")
    return value


def _offer_data(offer: Offer) -> bytes:
    record = {
        "format": FORMAT,
        "attempt": offer.attempt,
        "trial": offer.trial,
        "rung": offer.rung,
        "class": offer.resource_class,
        "priority": offer.priority,
        "config": dict(offer.config),
        "start": offer.start,
        "end": offer.end,
        "checkpoint": offer.checkpoint,
        "seed": offer.seed,
        "holder": offer.holder,
        "nonce": uuid.uuid4().hex,
    }
    return json.dumps(record, allow_nan=False).encode("ascii") + b"\n"


def _attempts(names: Sequence[str]) -> Iterator[str]:
    """Yield the attempts on offer; other files in the folder are no offers."""
    for name in names:
        try:
            yield parse_offer_name(name)[1]
        except ValueError:
            continue


def _list(path: str) -> list[str]:
    try:
        return fs.list_dir(path)
    except FileNotFoundError:
        return []

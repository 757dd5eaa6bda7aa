"""Offers, claims, arrays and jobs: whether what is handed out is what the journal decided."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from slurmtune.analysis.fsck.finding import Finding, Severity
from slurmtune.analysis.fsck.subject import Subject
from slurmtune.core import ids
from slurmtune.core.fleet import ArrayRecord, ArrayState, slot_key
from slurmtune.core.record import AttemptRecord
from slurmtune.core.trial import AttemptState, Outcome
from slurmtune.store import fs
from slurmtune.store.offer import DRIVER, Claim, decode_claim, parse_offer_name

_SHA256 = re.compile(rb"\b[0-9a-f]{64}\b")
_NOBODY = "nobody"


def check_offers(subject: Subject) -> Iterator[Finding]:
    """Check what is on offer."""
    offers = subject.layout.offer_classes
    claimed = set(subject.tree.names(subject.layout.claims))
    for resource_class in subject.tree.folders(offers):
        folder = os.path.join(offers, resource_class)
        for name in subject.tree.names(folder):
            if not name.startswith("."):
                yield from _offer(subject, os.path.join(folder, name), claimed)


def check_claims(subject: Subject) -> Iterator[Finding]:
    """Check who has which attempt."""
    found: set[str] = set()
    for name in subject.tree.names(subject.layout.claims):
        if name.startswith("."):
            continue
        path = os.path.join(subject.layout.claims, name)
        try:
            ids.parse_attempt_id(name)
        except ValueError:
            yield subject.finding(Severity.WARNING, "claim-stray", path, "not a claim: ignored")
            continue
        found.add(name)
        yield from _claim(subject, path, name)
    for attempt in subject.attempts.values():
        if attempt.id in found or not attempt.slot:
            continue
        path = subject.layout.claim(attempt.id)
        if not subject.is_still_there(path):
            yield subject.finding(
                Severity.WARNING,
                "claim-missing",
                path,
                f"the journal says that {attempt.slot} claimed it: somebody deleted the claim. "
                "Leave it so: the attempt is not on offer any more",
            )


def check_settled(subject: Subject) -> Iterator[Finding]:
    """Check what tells slots that the driver has seen how their attempts ended."""
    path = subject.layout.settled
    if subject.tree.entry(path) is None or not subject.is_still_there(path):
        return
    named = _json(path).get("attempts")
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        words = (
            "it cannot be read: slots that could go on with a trial wait longer than they "
            "need to. The driver publishes it anew"
        )
        mend = partial(fs.unlink, path)
        yield subject.finding(Severity.WARNING, "settled-damaged", path, words, mend)


def check_arrays(subject: Subject) -> Iterator[Finding]:
    """Check the manifests that slots were started with."""
    arrays = subject.study.fleet.arrays
    for token in subject.tree.folders(subject.layout.arrays):
        if token not in arrays:
            yield subject.finding(
                Severity.WARNING,
                "array-unknown",
                subject.layout.array(token),
                "the journal knows no such array: a replaced driver made it",
            )
    for array in arrays.values():
        if array.state is ArrayState.SUBMITTED:
            yield from _manifest(subject, array)


def check_jobs(subject: Subject) -> Iterator[Finding]:
    """Check that every live job of the study is one that the journal knows."""
    for token, job in sorted((subject.jobs or {}).items()):
        array = subject.study.fleet.arrays.get(token)
        code, severity, words = "", Severity.WARNING, ""
        if array is None:
            code, severity = "job-unknown", Severity.ERROR
            words = "the journal knows no such array"
        elif array.state is ArrayState.REFUSED:
            code, words = "job-refused", "the journal says that Slurm refused this array"
        elif array.job not in {"", job}:
            code, words = "job-double", f"the journal knows job {array.job} for this array"
        elif not array.live:
            code, words = "job-left", "the journal says that all its slots ended"
        if code:
            words += f". Claims keep it from running anything twice; end it with  scancel {job}"
            yield Finding(severity=severity, code=code, path=f"{token} (job {job})", words=words)


def _offer(subject: Subject, path: str, claimed: set[str]) -> Iterator[Finding]:
    try:
        _, name = parse_offer_name(os.path.basename(path))
    except ValueError:
        yield subject.finding(Severity.WARNING, "offer-stray", path, "not an offer: ignored")
        return
    attempt = subject.attempts.get(name)
    if attempt is None:
        found = Severity.ERROR, "offer-unknown", "the journal knows no such attempt"
    elif attempt.state is AttemptState.ENDED:
        found = Severity.WARNING, "offer-ended", "the attempt has ended"
    elif name in claimed:
        if subject.is_driven:
            return  # its slot is about to remove it
        found = Severity.WARNING, "offer-claimed", "the attempt was claimed already"
    elif _json(path).get("attempt") != name:
        words = "it cannot be read: no slot takes it. Once it is gone a launch offers it anew"
        found = Severity.ERROR, "offer-damaged", words
    else:
        return
    # Slots claim first and remove the offer then.
    if subject.is_still_there(path):
        severity, code, words = found
        yield subject.finding(severity, code, path, words, partial(fs.unlink, path))


def _claim(subject: Subject, path: str, name: str) -> Iterator[Finding]:
    attempt = subject.attempts.get(name)
    if attempt is None:
        words = (
            "the journal knows no such attempt. When no job of the study is left, move the file "
            "away: an attempt of this name would wait for whoever claimed it"
        )
        yield subject.finding(Severity.ERROR, "claim-unknown", path, words)
        return
    claim = _read_claim(path)
    if claim is None:
        yield from _damaged_claim(subject, path, attempt)
    elif claim.token == DRIVER:
        yield from _claim_by_driver(subject, path, attempt)
    elif attempt.slot and slot_key(claim.slot) != slot_key(attempt.slot):
        words = f"{claim.slot} has it, and the journal says {attempt.slot}"
        if not attempt.slot.startswith(f"{_NOBODY}."):
            yield subject.finding(Severity.ERROR, "claim-differs", path, words)


def _damaged_claim(subject: Subject, path: str, attempt: AttemptRecord) -> Iterator[Finding]:
    if attempt.state is AttemptState.ENDED:
        words = "it cannot be read; the attempt has ended, so nobody needs it"
        yield subject.finding(Severity.WARNING, "claim-damaged", path, words)
    else:
        words = (
            "it cannot be read: who has the attempt is not known. The driver gives it up after a "
            "while, and another attempt takes its place"
        )
        yield subject.finding(Severity.WARNING, "claim-damaged", path, words)


def _claim_by_driver(subject: Subject, path: str, attempt: AttemptRecord) -> Iterator[Finding]:
    if attempt.slot:
        words = f"a driver took the offer back, and the journal says that {attempt.slot} has it"
        yield subject.finding(Severity.ERROR, "claim-differs", path, words)
    elif attempt.state is not AttemptState.ENDED and not subject.is_driven:
        words = "a driver took the offer back and died: the next launch decides about the trial"
        yield subject.finding(Severity.NOTE, "claim-driver", path, words)
    elif attempt.outcome not in {None, Outcome.CANCELLED}:
        words = f"a driver took the offer back, and the attempt ended {attempt.outcome}"
        yield subject.finding(Severity.ERROR, "claim-differs", path, words)


def _manifest(subject: Subject, array: ArrayRecord) -> Iterator[Finding]:
    path = subject.layout.manifest(array.token)
    severity = Severity.ERROR if array.live else Severity.WARNING
    after = (
        f"its {array.live} live slots refuse to start: end them with  slurmtune stop"
        if array.live
        else "all its slots have ended, so nobody needs it"
    )
    try:
        data = fs.read_file(path)
    except OSError as error:
        words = f"it cannot be read ({error.strerror}); {after}"
        yield subject.finding(severity, "manifest-missing", path, words)
        return
    if _parsed(data).get("token") != array.token:
        yield subject.finding(severity, "manifest-damaged", path, f"it is damaged; {after}")
        return
    expected = _expected_hashes(subject, array.token)
    if expected and hashlib.sha256(data).hexdigest() not in expected:
        words = f"it is not the one that the array was submitted with; {after}"
        yield subject.finding(severity, "manifest-changed", path, words)


def _expected_hashes(subject: Subject, token: str) -> set[str]:
    """Return the hashes in the batch script of an array; none when no script is there."""
    folder = subject.layout.array(token)
    hashes: set[str] = set()
    for name in subject.tree.names(folder):
        if name.endswith(".sh"):
            try:
                data = fs.read_file(os.path.join(folder, name))
            except OSError:
                continue
            hashes.update(found.decode("ascii") for found in _SHA256.findall(data))
    return hashes


def _read_claim(path: str) -> Claim | None:
    try:
        return decode_claim(fs.read_file(path))
    except OSError:
        return None


def _json(path: str) -> dict[str, Any]:
    """Return the JSON object in a file; empty when there is none."""
    try:
        return _parsed(fs.read_file(path))
    except OSError:
        return {}


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

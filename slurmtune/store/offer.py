"""Offers and claims: how an attempt comes to exactly one slot.

The driver publishes an offer, an immutable file whose name sorts by priority. A slot takes it by
creating the claim of the attempt; whoever creates that file first has the attempt, and the driver
takes an offer back by claiming it itself.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import dataclass
from typing import Optional, Tuple

from slurmtune.core import ids

FORMAT = 1
MAX_PRIORITY = 999_999
MAX_NUMBER = 9_999_999
"""Largest index of a slot, and most restarts: far above what Slurm has."""
DRIVER = "driver"
"""Token in the claim by which the driver takes an offer back."""
_NAME = re.compile(r"(\d{6})-(.+)\.json")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Claim:
    """Who has an attempt."""

    token: str
    """Token of the slot's array, or `DRIVER`."""
    index: int
    """Index of the slot in its array."""
    restart: int
    """How often Slurm had restarted the slot."""

    @property
    def slot(self) -> str:
        """``TOKEN.INDEX.RESTART``."""
        return f"{self.token}.{self.index}.{self.restart}"


def is_token(text: str) -> bool:
    """Tell whether an array can be called ``text``."""
    return _TOKEN.fullmatch(text) is not None


def offer_name(priority: int, attempt: str) -> str:
    """Return the file name of an offer; lower priorities sort first.

    Raises:
        ValueError: the priority has more than six digits, or ``attempt`` is no attempt.
    """
    if not 0 <= priority <= MAX_PRIORITY:
        raise ValueError(f"a priority goes from 0 to {MAX_PRIORITY}: {priority}")
    ids.parse_attempt_id(attempt)
    return f"{priority:06d}-{attempt}.json"


def parse_offer_name(name: str) -> Tuple[int, str]:
    """Return priority and attempt of the file name of an offer.

    Raises:
        ValueError: ``name`` is not the name of an offer.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"not the name of an offer: {name!r}")
    ids.parse_attempt_id(found.group(2))
    return int(found.group(1)), found.group(2)


def encode_claim(claim: Claim, *, attempt: str, job: str, host: str, pid: int) -> bytes:
    """Return the content of a claim; each call makes a different one (see `fs.publish_once`)."""
    record = {
        "format": FORMAT,
        "attempt": attempt,
        "token": claim.token,
        "index": claim.index,
        "restart": claim.restart,
        "job": job,
        "host": host,
        "pid": pid,
        "nonce": uuid.uuid4().hex,
        "time": time.time(),
    }
    return json.dumps(record).encode("ascii") + b"\n"


def decode_claim(data: bytes) -> Optional[Claim]:
    """Return who wrote a claim, or None when ``data`` is no claim."""
    try:
        record = json.loads(data.decode("ascii"))
        token, index, restart = record["token"], record["index"], record["restart"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(token, str) or not is_token(token):
        return None
    if type(index) is not int or type(restart) is not int:
        return None
    if not (0 <= index <= MAX_NUMBER and 0 <= restart <= MAX_NUMBER):
        return None
    return Claim(token, index, restart)

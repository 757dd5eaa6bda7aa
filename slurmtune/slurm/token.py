"""Names under which arrays are submitted, so that a lost one is found again.

``st-9f31c2aa-3-17``: the first eight digits of the study's id, the epoch of the driver, and a
number that counts within the epoch. Two drivers never make the same one. As a job name it is
short enough to be shown whole and holds nothing that a command could misread.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(r"st-([0-9a-f]{8})-(\d{1,9})-(\d{1,9})")
_STUDY_DIGITS = 8


class ArrayToken(NamedTuple):
    """The parts of a token."""

    study: str
    """First eight hexadecimal digits of the study's id."""
    epoch: int
    """Which driver of the study submitted the array."""
    number: int
    """Which array of that driver."""


def make_token(study_id: str, epoch: int, number: int) -> str:
    """Return the name of array ``number`` of the study's driver ``epoch``.

    Raises:
        ValueError: The study's id is not hexadecimal, or a number is out of range.
    """
    token = f"st-{study_id[:_STUDY_DIGITS]}-{epoch}-{number}"
    if _TOKEN.fullmatch(token) is None:
        raise ValueError(f"cannot name an array {token!r}")
    return token


def parse_token(text: str) -> ArrayToken | None:
    """Take a token apart; None when ``text`` is not one."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else ArrayToken(found[1], int(found[2]), int(found[3]))

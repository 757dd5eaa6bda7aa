"""Names of trials and attempts: made by us, in a fixed form, safe in paths and job names.

``t00007`` is a trial, ``t00007.r2.a1`` the first attempt to train it up to rung 2.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TRIAL = re.compile(r"t(\d{5,9})")
_ATTEMPT = re.compile(r"t(\d{5,9})\.r(\d{1,4})\.a(\d{1,4})")


class AttemptKey(NamedTuple):
    """The three numbers that name an attempt."""

    trial: int
    """Number of the trial, from 0."""
    rung: int
    """Rung that the attempt trains up to, from 0."""
    number: int
    """Which attempt at this rung, from 1."""


def trial_id(number: int) -> str:
    """Return the name of trial ``number``, such as ``t00007``."""
    if number < 0:
        raise ValueError(f"a trial number cannot be negative: {number}")
    return f"t{number:05d}"


def parse_trial_id(text: str) -> int:
    """Return the number in a trial's name.

    Raises:
        ValueError: ``text`` is not the name of a trial.
    """
    found = _TRIAL.fullmatch(text)
    if found is None:
        raise ValueError(f"not the name of a trial: {text!r}")
    return int(found.group(1))


def attempt_id(trial: int, rung: int, number: int) -> str:
    """Return the name of an attempt, such as ``t00007.r2.a1``; attempts count from 1."""
    if rung < 0 or number < 1:
        raise ValueError(f"no such attempt: rung {rung}, number {number}")
    return f"{trial_id(trial)}.r{rung}.a{number}"


def parse_attempt_id(text: str) -> AttemptKey:
    """Return the numbers in an attempt's name.

    Raises:
        ValueError: ``text`` is not the name of an attempt.
    """
    found = _ATTEMPT.fullmatch(text)
    if found is None:
        raise ValueError(f"not the name of an attempt: {text!r}")
    return AttemptKey(*(int(part) for part in found.groups()))

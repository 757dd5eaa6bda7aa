"""What may stand in a submission, and what sbatch's answer means.

Every value ends on a ``#SBATCH`` line of a shell script, where a line break would start a line of
its own and be run as a command. So values are looked at here, before any script is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from slurmtune.errors import SpecError

_JOB_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OPTION = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_SUBMITTED = re.compile(r"(?:^|\s)(?:Submitted batch job )?(\d+)(?:;\S*)?\s*$")
_LONGEST_VALUE = 1000
"""Slurm refuses a comment of more than 1024 bytes, and nothing else needs to be longer."""

_OURS = frozenset({"array", "job-name", "open-mode", "output", "error", "signal", "time"})
_FORBIDDEN = frozenset(
    {
        "clusters",
        "het-group",
        "help",
        "parsable",
        "quiet",
        "test-only",
        "usage",
        "verbose",
        "version",
        "wait",
        "wrap",
    }
)


class RefusalKind(Enum):
    """What a failed sbatch means for the next step."""

    AMBIGUOUS = "AMBIGUOUS"
    """No clear answer: the job may exist. Look for its name before submitting again."""
    LATER = "LATER"
    """A limit on the number of jobs was reached; nothing was submitted, wait and retry."""
    PERMANENT = "PERMANENT"
    """The same submission will be refused again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a submission failed."""

    kind: RefusalKind
    message: str
    """In plain words; Slurm's own words follow in ``says``."""
    says: str


_AMBIGUOUS = (
    "timed out",
    "unable to contact",
    "connect failure",
    "connection refused",
    "connection reset",
    "connection timed out",
    "zero bytes were transmitted",
    "communication",
    "send/recv",
    "unexpected message",
    "backup controller",
    "authentication",
    "munge",
)
_LATER = (
    "maxsubmit",
    "grpsubmit",
    "resource temporarily unavailable",
    "temporarily unable to accept job",
    "job limit",
    "maximum job count",
)
_PERMANENT = (
    ("invalid partition", "no such partition"),
    ("configuration is not available", "no node can give what this job asks for"),
    ("invalid generic resource", "no such GPU or other generic resource (gres) here"),
    ("invalid feature", "no node has such a feature (constraint)"),
    ("invalid node name", "no such node"),
    ("invalid account", "the account is not yours, or not for this partition"),
    ("invalid qos", "no such QOS, or it is not yours"),
    ("invalid wckey", "the wckey is not defined here"),
    ("reservation", "the reservation does not exist or is not yours"),
    ("invalid license", "no such licence"),
    ("invalid job array", "the array is longer than this cluster allows"),
    ("memory specification", "no node has so much memory"),
    ("group not permitted", "your group may not use this partition"),
    ("accounting/qos policy", "the request is above a limit of your account or QOS"),
    ("time limit", "the time limit is longer than allowed"),
    ("unrecognized option", "sbatch does not know one of the options"),
)


def check_job_name(name: str) -> None:
    """Refuse a job name that is not made of letters, digits, dot, dash and underscore.

    Raises:
        SpecError: With the rule and the name.
    """
    if _JOB_NAME.fullmatch(name) is None:
        raise SpecError(
            f"{name!r} cannot be a job name: 1 to 64 letters, digits, '_', '.' and '-'"
        )


def check_option(name: str, value: str | int | bool) -> str:
    """Return the long name of an sbatch option, with dashes, after a look at name and value.

    Raises:
        SpecError: No such name can exist, slurmtune sets the option itself, or the value holds
            a character that would end the line of the script.
    """
    option = name.replace("_", "-")
    if len(option) > 64 or _OPTION.fullmatch(option) is None:
        raise SpecError(f"{name!r} is not the name of an sbatch option, such as 'mail-type'")
    if option in _OURS:
        raise SpecError(f"slurmtune sets sbatch's {option!r} itself; leave it out")
    if option in _FORBIDDEN:
        raise SpecError(f"sbatch's {option!r} does not go together with slurmtune; leave it out")
    text = str(value)
    if not text.isprintable():
        raise SpecError(f"the value of {name!r} holds a line break or another control character")
    if len(text) > _LONGEST_VALUE:
        raise SpecError(f"the value of {name!r} is longer than {_LONGEST_VALUE} characters")
    return option


def check_setup_line(line: str) -> None:
    """Refuse a line of shell that would not stay one line.

    Raises:
        SpecError: The line holds a line break or another control character (tabs are allowed).
    """
    if not line.replace("\t", " ").isprintable():
        raise SpecError(f"a setup line holds a line break or a control character: {line!r}")


def parse_submitted(stdout: str) -> str | None:
    """Return the job id that sbatch printed; None when it printed none.

    Warnings may come before it, and ``--parsable`` adds ``;cluster``.
    """
    lines = stdout.strip().splitlines()
    found = _SUBMITTED.search(lines[-1]) if lines else None
    return None if found is None else found[1]


def classify(returncode: int, stderr: str) -> Refusal:
    """Tell what it means that sbatch failed.

    A signal or a time-out counts as no answer. Words that are not known count as a refusal for
    good: waiting would hide them from the user.
    """
    spoken = says(stderr)
    text = stderr.lower()
    if returncode < 0 or returncode in (124, 137, 143):
        return Refusal(kind=RefusalKind.AMBIGUOUS, message="sbatch did not answer", says=spoken)
    if any(words in text for words in _LATER):
        message = "you may not have more jobs queued at the moment; the rest follows later"
        return Refusal(kind=RefusalKind.LATER, message=message, says=spoken)
    if any(words in text for words in _AMBIGUOUS):
        return Refusal(kind=RefusalKind.AMBIGUOUS, message="Slurm does not answer", says=spoken)
    if "job submit limit" in text and not _names_a_limit(text):
        message = "a limit of your account or QOS was reached; trying again later"
        return Refusal(kind=RefusalKind.LATER, message=message, says=spoken)
    for words, message in _PERMANENT:
        if words in text:
            return Refusal(kind=RefusalKind.PERMANENT, message=message, says=spoken)
    message = "Slurm refused the submission"
    return Refusal(kind=RefusalKind.PERMANENT, message=message, says=spoken)


def _names_a_limit(text: str) -> bool:
    """Tell whether Slurm named the limit on a line before its general sentence."""
    return any(
        line.strip().startswith(("sbatch: error: qos", "sbatch: error: assoc"))
        for line in text.splitlines()
    )


def says(stderr: str) -> str:
    """Return sbatch's words without its prefixes, on one line."""
    lines = (line.strip() for line in stderr.strip().splitlines())
    kept = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines if line]
    return "; ".join(dict.fromkeys(kept))

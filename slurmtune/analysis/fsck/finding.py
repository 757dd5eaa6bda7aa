"""What a check finds, and how it is mended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum


class Severity(Enum):
    """How bad a finding is."""

    ERROR = "error"
    """Something is damaged or contradicts the journal: the study cannot be trusted or go on."""
    WARNING = "warning"
    """Something is lost or in the way; the study goes on."""
    NOTE = "note"
    """What a crash leaves behind and the next launch, or nobody, takes care of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as a driver or a slot would leave it."""

    severity: Severity
    code: str
    """Fixed name of the kind of finding, for programs."""
    path: str
    """Relative to the study's directory; the name of a job for what is not a file."""
    words: str
    """What it means, and what to do about it."""
    mend: Callable[[], None] | None = field(default=None, compare=False, repr=False)
    """Mends it without losing anything; only for whoever owns the study's journal."""

    @property
    def is_repairable(self) -> bool:
        """Whether ``--repair`` mends it."""
        return self.mend is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What came of mending a finding."""

    finding: Finding
    problem: str
    """Why it could not be mended; empty when it was."""


def mend_all(findings: Iterable[Finding], guard: Callable[[], None]) -> Iterator[Mended]:
    """Mend what can be mended; ``guard`` raises when this process owns the study no more."""
    for finding in findings:
        if finding.mend is None:
            continue
        guard()
        try:
            finding.mend()
        except OSError as error:
            yield Mended(finding=finding, problem=str(error))
        else:
            yield Mended(finding=finding, problem="")

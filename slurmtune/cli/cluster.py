"""What Slurm says to a spec before anything is submitted, in lines for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from slurmtune.cli import clock, text
from slurmtune.errors import BackendError, BackendUnavailableError, SpecError

if TYPE_CHECKING:
    from slurmtune.core.request import ResourceRequest
    from slurmtune.spec.cluster import Survey, Verdict
    from slurmtune.spec.load import LoadedSpec

_START = re.compile(r"to start at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")
_NOW_SECONDS = 90.0
_FAR_SECONDS = 366 * 86400.0
ELSEWHERE = "not on this machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line about the cluster."""

    level: str
    """``ok``, ``note``, ``warn`` or ``error``."""
    subject: str
    words: str
    code: str = ""
    says: str = ""
    """Slurm's own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """All that was found out."""

    headline: str
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> list[Finding]:
        """Findings that make a launch pointless."""
        return [finding for finding in self.findings if finding.level == "error"]

    def as_json(self) -> dict[str, Any]:
        """Return it as data."""
        return {
            "headline": self.headline,
            "findings": [
                {
                    "level": one.level,
                    "subject": one.subject,
                    "code": one.code,
                    "message": one.words,
                    "says": one.says,
                }
                for one in self.findings
            ],
        }


def is_here() -> bool:
    """Tell whether this machine can submit jobs."""
    from slurmtune.spec import cluster

    return cluster.is_here()


def examine(
    loaded: LoadedSpec,
    directory: str,
    requests: Mapping[str, ResourceRequest],
    rung_classes: Sequence[str],
    slots: int,
) -> Examination:
    """Let Slurm look at one array of each resource class; a Slurm that is silent is no error."""
    from slurmtune.spec import cluster

    nothing = Finding(
        level="note",
        subject="sbatch",
        words=_sentence(cluster.NO_SLURM.message, cluster.NO_SLURM.fix),
        code=cluster.NO_SLURM.code,
    )
    if not cluster.is_here():
        return Examination(headline=ELSEWHERE, findings=(nothing,))
    try:
        found = cluster.survey(loaded, directory, requests, rung_classes, slots)
    except BackendUnavailableError as error:
        says = str(error).rpartition(": ")[2].strip()
        silent = Finding(
            level="warn",
            subject="Slurm",
            words="does not answer: its part of the spec is not checked",
            code=cluster.NO_ANSWER.code,
            says=says,
        )
        return Examination(headline="no answer", findings=(silent,))
    except BackendError:
        return Examination(headline=ELSEWHERE, findings=(nothing,))
    except SpecError as error:
        wrong = Finding(level="error", subject="script", words=str(error))
        return Examination(headline="a batch script cannot be made", findings=(wrong,))
    findings = [_array(found, slots)]
    for verdict in found.verdicts:
        findings += _of_class(verdict, len(rung_classes))
    name = f", cluster {found.config.cluster}" if found.config.cluster else ""
    return Examination(
        headline=f"{found.config.version}{name}; checked with sbatch --test-only",
        findings=tuple(findings),
    )


def refusal(findings: Sequence[Finding]) -> str:
    """Return errors as one message."""
    return "\n".join(
        finding.words + (f"\n  Slurm says: {finding.says}" if finding.says else "")
        for finding in findings
    )


def _of_class(verdict: Verdict, rung_count: int) -> list[Finding]:
    subject = verdict.partition or "job"
    where = "" if len(verdict.rungs) == rung_count else f" ({_rung_words(verdict.rungs)})"
    found = [
        Finding(
            level="error" if advice.is_error else "warn",
            subject=subject,
            words=_sentence(advice.message, advice.fix) + where,
            code=advice.code,
            says=advice.says,
        )
        for advice in verdict.advice
    ]
    if verdict.accepted:
        level, words = _start_words(verdict.says)
        found.insert(0, Finding(level=level, subject=subject, words=words + where))
    elif not any(one.level == "error" for one in found):
        words = f"Slurm refuses it{where}"
        found.append(Finding(level="error", subject=subject, words=words, says=verdict.says))
    return found


def _sentence(message: str, fix: str) -> str:
    gap = " " if message.endswith("?") else ". "
    return message + gap + fix if fix else message


def _start_words(says: str) -> tuple[str, str]:
    found = _START.search(says)
    if found is None:
        return "ok", "would be accepted"
    seconds = datetime.fromisoformat(found[1]).astimezone().timestamp() - clock.now()
    if seconds < _NOW_SECONDS:
        return "ok", "could start now"
    if seconds > _FAR_SECONDS:
        return "warn", "would be accepted; Slurm cannot say when it starts"
    return "warn", f"wait about {text.duration(seconds)} at present"


def _array(found: Survey, slots: int) -> Finding:
    size, limit = found.facts.max_array_size, found.facts.submit_limit
    if limit is not None and limit < slots:
        words = f"you may have at most {text.plural(limit, 'job')} queued; the rest comes later"
        return Finding(level="warn", subject="array", words=words)
    words = f"first array of {text.plural(slots, 'task')} (MaxArraySize {size})"
    if slots >= size:
        words = f"arrays of up to {text.plural(size - 1, 'task')} (MaxArraySize {size})"
    return Finding(level="ok", subject="array", words=words)


def _rung_words(rungs: Sequence[int]) -> str:
    if len(rungs) == 1:
        return f"rung {rungs[0]}"
    return f"rungs {text.joined(map(str, rungs))}"

"""What Slurm says to a spec before anything is submitted."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from slurmtune.cli import text
from slurmtune.errors import BackendError, BackendUnavailableError, SpecError

if TYPE_CHECKING:
    from slurmtune.core.request import ResourceRequest
    from slurmtune.slurm.advice import Facts
    from slurmtune.slurm.limits import ClusterConfig
    from slurmtune.spec.load import LoadedSpec

_START = re.compile(r"to start at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")
_NOW_SECONDS = 90.0
_FAR_SECONDS = 366 * 86400.0
_TOKEN = "st-00000000-1-1"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line about the cluster."""

    level: str
    """``ok``, ``warn`` or ``error``."""
    subject: str
    words: str
    code: str = ""
    fix: str = ""
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
                    "fix": one.fix,
                    "says": one.says,
                }
                for one in self.findings
            ],
        }


def is_here() -> bool:
    """Tell whether this machine can submit jobs."""
    return shutil.which("sbatch") is not None


def examine(
    loaded: LoadedSpec,
    requests: Mapping[str, ResourceRequest],
    rung_classes: Sequence[str],
    slots: int,
) -> Examination:
    """Let Slurm look at one array of each resource class."""
    from slurmtune.backends.probe import gather_facts
    from slurmtune.slurm.advice import NO_ANSWER, NO_SLURM

    if not is_here():
        note = Finding(level="warn", subject="Slurm", words=str(NO_SLURM), code=NO_SLURM.code)
        return Examination(headline="not on this machine", findings=(note,))
    try:
        facts, config = gather_facts()
        findings = [_array(facts, config, slots)]
        for name, script in scripts(loaded, requests, rung_classes, slots).items():
            rungs = [rung for rung, one in enumerate(rung_classes) if one == name]
            findings += _examine_one(script, requests[name], facts, rungs, len(rung_classes))
    except BackendUnavailableError as error:
        lost = Finding(
            level="warn",
            subject="Slurm",
            words=NO_ANSWER.message,
            code=NO_ANSWER.code,
            says=str(error),
        )
        return Examination(headline="no answer", findings=(lost,))
    except BackendError as error:
        return Examination(
            headline="not on this machine",
            findings=(Finding(level="warn", subject="Slurm", words=str(error)),),
        )
    version = f"{config.version}, cluster {config.cluster}" if config.cluster else config.version
    return Examination(
        headline=f"{version}; checked with sbatch --test-only", findings=tuple(findings)
    )


def scripts(
    loaded: LoadedSpec,
    requests: Mapping[str, ResourceRequest],
    rung_classes: Sequence[str],
    slots: int,
) -> dict[str, str]:
    """Return the batch script of a first array of each resource class, in the order of rungs.

    Raises:
        SpecError: an option cannot stand in a script.
    """
    from slurmtune.backends.base import ArraySpec
    from slurmtune.backends.slurm import SlurmBackend
    from slurmtune.driver.clock import SystemClock
    from slurmtune.spec.launching import study_directory
    from slurmtune.store.layout import StudyLayout

    layout = StudyLayout(study_directory(loaded))
    with tempfile.TemporaryDirectory(prefix="slurmtune-check-") as aside:
        backend = SlurmBackend(
            layout.root,
            _Aside(layout.logs, aside),
            [sys.executable],
            clock=SystemClock(),
            signal=loaded.spec.slurm.signal,
            requeue=loaded.spec.slurm.requeue,
        )
        return {
            name: backend.script(
                ArraySpec(
                    token=_TOKEN, request=requests[name], size=slots, manifest_sha256="0" * 64
                )
            )
            for name in dict.fromkeys(rung_classes)
        }


@dataclass(slots=True)
class _Aside:
    """The paths of a study that need not exist yet: nothing is written there."""

    logs: str
    folder: str

    def array(self, token: str) -> str:
        """Return a folder that may be written."""
        del token
        return self.folder


def refusal(findings: Sequence[Finding]) -> str:
    """Return errors as one message."""
    return "\n".join(
        finding.words + (f"\n  Slurm says: {finding.says}" if finding.says else "")
        for finding in findings
    )


def _examine_one(
    script: str,
    request: ResourceRequest,
    facts: Facts,
    rungs: Sequence[int],
    rung_count: int,
) -> list[Finding]:
    from slurmtune.backends.probe import probe

    try:
        verdict = probe(script, request, facts)
    except SpecError as error:
        return [Finding(level="error", subject="request", words=str(error))]
    subject = str(dict(request.options).get("partition", "")) or facts.default_partition or "job"
    where = "" if len(rungs) == rung_count else f" ({_rung_words(rungs)})"
    found = [
        Finding(
            level="error" if advice.is_error else "warn",
            subject=subject,
            words=advice.message + (f". {advice.fix}" if advice.fix else "") + where,
            code=advice.code,
            fix=advice.fix,
            says=advice.says,
        )
        for advice in verdict.advice
    ]
    if verdict.accepted:
        level, words = _start_words(verdict.says)
        found.insert(0, Finding(level=level, subject=subject, words=words + where, says=""))
    elif not any(one.level == "error" for one in found):
        found.append(
            Finding(level="error", subject=subject, words="Slurm refuses it", says=verdict.says)
        )
    return found


def _start_words(says: str) -> tuple[str, str]:
    found = _START.search(says)
    if found is None:
        return "ok", "would be accepted"
    seconds = datetime.fromisoformat(found[1]).astimezone().timestamp() - time.time()
    if seconds < _NOW_SECONDS:
        return "ok", "could start now"
    if seconds > _FAR_SECONDS:
        return "warn", "would be accepted; Slurm cannot say when it starts"
    return "warn", f"wait about {text.duration(seconds)} at present"


def _array(facts: Facts, config: ClusterConfig, slots: int) -> Finding:
    most = config.max_array_size - 1
    words = f"first array of {text.plural(slots, 'task')} (MaxArraySize {config.max_array_size})"
    if slots > most:
        words = f"arrays of up to {text.plural(most, 'task')}; more are split"
    if facts.submit_limit is not None and facts.submit_limit < slots:
        words = f"you may have at most {text.plural(facts.submit_limit, 'job')} queued at once"
        return Finding(level="warn", subject="array", words=words)
    return Finding(level="ok", subject="array", words=words)


def _rung_words(rungs: Sequence[int]) -> str:
    if len(rungs) == 1:
        return f"rung {rungs[0]}"
    return f"rungs {text.joined(map(str, rungs))}"

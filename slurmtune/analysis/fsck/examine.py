"""One look at a whole study's directory. It writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slurmtune.analysis.fsck import folder, history, results, work
from slurmtune.analysis.fsck.finding import Finding, Severity
from slurmtune.analysis.fsck.subject import Subject, Tree
from slurmtune.core.study import Study
from slurmtune.store.layout import StudyLayout

_ORDER = {severity: place for place, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """How to read what belongs to other layers."""

    identity: Callable[[], Mapping[str, Any] | None]
    """Returns ``study.json``."""
    study: Callable[[], Study]
    """Replays the journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found."""

    findings: tuple[Finding, ...]
    """The worst first."""
    file_count: int
    """Files and folders of the study."""
    study: Study | None
    """None when its journal cannot be replayed: then only little was checked."""

    def count(self, severity: Severity) -> int:
        """Return how many findings are so bad."""
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def repairable(self) -> int:
        """How many findings can be mended."""
        return sum(finding.is_repairable for finding in self.findings)


def examine(
    layout: StudyLayout,
    sources: Sources,
    *,
    is_driven: bool,
    jobs: Mapping[str, str] | None = None,
    most_files: int = folder.MOST_FILES,
) -> Examination:
    """Check a study's directory.

    ``is_driven`` tells whether a driver is alive; ``jobs`` are the live jobs of the backend by
    their array's token, asked for before this call, and None when nobody could be asked.
    """
    tree = Tree(layout.root)
    findings = [*history.check_identity(layout, sources.identity)]
    findings += history.check_journal(layout)
    study: Study | None = None
    if all(finding.severity is not Severity.ERROR for finding in findings):
        study, more = history.check_replay(layout, sources.study)
        findings += more
    if study is not None:
        subject = Subject(
            layout=layout,
            tree=tree,
            study=study,
            is_driven=is_driven,
            jobs=jobs,
            dropped=history.dropped_checkpoints(layout),
        )
        for check in (
            work.check_jobs,
            work.check_arrays,
            work.check_offers,
            work.check_claims,
            work.check_settled,
            results.check_logs,
            results.check_checkpoints,
            folder.check_modes,
            folder.check_left_over,
            folder.check_status,
            folder.check_lease,
        ):
            findings += check(subject)
        findings += folder.check_size(subject, most_files)
    findings.sort(key=lambda finding: _ORDER[finding.severity])
    return Examination(findings=tuple(findings), file_count=tree.count, study=study)

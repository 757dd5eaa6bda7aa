"""``slurmtune fsck``: look for damage in a study's directory, and mend what loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurmtune.cli import clock, output, study, text
from slurmtune.cli.options import JsonOption, StudyArgument
from slurmtune.errors import BackendError, DriverBusyError, SlurmtuneError
from slurmtune.store.layout import StudyLayout

if TYPE_CHECKING:
    from slurmtune.analysis.fsck.examine import Examination
    from slurmtune.analysis.fsck.finding import Finding, Mended
    from slurmtune.driver.opening import Opened

EXIT_ERRORS = 3
_INDENT = " " * 9


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="fsck")(fsck)


def fsck(
    argument: StudyArgument = None,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended without losing anything.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check the files of a study against its journal.

    \b
    Examples
      slurmtune fsck              only looks, also while the study runs
      slurmtune fsck --repair     mends; no driver may be alive

    Exit code 3 when errors remain. What is damaged is renamed to .damaged-*, never deleted, and
    the journal is left as it is.
    """
    layout = study.find(argument)
    asked = _ask_slurm(layout)
    found = _examine(layout, asked)
    mended: list[Mended] = []
    refusal = ""
    if repair:
        try:
            mended = _repair(layout, asked)
        except DriverBusyError:
            raise
        except SlurmtuneError as error:
            refusal = str(error)
        else:
            found = _examine(layout, asked)
    report = _Report(layout=layout, found=found, mended=mended, refusal=refusal, asked=asked)
    if json:
        output.say_json(report.as_json())
    else:
        report.say(offer_repair=not repair)
    if report.errors:
        raise typer.Exit(EXIT_ERRORS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What Slurm said about the study's jobs."""

    jobs: Mapping[str, str] | None
    note: str
    """Why nobody was asked; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """What is told to the user."""

    layout: StudyLayout
    found: Examination
    mended: list[Mended]
    refusal: str
    asked: _Asked

    @property
    def errors(self) -> int:
        """How many errors remain."""
        from slurmtune.analysis.fsck.finding import Severity

        return self.found.count(Severity.ERROR)

    def as_json(self) -> dict[str, Any]:
        """Return it as data."""
        return {
            "schema": "slurmtune.fsck/1",
            "study": study.name(self.layout),
            "dir": self.layout.root,
            "files": self.found.file_count,
            "jobs": None if self.asked.jobs is None else len(self.asked.jobs),
            "findings": [_as_json(finding) for finding in self.found.findings],
            "mended": [
                {**_as_json(one.finding), "problem": one.problem or None} for one in self.mended
            ],
            "refusal": self.refusal or None,
        }

    def say(self, *, offer_repair: bool) -> None:
        """Print it."""
        for one in self.mended:
            done = f"not mended ({one.problem})" if one.problem else "mended"
            output.say(f"{done}: {one.finding.path} ({one.finding.code})")
        for finding in self.found.findings:
            output.say(_lines(finding))
        if self.refusal:
            output.error(f"nothing was mended: {self.refusal}")
        if self.asked.note:
            output.say(text.wrap(self.asked.note, first="note     ", rest=_INDENT))
        output.say(self._summary(offer_repair=offer_repair))

    def _summary(self, *, offer_repair: bool) -> str:
        from slurmtune.analysis.fsck.finding import Severity

        name = study.name(self.layout)
        files = f"{self.found.file_count:,} files and folders"
        errors, warnings = (
            self.found.count(severity) for severity in (Severity.ERROR, Severity.WARNING)
        )
        if not errors and not warnings:
            verdict = f"{name}: sound; {files}"
        else:
            counts = [
                text.plural(number, word)
                for number, word in ((errors, "error"), (warnings, "warning"))
                if number
            ]
            verdict = f"{name}: {text.joined(counts)}; {files}"
        count = self.found.repairable
        if offer_repair and count:
            verdict += f"\n{count} can be mended:  slurmtune fsck {name} --repair"
        return verdict


def _examine(layout: StudyLayout, asked: _Asked, *, owned: bool = False) -> Examination:
    from slurmtune.analysis.fsck.examine import Sources, examine
    from slurmtune.spec import launching

    found = examine(
        layout,
        Sources(
            identity=lambda: launching.read_identity(layout),
            study=lambda: launching.read_study(layout),
        ),
        is_driven=not owned and study.driver_state(layout).alive,
        jobs=asked.jobs,
    )
    refusal = "" if found.study is not None else study.why_code_is_not_run(layout)
    if not refusal:
        return found
    return replace(found, findings=tuple(_without_replay(one, refusal) for one in found.findings))


def _without_replay(finding: Finding, refusal: str) -> Finding:
    """Return the finding; of a journal that was not replayed, without calling it damaged."""
    if finding.code != "replay":
        return finding
    words = f"nothing that follows from the journal was checked: {refusal}"
    return replace(finding, words=words)


def _ask_slurm(layout: StudyLayout) -> _Asked:
    """Ask for the study's jobs, if it runs on Slurm."""
    from slurmtune.spec import jobs, launching

    if jobs.backend_name(layout) != "slurm":
        return _Asked(jobs=None, note="")
    try:
        identity = launching.read_identity(layout)
        if identity is None:
            return _Asked(jobs=None, note="")
        return _Asked(jobs=jobs.live_jobs(str(identity["study_id"])), note="")
    except BackendError as error:
        return _Asked(jobs=None, note=f"the jobs of the study were not checked: {error}")
    except (SlurmtuneError, OSError, ValueError):
        return _Asked(jobs=None, note="")  # the examination says what is wrong with study.json


def _repair(layout: StudyLayout, asked: _Asked) -> list[Mended]:
    """Become the driver, so that no other can start meanwhile, and mend.

    Raises:
        DriverBusyError: a driver is alive.
        StudyStateError: the journal cannot be continued.
    """
    from slurmtune.analysis.fsck.finding import mend_all
    from slurmtune.driver.clock import SystemClock
    from slurmtune.driver.opening import open_study
    from slurmtune.errors import StudyStateError
    from slurmtune.spec import build, launching
    from slurmtune.spec.custom import stored_code

    identity = launching.read_identity(layout)
    if identity is None:
        raise StudyStateError(f"{layout.study} is missing")
    empty = build.build_study(identity["core"], stored_code(layout, identity["core"]))
    opened = open_study(layout, empty, SystemClock())
    try:
        found = _examine(layout, asked, owned=True)
        mended = list(mend_all(found.findings, opened.journal.check_owner))
        opened.journal.check_owner()
        _publish(layout, opened, found)
        return mended
    finally:
        _leave(layout, opened)


def _publish(layout: StudyLayout, opened: Opened, found: Examination) -> None:
    """Publish a fresh overview, with what only a driver knew as it was."""
    from slurmtune.analysis.record import read_overview
    from slurmtune.core.overview import Surroundings, overview
    from slurmtune.driver.files import DirectoryFiles
    from slurmtune.errors import StudyStateError
    from slurmtune.spec import jobs

    if found.study is None:
        return
    try:
        old = read_overview(layout) or {}
    except StudyStateError:
        old = {}
    spec = study.identity(layout)["spec"]
    now = clock.now()
    around = Surroundings(
        name=study.name(layout),
        directory=layout.root,
        backend=str(old.get("backend", "")) or jobs.backend_name(layout),
        resource=str((spec.get("fidelity") or {}).get("resource", "")),
        now=now,
        opened=float(old.get("opened", opened.first_time or now)),
        expected_trials=old.get("trials", {}).get("expected"),
        parallel=old.get("parallel"),
        array_limit=old.get("array_limit"),
        queries=old.get("queries"),
    )
    released = opened.lease.beat(now, released=True)
    files = DirectoryFiles(layout, manifest_base={}, mine=released)
    files.publish_overview(overview(found.study, around))


def _leave(layout: StudyLayout, opened: Opened) -> None:
    """Let the next driver in; one that took over meanwhile keeps its lease."""
    from slurmtune.errors import DriverFencedError
    from slurmtune.store import lease

    try:
        opened.journal.check_owner()
        lease.write(layout, opened.lease.beat(clock.now(), released=True))
    except DriverFencedError:
        pass
    finally:
        opened.journal.close()


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity.value,
        "code": finding.code,
        "path": finding.path,
        "message": finding.words,
        "repairable": finding.is_repairable,
    }


def _lines(finding: Finding) -> str:
    """Return one finding: severity, where, and what it means below."""
    level = finding.severity.value
    colour = {"error": "red", "warning": "yellow", "note": "accent"}[level]
    mark = "  [can be mended]" if finding.is_repairable else ""
    head = f"{output.paint(level, colour)}{' ' * (9 - len(level))}{finding.path}{mark}"
    words = text.wrap(f"{finding.words} ({finding.code})", first=_INDENT, rest=_INDENT)
    return f"{head}\n{words}"

"""What was decided about trials, when, and what the scheduler saw then: read off the journal.

Nothing here is stored beside the journal: its records are replayed, and after each of them the
study tells what it judged. Losses become values of the user's metric here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from slurmtune.core.events import (
    AttemptQueued,
    ConfigProposed,
    Event,
    LimitReached,
    Resource,
    SpaceExhausted,
    StopRequested,
    StudyOpened,
)
from slurmtune.core.ids import parse_attempt_id
from slurmtune.core.objective import Objective
from slurmtune.core.ports import Asked, Standing
from slurmtune.core.record import TrialRecord
from slurmtune.core.study import Study
from slurmtune.core.trial import TrialState
from slurmtune.core.verdict import Verdict, VerdictKind
from slurmtune.driver.recovery import replay
from slurmtune.errors import StudyNotFoundError
from slurmtune.store.codec import decode_event

Record = Mapping[str, Any]
"""A record of the journal."""
_LOSS = re.compile(r"\bloss\b(?: (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\b)?")
"""How schedulers speak of the metric."""
See = Callable[[int, Event], None]
"""Called after each record with its number and its event, when the study has followed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A trial that a trial is compared with."""

    trial: int
    value: float | None
    """Of the metric; None if it failed or has no finite result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """A verdict in the user's terms: values of the metric, never losses."""

    record: int
    """Number of its record in the journal, from 0."""
    time: float
    """By the driver's clock, in seconds since 1970."""
    verdict: Verdict
    resource: Resource | None
    """What the rung trains for, of a stopped trial what it had reached, if that is less; None
    where trials are not cut into rungs."""
    next_rung: int
    """Rung that a promoted trial goes on to; of others the rung above."""
    next_resource: Resource | None
    """What `next_rung` trains for; None above the last one."""
    value: float | None
    cutoff: float | None
    """Value that had to be reached, where there is one."""
    best: float | None = None
    """Value that it is ranked by, where that is not `value`."""
    measured: Resource | None = None
    """What the trial was trained for when it reported `value`, or failed, where that is not
    `resource`."""
    compared: tuple[Rival, ...] = ()
    """Trials that it was compared with at that moment, best first, itself among them."""
    is_late: bool = False
    """Whether the trial was told to stop and finished before it could; said of both verdicts,
    of the stop only where it is known what followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """How a paused trial stands now."""

    rung: int
    """The rung that it finished last."""
    resource: Resource | None
    standing: Standing | None
    cutoff: float | None
    compared: tuple[Rival, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that was decided about one trial."""

    trial: int
    began: float
    """When its config was proposed."""
    asked: Asked
    rulings: tuple[Ruling, ...]
    prospect: Prospect | None
    """None for a trial that runs, waits for a slot or has ended."""


class EntryKind(Enum):
    """What a line of the ledger tells besides verdicts."""

    OPENED = "opened"
    STARTED = "started"
    REPEATED = "repeated"
    EXHAUSTED = "exhausted"
    LIMIT = "limit"
    STOP = "stop"
    HALTED = "halted"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger."""

    record: int
    time: float
    kind: EntryKind | VerdictKind
    trial: int | None = None
    ruling: Ruling | None = None
    detail: str = ""
    """Of an `EntryKind`: the origin of a config, an attempt, a limit, the reason of an end."""


@dataclass(slots=True)
class _Collected:
    rulings: list[Ruling] = field(default_factory=list)
    began: float = 0.0


def follow(study: Study, records: Iterable[Record], see: See) -> None:
    """Replay the journal into ``study``, checked, and call ``see`` after each record.

    Raises:
        ReplayError: a recorded decision does not follow.
        CorruptJournalError: a record is damaged.
    """

    def observed() -> Iterator[Record]:
        for number, record in enumerate(records):
            yield record
            # The replay asks for the next record when it has followed this one.
            see(number, decode_event(record["e"]))

    replay(study, observed())


def story(study: Study, records: Iterable[Record], trial: int) -> Story:
    """Return the story of a trial; afterwards ``study`` is as the journal tells it.

    Raises:
        StudyNotFoundError: there is no such trial.
        ReplayError: a recorded decision does not follow.
        CorruptJournalError: a record is damaged.
    """
    found = _Collected()

    def see(number: int, event: Event) -> None:
        if isinstance(event, ConfigProposed) and event.trial == trial:
            found.began = event.time
        for verdict in study.verdicts:
            if verdict.trial == trial:
                found.rulings.append(
                    ruling(study, number, event.time, verdict, with_compared=True)
                )

    follow(study, records, see)
    if trial >= len(study.trials):
        count = len(study.trials)
        raise StudyNotFoundError(
            f"there is no trial {trial}: the study has {count} trial{'s' * (count != 1)}, "
            "from 0 on"
        )
    return Story(
        trial=trial,
        began=found.began,
        asked=study.results.history.asked[trial],
        rulings=_with_hindsight(found.rulings),
        prospect=_prospect(study, trial),
    )


def ledger(study: Study, records: Iterable[Record], trial: int | None = None) -> list[Entry]:
    """Return all decisions in order, or those about one trial.

    Raises:
        ReplayError: a recorded decision does not follow.
        CorruptJournalError: a record is damaged.
    """
    entries: list[Entry] = []
    halt = finished = ""

    def see(number: int, event: Event) -> None:
        nonlocal halt, finished
        told = _told(event)
        if told is not None:
            kind, about, detail = told
            entries.append(
                Entry(record=number, time=event.time, kind=kind, trial=about, detail=detail)
            )
        entries.extend(
            Entry(
                record=number,
                time=event.time,
                kind=verdict.kind,
                trial=verdict.trial,
                ruling=ruling(study, number, event.time, verdict),
            )
            for verdict in study.verdicts
        )
        if study.halt not in {halt, "", "stopped"} and not isinstance(event, LimitReached):
            detail = study.halt_text or study.halt
            entries.append(
                Entry(record=number, time=event.time, kind=EntryKind.HALTED, detail=detail)
            )
        # Opened again with nothing left to do it ends at once, by the same decision.
        ends_again = isinstance(event, StudyOpened)
        if study.finished and (ends_again or study.finished != finished):
            entries.append(
                Entry(
                    record=number,
                    time=event.time,
                    kind=EntryKind.FINISHED,
                    detail=study.finished,
                )
            )
        halt, finished = study.halt, study.finished

    follow(study, records, see)
    wanted = [entry for entry in entries if trial is None or entry.trial == trial]
    told = iter(_with_hindsight([one.ruling for one in wanted if one.ruling is not None]))
    return [one if one.ruling is None else replace(one, ruling=next(told)) for one in wanted]


def _with_hindsight(rulings: Sequence[Ruling]) -> tuple[Ruling, ...]:
    """Return the rulings, in order, with stops marked that came too late."""
    late = {ruling.verdict.trial for ruling in rulings if ruling.is_late}
    return tuple(
        replace(one, is_late=True)
        if one.verdict.kind is VerdictKind.STOPPED and one.verdict.trial in late
        else one
        for one in rulings
    )


def ruling(
    study: Study, record: int, time: float, verdict: Verdict, *, with_compared: bool = False
) -> Ruling:
    """Return a verdict that the study has just given, in the user's terms."""
    ladder = study.scheduler.ladder(verdict.bracket)
    above = verdict.rung + 1
    if verdict.kind is VerdictKind.PROMOTED and verdict.trial is not None:
        above = study.trials[verdict.trial].target_rung
    to_value = study.settings.objective.value
    standing = _in_values(verdict.standing, study.settings.objective)
    value = to_value(verdict.loss)
    if study.scheduler.separate_rungs and verdict.trial is not None and value is not None:
        # Trials are compared by their means.
        value = study.trials[verdict.trial].values.get(verdict.rung, value)
    resource = ladder[verdict.rung] if verdict.rung < len(ladder) else None
    if verdict.kind is VerdictKind.STOPPED and verdict.trial is not None:
        resource = _reached(study.trials[verdict.trial], resource)
    is_late = (
        verdict.kind is VerdictKind.COMPLETED
        and verdict.trial is not None
        and study.trials[verdict.trial].stop_wanted
    )
    return Ruling(
        record=record,
        time=time,
        verdict=replace(verdict, standing=standing),
        resource=resource,
        next_rung=above,
        next_resource=ladder[above] if above < len(ladder) else None,
        value=value,
        cutoff=None if standing is None else to_value(standing.cutoff),
        best=None if standing is None else to_value(standing.best),
        measured=_measured(study, verdict, resource),
        compared=(
            _compared(study, verdict.trial, verdict.rung)
            if with_compared and verdict.trial is not None and not is_late
            else ()
        ),
        is_late=is_late,
    )


def _in_values(standing: Standing | None, objective: Objective) -> Standing | None:
    """Return a standing whose words tell values of the metric.

    Schedulers know no name for it and minimise: they speak of ``loss``, or ``loss -0.9``.
    """
    if standing is None:
        return None

    def told(found: re.Match[str]) -> str:
        value = None if found[1] is None else objective.value(float(found[1]))
        return objective.metric if value is None else f"{objective.metric} {value:.6g}"

    rule, outlook = (_LOSS.sub(told, words) for words in (standing.rule, standing.outlook))
    return replace(standing, rule=rule, outlook=outlook)


def _measured(study: Study, verdict: Verdict, resource: Resource | None) -> Resource | None:
    """Return where a trial was at a verdict, if that is not at the rung.

    A program need not report there.
    """
    if verdict.trial is None or study.scheduler.separate_rungs:
        return None
    trial = study.trials[verdict.trial]
    if verdict.kind is VerdictKind.FAILED:
        reached = _reached(trial, resource)
        return None if reached == resource else reached
    # A promotion tells where it leads, a stop on the way was at no rung.
    if verdict.kind is VerdictKind.PROMOTED or verdict.loss is None:
        return None
    return trial.other_resources.get(verdict.rung)


def _reached(trial: TrialRecord, most: Resource | None) -> Resource | None:
    """Return how far a trial was when it was stopped: it need not have come to a rung."""
    attempt = trial.last_attempt
    if most is None or attempt is None:
        return most
    return min(most, attempt.start if attempt.resource is None else attempt.resource)


def _prospect(study: Study, number: int) -> Prospect | None:
    trial = study.trials[number]
    if trial.state is not TrialState.PAUSED:
        return None
    rung = trial.finished_rung
    standing = _in_values(study.scheduler.standing(number, rung), study.settings.objective)
    cutoff = None if standing is None else standing.cutoff
    return Prospect(
        rung=rung,
        resource=study.scheduler.ladder(trial.bracket)[rung],
        standing=standing,
        cutoff=study.settings.objective.value(cutoff),
        compared=_compared(study, number, rung),
    )


def _compared(study: Study, trial: int, rung: int) -> tuple[Rival, ...]:
    to_value = study.settings.objective.value
    found: Sequence[tuple[int, float | None]] = study.scheduler.compared(trial, rung)
    return tuple(Rival(trial=number, value=to_value(loss)) for number, loss in found)


def _told(event: Event) -> tuple[EntryKind, int | None, str] | None:
    """Return kind, trial and detail of what an event tells by itself."""
    match event:
        case StudyOpened():
            return EntryKind.OPENED, None, ""
        case ConfigProposed(trial=trial, origin=origin):
            return EntryKind.STARTED, trial, origin
        case SpaceExhausted():
            return EntryKind.EXHAUSTED, None, ""
        case AttemptQueued(attempt=attempt):
            key = parse_attempt_id(attempt)
            return (EntryKind.REPEATED, key.trial, attempt) if key.number > 1 else None
        case StopRequested(trial=trial):
            return EntryKind.STOP, trial, ""
        case LimitReached(limit=limit):
            return EntryKind.LIMIT, None, limit
        case _:
            return None

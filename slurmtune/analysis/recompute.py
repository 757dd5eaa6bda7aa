"""All decisions once more, from what the trials reported: the proof that none was made otherwise.

The order of events is the journal's, for nothing else has it. What trials reported is taken from
their own event logs, which only their slots write, and must be what the journal says, bit for bit.
Every action and every verdict that follows must then be the recorded one. Every config is drawn
again where the journal has it, from the results before it, and must be the recorded one too, if
the same versions of everything drew it.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slurmtune.core.events import (
    AttemptEnded,
    AttemptReported,
    AttemptStarted,
    CheckpointSaved,
    ConfigProposed,
    Event,
    SpaceExhausted,
    StudyOpened,
)
from slurmtune.core.ids import parse_attempt_id, trial_id
from slurmtune.core.ports import Sampler, Scheduler
from slurmtune.core.study import Study
from slurmtune.driver.recovery import record_of
from slurmtune.errors import CorruptJournalError, SlurmtuneError, TransitionError
from slurmtune.store import event_log, fs
from slurmtune.store.codec import decode_event, encode_event
from slurmtune.store.exchange import FileExchange
from slurmtune.store.layout import StudyLayout

FromSlot = AttemptStarted | AttemptReported | CheckpointSaved | AttemptEnded
"""Events that a slot wrote into the log of its attempt."""
Record = Mapping[str, Any]
_MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What values of the wrong kind lead to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """What slots wrote, read apart from the journal."""

    events: Callable[[str], Sequence[Event] | None]
    """Returns what the log of an attempt holds; None when there is none."""
    config: Callable[[str], object]
    """Returns the config that the program of an attempt got; None when it is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How configs are drawn again."""

    sampler: Callable[[int, Scheduler], Sampler]
    """Returns the study's sampler as one launch had it, from the trials that it allowed; the
    scheduler is the one of the study that is recomputed."""
    drawn_by: str
    """Versions of all that they are drawn with here, as `StudyOpened` has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first place where something does not agree."""

    record: int
    """Number of the journal's record, from 0."""
    what: str
    """What is compared, in words."""
    recorded: str
    """What the journal says."""
    computed: str
    """What the raw results, or the records before, say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What came of recomputing a study."""

    records: int
    """Records that were followed: all, or those before the difference."""
    trials: int
    results: int
    """Records of slots that the journal and the event logs hold alike."""
    decisions: Mapping[str, int]
    """How many decisions agree, by kind: the name of an action or of a verdict."""
    draws: int
    """Configs that were drawn again and agree, also where there was no further one."""
    other_draws: Mapping[str, int]
    """How many came out otherwise, by the versions that drew them first, where these are others
    than here or are not known: the recorded config was believed."""
    undrawn: str
    """Why configs were not drawn again, from some launch on; empty: all were, or none was to."""
    unrecorded: int
    """Verdicts that an older slurmtune did not record: only their actions were compared."""
    missing: tuple[str, ...]
    """Attempts whose event log is gone; what the journal says of them was believed."""
    difference: Difference | None

    @property
    def count(self) -> int:
        """How many decisions agree."""
        return sum(self.decisions.values())


class _DiffersError(Exception):
    """Carries the first difference out of the loop."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference.what)
        self.difference = difference


def raw_results(layout: StudyLayout) -> Raw:
    """Return how to read the raw results of a study: event logs exactly as a driver does."""

    def events(attempt: str) -> Sequence[Event] | None:
        try:
            if event_log.EVENTS_NAME not in fs.list_dir(layout.attempt(attempt)):
                return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        exchange = FileExchange(layout, ())
        exchange.watch(attempt, offered=False)
        found: list[Event] = []
        # A driver reads a part at a time, and a log with a bad place twice.
        while more := exchange.read(0.0):
            found += more
        return found

    def config(attempt: str) -> object:
        try:
            return json.loads(fs.read_file(layout.config(attempt)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            return f"it cannot be read: {error}"

    return Raw(events=events, config=config)


def recompute(
    study: Study, records: Sequence[Record], raw: Raw, drawing: Drawing | None = None
) -> Check:
    """Return whether every decision of the journal follows.

    Args:
        study: The one without events.
        records: Those of the journal.
        raw: What slots wrote.
        drawing: How configs are drawn again; None: they are believed.

    Raises:
        CorruptJournalError: a record is damaged.
    """
    run = _Run(study, raw, drawing)
    difference = None
    followed = 0
    try:
        for number, record in enumerate(records):
            run.follow(number, record)
            followed += 1
        run.finish(len(records) - 1)
    except _DiffersError as found:
        difference = found.difference
    return Check(
        records=followed,
        trials=len(study.trials),
        results=run.results,
        decisions=dict(run.decisions),
        draws=run.draws,
        other_draws=dict(run.other_draws),
        undrawn=run.undrawn,
        unrecorded=run.unrecorded,
        missing=tuple(run.missing),
        difference=difference,
    )


class _Run:
    """One pass over the journal."""

    def __init__(self, study: Study, raw: Raw, drawing: Drawing | None) -> None:
        self._study = study
        self._raw = raw
        self._drawing = drawing
        self._sampler: Sampler | None = None
        self._drawn_by = ""
        """What the last launch drew configs with."""
        self.draws = 0
        self.other_draws: Counter[str] = Counter()
        self.undrawn = ""
        self._logs: dict[str, dict[int, FromSlot]] = {}
        """What is left of the logs of attempts that have not ended, by position."""
        self._records_verdicts = False
        """Whether a record had verdicts: from then on all must."""
        self.results = 0
        self.decisions: Counter[str] = Counter()
        self.unrecorded = 0
        self.missing: dict[str, None] = {}

    def follow(self, number: int, record: Record) -> None:
        """Follow one record.

        Raises:
            _DiffersError: something does not agree.
            CorruptJournalError: the record is damaged.
        """
        if not isinstance(record.get("e"), dict):
            raise CorruptJournalError(f"record {number} of the journal holds no event")
        event = decode_event(record["e"])
        if isinstance(event, FromSlot) and event.seq is not None:
            event = self._from_log(number, event, event.seq)
        if isinstance(event, ConfigProposed | SpaceExhausted):
            self._draw(number, event)
        self._handle(number, record, event)
        if isinstance(event, StudyOpened) and self._drawing is not None:
            self._begin_drawing(event, self._drawing)
        if isinstance(event, AttemptEnded):
            self._close(number, event.attempt)

    def finish(self, number: int) -> None:
        """Look at what is left of the logs of attempts that did not end."""
        for attempt in list(self._logs):
            self._close(number, attempt)

    def _begin_drawing(self, event: StudyOpened, drawing: Drawing) -> None:
        """Each launch made its sampler anew: of more trials, perhaps by other versions."""
        self._drawn_by, self._sampler = str(event.drawn_by), None
        try:
            self._sampler = drawing.sampler(event.limits.trials, self._study.scheduler)
        except (SlurmtuneError, *_MISFITS) as error:
            self.undrawn = self.undrawn or str(error).partition("\n")[0]

    def _draw(self, number: int, event: ConfigProposed | SpaceExhausted) -> None:
        """Draw the config again, at the point where the driver had drawn it."""
        history = self._study.results.history
        is_asked = len(history.asked) > len(history.configs) == event.trial
        if self._sampler is None or self._drawing is None or not is_asked:
            return  # if nobody asked for it, the study says so
        recorded = _drawn(
            *((event.config, event.origin) if isinstance(event, ConfigProposed) else (None, ""))
        )
        try:
            config = self._sampler.propose(event.trial, history, self._study.settings.seed)
            computed = _drawn(config, self._sampler.origin(event.trial))
        except (SlurmtuneError, *_MISFITS) as error:
            computed = f"it cannot be drawn: {error}"
        if computed == recorded:
            self.draws += 1
        elif self._drawn_by != self._drawing.drawn_by:
            self.other_draws[self._drawn_by] += 1
        else:
            raise _DiffersError(
                Difference(
                    record=number,
                    what=f"the config drawn for {trial_id(event.trial)}",
                    recorded=recorded,
                    computed=computed,
                )
            )

    def _from_log(self, number: int, event: FromSlot, seq: int) -> FromSlot:
        """Return the event as the slot wrote it, with the journal's time."""
        attempt = event.attempt
        if not self._is_known(attempt) or not isinstance(seq, int):
            return event  # it cannot be, and the study says so
        log = self._logs.get(attempt)
        if log is None and attempt not in self.missing:
            log = self._open(number, attempt)
        if log is None:
            return event
        what = f"result {seq} of {attempt} ({type(event).__name__})"
        found = log.pop(seq, None)
        if found is None:
            raise _DiffersError(
                Difference(
                    record=number,
                    what=what,
                    recorded=_text(encode_event(event)),
                    computed="events.log holds no such record, or is damaged before it",
                )
            )
        found = dataclasses.replace(found, time=event.time)
        _compare(number, what, encode_event(event), encode_event(found))
        self.results += 1
        return found

    def _is_known(self, attempt: str) -> bool:
        try:
            self._study.attempt(attempt)
        except (TransitionError, TypeError, ValueError):
            return False
        return True

    def _open(self, number: int, attempt: str) -> dict[int, FromSlot] | None:
        events = self._raw.events(attempt)
        if events is None:
            self.missing[attempt] = None
            return None
        config = self._raw.config(attempt)
        if config is not None:
            proposed = self._study.trials[parse_attempt_id(attempt).trial].config
            _compare(number, f"config of {attempt}", dict(proposed), config)
        log = {e.seq: e for e in events if isinstance(e, FromSlot) and e.seq is not None}
        self._logs[attempt] = log
        return log

    def _close(self, number: int, attempt: str) -> None:
        """Check that no result was passed over; those behind the last one came too late."""
        log = self._logs.pop(attempt, {})
        last = self._study.attempt(attempt).last_seq
        passed_over = min((seq for seq in log if seq < last), default=None)
        if passed_over is not None:
            raise _DiffersError(
                Difference(
                    record=number,
                    what=f"result {passed_over} of {attempt}",
                    recorded="nothing",
                    computed=_text(_without_time(encode_event(log[passed_over]))),
                )
            )

    def _handle(self, number: int, record: Record, event: Event) -> None:
        what = f"what follows from {_about(event)}"
        lines = record.get("a", [])
        try:
            actions = self._study.handle(event)
        except (TransitionError, *_MISFITS) as error:
            computed = f"this cannot be: {error}"
            raise _DiffersError(
                Difference(record=number, what=what, recorded=_text(lines), computed=computed)
            ) from error
        if actions is None:
            computed = "it changes nothing, and only what changes something is recorded"
            raise _DiffersError(
                Difference(record=number, what=what, recorded=_text(lines), computed=computed)
            )
        verdicts = self._study.verdicts
        derived = record_of(event, actions, verdicts)
        _compare(number, what, lines, derived.get("a", []))
        self.decisions.update(type(action).__name__ for action in actions)
        if "v" not in record and not self._records_verdicts:
            self.unrecorded += len(verdicts)
            return
        self._records_verdicts = True
        _compare(
            number,
            f"what is judged after {_about(event)}",
            record.get("v", []),
            derived.get("v", []),
        )
        self.decisions.update(verdict.kind.value for verdict in verdicts)


def _drawn(config: Mapping[str, Any] | None, origin: str) -> str:
    return "no further config" if config is None else f"{_text(dict(config))} from {origin}"


def _compare(number: int, what: str, recorded: Any, computed: Any) -> None:
    """Compare as text: it tells 1 from 1.0, and 0.0 from -0.0, and every bit of a float."""
    ours, theirs = _text(recorded), _text(computed)
    if ours != theirs:
        raise _DiffersError(Difference(record=number, what=what, recorded=ours, computed=theirs))


def _about(event: Event) -> str:
    name = type(event).__name__
    attempt = getattr(event, "attempt", None)
    if isinstance(event, ConfigProposed):
        return f"{name} of trial {event.trial}"
    return f"{name} of {attempt}" if attempt else name


def _without_time(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "time"}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)

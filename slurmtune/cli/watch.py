"""What ``launch`` shows while a study runs: events that scroll, and one live line below them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slurmtune.cli import clock, output, summary, text
from slurmtune.cli.summary import HAPPENED
from slurmtune.core.events import (
    ArraySubmitted,
    AttemptEnded,
    AttemptReported,
    Event,
    LimitReached,
    Resource,
    SlotEnded,
    SpaceExhausted,
    StudyOpened,
)
from slurmtune.core.ids import trial_id
from slurmtune.core.overview import best, stray_words
from slurmtune.core.request import GROWTH, parse_class
from slurmtune.core.trial import Outcome, TrialState
from slurmtune.core.verdict import VerdictKind
from slurmtune.slurm.reason import never_starts, plain_reason

if TYPE_CHECKING:
    from slurmtune.cli.output import LiveLine
    from slurmtune.core.ports import Observation
    from slurmtune.core.record import AttemptRecord, TrialRecord
    from slurmtune.core.study import Study
    from slurmtune.core.verdict import Verdict
    from slurmtune.store.layout import StudyLayout

_STATE_LINE_SECONDS = 600.0
"""How often the state is told where nobody sees the live line."""
_MOST_TAIL = 6
_TIMES = f"{float(GROWTH):g}"
_BAR = 8
_STRAY = "stray"
_RETRY_KEYS = {
    Outcome.FAILED: "crash",
    Outcome.TIMEOUT: "timeout",
    Outcome.PREEMPTED: "preempted",
    Outcome.OUT_OF_MEMORY: "oom",
    Outcome.NODE_FAILED: "node_fail",
    Outcome.LOST: "node_fail",
}


class Watcher:
    """Tells a person what happens (a `slurmtune.driver.ports.Observer`)."""

    def __init__(
        self,
        line: LiveLine,
        layout: StudyLayout,
        *,
        name: str,
        resource: str,
        command_of: Any,
    ) -> None:
        self._line = line
        self._layout = layout
        self._name = name
        self._resource = resource
        self._command_of = command_of
        self._began = clock.now()
        self._has_result = False
        self._best: dict[str, Any] | None = None
        self._seen = 0
        """Results that were told."""
        self._stopped: set[int] = set()
        """Trials of which it was told that they are stopped."""
        self._halt = ""
        self._next_state = clock.now() + _STATE_LINE_SECONDS
        self._told: set[str] = set()

    def applied(self, event: Event, study: Study) -> None:
        """Show the event if a person wants to know it."""
        match event:
            case StudyOpened():
                self._opened(study)
            case ArraySubmitted():
                self._submitted(event, study)
            case AttemptEnded():
                self._ended(event, study)
            case AttemptReported():
                self._reported(event, study)
            case LimitReached(limit=limit):
                self._tell(event.time, f"stop.{limit} is reached: nothing new is started")
            case SpaceExhausted():
                self._tell(event.time, "the sampler has no further config")
            case SlotEnded(outcome=Outcome.NODE_FAILED):
                self._tell(event.time, f"a node failed under slot {event.index}: {event.reason}")
        self._results(event, study)
        for verdict in study.verdicts:
            if verdict.trial is None:
                self._tell(event.time, _of_rung(verdict))
        if study.halt and study.halt != self._halt and not isinstance(event, LimitReached):
            self._tell(event.time, self._halt_words(study))
        self._halt = study.halt

    def message(self, words: str) -> None:
        """Show something that a user should know."""
        self._tell(clock.now(), words)

    def looked(self, overview: Mapping[str, Any]) -> None:
        """Renew the live line; without a terminal tell the state now and then."""
        for group in overview["queue"]:
            reason = str(group["reason"])
            if never_starts(reason):
                jobs = text.plural(group["jobs"], "job")
                self._tell_once(f"{jobs} can never start: {plain_reason(reason)} ({reason})")
        words = self._state_words(overview)
        if self._line.is_live:
            self._line.show(words)
        elif clock.now() >= self._next_state:
            self._next_state = clock.now() + _STATE_LINE_SECONDS
            self._tell(clock.now(), words)

    # ---------------------------------------------------------------- events

    def _opened(self, study: Study) -> None:
        """Know what an earlier driver has told."""
        self._has_result = bool(study.results.good_trials)
        self._seen = len(study.results.history.observations)
        self._best = best(study)
        if study.results.strays:
            self._told.add(_STRAY)

    def _submitted(self, event: ArraySubmitted, study: Study) -> None:
        array = study.fleet.arrays[event.token]
        indices = "0" if array.size == 1 else f"0-{array.size - 1}"
        slots = text.plural(array.size, "slot")
        if event.job == event.token:
            self._tell(event.time, f"started {slots} on this machine")
            return
        self._tell(event.time, f"submitted {slots}   job {event.job}, array {indices}")
        logs = text.short_path(self._layout.logs)
        self._more("logs", f"{logs}/{event.job}_*.log        status: slurmtune status")

    def _reported(self, event: AttemptReported, study: Study) -> None:
        attempt = study.attempt(event.attempt)
        name = trial_id(attempt.trial)
        for verdict in study.verdicts:
            if verdict.kind is VerdictKind.STOPPED and verdict.trial is not None:
                self._stopped.add(verdict.trial)
        if attempt.end is not None and event.resource > attempt.end:
            word = self._resource
            self._tell_once(
                f"{name} reported {word} {text.resource(event.resource)}, its budget was "
                f"{text.resource(attempt.end)}. Does the program read SLURMTUNE_END (or "
                "trial.steps())? Training further is time lost",
                key="budget",
            )
        metric = study.settings.objective.metric
        value = event.metrics.get(metric)
        if value is not None and not math.isfinite(value):
            config = text.params(study.trials[attempt.trial].config)
            self._tell_once(
                f"{name}: {metric} became {value} at {self._resource or 'report'} "
                f"{text.resource(event.resource)} ({config}): counts as the worst",
                key=f"not finite {name}",
            )

    def _ended(self, event: AttemptEnded, study: Study) -> None:
        attempt = study.attempt(event.attempt)
        trial = study.trials[attempt.trial]
        if event.outcome is Outcome.SUCCEEDED:
            self._succeeded(study, attempt)
        elif trial.state is TrialState.FAILED or event.outcome is Outcome.FAILED:
            self._failed(event, study, trial, attempt)
        elif event.outcome is not Outcome.CANCELLED or not (
            study.halt or attempt.trial in self._stopped
        ):
            after = _what_follows(study, trial, attempt)
            where = f" on {text.printable(attempt.host)}" if attempt.host else ""
            self._tell(
                event.time,
                f"{_place(study, attempt)} {HAPPENED[event.outcome]}{where}; {after}",
            )

    def _results(self, event: Event, study: Study) -> None:
        """Tell what counts at rungs from now on, and whom the scheduler stopped."""
        found = study.results.history.observations
        news, self._seen = found[self._seen :], len(found)
        stops = [
            verdict
            for verdict in study.verdicts
            if verdict.kind is VerdictKind.STOPPED and isinstance(event, AttemptReported)
        ]
        for seen in news:
            if study.trials[seen.trial].state is not TrialState.FAILED:
                is_stop = any((one.trial, one.rung) == (seen.trial, seen.rung) for one in stops)
                self._result(event.time, study, seen, stopped=is_stop)
        for stop in stops:
            if stop.trial is not None and stop.rung not in study.trials[stop.trial].values:
                self._stop_on_the_way(event, study, study.trials[stop.trial])
        if study.results.strays and _STRAY not in self._told:
            strays = list(study.results.strays.values())
            self._tell_once(stray_words(strays, study.first_reports, self._resource), key=_STRAY)

    def _result(self, time: float, study: Study, seen: Observation, *, stopped: bool) -> None:
        """Tell one result; where trials are compared by their means, with the mean."""
        trial = study.trials[seen.trial]
        metric = study.settings.objective.metric
        value = trial.values[seen.rung]
        words = f"{_named(seen.trial, seen.rung, seen.resource)} {metric} {text.metric(value)}"
        if study.scheduler.separate_rungs and seen.rung:
            here = [attempt.value for attempt in trial.attempts if attempt.rung == seen.rung]
            words += f", the mean of {seen.rung + 1}; here {text.metric(here[-1])}"
        notes = []
        if not self._has_result and seen.loss is not None:
            self._has_result = True
            notes.append(f"first result after {text.duration(clock.now() - self._began)}")
        leader = self._leader_if_new(study, seen)
        if leader and not notes:
            notes.append(leader)
        if stopped:
            notes.append("stopped there")
        elif trial.stop_wanted and trial.state is TrialState.COMPLETED:
            where = "" if trial.stopped_rung is None else f" at rung {trial.stopped_rung}"
            notes.append(f"ended before it could be stopped{where}")
        self._tell(time, words + (f"           {'; '.join(notes)}" if notes else ""))

    def _leader_if_new(self, study: Study, seen: Observation) -> str:
        """Return in which way this result is the best, as `status` tells; empty if it is not."""
        before, self._best = self._best, best(study)
        now = self._best
        if now is None or (now["trial"], now["rung"]) != (trial_id(seen.trial), seen.rung):
            return ""
        if before is not None and (before["trial"], before["rung"]) == (now["trial"], now["rung"]):
            return ""
        is_higher = before is not None and now["rung"] > before["rung"]
        return "first at this rung" if is_higher and not now["rule"] else "new best"

    def _stop_on_the_way(self, event: Event, study: Study, trial: TrialRecord) -> None:
        """Tell that a trial is stopped between rungs."""
        attempt = trial.last_attempt
        if attempt is None:
            return
        at = f" at {self._resource or 'report'} {text.resource(attempt.resource)}"
        metric = study.settings.objective.metric
        words = f"{_place(study, attempt)} {metric} {text.metric(attempt.value)}{at}"
        self._tell(event.time, f"{words}           stopped there")

    def _succeeded(self, study: Study, attempt: AttemptRecord) -> None:
        """Tell once that promotions will cost more than planned."""
        has_higher = attempt.rung < len(study.scheduler.ladder(0)) - 1
        # It may have left one that nobody needs and that is removed already.
        has_saved = bool(study.trials[attempt.trial].rung_checkpoints)
        if has_higher and study.settings.resume and not has_saved:
            self._tell_once(
                f"{trial_id(attempt.trial)} left no checkpoint, so its next rung starts at 0 "
                "again: promotions cost more than planned",
                key="checkpoint",
            )

    def _failed(
        self, event: AttemptEnded, study: Study, trial: TrialRecord, attempt: AttemptRecord
    ) -> None:
        what = HAPPENED[event.outcome]
        if event.exit_code is not None and event.outcome is Outcome.FAILED:
            what += f", exit code {event.exit_code}"
        where = f" on {text.printable(attempt.host)}" if attempt.host else ""
        task = f" (job {attempt.job})" if attempt.job else ""
        headline = f"{_place(study, attempt)} {what}{where}{task}"
        self._tell(event.time, output.paint(headline, "red"))
        self._more("command", shlex.join(self._command_of(trial)))
        if event.cause:
            self._more("cause", text.printable(event.cause))
        for line in event.tail[-_MOST_TAIL:]:
            self._more("", f"| {text.cut(text.printable(line), text.WIDTH - 24)}")
        self._more("then", _what_follows(study, trial, attempt))
        self._more("log", text.short_path(self._layout.output(attempt.id)))

    def _halt_words(self, study: Study) -> str:
        if study.halt == "paused":
            reason = text.printable(study.halt_text)
            return output.paint(f"paused: {reason}. Nothing more is submitted", "red")
        if study.halt == "stopped":
            return "stop was asked for: nothing new is started, running attempts save and leave"
        return f"stop.{study.halt} is reached: nothing new is started"

    # ---------------------------------------------------------------- lines

    def _tell(self, when: float, words: str) -> None:
        if self._line.is_live:
            stamp = f"{text.clock(when)}  "
            rest = " " * len(stamp)
            words = text.wrap(words, first=stamp, rest=rest, width=output.columns())
            self._line.scroll(words)
        else:
            self._line.scroll(f"{text.iso_local(when)}  {words}")

    def _more(self, label: str, words: str) -> None:
        """Print a further line of the event above."""
        self._line.scroll(f"          {label:<7}  {words}" if label else f"{'':<19}{words}")

    def _tell_once(self, words: str, key: str = "") -> None:
        if (key or words) not in self._told:
            self._told.add(key or words)
            self._tell(clock.now(), words)

    def _state_words(self, overview: Mapping[str, Any]) -> str:
        trials, rungs = overview["trials"], overview["rungs"]
        full = round(_BAR * overview["share"])
        parts = [
            f"[{self._name}] {'#' * full}{'-' * (_BAR - full)}",
            summary.started(overview).partition(" trial")[0],
            f"{sum(row['waiting'] for row in rungs)} waiting",
            f"{sum(row['running'] for row in rungs)} running",
        ]
        if trials["failed"]:
            parts.append(f"{trials['failed']} failed")
        if overview["best"] is not None:
            value = next(iter(overview["best"]["values"].values()))
            parts.append(f"best {text.metric(value)}")
        if overview["eta_seconds"] is not None:
            parts.append(f"~{text.duration(overview['eta_seconds'])} left")
        return "  ".join(parts)


def _named(trial: int, rung: int, resource: Resource | None) -> str:
    """Return trial and rung; the only rung of a study without rungs is not told."""
    return trial_id(trial) if resource is None and rung == 0 else f"{trial_id(trial)} rung {rung}"


def _place(study: Study, attempt: AttemptRecord) -> str:
    """Return trial and rung of an attempt that is not over well."""
    trial = study.trials[attempt.trial]
    failed = trial.state is TrialState.FAILED
    rung = trial.finished_rung if failed else study.rung_of(trial)
    return _named(attempt.trial, rung, attempt.end)


def _more_of(trial: TrialRecord, attempt: AttemptRecord) -> str:
    """Return what the next attempt has more of than this one."""
    had = parse_class(attempt.resource_class)
    if trial.longer > had.longer:
        return f" with {_TIMES} times the time limit"
    if trial.larger > had.larger:
        return f" with {_TIMES} times the memory"
    return ""


def _of_rung(verdict: Verdict) -> str:
    """Return what was found out about a rung."""
    if verdict.kind is VerdictKind.RUNG_DROPPED:
        return f"{verdict.note}; no trial is compared there any more (fidelity.guard)"
    return f"{verdict.note}; with asha, fidelity.guard = true leaves such rungs out"


def _what_follows(study: Study, trial: TrialRecord, attempt: AttemptRecord) -> str:
    """Return what slurmtune does about an attempt that did not succeed."""
    if trial.state is TrialState.WAITING:
        if study.halt:
            return "it goes on at the next launch"
        where = "" if attempt.saved is None else f" from {text.resource(attempt.saved)}"
        return f"repeated{where}{_more_of(trial, attempt)}"
    if trial.state is TrialState.STOPPED:
        return "the trial is stopped"
    if trial.state is not TrialState.FAILED:
        return "its result counts"
    key = _RETRY_KEYS.get(attempt.outcome or Outcome.FAILED, "crash")
    return f"not repeated (retry.{key}); the trial counts as the worst"

"""What must hold in every study, whatever goes wrong: checked record by record.

The auditor reads the journal's history as it grows and keeps books of its own: raw reports,
results, ranks, promotions, spent time. It compares them with what the study says, with the slots'
own files, and with a second study that is fed with the records only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, NoReturn

from slurmtune.backends.base import SlotState
from slurmtune.backends.simulation.slot import Slot
from slurmtune.backends.simulator import SimulatedCluster
from slurmtune.core import overview
from slurmtune.core.actions import DropCheckpoints, Offer
from slurmtune.core.events import Event, Limits, Resource
from slurmtune.core.fleet import slot_key
from slurmtune.core.ids import parse_attempt_id, trial_id
from slurmtune.core.study import Study
from slurmtune.core.trial import Outcome, TrialState
from slurmtune.driver.recovery import replay
from slurmtune.errors import ReplayError
from slurmtune.schedulers.racing import RaceTest
from slurmtune.store.codec import decode_event, describe_action, encode_event
from slurmtune.testing.faults.journal import Record
from slurmtune.testing.faults.plan import Plan
from slurmtune.testing.study_rig import snapshot

_EDGES: Mapping[TrialState, frozenset[TrialState]] = {
    # Several steps may lie between two records; final states can never be left.
    TrialState.WAITING: frozenset(TrialState),
    TrialState.RUNNING: frozenset(TrialState),
    TrialState.PAUSED: frozenset({TrialState.PAUSED, TrialState.WAITING, TrialState.STOPPED}),
    TrialState.STOPPED: frozenset({TrialState.STOPPED}),
    TrialState.COMPLETED: frozenset({TrialState.COMPLETED}),
    TrialState.FAILED: frozenset({TrialState.FAILED}),
}
_NO_STEPS = frozenset(
    {"ArrayIntended", "ArraySubmitted", "ArrayRefused", "SlotEnded", "CapacityChanged"}
)
_PASSING = frozenset({"'verdicts'", "'_judged'"})
_CERTAIN = frozenset({Outcome.SUCCEEDED, Outcome.FAILED})


class BrokenInvariantError(AssertionError):
    """Something happened that must never happen."""


@dataclass(slots=True)
class _Attempt:
    """The auditor's own book on one attempt."""

    rung: int
    end: Resource | None
    resource_class: str
    next_seq: int = 0
    slot: str = ""
    value: float | None = None
    has_reached: bool = False
    is_over: bool = False


@dataclass(slots=True)
class _Books:
    """What the auditor knows from raw records."""

    configs: list[Mapping[str, Any]] = field(default_factory=list)
    attempts: dict[str, _Attempt] = field(default_factory=dict)
    results: list[dict[int, float | None]] = field(default_factory=list)
    """Losses by trial for each rung, in the order in which they came."""
    reported: list[dict[int, float | None]] = field(default_factory=list)
    """Losses as they were reported, where `results` has means over the rungs up to each."""
    offered: list[set[int]] = field(default_factory=list)
    """Trials that were offered at each rung."""
    silent: int = 0
    """Trials that were stopped with a result: a scheduler may count them as promoted."""
    behind: set[int] = field(default_factory=set)
    """Trials that the stopping variant of ASHA stopped."""
    unwanted: set[int] = field(default_factory=set)
    """Trials that the user stopped."""
    gpu_seconds: float = 0.0
    best: float | None = None
    tokens: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    """Actions in words."""
    dropped: set[tuple[int, str]] = field(default_factory=set)
    """Trials and their checkpoints that were decided to be removed."""


class Auditor:
    """Reads all records of one study; raises `BrokenInvariantError` at the first wrong one."""

    def __init__(self, plan: Plan, cluster: SimulatedCluster, copy: Study) -> None:
        self.plan = plan
        self.copy = copy
        """A study that knows the records only."""
        self.seen = 0
        """Records so far."""
        self.steps = 0
        """Those among them that bring the study nearer to its end."""
        self.suspicious: set[tuple[str, int]] = set()
        """Slots of which Slurm said, rightly or wrongly, that they wait again or are over."""
        self.on_the_way: set[str] = set()
        """Arrays that sbatch has taken, but nobody can find yet."""
        self._cluster = cluster
        self._limits = Limits(trials=0)
        rungs = len(plan.levels) if plan.kind != "single" else 1
        self._levels = plan.levels if plan.kind != "single" else plan.levels[-1:]
        self.books = _Books(
            results=[{} for _ in range(rungs)],
            reported=[{} for _ in range(rungs)],
            offered=[set() for _ in range(rungs)],
        )
        self._states: list[TrialState] = []

    # ------------------------------------------------------------------ the history grows

    def read(self, records: Sequence[Record]) -> None:
        """Check new records of the history, in order."""
        for record in records:
            self._read(record)
            self.seen += 1
            self.steps += record["e"]["t"] not in _NO_STEPS

    def _read(self, record: Record) -> None:
        event = decode_event(record["e"])
        lines: Sequence[str] = record.get("a", ())
        kind: str = record["e"]["t"]
        actions = self.copy.handle(event)
        if actions is None:
            raise BrokenInvariantError(f"{kind} was recorded, but changes nothing")
        if [describe_action(action) for action in actions] != list(lines):
            self.fail(f"{kind} led to {lines}, in the replay to {actions}")
        check = getattr(self, f"_check_{kind}", None)
        if check is not None:
            check(event)
        self._check_states()
        for action in actions:
            if isinstance(action, Offer):
                self._check_offer(action, event)
            elif isinstance(action, DropCheckpoints):
                self.books.dropped.update((action.trial, name) for name in action.names)
        self.books.decided.update(lines)
        if self.copy.results.best_loss != self.books.best:
            self.fail(f"the best loss is {self.books.best}, not {self.copy.results.best_loss}")

    def compare(self, live: Study) -> None:
        """Compare the driver's study with the records that it has written."""
        believed, recorded = _digest(live), _digest(self.copy)
        if believed != recorded:
            wrong = next((a, b) for a, b in zip(believed, recorded, strict=True) if a != b)
            self.fail("the driver believes {}, its records say {}".format(*wrong))

    def compare_all(self, live: Study) -> None:
        """Compare everything that both studies hold."""
        if _lasting(live) != _lasting(self.copy):
            self.fail("the driver's study and its records differ")

    def replay_from_start(self, fresh: Study, history: Sequence[Record]) -> None:
        """Feed the whole history to a fresh study: it must be the same as the one that grew."""
        try:
            replay(fresh, history)
        except ReplayError as error:
            self.fail(str(error))
        if _lasting(fresh) != _lasting(self.copy):
            self.fail("a replay from the start differs")

    def fail(self, text: str) -> NoReturn:
        """Say what is broken.

        Raises:
            BrokenInvariantError: always.
        """
        raise BrokenInvariantError(text)

    # ------------------------------------------------------------------ records of the study

    def _check_StudyOpened(self, event: Any) -> None:  # noqa: N802 - named after the event
        self._limits = event.limits

    def _check_CapacityChanged(self, event: Any) -> None:  # noqa: N802
        most = self.plan.parallel * (1 + self.plan.loop["adaptive"])
        if not 0 < event.attempts <= most:
            self.fail(f"{event.attempts} attempts may be in flight, not 1 to {most}")

    def _check_ConfigProposed(self, event: Any) -> None:  # noqa: N802
        if event.trial != len(self.books.configs):
            self.fail(f"trial {event.trial} was proposed after {len(self.books.configs)} trials")
        self.books.configs.append(event.config)

    def _check_StopRequested(self, event: Any) -> None:  # noqa: N802
        if event.trial is not None:
            self.books.unwanted.add(event.trial)

    def _check_AttemptClaimed(self, event: Any) -> None:  # noqa: N802
        attempt = self._attempt(event.attempt)
        if attempt.slot:
            self.fail(f"{event.attempt} was claimed twice: {attempt.slot}, {event.slot}")
        if self._cluster.folder.claims.get(event.attempt) != event.slot:
            self.fail(f"{event.attempt} was never claimed by {event.slot}")
        attempt.slot = event.slot

    def _check_AttemptStarted(self, event: Any) -> None:  # noqa: N802
        self._check_line(event)

    def _check_CheckpointSaved(self, event: Any) -> None:  # noqa: N802
        self._check_line(event)

    def _check_AttemptReported(self, event: Any) -> None:  # noqa: N802
        attempt = self._check_line(event)
        value = event.metrics.get(self.plan.objective.metric)
        if value is None:
            return
        if not attempt.has_reached:
            attempt.value = value
            attempt.has_reached = attempt.end is not None and event.resource >= attempt.end
        trial = parse_attempt_id(event.attempt).trial
        is_stopped = trial in self.books.behind or trial in self.books.unwanted
        if self.plan.kind == "asha_stopping" and not is_stopped:
            self._pass_rungs(trial, event.resource, value)

    def _check_AttemptEnded(self, event: Any) -> None:  # noqa: N802
        attempt = self._attempt(event.attempt)
        if event.seq is not None:
            self._check_line(event)
        else:
            key = slot_key(attempt.slot)
            slot = self._slot(*key)
            gone = slot is None or slot.state is not SlotState.RUNNING or slot.restart
            if not gone and (key.token, key.task) not in self.suspicious:
                self.fail(f"{event.attempt} was given up although its slot {attempt.slot} lives")
            if event.outcome in _CERTAIN:
                self.fail(f"the driver cannot know that {event.attempt} {event.outcome.value}")
        if attempt.is_over:
            self.fail(f"{event.attempt} ended twice")
        attempt.is_over = True
        gpus = self._limits.gpus.get(attempt.resource_class, 0)
        self.books.gpu_seconds += event.seconds * gpus
        if not math.isclose(self.books.gpu_seconds, self.copy.gpu_seconds, abs_tol=1e-6):
            self.fail(f"{self.books.gpu_seconds} GPU-seconds, not {self.copy.gpu_seconds}")
        if self.copy.wasted_gpu_seconds > self.copy.gpu_seconds + 1e-6:
            self.fail("more GPU-seconds were wasted than used")
        succeeded = event.outcome is Outcome.SUCCEEDED
        if succeeded or (event.outcome is not Outcome.FAILED and attempt.has_reached):
            trial, loss = parse_attempt_id(event.attempt).trial, self._loss(attempt.value)
            told = self.copy.trials[trial].values[attempt.rung]
            if self.plan.kind == "irace":
                loss = self._mean(trial, attempt.rung, loss, told)
            elif not _same(told, attempt.value):
                self.fail(f"{event.attempt} reported {attempt.value}, the study says {told}")
            if loss is None and self.plan.kind == "asha_stopping":
                self._fail_at_next_rung(trial)
            else:
                self._add_result(trial, attempt.rung, loss)

    def _mean(self, trial: int, rung: int, loss: float | None, told: float | None) -> float | None:
        """Check what the study says of all rungs so far, each an evaluation; return its loss."""
        self.books.reported[rung][trial] = loss
        losses = [reported.get(trial) for reported in self.books.reported[: rung + 1]]
        known = [one for one in losses if one is not None]
        mean = math.fsum(known) / len(losses) if len(known) == len(losses) else None
        found = self._loss(told)
        if (mean is None) != (found is None) or not math.isclose(
            mean or 0.0, found or 0.0, rel_tol=1e-9, abs_tol=1e-9
        ):
            self.fail(f"trial {trial} reported {losses}, the study says {told} in the mean")
        return found

    def _check_OfferWithdrawn(self, event: Any) -> None:  # noqa: N802
        attempt = self._attempt(event.attempt)
        if self._cluster.folder.claims.get(event.attempt) != "driver":
            self.fail(f"{event.attempt} was not taken back: a slot has it")
        if attempt.slot or attempt.is_over:
            self.fail(f"{event.attempt} was taken back after it was claimed or over")
        attempt.is_over = True

    # ------------------------------------------------------------------ records of the fleet

    def _check_ArrayIntended(self, event: Any) -> None:  # noqa: N802
        if event.token in self.books.tokens:
            self.fail(f"array {event.token} was intended twice")
        self.books.tokens.add(event.token)

    def _check_ArraySubmitted(self, event: Any) -> None:  # noqa: N802
        if self._cluster.queue.job(event.token) != event.job:
            self.fail(f"array {event.token} is not job {event.job}")

    def _check_ArrayRefused(self, event: Any) -> None:  # noqa: N802
        if self._cluster.queue.job(event.token) is not None:
            self.fail(f"array {event.token} was not refused: it is queued")

    def _check_SlotEnded(self, event: Any) -> None:  # noqa: N802
        slot = self._slot(event.token, event.index)
        lives = slot is not None and slot.state is not SlotState.ENDED
        if lives and (event.token, event.index) not in self.suspicious:
            self.fail(f"slot {event.token}[{event.index}] lives")

    # ------------------------------------------------------------------ what drivers do

    def check_publish(self, offer: Offer) -> None:
        """An offer goes out: it and its config must be history."""
        if describe_action(offer) not in self.books.decided:
            self.fail(f"{offer.attempt} is published before it is history")
        if dict(offer.config) != dict(self.books.configs[offer.trial]):
            self.fail(f"{offer.attempt} is published with another config than was proposed")
        if offer.checkpoint is not None:
            saved = self._cluster.folder.checkpoint(offer.checkpoint)
            if saved != offer.start:
                self.fail(f"{offer.attempt} starts from {offer.checkpoint}, which holds {saved}")

    def check_decided(self, action: str) -> None:
        """An action is carried out: it must be history."""
        if action not in self.books.decided:
            self.fail(f"{action!r} is carried out before it is history")

    def check_submit(self, token: str, *, excused: bool) -> None:
        """An array is submitted: its token must be history, and new to Slurm.

        ``excused``: a driver slept between its last look at the epoch and this call. No driver
        can help that; the claims keep the second array from doing anything twice.
        """
        if token not in self.books.tokens:
            self.fail(f"array {token} is submitted before it is history")
        is_known = self._cluster.queue.job(token) is not None or token in self.on_the_way
        if is_known and not excused:
            self.fail(f"array {token} is submitted a second time")

    def check_drop(self, trial: int, name: str) -> None:
        """A checkpoint is deleted: it must be history, and nobody may need it any more."""
        if (trial, name) not in self.books.dropped:
            self.fail(f"checkpoint {name} is deleted before that is history")
        for attempt in self.copy.live.values():
            if attempt.checkpoint == name and not attempt.slot:
                self.fail(f"checkpoint {name} is deleted, but {attempt.id} starts from it")
        if self.copy.trials[trial].checkpoint == name:
            self.fail(f"checkpoint {name} is deleted, but it is the newest of trial {trial}")

    def check_draw(self, trial: int) -> None:
        """A config is drawn: none of this trial may be history."""
        if trial < len(self.books.configs):
            self.fail(f"the config of trial {trial} is drawn again")

    # ------------------------------------------------------------------ the end

    def check_end(self, reason: str) -> None:
        """Check what must hold when the study is over and everything has come to rest."""
        study, folder = self.copy, self._cluster.folder
        if study.live:
            self.fail(f"the study is over ({reason}), but has {sorted(study.live)}")
        for slot in self._cluster.queue.all_slots:
            if slot.state is not SlotState.ENDED:
                self.fail(f"the study is over, but slot {slot.name} is {slot.state.value}")
        for name in folder.published:
            if name not in folder.claims:
                self.fail(f"the study is over, but {name} is still on offer")
        for name, attempt in self.books.attempts.items():
            if not attempt.is_over:
                self.fail(f"{name} never ended")
        for name, runs in Counter(span.attempt for span in self._cluster.attempt_spans()).items():
            if runs > 1:
                self.fail(f"{name} ran {runs} times")
            if name not in self.books.attempts:
                self.fail(f"{name} ran, but was never decided")
        if reason == "done":
            self._check_done()

    def _check_done(self) -> None:
        study = self.copy
        for trial in study.trials:
            if not (trial.state.is_final or trial.state is TrialState.PAUSED):
                self.fail(f"the study is done, but trial {trial.number} is {trial.state.value}")
        wanted = self._limits.trials
        # A population of fixed size may run out of members to replace, races of budget.
        is_short = len(study.trials) != wanted and self.plan.kind not in {"pbt", "irace"}
        if is_short and not study.exhausted:
            self.fail(f"the study is done with {len(study.trials)} of {wanted} trials")
        if self.plan.kind == "irace":
            self._check_winner()
        if self.plan.kind != "asha":
            return
        for rung in range(len(self._levels) - 1):
            results = self.books.results[rung]
            places = len(results) // self.plan.factor
            for number in sorted(results, key=partial(self._rank_key, rung))[:places]:
                record = study.trials[number]
                waits = record.state is TrialState.PAUSED and record.finished_rung == rung
                if results[number] is not None and waits:
                    self.fail(f"the study is done, but trial {number} could go on at {rung}")

    def _check_winner(self) -> None:
        """The best was evaluated most, is the best of those that were, and kept its state."""
        leaders, best = self.copy.scheduler.leaders(), overview.best(self.copy)
        if leaders is None:
            return
        if best is None or best["trial"] != trial_id(leaders.trials[0]):
            self.fail(f"{leaders} lead, but the best is {best}")
        results = [self.books.results[leaders.rung].get(trial) for trial in leaders.trials]
        means = [loss for loss in results if loss is not None]
        if results[0] is None or results[: len(means)] != means:
            self.fail(f"{leaders} lead with {results}")
        if self.plan.race_test is not RaceTest.FRIEDMAN and not all(
            before <= after or math.isclose(before, after) for before, after in pairwise(means)
        ):
            self.fail(f"{leaders} lead in the order of {means}")
        newest = self.copy.trials[leaders.trials[0]].checkpoint
        if newest is None and any(one == leaders.trials[0] for one, _ in self.books.dropped):
            self.fail(f"what trial {leaders.trials[0]} saved, which is the best, was removed")

    # ------------------------------------------------------------------ books

    def _slot(self, token: str, index: int) -> Slot | None:
        slots = self._cluster.queue.slots(token)
        return slots[index] if index < len(slots) else None

    def _attempt(self, name: str) -> _Attempt:
        found = self.books.attempts.get(name)
        if found is None:
            raise BrokenInvariantError(f"{name} was never decided")
        return found

    def _check_line(self, event: Any) -> _Attempt:
        """Check that the event is the next line of its log, just as the worker wrote it."""
        attempt = self._attempt(event.attempt)
        if event.seq != attempt.next_seq:
            self.fail(f"{event.attempt}: record {event.seq} applied, not {attempt.next_seq}")
        attempt.next_seq += 1
        if attempt.is_over:
            self.fail(f"{event.attempt}: record {event.seq} applied after its end")
        written = self._cluster.folder.records(event.attempt, event.seq)
        if not written or not _same_fact(written[0](event.time), event):
            self.fail(f"{event.attempt}: record {event.seq} is not what the worker wrote")
        return attempt

    def _loss(self, value: float | None) -> float | None:
        if value is None or not math.isfinite(value):
            return None
        return value if self.plan.goal.value == "minimize" else 0.0 - value

    def _add_result(self, trial: int, rung: int, loss: float | None) -> None:
        if trial in self.books.results[rung]:
            return
        self.books.results[rung][trial] = loss
        if loss is not None and (self.books.best is None or loss < self.books.best):
            self.books.best = loss

    def _rank_key(self, rung: int, trial: int) -> tuple[bool, float]:
        # Python sorts stably, and results are kept in the order in which they came.
        loss = self.books.results[rung][trial]
        return (loss is None, 0.0 if loss is None else loss)

    def _place(self, rung: int, trial: int) -> int:
        ranked = sorted(self.books.results[rung], key=partial(self._rank_key, rung))
        return ranked.index(trial)

    def _check_states(self) -> None:
        for number, trial in enumerate(self.copy.trials):
            if number == len(self._states):
                self._states.append(TrialState.WAITING)
            before, now = self._states[number], trial.state
            if before is now:
                continue
            if now not in _EDGES[before]:
                self.fail(f"trial {number} was {before.value} and became {now.value}")
            self._states[number] = now
            if now in (TrialState.FAILED, TrialState.STOPPED):
                self._close(number, before)

    def _close(self, number: int, before: TrialState) -> None:
        """A trial ended early: it counts as the worst at the rung that it was on its way to."""
        target = self.copy.trials[number].target_rung
        if before is TrialState.PAUSED or number in self.books.results[target]:
            self.books.silent += 1
            return
        if self.plan.kind == "asha_stopping":
            self._fail_at_next_rung(number)
        else:
            self._add_result(number, target, None)

    def _fail_at_next_rung(self, trial: int) -> None:
        """Count a trial as the worst where it would have been compared next."""
        if trial in self.books.behind:
            return
        rungs = enumerate(self.books.results)
        rung = next((rung for rung, results in rungs if trial not in results), None)
        if rung is not None:
            self._add_result(trial, rung, None)
            self.books.behind.add(trial)

    # ------------------------------------------------------------------ decisions

    def _check_offer(self, offer: Offer, event: Event) -> None:
        trial, rung = offer.trial, offer.rung
        if offer.attempt in self.books.attempts:
            self.fail(f"{offer.attempt} was decided twice")
        for name, old in self.books.attempts.items():
            if not old.is_over and parse_attempt_id(name).trial == trial:
                self.fail(f"{offer.attempt} was decided while {name} is open")
        classes = self._limits.rung_classes
        self.books.attempts[offer.attempt] = _Attempt(
            rung, offer.end, classes[min(rung, len(classes) - 1)]
        )
        if trial not in self.books.offered[rung]:
            self.books.offered[rung].add(trial)
            evaluations = sum(map(len, self.books.offered))
            if self.plan.kind == "irace" and evaluations > self.plan.budget:
                self.fail(f"{evaluations} evaluations of {self.plan.budget} were decided")
            # In some brackets trials begin at a higher rung, as heirs do.
            has_begun = any(trial in offered for offered in self.books.offered[:rung])
            is_strict = self.plan.kind in {"asha", "sha"} and rung > 0
            if is_strict or (has_begun and self.plan.kind != "asha_stopping"):
                self._check_promotion(trial, rung - 1, type(event).__name__)

    def _check_promotion(self, trial: int, rung: int, cause: str) -> None:
        results = self.books.results[rung]
        if results.get(trial) is None:
            self.fail(f"trial {trial} was promoted from rung {rung} without a finite result")
        promoted = len(self.books.offered[rung + 1])
        if self.plan.kind not in {"asha", "sha"}:
            return  # what their rules are is tested with them
        if self.plan.kind == "sha":
            unfinished = self.books.offered[rung] - results.keys()
            if unfinished:
                self.fail(f"trial {trial} was promoted before {unfinished} finished ({cause})")
            places = max(1, len(self.books.configs) // self.plan.factor ** (rung + 1))
        else:
            places = (len(results) + self.books.silent) // self.plan.factor
        # ASHA may have promoted more than are promotable now: better ones came after them.
        too_many = self.plan.kind == "sha" and promoted > places
        if too_many or self._place(rung, trial) >= places:
            self.fail(
                f"trial {trial} was promoted from rung {rung} as place "
                f"{self._place(rung, trial) + 1}, number {promoted} of {places}"
            )

    def _pass_rungs(self, trial: int, resource: Resource, value: float) -> None:
        """Follow a trial that runs from rung to rung; it is stopped just when it is behind."""
        for rung, level in enumerate(self._levels[:-1]):
            if resource < level or trial in self.books.results[rung]:
                continue
            self._add_result(trial, rung, self._loss(value))
            places = max(1, len(self.books.results[rung]) // self.plan.factor)
            lost = self.books.results[rung][trial] is None
            if lost or self._place(rung, trial) >= places:
                self.books.behind.add(trial)
                break
        if self.copy.trials[trial].stop_wanted != (trial in self.books.behind):
            verdict = "behind" if trial in self.books.behind else "not behind"
            self.fail(f"trial {trial} is {verdict} at {resource}, but was treated otherwise")


def _same(one: float | None, other: float | None) -> bool:
    """Tell whether both are the same value; NaN equals NaN."""
    return one == other or (
        one is not None and other is not None and math.isnan(one) and math.isnan(other)
    )


def _same_fact(written: Event, applied: Event) -> bool:
    return written == applied or encode_event(written) == encode_event(applied)


def _lasting(study: Study) -> Any:
    """Return all that a study holds, but for what it judged last: that is told at once."""
    return tuple(item for item in snapshot(study) if item[0] not in _PASSING)


def _digest(study: Study) -> tuple[object, ...]:
    return (
        [trial.state.value for trial in study.trials],
        [(name, attempt.state.value, attempt.last_seq) for name, attempt in study.live.items()],
        study.halt,
        study.finished,
        study.capacity,
        study.gpu_seconds,
        study.results.best_loss,
        len(study.fleet.live_arrays),
    )

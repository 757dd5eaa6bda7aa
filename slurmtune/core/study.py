"""The study: events in, actions out. Pure and deterministic, so the journal can be replayed.

Rule 1  `Study.handle` is the only way in. The state is a fold of the events.
Rule 2  A second delivery of a fact changes nothing: ``seq`` and the states tell.
Rule 3  At most one `Propose` is open at a time, so a sampler always sees every earlier config.
Rule 4  Work that was decided (a retry, an offer taken back by a pause) comes before new decisions.
Rule 5  Whatever the scheduler judges is told as a `Verdict`, with what it saw at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slurmtune.core import transitions
from slurmtune.core.actions import Action, Finish, Offer, Propose, StopAttempt, Withdraw
from slurmtune.core.collection import Collection, best_count
from slurmtune.core.events import (
    AttemptClaimed,
    AttemptEnded,
    AttemptQueued,
    AttemptReported,
    AttemptStarted,
    CapacityChanged,
    CheckpointSaved,
    CheckpointsDropped,
    ConfigProposed,
    Event,
    LimitReached,
    Limits,
    OfferWithdrawn,
    Resource,
    SlotEnded,
    SpaceExhausted,
    StopRequested,
    StudyOpened,
)
from slurmtune.core.fleet import Demand, Fleet, slot_key
from slurmtune.core.ids import attempt_id, parse_attempt_id, trial_id
from slurmtune.core.nodes import NodeLedger
from slurmtune.core.objective import Objective
from slurmtune.core.ports import Asked, Promote, Scheduler, StartTrial
from slurmtune.core.record import AttemptRecord, SavedCheckpoint, TrialRecord
from slurmtune.core.request import ClassName, parse_class
from slurmtune.core.results import Results
from slurmtune.core.retry import is_repeated
from slurmtune.core.seeding import program_seed
from slurmtune.core.trial import AttemptState, Outcome, TrialState
from slurmtune.core.verdict import Verdict, VerdictKind
from slurmtune.errors import TransitionError

_SAVED_COPIES = 2
"""Checkpoints of one attempt that exist at a time: its program removes older ones itself."""
_FREEING = frozenset(
    {
        AttemptEnded,
        ConfigProposed,
        OfferWithdrawn,
        SpaceExhausted,
        StopRequested,
        StudyOpened,
    }
)
"""After these events the scheduler may know of checkpoints that nobody needs any more."""
_FIRST_REPORTS = 3
_FIRST_FAILURES = 3
"""So many failures before any success pause the study: most likely nothing can work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """What never changes in the life of a study."""

    seed: int
    objective: Objective
    resume: bool = True
    """Whether promoted trials continue from their checkpoint."""
    guard: bool = False
    """Whether rungs that say nothing are left out, and not only told."""


class Study:
    """The whole search, as told by its events."""

    def __init__(self, settings: StudySettings, scheduler: Scheduler) -> None:
        self.settings = settings
        self.scheduler = scheduler
        self.limits = Limits(trials=0)
        self.capacity = 0
        self.fleet = Fleet()
        self.nodes = NodeLedger()
        self.results = Results(settings.objective, scheduler)
        self.trials: list[TrialRecord] = []
        self.live: dict[str, AttemptRecord] = {}
        """Attempts that are on offer or running, in the order of their decision."""
        self.halt = ""
        """Why nothing new is decided: ``stopped``, a limit, or ``paused``; empty: it goes on."""
        self.halt_text = ""
        """The reason of a pause, in words."""
        self.finished = ""
        """Reason of the `Finish` that was emitted."""
        self.ended_time: float | None = None
        """When that was; opened again with nothing left to do, it ended when it did before."""
        self.exhausted = False
        self.gpu_seconds = 0.0
        self.wasted_gpu_seconds = 0.0
        self.failed_trials = 0
        self.stopped_trials = 0
        self.final_trials = 0
        self.units_done: Resource = 0
        """Resource trained in all attempts that succeeded, and how long that took."""
        self.unit_seconds = 0.0
        self.first_reports: list[Resource] = []
        """At which resources the first trial reported first: an example of where reports come."""
        self.recent_failures: list[AttemptRecord] = []
        """The newest attempts that failed, at most ten."""
        self.verdicts: tuple[Verdict, ...] = ()
        """What was judged by the last call of `handle`."""
        self._judged: list[Verdict] = []
        self._collection = Collection(copies=scheduler.copies, races=scheduler.separate_rungs)
        self._proposing: TrialRecord | None = None
        self._repeat: dict[int, None] = {}
        self._holding: dict[str, TrialRecord] = {}
        """By slot, the trial whose program waits there, as far as is known."""
        self._since_open = 0
        self._had_finished = False
        """Whether the study was opened again after its end, and no attempt followed yet."""
        self._handlers: dict[type[Event], Callable[..., list[Action] | None]] = {
            StudyOpened: self._opened,
            CapacityChanged: self._capacity_changed,
            ConfigProposed: self._proposed,
            SpaceExhausted: self._space_exhausted,
            AttemptQueued: self._queued,
            AttemptClaimed: self._claimed,
            AttemptStarted: self._started,
            AttemptReported: self._reported,
            CheckpointSaved: self._saved,
            CheckpointsDropped: self._dropped,
            AttemptEnded: self._ended,
            OfferWithdrawn: self._withdrawn,
            StopRequested: self._stop_requested,
            LimitReached: self._limit_reached,
        }

    # ---------------------------------------------------------------- events in, actions out

    def handle(self, event: Event) -> tuple[Action, ...] | None:
        """Apply the event; return what to do now, or None when the event changed nothing.

        Raises:
            TransitionError: the event cannot happen in this state.
        """
        self.verdicts, self._judged = (), []
        was_unused = isinstance(event, SlotEnded) and not self.fleet.was_used(event)
        fleet_changed = self.fleet.handle(event)
        if fleet_changed and isinstance(event, SlotEnded):
            self._judge_node(event, was_unused=was_unused)
        handler = self._handlers.get(type(event))
        if handler is None:
            return () if fleet_changed else None
        actions = handler(event)
        if actions is None:
            return () if fleet_changed else None
        actions += self._plan(event.time)
        if type(event) in _FREEING or (self._judged and self.scheduler.runs_through):
            self._note_spare()
        if self._collection.has_changes:
            actions += self._collection.drops(self.trials, self.limits.keep)
        if self._judged:
            self.verdicts = tuple(self._judged)
        return tuple(actions)

    def open_actions(self) -> list[Action]:
        """Return every action whose effect is not recorded yet: what a new driver must repeat."""
        actions: list[Action] = []
        if self._proposing is not None:
            actions.append(Propose(trial=self._proposing.number))
        for attempt in self.live.values():
            if attempt.withdrawing:
                actions.append(Withdraw(attempt=attempt.id))
            elif attempt.state is not AttemptState.RUNNING:
                actions.append(self._offer(attempt))
            elif attempt.stopping:
                actions.append(StopAttempt(attempt=attempt.id))
        actions += self._collection.pending()
        return actions

    def demand(self) -> dict[str, Demand]:
        """Return how many attempts of each resource class are on offer and running.

        An attempt whose slot is gone needs none while its last records are waited for.
        """
        counts: dict[str, Demand] = {}
        for attempt in self.live.values():
            old = counts.get(attempt.resource_class, Demand(0, 0))
            running = attempt.state is AttemptState.RUNNING
            counts[attempt.resource_class] = Demand(
                old.offered + (not running and not attempt.withdrawing),
                old.running + (running and self.fleet.is_live(attempt.slot)),
            )
        return counts

    def excluded_nodes(self, now: float) -> tuple[str, ...]:
        """Return the nodes that new slots should not run on at ``now``."""
        return self.nodes.excluded(now, self.limits.retry_bad_node)

    def gpus_of(self, attempt: AttemptRecord) -> int:
        """Return the GPUs of the slot that serves the attempt."""
        return self.limits.gpus.get(parse_class(attempt.resource_class).base, 0)

    def attempt(self, name: str) -> AttemptRecord:
        """Return the attempt of this name.

        Raises:
            TransitionError: the study never decided such an attempt.
        """
        if (found := self.live.get(name)) is not None:
            return found
        key = parse_attempt_id(name)
        if key.trial < len(self.trials):
            for attempt in self.trials[key.trial].attempts:
                if attempt.id == name:
                    return attempt
        raise TransitionError(f"attempt {name} is not known to the study")

    def rung_of(self, trial: TrialRecord) -> int:
        """Return the rung that the trial is on its way to, or at which it was stopped.

        An attempt that runs through all rungs is on its way to the first one that it has not
        passed, not to the last one, that it may train up to.
        """
        if not self.scheduler.runs_through:
            return trial.target_rung
        if trial.stopped_rung is not None:
            return trial.stopped_rung
        return min(trial.finished_rung + 1, trial.target_rung)

    @property
    def may_start_trials(self) -> bool:
        """Whether another trial can be started at all, now or later."""
        return len(self.trials) < self.limits.trials and not self.exhausted

    def used_gpu_hours(self) -> float:
        """Return the GPU-hours of all ended attempts."""
        return self.gpu_seconds / 3600

    def _judge_node(self, event: SlotEnded, *, was_unused: bool) -> None:
        """A node is to blame when it failed, or when a slot could not begin its work there.

        The latter may also be due to the spec, so it counts until the study is opened again.
        """
        if event.outcome is Outcome.NODE_FAILED:
            self.nodes.note(event.node, event.time)
        elif was_unused and event.outcome in {Outcome.FAILED, Outcome.LOST}:
            self.nodes.note(event.node, event.time, suspected=True)

    # ---------------------------------------------------------------- the study as a whole

    def _opened(self, event: StudyOpened) -> list[Action]:
        if event.limits.keep != self.limits.keep:
            self._keep_by(event.limits.keep)
        self.limits = event.limits
        self._had_finished = bool(self.finished)
        self.halt = self.halt_text = self.finished = ""
        self._since_open = 0
        self.nodes.forget_suspicions()
        for trial in self.trials:
            attempt = trial.last_attempt
            if trial.state is TrialState.WAITING and (attempt is None or not attempt.is_live):
                self._repeat[trial.number] = None
        actions = self._take_back_old_classes()
        # What was reached stays reached, unless the spec now allows more.
        reached = self._spent_limit()
        if not reached and any(map(self._reaches_target, self.trials)):
            reached = "target"
        return [*actions, *self._halt(reached)] if reached else actions

    def _keep_by(self, keep: str) -> None:
        """Another rule says what stays, also for what the old one let stay."""
        count = best_count(keep)
        self.results.remember(count)
        self._collection.look_at_best(self.results.best_trials(count))
        for trial in self.trials:
            self._collection.look_at(trial.number)

    def _take_back_old_classes(self) -> list[Action]:
        """Withdraw offers of resource classes that the spec no longer has; they are made anew."""
        actions: list[Action] = []
        for attempt in self.live.values():
            base = parse_class(attempt.resource_class).base
            is_old = base != self._base_class(attempt.rung)
            if is_old and attempt.state is not AttemptState.RUNNING and not attempt.withdrawing:
                attempt.withdrawing = True
                actions.append(Withdraw(attempt=attempt.id))
        return actions

    def _capacity_changed(self, event: CapacityChanged) -> list[Action] | None:
        if event.attempts == self.capacity:
            return None
        self.capacity = event.attempts
        return []

    def _stop_requested(self, event: StopRequested) -> list[Action] | None:
        if event.trial is not None:
            return self._stop_trial(event.trial)
        if self.halt == "stopped":
            return None
        actions = self._halt("stopped")
        for attempt in self.live.values():
            if attempt.state is AttemptState.RUNNING and not attempt.stopping:
                attempt.stopping = True
                actions.append(StopAttempt(attempt=attempt.id))
        return actions

    def _stop_trial(self, number: int) -> list[Action] | None:
        if not 0 <= number < len(self.trials):
            raise TransitionError(f"trial t{number:05d} does not exist")
        trial = self.trials[number]
        if trial.state.is_final or trial.stop_wanted:
            return None
        trial.stop_wanted = True
        self._judge(VerdictKind.STOPPED, trial, self.rung_of(trial), note="stopped by the user")
        self._repeat.pop(number, None)
        attempt = trial.last_attempt
        if attempt is None or not attempt.is_live:
            self._abandon(trial)
            return []
        if attempt.state is AttemptState.RUNNING:
            attempt.stopping = True
            return [StopAttempt(attempt=attempt.id)]
        attempt.withdrawing = True
        return [Withdraw(attempt=attempt.id)]

    def _limit_reached(self, event: LimitReached) -> list[Action] | None:
        return None if self.halt else self._halt(event.limit)

    def _halt(self, reason: str, text: str = "") -> list[Action]:
        """Decide nothing new and take back what nobody has claimed."""
        self.halt, self.halt_text = reason, text
        actions: list[Action] = []
        for attempt in self.live.values():
            if attempt.state is not AttemptState.RUNNING and not attempt.withdrawing:
                attempt.withdrawing = True
                actions.append(Withdraw(attempt=attempt.id))
        return actions

    # ---------------------------------------------------------------- proposals

    def _proposed(self, event: ConfigProposed) -> list[Action] | None:
        trial = self._proposing
        if trial is None or event.trial != trial.number:
            if event.trial < len(self.trials):
                return None
            raise TransitionError(f"nobody asked for a config of {trial_id(event.trial)}")
        self._proposing = None
        trial.config, trial.origin = dict(event.config), event.origin
        self.trials.append(trial)
        self.results.history.add_config(trial.config)
        self.scheduler.started(trial.number, trial.bracket)
        if trial.source is not None:
            self._inherit(trial, self.trials[trial.source])
        if self.halt:
            return []
        return [self._new_attempt(trial, event.time)]

    def _inherit(self, heir: TrialRecord, donor: TrialRecord) -> None:
        """Let the heir go on from what the donor had saved at the rung below."""
        donor.heirs.append(heir.number)
        found = donor.rung_checkpoints.get(heir.first_rung - 1)
        if found is not None:
            heir.checkpoint, heir.checkpoint_resource = found

    def _space_exhausted(self, event: SpaceExhausted) -> list[Action] | None:
        if self.exhausted:
            return None
        if self._proposing is None or event.trial != self._proposing.number:
            raise TransitionError(f"nobody asked for a config of {trial_id(event.trial)}")
        self._proposing = None
        self.exhausted = True
        return []

    # ---------------------------------------------------------------- the life of an attempt

    def _queued(self, event: AttemptQueued) -> list[Action] | None:
        attempt = self.attempt(event.attempt)
        if attempt.state is not AttemptState.SUBMITTED:
            return None
        self._move(attempt, AttemptState.PENDING)
        return []

    def _claimed(self, event: AttemptClaimed) -> list[Action] | None:
        attempt = self.attempt(event.attempt)
        has_begun = attempt.state is AttemptState.RUNNING or not attempt.is_live
        return None if has_begun else self._begin(attempt, event.slot, event.time)

    def _begin(self, attempt: AttemptRecord, slot: str, time: float) -> list[Action]:
        """A slot claimed the attempt."""
        self._move(attempt, AttemptState.RUNNING)
        attempt.slot, attempt.withdrawing = slot, False
        attempt.started_time = time
        self._note_holding(slot, None)
        trial = self.trials[attempt.trial]
        self._enter(trial, TrialState.RUNNING)
        if self.halt == "stopped" or trial.stop_wanted:
            attempt.stopping = True
            return [StopAttempt(attempt=attempt.id)]
        return []

    def _started(self, event: AttemptStarted) -> list[Action] | None:
        attempt = self._fresh(event.attempt, event.seq)
        if attempt is None:
            return None
        actions: list[Action] = []
        if attempt.state is not AttemptState.RUNNING:
            actions = self._begin(attempt, event.slot, event.time)
            self.fleet.use(event.slot)
        elif attempt.slot != event.slot:
            self.fleet.use(event.slot)
            if slot_key(attempt.slot).token not in self.fleet.arrays:
                attempt.slot = event.slot  # its claim could not be read
        attempt.last_seq = event.seq
        attempt.job, attempt.host, attempt.start = event.job, event.host, event.start
        return actions

    def _reported(self, event: AttemptReported) -> list[Action] | None:
        attempt = self._fresh(event.attempt, event.seq)
        if attempt is None:
            return None
        attempt.last_seq = event.seq
        value = event.metrics.get(self.settings.objective.metric)
        if attempt.resource is None or event.resource > attempt.resource:
            attempt.resource = event.resource
            if attempt.trial == 0:
                self._note_first_report(event.resource)
        if value is None:
            return []
        if not attempt.reached_end:
            attempt.value, attempt.value_resource = value, event.resource
            attempt.reached_end = attempt.end is not None and event.resource >= attempt.end
        trial = self.trials[attempt.trial]
        if self.scheduler.runs_through and not trial.stop_wanted:
            actions = self._pass_rungs(trial, attempt, event.resource, value)
            if actions:
                return actions
        if self.scheduler.watches and not trial.stop_wanted and event.resource > trial.told:
            trial.told = event.resource
            loss = self.settings.objective.loss(value)
            if self.scheduler.reported(trial.number, event.resource, loss):
                return self._stop_attempt(trial, attempt, trial.target_rung, loss)
        return []

    def _note_first_report(self, resource: Resource) -> None:
        """The first trial reported; a repeated attempt of it may begin from nothing again."""
        seen = self.first_reports
        if len(seen) < _FIRST_REPORTS and (not seen or resource > seen[-1]):
            seen.append(resource)

    def _stop_attempt(
        self, trial: TrialRecord, attempt: AttemptRecord, rung: int, loss: float | None
    ) -> list[Action]:
        """Carry out that the scheduler stops a trial that runs."""
        trial.stop_wanted = attempt.stopping = True
        self._judge(VerdictKind.STOPPED, trial, rung, loss)
        return [StopAttempt(attempt=attempt.id)]

    def _pass_rungs(
        self, trial: TrialRecord, attempt: AttemptRecord, resource: Resource, value: float
    ) -> list[Action]:
        """Ask the scheduler at each rung below the top that this report passes."""
        ladder = self.scheduler.ladder(trial.bracket)
        for rung in range(trial.finished_rung + 1, len(ladder) - 1):
            level = ladder[rung]
            if level is None or resource < level:
                break
            self._note_rung(trial, rung, value, resource)
            loss = self.settings.objective.loss(value)
            stops = self.scheduler.stops(trial.number, rung, loss)
            self._doubt(trial, rung)
            if stops:
                trial.stopped_rung = rung
                return self._stop_attempt(trial, attempt, rung, loss)
            self.results.rung(rung).promoted += 1
            self._judge(VerdictKind.RUNS_ON, trial, rung, loss)
        return []

    def _saved(self, event: CheckpointSaved) -> list[Action] | None:
        attempt = self._fresh(event.attempt, event.seq)
        if attempt is None:
            return None
        attempt.last_seq, attempt.saved = event.seq, event.resource
        trial = self.trials[attempt.trial]
        trial.checkpoint, trial.checkpoint_resource = event.name, event.resource
        trial.saved.append(SavedCheckpoint(event.name, event.resource, attempt.id))
        mine = [one.name for one in trial.saved if one.attempt == attempt.id]
        if len(mine) > _SAVED_COPIES:
            trial.saved = [one for one in trial.saved if one.name != mine[0]]
        if len(trial.saved) > _SAVED_COPIES:
            self._collection.look_at(trial.number)
        return []

    def _dropped(self, event: CheckpointsDropped) -> list[Action] | None:
        return [] if self._collection.confirm(event.trial, event.names) else None

    def _withdrawn(self, event: OfferWithdrawn) -> list[Action] | None:
        attempt = self.attempt(event.attempt)
        if not attempt.is_live:
            return None
        if attempt.state is AttemptState.RUNNING:
            raise TransitionError(f"attempt {attempt.id} runs: its offer cannot be taken back")
        self._close(attempt, Outcome.CANCELLED, event.time)
        trial = self.trials[attempt.trial]
        if trial.stop_wanted:
            self._abandon(trial)
        elif not self.halt:
            self._repeat[trial.number] = None
        return []

    def _ended(self, event: AttemptEnded) -> list[Action] | None:
        attempt = self.attempt(event.attempt)
        if not attempt.is_live or (event.seq is not None and event.seq <= attempt.last_seq):
            return None
        if attempt.state is not AttemptState.RUNNING:
            self._enter(self.trials[attempt.trial], TrialState.RUNNING)
        if event.seq is not None:
            attempt.last_seq = event.seq
        attempt.seconds, attempt.exit_code = event.seconds, event.exit_code
        attempt.cause, attempt.tail, attempt.gave_up = event.cause, event.tail, event.gave_up
        was_told = attempt.stopping
        self._close(attempt, event.outcome, event.time)
        self.trials[attempt.trial].holder = ""  # another slot may have waited for it
        self._note_holding(attempt.slot, self.trials[attempt.trial] if event.holding else None)
        self.trials[attempt.trial].seconds += event.seconds
        spent = event.seconds * self.gpus_of(attempt)
        self.gpu_seconds += spent
        if event.outcome is Outcome.SUCCEEDED and attempt.resource is not None:
            self.units_done += max(0, attempt.resource - attempt.start)
            self.unit_seconds += event.seconds
        elif event.outcome is not Outcome.CANCELLED and not event.gave_up:
            self.recent_failures = [*self.recent_failures[-9:], attempt]
        if event.outcome is Outcome.NODE_FAILED and self.fleet.is_live(attempt.slot):
            self.nodes.note(attempt.host, event.time)  # Slurm requeued the slot: it will not end
        trial = self.trials[attempt.trial]
        cut_short = event.outcome not in {Outcome.SUCCEEDED, Outcome.FAILED}
        if event.outcome is Outcome.SUCCEEDED or (cut_short and attempt.reached_end):
            # What was reported at the rung is a result, even if the slot was lost a moment later.
            self._finish_rung(trial, attempt)
        elif trial.stop_wanted:
            self._abandon(trial)
        elif self.halt == "stopped":
            self._enter(trial, TrialState.WAITING)
        elif was_told and cut_short:
            # Told so when the study was stopped, and the study was opened again before it left.
            self._enter(trial, TrialState.WAITING)
            self._repeat[trial.number] = None
        elif event.gave_up:
            self._fail(trial, attempt)
        elif is_repeated(self.limits, trial, attempt, event.outcome):
            self.wasted_gpu_seconds += spent
            self._enter(trial, TrialState.WAITING)
            self._repeat[trial.number] = None
        elif event.outcome is Outcome.CANCELLED:
            self._judge(
                VerdictKind.STOPPED, trial, self.rung_of(trial), note="its job was cancelled"
            )
            self._abandon(trial)
        else:
            self.wasted_gpu_seconds += spent
            self._fail(trial, attempt)
        return self._check_limits(attempt)

    # ---------------------------------------------------------------- results

    def _finish_rung(self, trial: TrialRecord, attempt: AttemptRecord) -> None:
        self._note_rung(trial, attempt.rung, attempt.value, attempt.value_resource)
        loss = self.settings.objective.loss(attempt.value)
        self.scheduler.finished(trial.number, attempt.rung, loss)
        if trial.checkpoint is not None:
            trial.rung_checkpoints[attempt.rung] = (trial.checkpoint, trial.checkpoint_resource)
        self._doubt(trial, attempt.rung)
        top = attempt.rung == len(self.scheduler.ladder(trial.bracket)) - 1
        if top:
            self._judge(VerdictKind.COMPLETED, trial, attempt.rung, loss)
            self._enter(trial, TrialState.COMPLETED)
        elif trial.stop_wanted:
            self.stopped_trials += 1
            self._enter(trial, TrialState.STOPPED)
        else:
            self._judge(VerdictKind.PAUSED, trial, attempt.rung, loss)
            self._enter(trial, TrialState.PAUSED)

    def _judge(
        self,
        kind: VerdictKind,
        trial: TrialRecord,
        rung: int,
        loss: float | None = None,
        note: str = "",
    ) -> None:
        self._judged.append(
            Verdict(
                kind=kind,
                trial=trial.number,
                rung=rung,
                bracket=trial.bracket,
                loss=loss,
                standing=self.scheduler.standing(trial.number, rung),
                note=note,
            )
        )

    def _note_rung(
        self,
        trial: TrialRecord,
        rung: int,
        value: float | None,
        resource: Resource | None = None,
    ) -> None:
        keep = self.limits.keep
        self.results.note(trial, rung, value, keep, resource)
        self._collection.look_at_best(self.results.best_trials(best_count(keep)))

    def _doubt(self, trial: TrialRecord, rung: int) -> None:
        """Look at what this result says of the rungs; maybe one is left out from now on."""
        guard = self.settings.guard
        self._judged += self.results.doubt(trial, rung, trial.seconds, guard=guard)

    def _abandon(self, trial: TrialRecord) -> None:
        """Stop a trial for good; nobody need wait for the rung that it was on its way to."""
        if trial.state is not TrialState.PAUSED and trial.target_rung not in trial.values:
            self.scheduler.finished(trial.number, trial.target_rung, None)
        self.stopped_trials += 1
        self.results.note_stop(trial, self.rung_of(trial))
        self._enter(trial, TrialState.STOPPED)

    def _fail(self, trial: TrialRecord, attempt: AttemptRecord) -> None:
        self.failed_trials += not attempt.gave_up
        self._since_open += not attempt.gave_up
        # Of several rungs on its way it failed at the first that it had not passed.
        rung = self.rung_of(trial)
        if rung not in trial.values:
            self._note_rung(trial, rung, None)
            self.scheduler.finished(trial.number, attempt.rung, None)
        self.results.note_failure(trial, rung)
        self._judge(VerdictKind.FAILED, trial, rung, note=attempt.cause)
        self._enter(trial, TrialState.FAILED)

    def _check_limits(self, attempt: AttemptRecord) -> list[Action]:
        if self.halt:
            return []
        trial = self.trials[attempt.trial]
        failed = trial.state is TrialState.FAILED
        if failed and not attempt.gave_up and (actions := self._check_failures(attempt)):
            return actions
        if self.halt:
            return []
        reached = self._spent_limit() or ("target" if self._reaches_target(trial) else "")
        return self._halt(reached) if reached else []

    def _spent_limit(self) -> str:
        """Return the limit of what may be spent that is reached; empty: none."""
        limits = self.limits
        if limits.gpu_hours is not None and self.used_gpu_hours() >= limits.gpu_hours:
            return "gpu_hours"
        if limits.stall_trials is not None and self.results.since_best >= limits.stall_trials:
            return "stall"
        return ""

    def _reaches_target(self, trial: TrialRecord) -> bool:
        """Tell whether the trial was trained to its end and is as good as was asked for."""
        target = self.limits.target_loss
        if target is None or trial.state is not TrialState.COMPLETED:
            return False
        loss = self.results.loss_of(trial, trial.target_rung)
        return loss is not None and loss <= target

    def _check_failures(self, attempt: AttemptRecord) -> list[Action]:
        """Pause before more is spent when most likely nothing can work."""
        if attempt.exit_code == 0:
            return self._halt("paused", attempt.cause)
        if not self.results.good_trials and self._since_open >= _FIRST_FAILURES:
            cause = f": {attempt.cause}" if attempt.cause else ""
            return self._halt(
                "paused", f"{self._since_open} of {self._since_open} trials failed{cause}"
            )
        most = self.limits.max_failed_trials
        if most is not None and self.failed_trials > most and self._since_open:
            return self._halt(
                "paused", f"{self.failed_trials} trials failed, retry.max_failed allows {most}"
            )
        return []

    # ---------------------------------------------------------------- decisions

    def _plan(self, time: float) -> list[Action]:
        """Fill the capacity: first what was decided before, then what the scheduler wants."""
        if self.finished:
            return []
        actions: list[Action] = []
        while not self.halt and len(self.live) + (self._proposing is not None) < self.capacity:
            if self._repeat:
                number = next(iter(self._repeat))
                del self._repeat[number]
                actions.append(self._new_attempt(self.trials[number], time))
                continue
            if self._proposing is not None:
                break
            decision = self.scheduler.decide(may_start=self.may_start_trials)
            if isinstance(decision, Promote):
                trial = self.trials[decision.trial]
                if trial.state is not TrialState.PAUSED:  # stopped by the user meanwhile
                    self.scheduler.finished(trial.number, decision.rung, None)
                    continue
                self.results.rung(trial.finished_rung).promoted += 1
                loss = self.results.loss_of(trial, trial.finished_rung)
                self._judge(VerdictKind.PROMOTED, trial, trial.finished_rung, loss)
                trial.target_rung, trial.longer = decision.rung, 0
                trial.seconds = trial.seconds if self.settings.resume else 0.0
                self._enter(trial, TrialState.WAITING)
                actions.append(self._new_attempt(trial, time))
            elif isinstance(decision, StartTrial):
                actions.append(self._propose(decision))
            else:
                break
        if not self.live and self._proposing is None and (self.halt or self._is_idle()):
            self.finished = self.halt or "done"
            if not self._had_finished:
                self.ended_time = time
            actions.append(Finish(reason=self.finished))
        return actions

    def _is_idle(self) -> bool:
        """Whether nothing can be decided any more, however much capacity there is."""
        return self.capacity > 0 and not self._repeat

    def _propose(self, decision: StartTrial) -> Action:
        number = len(self.trials)
        ladder = self.scheduler.ladder(decision.bracket)
        first = len(ladder) - 1 if self.scheduler.runs_through else decision.rung
        self._proposing = TrialRecord(
            number=number,
            config={},
            origin="",
            bracket=decision.bracket,
            source=decision.source,
            first_rung=first,
            target_rung=first,
        )
        self.results.history.ask(
            Asked(
                bracket=decision.bracket,
                rung=decision.rung,
                resource=ladder[first],
                parents=decision.parents,
            )
        )
        return Propose(trial=number)

    def _new_attempt(self, trial: TrialRecord, time: float) -> Offer:
        self._had_finished = False
        rung = trial.target_rung
        number = 1 + sum(1 for old in trial.attempts if old.rung == rung)
        ladder = self.scheduler.ladder(trial.bracket)
        is_separate = self.scheduler.separate_rungs
        resumes = trial.checkpoint is not None and (
            (self.settings.resume and not is_separate)
            # Started from nothing at each rung: only a checkpoint of this very rung counts.
            or any(old.rung == rung and old.saved is not None for old in trial.attempts)
        )
        fresh = (ladder[rung - 1] or 0) if is_separate and rung else 0
        name = str(ClassName(self._base_class(rung), trial.longer, trial.larger))
        last = trial.last_attempt
        stays = last is not None and last.resource_class == name
        waits = resumes and stays and trial.holder != "" and self.fleet.is_live(trial.holder)
        attempt = AttemptRecord(
            id=attempt_id(trial.number, rung, number),
            trial=trial.number,
            rung=rung,
            number=number,
            start=trial.checkpoint_resource if resumes else fresh,
            end=ladder[rung],
            checkpoint=trial.checkpoint if resumes else None,
            resource_class=name,
            holder=trial.holder if waits else "",
            # Repeated work first, then who was promoted most often, then new configs: those of a
            # bracket that begins higher must not overtake a stage that others wait for.
            priority=(500 if number > 1 else 1000) - 10 * min(rung - trial.first_rung, 49),
            queued_time=time,
        )
        trial.attempts.append(attempt)
        self.live[attempt.id] = attempt
        return self._offer(attempt)

    def _offer(self, attempt: AttemptRecord) -> Offer:
        trial = self.trials[attempt.trial]
        return Offer(
            attempt=attempt.id,
            trial=trial.number,
            rung=attempt.rung,
            config=trial.config,
            start=attempt.start,
            end=attempt.end,
            checkpoint=attempt.checkpoint,
            seed=program_seed(self.settings.seed, trial.number),
            priority=attempt.priority,
            resource_class=attempt.resource_class,
            holder=attempt.holder,
        )

    def _note_spare(self) -> None:
        """Look at the checkpoints that nobody needs any more, as the scheduler knows."""
        known = len(self.trials) + (self._proposing is not None)
        most = known if self.exhausted else max(known, self.limits.trials)
        for number, rung in self.scheduler.spare(most):
            self.trials[number].spare_rungs.add(rung)
            self._collection.look_at(number)
        if self.scheduler.leaders() is not None:
            # Who they are the scheduler knows only after it was told the result.
            self._collection.look_at_best(self.results.best_trials(best_count(self.limits.keep)))

    # ---------------------------------------------------------------- small steps

    def _base_class(self, rung: int) -> str:
        classes = self.limits.rung_classes
        return classes[min(rung, len(classes) - 1)]

    def _fresh(self, name: str, seq: int) -> AttemptRecord | None:
        """Return the attempt if it is live and ``seq`` was not applied yet."""
        attempt = self.attempt(name)
        return attempt if seq > attempt.last_seq and attempt.is_live else None

    def _note_holding(self, slot: str, trial: TrialRecord | None) -> None:
        """In this slot a program waits for more of this trial; None: in none, or no more."""
        if (old := self._holding.pop(slot, None)) is not None and old.holder == slot:
            old.holder = ""
        if trial is not None:
            self._holding[slot], trial.holder = trial, slot

    def _close(self, attempt: AttemptRecord, outcome: Outcome, time: float) -> None:
        self._move(attempt, AttemptState.ENDED)
        attempt.outcome, attempt.ended_time = outcome, time
        attempt.withdrawing = attempt.stopping = False
        del self.live[attempt.id]

    def _move(self, attempt: AttemptRecord, state: AttemptState) -> None:
        attempt.state = transitions.follow(transitions.ATTEMPT, attempt.state, state, attempt)

    def _enter(self, trial: TrialRecord, state: TrialState) -> None:
        trial.state = transitions.follow(transitions.TRIAL, trial.state, state, trial)
        is_final = state.is_final
        self.final_trials += is_final
        if is_final or state is TrialState.PAUSED:
            self._collection.look_at(trial.number)

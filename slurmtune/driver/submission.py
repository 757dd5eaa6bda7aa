"""How arrays are submitted exactly once, how large they are, and what follows a refusal.

The intent is history before sbatch is asked. Whoever does not know whether an sbatch succeeded
asks the backend for the token first (`Backend.find`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from slurmtune.backends.base import ArraySpec
from slurmtune.core.events import ArrayIntended, ArrayRefused, ArraySubmitted
from slurmtune.core.fleet import ArrayRecord, ArrayState
from slurmtune.core.request import (
    ResourceRequest,
    derive,
    exclude_nodes,
    limit_array,
    parse_class,
)
from slurmtune.driver.parts import Desk, class_of_new_trials
from slurmtune.errors import BackendUnavailableError, SubmissionRefusedError

_SETTLE_SECONDS = 12.0
"""An sbatch that timed out may still sit in the backlog of Slurm's controller for so long."""
_LONGEST_PAUSE_SECONDS = 600.0
"""Between two submissions that are refused for now."""


@dataclass(slots=True)
class Submission:
    """An array on its way."""

    array: ArraySpec
    next_try: float
    look_first: bool
    """Whether an earlier sbatch may have succeeded: look for the token before the next one."""


class Submissions:
    """Submits what slots are missing, and knows what is on its way."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.on_the_way: dict[str, Submission] = {}
        """By token."""
        self.refusals = 0
        """How often in a row a submission was refused for now."""
        self._next = 0.0
        self._made = 0
        self._excluded: frozenset[str] = frozenset()
        self._most_slots: int | None = None
        """In one array, after a limit on jobs was reached; grows again with each submission."""
        self._told_refusal = ""
        self._uses_all_nodes = False
        """Whether Slurm refused what leaves failing nodes out."""

    def adopt(self, array: ArrayRecord, now: float) -> None:
        """Go on with an array of an earlier driver: track it, or find out what became of it."""
        spec = ArraySpec(
            token=array.token,
            request=self._request(array.resource_class, now),
            size=array.size,
            manifest_sha256="",
        )
        if array.state is ArrayState.SUBMITTED:
            self._desk.backend.adopt(spec, array.job)
        else:
            # The clock of the driver that intended it may have been ahead: never wait for longer.
            settled = min(array.intended_time, now) + _SETTLE_SECONDS
            next_try = max(now, settled)
            self.on_the_way[array.token] = Submission(spec, next_try, look_first=True)

    def note_claim(self, token: str, now: float) -> None:
        """Look for the job of an array that was refused, but whose slot claimed something."""
        array = self._desk.study.fleet.live_arrays.get(token)
        if array is None or array.state is not ArrayState.INTENDED or token in self.on_the_way:
            return
        self.adopt(array, now)

    def follow_clock(self, seconds: float) -> None:
        """Move all that is planned by as much as the clock was set."""
        self._next += seconds
        for submission in self.on_the_way.values():
            submission.next_try += seconds

    def submit(self, now: float) -> bool:
        """Submit what is on its way, then at most one array that is missing."""
        changed = False
        for submission in list(self.on_the_way.values()):
            if now >= submission.next_try:
                changed |= self.attempt(submission, now)
        if self.on_the_way or now < self._next or self._desk.study.finished:
            return changed
        for name, count in self._missing().items():
            try:
                size = self._allowed_size(count)
            except BackendUnavailableError as error:
                self._desk.hear_nothing(error)
                self._next = now + _SETTLE_SECONDS
                break
            if size > 0:
                self._next = now + self._desk.backend.submit_interval_seconds
                changed |= self._submit_array(name, size, now)
                break
        return changed

    def _missing(self) -> dict[str, int]:
        study, settings = self._desk.study, self._desk.settings
        return study.fleet.shortfall(
            study.demand(), settings.parallel, reuse=settings.reuse, ahead=self._ahead()
        )

    def _ahead(self) -> dict[str, int]:
        """Return how many slots should wait or run for trials that are not started yet.

        Only as long as the study would start more than it may: slots that left because there was
        nothing for them are not replaced. And only in the place of slots that do not run yet: as
        soon as ``parallel`` run, further ones would find no work.
        """
        study, settings = self._desk.study, self._desk.settings
        starts = study.may_start_trials and not study.halt
        if not settings.binds_late or not starts or len(study.live) < study.capacity:
            return {}
        running = sum(self._desk.usable_slots().values())
        lacking = max(0, settings.parallel - running)
        return {class_of_new_trials(study): running + ceil(settings.ahead * lacking)}

    def _allowed_size(self, wanted: int) -> int:
        limits = self._desk.backend.limits()
        live = sum(array.live for array in self._desk.study.fleet.live_arrays.values())
        if self._most_slots is not None:
            wanted = min(wanted, self._most_slots)
        if limits.max_live_slots is not None:
            wanted = min(wanted, limits.max_live_slots - live)
        return wanted if limits.max_array_size is None else min(wanted, limits.max_array_size)

    def _submit_array(self, resource_class: str, size: int, now: float) -> bool:
        self._made += 1
        token = self._desk.make_token(self._made)
        request = limit_array(
            self._request(resource_class, now), size, self._desk.settings.parallel
        )
        self._desk.feed(
            [ArrayIntended(time=now, token=token, resource_class=resource_class, size=size)]
        )
        spec = ArraySpec(token=token, request=request, size=size, manifest_sha256="")
        self.on_the_way[token] = Submission(spec, now, look_first=False)
        return self.attempt(self.on_the_way[token], now)

    def _request(self, resource_class: str, now: float) -> ResourceRequest:
        """Return what slots of this class ask for now: grown, and without the nodes that fail."""
        name = parse_class(resource_class)
        base = self._desk.settings.requests.get(name.base)
        if base is None:
            # A class that the spec no longer has: its slots live on, none is submitted any more.
            return ResourceRequest(name=resource_class)
        if name.longer or name.larger:
            base = derive(base, name, self._longest_seconds(base))
        excluded = () if self._uses_all_nodes else self._desk.study.excluded_nodes(now)
        for node in excluded:
            if node not in self._excluded:
                self._desk.observer.message(f"{node} failed repeatedly: left out for a day")
        self._excluded = frozenset(excluded)
        return exclude_nodes(base, excluded)

    def _longest_seconds(self, request: ResourceRequest) -> int | None:
        try:
            longest = self._desk.backend.limits().longest_seconds
        except BackendUnavailableError:
            return None  # then Slurm says so itself, and such slots are cancelled
        partitions = dict(request.options).get("partition", "")
        known = [longest.get(one) for one in str(partitions).split(",")]
        return min((seconds for seconds in known if seconds is not None), default=None)

    def attempt(self, submission: Submission, now: float) -> bool:
        """Ask the backend once; tell whether the study learned anything.

        Raises:
            SubmissionRefusedError: the array is refused, and waiting will not help.
        """
        desk, spec = self._desk, submission.array
        desk.journal.check_owner()
        try:
            job = desk.backend.find(spec.token) if submission.look_first else None
            if job is not None:
                desk.backend.adopt(spec, job)
            else:
                sha256 = desk.files.publish_manifest(spec.token, spec.request, spec.size)
                job = desk.backend.submit(replace(spec, manifest_sha256=sha256))
        except BackendUnavailableError as error:
            desk.hear_nothing(error)
            submission.look_first, submission.next_try = True, now + _SETTLE_SECONDS
            return False
        except SubmissionRefusedError as error:
            self._take_no(error, spec, now)
            return True
        del self.on_the_way[spec.token]
        self.refusals = 0
        if self._most_slots is not None:
            grown = 2 * self._most_slots
            self._most_slots = None if grown >= desk.settings.parallel else grown
        desk.look_soon(now)
        return desk.feed([ArraySubmitted(time=now, token=spec.token, job=job)])

    def _take_no(self, error: SubmissionRefusedError, spec: ArraySpec, now: float) -> None:
        """Note a refusal; go on where it can be helped.

        Raises:
            SubmissionRefusedError: it cannot.
        """
        del self.on_the_way[spec.token]
        self._desk.feed([ArrayRefused(time=now, token=spec.token, message=str(error))])
        if error.retryable:
            self._wait_for_room(error, spec.size, now)
        elif self._excluded and not self._uses_all_nodes:
            self._uses_all_nodes = True
            nodes = ", ".join(sorted(self._excluded))
            self._desk.observer.message(f"without {nodes} Slurm refuses ({error}): used again")
        else:
            raise error

    def _wait_for_room(self, error: SubmissionRefusedError, size: int, now: float) -> None:
        """Ask for less and later: other jobs may take most of what the user may have."""
        interval = self._desk.backend.submit_interval_seconds
        pause = 6 * max(interval, 5.0) * 2 ** min(self.refusals, 9)
        # Each try is a line of the journal and a folder, and a queue may be full for days.
        self._next = now + min(pause, _LONGEST_PAUSE_SECONDS)
        self.refusals += size == 1
        self._most_slots = max(1, size // 2)
        if str(error) != self._told_refusal:
            self._told_refusal = str(error)
            self._desk.observer.message(f"{error}; the rest is submitted later")

"""Slots as array tasks of Slurm: submitted through submitit, tracked with one squeue per poll.

submitit writes the batch scripts and runs sbatch. Its pickles, its watcher and its protocol of
requeueing are not used: what a slot does is up to our worker, and where slots stand is asked for
by `SlurmBackend.poll`. `_SlotExecutor` is all that touches what submitit does not document.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import io
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from slurmtune.backends.base import ArraySpec, BackendLimits, Clock, SlotState, SlotStatus
from slurmtune.backends.command import CommandResult, CommandRunner, SubprocessRunner
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome
from slurmtune.errors import (
    BackendError,
    BackendUnavailableError,
    SpecError,
    SubmissionRefusedError,
)
from slurmtune.slurm import (
    environment,
    limits,
    sacct,
    sbatch,
    script,
    sinfo,
    slot_log,
    squeue,
    state,
)
from slurmtune.slurm.advice import NO_SLURM
from slurmtune.slurm.duration import time_in_minutes
from slurmtune.slurm.jobid import format_task, format_tasks
from slurmtune.slurm.limits import ClusterConfig
from slurmtune.slurm.reason import is_broken, never_starts, plain_reason

_log = logging.getLogger(__name__)

_LOST_POLLS = 3
"""In so many polls running a slot must be missing before it is given up ..."""
_LOST_SECONDS = 60.0
"""... and for so long."""
_LOST_POLLS_WITHOUT_SACCT = 10
"""The same while accounting exists but does not answer: it may still tell how the slot ended."""
_SBATCH_TIMEOUT_SECONDS = 60
_LOG_BYTES = 16 * 1024
"""At the end of a slot's log."""
_QUIET_POLLS = 5
"""After so many polls without any change the next ones come further apart."""
_SLOWEST_FACTOR = 4.0
_DOWN_FACTOR = 10.0
_PHASES = {
    state.Phase.WAITING: SlotState.PENDING,
    state.Phase.RUNNING: SlotState.RUNNING,
    state.Phase.ENDED: SlotState.ENDED,
}
_SUBMITIT_PARAMETERS = frozenset(
    {
        "account",
        "comment",
        "constraint",
        "cpus_per_task",
        "dependency",
        "exclude",
        "exclusive",
        "gpus_per_node",
        "gpus_per_task",
        "gres",
        "mail_type",
        "mail_user",
        "mem_per_cpu",
        "mem_per_gpu",
        "nodelist",
        "nodes",
        "partition",
        "qos",
    }
)
"""Options that submitit has a parameter for and writes as they are."""


class _Paths(Protocol):
    """The part of a study's layout that is needed here."""

    logs: str

    def array(self, token: str) -> str: ...


@dataclass(slots=True, kw_only=True)
class _Slot:
    """A slot that has not ended, as far as we know."""

    state: SlotState = SlotState.PENDING
    reason: str = ""
    start_estimate: float | None = None
    node: str = ""
    failed_node: str = ""
    """Of a slot that waits again: the node that it ran on, when that is out of order."""
    misses: int = 0
    """Polls running in which nobody knew it."""
    missing_since: float = 0.0
    is_cancelled: bool = False
    """Whether we asked for its end; a task that was still waiting then leaves no trace."""


@dataclass(slots=True, kw_only=True)
class _Array:
    """A tracked array and those of its slots that have not ended."""

    token: str
    job: str
    submitted: float
    """When, by our clock; 0 for an array of an earlier driver."""
    slots: dict[int, _Slot] = field(default_factory=dict)


class SlurmBackend:
    """Runs arrays of slots as job arrays of Slurm.

    Args:
        study_dir: The study's directory, absolute, on a file system that the nodes share.
        layout: Where logs and the files of an array go.
        python: Command that starts Python on a node, such as ``[sys.executable]`` or
            ``["apptainer", "exec", "image.sif", "python3"]``.
        runner: Runs Slurm's commands; processes when left out.
        clock: Tells the time.
        poll_seconds: Least time between two polls; grows up to four times while nothing changes
            and up to ten times while Slurm does not answer.
        submit_interval_seconds: Least time between two submissions.
        signal: Warning before the time limit, ``NAME@SECONDS``.
        requeue: Whether Slurm puts a slot back after a failure of its node or a pre-emption.
        use_srun: Whether the worker runs as a step of the job.
        workdir: Directory in which the setup lines run; the driver's own when left out.
        settle_seconds: How long after a first "there is none" `find` believes it: an sbatch that
            got no answer may reach slurmctld late (its time-out is 10 s).
    """

    name = "slurm"

    def __init__(
        self,
        study_dir: str,
        layout: _Paths,
        python: Sequence[str],
        *,
        clock: Clock,
        runner: CommandRunner | None = None,
        poll_seconds: float = 30.0,
        submit_interval_seconds: float = 10.0,
        signal: str = "USR1@120",
        requeue: bool = True,
        use_srun: bool = True,
        workdir: str | None = None,
        settle_seconds: float = 12.0,
    ) -> None:
        if "%" in study_dir or not study_dir.isprintable():
            raise SpecError(
                f"the study's directory {study_dir!r} holds a '%' or a control character: Slurm "
                "would replace it in the names of logs. Choose another study.dir"
            )
        self.poll_seconds = poll_seconds
        self.submit_interval_seconds = submit_interval_seconds
        self.calls: dict[str, int] = {}
        """How often each command of Slurm was run."""
        self._study_dir = os.path.abspath(study_dir)
        self._layout = layout
        self._python = tuple(python)
        self._clock = clock
        self._runner = runner or SubprocessRunner()
        self._base_poll_seconds = poll_seconds
        self._signal = signal
        self._requeue = requeue
        self._use_srun = use_srun
        self._workdir = workdir
        self._settle_seconds = settle_seconds
        self._arrays: dict[str, _Array] = {}
        self._jobs: dict[str, str] = {}
        """Job id of every token that was submitted, found or adopted here."""
        self._absent_since: dict[str, float] = {}
        self._limits: BackendLimits | None = None
        self._has_sacct = True
        self._quiet_polls = 0
        self._is_down = False

    # ------------------------------------------------------------------ submission

    def limits(self) -> BackendLimits:
        """Return the cluster's limits; asks Slurm once."""
        if self._limits is None:
            config = limits.parse_config(self._ask(limits.config_command()).stdout)
            self._has_sacct = config.has_accounting
            self._limits = BackendLimits(
                max_array_size=config.max_array_size,
                max_live_slots=self._submit_limit(config),
                longest_seconds=self._longest_seconds(),
            )
        return self._limits

    def _longest_seconds(self) -> dict[str, int]:
        longest: dict[str, int] = {}
        for group in sinfo.parse(self._ask(sinfo.command()).stdout):
            if group.time_limit_seconds is not None:
                longest[group.partition] = group.time_limit_seconds
                if group.is_default:
                    longest[""] = group.time_limit_seconds
        return longest

    def submit(self, array: ArraySpec) -> str:
        """Submit the array and return its job id; see `Backend.submit`."""
        known = self._jobs.get(array.token)
        if known is not None:
            return known
        try:
            executor = self._executor(array)
        except SpecError as error:
            raise SubmissionRefusedError(str(error)) from error
        if shutil.which("sbatch") is None:
            raise BackendError(str(NO_SLURM))
        os.makedirs(self._layout.logs, mode=0o700, exist_ok=True)
        os.makedirs(self._layout.array(array.token), mode=0o700, exist_ok=True)
        self._count("sbatch")
        job = _sbatch(executor, self._command(array))
        self._track(array, job, submitted=self._clock.now())
        return job

    def script(self, array: ArraySpec) -> str:
        """Return the batch script that `submit` would submit.

        Raises:
            SpecError: An option or a setup line cannot stand in a script.
        """
        text: str = self._executor(array).script_text(self._command(array))
        return text

    def find(self, token: str) -> str | None:
        """Return the job id of the array with this token; see `Backend.find`.

        If it was submitted twice the lowest job id is kept and the others are cancelled. That
        there is none is only said when two answers ``settle_seconds`` apart agree.
        """
        known = self._jobs.get(token)
        if known is not None:
            return known
        sbatch.check_job_name(token)
        rows = squeue.parse(self._ask(squeue.find_command(token)).stdout)
        jobs = sorted({row.job for row in rows if row.name == token}, key=int)
        if not jobs and self._has_sacct:
            answer = self._run(sacct.find_command(token))
            if answer.returncode == 0:
                jobs = sacct.parse_found(answer.stdout, token)
            elif sacct.is_disabled(answer.stdout + answer.stderr):
                self._has_sacct = False
            else:
                raise BackendUnavailableError(_no_answer("sacct", answer))
        if not jobs:
            self._settle(token)
            return None
        self._absent_since.pop(token, None)
        for extra in jobs[1:]:
            _log.warning("array %s was submitted twice: cancelling job %s", token, extra)
            self._ask(["scancel", extra])
        return jobs[0]

    def adopt(self, array: ArraySpec, job: str) -> None:
        """Track the slots of an array that an earlier driver submitted."""
        if array.token not in self._arrays:
            self._track(array, job, submitted=0.0)

    # ------------------------------------------------------------------ tracking

    def poll(self) -> Sequence[SlotStatus]:
        """Return the status of every tracked slot; see `Backend.poll`."""
        if not self._arrays:
            return []
        try:
            answer = self._ask(squeue.command())
        except BackendUnavailableError:
            self._is_down = True
            self._slow_down(_DOWN_FACTOR)
            raise
        was_down, self._is_down = self._is_down, False
        rows = {(row.job, row.index): row for row in squeue.parse(answer.stdout)}
        before = self._states()
        vanished: list[tuple[_Array, int]] = []
        broken: list[tuple[_Array, int]] = []
        returned: list[tuple[_Slot, str]] = []
        ended: list[SlotStatus] = []
        for array in self._arrays.values():
            for index, slot in array.slots.items():
                row = rows.get((array.job, index))
                node = slot.node if slot.state is SlotState.RUNNING else ""
                if row is None or row.name != array.token:
                    vanished.append((array, index))
                elif _update(slot, row) is SlotState.ENDED:
                    ended.append(_ended(array, index, state.outcome(row.state), row.reason, slot))
                elif slot.state is SlotState.PENDING and is_broken(slot.reason):
                    broken.append((array, index))
                elif slot.state is SlotState.PENDING and node:
                    returned.append((slot, node))
        self._look_for_failed_nodes(returned)
        if vanished:
            ended.extend(self._look_up(vanished))
        for array, index in broken:
            # Slurm holds it for ever; what failed there may work in another slot.
            self.cancel(array.token, [index])
            slot = array.slots[index]
            ended.append(_ended(array, index, Outcome.FAILED, slot.reason, slot))
        ended = [self._with_log(status) for status in ended]
        self._drop(ended)
        self._pace(changed=was_down or bool(ended) or self._states() != before)
        return [*self._live(), *ended]

    def cancel(self, token: str, indices: Sequence[int] | None = None) -> None:
        """End these slots of the array, or all; see `Backend.cancel`."""
        job = self._jobs.get(token)
        if job is None:
            # Not known here: Slurm knows it by its name, which nobody else uses.
            sbatch.check_job_name(token)
            target = ["-n", token]
        elif indices is None:
            target = [job]
        elif indices:
            target = [format_tasks(job, indices)]
        else:
            return
        answer = self._run(["scancel", *target])
        if answer.returncode and "invalid job id" not in answer.stderr.lower():
            raise BackendUnavailableError(_no_answer("scancel", answer))
        array = self._arrays.get(token)
        if array is not None:
            for index in array.slots if indices is None else set(indices) & set(array.slots):
                array.slots[index].is_cancelled = True

    def close(self) -> None:
        """Let go of nothing: slots live on and no process of ours is left."""

    # ------------------------------------------------------------------ details

    def _executor(self, array: ArraySpec) -> Any:
        """Return submitit's executor, set up to write the script of this array."""
        sbatch.check_job_name(array.token)
        request = array.request
        given = _options(request)
        named = {key.replace("-", "_"): value for key, value in given.items()}
        parameters = {k: v for k, v in named.items() if k in _SUBMITIT_PARAMETERS}
        additional: dict[str, str | int | bool] = {
            key: value
            for key, value in given.items()
            if key.replace("-", "_") not in _SUBMITIT_PARAMETERS
        }
        additional["output"] = os.path.join(os.path.abspath(self._layout.logs), "%A_%a.log")
        warning = script.warning_signal(self._signal, request.time_limit_seconds)
        additional["signal"] = warning if self._use_srun else f"B:{warning}"
        if not {"requeue", "no-requeue"} & set(additional):
            additional["requeue" if self._requeue else "no-requeue"] = True
        if self._workdir is not None and "chdir" not in additional:
            additional["chdir"] = self._workdir
        for line in request.setup:
            sbatch.check_setup_line(line)
        seconds = request.time_limit_seconds
        executor = _slot_executor(
            self._layout.array(array.token),
            environment.unwanted(os.environ, given=given),
        )
        executor.update_parameters(
            **parameters,
            job_name=array.token,
            # None leaves the partition's default in place of submitit's five minutes.
            time=None if seconds is None else time_in_minutes(seconds),
            setup=[*script.setup_lines(request.setup), script.enter_line(self._study_dir)],
            array_parallelism=request.array_limit or array.size,
            # submitit's own default, a wckey that few clusters define, is a refusal where they
            # are enforced.
            wckey=None,
            stderr_to_stdout=True,
            # srun stands in our command: submitit's would write logs of its own.
            use_srun=False,
            additional_parameters=additional,
        )
        # Also an array of one slot is an array: the worker needs its index.
        executor.parameters["map_count"] = array.size
        return executor

    def _command(self, array: ArraySpec) -> str:
        return script.worker_command(
            python=self._python,
            study_dir=self._study_dir,
            token=array.token,
            manifest_sha256=array.manifest_sha256,
            use_srun=self._use_srun,
        )

    def _track(self, array: ArraySpec, job: str, *, submitted: float) -> None:
        self._jobs[array.token] = job
        self._arrays[array.token] = _Array(
            token=array.token,
            job=job,
            submitted=submitted,
            slots={index: _Slot() for index in range(array.size)},
        )
        self._pace(changed=True)

    def _settle(self, token: str) -> None:
        """Return when it is sure that no array has this token.

        Raises:
            BackendUnavailableError: Too early to say.
        """
        now = self._clock.now()
        waited = now - self._absent_since.setdefault(token, now)
        if waited < self._settle_seconds:
            raise BackendUnavailableError(
                f"no array {token} yet; asked again in {self._settle_seconds - waited:.0f} s"
            )

    def _look_up(self, vanished: Sequence[tuple[_Array, int]]) -> Iterator[SlotStatus]:
        """Ask accounting for slots that squeue does not list; return those that ended."""
        rows, answered = self._accounts({array.token: array for array, _ in vanished})
        enough = _LOST_POLLS if answered else _LOST_POLLS_WITHOUT_SACCT
        now = self._clock.now()
        for array, index in vanished:
            slot = array.slots[index]
            if slot.misses == 0:
                slot.missing_since = now
            slot.misses += 1
            is_lost = slot.misses >= enough and now - slot.missing_since >= _LOST_SECONDS
            # Before it is told apart into tasks, an array has one row for itself.
            row = rows.get((array.job, index)) or rows.get((array.job, None))
            outcome = (
                None
                if row is None
                else state.outcome(row.state, row.exit_code, row.derived_exit_code)
            )
            if row is not None and outcome is not None and (row.is_own or is_lost):
                slot.node = row.nodes or slot.node
                yield _ended(array, index, outcome, row.state, slot)
            elif slot.is_cancelled and answered:
                yield _ended(array, index, Outcome.CANCELLED, "", slot)
            elif is_lost:
                yield _ended(array, index, Outcome.LOST, "Slurm knows it no more", slot)

    def _accounts(
        self, arrays: Mapping[str, _Array]
    ) -> tuple[dict[tuple[str, int | None], sacct.AccountRow], bool]:
        """Return what accounting knows, and whether it said all it will ever say."""
        if not self._has_sacct:
            return {}, True
        known = {
            array.job: sacct.Submission(name=array.token, time=array.submitted)
            for array in arrays.values()
        }
        try:
            answer = self._run(sacct.command(known))
        except BackendUnavailableError as error:
            _log.warning("%s", error)
            return {}, False
        if answer.returncode == 0:
            return sacct.parse(answer.stdout, known), True
        if sacct.is_disabled(answer.stdout + answer.stderr):
            self._has_sacct = False
            return {}, True
        _log.warning("%s", _no_answer("sacct", answer))
        return {}, False

    def _look_for_failed_nodes(self, returned: Sequence[tuple[_Slot, str]]) -> None:
        """Find out why slots that ran wait again: Slurm does not say it of the slot."""
        if not returned:
            return
        try:
            answer = self._run(sinfo.states_command(node for _, node in returned))
        except BackendUnavailableError as error:
            _log.warning("%s", error)
            return
        down = sinfo.parse_down(answer.stdout)
        for slot, node in returned:
            slot.failed_node = node if node in down else ""

    def _with_log(self, status: SlotStatus) -> SlotStatus:
        """Return what became of a slot that failed, with what its log adds to Slurm's words."""
        if status.outcome is not Outcome.FAILED:
            return status
        path = os.path.join(os.path.abspath(self._layout.logs), f"{status.job}.log")
        try:
            with open(path, "rb") as file:
                file.seek(-min(_LOG_BYTES, os.fstat(file.fileno()).st_size), os.SEEK_END)
                lines = file.read(_LOG_BYTES).decode("utf-8", "replace").splitlines()
        except OSError:
            return status
        if slot_log.tells_of_memory(lines):
            return replace(status, outcome=Outcome.OUT_OF_MEMORY)
        words = [part for part in (status.reason, slot_log.last_words(lines)) if part]
        return replace(status, reason=": ".join(words))

    def _drop(self, ended: Sequence[SlotStatus]) -> None:
        for status in ended:
            array = self._arrays[status.token]
            del array.slots[status.index]
            if not array.slots:
                del self._arrays[status.token]

    def _live(self) -> list[SlotStatus]:
        return [
            SlotStatus(
                token=array.token,
                index=index,
                state=slot.state,
                job=format_task(array.job, index),
                reason=slot.reason,
                start_estimate=slot.start_estimate,
                node=slot.node,
                failed_node=slot.failed_node,
                hopeless=_why_hopeless(slot),
            )
            for array in self._arrays.values()
            for index, slot in array.slots.items()
        ]

    def _states(self) -> dict[tuple[str, int], SlotState]:
        return {
            (array.token, index): slot.state
            for array in self._arrays.values()
            for index, slot in array.slots.items()
        }

    def _pace(self, *, changed: bool) -> None:
        """Poll at the usual pace after a change, and ever slower while nothing happens."""
        if changed:
            self._quiet_polls = 0
            self.poll_seconds = self._base_poll_seconds
            return
        self._quiet_polls += 1
        if self._quiet_polls % _QUIET_POLLS == 0:
            self._slow_down(_SLOWEST_FACTOR)

    def _slow_down(self, most: float) -> None:
        longest = self._base_poll_seconds * most
        self.poll_seconds = min(self.poll_seconds * 2, max(longest, self.poll_seconds))

    def _submit_limit(self, config: ClusterConfig) -> int | None:
        """Return how many slots may be queued at once, as far as Slurm lets us read it."""
        if not config.enforced:
            return None
        with contextlib.suppress(BackendError):
            mine = self._ask(limits.associations_command(getpass.getuser())).stdout
            qos = self._ask(limits.qos_command()).stdout
            return limits.submit_limit(
                limits.parse_associations(mine), limits.parse_qos(qos), config.enforced
            )
        return None

    def _ask(self, argv: Sequence[str]) -> CommandResult:
        """Run a command that must succeed.

        Raises:
            BackendUnavailableError: It did not.
        """
        answer = self._run(argv)
        if answer.returncode:
            raise BackendUnavailableError(_no_answer(argv[0], answer))
        return answer

    def _run(self, argv: Sequence[str]) -> CommandResult:
        self._count(argv[0])
        return self._runner.run(argv)

    def _count(self, command: str) -> None:
        self.calls[command] = self.calls.get(command, 0) + 1


def _options(request: ResourceRequest) -> dict[str, str | int | bool]:
    """Return the request's sbatch options, checked; ``extra`` wins, False takes one out."""
    given: dict[str, str | int | bool] = {}
    for key, value in (*request.options, *request.extra):
        given[sbatch.check_option(key, value)] = value
    return {key: value for key, value in given.items() if value is not False}


def _update(slot: _Slot, row: squeue.QueueRow) -> SlotState:
    """Take over what squeue says and return the slot's state."""
    slot.misses = 0
    slot.state = _PHASES[state.phase(row.state)]
    slot.reason = row.reason
    slot.node = row.nodes
    slot.start_estimate = row.start if slot.state is SlotState.PENDING else None
    if slot.state is SlotState.RUNNING:
        slot.failed_node = ""
    if slot.state is SlotState.PENDING and not row.reason:
        word = state.state_word(row.state)
        slot.reason = "" if word == "PENDING" else word
    return slot.state


def _ended(
    array: _Array, index: int, outcome: Outcome | None, reason: str, slot: _Slot
) -> SlotStatus:
    return SlotStatus(
        token=array.token,
        index=index,
        state=SlotState.ENDED,
        job=format_task(array.job, index),
        reason=reason,
        outcome=outcome,
        node=slot.node,
    )


def _why_hopeless(slot: _Slot) -> str:
    if slot.state is not SlotState.PENDING or not never_starts(slot.reason):
        return ""
    return f"{plain_reason(slot.reason)} ({slot.reason})"


def _no_answer(command: str, answer: CommandResult) -> str:
    says = (answer.stderr or answer.stdout).strip().splitlines()
    return f"{command} failed: {says[-1] if says else f'exit code {answer.returncode}'}"


# ---------------------------------------------------------------------- submitit


def _slot_executor(folder: str, unwanted: Sequence[str]) -> Any:
    """Return a submitit executor that leaves these variables out when it runs sbatch."""
    executor = _slot_executor_class()(folder)
    executor.unwanted = tuple(unwanted)
    return executor


@functools.cache
def _slot_executor_class() -> Any:
    """Return the subclass of submitit's executor; a function, so that submitit loads late."""
    import submitit
    from submitit.core import utils

    class SlotExecutor(submitit.SlurmExecutor):
        """Writes the script of an array of slots and submits it."""

        unwanted: tuple[str, ...] = ()

        @classmethod
        def affinity(cls) -> int:
            # Scripts are also shown where there is no Slurm; sbatch is looked for in `submit`.
            return 1

        def script_text(self, command: str) -> str:
            return self._make_submission_file_text(command, "")

        def submit_line(self, command: str) -> str:
            return self._submit_command(command).job_id

        def _make_submission_command(self, submission_file_path: Any) -> list[str]:
            # env and timeout: variables of this process stay as they are, also for its other
            # threads, and an sbatch that hangs does not hang the driver.
            removed = [part for name in self.unwanted for part in ("-u", name)]
            limit = ["timeout", "--kill-after=5", str(_SBATCH_TIMEOUT_SECONDS)]
            return ["env", *removed, *limit, "sbatch", str(submission_file_path)]

        @staticmethod
        def _get_job_id_from_submission_command(string: Any) -> str:
            text = string if isinstance(string, str) else string.decode()
            job = sbatch.parse_submitted(text)
            if job is None:
                raise utils.FailedSubmissionError(text)
            return job

    return SlotExecutor


def _sbatch(executor: Any, command: str) -> str:
    """Submit the executor's array and return the job id.

    Raises:
        BackendUnavailableError: No clear answer; the job may exist.
        SubmissionRefusedError: A clear no.
    """
    from submitit.core import utils

    try:
        # submitit also prints what sbatch complains about.
        with contextlib.redirect_stderr(io.StringIO()):
            job: str = executor.submit_line(command)
    except utils.FailedJobError as error:
        refusal = sbatch.classify(_returncode(error), str(error))
        message = refusal.message + (f". Slurm says: {refusal.says}" if refusal.says else "")
        if refusal.kind is sbatch.RefusalKind.AMBIGUOUS:
            raise BackendUnavailableError(message) from error
        is_retryable = refusal.kind is sbatch.RefusalKind.LATER
        raise SubmissionRefusedError(message, retryable=is_retryable) from error
    except utils.FailedSubmissionError as error:
        raise BackendUnavailableError(f"sbatch gave no job id but said: {error}") from error
    except OSError as error:
        # The job may have been submitted before its script could be renamed.
        raise BackendUnavailableError(f"the submission was cut short: {error}") from error
    finally:
        _remove_left_over(str(executor.folder))
    return job


def _returncode(error: Exception) -> int:
    """Return what sbatch ended with; -1 when its answer could not be read at all."""
    cause = error.__cause__
    return cause.returncode if isinstance(cause, subprocess.CalledProcessError) else -1


def _remove_left_over(folder: str) -> None:
    """Remove the script's first name: a link after a submission, the script after a failure."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(".submission_file_"):
                os.unlink(os.path.join(folder, name))

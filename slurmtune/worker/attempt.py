"""One attempt, from its claim to the last record: run the program, watch it, say how it ended.

The program reports by appending lines to a file (or by printing); this process copies them into
the event log, which it alone writes. One loop waits for everything at once: the end of the
program, signals, output, and the time to look at files. A program that did and saved all and asks
for more outlives its attempt (see `held`). Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from slurmtune.errors import SlurmtuneError
from slurmtune.store import checkpoint, event_log, frame, fs
from slurmtune.store.layout import StudyLayout
from slurmtune.worker import bell, cause, environment
from slurmtune.worker.aftermath import Aftermath
from slurmtune.worker.attempt_log import AttemptLog, fitting
from slurmtune.worker.held import Held, Process, may_stay
from slurmtune.worker.metrics import (
    MAX_REPORTS,
    Failed,
    Item,
    MetricReader,
    More,
    Number,
    Report,
    Saved,
    merged,
)
from slurmtune.worker.origin import checkpoint_folder, find_origin
from slurmtune.worker.parse import OutputParser
from slurmtune.worker.preparation import NEW_FILE, Preparation, write_all
from slurmtune.worker.program import Program, ProgramEnd, oom_kills
from slurmtune.worker.signals import WARNINGS, SignalInbox
from slurmtune.worker.task import Task
from slurmtune.worker.verdict import (
    BY_DEADLINE,
    BY_SIGNAL,
    BY_STOP,
    FAILED,
    NOT_INTERRUPTED,
    PREEMPTED,
    SUCCEEDED,
    Seen,
    judge,
)

_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 0.5
_STOP_LOOK_SECONDS = 1.0
# Slurm signals every process of a job in turn: a program can be gone before we hear of it.
_SIGNAL_RACE_SECONDS = 0.3
# Leaving well and early is usual for programs that stop by themselves: those hardly wait.
_EXIT_RACE_SECONDS = 0.01
_FINAL_READS = 5
_FINAL_READ_PAUSE_SECONDS = 1.0
_TAIL_BYTES = 64 * 1024
# Some programs put numbers into names.
_MAX_NAMES = 10_000
_LOG_PATIENCE_SECONDS = 60.0


class SlotIdentity(NamedTuple):
    """Which slot this is."""

    token: str
    position: int
    """Index in the array."""
    restart: int
    """How often Slurm requeued it before; part of every name, so that no two write one file."""
    job: str
    host: str
    pid: int

    def record(self) -> Dict[str, Any]:
        """Return the fields that claims and start records carry."""
        fields = self._asdict()
        fields["index"] = fields.pop("position")
        return fields


class Limits(NamedTuple):
    """When to end a program that does not end by itself."""

    deadline: Optional[float]
    """Monotonic time at which the slot's time is up; None for no limit."""
    near_seconds: float
    """So long before the deadline an interruption is called a timeout."""
    grace_seconds: float
    """From SIGTERM to SIGKILL."""
    least_seconds: float = 0.0
    """With less time left nothing is begun, and no program waits for more."""


class AttemptResult(NamedTuple):
    """How the attempt ended, for the slot."""

    outcome: str
    seconds: float
    held: Optional[Held] = None
    """The program, if it waits for more."""


def near_seconds(time_limit_seconds: float) -> float:
    """Return how close to the limit an interruption is taken for a timeout.

    Five minutes, less for short limits; warnings come up to a minute before the time that
    ``--signal`` names.
    """
    return min(300.0, max(0.2 * time_limit_seconds, min(200.0, 0.5 * time_limit_seconds)))


class Attempt:
    """Runs one claimed attempt: in a new process, or in that of ``held``, which can go on."""

    def __init__(
        self,
        task: Task,
        *,
        layout: StudyLayout,
        manifest: Mapping[str, Any],
        identity: SlotIdentity,
        limits: Limits,
        inbox: SignalInbox,
        held: Optional[Held] = None,
    ) -> None:
        self._task = task
        self._held = held
        self._process: Optional[Process] = None if held is None else held.process
        self._parser: Optional[OutputParser] = None
        self._output = -1
        self._layout = layout
        self._manifest = manifest
        self._identity = identity
        self._limits = limits
        self._inbox = inbox
        self._folder = layout.attempt(task.attempt)
        self._objectives: List[str] = list(manifest.get("objectives") or [])
        self._resource_name: str = manifest.get("resource") or ""
        self._start: Number = 0
        self._started = 0.0
        self._memory_kills = 0
        self._saved_at_end = ""
        self._asks_for_more = False
        self._owes_answer = False
        self._tail_begin = 0
        self._reported: Dict[str, None] = {}
        self._report_count = 0
        self._reached: Optional[Number] = None
        self._gave_up: Optional[str] = None
        self._interrupted_by = NOT_INTERRUPTED
        self._interrupted_at = 0.0
        self._kill_at: Optional[float] = None
        self._was_killed = False
        self._signals_seen = 0

    def run(self) -> AttemptResult:
        """Run the program and write how it ended.

        Raises:
            OSError: the study's directory cannot be written.
        """
        is_held = False
        try:
            fs.make_dir(self._folder)
            self._log = AttemptLog(self._layout.events(self._task.attempt))
            path = self._layout.output(self._task.attempt)
            self._output = os.open(path, NEW_FILE | os.O_APPEND, 0o600)
            result = self._run()
            is_held = result.held is not None
            if self._held is not None and self._held.aftermath is not None:
                # Where the program did not go on it may have reported for the attempt before.
                self._held.aftermath.keep()
            return result
        except BaseException:
            if self._process is not None:
                self._process.program.kill()
            raise
        finally:
            self._close(is_held=is_held)

    def _close(self, *, is_held: bool) -> None:
        """Close what no program that waits prints to."""
        process = self._process
        if self._output >= 0 and (process is None or process.output != self._output):
            os.close(self._output)
            self._output = -1
        if process is not None and not is_held:
            process.close()
            self._output = -1

    def _run(self) -> AttemptResult:
        held, task = self._held, self._task
        if held is None:
            resumes = self._manifest.get("resume") is True
            loaded, self._start, note = find_origin(self._layout, task, resumes=resumes)
        else:
            loaded, self._start, note = held.checkpoint, task.start, ""
        if note:
            self._note(note)
        self._save_folder = checkpoint.begin(
            self._layout, task.trial, checkpoint.checkpoint_name(self._start, task.attempt)
        )
        preparation = Preparation(
            self._layout,
            self._manifest,
            task,
            self._start,
            checkpoint_folder(self._layout, loaded) if loaded else "",
            self._save_folder,
        )
        self._started = time.monotonic()
        self._memory_kills = oom_kills()
        refusal = ""
        argv: List[str] = []
        try:
            preparation.write_files()
            if held is not None:
                argv = list(held.process.argv)
                self._hand_over(held.process, held.more, preparation)
            else:
                argv = preparation.argv()
                self._process = self._start_process(argv, preparation)
        except (OSError, ValueError, SlurmtuneError) as error:
            refusal = _why_not_started(error, argv)
        # After the start: the program loads while the record goes to the disk.
        self._log_start(argv, loaded, note)
        if refusal or self._process is None:
            return self._end_of_refused(refusal)
        if self._supervise(self._process):
            return self._end_of_held(self._process)
        return self._end_of_program(self._process.program)

    # Before the program ------------------------------------------------------------------------

    def _hand_over(self, process: Process, more: str, preparation: Preparation) -> None:
        """Let the program that waits for the file ``more`` go on as this attempt.

        Raises:
            OSError: it could not be told.
        """
        task = self._task
        path = process.output_path
        self._note(f"the program goes on in the same process; its output is in {path}")
        with contextlib.suppress(OSError):
            self._tail_begin = os.fstat(process.output).st_size
        variables = preparation.variables(bell="")
        self._read_metrics(variables)
        content = environment.handover(variables, rung=task.rung, start=self._start, end=task.end)
        process.answer(more, content)

    def _start_process(self, argv: Sequence[str], preparation: Preparation) -> Process:
        """Start the program.

        Raises:
            OSError, ValueError: it could not be started.
        """
        ours, theirs = self._hang_bell()
        try:
            named = bell.describe(theirs) if ours is not None else ""
            program = self._program(argv, preparation.variables(named), theirs)
        except BaseException:
            if ours is not None:
                ours.close()
            raise
        finally:
            if ours is not None:
                os.close(theirs)
        path = self._layout.output(self._task.attempt)
        return Process(program, argv, self._output, path, ours)

    def _hang_bell(self) -> "tuple[Optional[bell.Bell], int]":
        """Return the bell of a program that may wait for more, and what the program gets of it."""
        if may_stay(self._manifest, self._task):
            # With too many open files the program looks for its answer by itself.
            with contextlib.suppress(OSError):
                return bell.bell_pair()
        return None, -1

    def _program(
        self, argv: Sequence[str], variables: environment.Variables, theirs: int
    ) -> Program:
        manifest = self._manifest
        expressions = manifest.get("parse") or {}
        self._parser = (
            OutputParser(expressions, resource_name=self._resource_name, start=self._start)
            if expressions
            else None
        )
        self._read_metrics(variables)
        return Program(
            argv,
            environment=environment.program_environment(
                os.environ,
                variables=variables,
                user_variables=manifest.get("vars") or {},
                library=manifest.get("lib") or "",
            ),
            folder=manifest["workdir"],
            output=self._output,
            capture=self._parser is not None,
            inherited=() if theirs < 0 else (theirs,),
        )

    def _read_metrics(self, variables: environment.Variables) -> None:
        self._metric_reader = MetricReader(
            variables.metrics,
            resource_name=self._resource_name,
            start=self._start,
            note=self._note,
        )

    def _log_start(self, argv: Sequence[str], loaded: str, note: str) -> None:
        fields: Dict[str, Any] = self._identity.record()
        fields.update(
            start=self._start,
            checkpoint=loaded or None,
            command=fitting(argv, length=500, total=16_000, from_end=False),
            gpus=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        )
        if note:
            fields["note"] = note
        if self._held is not None:
            fields["continued"] = True
        self._log.add(event_log.START, **fields)

    # While it runs -----------------------------------------------------------------------------

    def _supervise(self, process: Process) -> bool:
        """Return when the program has ended, or when it waits for more; tell whether it does."""
        program, its_bell = process.program, process.bell
        look_seconds = _FIRST_LOOK_SECONDS
        next_look = time.monotonic() + look_seconds
        next_stop_look = time.monotonic() + _STOP_LOOK_SECONDS
        while True:
            now = time.monotonic()
            self._meet_signals(program, now)
            if program.has_ended():
                break
            if now >= next_look:
                self._take(self._new_items(final=False))
                if self._meet_request(process):
                    return True
                look_seconds = min(_LONGEST_LOOK_SECONDS, 1.2 * look_seconds)
                next_look = now + look_seconds
            if now >= next_stop_look:
                if not self._interrupted_by and self._is_stop_wanted():
                    self._interrupt(program, BY_STOP, now, self._limits.grace_seconds)
                next_stop_look = now + _STOP_LOOK_SECONDS
            times = [next_look, next_stop_look, self._kill_at, self._limits.deadline]
            wake = min(one for one in times if one is not None and one > now)
            bell_descriptor = None if its_bell is None else its_bell.descriptor
            watched = [one for one in (program.output, bell_descriptor) if one is not None]
            ready = self._inbox.wait(wake - now, watched)
            if program.output in ready:
                self._take_output(program.read())
            if its_bell is not None and bell_descriptor in ready and its_bell.has_rung():
                next_look = now  # it asks for more
        while program.output is not None:
            data = program.read()
            if not data:
                break  # a process left behind may hold the pipe open
            self._take_output(data)
        self._take_output(b"", final=True)
        return False

    def _meet_request(self, process: Process) -> bool:
        """Answer a program that asks for more; tell whether it may wait, with its attempt over."""
        if self._asks_for_more:
            self._asks_for_more = False
            if self._can_be_held() and not process.program.has_ended():
                return True
            self._owes_answer = True
        if self._owes_answer and may_stay(self._manifest, self._task):
            # On a full disk the next look tries again.
            with contextlib.suppress(OSError):
                process.answer(self._layout.more(self._task.attempt), environment.NO_MORE)
                self._owes_answer = False
        return False

    def _can_be_held(self) -> bool:
        """Tell whether the attempt is done, saved at its end, and may be followed by another.

        What the program wrote to ``SLURMTUNE_SAVE`` is published for that.
        """
        deadline, end = self._limits.deadline, self._task.end
        is_done = (
            self._gave_up is None
            and end is not None
            and end > self._start
            and self._reached is not None
            and self._reached >= end
            and all(name in self._reported for name in self._objectives)
        )
        if (
            not (is_done and may_stay(self._manifest, self._task))
            or self._interrupted_by
            or self._inbox.received
            or (deadline is not None and deadline - time.monotonic() < self._limits.least_seconds)
        ):
            return False
        if not self._saved_at_end and os.listdir(self._save_folder):
            self._keep_saved(SUCCEEDED)
        return self._saved_at_end != ""

    def _meet_signals(self, program: Program, now: float) -> None:
        grace = self._limits.grace_seconds
        received = self._inbox.received
        while self._signals_seen < len(received):
            number = received[self._signals_seen]
            self._signals_seen += 1
            if number in WARNINGS and self._limits.deadline is not None:
                # The warning comes well before the limit: there is more time to save.
                self._interrupt(program, BY_SIGNAL, now, max(grace, self._limits.deadline - now))
            else:
                self._interrupt(program, BY_SIGNAL, now, grace)
        deadline = self._limits.deadline
        if deadline is not None and now >= deadline and not self._interrupted_by:
            self._interrupt(program, BY_DEADLINE, now, grace)
        if self._kill_at is not None and now >= self._kill_at and not self._was_killed:
            self._was_killed = True
            program.kill()

    def _interrupt(self, program: Program, by: str, now: float, grace_seconds: float) -> None:
        """Ask the program to save and leave; a later and stricter call shortens the grace."""
        if not self._interrupted_by:
            self._interrupted_by = by
            self._interrupted_at = now
            program.ask_to_leave()
        kill_at = now + grace_seconds
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)

    def _is_stop_wanted(self) -> bool:
        try:
            names = fs.list_dir(self._folder)
        except OSError:
            return False
        return os.path.basename(self._layout.stop_file(self._task.attempt)) in names

    def _take_output(self, data: bytes, *, final: bool = False) -> None:
        if self._parser is None:
            return
        self._keep_output(data)
        self._take(list(self._parser.feed(data, final=final)))

    def _new_items(self, *, final: bool) -> List[Item]:
        """Return what the program told by its file; trouble in reading must not end it."""
        tries = _FINAL_READS if final else 1
        for left in range(tries - 1, -1, -1):
            try:
                return self._metric_reader.read(final=final)
            except OSError:
                if left:
                    time.sleep(_FINAL_READ_PAUSE_SECONDS)
        return []

    def _take(self, items: Sequence[Item]) -> None:
        """Record what the program told."""
        items = merged(items)
        if self._report_count > MAX_REPORTS:
            newest = [item for item in items if isinstance(item, Report)][-1:]
            items = [item for item in items if not isinstance(item, Report) or item in newest]
        for item in items:
            if isinstance(item, Report):
                self._report_count += 1
                if len(self._reported) < _MAX_NAMES:
                    self._reported.update(dict.fromkeys(item.metrics))
                self._reached = max(item.resource, self._reached or 0)
                self._log.add(
                    event_log.REPORT,
                    resource=item.resource,
                    metrics={k: frame.encode_number(v) for k, v in item.metrics.items()},
                )
            elif isinstance(item, Saved):
                self._take_saved(item)
            elif isinstance(item, More):
                self._asks_for_more = True
            else:
                assert isinstance(item, Failed)
                self._gave_up = item.why

    def _take_saved(self, saved: Saved) -> None:
        try:
            resource, attempt = checkpoint.parse_checkpoint_name(saved.name)
        except ValueError:
            attempt = ""
        if attempt == self._task.attempt and resource == saved.resource:
            self._log_checkpoint(resource, saved.name)
        else:
            self._note(f"not a checkpoint of this attempt: {saved.name[:100]}")

    def _log_checkpoint(self, resource: Number, name: str) -> None:
        self._log.add(event_log.CHECKPOINT, resource=resource, name=name)
        if resource == self._task.end:
            self._saved_at_end = name

    # After it ----------------------------------------------------------------------------------

    def _end_of_refused(self, why: str) -> AttemptResult:
        """The program could not be started, or one that waits could not be told to go on."""
        shutil.rmtree(self._save_folder, ignore_errors=True)
        if self._process is not None:
            self._process.program.kill()
            self._process.program.finish()
        return self._end(FAILED, why, ProgramEnd(None, None))

    def _end_of_program(self, program: Program) -> AttemptResult:
        end = program.finish()
        self._take(self._new_items(final=True))
        self._await_signal(end)
        memory_was_hit = oom_kills() > self._memory_kills
        outcome, why = judge(self._seen(end, memory_was_hit=memory_was_hit))
        if self._never_went_on():
            outcome, why = PREEMPTED, "the program ended while it waited for more work"
        self._keep_saved(outcome)
        return self._end(outcome, why, end)

    def _never_went_on(self) -> bool:
        """Tell whether the program was gone before it heard that there is more.

        Then nothing is wrong with the trial: the attempt is repeated in a process of its own.
        """
        held = self._held
        if held is None or self._reported or self._gave_up is not None or self._interrupted_by:
            return False
        try:
            return os.path.basename(held.more) in fs.list_dir(os.path.dirname(held.more))
        except OSError:
            return False

    def _end_of_held(self, process: Process) -> AttemptResult:
        """The attempt is over, and its program waits for more."""
        task = self._task
        assert task.end is not None
        # The program is told of another one.
        shutil.rmtree(self._save_folder, ignore_errors=True)
        result = self._end(SUCCEEDED, "", ProgramEnd(None, None), holds=True)
        held = Held(
            process=process,
            attempt=task.attempt,
            end=task.end,
            checkpoint=self._saved_at_end,
            more=self._layout.more(task.attempt),
            unit_seconds=result.seconds / (task.end - self._start),
            seconds=result.seconds,
            aftermath=Aftermath(
                self._metric_reader,
                self._layout.events(task.attempt),
                most=MAX_REPORTS - self._report_count,
            ),
        )
        return result._replace(held=held)

    def _await_signal(self, end: ProgramEnd) -> None:
        """Wait a moment for the signal that may have ended the program before it reached us."""
        seen = self._seen(end, memory_was_hit=False)
        ended_early = end.exit_code == 0 and seen.is_below_end
        ended_by_signal = end.signal in (signal.SIGTERM, *WARNINGS) or end.exit_code == 143
        patience = _SIGNAL_RACE_SECONDS if ended_by_signal else _EXIT_RACE_SECONDS
        deadline = time.monotonic() + patience
        while (
            (ended_early or ended_by_signal)
            and not self._interrupted_by
            and not self._inbox.received
            and time.monotonic() < deadline
        ):
            self._inbox.wait(deadline - time.monotonic())
        if self._inbox.received and not self._interrupted_by:
            self._interrupted_by = BY_SIGNAL
            self._interrupted_at = time.monotonic()

    def _seen(self, end: ProgramEnd, *, memory_was_hit: bool) -> Seen:
        deadline = self._limits.deadline
        return Seen(
            exit_code=end.exit_code,
            signal=end.signal,
            objectives=self._objectives,
            reported=list(self._reported),
            reached=self._reached,
            end=self._task.end,
            resource_name=self._resource_name,
            expressions=self._manifest.get("parse") or {},
            gave_up=self._gave_up,
            interrupted_by=self._interrupted_by,
            is_near_deadline=deadline is not None
            and deadline - self._interrupted_at <= self._limits.near_seconds,
            memory_was_hit=memory_was_hit,
            tail=self._tail(),
        )

    def _keep_saved(self, outcome: str) -> None:
        """Publish what the program wrote to ``SLURMTUNE_SAVE``, if it is a whole checkpoint."""
        try:
            names = os.listdir(self._save_folder)
        except FileNotFoundError:
            return  # it was done when the program asked for more
        end, reached = self._task.end, self._reached
        if outcome == SUCCEEDED and end is not None:
            resource: Number = end
        else:
            resource = self._start if reached is None else reached
        is_whole = "done" in names or outcome == SUCCEEDED
        has_progress = resource > self._start
        if not names:
            os.rmdir(self._save_folder)
        elif not (is_whole and has_progress):
            shutil.rmtree(self._save_folder, ignore_errors=True)
        else:
            self._publish_saved(resource)

    def _publish_saved(self, resource: Number) -> None:
        task = self._task
        name = checkpoint.checkpoint_name(resource, task.attempt)
        manifest = {"trial": task.trial, "attempt": task.attempt, "resource": resource}
        final = self._layout.checkpoint(task.trial, name)
        try:
            is_new = checkpoint.publish(self._save_folder, final, manifest)
        except (OSError, SlurmtuneError) as error:
            self._note(f"the checkpoint could not be kept: {error}")
            shutil.rmtree(self._save_folder, ignore_errors=True)
        else:
            if is_new:
                self._log_checkpoint(resource, name)

    def _end(
        self, outcome: str, why: str, end: ProgramEnd, *, holds: bool = False
    ) -> AttemptResult:
        seconds = time.monotonic() - self._started
        marks = {"holds": True} if holds else {}
        tail = [] if outcome == SUCCEEDED else cause.recorded_tail(self._tail())
        self._log.add(
            event_log.END,
            outcome=outcome,
            exit_code=end.exit_code,
            signal=end.signal,
            cause=why,
            tail=fitting(tail, length=cause.RECORDED_LINE_LENGTH, total=40_000, from_end=True),
            seconds=round(seconds, 3),
            gave_up=self._gave_up is not None,
            **marks,
        )
        self._log.finish(_LOG_PATIENCE_SECONDS)
        return AttemptResult(outcome, seconds)

    def _tail(self) -> List[str]:
        """Return the last lines of the program's output."""
        process = self._process
        output = self._output if process is None else process.output
        path = self._layout.output(self._task.attempt)
        try:
            size = os.fstat(output).st_size
            begin = max(self._tail_begin, size - _TAIL_BYTES)
            data = fs.read_file(path if process is None else process.output_path, begin)
        except OSError:
            return []
        return data.decode("utf-8", "replace").splitlines()[-cause.TAIL_LINES :]

    def _note(self, sentence: str) -> None:
        """Tell the user something, in the output of the program."""
        self._keep_output(f"slurmtune: {sentence}\n".encode("utf-8", "replace"))

    def _keep_output(self, data: bytes) -> None:
        # Output is a comfort: a full disk must not end the training.
        with contextlib.suppress(OSError):
            write_all(self._output, data)


def _why_not_started(error: Exception, argv: Sequence[str]) -> str:
    if isinstance(error, FileNotFoundError) and argv and _text(error.filename) == argv[0]:
        return f"command not found: {argv[0]}"
    if isinstance(error, PermissionError) and argv and _text(error.filename) == argv[0]:
        return f"Permission denied: {argv[0]} cannot be executed"
    if isinstance(error, OSError):
        return f"the program could not be started: {error.strerror}: {_text(error.filename)}"
    return f"the program could not be started: {error}"


def _text(name: Any) -> str:
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)

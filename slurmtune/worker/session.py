"""The user's side: `trial` gives a training script its config and takes its reports.

::

    trial = slurmtune.trial()         # outside of slurmtune: slurmtune.trial(lr=1e-3, epoch=10)
    if trial.resumed:
        model.load_state_dict(torch.load(trial.checkpoint / "model.pt"))
    for epoch in trial.steps():
        trial.report(val_loss=train_one_epoch(model, **trial.params))
        with trial.save() as folder:
            torch.save(model.state_dict(), folder / "model.pt")

Everything passes through files and variables that any language can use (see `environment`), so
this module is a convenience and no protocol. Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    Mapping,
    MutableMapping,
    NoReturn,
    Optional,
    Union,
)

from slurmtune.errors import TrialError
from slurmtune.store import fs
from slurmtune.worker import metrics as lines
from slurmtune.worker.bell import Bell, inherited_bell
from slurmtune.worker.metrics import Number
from slurmtune.worker.signals import StopFlag

Scalar = Union[str, int, float, bool]

_RESOURCE_WORDS = ("epoch", "epochs", "step", "steps", "iteration", "iterations")
# The first that is set decides: torchrun and MPI run several processes in one Slurm task.
_RANK_VARIABLES = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID")
_SIZE_VARIABLES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
# Slurm sets it for every task, also where there is only one.
_RANKS_OF_SEVERAL = _RANK_VARIABLES[:-1]
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 0.5
# Who hears of the answer need hardly look for it.
_LOOK_WITH_BELL_SECONDS = 5.0
_WRITE_PAUSES_SECONDS = (0.0, 0.1, 0.5)
_LAST_WRITE_PAUSES_SECONDS = (0.0, 1.0, 4.0, 10.0)


def trial(**defaults: Any) -> Trial:
    """Return the trial that this program runs.

    ``defaults`` are values for hyperparameters that the config does not have: all of them outside
    of slurmtune, where reports are printed. One named like the resource (``epoch=10``) is the
    resource to train up to where the study does not say it.

    Raises:
        TrialError: the files of the trial cannot be read.
    """
    return Trial(os.environ, defaults)


class Trial:
    """One config and what it is trained for. Made by `trial`.

    Of a program with several processes only rank 0 reports and saves; in the others the same calls
    do nothing.
    """

    def __init__(self, environment: Mapping[str, str], defaults: Mapping[str, Any]) -> None:
        def variable(name: str) -> str:
            return environment.get("SLURMTUNE_" + name, "")

        self._environment = environment
        self._metrics_path = variable("METRICS")
        self.objectives = [name for name in variable("OBJECTIVES").split(",") if name]
        """Metrics that the study wants; empty outside of slurmtune."""
        self._keep = int(variable("KEEP_CHECKPOINTS") or 2)
        self._is_main = _rank(environment) == 0
        values = dict(defaults)
        config = _load_config(variable("CONFIG"))
        self._line_key = variable("RESOURCE")
        self.resource = self._line_key or _resource_word(values, config)
        """Word for the resource, such as ``epoch``."""
        fallback_end = None if self.resource in config else values.pop(self.resource, None)
        values.update(config)
        self.params: Dict[str, Scalar] = values
        """Values by name: int, float, str or bool."""
        self.id = variable("TRIAL") or "local"
        """Name of the trial, such as ``t00007``."""
        self.attempt = variable("ATTEMPT")
        """Name of this attempt, such as ``t00007.r2.a1``; empty outside of slurmtune."""
        self.rung = int(variable("RUNG") or 0)
        self.seed = int(variable("SEED") or 0)
        """The same for every attempt of the trial."""
        self.dir = Path(variable("TRIAL_DIR") or os.getcwd())
        """The trial's own folder, kept over its attempts; here outside of slurmtune."""
        self.start: Number = lines.as_resource(float(variable("START") or 0))
        """Resource that the checkpoint holds; 0 for a fresh start."""
        end = variable("END")
        self.end: Optional[Number] = (
            lines.as_resource(float(end))
            if end
            else None
            if fallback_end is None
            else lines.as_resource(fallback_end)
        )
        """Resource to train up to; None when the study has no fidelity and no default says it."""
        checkpoint = variable("CHECKPOINT")
        self.checkpoint: Optional[Path] = Path(checkpoint) if checkpoint else None
        """Folder with what an earlier attempt saved; None for a fresh start."""
        self._more_path = variable("MORE")
        self._more_seconds = float(variable("MORE_SECONDS") or 0)
        self._bell: Optional[Bell] = inherited_bell(variable("BELL"))
        self._parent = os.getppid()
        self._step: Optional[Number] = None
        self._last_reported: Optional[Number] = None
        self._reports = 0
        self._has_reported = False
        self._pending: List[bytes] = []
        self._saved: List[str] = []
        self._stop = StopFlag()
        if self._metrics_path:
            self._stop.install()

    def __getitem__(self, name: str) -> Scalar:
        try:
            return self.params[name]
        except KeyError:
            known = ", ".join(self.params) or "none; say slurmtune.trial(NAME=VALUE)"
            raise KeyError(f"no hyperparameter {name!r}; known: {known}") from None

    def __repr__(self) -> str:
        return f"Trial({self.id}, {self.start} to {self.end} {self.resource}, {self.params})"

    @property
    def namespace(self) -> SimpleNamespace:
        """The values as attributes, as ``argparse`` gives them."""
        return SimpleNamespace(**self.params)

    @property
    def resumed(self) -> bool:
        """Whether there is a checkpoint to load."""
        return self.checkpoint is not None

    @property
    def should_stop(self) -> bool:
        """True after a warning signal, or after ``slurmtune stop``: save and leave."""
        return self._stop.is_set

    def ckpt(self, name: Optional[str] = None) -> Optional[str]:
        """Return the path of the checkpoint, or of a file in it; None for a fresh start."""
        if self.checkpoint is None:
            return None
        return str(self.checkpoint if name is None else self.checkpoint / name)

    def steps(self, every: Number = 1, stay: bool = True) -> Iterator[Number]:
        """Yield what is reached after each piece of training: ``start + every`` up to ``end``.

        Ends early after a warning signal, when the step that runs is done.

        A program that reported and saved at ``end`` waits there for a while: if the trial is to
        be trained on, the loop goes on in this process, and nothing is loaded again; `end`,
        `attempt` and the other attributes are then those of the next attempt. If not, the loop
        ends as always; what is reported after it is kept with the attempt that ended here, and is
        too late to change what was decided. Nobody waits with ``stay=False``, nor in programs of
        several processes.

        Raises:
            TrialError: nothing says where to end, or ``every`` is not above 0.
        """
        if self.end is None:
            raise TrialError(
                "nothing says how long to train: give the study a [fidelity], "
                f"or say slurmtune.trial({self.resource or 'epoch'}=10)"
            )
        if every <= 0:
            raise TrialError(f"every must be above 0, not {every!r}")
        return self._steps(self.end, every, stay)

    def _steps(self, end: Number, every: Number, stay: bool) -> Iterator[Number]:
        yield from self._steps_to(end, every)
        while stay and self._has_done(end) and self._is_given_more():
            assert self.end is not None
            end = self.end
            yield from self._steps_to(end, every)

    def _steps_to(self, end: Number, every: Number) -> Iterator[Number]:
        count = 0
        reached = self.start
        while reached < end and not self.should_stop:
            count += 1
            # Multiplied and not added up: 0.1 ten times is 1.
            reached = min(end, lines.as_resource(self.start + count * every))
            self._step = reached
            yield reached

    def report(self, step: Optional[Number] = None, **metrics: Any) -> None:
        """Report numbers reached at ``step``; NaN and infinity count as the worst.

        Without ``step`` the step is that of the `steps` loop; outside of a loop reports are
        counted. Once what the study wants was reported, a report may also hold other metrics
        only, such as those of a test after the loop.

        Raises:
            MissingMetricError: a metric that the study wants is not among them, nor was before.
            TrialError: a value is no number.
        """
        if not self._is_main:
            return
        if step is None and self.resource and self.resource not in self.objectives:
            step = metrics.pop(self.resource, None)
        is_wanted = all(name in metrics for name in self.objectives)
        values = lines.check_metrics(metrics, () if self._has_reported else self.objectives)
        self._has_reported = True
        self._reports += is_wanted
        if step is not None:
            step = lines.as_resource(step)
        elif self._step is not None:
            step = self._step
        else:
            step = lines.as_resource(self.start + self._reports)
        if is_wanted:
            self._last_reported = step
        if self._metrics_path:
            self._append(lines.report_line(self._line_key, step, values))
        else:
            shown = "  ".join(f"{name} {value:.6g}" for name, value in values.items())
            _print(f"{self.resource or 'step'} {step}  {shown}")

    @contextmanager
    def save(self, step: Optional[Number] = None) -> Iterator[Path]:
        """Give a folder to write a checkpoint into; it is published whole when the block ends.

        An error in the block publishes nothing. The last two checkpoints of this attempt are kept.
        Outside of slurmtune, and in ranks above 0, the folder is thrown away.

        Raises:
            StudyStateError: the folder holds something else than files and folders.
        """
        # Hashing and folders are not needed by a script that never saves.
        from shutil import rmtree

        if not (self._metrics_path and self._is_main):
            from tempfile import TemporaryDirectory

            with TemporaryDirectory(prefix="slurmtune-") as folder:
                yield Path(folder)
            return
        from slurmtune.core import ids
        from slurmtune.store import checkpoint
        from slurmtune.store.layout import StudyLayout

        resource = lines.as_resource(step) if step is not None else self.reached
        layout = StudyLayout(os.environ["SLURMTUNE_DIR"])
        number = ids.parse_attempt_id(self.attempt).trial
        name = checkpoint.checkpoint_name(resource, self.attempt)
        temporary = checkpoint.begin(layout, number, name)
        try:
            yield Path(temporary)
            manifest = {"trial": number, "attempt": self.attempt, "resource": resource}
            is_new = checkpoint.publish(temporary, layout.checkpoint(number, name), manifest)
        except BaseException:
            rmtree(temporary, ignore_errors=True)
            raise
        if is_new:
            self._append(lines.checkpoint_line(resource, name))
            self._saved.append(name)
            self._drop_old(layout, number)

    def fail(self, why: str) -> NoReturn:
        """End the program: this config cannot work, and trying again would not help."""
        if self._is_main:
            if self._metrics_path:
                self._append(lines.fail_line(why))
            else:
                _print(f"the trial cannot work: {why}")
        raise SystemExit(0)

    def infeasible(self) -> NoReturn:
        """End the program: this config is not allowed (too large a model, say)."""
        self.fail("infeasible config")

    @property
    def reached(self) -> Number:
        """Resource reached so far: the step of the loop, else that of the last report."""
        if self._step is not None:
            return self._step
        return self.start if self._last_reported is None else self._last_reported

    def _has_done(self, end: Number) -> bool:
        """Tell whether all that was asked for is reported and saved: nothing would be lost."""
        if not (self._more_path and self._is_main and _is_alone(self._environment)):
            return False
        from slurmtune.store.checkpoint import checkpoint_name

        has_reported = self._last_reported is not None and self._last_reported >= end
        has_saved = checkpoint_name(end, self.attempt) in self._saved
        return has_reported and has_saved and not self._pending and not self.should_stop

    def _is_given_more(self) -> bool:
        """Wait for more work on this trial; if there is some, this becomes the next attempt."""
        self._append(lines.more_line())
        if self._bell is not None:
            self._bell.ring()
        deadline = time.monotonic() + self._more_seconds
        pause = _FIRST_WAIT_SECONDS
        while not self._pending and not self.should_stop and time.monotonic() < deadline:
            if self._is_left_alone():
                break
            answer = _read_answer(self._more_path)
            if answer is not None:
                return self._go_on(answer)
            self._rest(pause)
            pause = min(1.5 * pause, _LONGEST_WAIT_SECONDS)
        return False

    def _is_left_alone(self) -> bool:
        """Tell whether whoever would answer is gone."""
        return os.getppid() != self._parent

    def _rest(self, seconds: float) -> None:
        """Wait before the next look: so long, or, where the slot can ring, until it does."""
        if self._bell is None or not self._bell.is_hung:
            time.sleep(seconds)
            return
        until = time.monotonic() + _LOOK_WITH_BELL_SECONDS
        while not self._bell.wait(_LONGEST_WAIT_SECONDS) and self._bell.is_hung:
            # A signal does not end the wait.
            if self.should_stop or self._is_left_alone() or time.monotonic() >= until:
                break

    def _go_on(self, answer: Mapping[str, Any]) -> bool:
        """Become the attempt of the answer; False: there is none."""
        if answer.get("end") is None:
            return False
        # Programs that this one starts report to the new attempt too.
        if isinstance(self._environment, MutableMapping):
            self._environment.update(
                {f"SLURMTUNE_{name.upper()}": str(value) for name, value in answer.items()}
            )
        was_answered_at = self._more_path
        self.attempt, self.rung = str(answer["attempt"]), int(answer["rung"])
        self.start = lines.as_resource(answer["start"])
        self.end = lines.as_resource(answer["end"])
        self.checkpoint = Path(answer["checkpoint"]) if answer.get("checkpoint") else None
        self._metrics_path, self._more_path = str(answer["metrics"]), str(answer["more"])
        self._step = self._last_reported = None
        self._reports = 0
        self._saved = []
        # Tells the slot that this program goes on.
        with suppress(OSError):
            fs.unlink(was_answered_at)
        return True

    def _drop_old(self, layout: Any, number: int) -> None:
        while len(self._saved) > self._keep:
            try:
                fs.remove_tree(layout.checkpoint(number, self._saved.pop(0)))
            except OSError as error:
                _warn(f"an old checkpoint stays: {error}")

    def _append(self, line: bytes) -> None:
        """Hand a line to the slot; a full disk must not end the training."""
        self._pending.append(line)
        if not self._write_pending(_WRITE_PAUSES_SECONDS) and len(self._pending) == 1:
            _warn(f"cannot write {self._metrics_path}; training goes on, reports wait in memory")
            atexit.register(self._write_pending, _LAST_WRITE_PAUSES_SECONDS)

    def _write_pending(self, pauses_seconds: Any) -> bool:
        for pause in pauses_seconds:
            time.sleep(pause)
            try:
                while self._pending:
                    lines.append_line(self._metrics_path, self._pending[0])
                    del self._pending[0]
            except OSError:
                # A line may be torn now: what follows begins a new one.
                self._pending[0] = b"\n" + self._pending[0].lstrip(b"\n")
            else:
                return True
        return False


def _rank(environment: Mapping[str, str]) -> int:
    for name in _RANK_VARIABLES:
        value = environment.get(name, "")
        if value.isdigit():
            return int(value)
    return 0


def _is_alone(environment: Mapping[str, str]) -> bool:
    """Tell whether this is the only process of the program, as far as can be known."""
    sizes = [environment.get(name, "") for name in _SIZE_VARIABLES]
    numbers = [int(size) for size in sizes if size.isdigit()]
    if numbers:
        return max(numbers) <= 1
    return not any(environment.get(name) for name in _RANKS_OF_SEVERAL)


def _read_answer(path: str) -> Optional[Mapping[str, Any]]:
    """Return what the slot answered; None while it did not."""
    try:
        # Asking for a name that is not there would make some clients remember that it is not.
        if os.path.basename(path) not in fs.list_dir(os.path.dirname(path)):
            return None
        answer = json.loads(fs.read_file(path).decode("utf-8"))
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else {}


def _load_config(path: str) -> Dict[str, Scalar]:
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError) as error:
        raise TrialError(f"cannot read the config of this trial, {path}: {error}") from None
    if not isinstance(config, dict):
        raise TrialError(f"the config of this trial, {path}, holds no values by name")
    return config


def _resource_word(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    words = [word for word in _RESOURCE_WORDS if word in defaults and word not in config]
    return words[0] if words else ""


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _warn(text: str) -> None:
    sys.stderr.write(f"slurmtune: {text}\n")
    sys.stderr.flush()

"""A whole study run for real: drivers are processes of their own, which tests may kill.

::

    live = LiveStudy(folder, SPEC, {"train.sh": PROGRAM})
    assert live.run("--local=2").code == 0
    live.starts, live.study().trials, live.overview()

The programs count their own starts in a file, so that nothing is believed of what drivers say.
As a program (``python -m slurmtune.testing.live_study SPEC``) this module is a driver on Slurm
that asks more often than the command line may.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from slurmtune.analysis.record import read_overview
from slurmtune.core.events import ConfigProposed, Event
from slurmtune.core.study import Study
from slurmtune.core.trial import Outcome
from slurmtune.errors import SlurmtuneError
from slurmtune.spec.launching import LaunchOptions, prepare, read_study
from slurmtune.spec.load import load_spec
from slurmtune.store.codec import decode_event
from slurmtune.store.journal import history
from slurmtune.store.layout import StudyLayout

PROGRAM = """\
. "$SLURMTUNE_SH"
loaded=-
[ -z "$SLURMTUNE_CHECKPOINT" ] || loaded=$(cat "$SLURMTUNE_CHECKPOINT/epoch")
echo "$SLURMTUNE_ATTEMPT $SLURMTUNE_START $loaded ${CUDA_VISIBLE_DEVICES:--}" >> "$STARTS"
e=$SLURMTUNE_START
while [ "$e" -lt "$SLURMTUNE_END" ]; do
  [ -z "$1" ] || sleep "$1"
  e=$((e + 1))
  echo "{\\"epoch\\": $e, \\"loss\\": $((q / e))}" >> "$SLURMTUNE_METRICS"
  while [ -e "$HOLD" ]; do sleep 0.2; done
done
echo "$e" > "$SLURMTUNE_SAVE/epoch"
"""
"""Trains an integer ``q`` for as many epochs as it is told and saves the last one; its first
argument is how long an epoch takes. Goes no further than the first one while the study is held."""

COMMAND_LINE = (sys.executable, "-m", "slurmtune.cli.app", "launch")
FAST_ON_SLURM = (sys.executable, "-m", "slurmtune.testing.live_study")
_NAME = "live"
_MARK = "LIVE_STUDY_FOLDER"
_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 1.0


class Start(NamedTuple):
    """One start of the program, as it noted it itself."""

    attempt: str
    start: str
    """Resource that it was told to start from."""
    loaded: str
    """What stood in its checkpoint; ``-`` without one."""
    gpus: str
    """CUDA_VISIBLE_DEVICES; ``-`` when it is empty or not set."""


class Done(NamedTuple):
    """A driver that has ended."""

    code: int
    """Exit code, or the negative number of the signal that killed it."""
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything that it said."""
        return self.out + self.err


class DriverProcess:
    """A driver that runs."""

    def __init__(
        self, command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]
    ) -> None:
        self._out, self._err = log.with_suffix(".out"), log.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the driver alone."""
        self.process.send_signal(number)

    def kill(self) -> Done:
        """Kill the driver: it can do nothing about it."""
        self.process.kill()
        return self.wait()

    def wait(self, seconds: float = _PATIENCE_SECONDS) -> Done:
        """Return when the driver has ended.

        Raises:
            AssertionError: it has not after ``seconds``.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"the driver goes on after {seconds} s:\n{self.said().text}"
            ) from None
        return self.said(code)

    def said(self, code: int = 0) -> Done:
        """Return what it said so far."""
        return Done(
            code,
            self._out.read_text("utf-8", "replace"),
            self._err.read_text("utf-8", "replace"),
        )


class LiveStudy:
    """A folder with a spec and its program, and the study that is launched there.

    Args:
        folder: where all of it lies; nodes must see it.
        spec: text of the spec below ``[study]``; None when all files are there already.
        programs: further files by name.
        driver: command of a driver; the spec's path and arguments follow.
        environment: added to that of drivers and so of programs.
    """

    def __init__(
        self,
        folder: Path,
        spec: str | None = None,
        programs: Mapping[str, str] | None = None,
        *,
        driver: Sequence[str] = COMMAND_LINE,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.driver = list(driver)
        self.spec = folder / "spec.toml"
        self.layout = StudyLayout(str(folder / "runs" / _NAME))
        """Of the study; a spec that was there already may give it another name."""
        self._hold = folder / "hold"
        self.environment = {
            **os.environ,
            "STARTS": str(folder / "starts"),
            "HOLD": str(self._hold),
            _MARK: str(folder),
            **(environment or {}),
        }
        self._drivers: list[DriverProcess] = []
        if spec is not None:
            folder.mkdir(exist_ok=True)
            self.write_spec(spec)
            for name, text in {"train.sh": PROGRAM, **(programs or {})}.items():
                (folder / name).write_text(text)

    def write_spec(self, text: str) -> None:
        """Replace the spec."""
        self.spec.write_text(f'[study]\nname = "{_NAME}"\n{text}')

    # ------------------------------------------------------------------ programs

    def hold(self) -> None:
        """Let no program go further than its next report until ``go_on``.

        What a test does in between then meets running programs, however slow the machine is.
        """
        self._hold.touch()

    def go_on(self) -> None:
        """Let the programs go on."""
        self._hold.unlink()

    # ------------------------------------------------------------------ drivers

    def launch(self, *arguments: str, **environment: str) -> DriverProcess:
        """Start a driver and return at once."""
        driver = DriverProcess(
            [*self.driver, str(self.spec), *arguments],
            self.folder,
            self.folder / f"driver-{len(self._drivers)}",
            {**self.environment, **environment},
        )
        self._drivers.append(driver)
        return driver

    def run(self, *arguments: str, seconds: float = _PATIENCE_SECONDS, **environment: str) -> Done:
        """Start a driver and return when it has ended."""
        return self.launch(*arguments, **environment).wait(seconds)

    def call(self, *arguments: str) -> Done:
        """Run another command of slurmtune in the study's folder."""
        done = subprocess.run(
            [sys.executable, "-m", "slurmtune.cli.app", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        """Kill every process of the study that runs on this machine."""
        for driver in self._drivers:
            if driver.process.poll() is None:
                driver.kill()
        mark = f"{_MARK}={self.folder}".encode()
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                variables = Path("/proc", name, "environ").read_bytes().split(b"\0")
                if mark in variables and int(name) != os.getpid():
                    os.kill(int(name), signal.SIGKILL)

    # ------------------------------------------------------------------ what came of it

    @property
    def starts(self) -> list[Start]:
        """Every start of the program, oldest first."""
        try:
            lines = (self.folder / "starts").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [Start(*line.split()) for line in lines]

    @property
    def started_twice(self) -> list[str]:
        """Attempts whose program was started more than once."""
        counts = Counter(start.attempt for start in self.starts)
        return [attempt for attempt, count in counts.items() if count > 1]

    def study(self) -> Study:
        """Return the study as its journal tells it."""
        return read_study(self.layout)

    def events(self) -> list[Event]:
        """Return all events of the journal."""
        return [decode_event(record["e"]) for record in history(self.layout)]

    def proposals(self) -> list[tuple[int, Mapping[str, Any]]]:
        """Return every config that was ever proposed, with the number of its trial."""
        return [(e.trial, e.config) for e in self.events() if isinstance(e, ConfigProposed)]

    def outcomes(self) -> dict[str, Outcome | None]:
        """Return how each attempt ended, by its name; None while it has not."""
        return {a.id: a.outcome for trial in self.study().trials for a in trial.attempts}

    def results(self) -> list[tuple[Mapping[str, Any], str, Mapping[int, float | None]]]:
        """Return config, state and values of each trial."""
        return [(t.config, t.state.value, t.values) for t in self.study().trials]

    def overview(self) -> dict[str, Any]:
        """Return what the driver published last; empty before."""
        return read_overview(self.layout) or {}

    def wait_until(
        self,
        condition: Callable[[], object],
        *,
        what: str,
        seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        """Return when the condition holds.

        Raises:
            AssertionError: it does not after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                said = self._drivers[-1].said().text if self._drivers else "no driver was started"
                raise AssertionError(f"after {seconds} s still not: {what}\n{said}")
            time.sleep(0.01)

    def has_begun(self) -> bool:
        """Tell whether there is a study."""
        return os.path.exists(self.layout.study)

    def has_claims(self) -> bool:
        """Tell whether some offer was claimed."""
        return os.path.isdir(self.layout.claims) and bool(os.listdir(self.layout.claims))


class _Talker:
    """Says on stderr what a user would be told."""

    def applied(self, event: Event, study: Study) -> None:
        """Say nothing."""

    def message(self, text: str) -> None:
        """Say it."""
        sys.stderr.write(f"{text}\n")

    def looked(self, overview: Mapping[str, Any]) -> None:
        """Say nothing."""


def main(argv: Sequence[str]) -> int:
    """Drive the study of the spec on Slurm until it ends."""
    try:
        loaded = load_spec(argv[0], (), launching=True)
        session = prepare(loaded, LaunchOptions(poll_seconds=_POLL_SECONDS), _Talker())
        session.driver.backend.submit_interval_seconds = _POLL_SECONDS
        try:
            session.open()
            reason = session.driver.run()
        finally:
            session.close()
    except SlurmtuneError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stderr.write(f"{reason}\n")
    return 0 if reason == "done" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Running commands, in this process or as a process, and studies to run them on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import slurmtune
from slurmtune.cli import app

CHECKOUT = os.path.dirname(os.path.dirname(slurmtune.__file__))

SPEC = """\
[study]
name = "toy"
[run]
command = "python train.py"
args = "none"
[space]
lr = { loguniform = [1e-4, 1e-1] }
[objective]
metric = "loss"
goal = "minimize"
[search]
scheduler = "asha"
trials = 4
parallel = 2
[fidelity]
resource = "epoch"
max = 3
[slurm]
time = "10:00"
"""
TRAIN = """\
import slurmtune
trial = slurmtune.trial(lr=0.1, epoch=3)
for epoch in trial.steps():
    print("epoch", epoch, flush=True)
    trial.report(loss=trial.params["lr"] / epoch)
    with trial.save() as folder:
        (folder / "weights").write_text("1")
"""


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No colour, no personal defaults, the log handlers of before."""
    for name in ("FORCE_COLOR", "NO_COLOR", "SLURMTUNE_CONFIG_FILE", "SLURMTUNE_METRICS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, in the folder ``cwd``."""

    def go(*argv: str, cwd: Path | None = None) -> Ended:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        capsys.readouterr()
        code = app.run(list(argv))
        return Ended(code, *capsys.readouterr())

    return go


@pytest.fixture
def start_process() -> Callable[..., subprocess.Popen[str]]:
    """Return the function that starts a command as a process."""
    return start


@pytest.fixture
def finish_process() -> Callable[..., Ended]:
    """Return the function that waits for such a process."""
    return finish


@pytest.fixture
def toy() -> Callable[..., Path]:
    """Return the function that writes spec and program of a short study."""
    return write_toy


def environment() -> dict[str, str]:
    """Return the environment for a command that runs as a process."""
    path = os.environ.get("PYTHONPATH", "")
    return {
        **{k: v for k, v in os.environ.items() if k not in {"FORCE_COLOR", "NO_COLOR"}},
        "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{path}" if path else CHECKOUT,
        "XDG_CONFIG_HOME": os.path.join(CHECKOUT, "no-config"),
    }


def start(*argv: str, cwd: Path) -> subprocess.Popen[str]:
    """Start a command as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "slurmtune.cli.app", *argv],
        cwd=cwd,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


def finish(process: subprocess.Popen[str], timeout_seconds: float = 60.0) -> Ended:
    """Return what the process left behind."""
    out, err = process.communicate(timeout=timeout_seconds)
    return Ended(process.returncode, out, err)


def write_toy(folder: Path, train: str = TRAIN, spec: str = SPEC) -> Path:
    """Write spec and program of a study that takes a second or two."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.toml").write_text(spec)
    (folder / "train.py").write_text(train)
    return folder


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A study that ran to its end on this machine, and what `launch` said."""
    folder = write_toy(tmp_path_factory.mktemp("finished"))
    return folder, finish(start("launch", "spec.toml", "--local=2", cwd=folder))


@pytest.fixture
def finished(finished_once: tuple[Path, Ended], tmp_path: Path) -> Path:
    """A copy of the folder of a finished study."""
    folder = tmp_path / "finished"
    shutil.copytree(finished_once[0], folder)
    return folder


class FakeStudy(NamedTuple):
    """A study's directory that was written by hand."""

    folder: Path
    root: Path
    overview: dict[str, object]

    def publish(self, **changes: object) -> None:
        """Publish the overview with these changes."""
        (self.root / "status.json").write_text(json.dumps({**self.overview, **changes}))

    def beat(self, *, alive: bool, released: bool = False, ago: float = 3.0) -> None:
        """Write a lease of a driver on another machine."""
        lease = {
            "id": "a" * 32,
            "host": "login1",
            "pid": 4242,
            "boot_id": "elsewhere",
            "process_start": 1,
            "counter": 5,
            "time": time.time() - (ago if alive else 7200.0),
            "released": released,
        }
        (self.root / "journal").mkdir(exist_ok=True)
        (self.root / "journal" / "lease.json").write_text(json.dumps(lease))


@pytest.fixture
def fake(tmp_path: Path) -> FakeStudy:
    """A running study as its driver would describe it."""
    root = tmp_path / "here" / "runs" / "asha"
    root.mkdir(parents=True)
    (root / "study.json").write_text(json.dumps({"study_id": "ab" * 16, "spec": {}}))
    now = time.time()
    study = FakeStudy(tmp_path / "here", root, _overview(now, str(root)))
    study.publish()
    study.beat(alive=True)
    return study


def _overview(now: float, root: str) -> dict[str, object]:
    def rung(number: int, resource: int, best: float | None, **counts: int) -> dict[str, object]:
        row: dict[str, object] = dict.fromkeys(
            ("waiting", "running", "done", "promoted", "failed"), 0
        )
        return {**row, **counts, "rung": number, "resource": resource, "best": best}

    return {
        "schema": "slurmtune.status/1",
        "study": "asha",
        "dir": root,
        "backend": "slurm",
        "state": "running",
        "reason": "",
        "time": now,
        "opened": now - 8040,
        "driver": {},
        "metric": "val_loss",
        "goal": "minimize",
        "resource": "epoch",
        "trials": {"total": 81, "started": 81, "finished": 0, "good": 66, "failed": 1},
        "rungs": [
            rung(0, 1, 0.4121, waiting=8, running=6, done=66, promoted=22, failed=1),
            rung(1, 3, 0.2214, waiting=1, running=3, done=18, promoted=6),
            rung(2, 9, None, running=3),
        ],
        "slots": {"waiting": 9, "running": 12},
        "queue": [
            {"reason": "Priority", "jobs": 8, "start": now + 3600},
            {"reason": "QOSMaxGRESPerUser", "jobs": 1, "start": None},
        ],
        "gpus_now": 12,
        "gpu_hours": {"used": 31.4, "limit": 120.0, "retried": 2.2},
        "best": {
            "trial": "t00033",
            "values": {"val_loss": 0.2214},
            "rung": 1,
            "resource": 3,
            "top_resource": 9,
            "params": {"lr": 0.0021234567, "dropout": 0.11},
            "checkpoint": "3.t00033.r1.a1",
        },
        "eta_seconds": 11400.0,
        "failures": [
            {
                "trial": "t00017",
                "attempt": "t00017.r0.a1",
                "outcome": "FAILED",
                "exit_code": 1,
                "cause": "CUDA out of memory",
                "host": "node3",
                "job": "4711_17",
            }
        ],
        "queries": {},
    }

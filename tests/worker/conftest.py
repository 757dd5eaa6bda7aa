"""A study's directory made by hand, and slots that are real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from slurmtune.core import ids
from slurmtune.store import checkpoint, event_log, fs
from slurmtune.store.layout import StudyLayout
from slurmtune.store.manifest import publish_manifest

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "st-0123abcd-1-1"


class Study:
    """A study without a driver: offers and manifests are published by the test."""

    def __init__(self, root: Path) -> None:
        self.layout = StudyLayout(str(root / "study"))
        self.layout.create()
        self.workdir = root / "work"
        self.workdir.mkdir()
        fs.make_dir(self.layout.offers("c0"))
        fs.make_dir(self.layout.array(TOKEN))
        self.manifest: dict[str, Any] = {
            "format": 1,
            "study": "toy",
            "study_id": "0123abcd",
            "token": TOKEN,
            "class": "c0",
            "size": 4,
            "reuse": True,
            "linger_seconds": 0,
            "time_limit_seconds": None,
            "kill_wait_seconds": 4,
            "command": ["python", "train.py"],
            "shell": False,
            "args": "none",
            "function": None,
            "workdir": str(self.workdir),
            "parse": {},
            "files": {},
            "vars": {},
            "objectives": ["val_loss"],
            "resource": "epoch",
            "keep_checkpoints": 2,
            "python": sys.executable,
            "lib": str(ROOT),
        }
        self.sha256 = ""
        self.slots: list[subprocess.Popen[str]] = []

    def program(self, text: str, **manifest: Any) -> None:
        """Make a Python script the command."""
        (self.workdir / "train.py").write_text(text)
        self.publish(command=[sys.executable, "train.py"], **manifest)

    def publish(self, **manifest: Any) -> None:
        self.manifest.update(manifest)
        self.sha256 = publish_manifest(self.layout.manifest(TOKEN), self.manifest)

    def offer(self, trial: int = 0, rung: int = 0, number: int = 1, **content: Any) -> str:
        attempt = ids.attempt_id(trial, rung, number)
        offer: dict[str, Any] = {
            "format": 1,
            "attempt": attempt,
            "trial": trial,
            "rung": rung,
            "class": "c0",
            "priority": trial,
            "config": {"lr": 0.1},
            "start": 0,
            "end": 3,
            "checkpoint": None,
            "seed": 7,
            "nonce": "aa",
        }
        offer.update(content)
        path = self.layout.offer("c0", offer["priority"], attempt)
        fs.publish_file(path, json.dumps(offer).encode())
        return attempt

    def checkpoint(self, trial: int, rung: int, resource: int, **files: str) -> str:
        attempt = ids.attempt_id(trial, rung, 1)
        name = checkpoint.checkpoint_name(resource, attempt)
        folder = checkpoint.begin(self.layout, trial, name)
        for file, text in files.items():
            (Path(folder) / file).write_text(text)
        final = self.layout.checkpoint(trial, name)
        assert checkpoint.publish(
            folder, final, {"trial": trial, "attempt": attempt, "resource": resource}
        )
        return name

    def start_slot(self, index: int = 0, **environment: str) -> subprocess.Popen[str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM", "COV_", "PYTEST"))
        }
        slot = subprocess.Popen(
            [
                sys.executable,
                *("-m", "slurmtune.worker", self.layout.root, TOKEN, self.sha256),
                *("--task", str(index)),
            ],
            env={**inherited, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.slots.append(slot)
        return slot

    def run_slot(self, index: int = 0, expect: int = 0, **environment: str) -> str:
        """Run a slot to its end and return what it printed."""
        slot = self.start_slot(index, **environment)
        output, _ = slot.communicate(timeout=30)
        assert slot.returncode == expect, output
        return output

    def events(self, attempt: str) -> list[dict[str, Any]]:
        return event_log.read(self.layout.events(attempt))

    def end(self, attempt: str) -> dict[str, Any]:
        last = self.events(attempt)[-1]
        assert last["k"] == "end"
        return last

    def reports(self, attempt: str) -> list[tuple[Any, dict[str, Any]]]:
        return [(e["resource"], e["metrics"]) for e in self.events(attempt) if e["k"] == "report"]

    def checkpoints(self, attempt: str) -> list[str]:
        return [e["name"] for e in self.events(attempt) if e["k"] == "checkpoint"]

    def output(self, attempt: str) -> str:
        return Path(self.layout.output(attempt)).read_text()

    def wait_for(self, attempt: str, kind: str, timeout: float = 10) -> None:
        """Return when the attempt has a record of this kind."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if os.path.exists(self.layout.events(attempt)) and any(
                event["k"] == kind for event in self.events(attempt)
            ):
                return
            time.sleep(0.02)
        raise AssertionError(f"no {kind} of {attempt} after {timeout} s")

    def close(self) -> None:
        for slot in self.slots:
            if slot.poll() is None:
                slot.send_signal(signal.SIGTERM)
                try:
                    slot.communicate(timeout=10)
                except subprocess.TimeoutExpired:
                    slot.kill()
                    slot.communicate()


@pytest.fixture
def study(tmp_path: Any) -> Any:
    made = Study(tmp_path)
    yield made
    made.close()

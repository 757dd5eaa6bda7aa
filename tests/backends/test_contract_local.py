"""The contract of backends, with real processes and files on this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from slurmtune.backends.base import ArraySpec, Backend, Clock, Exchange, SlotState
from slurmtune.backends.local import LocalBackend
from slurmtune.core.request import ResourceRequest
from slurmtune.store.exchange import FileExchange
from slurmtune.store.layout import StudyLayout
from slurmtune.store.lib import publish_library
from slurmtune.store.manifest import publish_manifest
from slurmtune.testing.backend_contract import CLASSES, METRIC, BackendContract, Rig

PROGRAM = r"""
unit=$SLURMTUNE_START
while [ "$unit" -lt "$SLURMTUNE_END" ]; do
  sleep "$1"
  unit=$((unit + 1))
  awk -v unit="$unit" 'BEGIN { printf "{\"epoch\": %d, \"loss\": %.6f}\n", unit, 1 / unit }' \
    >> "$SLURMTUNE_METRICS"
done
"""


class SystemTime:
    """The system's clock."""

    def now(self) -> float:
        return time.time()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class LocalRig:
    """A study's directory and slots that are processes."""

    capacity: int | None = 2
    unit_seconds = 0.1
    turn_seconds = 0.1
    turns = 200

    def __init__(self, folder: Path) -> None:
        self.clock: Clock = SystemTime()
        self._folder = folder
        self._layout = StudyLayout(str(folder / "study"))
        self._layout.create()
        self._arrays: list[ArraySpec] = []
        self.backend: Backend
        self.exchange: Exchange
        self._open()

    def array(self, token: str, size: int, resource_class: str) -> ArraySpec:
        Path(self._layout.array(token)).mkdir(mode=0o700)
        manifest = {
            "study": "contract",
            "study_id": "c0ffee",
            "token": token,
            "class": resource_class,
            "size": size,
            "reuse": True,
            "linger_seconds": 1.0,
            "time_limit_seconds": None,
            "kill_wait_seconds": 6.0,
            "command": ["sh", "-c", PROGRAM, "train", "{seconds}"],
            "shell": False,
            "args": "none",
            "function": None,
            "hyperparameters": ["seconds"],
            "workdir": str(self._folder),
            "parse": {},
            "files": {},
            "vars": {},
            "objectives": [METRIC],
            "resource": "epoch",
            "keep_checkpoints": 1,
            "python": sys.executable,
            "lib": publish_library(self._layout),
        }
        array = ArraySpec(
            token=token,
            request=ResourceRequest(name=resource_class),
            size=size,
            manifest_sha256=publish_manifest(self._layout.manifest(token), manifest),
        )
        self._arrays.append(array)
        return array

    def restart(self) -> None:
        self.backend.close()
        self._open()

    def close(self) -> None:
        for array in self._arrays:
            if self.backend.find(array.token) is not None:
                self.backend.adopt(array, array.token)
                self.backend.cancel(array.token)
        for _ in range(self.turns):
            if all(slot.state is SlotState.ENDED for slot in self.backend.poll()):
                break
            self.clock.wait(self.turn_seconds)
        self.backend.close()

    def _open(self) -> None:
        self.backend = LocalBackend(self._layout, slots=2, kill_seconds=3.0)
        self.backend.poll_seconds = self.turn_seconds
        self.exchange = FileExchange(self._layout, CLASSES)


@pytest.mark.slow
class TestLocal(BackendContract):
    def make_rig(self, tmp_path: Path) -> Rig:
        return LocalRig(tmp_path)

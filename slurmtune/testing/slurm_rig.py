"""A rig for `BackendContract` whose slots run under Slurm: the fake one, or a real one.

Which Slurm it is depends on the commands that PATH leads to. The caller closes the rig.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from slurmtune.backends.base import ArraySpec, Backend, Clock, Exchange, SlotState
from slurmtune.backends.slurm import SlurmBackend
from slurmtune.core.request import ResourceRequest
from slurmtune.store.exchange import FileExchange
from slurmtune.store.layout import StudyLayout
from slurmtune.store.lib import publish_library
from slurmtune.store.manifest import publish_manifest
from slurmtune.testing.backend_contract import CLASSES, METRIC

PROGRAM = r"""
unit=$SLURMTUNE_START
while [ "$unit" -lt "$SLURMTUNE_END" ]; do
  sleep "$1"
  unit=$((unit + 1))
  awk -v unit="$unit" 'BEGIN { printf "{\"epoch\": %d, \"loss\": %.6f}\n", unit, 1 / unit }' \
    >> "$SLURMTUNE_METRICS"
done
"""
"""Reports once per unit; the first argument is how long a unit takes."""


class SystemTime:
    """The system's clock."""

    def now(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


class SlurmRig:
    """A study's directory, and slots that are array tasks.

    Args:
        folder: Where the study's directory is made; nodes must see it.
        capacity: Slots that run at once, held there by the throttle of the array.
        time_limit_seconds: Time limit of a slot; None leaves it to the partition.
    """

    unit_seconds = 0.1
    turn_seconds = 0.1

    def __init__(
        self,
        folder: str,
        *,
        capacity: int = 2,
        turns: int = 300,
        time_limit_seconds: int | None = 600,
    ) -> None:
        self.capacity: int | None = capacity
        self.turns = turns
        self.clock: Clock = SystemTime()
        self.layout = StudyLayout(os.path.join(folder, "study"))
        self.layout.create()
        self.backend: Backend
        self.exchange: Exchange
        self._folder = folder
        self._time_limit_seconds = time_limit_seconds
        self._arrays: list[ArraySpec] = []
        self._open()

    def array(
        self,
        token: str,
        size: int,
        resource_class: str,
        command: Sequence[str] = ("sh", "-c", PROGRAM, "train", "{seconds}"),
    ) -> ArraySpec:
        """Publish the manifest of an array and return what to submit."""
        os.makedirs(self.layout.array(token), mode=0o700, exist_ok=True)
        manifest = {
            "study": "contract",
            "study_id": "c0ffee",
            "token": token,
            "class": resource_class,
            "size": size,
            "reuse": True,
            "linger_seconds": 1.0,
            "time_limit_seconds": self._time_limit_seconds,
            "kill_wait_seconds": 7.0,
            "command": list(command),
            "shell": False,
            "args": "none",
            "function": None,
            "hyperparameters": ["seconds"],
            "workdir": self._folder,
            "parse": {},
            "files": {},
            "vars": {},
            "objectives": [METRIC],
            "resource": "epoch",
            "keep_checkpoints": 1,
            "python": sys.executable,
            "lib": publish_library(self.layout),
        }
        array = ArraySpec(
            token=token,
            request=ResourceRequest(
                name=resource_class,
                time_limit_seconds=self._time_limit_seconds,
                array_limit=self.capacity,
            ),
            size=size,
            manifest_sha256=publish_manifest(self.layout.manifest(token), manifest),
        )
        self._arrays.append(array)
        return array

    def restart(self) -> None:
        """Take a new backend and a new exchange, as after the death of a driver."""
        self.backend.close()
        self._open()

    def close(self) -> None:
        """Cancel what still runs and wait for its end."""
        for array in self._arrays:
            if self.backend.find(array.token) is not None:
                self.backend.cancel(array.token)
        for _ in range(self.turns):
            if all(slot.state is SlotState.ENDED for slot in self.backend.poll()):
                break
            self.clock.wait(self.turn_seconds)
        self.backend.close()

    def _open(self) -> None:
        self.backend = SlurmBackend(
            self.layout.root,
            self.layout,
            [sys.executable],
            clock=self.clock,
            poll_seconds=self.turn_seconds,
            submit_interval_seconds=0.0,
            settle_seconds=0.0,
        )
        self.exchange = FileExchange(self.layout, CLASSES)

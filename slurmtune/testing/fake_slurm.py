"""A fake Slurm for tests: executables in a folder that really run array tasks, as local processes.

::

    slurm = FakeSlurm(str(tmp_path / "slurm"), slots=2)
    monkeypatch.setenv("PATH", slurm.path)
    ...                                   # sbatch, squeue, sacct, scancel, scontrol, srun work
    slurm.fail("sbatch", "Socket timed out on send/recv operation", after=True)
    slurm.preempt(job, 3)
    slurm.stop()

A command takes a few hundredths of a second. What Slurm does at its worst can be asked for: no
answer, an answer that gets lost after the work was done, tasks that vanish, accounting that is
off, jobs that are forgotten at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

from slurmtune.testing import fake_slurm_commands as commands

_NAMES = (
    "sacct",
    "sacctmgr",
    "sbatch",
    "scancel",
    "scontrol",
    "sinfo",
    "squeue",
    "srun",
)


class FakeSlurm:
    """A fake Slurm in a folder.

    Args:
        folder: Where it lives; made if missing.
        slots: Tasks that run at once; 0 keeps everything waiting.
        settings: More of `fake_slurm_commands.DEFAULTS`.
    """

    def __init__(self, folder: str, *, slots: int = 2, **settings: Any) -> None:
        self.folder = os.path.abspath(folder)
        self._bin = os.path.join(self.folder, "bin")
        os.makedirs(self._bin, exist_ok=True)
        state = {
            "next": 1,
            "settings": {**commands.DEFAULTS, "slots": slots},
            "tasks": [],
            "faults": [],
            "calls": {},
        }
        commands.write_state(self.folder, state)
        self.set(**settings)
        for name in _NAMES:
            self._write_command(name)

    @property
    def path(self) -> str:
        """Value for PATH under which the commands are found."""
        return f"{self._bin}{os.pathsep}{os.environ['PATH']}"

    @property
    def calls(self) -> dict[str, int]:
        """How often each command was run."""
        with commands.Locked(self.folder) as state:
            return dict(state["calls"])

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """Everything that is known of all tasks, in the order of submission."""
        with commands.Locked(self.folder) as state:
            return [dict(task) for task in state["tasks"]]

    def set(self, **settings: Any) -> None:
        """Change settings; they hold from the next command on."""
        unknown = set(settings) - set(commands.DEFAULTS)
        if unknown:
            raise ValueError(f"a fake Slurm has no setting {sorted(unknown)}")
        with commands.Locked(self.folder) as state:
            state["settings"].update(settings)

    def fail(
        self,
        command: str,
        stderr: str,
        *,
        returncode: int = 1,
        times: int = 1,
        after: bool = False,
        seconds: float = 0.0,
    ) -> None:
        """Let the next runs of a command fail.

        Args:
            command: Such as ``sbatch``.
            stderr: What it says.
            returncode: What it ends with.
            times: How often.
            after: Whether it does its work first, so that only the answer is lost.
            seconds: How long it takes to fail.
        """
        fault = {
            "command": command,
            "stderr": stderr,
            "returncode": returncode,
            "times": times,
            "after": after,
            "seconds": seconds,
        }
        with commands.Locked(self.folder) as state:
            state["faults"].append(fault)

    def preempt(self, job: str, index: int | None = None) -> None:
        """Take the resources of a task away; it is requeued when its job allows."""
        self._order(job, index, "preempt")

    def requeue(self, job: str, index: int | None = None) -> None:
        """Put a running task back into the queue."""
        self._order(job, index, "requeue")

    def fail_node(self, job: str, index: int | None = None) -> None:
        """Kill a task without a warning, as a node does that fails."""
        self._order(job, index, "node_fail")

    def run_out_of_memory(self, job: str, index: int | None = None) -> None:
        """Kill a task as the out-of-memory killer does."""
        self._order(job, index, "out_of_memory")

    def vanish(self, job: str, index: int | None = None) -> None:
        """Kill a task and forget it, in squeue and in sacct."""
        self._order(job, index, "vanish")

    def hold(self, job: str, index: int | None = None) -> None:
        """Hold waiting tasks."""
        self._order(job, index, "hold")

    def release(self, job: str, index: int | None = None) -> None:
        """Release held tasks."""
        self._order(job, index, "release")

    def stop(self) -> None:
        """Kill everything that runs."""
        self.set(slots=0)
        commands.order_tasks(self.folder, lambda _: True, "vanish")
        commands.kill_marked(f"{commands.MARK}={self.folder}:")

    def _order(self, job: str, index: int | None, order: str) -> None:
        commands.order_tasks(
            self.folder,
            lambda task: task["job"] == job and index in (None, task["index"]),
            order,
        )

    def _write_command(self, name: str) -> None:
        program = (
            f"import sys; sys.path.insert(0, {os.path.dirname(commands.__file__)!r}); "
            "import fake_slurm_commands as c; sys.exit(c.main(sys.argv[1], sys.argv[2:]))"
        )
        line = shlex.join([sys.executable, "-S", "-E", "-c", program, self.folder, name])
        path = os.path.join(self._bin, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec {line} "$@"\n')
        os.chmod(path, 0o700)

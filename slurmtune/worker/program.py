"""The user's program as a process: started in its own group, signalled and ended as a group.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Mapping, NamedTuple, Optional, Sequence

_READ_BYTES = 1 << 16


class ProgramEnd(NamedTuple):
    """How a program ended; exactly one of the two is not None."""

    exit_code: Optional[int]
    signal: Optional[int]


class Program:
    """One running program.

    Raises:
        OSError, ValueError: it could not be started: no such command or folder, or an argument
            that no program can get.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: str,
        output: int,
        capture: bool,
        inherited: Sequence[int] = (),
    ) -> None:
        # Bytes, so that the locale of the node cannot change an argument.
        self._process = subprocess.Popen(
            [_encoded(word) for word in argv],
            env={_encoded(name): _encoded(value) for name, value in environment.items()},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else output,
            stderr=subprocess.STDOUT,
            # A session of its own is a group of its own, and has no terminal to be stopped by.
            start_new_session=True,
            pass_fds=inherited,
            bufsize=0,
        )
        self.output: Optional[int] = None
        """Descriptor to read the output from; None when it goes to a file or has ended."""
        if self._process.stdout is not None:
            self.output = self._process.stdout.fileno()
            os.set_blocking(self.output, False)

    def has_ended(self) -> bool:
        """Tell whether the program has ended; what it started may still run."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is not None

    def read(self) -> bytes:
        """Return output that is there; sets `output` to None at its end."""
        if self.output is None:
            return b""
        try:
            data = os.read(self.output, _READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            self._close_output()
        return data

    def ask_to_leave(self) -> None:
        """Send SIGTERM to the group."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the group."""
        self._signal(signal.SIGKILL)

    def finish(self) -> ProgramEnd:
        """Wait for the end, end what it left behind, and tell how it ended.

        The group is signalled before the process is collected: until then nobody else can get
        its number.
        """
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self.kill()
        code = self._process.wait()
        self._close_output()
        if code < 0:
            return ProgramEnd(None, -code)
        return ProgramEnd(code, None)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is not None:
            return  # collected: its number may be somebody else's by now
        # Gone, or only a process of another user is left in the group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _close_output(self) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()
        self.output = None


def oom_kills(proc_cgroup: str = "/proc/self/cgroup", mount: str = "/sys/fs/cgroup") -> int:
    """Return how often the kernel killed in this job's memory group; 0 when it does not tell."""
    try:
        with open(proc_cgroup, encoding="utf-8") as file:
            entries = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return 0
    for entry in entries:
        if len(entry) != 3:
            continue
        _, controllers, path = entry
        if controllers == "":
            events = os.path.join(mount, path.lstrip("/"), "memory.events")
        elif "memory" in controllers.split(","):
            events = os.path.join(mount, "memory", path.lstrip("/"), "memory.oom_control")
        else:
            continue
        try:
            with open(events, encoding="utf-8") as file:
                for line in file:
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        except (OSError, ValueError):
            continue
    return 0


def _encoded(text: str) -> bytes:
    """Return text for exec(2): UTF-8; bytes that came in through the environment stay."""
    return text.encode("utf-8", "surrogateescape")

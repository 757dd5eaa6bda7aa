"""The files that the driver writes into a study's directory for slots and for readers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from slurmtune.core.request import ResourceRequest
from slurmtune.driver.ports import Command
from slurmtune.store import control, fs, lease, manifest, sealed
from slurmtune.store.layout import PRIVATE_FILE, SHOWN_FILE, StudyLayout


class DirectoryFiles:
    """The real `slurmtune.driver.ports.StudyFiles`."""

    def __init__(
        self,
        layout: StudyLayout,
        *,
        manifest_base: Mapping[str, Any],
        mine: lease.Lease,
        group: bool = False,
    ) -> None:
        self._layout = layout
        self._manifest_base = dict(manifest_base)
        self._lease = mine
        prefix = "idle."
        # What an earlier driver announced counts until this one has looked for itself.
        self._idle = frozenset(
            name[len(prefix) :] for name in fs.list_dir(layout.control) if name.startswith(prefix)
        )
        self._mode = SHOWN_FILE if group else PRIVATE_FILE

    def publish_manifest(self, token: str, request: ResourceRequest, size: int) -> str:
        """Publish what the slots of an array need and return its SHA-256 in hex."""
        fs.make_dir(self._layout.array(token))
        return manifest.publish_manifest(
            self._layout.manifest(token),
            {
                **self._manifest_base,
                "token": token,
                "class": request.name,
                "size": size,
                "time_limit_seconds": request.time_limit_seconds,
            },
        )

    def publish_overview(self, overview: Mapping[str, Any]) -> None:
        """Publish the overview for ``status``."""
        driver = {
            "alive": not self._lease.released,
            "host": self._lease.host,
            "pid": self._lease.pid,
            "beat": overview["time"],
        }
        fs.publish_file(
            self._layout.status, sealed.seal({**overview, "driver": driver}), self._mode
        )

    def publish_lineage(self, heirs: Sequence[Mapping[str, Any]]) -> None:
        """Publish where the trials come from that go on from others, one line each."""
        lines = "".join(json.dumps(heir, allow_nan=False) + "\n" for heir in heirs)
        fs.publish_file(self._layout.lineage, lines.encode("ascii"))

    def announce_end(self, *, finished: bool) -> None:
        """Tell slots that no more work comes, or take that back."""
        if finished:
            fs.publish_file(self._layout.finished, b"")
        else:
            fs.unlink(self._layout.finished)

    def announce_idle(self, classes: frozenset[str]) -> None:
        """Tell idle slots of these classes, and of no others, to leave."""
        for name in sorted(classes - self._idle):
            fs.publish_file(self._layout.idle_file(name), b"")
        for name in sorted(self._idle - classes):
            fs.unlink(self._layout.idle_file(name))
        self._idle = classes

    def announce_settled(self, attempts: Sequence[str]) -> None:
        """Tell programs that wait for more: what follows from these ends is on offer now."""
        record = {"format": 1, "attempts": list(attempts)}
        fs.publish_file(self._layout.settled, json.dumps(record).encode("ascii"))

    def commands(self) -> Sequence[Command]:
        """Return the commands that wait, oldest first."""
        return [_command(name, command) for name, command in control.receive(self._layout)]

    def acknowledge(self, command: Command) -> None:
        """Forget a command: it is in the journal."""
        control.acknowledge(self._layout, command.name)

    def beat(self, now: float, *, released: bool = False) -> None:
        """Renew the lease; ``released``: the driver ends on purpose."""
        self._lease = self._lease.beat(now, released=released)
        lease.write(self._layout, self._lease, self._mode)


def _command(name: str, command: Mapping[str, Any]) -> Command:
    verb, trial = str(command["command"]), command.get("trial")
    if trial is None or (isinstance(trial, int) and not isinstance(trial, bool)):
        return Command(name=name, verb=verb, trial=trial)
    # Without its trial it would mean the whole study: let nobody know such a command.
    return Command(name=name, verb=f"{verb} of trial {trial!r}")

"""What the loop needs besides a backend: a journal, files for slots, somebody who watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from slurmtune.core.events import Event
from slurmtune.core.request import ResourceRequest
from slurmtune.core.study import Study


class JournalPort(Protocol):
    """Where events become durable."""

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Make the records durable, all or none."""
        ...

    def check_owner(self) -> None:
        """Raise `DriverFencedError` when another driver took over."""
        ...

    def close(self) -> None:
        """Let go of the journal."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of the user, given while the driver runs."""

    name: str
    """For `StudyFiles.acknowledge`."""
    verb: str
    trial: int | None = None


class StudyFiles(Protocol):
    """The files that the driver itself writes for slots and for readers."""

    def publish_manifest(self, token: str, request: ResourceRequest, size: int) -> str:
        """Publish what the slots of an array need and return its SHA-256 in hex."""
        ...

    def publish_overview(self, overview: Mapping[str, Any]) -> None:
        """Publish the overview for ``status``."""
        ...

    def publish_lineage(self, heirs: Sequence[Mapping[str, Any]]) -> None:
        """Publish where the trials come from that go on from others, for people."""
        ...

    def announce_end(self, *, finished: bool) -> None:
        """Tell slots that no more work comes, or take that back."""
        ...

    def announce_idle(self, classes: frozenset[str]) -> None:
        """Tell idle slots of these classes, and of no others, to leave."""
        ...

    def announce_settled(self, attempts: Sequence[str]) -> None:
        """Tell programs that wait for more: what follows from these ends is on offer now.

        ``attempts``: the newest that ended so, oldest first; in place of what was announced
        before.
        """
        ...

    def commands(self) -> Sequence[Command]:
        """Return the commands that wait, oldest first."""
        ...

    def acknowledge(self, command: Command) -> None:
        """Forget a command: it is in the journal."""
        ...

    def beat(self, now: float, *, released: bool = False) -> None:
        """Renew the lease; ``released``: the driver ends on purpose."""
        ...


class Observer(Protocol):
    """Somebody who watches: the command line, or nobody."""

    def applied(self, event: Event, study: Study) -> None:
        """An event changed the study."""
        ...

    def message(self, text: str) -> None:
        """Something that a user should know."""
        ...

    def looked(self, overview: Mapping[str, Any]) -> None:
        """The overview was made anew."""
        ...


class NoFiles:
    """For simulated studies: nothing is written."""

    def publish_manifest(self, token: str, request: ResourceRequest, size: int) -> str:
        """Return no hash."""
        del token, request, size
        return ""

    def publish_overview(self, overview: Mapping[str, Any]) -> None:
        """Publish nothing."""

    def publish_lineage(self, heirs: Sequence[Mapping[str, Any]]) -> None:
        """Publish nothing."""

    def announce_end(self, *, finished: bool) -> None:
        """Announce nothing."""

    def announce_idle(self, classes: frozenset[str]) -> None:
        """Announce nothing."""

    def announce_settled(self, attempts: Sequence[str]) -> None:
        """Announce nothing."""

    def commands(self) -> Sequence[Command]:
        """Return no command."""
        return ()

    def acknowledge(self, command: Command) -> None:
        """Forget nothing."""

    def beat(self, now: float, *, released: bool = False) -> None:
        """Hold no lease."""


class NoObserver:
    """Nobody watches."""

    def applied(self, event: Event, study: Study) -> None:
        """See nothing."""

    def message(self, text: str) -> None:
        """Hear nothing."""

    def looked(self, overview: Mapping[str, Any]) -> None:
        """Look away."""

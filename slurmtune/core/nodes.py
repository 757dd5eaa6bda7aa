"""Nodes that failed repeatedly: left out of new arrays for a day."""

from __future__ import annotations

FAILURES = 2
"""So many failures within `MEMORY_SECONDS` exclude a node."""
MEMORY_SECONDS = 24 * 3600.0
"""How long a failure counts, and so how long a node stays excluded after its last one."""


class NodeLedger:
    """Remembers when which node failed; part of the study, so a replay knows the same."""

    def __init__(self) -> None:
        self._failures: dict[str, list[float]] = {}

    def note(self, node: str, time: float) -> None:
        """Node ``node`` failed at ``time``, in seconds since 1970."""
        if node:
            self._failures[node] = [*self._failures.get(node, [])[1 - FAILURES :], time]

    def excluded(self, now: float) -> tuple[str, ...]:
        """Return the nodes to leave out at ``now``, by name."""
        return tuple(
            node
            for node, times in sorted(self._failures.items())
            if sum(now - time < MEMORY_SECONDS for time in times) >= FAILURES
        )

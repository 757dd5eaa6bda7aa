"""Nodes that failed repeatedly: left out of new arrays for a day (``retry.bad_node``)."""

from __future__ import annotations

from typing import NamedTuple

_MOST_REMEMBERED = 100
MEMORY_SECONDS = 24 * 3600.0
"""How long a failure counts, and so how long a node stays excluded after its last one."""


class _Failure(NamedTuple):
    time: float
    suspected: bool


class NodeLedger:
    """Remembers when which node failed; part of the study, so a replay knows the same."""

    def __init__(self) -> None:
        self._failures: dict[str, list[_Failure]] = {}

    def note(self, node: str, time: float, *, suspected: bool = False) -> None:
        """Node ``node`` failed at ``time``, in seconds since 1970.

        ``suspected``: something failed there, and the cause may be another one.
        """
        if node:
            failure = _Failure(time, suspected)
            self._failures[node] = [*self._failures.get(node, [])[1 - _MOST_REMEMBERED :], failure]

    def forget_suspicions(self) -> None:
        """What was only suspected counts no more: the cause may have been mended."""
        for node, failures in self._failures.items():
            self._failures[node] = [failure for failure in failures if not failure.suspected]

    def excluded(self, now: float, most_failures: int) -> tuple[str, ...]:
        """Return the nodes to leave out at ``now``, by name.

        A node is left out from its failure number ``most_failures`` within a day on; 0: never.
        """
        if not most_failures:
            return ()
        return tuple(
            node
            for node, failures in sorted(self._failures.items())
            if sum(now - one.time < MEMORY_SECONDS for one in failures) >= most_failures
        )

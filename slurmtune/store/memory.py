"""A journal in memory, for simulated studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class MemoryJournal:
    """Keeps the records; there is never another driver."""

    def __init__(self) -> None:
        self.records: list[Mapping[str, Any]] = []

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Keep the records."""
        self.records.extend(records)

    def check_owner(self) -> None:
        """Nobody else can own it."""

    def close(self) -> None:
        """There is nothing to close."""

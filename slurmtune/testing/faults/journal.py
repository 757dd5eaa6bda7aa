"""A journal in memory with epochs, as `slurmtune.store.journal` keeps them in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slurmtune.errors import DriverFencedError

Record = Mapping[str, Any]


class EpochJournal:
    """All segments of a study; the opening of a new one seals those before it."""

    def __init__(self) -> None:
        self.history: list[Record] = []
        """What a driver that opens the study now would read."""
        self.epoch = 0

    def open(self) -> Segment:
        """Claim the next epoch: what earlier drivers write from now on is no history."""
        self.epoch += 1
        return Segment(self, self.epoch)


class Segment:
    """What the driver of one epoch writes."""

    def __init__(self, journal: EpochJournal, epoch: int) -> None:
        self._journal = journal
        self.epoch = epoch

    @property
    def is_newest(self) -> bool:
        """Whether no later driver took over."""
        return self.epoch == self._journal.epoch

    def append(self, records: Sequence[Record]) -> None:
        """Write the records: behind the seal, where nobody reads, when a later epoch began."""
        if self.is_newest:
            self._journal.history.extend(records)

    def check_owner(self) -> None:
        """Raise when a later epoch began.

        Raises:
            DriverFencedError: it did.
        """
        if not self.is_newest:
            raise DriverFencedError(f"epoch {self._journal.epoch} began after {self.epoch}")

    def close(self) -> None:
        """There is nothing to close."""

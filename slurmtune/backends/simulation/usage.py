"""Who used which machine and when: for utilisation and for figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A slot on a machine, or an attempt in a slot, from ``begin`` to ``end``."""

    machine: int
    slot: str
    """``TOKEN.INDEX.RESTART``."""
    begin: float
    end: float
    attempt: str = ""
    """Empty for the slot itself."""

    def seconds_until(self, until: float) -> float:
        """Return how much of it lies before ``until``."""
        return max(min(self.end, until) - self.begin, 0.0)


class Ledger:
    """Spans of slots and of attempts; those still open end at infinity."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Span] = {}
        self._closed: list[Span] = []

    def begin(self, machine: int, slot: str, time: float, *, attempt: str = "") -> None:
        """A slot, or an attempt in it, began."""
        self._open[slot, attempt] = Span(
            machine=machine, slot=slot, begin=time, end=float("inf"), attempt=attempt
        )

    def end(self, slot: str, time: float, *, attempt: str = "") -> None:
        """A slot, or an attempt in it, ended."""
        self._closed.append(replace(self._open.pop((slot, attempt)), end=time))

    def slots(self) -> Sequence[Span]:
        """Return the spans of the slots, those that ended first."""
        return [span for span in self._spans() if not span.attempt]

    def attempts(self) -> Sequence[Span]:
        """Return the spans of the attempts, those that ended first."""
        return [span for span in self._spans() if span.attempt]

    def busy_seconds(self, until: float) -> dict[str, float]:
        """Return for each slot how long it ran attempts, start-up of the slot left out."""
        busy: dict[str, float] = {}
        for span in self._spans():
            seconds = span.seconds_until(until) if span.attempt else 0.0
            busy[span.slot] = busy.get(span.slot, 0.0) + seconds
        return busy

    def _spans(self) -> Sequence[Span]:
        return [*self._closed, *self._open.values()]

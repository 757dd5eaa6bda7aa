"""Metrics from what an unmodified program prints: one regular expression for each name.

A line may give metrics, the resource, or both; metrics belong to the resource that was seen last.
Without an expression for the resource the reports of each metric are counted.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import math
import re
from typing import Dict, List, Mapping, Optional

from slurmtune.worker.metrics import Counter, Number, Report

# Expressions of users can take time that grows with the square of a line.
_MAX_LINE_LENGTH = 4000
_MAX_PENDING_BYTES = 64 * 1024
_LINE_END = re.compile(rb"[\r\n]")
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class OutputParser:
    """Turns pieces of a program's output into reports."""

    def __init__(
        self, expressions: Mapping[str, str], *, resource_name: str, start: Number
    ) -> None:
        self._metrics = {
            name: re.compile(text) for name, text in expressions.items() if name != resource_name
        }
        resource = expressions.get(resource_name)
        self._resource_expression = None if resource is None else re.compile(resource)
        self._resource: Optional[Number] = None
        self._counter = Counter(start)
        self._pending = b""

    def feed(self, data: bytes, *, final: bool = False) -> List[Report]:
        """Return the reports of the lines that ``data`` ends; ``final`` ends the last one too."""
        pieces = _LINE_END.split(self._pending + data)
        self._pending = pieces.pop()[-_MAX_PENDING_BYTES:]
        if final:
            pieces.append(self._pending)
            self._pending = b""
        reports = [self._line(piece) for piece in pieces if piece]
        return [report for report in reports if report is not None]

    def _line(self, line: bytes) -> Optional[Report]:
        text = _ESCAPE_SEQUENCE.sub("", line.decode("utf-8", "replace"))[:_MAX_LINE_LENGTH]
        if self._resource_expression is not None:
            reached = _found(self._resource_expression, text)
            if reached is not None and math.isfinite(reached) and reached >= 0:
                self._resource = int(reached) if reached.is_integer() else reached
        metrics: Dict[str, float] = {}
        for name, expression in self._metrics.items():
            value = _found(expression, text)
            if value is not None:
                metrics[name] = value
        if not metrics:
            return None
        if self._resource is not None:
            return Report(self._resource, metrics)
        # Metrics on lines of their own are counted apart: the second loss and the second acc.
        return Report(max(self._counter.next(name) for name in metrics), metrics)


def _found(expression: "re.Pattern[str]", text: str) -> Optional[float]:
    """Return the last number that the expression finds: its first group, else all of it."""
    number = None
    for found in expression.finditer(text):
        group = found.group(1) if expression.groups else found.group(0)
        try:
            number = float(group)
        except (TypeError, ValueError):
            continue
    return number

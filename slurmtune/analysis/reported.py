"""What attempts reported in all: every metric, from their own logs, also what came after the end.

Decisions know the objective alone; the rest is for people, and is read only when they ask.
"""

from __future__ import annotations

from slurmtune.store import event_log, frame
from slurmtune.store.layout import StudyLayout


def newest_metrics(layout: StudyLayout, attempt: str) -> dict[str, float]:
    """Return the newest value of each metric of an attempt, in the order of their first report.

    What cannot be read is left out.
    """
    try:
        records = event_log.read(layout.events(attempt))
    except OSError:
        return {}
    found: dict[str, float] = {}
    for record in records:
        metrics = record.get("metrics")
        if record.get("k") != event_log.REPORT or not isinstance(metrics, dict):
            continue
        for name, value in metrics.items():
            try:
                found[name] = float(frame.decode_number(value))
            except (ValueError, OverflowError):
                continue
    return found

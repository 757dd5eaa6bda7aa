"""The time, for people who watch; the clock itself belongs to the driver."""

from __future__ import annotations

from slurmtune.driver.clock import SystemClock


def now() -> float:
    """Return seconds since 1970."""
    return SystemClock().now()


def pause(seconds: float) -> None:
    """Return after ``seconds``."""
    SystemClock().wait(seconds)

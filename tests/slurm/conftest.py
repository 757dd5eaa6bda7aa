"""Recorded outputs of Slurm 22.05."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[1] / "data" / "slurm"


@pytest.fixture
def recorded() -> Callable[[str], str]:
    """Return what a recorded command printed, without the lines about the recording."""

    def read(name: str) -> str:
        text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
        return text.partition("\n")[2].partition("[stderr]")[0]

    return read


@pytest.fixture
def complaint() -> Callable[[str], str]:
    """Return what a recorded command wrote to stderr."""

    def read(name: str) -> str:
        text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
        return text.partition("[stderr] ")[2].partition("\n[rc=")[0]

    return read

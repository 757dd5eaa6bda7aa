"""Studies that are launched for real on this machine, and every process of theirs ended afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.testing.live_study import LiveStudy

MakeStudy = Callable[..., LiveStudy]


@pytest.fixture
def make_study(tmp_path: Path) -> Iterator[MakeStudy]:
    """``make_study(SPEC)``: a study in a folder of its own."""
    made: list[LiveStudy] = []

    def make(spec: str, **arguments: Any) -> LiveStudy:
        live = LiveStudy(tmp_path / f"study{len(made)}", spec, **arguments)
        made.append(live)
        return live

    yield make
    for live in made:
        live.close()

"""Every scheduler drives a whole study on a real Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.testing.live_study import FAST_ON_SLURM, LiveStudy
from slurmtune.testing.scheduler_studies import STUDIES, check_done

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture
def make_study(slurm_cluster: Any, tmp_path: Path) -> Iterator[Any]:
    """``make_study(SPEC)``: a study on the cluster."""
    made: list[LiveStudy] = []

    def make(text: str, **more: Any) -> LiveStudy:
        folder = tmp_path / f"study{len(made)}"
        made.append(LiveStudy(folder, text, driver=FAST_ON_SLURM, **more))
        return made[-1]

    yield make
    for live in made:
        live.close()


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_done(make_study: Any, name: str) -> None:
    """Arrays are submitted, slots serve them, and every decision recomputes from the raw results."""
    live = make_study(STUDIES[name].spec, programs=STUDIES[name].programs)

    done = live.run(seconds=120)

    assert done.code == 0, done.text
    check_done(live, name)

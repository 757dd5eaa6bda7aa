"""A study is looked at while driver and slots are at work: what comes and goes is no damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.analysis.fsck.examine import Sources, examine
from slurmtune.analysis.fsck.finding import Severity
from slurmtune.spec import launching
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.live_study import LiveStudy

pytestmark = pytest.mark.slow

SPEC = """
[run]
command = ["sh", "train.sh", "0.02"]
args = "none"
[objective]
metric = "loss"
goal = "minimize"
[space]
q = { int = [1, 1000000] }
[fidelity]
resource = "epoch"
max = 9
[search]
scheduler = 'asha'
trials = 27
parallel = 4
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveStudy]:
    study = LiveStudy(tmp_path / "study", SPEC)
    yield study
    study.close()


def trouble(layout: StudyLayout, read: Callable[[], Any]) -> list[str]:
    sources = Sources(identity=lambda: launching.read_identity(layout), study=read)
    found = examine(layout, sources, is_driven=True)
    return [
        f"{f.severity.value} {f.code} {f.path}: {f.words}"
        for f in found.findings
        if f.severity is not Severity.NOTE
    ]


def test_a_study_at_work_is_sound_at_every_moment(live: LiveStudy) -> None:
    driver = live.launch("--local=2")
    live.wait_until(live.overview, what="a first look")
    looks = 0
    while driver.process.poll() is None:
        assert trouble(live.layout, live.study) == []
        looks += 1
    assert driver.wait().code == 0
    assert looks > 5

"""Two real studies on local processes, made once: one that finished, one whose machine died."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurmtune.core.trial import AttemptState
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.live_study import PROGRAM, LiveStudy

SPEC = """
[run]
command = ["sh", "train.sh"]
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
trials = 9
parallel = 4
"""
# All but the first two trials never end: two have results, two run in both slots, and some are on offer.
STUCK = f'case "$SLURMTUNE_TRIAL" in *0|*1) ;; *) sleep 60;; esac\n{PROGRAM}'

MakeStudy = Callable[[], LiveStudy]


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStudy]:
    live = LiveStudy(tmp_path_factory.mktemp("finished") / "study", SPEC)
    assert live.run("--local=2").code == 0
    yield live
    live.close()


@pytest.fixture(scope="session")
def died_once(tmp_path_factory: pytest.TempPathFactory) -> LiveStudy:
    live = LiveStudy(tmp_path_factory.mktemp("died") / "study", SPEC, {"train.sh": STUCK})
    try:
        driver = live.launch("--local=2")
        live.wait_until(live.has_begun, what="the study begins")
        live.wait_until(lambda: _is_stuck(live), what="both slots are busy")
        driver.kill()
    finally:
        live.close()
    return live


def _is_stuck(live: LiveStudy) -> bool:
    attempts = live.study().live.values()
    running = [a for a in attempts if a.state is AttemptState.RUNNING and a.last_seq >= 0]
    pending = [a for a in attempts if a.state is AttemptState.PENDING]
    return len(running) == 2 and len(pending) >= 1


@pytest.fixture
def finished(finished_once: LiveStudy, tmp_path: Path) -> StudyLayout:
    """The directory of a study that ended well."""
    return _copy(finished_once, tmp_path)


@pytest.fixture
def died(died_once: LiveStudy, tmp_path: Path) -> StudyLayout:
    """The directory of a study whose driver and slots were killed at work."""
    return _copy(died_once, tmp_path)


def _copy(live: LiveStudy, folder: Path) -> StudyLayout:
    shutil.copytree(live.layout.root, folder / "study", symlinks=True)
    return StudyLayout(str(folder / "study"))

"""What attacks need: bad inputs, real studies on this machine, and commands run as a user runs them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.testing.live_study import Done, LiveStudy

RUN = """
[run]
command = ["sh", "train.sh"]
args = "none"
[objective]
metric = "loss"
goal = "minimize"
"""
SPEC = f"""{RUN}
[space]
q = {{ int = [1, 1000000] }}
[fidelity]
resource = "epoch"
max = 9
[search]
scheduler = "sha"
trials = 9
parallel = 4
"""

MakeStudy = Callable[..., LiveStudy]


@pytest.fixture
def make_study(tmp_path: Path) -> Iterator[MakeStudy]:
    """``make_study(SPEC)``: a study in a folder of its own, whose processes are ended afterwards."""
    made: list[LiveStudy] = []

    def make(spec: str = SPEC, **arguments: Any) -> LiveStudy:
        live = LiveStudy(tmp_path / f"study{len(made)}", spec, **arguments)
        made.append(live)
        return live

    yield make
    for live in made:
        live.close()


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStudy]:
    """A study that ran to its end on this machine. Read it only."""
    live = LiveStudy(tmp_path_factory.mktemp("finished") / "here", SPEC)
    assert live.run("--local=2").code == 0
    yield live
    live.close()


@pytest.fixture
def finished(finished_once: LiveStudy, tmp_path: Path) -> LiveStudy:
    """A copy of a finished study, to be damaged."""
    folder = tmp_path / "copy"
    shutil.copytree(finished_once.folder, folder)
    return LiveStudy(folder, SPEC)


def is_told(done: Done, codes: tuple[int, ...] = (0,)) -> None:
    """Assert that a command ended as it may, and showed neither traceback nor crash."""
    assert "Traceback" not in done.text
    assert "internal error" not in done.text, done.text
    assert done.code in codes, done.text

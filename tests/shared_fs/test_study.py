"""Whole studies whose driver and slots see the study's directory through different mounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from slurmtune.core.trial import Outcome
from slurmtune.spec import launching
from slurmtune.store import lease
from slurmtune.testing.live_study import LiveStudy

pytestmark = pytest.mark.slow

SPEC = """
[run]
command = ["sh", "train.sh", "SLEEP"]
args = "none"
[env]
setup = ["SETUP"]
[objective]
metric = "loss"
goal = "minimize"
[space]
q = { int = [1, 1000000] }
[fidelity]
resource = "epoch"
max = 4
eta = 2
[search]
scheduler = 'sha'
trials = 4
parallel = 4
"""
# As the command line, but with a driver that shows life more often, and is given up earlier by those on other nodes.
HASTY = """\
import sys
from slurmtune.cli import app
from slurmtune.driver import loop
from slurmtune.store import lease
loop._BEAT_SECONDS, lease.PATIENCE_SECONDS = 1.0, 6.0
sys.argv[0] = "slurmtune"
app.main()
"""


class SharedStudy:
    """A study that is launched on one node and whose slots run on the other."""

    def __init__(self, shared: Any, name: str, sleep: str) -> None:
        self._login, node = shared.nodes
        self._node = node
        folder = shared.shared / name
        enter = " ".join(node.command()[:3])
        spec = SPEC.replace("SETUP", f'exec {enter} \\"$@\\"').replace("SLEEP", sleep)
        # Their notes come from both nodes, and so go where there is no cache.
        starts = str(shared.truth / name / "starts")
        self.live = LiveStudy(folder, spec, environment={"STARTS": starts})

    def on_login(self) -> LiveStudy:
        """Return the study with drivers on the login node."""
        return self._on(self._login)

    def on_node(self) -> LiveStudy:
        """Return the study with drivers on the other node, whose mount the slots use."""
        return self._on(self._node)

    def _on(self, node: Any) -> LiveStudy:
        folder = str(self.live.folder)
        self.live.driver = node.python("-c", HASTY, "launch", cwd=folder)
        return self.live


@pytest.fixture
def make_study(
    bindfs: Any, request: pytest.FixtureRequest
) -> Iterator[Callable[..., SharedStudy]]:
    made: list[SharedStudy] = []

    def make(sleep: str = "") -> SharedStudy:
        made.append(SharedStudy(bindfs, f"{request.node.name}{len(made)}", sleep))
        return made[-1]

    yield make
    for study in made:
        study.live.close()


def assert_complete(live: LiveStudy) -> None:
    """Everything ran once and well, and promoted trials went on from what they had saved."""
    assert not live.started_twice
    loaded = sorted((start.attempt[7:9], start.start, start.loaded) for start in live.starts)
    assert loaded == [("r0", "0", "-")] * 4 + [("r1", "1", "1")] * 2 + [("r2", "2", "2")]
    assert set(live.outcomes().values()) == {Outcome.SUCCEEDED}
    assert len({t.config["q"] for t in launching.read_study(live.layout).trials}) == 4


def test_a_study_whose_driver_and_slots_are_on_different_nodes(
    make_study: Callable[..., SharedStudy],
) -> None:
    live = make_study().on_login()
    done = live.run("--local=2")
    assert done.code == 0, done.text
    assert_complete(live)
    hosts = {attempt.host for trial in live.study().trials for attempt in trial.attempts}
    assert hosts == {"node7"}
    found = live.call("fsck", "live")
    assert (found.code, "sound" in found.out) == (0, True), found.text


def test_a_second_driver_on_another_node_is_refused(
    make_study: Callable[..., SharedStudy],
) -> None:
    study = make_study("30")
    live = study.on_login()
    first = live.launch("--local=2")
    live.wait_until(live.has_claims, what="an offer is claimed")
    second = study.on_node().run("--local=2")
    assert second.code == 5
    assert f"already driven by pid {first.process.pid} on login1" in second.err
    assert first.process.poll() is None


def test_a_driver_that_is_replaced_from_another_node_stops(
    make_study: Callable[..., SharedStudy],
) -> None:
    study = make_study("1")
    live = study.on_login()
    first = live.launch("--local=2")
    live.wait_until(live.has_claims, what="an offer is claimed")
    second = study.on_node().run("--local=2", "--takeover", "--yes")
    assert second.code == 0, second.text
    done = first.wait()
    assert done.code == 5
    assert "took" in done.err
    assert_complete(live)
    assert live.call("fsck", "live").code == 0


def test_a_study_goes_on_on_another_node_when_its_driver_was_killed(
    make_study: Callable[..., SharedStudy],
) -> None:
    study = make_study("0.5")
    live = study.on_login()
    first = live.launch("--local=2")
    live.wait_until(lambda: len(live.starts) > 2, what="some results are there")
    first.kill()
    done = study.on_node().run("--local=2")
    assert done.code == 0, done.text
    assert_complete(live)
    held = lease.read(live.layout)
    assert held is not None
    assert (held.host, held.released) == ("node7", True)
    assert live.call("fsck", "live").code == 0

"""The Slurm backend against a real Slurm."""

from __future__ import annotations

import dataclasses
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.backends.base import ArraySpec, SlotState, SlotStatus
from slurmtune.backends.slurm import SlurmBackend
from slurmtune.core.events import AttemptReported
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome
from slurmtune.testing.backend_contract import CLASSES, BackendContract, Rig
from slurmtune.testing.slurm_rig import SlurmRig

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SLEEPER = ["sh", "-c", "sleep 60", "sleeper"]
"""In place of Python and our worker, where a test is about slots only."""


@pytest.fixture(autouse=True)
def _environment(slurm_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs find the package under test."""
    assert slurm_cluster.conf
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SlurmRig]:
    made = SlurmRig(str(tmp_path), turns=300)
    yield made
    made.close()


@pytest.fixture
def token() -> str:
    """A name that no other test uses on this cluster."""
    return f"st-{uuid.uuid4().hex[:8]}-1-1"


def spec(token: str, size: int = 1, **changes: Any) -> ArraySpec:
    request = ResourceRequest(name="c0", time_limit_seconds=600)
    changed = dataclasses.replace(request, **changes)
    return ArraySpec(token=token, request=changed, size=size, manifest_sha256="ab" * 32)


@pytest.fixture
def make(rig: SlurmRig, token: str) -> Iterator[Callable[..., SlurmBackend]]:
    def backend(**changes: Any) -> SlurmBackend:
        arguments = {"clock": rig.clock, "settle_seconds": 0.0, **changes}
        return SlurmBackend(rig.layout.root, rig.layout, SLEEPER, **arguments)

    yield backend
    subprocess.run(["scancel", "-n", token], check=False)


def poll_until(
    rig: SlurmRig, backend: SlurmBackend, happened: Callable[[dict[int, SlotStatus]], bool]
) -> dict[int, SlotStatus]:
    """Poll until the latest statuses are as wanted."""
    latest: dict[int, SlotStatus] = {}
    for _ in range(rig.turns):
        latest.update({one.index: one for one in backend.poll()})
        if happened(latest):
            return latest
        rig.clock.wait(rig.turn_seconds)
    pytest.fail(f"did not happen: {latest}")


def states(latest: dict[int, SlotStatus]) -> list[SlotState]:
    return [latest[index].state for index in sorted(latest)]


class TestContract(BackendContract):
    """What every backend owes; a selection, as a real Slurm takes its time."""

    def make_rig(self, tmp_path: Path) -> Rig:
        return UniqueRig(str(tmp_path))


class UniqueRig(SlurmRig):
    """Gives each test's tokens names that no other test uses."""


def test_a_slot_serves_an_offer_under_srun(rig: SlurmRig, token: str) -> None:
    """From the offer to the last report: submitit's script, srun, our worker, a shell program."""
    contract = BackendContract()
    attempt = contract.offer(rig, 0, units=3).attempt
    rig.backend.submit(rig.array(token, 1, CLASSES[0]))
    events: list[Any] = []
    latest = poll_until(rig, rig.backend, lambda now: states(now) == [SlotState.ENDED])
    events.extend(rig.exchange.read(rig.clock.now()))
    reports = [one for one in events if isinstance(one, AttemptReported)]
    assert [one.resource for one in reports if one.attempt == attempt] == [1, 2, 3]
    assert latest[0].outcome is Outcome.SUCCEEDED

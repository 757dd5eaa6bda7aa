"""The Slurm backend against a real Slurm."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from slurmtune.backends.base import ArraySpec, Backend, SlotState, SlotStatus
from slurmtune.backends.command import CommandResult, SubprocessRunner
from slurmtune.backends.probe import gather_facts, probe
from slurmtune.backends.slurm import SlurmBackend
from slurmtune.core.events import AttemptReported
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome
from slurmtune.errors import BackendUnavailableError, SubmissionRefusedError
from slurmtune.testing.backend_contract import CLASSES, BackendContract
from slurmtune.testing.slurm_rig import SlurmRig

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

Make = Callable[..., SlurmBackend]
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
def make(rig: SlurmRig, token: str) -> Iterator[Make]:
    def backend(**changes: Any) -> SlurmBackend:
        arguments = {"clock": rig.clock, "settle_seconds": 0.0, **changes}
        python = arguments.pop("python", SLEEPER)
        return SlurmBackend(rig.layout.root, rig.layout, python, **arguments)

    yield backend
    subprocess.run(["scancel", "-n", token], check=False)


def poll_until(
    rig: SlurmRig, backend: Backend, happened: Callable[[dict[int, SlotStatus]], bool]
) -> dict[int, SlotStatus]:
    """Poll until the latest statuses are as wanted."""
    latest: dict[int, SlotStatus] = {}
    for _ in range(rig.turns):
        latest.update({one.index: one for one in backend.poll()})
        if happened(latest):
            return latest
        rig.clock.wait(rig.turn_seconds)
    pytest.fail(f"did not happen: {latest}")


class Forgetful(SubprocessRunner):
    """A slurmctld that forgets every job at once."""

    def run(self, argv: Sequence[str], stdin: str = "") -> CommandResult:
        if argv[0] == "squeue":
            return CommandResult(0, "", "")
        return super().run(argv, stdin)


def states(latest: dict[int, SlotStatus]) -> list[SlotState]:
    return [latest[index].state for index in sorted(latest)]


def test_a_slot_serves_an_offer_under_srun(rig: SlurmRig, token: str) -> None:
    """From the offer to the last report: submitit's script, srun, our worker, a shell program."""
    attempt = BackendContract().offer(rig, 0, units=3).attempt
    rig.backend.submit(rig.array(token, 1, CLASSES[0]))
    latest = poll_until(rig, rig.backend, lambda now: states(now) == [SlotState.ENDED])
    events = rig.exchange.read(rig.clock.now())
    reports = [one for one in events if isinstance(one, AttemptReported)]
    assert [one.resource for one in reports if one.attempt == attempt] == [1, 2, 3]
    assert latest[0].outcome is Outcome.SUCCEEDED


def test_a_waiting_slot_tells_why(rig: SlurmRig, make: Make, token: str) -> None:
    backend = make()
    job = backend.submit(spec(token, 2, array_limit=1))
    latest = poll_until(rig, backend, lambda now: now[1].reason == "JobArrayTaskLimit")
    assert (latest[1].state, latest[1].job) == (SlotState.PENDING, f"{job}_1")


def test_a_waiting_slot_can_be_cancelled_alone(rig: SlurmRig, make: Make, token: str) -> None:
    backend = make()
    backend.submit(spec(token, 2, array_limit=1))
    poll_until(rig, backend, lambda now: states(now) == [SlotState.RUNNING, SlotState.PENDING])
    backend.cancel(token, [1])
    latest = poll_until(rig, backend, lambda now: now[1].state is SlotState.ENDED)
    assert latest[1].outcome is Outcome.CANCELLED
    assert latest[0].state is SlotState.RUNNING


def test_a_new_driver_finds_and_adopts_an_array(rig: SlurmRig, make: Make, token: str) -> None:
    array = spec(token, 2)
    job = make().submit(array)
    backend = make()
    assert backend.find(token) == job
    backend.adopt(array, job)
    poll_until(rig, backend, lambda now: states(now) == [SlotState.RUNNING] * 2)
    backend.cancel(token)
    latest = poll_until(rig, backend, lambda now: states(now) == [SlotState.ENDED] * 2)
    assert {one.outcome for one in latest.values()} == {Outcome.CANCELLED}


def test_an_array_submitted_twice_is_cancelled_but_for_the_first(
    rig: SlurmRig, make: Make, token: str
) -> None:
    first, second = make().submit(spec(token)), make().submit(spec(token))
    backend = make()
    assert backend.find(token) == first
    assert int(first) < int(second)
    backend.adopt(spec(token), second)
    latest = poll_until(rig, backend, lambda now: now[0].state is SlotState.ENDED)
    assert latest[0].outcome is Outcome.CANCELLED


def test_a_requeued_slot_waits_and_runs_again(rig: SlurmRig, make: Make, token: str) -> None:
    backend = make()
    job = backend.submit(spec(token))
    poll_until(rig, backend, lambda now: now[0].state is SlotState.RUNNING)
    subprocess.run(["scontrol", "requeue", f"{job}_0"], check=True)
    latest = poll_until(rig, backend, lambda now: now[0].reason == "BeginTime")
    assert latest[0].state is SlotState.PENDING
    assert latest[0].start_estimate is not None
    # Slurm holds it back for two minutes; the owner may cut that short.
    subprocess.run(["scontrol", "update", f"jobid={job}_0", "StartTime=now"], check=True)
    poll_until(rig, backend, lambda now: now[0].state is SlotState.RUNNING)


@pytest.mark.parametrize("use_srun", [True, False])
def test_a_worker_has_time_to_save_when_it_is_cancelled(
    rig: SlurmRig, make: Make, token: str, use_srun: bool, tmp_path: Path
) -> None:
    """The batch shell outlives the signal and the worker's last words reach the log."""
    program = tmp_path / "program.sh"
    program.write_text(
        "trap 'sleep 0.3; echo saved; exit 85' TERM\necho ready\nwhile true; do sleep 0.1; done\n",
        encoding="utf-8",
    )
    backend = make(python=["bash", str(program)], use_srun=use_srun)
    job = backend.submit(spec(token))
    log = Path(rig.layout.logs) / f"{job}_0.log"
    poll_until(rig, backend, lambda _: log.exists() and "ready" in log.read_text("utf-8"))
    backend.cancel(token)
    poll_until(rig, backend, lambda now: now[0].state is SlotState.ENDED)
    assert "saved" in log.read_text("utf-8")


def test_a_setup_line_that_fails_ends_the_slot(rig: SlurmRig, make: Make, token: str) -> None:
    backend = make()
    job = backend.submit(spec(token, setup=("source /no/such/venv/bin/activate",)))
    latest = poll_until(rig, backend, lambda now: now[0].state is SlotState.ENDED)
    log = (Path(rig.layout.logs) / f"{job}_0.log").read_text("utf-8")
    assert "this setup line failed: source /no/such/venv/bin/activate" in log
    assert latest[0].outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("changes", "size", "words"),
    [
        ({"options": (("partition", "nope"),)}, 1, "no such partition"),
        ({"options": (("gpus_per_node", 99),)}, 1, "no node can give"),
        ({"options": (("constraint", "nope"),)}, 1, "no node has such a feature"),
        ({}, 1002, "longer than this cluster allows"),
    ],
)
def test_a_refusal_is_understood(
    make: Make, token: str, changes: dict[str, Any], size: int, words: str
) -> None:
    with pytest.raises(SubmissionRefusedError, match=words) as caught:
        make().submit(spec(token, size, **changes))
    assert not caught.value.retryable


def test_the_cluster_is_probed(make: Make, token: str) -> None:
    facts, config = gather_facts()
    array = spec(token, options=(("partition", facts.default_partition),))
    good = probe(make().script(array), array.request, facts)
    assert good.accepted
    assert re.match(r"Job \d+ to start at ", good.says)
    assert make().limits().max_array_size == config.max_array_size == facts.max_array_size


def test_a_wrong_partition_is_explained_with_those_there_are(make: Make, token: str) -> None:
    facts, _ = gather_facts()
    array = spec(token, options=(("partition", f"{facts.default_partition}u"),))
    found = probe(make().script(array), array.request, facts)
    assert [one.code for one in found.advice] == ["C1"]
    assert f"did you mean {facts.default_partition!r}?" in str(found.advice[0])


def test_accounting_that_is_off_is_noticed(rig: SlurmRig, make: Make, token: str) -> None:
    backend = make(runner=Forgetful())
    backend.submit(spec(token))
    for _ in range(3):
        (status,) = backend.poll()
        assert status.state is SlotState.PENDING
    assert backend.calls["sacct"] == 1


@pytest.mark.cluster(db=True)
def test_accounting_tells_how_a_forgotten_slot_ended(
    rig: SlurmRig, make: Make, token: str
) -> None:
    backend = make(runner=Forgetful(), python=["sh", "-c", "exit 85", "worker"])
    backend.submit(spec(token))
    latest = poll_until(rig, backend, lambda now: now[0].state is SlotState.ENDED)
    assert (latest[0].outcome, latest[0].reason) == (Outcome.PREEMPTED, "FAILED")
    assert latest[0].node.startswith("node")


@pytest.mark.cluster(db=True)
def test_an_array_that_slurmctld_forgot_is_found(rig: SlurmRig, make: Make, token: str) -> None:
    job = make(python=["true"]).submit(spec(token))
    forgetful = make(runner=Forgetful())
    for _ in range(rig.turns):
        if forgetful.find(token) == job:
            return
        rig.clock.wait(rig.turn_seconds)
    pytest.fail("sacct never listed the array")


def test_a_submission_that_got_no_answer_is_found(rig: SlurmRig, make: Make, token: str) -> None:
    """Slurmctld hangs while sbatch asks, and carries the request out when it wakes up."""
    config = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True, check=True
    )
    pid_file = re.search(r"^SlurmctldPidFile\s*= (\S+)", config.stdout, re.MULTILINE)
    assert pid_file is not None
    controller = int(Path(pid_file[1]).read_text("utf-8"))
    os.kill(controller, signal.SIGSTOP)
    try:
        with pytest.raises(BackendUnavailableError, match="timed out"):
            make().submit(spec(token))
    finally:
        os.kill(controller, signal.SIGCONT)
    job = None
    for _ in range(rig.turns):
        job = make().find(token)
        if job is not None:
            break
        rig.clock.wait(rig.turn_seconds)
    assert job is not None

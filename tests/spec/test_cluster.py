"""A study goes on elsewhere only when nothing of it is left where it ran before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurmtune.backends.base import ArraySpec
from slurmtune.backends.local import LocalBackend
from slurmtune.core.events import ArrayIntended, ArraySubmitted
from slurmtune.core.fleet import ArrayState
from slurmtune.core.request import ResourceRequest
from slurmtune.core.trial import Outcome
from slurmtune.errors import StudyStateError
from slurmtune.spec.cluster import cancel_slots
from slurmtune.spec.launching import LaunchOptions, Session, prepare, read_study
from slurmtune.spec.load import load_spec
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.fake_slurm import FakeSlurm

SPEC = """\
[study]
name = "moves"
[run]
command = ["true"]
args = "none"
[objective]
metric = "loss"
goal = "minimize"
[space]
q = { int = [1, 1000] }
[search]
trials = 2
parallel = 2
"""
ON_SLURM = LaunchOptions()
HERE = LaunchOptions(local_slots=2)

Launch = Callable[[LaunchOptions], Session]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    """A Slurm where everything waits."""
    slurm = FakeSlurm(str(tmp_path / "slurm"), slots=0)
    monkeypatch.setenv("PATH", slurm.path)
    yield slurm
    slurm.stop()


@pytest.fixture
def launch(tmp_path: Path, slurm: FakeSlurm) -> Launch:
    """``launch(OPTIONS)``: a driver of the study that has done its first tick and died."""
    del slurm
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)

    def launch_one(options: LaunchOptions) -> Session:
        session = prepare(load_spec(str(path)), options)
        session.open()
        backend = session.driver.backend
        if isinstance(backend, LocalBackend):
            backend._most_running = 0  # all slots wait
        session.driver.tick()
        session.driver.files.beat(session.clock.now(), released=True)
        session.close()
        return session

    return launch_one


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    return StudyLayout(str(tmp_path / "runs" / "moves"))


def epochs(layout: StudyLayout) -> int:
    return sum(name.endswith(".claim") for name in os.listdir(layout.journal))


def test_jobs_on_slurm_forbid_a_launch_on_this_machine(
    launch: Launch, layout: StudyLayout
) -> None:
    launch(ON_SLURM)
    with pytest.raises(StudyStateError, match=r"moves still has jobs on Slurm; .* stop moves"):
        launch(HERE)
    assert epochs(layout) == 1


def test_slots_on_this_machine_forbid_a_launch_on_slurm(
    launch: Launch, layout: StudyLayout
) -> None:
    launch(HERE)
    with pytest.raises(StudyStateError, match=r"still has slots on this machine; .* stop moves"):
        launch(ON_SLURM)
    assert epochs(layout) == 1


@pytest.mark.parametrize(("before", "after"), [(ON_SLURM, HERE), (HERE, ON_SLURM)])
def test_after_a_stop_the_study_goes_on_elsewhere(
    launch: Launch, layout: StudyLayout, before: LaunchOptions, after: LaunchOptions
) -> None:
    launch(before)
    (old,) = read_study(layout).fleet.live_arrays
    cancel_slots(layout, read_study(layout))
    launch(after)
    assert old not in (live := read_study(layout).fleet.live_arrays)
    assert [array.live for array in live.values()] == [2]


def test_jobs_of_which_slurm_says_nothing_count_as_live(launch: Launch, slurm: FakeSlurm) -> None:
    launch(ON_SLURM)
    slurm.fail("squeue", "Unable to contact slurm controller", times=9)
    with pytest.raises(StudyStateError, match="still has jobs on Slurm"):
        launch(HERE)


def test_an_unrecorded_submission_to_slurm_is_found(
    launch: Launch, layout: StudyLayout, slurm: FakeSlurm
) -> None:
    slurm.fail("sbatch", "Socket timed out on send/recv operation", after=True)
    launch(ON_SLURM)
    (array,) = read_study(layout).fleet.live_arrays.values()
    assert array.state is ArrayState.INTENDED
    with pytest.raises(StudyStateError, match="still has jobs on Slurm"):
        launch(HERE)


def test_a_stop_ends_slots_of_both_backends(
    launch: Launch, layout: StudyLayout, slurm: FakeSlurm
) -> None:
    launch(ON_SLURM)
    study = read_study(layout)
    array = ArraySpec(
        token="st-0-9-9", request=ResourceRequest(name="c0"), size=1, manifest_sha256="0" * 64
    )
    job = LocalBackend(layout, slots=0).submit(array)
    study.handle(ArrayIntended(time=0.0, token=array.token, resource_class="c0", size=1))
    study.handle(ArraySubmitted(time=0.0, token=array.token, job=job))

    cancel_slots(layout, study)

    later = LocalBackend(layout, slots=0)
    later.adopt(array, job)
    assert [status.outcome for status in later.poll()] == [Outcome.CANCELLED]
    assert {task["state"] for task in slurm.tasks} == {"CANCELLED"}

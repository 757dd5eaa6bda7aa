"""scripts/slurm-cluster gives a Slurm that behaves as the rest of these tests take for granted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.slurm_cluster.conftest import Cluster

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm-cluster"


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def processes(directory: Path) -> dict[str, str]:
    return {file.stem: file.read_text().strip() for file in (directory / "run").glob("*.pid")}


def has_ended(process: int) -> bool:
    """A zombie has ended too: in some containers nobody collects it."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def own_directory() -> Iterator[Path]:
    """A folder for a cluster of the test's own, which is stopped after it."""
    base = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    directory = base / "own"
    yield directory
    if (directory / "options").exists():
        script("stop", str(directory))
    shutil.rmtree(base)


def test_starting_twice_starts_nothing_new(slurm_cluster: Cluster) -> None:
    before = processes(slurm_cluster.dir)

    again = script("start", str(slurm_cluster.dir))

    assert again.returncode == 0
    assert f"export SLURM_CONF={slurm_cluster.conf}\n" == again.stdout
    assert before == processes(slurm_cluster.dir)


def test_env_prints_what_start_prints(slurm_cluster: Cluster) -> None:
    assert (
        f"export SLURM_CONF={slurm_cluster.conf}\n" == script("env", str(slurm_cluster.dir)).stdout
    )


def test_status_of_a_healthy_cluster(slurm_cluster: Cluster) -> None:
    status = script("status", str(slurm_cluster.dir))

    assert status.returncode == 0
    assert "DOWN" not in status.stdout
    for daemon in ("munged", "slurmctld", "node1", "node4"):
        assert f"{daemon} " in status.stdout


def test_array_tasks_get_gpus_of_their_own(slurm_cluster: Cluster, tmp_path: Path) -> None:
    done = slurm_cluster.run(
        [
            "sbatch",
            "--wait",
            "--array=0-3",
            "--gres=gpu:1",
            "--nodelist=node1",
            f"--output={tmp_path}/%a",
            '--wrap=echo "$SLURM_ARRAY_TASK_ID $CUDA_VISIBLE_DEVICES"; sleep 1',
        ]
    )

    assert done.returncode == 0, done.stderr
    seen = [(tmp_path / str(index)).read_text().split() for index in range(4)]
    assert [index for index, _ in seen] == ["0", "1", "2", "3"]
    assert sorted(gpu for _, gpu in seen) == ["0", "1", "2", "3"]


def test_steps_run_on_several_nodes(slurm_cluster: Cluster) -> None:
    names = slurm_cluster.output(["srun", "--nodes=2", "bash", "-c", "echo $SLURMD_NODENAME"])

    assert sorted(names.split()) == ["node1", "node2"]


def test_a_job_in_the_high_partition_requeues_one_in_the_other(slurm_cluster: Cluster) -> None:
    low = slurm_cluster.output(
        ["sbatch", "--parsable", "--exclusive", "--nodes=4", "--wrap=sleep 60"]
    )
    slurm_cluster.wait_until(lambda: state(slurm_cluster, low) == "RUNNING", what="the job runs")

    high = slurm_cluster.output(["sbatch", "--parsable", "--partition=high", "--wrap=sleep 60"])

    slurm_cluster.wait_until(lambda: state(slurm_cluster, high) == "RUNNING", what="it preempts")
    slurm_cluster.wait_until(lambda: state(slurm_cluster, low) == "PENDING", what="it is requeued")
    assert "Restarts=1" in slurm_cluster.output(["scontrol", "show", "job", low])


def state(cluster: Cluster, job: str) -> str:
    return cluster.output(["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}"])


def test_jobs_of_one_test_do_not_reach_the_next(slurm_cluster: Cluster) -> None:
    slurm_cluster.output(["sbatch", "--parsable", "--array=0-40", "--wrap=sleep 60"])

    slurm_cluster.cancel_all()

    assert slurm_cluster.jobs() == []


def test_a_controller_that_left_is_started_again_and_knows_its_jobs(
    slurm_cluster: Cluster,
) -> None:
    job = slurm_cluster.output(["sbatch", "--parsable", "--hold", "--wrap=true"])
    controller = int(processes(slurm_cluster.dir)["slurmctld"])
    # Killed outright it would lose what it has not saved yet, as a real one does.
    os.kill(controller, signal.SIGTERM)
    slurm_cluster.wait_until(lambda: has_ended(controller), what="the controller has ended")
    status = script("status", str(slurm_cluster.dir))

    assert script("start", str(slurm_cluster.dir)).returncode == 0

    assert status.returncode == 1
    assert "slurmctld  DOWN" in status.stdout
    assert [job] == slurm_cluster.jobs()


@pytest.mark.cluster(db=True, nodes=2)
def test_sacct_tells_how_jobs_ended(slurm_cluster: Cluster) -> None:
    job = slurm_cluster.output(["sbatch", "--parsable", "--array=0-1", "--wrap=exit 3"])

    def rows() -> list[str]:
        return slurm_cluster.output(
            ["sacct", "-X", "-n", "-P", "-j", job, "-o", "JobID,State,ExitCode"]
        ).splitlines()

    slurm_cluster.wait_until(
        lambda: [f"{job}_0|FAILED|3:0", f"{job}_1|FAILED|3:0"] == sorted(rows()),
        what="sacct lists both tasks as failed",
    )


def test_two_clusters_share_a_machine_and_stopping_one_ends_its_jobs_only(
    slurm_cluster: Cluster, own_directory: Path
) -> None:
    kept = slurm_cluster.output(["sbatch", "--parsable", "--wrap=sleep 60"])
    assert script("start", str(own_directory), "--nodes", "1", "--gpus", "0").returncode == 0
    port = (own_directory / "port").read_text()
    mark = own_directory.parent / "pid"
    slurm_cluster.run(
        ["sbatch", f"--wrap=setsid sleep 600 & echo $! > {mark}; wait"],
        environment={"SLURM_CONF": str(own_directory / "etc" / "slurm.conf")},
        cwd=own_directory.parent,
    )
    slurm_cluster.wait_until(lambda: mark.exists() and mark.read_text().strip(), what="it runs")
    daemons = processes(own_directory)

    assert script("stop", str(own_directory)).returncode == 0

    assert port != (slurm_cluster.dir / "port").read_text()
    assert {"munged", "slurmctld", "node1"} == daemons.keys()
    for process in [*daemons.values(), mark.read_text()]:
        assert has_ended(int(process))
    assert script("status", str(own_directory)).returncode == 1
    assert [kept] == slurm_cluster.jobs()


def test_options_are_kept_until_they_are_reset(own_directory: Path) -> None:
    own = str(own_directory)
    script("start", own, "--nodes", "2", "--gpus", "8", "--set", "KillWait=7", "--array-max", "50")
    script("start", own, "--nodes", "1")
    conf = (own_directory / "etc" / "slurm.conf").read_text()
    script("start", own, "--reset")

    assert "KillWait=7\n" in conf
    assert "KillWait=2\n" not in conf
    assert "MaxArraySize=50\n" in conf
    assert "NodeName=node[1-1] " in conf
    assert "Gres=gpu:8 " in conf
    assert "KillWait=2\n" in (own_directory / "etc" / "slurm.conf").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodes", "many"], "--nodes needs a whole number, not 'many'"),
        (["--gpus", "9"], "--gpus may be at most 8"),
        (["--enforce"], "--enforce needs --db"),
        (["--set", "nonsense"], "--set needs KEY=VALUE, not 'nonsense'"),
        (["--speed"], "unknown option '--speed'"),
    ],
)
def test_wrong_options_start_nothing(
    own_directory: Path, arguments: list[str], message: str
) -> None:
    refused = script("start", str(own_directory), *arguments)

    assert refused.returncode == 1
    assert message in refused.stderr
    assert processes(own_directory) == {}


def test_stopping_what_never_was_says_so(tmp_path: Path) -> None:
    refused = script("stop", str(tmp_path))

    assert refused.returncode == 1
    assert f"there is no cluster in {tmp_path}" in refused.stderr

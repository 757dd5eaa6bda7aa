"""The fake Slurm behaves like the real one where slurmtune looks."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.testing.fake_slurm import FakeSlurm

pytestmark = pytest.mark.slow

SLEEP = "while true; do sleep 0.02; done"


class Cluster:
    """A fake Slurm and the way to speak with it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.slurm = FakeSlurm(str(folder / "slurm"), slots=2)
        monkeypatch.setenv("PATH", self.slurm.path)

    def run(self, *argv: str) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
        return done.stdout + done.stderr

    def submit(self, *options: str, wrap: str = "true") -> str:
        output = f"--output={self.folder}/%A_%a.log"
        return self.run("sbatch", output, *options, f"--wrap={wrap}").split()[-1]

    def queue(self, form: str = "%i|%T|%r") -> list[str]:
        return self.run("squeue", "--me", "-h", "-r", "-t", "all", "-o", form).split("\n")[:-1]

    def wait(self, happened: Callable[[], Any]) -> None:
        end = time.monotonic() + 10
        while not happened():
            assert time.monotonic() < end, self.slurm.tasks
            time.sleep(0.02)

    def wait_for(self, *rows: str) -> None:
        self.wait(lambda: self.queue() == list(rows))

    def log(self, job: str, index: int = 0) -> str:
        path = self.folder / f"{job}_{index}.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(tmp_path, monkeypatch)
    yield made
    made.slurm.stop()


def test_array_tasks_run_with_their_variables(cluster: Cluster) -> None:
    job = cluster.submit("--array=0-1", wrap="echo $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID")
    cluster.wait_for(f"{job}_0|COMPLETED|None", f"{job}_1|COMPLETED|None")
    assert [cluster.log(job, index) for index in (0, 1)] == [f"{job} 0\n", f"{job} 1\n"]


def test_more_tasks_than_slots_wait_and_run_by_themselves(cluster: Cluster) -> None:
    job = cluster.submit("--array=0-4", wrap="sleep 0.05")
    assert f"{job}_4|PENDING|Resources" in cluster.queue()
    cluster.wait(lambda: all(task["state"] == "COMPLETED" for task in cluster.slurm.tasks))


def test_the_throttle_of_an_array_holds(cluster: Cluster) -> None:
    job = cluster.submit("--array=0-1%1", wrap=SLEEP)
    cluster.wait_for(f"{job}_0|RUNNING|None", f"{job}_1|PENDING|JobArrayTaskLimit")


def test_a_failed_task_tells_its_exit_code(cluster: Cluster) -> None:
    job = cluster.submit("--array=0", wrap="exit 3")
    cluster.wait_for(f"{job}_0|FAILED|NonZeroExitCode")
    answer = cluster.run("sacct", "-X", "-n", "-P", "-j", job, "-o", "JobID,State,ExitCode")
    assert answer == f"{job}_0|FAILED|3:0\n"


def test_a_log_that_cannot_be_written_fails_the_task(cluster: Cluster) -> None:
    job = cluster.submit("--array=0", "--output=/no/such/folder/x.log")
    cluster.wait_for(f"{job}_0|FAILED|JobLaunchFailure")


def test_scancel_gives_a_task_time_to_save(cluster: Cluster) -> None:
    job = cluster.submit("--array=0", wrap=f"trap 'echo saved; exit 85' TERM; echo on; {SLEEP}")
    cluster.wait(lambda: cluster.log(job) == "on\n")
    cluster.run("scancel", f"{job}_[0]")
    cluster.wait_for(f"{job}_0|CANCELLED|None")
    assert "saved" in cluster.log(job)


def test_a_task_that_ignores_sigterm_is_killed(cluster: Cluster) -> None:
    cluster.slurm.set(kill_wait=0.1)
    job = cluster.submit("--array=0", wrap=f"trap '' TERM; echo on; {SLEEP}")
    cluster.wait(lambda: cluster.log(job) == "on\n")
    cluster.run("scancel", job)
    cluster.wait_for(f"{job}_0|CANCELLED|None")


def test_an_element_that_is_cancelled_while_it_waits_leaves_no_trace(cluster: Cluster) -> None:
    cluster.slurm.set(slots=0)
    job = cluster.submit("--array=0-1")
    cluster.run("scancel", f"{job}_1")
    assert cluster.queue() == [f"{job}_0|PENDING|Resources"]


def test_a_preempted_task_is_requeued_and_counts_its_restarts(cluster: Cluster) -> None:
    text = f"echo restart=$SLURM_RESTART_COUNT; {SLEEP}"
    job = cluster.submit("--array=0", "--requeue", wrap=text)
    cluster.wait(lambda: cluster.log(job) == "restart=\n")
    cluster.slurm.preempt(job, 0)
    cluster.wait_for(f"{job}_0|PENDING|BeginTime")
    cluster.wait(lambda: cluster.log(job) == "restart=\nrestart=1\n")


def test_a_preempted_task_without_requeue_ends(cluster: Cluster) -> None:
    job = cluster.submit("--array=0", "--no-requeue", wrap=f"echo on; {SLEEP}")
    cluster.wait(lambda: cluster.log(job) == "on\n")
    cluster.slurm.preempt(job, 0)
    cluster.wait_for(f"{job}_0|PREEMPTED|None")


def test_the_time_limit_comes_after_the_warning(cluster: Cluster) -> None:
    cluster.slurm.set(seconds_per_minute=0.6)
    text = f"trap 'echo warned' USR1; {SLEEP}"
    job = cluster.submit("--array=0", "--time=1", "--signal=B:USR1@30", wrap=text)
    cluster.wait_for(f"{job}_0|TIMEOUT|TimeLimit")
    assert "warned" in cluster.log(job)


def test_a_node_that_fails_gives_no_warning(cluster: Cluster) -> None:
    text = f"trap 'echo warned' TERM; echo on; {SLEEP}"
    job = cluster.submit("--array=0", "--no-requeue", wrap=text)
    cluster.wait(lambda: cluster.log(job) == "on\n")
    cluster.slurm.fail_node(job, 0)
    cluster.wait_for(f"{job}_0|NODE_FAIL|NodeDown")
    assert cluster.log(job) == "on\n"


def test_memory_that_runs_out_is_told(cluster: Cluster) -> None:
    job = cluster.submit("--array=0", wrap=SLEEP)
    cluster.wait_for(f"{job}_0|RUNNING|None")
    cluster.wait(lambda: cluster.slurm.tasks[0]["runner"])
    cluster.slurm.run_out_of_memory(job, 0)
    cluster.wait_for(f"{job}_0|OUT_OF_MEMORY|OutOfMemory")


def test_a_task_can_vanish(cluster: Cluster) -> None:
    job = cluster.submit("--array=0-1", wrap=SLEEP)
    cluster.slurm.vanish(job, 0)
    assert cluster.queue() == [f"{job}_1|RUNNING|None"]


def test_a_held_task_waits_until_it_is_released(cluster: Cluster) -> None:
    job = cluster.submit("--array=0", "--hold", wrap="true")
    assert cluster.queue() == [f"{job}_0|PENDING|JobHeldUser"]
    cluster.slurm.release(job)
    cluster.wait_for(f"{job}_0|COMPLETED|None")


def test_squeue_forgets_and_sacct_remembers(cluster: Cluster) -> None:
    cluster.slurm.set(min_job_age=0.0)
    job = cluster.submit("--array=0")
    cluster.wait_for()
    assert cluster.run("sacct", "-j", job, "-o", "JobID,State") == f"{job}_0|COMPLETED\n"


def test_accounting_can_be_off(cluster: Cluster) -> None:
    cluster.slurm.set(accounting=False)
    assert cluster.run("sacct", "-o", "JobID") == "Slurm accounting storage is disabled\n"


def test_a_command_can_fail_before_or_after_its_work(cluster: Cluster) -> None:
    cluster.slurm.fail("sbatch", "no")
    cluster.slurm.fail("sbatch", "lost", after=True)
    assert cluster.run("sbatch", "--output=/dev/null", "--wrap=true") == "no\n"
    assert cluster.slurm.tasks == []
    assert (
        cluster.run("sbatch", "--output=/dev/null", "--wrap=true")
        == "Submitted batch job 1\nlost\n"
    )
    assert len(cluster.slurm.tasks) == 1


def test_a_setting_that_does_not_exist_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="no setting"):
        cluster.slurm.set(slot=1)


def test_nothing_runs_after_stop(cluster: Cluster) -> None:
    job = cluster.submit("--array=0", wrap=f"echo on; setsid bash -c 'echo $$; {SLEEP}'")
    cluster.wait(lambda: cluster.log(job).count("\n") == 2)
    pid = cluster.log(job).split()[-1]
    cluster.slurm.stop()
    cluster.wait(lambda: not Path(f"/proc/{pid}/cmdline").exists())

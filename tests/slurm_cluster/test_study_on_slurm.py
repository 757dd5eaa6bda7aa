"""Whole studies on a real Slurm: real drivers, real arrays, real programs, and what goes wrong on clusters.

What the program did is read from the file that it wrote itself (`slurmtune.testing.live_study`).
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from slurmtune.core.events import ArraySubmitted
from slurmtune.core.fleet import slot_key
from slurmtune.core.trial import AttemptState, Outcome
from slurmtune.testing.live_study import COMMAND_LINE, FAST_ON_SLURM, DriverProcess, LiveStudy

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

MakeStudy = Callable[..., LiveStudy]

HEAD = """
[run]
command = ["sh", "train.sh", "{unit}"]
args = "none"
[objective]
metric = "loss"
goal = "minimize"
[space]
q = {{ int = [1, 1000000] }}
"""
SPEC = (
    HEAD
    + """
[search]
scheduler = "{scheduler}"
trials = {trials}
parallel = {parallel}
[fidelity]
resource = "epoch"
max = {top}
[slurm]
time = "{time}"
linger = "2s"
{more}
"""
)
GPU = "gpus_per_node = 1"
PATIENCE_SECONDS = 60.0


def spec(
    *,
    unit: str = "",
    scheduler: str = "sha",
    trials: int = 9,
    parallel: int = 4,
    top: int = 9,
    limit: str = "10:00",
    more: str = "cpus_per_task = 1",
) -> str:
    """A spec whose programs take ``unit`` seconds for an epoch."""
    return SPEC.format(
        unit=unit,
        scheduler=scheduler,
        trials=trials,
        parallel=parallel,
        top=top,
        time=limit,
        more=more,
    )


@pytest.fixture
def make_study(slurm_cluster: Any, tmp_path: Path) -> Iterator[MakeStudy]:
    """``make_study(SPEC)``: a study on the cluster, in a folder of its own."""
    made: list[LiveStudy] = []

    def make(text: str, **arguments: Any) -> LiveStudy:
        given = {"driver": FAST_ON_SLURM, **arguments}
        live = LiveStudy(tmp_path / f"study{len(made)}", text, **given)
        made.append(live)
        return live

    yield make
    for live in made:
        live.close()


def running(live: LiveStudy) -> list[str]:
    """Job ids, ``4711_3``, of the slots in which an attempt runs, as the journal tells."""
    attempts = live.study().live.values() if live.has_begun() else ()
    return sorted(a.job for a in attempts if a.state is AttemptState.RUNNING and a.job)


def submitted(live: LiveStudy) -> list[str]:
    """Job ids of all arrays that were submitted, as the journal tells."""
    events = live.events() if live.has_begun() else ()
    return [event.job for event in events if isinstance(event, ArraySubmitted)]


def slots_submitted(live: LiveStudy) -> int:
    return sum(array.size for array in live.study().fleet.arrays.values())


def assert_undisturbed(live: LiveStudy, trials: int = 9) -> None:
    """Every config was drawn once, every attempt ran once and succeeded."""
    assert [trial for trial, _ in live.proposals()] == list(range(trials))
    assert set(live.outcomes().values()) == {Outcome.SUCCEEDED}
    assert sorted(start.attempt for start in live.starts) == sorted(live.outcomes())


def assert_repeated(live: LiveStudy, outcome: Outcome) -> str:
    """One attempt ended so, and a second one of the same rung succeeded; return its name."""
    ended = [name for name, how in live.outcomes().items() if how is outcome]
    assert len(ended) == 1, live.outcomes()
    again = ended[0].replace(".a1", ".a2")
    assert live.outcomes()[again] is Outcome.SUCCEEDED
    assert live.study().finished == "done"
    return again


# ---------------------------------------------------------------- a study that nobody disturbs


def test_asha_through_arrays(make_study: MakeStudy) -> None:
    """81 trials, 1-3-9-27 epochs: few arrays, one squeue per poll, checkpoints cross slots, GPUs are there."""
    live = make_study(spec(unit="0.1", scheduler="asha", trials=81, parallel=16, top=27, more=GPU))
    began = time.monotonic()
    done = live.run(seconds=120)
    seconds = time.monotonic() - began
    assert done.code == 0, done.text
    assert_undisturbed(live, trials=81)
    queries = live.overview()["queries"]
    assert queries["sbatch"] < 20
    # Each poll is one second after the one before; after a submission it may come half a second earlier.
    assert queries["squeue"] <= seconds + queries["sbatch"]
    assert queries.get("sacct", 0) <= 1
    assert {start.gpus for start in live.starts} <= {"0", "1", "2", "3"}
    rungs = {(start.attempt[7:9], start.start, start.loaded) for start in live.starts}
    assert rungs == {("r0", "0", "-"), ("r1", "1", "1"), ("r2", "3", "3"), ("r3", "9", "9")}
    trials = live.study().trials
    moved = [t for t in trials if len({slot_key(a.slot) for a in t.attempts}) > 1]
    assert moved, "no trial went on in another array task than it began in"


def test_a_slot_that_is_not_reused_serves_one_attempt(make_study: MakeStudy) -> None:
    live = make_study(spec(trials=3, top=3, more="reuse = false"))
    done = live.run()
    assert done.code == 0, done.text
    assert_undisturbed(live, trials=3)
    slots = [a.slot for t in live.study().trials for a in t.attempts]
    assert len(slots) == len(set(slots)) == 4


def test_the_command_line_runs_a_study_on_slurm(make_study: MakeStudy) -> None:
    live = make_study(spec(trials=4, top=3, more=GPU))
    done = live.call("launch", "spec.toml", "--yes")
    assert done.code == 0, done.text
    assert_undisturbed(live, trials=4)
    assert "done: 4 of 4 trials, 4 good" in done.text


def test_slurm_and_this_machine_give_the_same_configs(make_study: MakeStudy) -> None:
    on_slurm, here = make_study(spec()), make_study(spec())
    driver = on_slurm.launch()
    assert here.call("launch", "spec.toml", "--local=2").code == 0
    assert driver.wait().code == 0
    assert on_slurm.proposals() == here.proposals()
    assert on_slurm.results() == here.results()


@pytest.mark.cluster(db=True)
def test_a_study_on_a_cluster_with_accounting(make_study: MakeStudy) -> None:
    live = make_study(spec(more=GPU))
    done = live.run()
    assert done.code == 0, done.text
    assert_undisturbed(live)
    assert live.overview()["queries"]["sbatch"] <= 3


# ---------------------------------------------------------------- drivers that die


def test_a_new_driver_adopts_what_runs(make_study: MakeStudy) -> None:
    """Killed while all is under way: attempts run once each, and no array is submitted for lost ones."""
    live = make_study(spec(unit="0.3"))
    driver = running_driver(live)
    driver.kill()
    before = submitted(live)
    assert before
    live.go_on()
    assert live.run().code == 0
    assert_undisturbed(live)
    assert submitted(live)[: len(before)] == before
    assert slots_submitted(live) <= 4 + 4, "slots were submitted for those that still ran"


def test_what_is_queued_or_runs_goes_on_without_a_driver(make_study: MakeStudy) -> None:
    live = make_study(spec(unit="0.5"))
    driver = live.launch()
    live.wait_until(partial(submitted, live), what="a submission")
    driver.kill()
    live.wait_until(lambda: len(live.starts) == 4, what="everything on offer runs")
    assert live.run().code == 0
    assert_undisturbed(live)


def wrap_sbatch(live: LiveStudy, action: str) -> None:
    """Put an sbatch before Slurm's on the drivers' PATH; the first time it submits, then does ``action``."""
    folder = live.folder / "bin"
    folder.mkdir()
    wrapper = folder / "sbatch"
    wrapper.write_text(f"""#!/bin/sh
if mkdir {folder}/once 2> /dev/null; then
  said=$({shutil.which("sbatch")} "$@")
  echo "$said" > {folder}/said
  {action}
fi
exec {shutil.which("sbatch")} "$@"
""")
    wrapper.chmod(0o755)
    live.environment["PATH"] = f"{folder}:{live.environment['PATH']}"


def job_said(live: LiveStudy) -> str:
    """Id of the job that the wrapped sbatch submitted first."""
    return (live.folder / "bin" / "said").read_text().split()[-1]


def test_an_array_whose_id_no_driver_learnt_is_found_by_its_name(make_study: MakeStudy) -> None:
    """The driver is killed after sbatch submitted and before it could write the id down."""
    live = make_study(spec())
    # Above us: timeout, and above that the driver.
    wrap_sbatch(live, "kill -9 $(ps -o ppid= -p $PPID); exit 0")
    live.hold()
    assert live.launch().wait().code == -signal.SIGKILL
    assert submitted(live) == []
    driver = live.launch()
    live.wait_until(partial(submitted, live), what="the array is found")
    live.go_on()
    assert driver.wait().code == 0
    assert submitted(live)[0] == job_said(live)
    assert_undisturbed(live)


def test_an_array_is_adopted_when_sbatch_timed_out_after_it_submitted(
    make_study: MakeStudy,
) -> None:
    live = make_study(spec())
    complaint = (
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    )
    wrap_sbatch(live, f"echo '{complaint}' >&2; exit 1")
    live.hold()
    driver = live.launch()
    live.wait_until(partial(submitted, live), what="the array is found")
    live.go_on()
    done = driver.wait()
    assert done.code == 0, done.text
    assert "trying again" in done.text
    assert submitted(live)[0] == job_said(live)
    assert_undisturbed(live)


# ---------------------------------------------------------------- slots that are taken away


def running_driver(live: LiveStudy, count: int = 2) -> DriverProcess:
    """A driver, returned when it knows that so many attempts run; they wait for ``live.go_on()``."""
    live.hold()
    driver = live.launch()
    live.wait_until(
        lambda: len(running(live)) >= count, what=f"the driver knows of {count} attempts"
    )
    return driver


def go_on_after_preemption(live: LiveStudy) -> None:
    live.wait_until(
        lambda: Outcome.PREEMPTED in live.outcomes().values(),
        what="the driver knows that one left",
    )
    live.go_on()


def test_an_attempt_whose_slot_is_cancelled_is_repeated(
    make_study: MakeStudy, slurm_cluster: Any
) -> None:
    live = make_study(spec(scheduler="none", trials=3, top=3, parallel=2))
    driver = running_driver(live)
    slurm_cluster.output(["scancel", running(live)[0]])
    go_on_after_preemption(live)
    assert driver.wait(PATIENCE_SECONDS).code == 0
    again = assert_repeated(live, Outcome.PREEMPTED)
    first, second = (live.study().attempt(name) for name in (again.replace("a2", "a1"), again))
    assert slot_key(first.slot) != slot_key(second.slot)


def test_an_attempt_whose_slot_is_requeued_is_repeated(
    make_study: MakeStudy, slurm_cluster: Any
) -> None:
    live = make_study(spec(scheduler="none", trials=3, top=3, parallel=2))
    driver = running_driver(live)
    slurm_cluster.output(["scontrol", "requeue", running(live)[0]])
    go_on_after_preemption(live)
    assert driver.wait(PATIENCE_SECONDS).code == 0
    assert_repeated(live, Outcome.PREEMPTED)


@pytest.mark.cluster(nodes=1, cpus=4, gpus=0)
def test_an_attempt_whose_slot_is_preempted_is_repeated(
    make_study: MakeStudy, slurm_cluster: Any
) -> None:
    live = make_study(spec(scheduler="none", trials=3, top=3, parallel=2))
    driver = running_driver(live)
    # Two CPUs are free: one of the two slots has to make room.
    slurm_cluster.output(["sbatch", "--partition=high", "--cpus-per-task=3", "--wrap=sleep 60"])
    go_on_after_preemption(live)
    assert driver.wait(PATIENCE_SECONDS).code == 0
    assert_repeated(live, Outcome.PREEMPTED)


SAVING = """\
. "$SLURMTUNE_SH"
loaded=-
[ -z "$SLURMTUNE_CHECKPOINT" ] || loaded=$(cat "$SLURMTUNE_CHECKPOINT/epoch")
echo "$SLURMTUNE_ATTEMPT $SLURMTUNE_START $loaded -" >> "$STARTS"
save() { echo "$e" > "$SLURMTUNE_SAVE/epoch"; touch "$SLURMTUNE_SAVE/done"; exit 0; }
trap save TERM USR1
e=$SLURMTUNE_START
while [ "$e" -lt "$SLURMTUNE_END" ]; do
  sleep 1
  e=$((e + 1))
  echo "{\\"epoch\\": $e, \\"loss\\": $((q / e))}" >> "$SLURMTUNE_METRICS"
done
save
"""


def test_a_training_longer_than_the_time_limit_needs_several_slots(
    make_study: MakeStudy,
) -> None:
    """Slurm warns before the limit, the program saves, and another slot goes on from there."""
    live = make_study(
        spec(scheduler="none", trials=1, parallel=1, top=50, limit="1:00"),
        programs={"train.sh": SAVING},
    )
    done = live.run(seconds=150)
    assert done.code == 0, done.text
    *cut, last = live.study().trials[0].attempts
    assert cut, "the program was never interrupted"
    assert {attempt.outcome for attempt in cut} == {Outcome.TIMEOUT}
    assert (last.outcome, last.resource) == (Outcome.SUCCEEDED, 50)
    assert [start.start for start in live.starts][1:] == [str(a.saved) for a in cut]
    assert [start.loaded for start in live.starts][1:] == [str(a.saved) for a in cut]
    assert len({slot_key(attempt.slot) for attempt in (*cut, last)}) == len(cut) + 1


# ---------------------------------------------------------------- what cannot work, and what is no longer wanted


def test_an_environment_that_is_broken_on_the_nodes_ends_the_driver(
    make_study: MakeStudy,
) -> None:
    """Not one attempt is spent on slots that die at their first line."""
    live = make_study(f'{spec()}\n[env]\nsetup = [". /no/such/place/activate"]\n')
    done = live.run()
    assert done.code == 3
    assert "ended before they could claim anything" in " ".join(done.text.split())
    assert not live.starts
    assert slots_submitted(live) <= 8


def test_what_slurm_refuses_is_told_before_anything_is_written(make_study: MakeStudy) -> None:
    live = make_study(spec(more='partition = "gpuu"'))
    done = live.call("launch", "spec.toml", "--yes")
    assert done.code == 3
    assert "no partition 'gpuu'; did you mean 'gpu'?" in done.text
    assert not live.has_begun()


def test_a_driver_that_is_interrupted_leaves_its_jobs(
    make_study: MakeStudy, slurm_cluster: Any
) -> None:
    live = make_study(spec(), driver=COMMAND_LINE)
    live.hold()
    driver = live.launch("--yes")
    live.wait_until(lambda: len(live.starts) >= 2, what="two programs run")
    driver.signal(signal.SIGTERM)
    done = driver.wait()
    assert done.code == 128 + signal.SIGTERM
    assert "stay in the queue and will finish by themselves" in done.text
    assert slurm_cluster.jobs()
    live.go_on()
    assert live.run("--yes").code == 0
    assert_undisturbed(live)


def test_a_second_interrupt_empties_the_queue(make_study: MakeStudy, slurm_cluster: Any) -> None:
    live = make_study(spec(unit="30"), driver=COMMAND_LINE)
    driver = live.launch("--yes")
    live.wait_until(lambda: len(live.starts) >= 2, what="two programs run")
    driver.signal(signal.SIGINT)
    time.sleep(0.2)
    driver.signal(signal.SIGINT)
    assert driver.wait().code == 128 + signal.SIGINT
    slurm_cluster.wait_until(lambda: not slurm_cluster.jobs(), what="the queue is empty")


def test_stop_leaves_no_job_behind(make_study: MakeStudy, slurm_cluster: Any) -> None:
    live = make_study(spec(unit="30"))
    driver = live.launch()
    live.wait_until(lambda: len(live.starts) >= 2, what="two programs run")
    assert live.call("stop", "live", "--yes").code == 0
    slurm_cluster.wait_until(lambda: not slurm_cluster.jobs(), what="the queue is empty")
    assert driver.wait().text.splitlines()[-1] == "stopped"


# ---------------------------------------------------------------- why it waits

# Three of four CPUs are taken: what asks for two waits for resources.
WIDE = "cpus_per_task = 2"
REASONS = {
    "Resources": (WIDE, "no free node of this size"),
    "Priority": (WIDE, "other jobs are ahead"),
    "JobArrayTaskLimit": ("array_limit = 1", "your own array_limit"),
    "JobHeldUser": ("extra = { hold = true }", "held by you: free it with `scontrol release`"),
    "BeginTime": ('extra = { begin = "now+2hours" }', "waits for its start time"),
    "Dependency": ("extra = { hold = true }", "waits for another job to end"),
}


def block(cluster: Any, *, cpus: int) -> str:
    """Return the id of a job that has so many CPUs for 20 minutes."""
    options = [f"--cpus-per-task={cpus}", "--time=20", "--wrap=sleep 600"]
    job: str = cluster.output(["sbatch", "--parsable", *options])
    state = ["squeue", "--noheader", "--format=%t", f"--jobs={job}"]
    cluster.wait_until(lambda: cluster.output(state) == "R", what="the blocking job runs")
    return job


def waits_for(live: LiveStudy, reason: str) -> bool:
    """Whether the driver published that slots wait for it."""
    return reason in {group["reason"] for group in live.overview().get("queue", ())}


@pytest.mark.cluster(nodes=1, cpus=4, gpus=0)
def test_status_tells_why_slots_wait(make_study: MakeStudy, slurm_cluster: Any) -> None:
    """In the words of the table, from a process of its own while the jobs are queued."""
    blocker = block(slurm_cluster, cpus=3)
    studies = {}
    for reason, (line, _) in REASONS.items():
        live = make_study(spec(unit="60", trials=3, parallel=3, top=3, more=line))
        live.launch()
        live.wait_until(partial(submitted, live), what="a job")
        studies[reason] = live
    (job,) = submitted(studies["Dependency"])
    slurm_cluster.output(["scontrol", "update", f"JobId={job}", f"Dependency=afterany:{blocker}"])
    slurm_cluster.output(["scontrol", "release", job])
    for reason, (_, words) in REASONS.items():
        live = studies[reason]
        live.wait_until(
            partial(waits_for, live, reason),
            what=f"slots wait for {reason}",
        )
        done = live.call("status", "live")
        assert done.code == 0
        assert f'wait for "{reason}": {words}' in " ".join(done.out.split())


@pytest.mark.cluster(nodes=1, cpus=4, gpus=0)
def test_status_tells_when_a_waiting_slot_should_start(
    make_study: MakeStudy, slurm_cluster: Any
) -> None:
    block(slurm_cluster, cpus=4)
    live = make_study(spec(trials=3, parallel=3, top=3))
    live.launch()
    live.wait_until(
        lambda: any(group["start"] for group in live.overview().get("queue", ())),
        what="Slurm tells when the first slot should start",
    )
    (group,) = live.overview()["queue"]
    (job,) = submitted(live)
    told = slurm_cluster.run(
        ["squeue", "--noheader", "--format=%S", f"--jobs={job}"],
        environment={"SLURM_TIME_FORMAT": "%s"},
    )
    assert group["start"] == pytest.approx(float(told.stdout.split()[0]), abs=120)
    assert group["start"] > time.time()
    said = " ".join(live.call("status", "live").out.split())
    assert "nothing has started yet: 3 jobs wait" in said
    assert "start about" in said

"""Real faults of a real Slurm under `slurmtune launch`: how the study ends, and what its user is told.

Most of the time here is waiting, for Slurm or for a slot that may yet be heard of. So each test has
a cluster of its own and all of them run at once, as soon as the first result is asked for.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from slurmtune.core.events import ArraySubmitted
from slurmtune.core.trial import AttemptState, Outcome
from slurmtune.testing.live_study import Done, DriverProcess, LiveStudy

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

CLUSTER_SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm-cluster"
PATIENCE_SECONDS = 240.0
"""For whatever must happen sometime: two cores run a dozen clusters."""
QUEUE_SECONDS = 60.0
AT_ONCE = 20
SAVED_SECONDS = 6.0
"""After that the controller has saved what it knows."""
REFUSED = 3
"""Exit code of a launch that Slurm, or what it does, ended."""


# ---------------------------------------------------------------- the stage


@dataclass(kw_only=True)
class Stage:
    """One fault's cluster and studies."""

    cluster: Any
    folder: Path
    studies: list[LiveStudy] = field(default_factory=list)

    def study(self, spec: str, programs: Mapping[str, str] | None = None) -> LiveStudy:
        """A study in a folder of its own, driven by the command line that users have."""
        name = f"study{len(self.studies)}"
        environment = {**self.cluster.environment(), "SLURMTUNE_POLL_SECONDS": "1"}
        files = {"train.sh": SLEEPY, **(programs or {})}
        live = LiveStudy(self.folder / name, spec, files, environment=environment)
        self.studies.append(live)
        return live

    def ask(self, *command: str) -> str:
        """What a command of Slurm printed; it must succeed."""
        said: str = self.cluster.output(command)
        return said

    def submit(self, *options: str) -> str:
        """The id of somebody's own job."""
        return self.ask("sbatch", "--parsable", "--output=/dev/null", *options)

    def queue(self, *options: str, what: str = "%i") -> list[str]:
        """One field of the rows of squeue."""
        return self.ask("squeue", "-h", "-r", "-o", what, *options).splitlines()

    def wait(self, condition: Callable[[], object], *, what: str) -> None:
        """Return when it holds; in less time than a requeued job waits, two minutes."""
        self.cluster.wait_until(condition, what=what, timeout_seconds=QUEUE_SECONDS)

    # ------------------------------------------------------------ what breaks

    def signal(self, daemon: str, number: signal.Signals) -> None:
        """Send a signal to a daemon of this cluster."""
        os.kill(int((self.cluster.dir / "run" / f"{daemon}.pid").read_text()), number)

    def mend(self) -> None:
        """Start the daemons that do not run."""
        subprocess.run(
            [str(CLUSTER_SCRIPT), "start", str(self.cluster.dir)],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def switch_off(self, node: str) -> None:
        """Let a node fail with all that runs there, without a word to anybody."""
        self.signal(node, signal.SIGSTOP)
        self.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        ours = {f"SLURMD_NODENAME={node}", f"SLURM_CONF={self.cluster.conf}"}
        # All stand still before one dies, or a slot would see its program die and tell of it.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    variables = Path("/proc", process, "environ").read_bytes().decode().split("\0")
                    if ours <= set(variables):
                        os.kill(int(process), number)
        self.signal(node, signal.SIGKILL)


Act = Callable[[Stage], None]
ACTS: dict[str, tuple[Act, dict[str, Any]]] = {}


def fault(**options: Any) -> Callable[[Act], Callable[[Any], None]]:
    """A test that has a cluster with these options to itself and runs beside the others."""

    def decorate(act: Act) -> Callable[[Any], None]:
        name = act.__name__
        # A name of its own makes it a cluster of its own.
        lines = [*options.pop("set", ()), *([] if "db" in options else [f"ClusterName={name}"])]
        ACTS[name] = act, {"gpus": 0, **options, "set": lines}

        def test(outcomes: Mapping[str, Future[None]]) -> None:
            outcomes[name].result(PATIENCE_SECONDS)

        test.__name__, test.__doc__ = name, act.__doc__
        return test

    return decorate


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest,
    make_cluster: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mapping[str, Future[None]]]:
    """The faults that were asked for, all under way."""
    wanted = [item.name for item in request.session.items if item.path == request.path]
    stages = {
        name: Stage(cluster=make_cluster(**options), folder=tmp_path_factory.mktemp(name))
        for name, (_, options) in ACTS.items()
        if name in wanted
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(ACTS[name][0], stage) for name, stage in stages.items()}
        pool.shutdown(cancel_futures=True)
    for stage in stages.values():
        for live in stage.studies:
            live.close()
        stage.mend()
        stage.cluster.cancel_all()


# ---------------------------------------------------------------- the studies

SPEC = """
[run]
command = {command}
args = "none"
[objective]
metric = "loss"
goal = "minimize"
[space]
q = {{ int = [1, 1000000] }}
[search]
trials = {trials}
parallel = {parallel}
[fidelity]
resource = "epoch"
max = {top}
[slurm]
linger = "{linger}"
{slurm}
"""
SLEEPY = """\
. "$SLURMTUNE_SH"
loaded=-
[ -z "$SLURMTUNE_CHECKPOINT" ] || loaded=$(cat "$SLURMTUNE_CHECKPOINT/epoch")
echo "$SLURMTUNE_ATTEMPT $SLURMTUNE_START $loaded -" >> "$STARTS"
save() { echo "$e" > "$SLURMTUNE_SAVE/epoch"; touch "$SLURMTUNE_SAVE/done"; exit 0; }
trap save TERM USR1
e=$SLURMTUNE_START
while [ "$e" -lt "$SLURMTUNE_END" ]; do
  sleep "$1"
  e=$((e + 1))
  echo "{\\"epoch\\": $e, \\"loss\\": $((q / e))}" >> "$SLURMTUNE_METRICS"
  while [ -e "$HOLD" ]; do sleep 0.2; done
done
save
"""
"""Takes its argument in seconds for an epoch; saves when it is told to leave and when it is done."""
SAVING = """\
import os, time
import slurmtune

trial = slurmtune.trial(q=1, epoch=1)
loaded = (trial.checkpoint / "epoch").read_text() if trial.resumed else "-"
with open(os.environ["STARTS"], "a") as starts:
    starts.write(f"{os.environ['SLURMTUNE_ATTEMPT']} {os.environ['SLURMTUNE_START']} {loaded} -\\n")
for epoch in trial.steps():
    time.sleep(1)
    trial.report(loss=trial.params["q"] / epoch)
    with trial.save() as folder:
        (folder / "epoch").write_text(str(epoch))
    while os.path.exists(os.environ["HOLD"]):
        time.sleep(0.2)
"""
"""Takes a second for an epoch and saves each of them."""


def spec(
    *,
    unit: float = 0.2,
    trials: int = 3,
    parallel: int = 2,
    top: int = 3,
    slurm: str = 'time = "10:00"',
    linger: str = "10s",
    command: str = "",
) -> str:
    return SPEC.format(
        command=command or f'["sh", "train.sh", "{unit}"]',
        trials=trials,
        parallel=parallel,
        top=top,
        linger=linger,
        slurm=slurm,
    )


PYTHON = f'["{sys.executable}", "train.py"]'


def launched(live: LiveStudy, *, running: int = 0) -> DriverProcess:
    """A driver, returned when an array is submitted and it knows of so many running attempts.

    Those wait until ``live.go_on()``, so that the fault meets them however slow the machine is.
    """
    if running:
        live.hold()
    driver = live.launch()
    live.wait_until(
        lambda: live.has_begun() and arrays(live) and len(running_jobs(live)) >= running,
        what=f"{running} attempts run",
        seconds=PATIENCE_SECONDS,
    )
    return driver


def arrays(live: LiveStudy) -> list[str]:
    """Job ids of all arrays that were submitted."""
    return [event.job for event in live.events() if isinstance(event, ArraySubmitted)]


def running_jobs(live: LiveStudy) -> list[str]:
    """Job ids, ``4711_3``, of the slots in which an attempt runs and has reported."""
    attempts = live.study().live.values()
    running = [a for a in attempts if a.state is AttemptState.RUNNING]
    return sorted(a.job for a in running if a.job and a.resource)


def words(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def says(live: LiveStudy, driver: DriverProcess, phrase: str) -> None:
    """Return when the driver has said it."""
    live.wait_until(
        lambda: phrase in words(driver.said().text), what=phrase, seconds=PATIENCE_SECONDS
    )


def finished(driver: DriverProcess, live: LiveStudy, trials: int = 3) -> str:
    """What the driver said, after a study that ended well: every trial completed."""
    done = driver.wait(PATIENCE_SECONDS)
    assert done.code == 0, done.text
    assert [trial.state.value for trial in live.study().trials] == ["COMPLETED"] * trials
    assert live.started_twice == []
    told = words(done.text)
    assert f"{trials} good" in told
    assert "Traceback" not in done.text
    return told


def refused(done: Done) -> str:
    """What a launch said that had no chance."""
    assert done.code == REFUSED, done.text
    assert "Traceback" not in done.text
    return words(done.err)


def ended(live: LiveStudy, outcome: Outcome) -> list[Any]:
    """The attempts that ended so."""
    return [a for t in live.study().trials for a in t.attempts if a.outcome is outcome]


def preempted(live: LiveStudy, count: int) -> list[Any]:
    """The attempts that were told to leave, when there are so many."""
    live.wait_until(
        lambda: len(ended(live, Outcome.PREEMPTED)) == count,
        what=f"{count} attempts were pre-empted",
        seconds=PATIENCE_SECONDS,
    )
    return ended(live, Outcome.PREEMPTED)


def assert_resumed(live: LiveStudy, attempts: list[Any]) -> None:
    """Each of these left a checkpoint, and the next attempt of its trial began there."""
    starts = {start.attempt: start for start in live.starts}
    for attempt in attempts:
        assert attempt.saved, attempt
        follower = live.study().trials[attempt.trial].attempts[attempt.number]
        assert starts[follower.id].start == starts[follower.id].loaded == str(attempt.saved)


# ---------------------------------------------------------------- slots that are taken away


@fault(nodes=1, cpus=2)
def test_slots_cancelled_while_they_waited_are_no_reason_to_give_up(stage: Stage) -> None:
    """Elements of an array that are cancelled before they start leave no trace in Slurm."""
    live = stage.study(spec(trials=8, parallel=5))
    driver = launched(live, running=2)
    waiting = stage.queue("-t", "PD")
    assert len(waiting) == 3
    live.wait_until(lambda: live.overview()["slots"]["waiting"] == 3, what="the driver saw them")
    stage.ask("scancel", *waiting)
    live.wait_until(lambda: len(arrays(live)) > 1, what="another array", seconds=PATIENCE_SECONDS)
    live.go_on()
    told = finished(driver, live, trials=8)
    # One call of squeue may come between the cancellations of two of them.
    left = re.findall(r"(\d) slots? that waited left the queue, as after scancel; more", told)
    assert sum(map(int, left)) == 3
    assert "before claiming" not in told
    assert set(live.outcomes().values()) == {Outcome.SUCCEEDED}


@fault(nodes=1, cpus=2)
def test_a_running_slot_is_cancelled_and_another_requeued(stage: Stage) -> None:
    live = stage.study(spec(trials=4, parallel=3))
    driver = launched(live, running=2)
    cancelled, requeued = running_jobs(live)
    stage.ask("scancel", cancelled)
    stage.ask("scontrol", "requeue", requeued)
    gone = preempted(live, 2)
    live.go_on()
    told = finished(driver, live, trials=4)
    assert_resumed(live, gone)
    for attempt in gone:
        name = f"t{attempt.trial:05d} rung 0 was pre-empted on {attempt.host}"
        assert f"{name}; repeated from {attempt.saved}" in told
    stage.wait(lambda: stage.queue() == [], what="every slot left, also the requeued one")


def assert_preempted(stage: Stage, live: LiveStudy, driver: DriverProcess) -> None:
    """Both attempts were told to leave, saved, and went on from there."""
    gone = preempted(live, 2)
    live.go_on()
    told = finished(driver, live)
    assert_resumed(live, gone)
    assert f"was pre-empted on {gone[0].host}; repeated from {gone[0].saved}" in told
    stage.wait(lambda: stage.queue() == [], what="every slot left, also those that were requeued")


@fault(nodes=1, cpus=2)
def test_preemption_by_a_partition_of_higher_priority(stage: Stage) -> None:
    """The slots are requeued; status tells why they wait."""
    live = stage.study(spec())
    driver = launched(live, running=2)
    stage.submit("-p", "high", "-c", "2", "--wrap=sleep 4")
    reason = 'wait for "BeginTime": waits for its start time, or for Slurm\'s two minutes'
    stage.wait(lambda: reason in words(live.call("status", "live").out), what="status tells it")
    stage.wait(lambda: not stage.queue("-p", "high"), what="the other job ended")
    for job in stage.queue("-t", "PD"):
        stage.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    assert_preempted(stage, live, driver)
    assert len(arrays(live)) == 1, "more was submitted though the slots come back"


GRACE = "PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1"


@fault(nodes=1, cpus=2, set=[f"{GRACE} GraceTime=30"])
def test_preemption_with_grace_time(stage: Stage) -> None:
    """The slots leave at once, so Slurm does not requeue them: others are submitted."""
    live = stage.study(spec())
    driver = launched(live, running=2)
    stage.submit("-p", "high", "-c", "2", "--wrap=sleep 4")
    assert_preempted(stage, live, driver)
    assert len(arrays(live)) > 1


# ---------------------------------------------------------------- nodes, time, memory


@fault(nodes=2, cpus=2)
def test_a_node_that_failed_twice_is_left_out(stage: Stage) -> None:
    """Attempts go on elsewhere from their checkpoints; the next array keeps away from the node."""
    slurm = 'time = "10:00"\nrequeue = false'
    live = stage.study(
        spec(command=PYTHON, trials=4, parallel=4, slurm=slurm), {"train.py": SAVING}
    )
    driver = launched(live, running=4)
    live.wait_until(
        lambda: all(a.saved for a in live.study().live.values()),
        what="every attempt has saved",
        seconds=PATIENCE_SECONDS,
    )
    stage.switch_off("node1")
    live.wait_until(lambda: len(arrays(live)) > 1, what="another array", seconds=PATIENCE_SECONDS)
    assert stage.queue("-j", arrays(live)[1], what="%x") == ["node1"] * 2
    live.go_on()
    told = finished(driver, live, trials=4)
    lost = ended(live, Outcome.NODE_FAILED)
    assert len(lost) == 2
    assert_resumed(live, lost)
    assert "node1 failed repeatedly: left out for a day" in told
    for attempt in lost:
        name = f"t{attempt.trial:05d} rung 0 lost its node on {attempt.host}"
        assert f"{name}; repeated from {attempt.saved}" in told


@fault(nodes=2, cpus=1)
def test_a_node_fails_and_slurm_requeues_the_slot(stage: Stage) -> None:
    live = stage.study(spec(command=PYTHON, trials=2), {"train.py": SAVING})
    driver = launched(live, running=2)
    live.wait_until(
        lambda: all(a.saved for a in live.study().live.values()),
        what="every attempt has saved",
        seconds=PATIENCE_SECONDS,
    )
    stage.switch_off("node1")
    live.go_on()
    told = finished(driver, live, trials=2)
    (lost,) = ended(live, Outcome.NODE_FAILED)
    assert_resumed(live, [lost])
    assert lost.cause == "node1 failed, and Slurm requeued its slot"
    assert f"lost its node on node1; repeated from {lost.saved}" in told
    assert len(arrays(live)) == 1
    stage.wait(lambda: stage.queue() == [], what="every slot left, also the requeued one")


@fault(nodes=1, cpus=1)
def test_a_longer_time_limit_after_the_first_was_reached(stage: Stage) -> None:
    live = stage.study(spec(trials=1, parallel=1, slurm='time = "1:00"'))
    driver = launched(live, running=1)
    assert stage.queue(what="%l") == ["1:00"]
    live.wait_until(lambda: len(arrays(live)) > 1, what="another slot", seconds=PATIENCE_SECONDS)
    assert stage.queue("-j", arrays(live)[1], what="%l") == ["2:00"], "90 s in whole minutes"
    live.go_on()
    told = finished(driver, live, trials=1)
    first = ended(live, Outcome.TIMEOUT)[0]
    assert_resumed(live, ended(live, Outcome.TIMEOUT))
    assert (
        f"t00000 rung 0 reached its time limit on {first.host}; repeated from {first.saved} "
        "with 1.5 times the time limit" in told
    )


SMALL_AT_FIRST = """\
. "$SLURMTUNE_SH"
echo "$SLURMTUNE_ATTEMPT $SLURMTUNE_START - -" >> "$STARTS"
if [ "$SLURM_MEM_PER_NODE" -lt 150 ]; then
  echo "slurmstepd: error: Detected 1 oom_kill event in StepId=$SLURM_JOB_ID.0." >&2
  exit 137
fi
echo "{\\"epoch\\": $SLURMTUNE_END, \\"loss\\": $q}" >> "$SLURMTUNE_METRICS"
"""
MEMORY = 'time = "10:00"\nmem = "100M"'


def assert_repeated_with_more_memory(stage: Stage, live: LiveStudy) -> None:
    driver = launched(live)
    live.wait_until(lambda: len(arrays(live)) > 1, what="another slot", seconds=PATIENCE_SECONDS)
    shown = stage.ask("scontrol", "show", "job", arrays(live)[1])
    assert "MinMemoryNode=150M" in shown
    told = finished(driver, live, trials=1)
    first, second = live.study().trials[0].attempts
    assert (first.outcome, second.outcome) == (Outcome.OUT_OF_MEMORY, Outcome.SUCCEEDED)
    assert "t00000 rung 0 ran out of memory" in told
    assert "repeated with 1.5 times the memory" in told


@fault(nodes=1, cpus=2)
def test_more_memory_after_the_kernel_killed_the_program(stage: Stage) -> None:
    """As a cgroup does it: the program is killed, the slot lives."""
    text = spec(trials=1, parallel=1, slurm=MEMORY)
    assert_repeated_with_more_memory(stage, stage.study(text, {"train.sh": SMALL_AT_FIRST}))


GREEDY = """\
import time
import slurmtune

trial = slurmtune.trial(q=1, epoch=1)
memory = bytearray(90 << 20)
memory[::4096] = b"x" * len(memory[::4096])
time.sleep(5)
trial.report(trial.end, loss=1.0)
"""
WATCHED = (
    "JobAcctGatherType=jobacct_gather/linux",
    "JobAcctGatherParams=OverMemoryKill",
    "JobAcctGatherFrequency=task=1",
    "SelectTypeParameters=CR_Core_Memory",
    # A program has a process group of its own: by groups Slurm would not count its memory.
    "ProctrackType=proctrack/linuxproc",
)


@fault(nodes=1, cpus=2, set=WATCHED)
def test_more_memory_after_slurm_killed_the_whole_slot(stage: Stage) -> None:
    """Nobody is left to say why: only the log of the slot tells it."""
    text = spec(command=PYTHON, trials=1, parallel=1, slurm=MEMORY)
    assert_repeated_with_more_memory(stage, stage.study(text, {"train.py": GREEDY}))


# ---------------------------------------------------------------- Slurm's daemons


def assert_survives_the_controller(stage: Stage, live: LiveStudy, driver: DriverProcess) -> None:
    stage.signal("slurmctld", signal.SIGKILL)
    says(live, driver, "slurm does not answer")
    says(live, driver, "trying again, running jobs are not affected")
    stage.mend()
    says(live, driver, "slurm answers again")
    live.go_on()
    finished(driver, live, trials=4)


@fault(nodes=1, cpus=2)
def test_the_controller_is_away_for_a_while(stage: Stage) -> None:
    live = stage.study(spec(trials=4, linger="60s"))
    driver = launched(live, running=2)
    time.sleep(SAVED_SECONDS)
    assert_survives_the_controller(stage, live, driver)
    assert set(live.outcomes().values()) == {Outcome.SUCCEEDED}
    assert len(arrays(live)) == 1


@fault(nodes=1, cpus=2)
def test_the_controller_hangs_for_a_while(stage: Stage) -> None:
    live = stage.study(spec(trials=4, linger="60s"))
    driver = launched(live, running=2)
    stage.signal("slurmctld", signal.SIGSTOP)
    says(live, driver, "slurm does not answer")
    stage.signal("slurmctld", signal.SIGCONT)
    says(live, driver, "slurm answers again")
    live.go_on()
    finished(driver, live, trials=4)
    assert set(live.outcomes().values()) == {Outcome.SUCCEEDED}
    assert len(arrays(live)) == 1


@fault(nodes=1, cpus=2)
def test_the_controller_forgets_what_it_started_last(stage: Stage) -> None:
    """It starts the slots a second time; the node refuses, is drained, and loses the first."""
    stage.ask("scontrol", "update", "PartitionName=gpu", "State=DOWN")
    live = stage.study(spec(trials=4))
    driver = launched(live)
    stage.wait(lambda: stage.queue() != [], what="the slots wait")
    time.sleep(SAVED_SECONDS)
    state = stage.cluster.dir / "state" / "job_state"
    they_waited = state.read_bytes()
    live.hold()
    stage.ask("scontrol", "update", "PartitionName=gpu", "State=UP")
    live.wait_until(lambda: len(running_jobs(live)) == 2, what="two run", seconds=PATIENCE_SECONDS)
    stage.signal("slurmctld", signal.SIGKILL)
    says(live, driver, "slurm does not answer")
    state.write_bytes(they_waited)
    stage.mend()
    says(live, driver, "slurm answers again")
    reason = "Duplicate jobid"
    stage.wait(lambda: reason in stage.ask("sinfo", "-h", "-o", "%E"), what="the node is drained")
    stage.ask("scontrol", "update", "NodeName=node1", "State=RESUME")
    live.go_on()
    finished(driver, live, trials=4)


@fault(nodes=1, cpus=2, db=True)
def test_accounting_is_away(stage: Stage) -> None:
    live = stage.study(spec(trials=4, parallel=3))
    stage.signal("slurmdbd", signal.SIGKILL)
    driver = launched(live, running=2)
    stage.ask("scancel", running_jobs(live)[0])
    preempted(live, 1)
    live.go_on()
    told = finished(driver, live, trials=4)
    assert "was pre-empted" in told
    assert "does not answer" not in told


def crash_after_sbatch(live: LiveStudy, controller: str) -> None:
    """Put an sbatch before Slurm's on the driver's PATH: the first array is forgotten.

    The controller saves at once when something is new, but not twice within five seconds.
    """
    folder = live.folder / "bin"
    folder.mkdir()
    real = shutil.which("sbatch")
    wrapper = folder / "sbatch"
    wrapper.write_text(f"""#!/bin/sh
case "$*" in *--test-only*) exec {real} "$@" ;; esac
if mkdir {folder}/once 2> /dev/null; then
  {real} --hold --output=/dev/null --wrap=true > /dev/null
  sleep 1
  {real} "$@"
  kill -9 {controller}
  exit 0
fi
exec {real} "$@"
""")
    wrapper.chmod(0o755)
    live.environment["PATH"] = f"{folder}:{live.environment['PATH']}"


@fault(nodes=1, cpus=1)
def test_an_id_that_slurm_gave_away_twice(stage: Stage) -> None:
    """A crash of the controller forgets our array, and somebody else's job gets its id."""
    blocker = stage.submit("--wrap=sleep 600")
    stage.wait(lambda: stage.queue("-t", "R"), what="the node is taken")
    time.sleep(SAVED_SECONDS)
    live = stage.study(spec(parallel=4, trials=4))
    controller = (stage.cluster.dir / "run" / "slurmctld.pid").read_text().strip()
    crash_after_sbatch(live, controller)
    driver = launched(live)
    (ours,) = arrays(live)
    stage.mend()
    other = stage.submit("--array=0-3", "--hold", "--wrap=exit 1")
    assert other == ours, "the id was not given away again"
    says(live, driver, "4 slots that waited left the queue")
    stage.ask("scancel", blocker)
    finished(driver, live, trials=4)
    assert set(live.outcomes().values()) == {Outcome.SUCCEEDED}
    assert len(arrays(live)) == 2
    assert stage.queue(what="%F").count(other) == 4, "the other job is not left alone"


# ---------------------------------------------------------------- limits


@fault(nodes=1, cpus=4)
def test_held_slots_wait_until_they_are_released(stage: Stage) -> None:
    live = stage.study(spec(slurm='time = "10:00"\nextra = { hold = true }'))
    driver = launched(live)
    reason = '2 wait for "JobHeldUser": held by you: free it with `scontrol release`'
    stage.wait(lambda: reason in words(live.call("status", "live").out), what="status tells it")
    stage.ask("scontrol", "release", arrays(live)[0])
    finished(driver, live)
    assert set(live.outcomes().values()) == {Outcome.SUCCEEDED}


@fault(nodes=1, cpus=8, db=True, enforce=True)
def test_no_more_jobs_are_submitted_than_the_user_may_have(stage: Stage) -> None:
    """Of at most three, somebody's own jobs take two."""
    user = stage.ask("id", "-un")
    stage.ask("sacctmgr", "-i", "modify", "user", user, "set", "MaxSubmitJobs=3")
    stage.submit("--hold", "--array=0-1", "--wrap=true")
    live = stage.study(spec(trials=6, parallel=5))
    driver = launched(live)
    told = finished(driver, live, trials=6)
    assert "you may have at most 3 jobs queued; the rest comes later" in told
    assert "the rest is submitted later" in told
    arrays_made = live.study().fleet.arrays.values()
    assert {array.size for array in arrays_made if array.job} == {1}


@fault(nodes=1, cpus=8, array_max=5)
def test_arrays_stay_below_the_longest(stage: Stage) -> None:
    live = stage.study(spec(unit=1, trials=8, parallel=8))
    told = finished(launched(live), live, trials=8)
    assert [array.size for array in live.study().fleet.arrays.values()] == [5, 3]
    assert "submitted 5 slots" in told
    assert "submitted 3 slots" in told


# ---------------------------------------------------------------- what cannot work


@fault(nodes=1, cpus=1)
def test_slots_that_can_never_start_are_cancelled(stage: Stage) -> None:
    """The partition's time limit is lowered below that of slots that wait."""
    blocker = stage.submit("--wrap=sleep 600")
    stage.wait(lambda: stage.queue("-t", "R"), what="the node is taken")
    live = stage.study(spec())
    driver = launched(live)
    stage.ask("scontrol", "update", "PartitionName=gpu", "MaxTime=5")
    told = refused(driver.wait(PATIENCE_SECONDS))
    assert "2 jobs can never start: the time limit is above the partition's" in told
    assert "(PartitionTimeLimit); cancelled. Change [slurm] and launch again" in told
    assert stage.queue() == [blocker]

    again = refused(live.run(seconds=PATIENCE_SECONDS))
    assert "PartitionTimeLimit" in again or "time limit" in again
    stage.ask("scancel", blocker)
    live.write_spec(spec(slurm='time = "5:00"'))
    finished(live.launch(), live)


@fault(nodes=1, cpus=1)
def test_a_spec_that_slurm_refuses_is_told_before_anything_is_written(stage: Stage) -> None:
    live = stage.study(spec(slurm='time = "10:00"\npartition = "gpuu"'))
    told = refused(live.run(seconds=PATIENCE_SECONDS))
    assert "no partition 'gpuu'; did you mean 'gpu'? Partitions here: gpu (default), high" in told
    assert "Slurm says: invalid partition specified: gpuu" in told
    assert "Nothing was submitted" in told
    assert not live.has_begun()

    stage.ask("scontrol", "update", "PartitionName=high", "MaxTime=5")
    live.write_spec(spec(slurm='time = "10:00"\npartition = "high"'))
    told = refused(live.run(seconds=PATIENCE_SECONDS))
    assert "high" in told
    assert "5:00" in told
    assert stage.queue() == []


@fault(nodes=1, cpus=4)
def test_a_setup_line_that_fails_on_the_nodes(stage: Stage) -> None:
    """The launch ends and says where to look; when the line is mended the study goes on."""
    text = spec(trials=4, parallel=4)
    live = stage.study(text)
    mended = live.folder / "mended"
    live.write_spec(f'{text}[env]\nsetup = ["test -e {mended}"]\n')
    told = refused(live.run(seconds=PATIENCE_SECONDS))
    assert "slots in a row ended before they could claim anything" in told
    assert "is [env] right" in told
    assert f"this setup line failed: test -e {mended}" in told
    assert live.starts == []
    mended.touch()
    finished(live.launch(), live, trials=4)

"""The programs of a fake Slurm: sbatch, squeue, sacct, scancel, scontrol, sinfo, sacctmgr, srun.

All state is one JSON file under a lock; there is no daemon. Every command that may free or fill a
slot starts what can be started, and so does the small process that watches a running task when
the task ends. Tasks are real processes with the variables that Slurm sets.

Only what slurmtune asks for is understood. The answers have the form of Slurm 22.05. This file is
imported by a bare ``python -S -E`` for every command, so it imports as little as it can.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Task = dict[str, Any]
    State = dict[str, Any]

MARK = "FAKE_SLURM_TASK"
"""Variable by which the processes of a task are found again."""
DEFAULTS: dict[str, Any] = {
    "slots": 2,
    "accounting": True,
    "min_job_age": 300.0,
    "kill_wait": 2.0,
    "requeue_delay": 0.2,
    "seconds_per_minute": 60.0,
    "max_array_size": 1001,
    "max_submit": None,
    "max_gpus": 4,
    "max_cpus": 8,
    "max_memory": 4000,
    "pending_reason": "Resources",
}
_LIVE = ("PENDING", "RUNNING", "COMPLETING")
_OUTCOMES = {
    "cancel": "CANCELLED",
    "preempt": "PREEMPTED",
    "node_fail": "NODE_FAIL",
    "timeout": "TIMEOUT",
    "out_of_memory": "OUT_OF_MEMORY",
}
_REASONS = {"node_fail": "NodeDown", "timeout": "TimeLimit", "out_of_memory": "OutOfMemory"}
_EXIT_CODES = {"cancel": "0:15", "out_of_memory": "0:125"}


class Locked:
    """The state, under the lock, written back at the end of the block."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file = os.path.join(folder, "state.json")

    def __enter__(self) -> State:
        self._lock = os.open(os.path.join(self._folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        with open(self._file, encoding="utf-8") as file:
            state: State = json.load(file)
        self._state = state
        return state

    def __exit__(self, *_: object) -> None:
        write_state(self._folder, self._state)
        os.close(self._lock)


def write_state(folder: str, state: State) -> None:
    """Replace the state's file."""
    aside = os.path.join(folder, f"state.json.{os.getpid()}")
    with open(aside, "w", encoding="utf-8") as file:
        json.dump(state, file)
    os.replace(aside, os.path.join(folder, "state.json"))


def main(folder: str, argv: list[str]) -> int:
    """Run one command: its name and arguments."""
    name, arguments = argv[0], argv[1:]
    if name == "srun":
        return _srun(arguments)
    fault = None
    with Locked(folder) as state:
        state["calls"][name] = state["calls"].get(name, 0) + 1
        for candidate in state["faults"]:
            if candidate["command"] == name and candidate["times"] > 0:
                candidate["times"] -= 1
                fault = dict(candidate)
                break
    if fault is not None and not fault["after"]:
        return _fail(fault)
    code = _COMMANDS[name](folder, arguments)
    # The command did its work, but its answer is lost on the way back.
    return code if fault is None else _fail(fault)


def _fail(fault: dict[str, Any]) -> int:
    time.sleep(fault["seconds"])
    _error(fault["stderr"])
    return int(fault["returncode"])


def _srun(arguments: list[str]) -> int:
    while arguments and arguments[0].startswith("-"):
        arguments = arguments[1:]
    os.environ["SLURM_STEP_ID"] = "0"
    os.execvp(arguments[0], arguments)  # noqa: S606 - there is no shell in srun


# ---------------------------------------------------------------------- sbatch


def _sbatch(folder: str, arguments: list[str]) -> int:
    options: dict[str, str] = {}
    path = None
    wrapped = None
    while arguments:
        word = arguments.pop(0)
        if word.startswith("--"):
            key, _, value = word[2:].partition("=")
            options[key] = value
            wrapped = value if key == "wrap" else wrapped
        elif not word.startswith("-"):
            path = word
            break
    if wrapped is not None:
        text = f"#!/bin/sh\n{wrapped}\n"
    elif path is None:
        text = sys.stdin.read()
    else:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    if not text.startswith("#!"):
        return _refuse("This does not look like a batch script.")
    options = {**_directives(text), **options}
    if "test-only" in options:
        refusal = _refusal(options, DEFAULTS, 0, 1)
        if refusal:
            _error("allocation failure: " + refusal)
            return 1
        _error(
            "sbatch: Job 9 to start at 2026-11-21T04:40:00 using 1 processors on nodes node1 "
            "in partition gpu"
        )
        return 0
    indices, throttle = _array(options.get("array", ""))
    with Locked(folder) as state:
        live = sum(task["state"] in _LIVE for task in state["tasks"])
        refusal = _refusal(options, state["settings"], live, len(indices or [0]))
        if refusal:
            return _refuse(refusal)
        job = state["next"]
        state["next"] += max(len(indices), 1)
        now = time.time()
        script = os.path.join(folder, f"{job}.sh")
        with open(script, "w", encoding="utf-8") as file:
            file.write(text)
        variables = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_ARRAY")}
        with open(os.path.join(folder, f"{job}.env"), "w", encoding="utf-8") as file:
            json.dump([variables, options.get("chdir") or os.getcwd()], file)
        for position, index in enumerate(indices or [None]):
            state["tasks"].append(
                {
                    "job": str(job),
                    "index": index,
                    "raw": str(job + position),
                    "count": len(indices),
                    "throttle": throttle,
                    "name": options.get("job-name", "sbatch"),
                    "options": options,
                    "submit": now,
                    "begin": now,
                    "state": "PENDING",
                    "reason": "JobHeldUser" if "hold" in options else "None",
                    "start": None,
                    "end": None,
                    "node": "",
                    "exit": "0:0",
                    "restarts": 0,
                    "runner": 0,
                    "order": "",
                }
            )
        started = _schedule(state)
    _say(f"Submitted batch job {job}")
    _start(folder, started)
    return 0


def _directives(text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("#SBATCH --"):
            key, _, value = line[len("#SBATCH --") :].partition("=")
            options[key.strip()] = value.strip().strip("'\"")
        elif line and not line.startswith("#"):
            break
    return options


def _array(text: str) -> tuple[list[int], int]:
    listed, _, throttle = text.partition("%")
    indices: list[int] = []
    for part in listed.split(",") if listed else []:
        first, _, last = part.partition("-")
        indices.extend(range(int(first), int(last or first) + 1))
    return indices, int(throttle or 0)


def _refusal(options: dict[str, str], settings: dict[str, Any], live: int, size: int) -> str:
    """Return why sbatch refuses; empty when it does not."""
    if options.get("partition", "gpu") not in ("gpu", "high"):
        return (
            f"invalid partition specified: {options['partition']}\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified"
        )
    gpus = options.get("gpus-per-node", "0").split(":")
    cpus = int(options.get("cpus-per-task", "1"))
    if len(gpus) > 1 or int(gpus[-1]) > settings["max_gpus"] or cpus > settings["max_cpus"]:
        return "Batch job submission failed: Requested node configuration is not available"
    if size > settings["max_array_size"]:
        return "Batch job submission failed: Invalid job array specification"
    if settings["max_submit"] is not None and live + size > settings["max_submit"]:
        return (
            "AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)"
        )
    return ""


def _refuse(message: str) -> int:
    _error(f"sbatch: error: {message}")
    return 1


# ---------------------------------------------------------------------- running tasks


def _schedule(state: State) -> list[Task]:
    """Mark what can start as running and return it."""
    settings = state["settings"]
    running = [task for task in state["tasks"] if task["state"] in ("RUNNING", "COMPLETING")]
    per_job: dict[str, int] = {}
    for task in running:
        per_job[task["job"]] = per_job.get(task["job"], 0) + 1
    used = len(running)
    now = time.time()
    started: list[Task] = []
    for task in state["tasks"]:
        if task["state"] != "PENDING" or "Held" in task["reason"] or "held" in task["reason"]:
            continue
        if task["begin"] > now:
            task["reason"] = "BeginTime"
        elif task["throttle"] and per_job.get(task["job"], 0) >= task["throttle"]:
            task["reason"] = "JobArrayTaskLimit"
        elif used >= settings["slots"]:
            task["reason"] = settings["pending_reason"]
        else:
            node = f"node{used % 4 + 1}"
            task.update(state="RUNNING", reason="None", start=now, node=node, order="", runner=0)
            per_job[task["job"]] = per_job.get(task["job"], 0) + 1
            used += 1
            started.append(dict(task))
    return started


def _start(folder: str, tasks: Iterable[Task]) -> None:
    """Start a watching process for each task, outside the lock."""
    for task in tasks:
        sys.stdout.flush()
        if os.fork() == 0:
            try:
                os.setsid()
                null = os.open(os.devnull, os.O_RDWR)
                for number in (0, 1, 2):
                    os.dup2(null, number)
                _watch(folder, task)
            finally:
                os._exit(0)


def _watch(folder: str, task: Task) -> None:
    """Run a task to its end, then start what its slot is free for."""
    wanted = []
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda received, _: wanted.append(received))
    with Locked(folder) as state:
        settings = state["settings"]
        mine = _same(state, task)
        if mine is None:
            return
        mine["runner"] = os.getpid()
        order = mine["order"]
    child = -1 if order else _spawn(folder, task)
    if child < 0:
        _finish(folder, task, order or "launch", 0)
        return
    limit, warning = _limits(task, settings)
    began = time.monotonic()
    told = 0.0
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        passed = time.monotonic() - began
        if wanted:
            wanted.clear()
            with Locked(folder) as state:
                mine = _same(state, task)
                order = "vanish" if mine is None else mine["order"]
        if warning is not None and passed >= warning[0]:
            _signal(child, warning[1])
            warning = None
        if not order and limit is not None and passed >= limit:
            order = "timeout"
        if order and not told:
            told = time.monotonic()
            if order in ("node_fail", "vanish", "out_of_memory"):
                _kill_all(folder, task)
            else:
                _signal(child, signal.SIGTERM)
        if told and time.monotonic() - told > settings["kill_wait"]:
            _kill_all(folder, task)
        time.sleep(0.01 if passed < 1 else 0.03)
    _kill_all(folder, task)
    _finish(folder, task, order, status)


def _spawn(folder: str, task: Task) -> int:
    """Start the batch script and return its process id; -1 when its log cannot be written."""
    with open(os.path.join(folder, f"{task['job']}.env"), encoding="utf-8") as file:
        variables, directory = json.load(file)
    index = "4294967294" if task["index"] is None else str(task["index"])
    output = task["options"].get("output", "slurm-%j.out")
    for sign, value in (("%A", task["job"]), ("%a", index), ("%j", task["raw"])):
        output = output.replace(sign, value)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        log = os.open(os.path.join(directory, output), flags, 0o600)
    except OSError:
        return -1
    child = os.fork()
    if child:
        os.close(log)
        return child
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(directory)
        script = os.path.join(folder, f"{task['job']}.sh")
        variables.update(_job_variables(folder, task))
        os.execve("/bin/bash", ["bash", script], variables)  # noqa: S606 - this is the shell
    finally:
        os._exit(127)


def _job_variables(folder: str, task: Task) -> dict[str, str]:
    options = task["options"]
    variables = {
        MARK: _mark(folder, task),
        "SLURM_JOB_ID": task["raw"],
        "SLURM_JOB_NAME": task["name"],
        "SLURM_JOB_PARTITION": options.get("partition", "gpu"),
        "SLURMD_NODENAME": task["node"],
        "SLURM_JOB_NODELIST": task["node"],
    }
    if task["index"] is not None:
        variables["SLURM_ARRAY_JOB_ID"] = task["job"]
        variables["SLURM_ARRAY_TASK_ID"] = str(task["index"])
        variables["SLURM_ARRAY_TASK_COUNT"] = str(task["count"])
    if task["restarts"]:
        variables["SLURM_RESTART_COUNT"] = str(task["restarts"])
    if "cpus-per-task" in options:
        variables["SLURM_CPUS_PER_TASK"] = options["cpus-per-task"]
    if "gpus-per-node" in options:
        gpus = range(int(options["gpus-per-node"]))
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(str(number) for number in gpus)
    return variables


def _limits(task: Task, settings: dict[str, Any]) -> tuple[float | None, tuple[float, int] | None]:
    """Return the time limit in seconds, and when to send which warning."""
    text = task["options"].get("time")
    if not text:
        return None, None
    limit = float(text) * settings["seconds_per_minute"]
    name, _, seconds = task["options"].get("signal", "").rpartition(":")[2].partition("@")
    if not seconds:
        return limit, None
    early = float(seconds) * settings["seconds_per_minute"] / 60
    return limit, (max(limit - early, 0.0), getattr(signal, f"SIG{name}"))


def _finish(folder: str, task: Task, order: str, status: int) -> None:
    """Record how a task ended, and start what there is room for now."""
    with Locked(folder) as state:
        settings = state["settings"]
        mine = _same(state, task)
        if mine is not None:
            code, number = status >> 8, status & 127
            is_requeued = order in ("preempt", "node_fail") and "no-requeue" not in mine["options"]
            if order == "requeue" or is_requeued:
                now = time.time()
                begin = now + settings["requeue_delay"]
                mine.update(state="PENDING", reason="BeginTime", submit=now, begin=begin, node="")
                mine.update(start=None, runner=0, order="", restarts=mine["restarts"] + 1)
            elif order == "launch":
                mine.update(state="FAILED", reason="JobLaunchFailure", exit="0:53")
            elif order:
                mine.update(state=_OUTCOMES[order], reason=_REASONS.get(order, "None"))
                mine["exit"] = _EXIT_CODES.get(order, "0:0")
            elif status:
                mine.update(state="FAILED", reason="NonZeroExitCode", exit=f"{code}:{number}")
            else:
                mine.update(state="COMPLETED", reason="None")
            if mine["state"] not in _LIVE:
                mine.update(end=time.time(), runner=0)
        started = _schedule(state)
        waits = [t["begin"] for t in state["tasks"] if t["state"] == "PENDING"]
    _start(folder, started)
    later = [begin for begin in waits if begin > time.time()]
    if later:
        # Nobody else would start a requeued task when its delay is over.
        time.sleep(max(0.0, min(later) - time.time()))
        with Locked(folder) as state:
            started = _schedule(state)
        _start(folder, started)


def _same(state: State, task: Task) -> Task | None:
    """Return the record of the same incarnation of a task."""
    for other in state["tasks"]:
        if other["raw"] == task["raw"] and other["restarts"] == task["restarts"]:
            found: Task = other
            return found
    return None


def _mark(folder: str, task: Task) -> str:
    return f"{folder}:{task['raw']}:{task['restarts']}"


def _signal(child: int, number: int) -> None:
    try:
        os.killpg(child, number)
    except (ProcessLookupError, PermissionError):
        return


def _kill_all(folder: str, task: Task) -> None:
    """Kill every process of a task, whatever group it is in."""
    kill_marked(f"{MARK}={_mark(folder, task)}\0")


def kill_marked(text: str) -> None:
    """Kill every process whose environment holds this text."""
    wanted = text.encode()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                is_ours = wanted in file.read() + b"\0"
            if is_ours:
                os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue


# ---------------------------------------------------------------------- questions


def _squeue(folder: str, arguments: list[str]) -> int:
    options = _short_options(arguments, "otnju")
    with Locked(folder) as state:
        started = _schedule(state)
        tasks = [dict(task) for task in state["tasks"]]
        age = state["settings"]["min_job_age"]
    _start(folder, started)
    now = time.time()
    for task in tasks:
        if task["state"] not in _LIVE and (options.get("-t") != "all" or now - task["end"] > age):
            continue
        if options.get("-n", task["name"]) == task["name"]:
            _say(_line(options.get("-o", "%i %T"), task))
    return 0


def _line(form: str, task: Task) -> str:
    index = "N/A" if task["index"] is None else str(task["index"])
    start = task["start"] if task["state"] != "PENDING" or task["begin"] < 1 else task["begin"]
    if task["state"] == "PENDING" and task["reason"] != "BeginTime":
        start = None
    values = {
        "%F": task["job"],
        "%K": index,
        "%A": task["raw"],
        "%i": _task_id(task),
        "%V": str(int(task["submit"])),
        "%T": task["state"],
        "%S": "N/A" if start is None else str(int(start)),
        "%N": task["node"],
        "%j": task["name"],
        "%r": task["reason"],
    }
    for sign, value in values.items():
        form = form.replace(sign, value)
    return form


def _task_id(task: Task) -> str:
    return task["job"] if task["index"] is None else f"{task['job']}_{task['index']}"


def _sacct(folder: str, arguments: list[str]) -> int:
    options = _short_options(arguments, "ojSE", long=("--name",))
    with Locked(folder) as state:
        tasks = [dict(task) for task in state["tasks"]]
        settings = state["settings"]
    if not settings["accounting"]:
        _error("Slurm accounting storage is disabled")
        return 1
    jobs = options["-j"].split(",") if "-j" in options else None
    waiting: dict[str, list[Task]] = {}
    fields = options["-o"].split(",")
    for task in tasks:
        is_asked = jobs is None or task["job"] in jobs
        if not is_asked or options.get("--name", task["name"]) != task["name"]:
            continue
        if task["state"] == "PENDING" and task["index"] is not None and not task["restarts"]:
            waiting.setdefault(task["job"], []).append(task)
        else:
            _say("|".join(_account(task, _task_id(task))[field] for field in fields))
    for job, group in waiting.items():
        listed = ",".join(str(task["index"]) for task in group)
        row = _account(group[0], f"{job}_[{listed}%{group[0]['throttle']}]")
        _say("|".join(row[field] for field in fields))
    return 0


def _account(task: Task, job_id: str) -> dict[str, str]:
    state = task["state"]
    return {
        "JobID": job_id,
        "State": f"CANCELLED by {os.getuid()}" if state == "CANCELLED" else state,
        "ExitCode": task["exit"],
        "DerivedExitCode": task["exit"],
        "Submit": str(int(task["submit"])),
        "NodeList": task["node"] or "None assigned",
        "JobName": task["name"],
    }


def _scontrol(folder: str, arguments: list[str]) -> int:
    with Locked(folder) as state:
        settings = state["settings"]
    if arguments[:2] == ["show", "config"]:
        storage = "slurmdbd" if settings["accounting"] else "none"
        limited = "associations,limits" if settings["max_submit"] is not None else "none"
        for name, value in (
            ("AccountingStorageEnforce", limited),
            ("AccountingStorageType", f"accounting_storage/{storage}"),
            ("ClusterName", "fake"),
            ("JobRequeue", "1"),
            ("KillWait", f"{int(settings['kill_wait'])} sec"),
            ("MaxArraySize", settings["max_array_size"]),
            ("MinJobAge", f"{int(settings['min_job_age'])} sec"),
            ("PreemptMode", "REQUEUE"),
            ("SLURM_VERSION", "22.05.8"),
        ):
            _say(f"{name:<24}= {value}")
    elif arguments[:1] == ["ping"]:
        _say("Slurmctld(primary) at localhost is UP")
    elif arguments[:1] in (["requeue"], ["release"], ["hold"]):
        _order_tasks(folder, arguments[1], arguments[0])
    return 0


def _sinfo(folder: str, _: list[str]) -> int:
    with Locked(folder) as state:
        settings = state["settings"]
    shape = f"4|{settings['max_cpus']}|{settings['max_memory']}|gpu:{settings['max_gpus']}"
    for partition in ("gpu*", "high"):
        _say(f"{partition}|up|infinite|{shape}|(null)|node[1-4]")
    return 0


def _sacctmgr(folder: str, arguments: list[str]) -> int:
    with Locked(folder) as state:
        settings = state["settings"]
    if not settings["accounting"]:
        _error("You are not running a supported accounting_storage plugin")
        return 1
    limit = "" if settings["max_submit"] is None else settings["max_submit"]
    answers = {"assoc": f"fake|||{limit}|normal|", "user": "fake", "qos": "normal||"}
    for word in arguments:
        if word in answers:
            _say(answers[word])
            break
    return 0


def _scancel(folder: str, arguments: list[str]) -> int:
    options = _short_options(arguments, "ns", long=("--name", "--signal"))
    name = options.get("-n") or options.get("--name")
    with Locked(folder) as state:
        jobs = [task["job"] for task in state["tasks"] if task["name"] == name]
    targets = list(dict.fromkeys(jobs)) if name else [w for w in arguments if w[0].isdigit()]
    for target in targets:
        _order_tasks(folder, target, "cancel")
    return 0


def _order_tasks(folder: str, target: str, order: str) -> None:
    """Carry out an order on ``4711``, ``4711_3`` or ``4711_[0-2,5]``."""
    job, _, listed = target.partition("_")
    indices = set(_array(listed.strip("[]"))[0]) if listed else None
    order_tasks(
        folder,
        lambda task: task["job"] == job and (indices is None or task["index"] in indices),
        order,
        is_whole=indices is None,
    )


def order_tasks(
    folder: str, chosen: Callable[[Task], bool], order: str, *, is_whole: bool = False
) -> None:
    """Cancel, requeue, pre-empt, fail, lose, hold or release the chosen tasks."""
    runners: list[int] = []
    with Locked(folder) as state:
        kept: list[Task] = []
        for task in state["tasks"]:
            if not chosen(task) or task["state"] not in _LIVE:
                kept.append(task)
                continue
            if order in ("hold", "release"):
                task["reason"] = "JobHeldUser" if order == "hold" else "None"
            elif task["state"] != "PENDING":
                task["order"] = order
                runners.append(task["runner"])
            elif order == "cancel" and is_whole:
                task.update(state="CANCELLED", end=time.time())
            elif order in ("cancel", "vanish"):
                # As in Slurm: an element that is cancelled while it waits leaves no trace.
                continue
            if order != "vanish":
                kept.append(task)
        state["tasks"] = kept
        started = _schedule(state)
    for runner in runners:
        if runner:
            os.kill(runner, signal.SIGTERM)
    _start(folder, started)


def _short_options(
    arguments: list[str], with_value: str, long: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return the options that have a value; the others are left out."""
    found: dict[str, str] = {}
    names = {f"-{letter}" for letter in with_value} | set(long)
    for position, word in enumerate(arguments):
        if word in names and position + 1 < len(arguments):
            found[word] = arguments[position + 1]
    return found


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _error(text: str) -> None:
    sys.stderr.write(text + "\n")


_COMMANDS: dict[str, Callable[[str, list[str]], int]] = {
    "sacct": _sacct,
    "sacctmgr": _sacctmgr,
    "sbatch": _sbatch,
    "scancel": _scancel,
    "scontrol": _scontrol,
    "sinfo": _sinfo,
    "squeue": _squeue,
}

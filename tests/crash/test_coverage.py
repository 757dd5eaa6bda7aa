"""Every file operation of slurmtune is one that can go wrong in these tests: none escapes the seam.

What the seam saw is compared with what the kernel saw, by strace.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from slurmtune.testing.crash.plan import (
    covered,
    deaths,
    failures,
    lost_replies,
    thinned,
    torn_writes,
)
from slurmtune.testing.crash.seam import DRIVER, Operation, masked
from slurmtune.testing.crash.study import CrashStudy, scratch_folder

pytestmark = pytest.mark.slow

STOPS = ((0.0, {"command": "stop", "trial": 1}), (0.3, {"command": "stop", "trial": 0}))


@cache
def runs() -> tuple[tuple[Operation, ...], tuple[Operation, ...], tuple[Operation, ...]]:
    """Operations of a driver, of one that is told to stop trials, and of slots and programs."""
    with scratch_folder() as folder:
        found = []
        for name, commands in (("plain", ()), ("stops", STOPS)):
            os.mkdir(os.path.join(folder, name))
            with CrashStudy(os.path.join(folder, name), commands=commands) as study:
                study.live()
            found.append(study)
        plain, stops = found
        slots = plain.operations(lambda actor: actor.startswith(("slot", "program")))
        return tuple(plain.operations()), tuple(stops.operations()), tuple(slots)


def table(operations: tuple[Operation, ...]) -> Counter[tuple[str, str]]:
    """How often the tests let each operation go wrong, by its name and the kind of the fault."""
    return (
        covered(deaths(operations), operations)
        + covered(torn_writes(operations), operations)
        + covered(thinned(lost_replies(operations), operations), operations)
        + covered(thinned(failures(operations), operations, most=1), operations)
    )


@pytest.mark.parametrize("who", range(3), ids=["driver", "driver-stops", "slot"])
def test_every_operation_goes_wrong_in_every_way(who: int) -> None:
    """Prints the table with ``pytest -s``."""
    operations = runs()[who]
    counts = table(operations)
    kinds = sorted({kind for _, kind in counts})
    lines = []
    for name in sorted({operation.name for operation in operations}):
        row = "".join(f"{counts[name, kind]:>6}" for kind in kinds)
        lines.append(f"{name:<75}{row}")
    lines.append(f"{'all':<75}" + "".join(f"{sum_of(counts, kind):>6}" for kind in kinds))
    sys.stdout.write("\n".join(["", f"{'':<75}" + ", ".join(kinds), *lines, ""]))

    missing = {
        operation.name
        for operation in operations
        if not counts[operation.name, "die before it"]
        or not counts[operation.name, "not done, and told as failed"]
        or (operation.verb == "write" and operation.size > 1 and not torn(counts, operation))
    }
    assert missing == set()


def torn(counts: Counter[tuple[str, str]], operation: Operation) -> int:
    return counts[operation.name, "die after a part of its bytes"]


def sum_of(counts: Counter[tuple[str, str]], kind: str) -> int:
    return sum(count for (_, found), count in counts.items() if found == kind)


# ------------------------------------------------------------------ what the kernel sees

RECORD = """
import json, sys
from slurmtune.testing.crash.study import CrashStudy
with CrashStudy(sys.argv[1]) as study:
    study.live()
print(json.dumps([[o.verb, o.path] for o in study.seam.operations]))
"""
# What the seam calls a call of the kernel.
VERBS = {
    "pwrite64": "write",
    "pread64": "read",
    "ftruncate": "truncate",
    "fdatasync": "sync",
    "linkat": "link",
    "renameat": "rename",
    "renameat2": "rename",
    "mkdirat": "mkdir",
    "unlinkat": "unlink",
    "utimensat": "touch",
    "newfstatat": "stat",
    "lstat": "stat",
}
CALLS = (
    "open,openat,creat,close,read,pread64,readv,preadv,write,pwrite64,writev,pwritev,fsync,"
    "fdatasync,ftruncate,truncate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,"
    "unlinkat,mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,chown,fchown,fchownat,utimensat,mknod,"
    "mknodat,sendfile,copy_file_range,fallocate,setxattr,fsetxattr,flock,getdents64"
)
CHANGING = {"create", "write", "rename", "link", "unlink", "mkdir", "rmdir", "truncate"}


def calls(trace: str, root: str) -> Iterator[tuple[str, str]]:
    """Yield verb and path of every call below ``root`` that succeeded or was tried."""
    for line in trace.splitlines():
        found = re.match(r"(?:\d+ +)?(\w+)\((?:AT_FDCWD<[^>]*>, )?(.*)", line)
        if found is None:
            continue
        call, rest = found.groups()
        if call.endswith(("at", "at2")):  # a name in an open folder
            rest = re.sub(r'\d+<(/[^>]*)>, "([^/"]+)"', r'"\1/\2"', rest)
        rest = re.sub(r"AT_FDCWD<[^>]*>", "", rest)
        paths = [path for path in re.findall(r'[<"](/[^>"]*)[>"]', rest) if root in path]
        if not paths:
            continue
        path = paths[-1] if call.startswith(("rename", "link")) else paths[0]
        verb = VERBS.get(call, call)
        if call in {"open", "openat"}:
            verb = "create" if "O_CREAT" in rest else "open"
        if call == "unlinkat" and "AT_REMOVEDIR" in rest:
            verb = "rmdir"
        yield verb, path[len(root) :].strip("/") or "."


def traced(command: list[str], folder: Path) -> tuple[str, str]:
    """Run a command under strace; return what it printed and the trace."""
    trace = folder / "trace"
    strace = ["strace", "-f", "-qq", "-y", "-s", "300", "-e", f"trace={CALLS}"]
    done = subprocess.run(
        [*strace, "-e", "signal=none", "-o", str(trace), *command],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, trace.read_text("utf-8", "replace")


needs_strace = pytest.mark.skipif(
    # In CI it must be there: then the tests run, and fail without it.
    shutil.which("strace") is None and not os.environ.get("CI"),
    reason="strace is not installed: apt-get install strace",
)


@needs_strace
def test_the_seam_sees_what_the_kernel_sees(tmp_path: Path) -> None:
    """One run: the same changes in the same order, by the seam's list and by strace's."""
    root = tmp_path / "study"
    root.mkdir()
    out, trace = traced([sys.executable, "-c", RECORD, str(root)], tmp_path)

    import json

    by_seam = [(verb, path) for verb, path in json.loads(out) if verb in CHANGING]
    by_kernel = [(verb, path) for verb, path in calls(trace, str(root)) if verb in CHANGING]
    # The folder's spec is written before the seam is opened.
    by_kernel = [call for call in by_kernel if call[1] != "spec.toml"]
    assert Counter(by_seam) == Counter(by_kernel)
    assert by_seam == by_kernel


@needs_strace
def test_a_real_launch_does_nothing_that_is_never_disturbed(tmp_path: Path) -> None:
    """Driver, slots and programs as processes of their own, by the command line."""
    from slurmtune.testing.live_study import COMMAND_LINE, LiveStudy

    spec = (
        '[run]\ncommand = ["sh", "train.sh"]\nargs = "none"\n[objective]\nmetric = "loss"\n'
        'goal = "minimize"\n[space]\nq = { int = [1, 1000] }\n[fidelity]\nresource = "epoch"\n'
        "max = 4\neta = 4\n[search]\nscheduler = 'asha'\ntrials = 4\nparallel = 2\n"
    )
    live = LiveStudy(tmp_path / "live", spec)
    try:
        command = ["env", f"STARTS={tmp_path}/starts"]
        command += [*COMMAND_LINE, str(live.spec), "--local=2"]
        _, trace = traced(command, live.folder)
    finally:
        live.close()
    root = str(live.folder / "runs")
    real = {
        f"{verb} {masked(os.path.normpath('runs/' + path))}" for verb, path in calls(trace, root)
    }
    real = {name.replace("runs/live", "runs/crash") for name in real}
    # What the two kinds of programs call the file that they save.
    real = {re.sub(r"/epoch$", "/state", name) for name in real}
    real = {name for name in real if name.split()[0] in CHANGING}
    disturbed = {operation.name for found in runs() for operation in found}
    assert len(real) > 40
    assert {name for name in real - disturbed if not is_harmless(name)} == set()


def is_harmless(name: str) -> bool:
    """Whether the operation is not slurmtune's own, or one that nothing depends on."""
    return bool(
        re.search(
            # What people read: the driver's own log, and what slots and programs print.
            r" runs/crash/(driver\.log|logs/|trials/TRIAL/ATTEMPT/output\.log$)"
            # What the backend of local processes notes of them.
            r"|/arrays/TOKEN/\.?local"
            # The program's own file.
            r"|/\.CHECKPOINT\.ID\.tmp/epoch$",
            name,
        )
    )


def test_each_table_holds_the_operations_of_its_actors_alone() -> None:
    drivers, _, slots = runs()
    assert {operation.actor for operation in drivers} == {DRIVER}
    assert not any(operation.actor == DRIVER for operation in slots)


def test_names_are_masked() -> None:
    names: Any = {
        "runs/crash/offers/c0-20132a5b/000990-t00002.r1.a1.json": "runs/crash/offers/CLASS/OFFER",
        "claims/.t00002.r0.a1.d144b781a66a4a7391d123b7ef8467b5.tmp": "claims/.ATTEMPT.ID.tmp",
        "checkpoints/.0.5.t00002.r0.a1.d144b781a66a4a7391d123b7ef8467b5.tmp": (
            "checkpoints/.CHECKPOINT.ID.tmp"
        ),
        "journal/00000001-81862aef.log": "journal/SEGMENT",
        "arrays/st-db3a86e1-1-1/1.0.log": "arrays/TOKEN/SLOT.log",
    }
    assert {masked(name) for name in names} == set(names.values())

"""One directory seen through two mounts that know nothing of each other, as a login node and a compute node see it.

Two kinds, which are each other's mirror image. bindfs: listings are fresh, and a name that was asked for before it
was there stays absent for seconds, as on NFS. sshfs: names are fresh, and listings are seconds old. Neither has locks
that hold on both mounts.

Needs root, /dev/fuse, bindfs (fuse3) and for the second kind sshfs and sshd on the loopback interface. With
SLURMTUNE_REQUIRE_SHARED_FS=1 (scripts/test in CI) what is missing is a failure.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

ATTRIBUTE_SECONDS, ENTRY_SECONDS, NEGATIVE_SECONDS = 1, 3, 4
"""How long bindfs' kernel cache believes attributes, names, and that a name is absent."""
LISTING_SECONDS = 3
"""How long sshfs believes a listing."""
PATIENCE_SECONDS = 20.0

SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/hostkey
AuthorizedKeysFile {folder}/id.pub
StrictModes no
PidFile none
Subsystem sftp internal-sftp
PasswordAuthentication no
PermitRootLogin prohibit-password
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine of the cluster: a mount namespace with its mount, and a name of its own."""

    name: str
    holder: int
    """Process that keeps the namespaces."""

    def command(self, *argv: str, cwd: str = "/") -> list[str]:
        """Return the command that runs ``argv`` there."""
        enter = [
            "nsenter",
            f"--mount=/proc/{self.holder}/ns/mnt",
            f"--uts=/proc/{self.holder}/ns/uts",
        ]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', cwd, *argv]

    def python(self, *argv: str, cwd: str = "/") -> list[str]:
        """Return the command that runs Python there."""
        return self.command(sys.executable, *argv, cwd=cwd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The directory and its two mounts."""

    kind: str
    truth: Path
    """The directory itself, without any cache."""
    a: Path
    b: Path
    shared: Path
    """Where each node sees its mount; the tests see the truth there."""
    nodes: tuple[Node, Node]


@pytest.fixture(scope="session")
def bindfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Listings fresh, absent names remembered."""
    with ExitStack() as stack:
        yield _shared(stack, "bindfs", tmp_path_factory.mktemp("bindfs"), _bindfs)


@pytest.fixture(scope="session")
def sshfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Names fresh, listings old."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("sshfs")
        _require("sshfs", "ssh-keygen", "/usr/sbin/sshd")
        port = _start_sshd(stack, folder)
        yield _shared(stack, "sshfs", folder, lambda *mount: _sshfs(folder, port, *mount))


@pytest.fixture(params=["bindfs", "sshfs"])
def either(request: pytest.FixtureRequest) -> Shared:
    """Each of the two kinds."""
    shared: Shared = request.getfixturevalue(request.param)
    return shared


def _require(*programs: str) -> None:
    """Skip, or fail where these tests must run."""
    why = ""
    if os.geteuid() != 0:
        why = "mounting needs root"
    elif not os.path.exists("/dev/fuse"):
        why = "there is no /dev/fuse"
    elif missing := [name for name in programs if shutil.which(name) is None]:
        why = f"not installed: {', '.join(missing)}"
    if not why:
        return
    text = f"THE TESTS ON SHARED FILE SYSTEMS WERE NOT RUN: {why}"
    if os.environ.get("SLURMTUNE_REQUIRE_SHARED_FS"):
        pytest.fail(text)
    pytest.skip(text)


def _shared(
    stack: ExitStack, kind: str, folder: Path, mount: Callable[[Path, Path], Sequence[str]]
) -> Shared:
    _require("bindfs", "nsenter", "unshare", "umount")
    truth, a, b, shared = (folder / name for name in ("vol", "a", "b", "shared"))
    for path in (truth, a, b, shared):
        path.mkdir(mode=0o700)
    for path in (a, b):
        _run(*mount(truth, path))
        stack.callback(_run, "umount", "-l", str(path))
    _run("mount", "--bind", str(truth), str(shared))
    stack.callback(_run, "umount", "-l", str(shared))
    nodes = (
        _node(stack, "login1", a, shared),
        _node(stack, "node7", b, shared),
    )
    return Shared(kind=kind, truth=truth, a=a, b=b, shared=shared, nodes=nodes)


def _node(stack: ExitStack, name: str, mount: Path, shared: Path) -> Node:
    script = 'hostname "$0" && mount --bind "$1" "$2" && echo ready && exec sleep 3600'
    holder = subprocess.Popen(
        ["unshare", "--mount", "--uts", "sh", "-c", script, name, str(mount), str(shared)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stack.enter_context(holder)
    stack.callback(holder.kill)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    return Node(name=name, holder=holder.pid)


def _bindfs(truth: Path, mount: Path) -> Sequence[str]:
    times = (
        f"attr_timeout={ATTRIBUTE_SECONDS},entry_timeout={ENTRY_SECONDS},"
        f"negative_timeout={NEGATIVE_SECONDS}"
    )
    return ["bindfs", "-o", times, str(truth), str(mount)]


def _sshfs(folder: Path, port: int, truth: Path, mount: Path) -> Sequence[str]:
    options = (
        f"port={port},IdentityFile={folder}/id,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,"
        f"LogLevel=ERROR,dcache_timeout={LISTING_SECONDS},allow_other"
    )
    return ["sshfs", "-F", "/dev/null", "-o", options, f"root@127.0.0.1:{truth}", str(mount)]


def _start_sshd(stack: ExitStack, folder: Path) -> int:
    """Start a server for this user's own key on the loopback interface; return its port."""
    for name in ("hostkey", "id"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    (folder / "sshd_config").write_text(SSHD.format(port=port, folder=folder))
    os.makedirs("/run/sshd", exist_ok=True)
    server = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-f", str(folder / "sshd_config")],
        stderr=subprocess.DEVNULL,
    )
    stack.enter_context(server)
    stack.callback(server.kill)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return port
        except OSError:
            assert time.monotonic() < deadline, "sshd does not answer"
            time.sleep(0.05)


def _run(*argv: str) -> None:
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, f"{argv}: {done.stderr}"

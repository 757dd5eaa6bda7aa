"""A real Slurm for tests: ``slurm_cluster`` (one test's view of a shared cluster), ``make_cluster`` (any cluster).

Clusters are started on demand by ``scripts/slurm-cluster``, shared by the tests that ask for the same options, and
stopped at the end of the session by the same script. Every test in this folder carries the marker ``slurm``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm-cluster"
PROGRAMS = ("slurmctld", "slurmd", "squeue", "munged")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd")
# Daemons live outside the PATH of ordinary users.
SEARCH_PATH = os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin" + os.pathsep + "/sbin"

Option: TypeAlias = "bool | int | str | Sequence[str]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A running Slurm, and how a test speaks with it."""

    dir: Path
    """The directory which holds all of it: etc, log, state."""

    @property
    def conf(self) -> Path:
        """Its slurm.conf, the value of SLURM_CONF."""
        return self.dir / "etc" / "slurm.conf"

    def environment(self) -> dict[str, str]:
        """The environment in which commands reach this cluster and obey nobody's private settings."""
        kept = {key: value for key, value in os.environ.items() if not is_slurm_setting(key)}
        return {**kept, "SLURM_CONF": str(self.conf)}

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_seconds: float = 60,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """The finished command; a failed one is returned like any other.

        Args:
            argv: the command and its arguments.
            timeout_seconds: after which it is killed and subprocess.TimeoutExpired raised.
            cwd: where it runs; jobs write their output there. The cluster's own folder if None.
            environment: added to that of the cluster.
        """
        return subprocess.run(
            list(argv),
            cwd=cwd or self.dir,
            env={**self.environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def output(self, argv: Sequence[str], *, timeout_seconds: float = 60) -> str:
        """The standard output of a command that must succeed, without blanks around it."""
        done = self.run(argv, timeout_seconds=timeout_seconds)
        assert done.returncode == 0, (
            f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr}"
        )
        return done.stdout.strip()

    def wait_until(
        self, condition: Callable[[], object], *, what: str, timeout_seconds: float = 60
    ) -> None:
        """Returns when the condition holds, and fails the test when that takes too long."""
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            if time.monotonic() > deadline:
                queue = self.run(["squeue", "--all", "--array"]).stdout
                pytest.fail(f"after {timeout_seconds} s still not: {what}\n{queue}")
            time.sleep(0.1)

    def jobs(self) -> list[str]:
        """The ids of all jobs that have not ended."""
        return self.output(["squeue", "--all", "--noheader", "--format=%i"]).split()

    def cancel_all(self) -> None:
        """Ends every job, and returns when none is left."""
        # Whole arrays: the id of a throttled one, 7_[2-9%1], is none for scancel.
        arrays = self.output(["squeue", "--all", "--noheader", "--format=%F"]).split()
        self.run(["scancel", "--quiet", *sorted(set(arrays))])
        self.wait_until(lambda: not self.jobs(), what="the queue is empty")


class ClusterPool:
    """The clusters of this session, one for each set of options."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._started: list[Cluster] = []
        self._running: dict[tuple[str, ...], Cluster] = {}

    def get(self, **options: Option) -> Cluster:
        """The running cluster with these options of ``slurm-cluster start``; ``min_job_age=5`` is ``--min-job-age 5``."""
        arguments = to_arguments(options)
        if arguments not in self._running:
            require_slurm(accounting=bool(options.get("db")))
            self._running[arguments] = self._start(arguments)
        return self._running[arguments]

    def _start(self, arguments: tuple[str, ...]) -> Cluster:
        cluster = Cluster(dir=self._base / f"cluster{len(self._started)}")
        # What starts halfway is ours to stop as well, so it is noted before it runs.
        self._started.append(cluster)
        call_script("start", str(cluster.dir), *arguments)
        return cluster

    def stop(self) -> None:
        """Stops everything that was started."""
        for cluster in self._started:
            if (cluster.dir / "options").exists():
                call_script("stop", str(cluster.dir))


def to_arguments(options: Mapping[str, Option]) -> tuple[str, ...]:
    arguments: list[str] = []
    for name, value in sorted(options.items()):
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            arguments += [flag] if value else [f"--no-{flag.removeprefix('--')}"]
        elif isinstance(value, int | str):
            arguments += [flag, str(value)]
        else:
            arguments += [part for one in value for part in (flag, one)]
    return tuple(arguments)


def call_script(*arguments: str) -> str:
    """The standard output of ``scripts/slurm-cluster``, which must succeed."""
    done = subprocess.run(
        [str(SCRIPT), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"slurm-cluster {' '.join(arguments)}:\n{done.stderr}"
    return done.stdout


def require_slurm(*, accounting: bool = False) -> None:
    """Skips the test where Slurm is not installed; where it must be, fails."""
    wanted = PROGRAMS + (ACCOUNTING_PROGRAMS if accounting else ())
    missing = [name for name in wanted if shutil.which(name, path=SEARCH_PATH) is None]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)} (run: scripts/slurm-cluster install --db)"
    if os.environ.get("CI") or os.environ.get("SLURMTUNE_REQUIRE_SLURM") == "1":
        pytest.fail(f"{reason}; here the tests with Slurm must run")
    pytest.skip(reason)


def is_slurm_setting(variable: str) -> bool:
    """True for a variable that changes what Slurm's commands do or tells of the job around us."""
    return variable.startswith(("SLURM", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def cluster_pool() -> Iterator[ClusterPool]:
    # Sockets have short paths only: the folders of pytest are too deep for them.
    base = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    pool = ClusterPool(base)
    yield pool
    pool.stop()
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def make_cluster(cluster_pool: ClusterPool) -> Callable[..., Cluster]:
    """``make_cluster(db=True, nodes=2)``: the running cluster with these options, shared within the session."""
    return cluster_pool.get


@pytest.fixture
def slurm_cluster(
    request: pytest.FixtureRequest,
    make_cluster: Callable[..., Cluster],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cluster]:
    """A cluster without jobs, to which SLURM_CONF points; its options come from the marker ``cluster``."""
    marker = request.node.get_closest_marker("cluster")
    cluster = make_cluster(**(marker.kwargs if marker else {}))
    for variable in [key for key in os.environ if is_slurm_setting(key)]:
        if not variable.startswith("SLURMTUNE_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))

    yield cluster

    # A test may have stopped a daemon: starting again starts only what is missing.
    call_script("start", str(cluster.dir))
    cluster.cancel_all()

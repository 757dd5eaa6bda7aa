"""The limits and habits of a cluster, read from Slurm's own reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_ASSOCIATION_FIELDS = ("Account", "Partition", "MaxJobs", "MaxSubmit", "QOS", "DefaultQOS")
_QOS_FIELDS = ("Name", "MaxJobsPU", "MaxSubmitPU")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """What ``scontrol show config`` says; values that it leaves out are Slurm's defaults."""

    cluster: str = ""
    version: str = ""
    max_array_size: int = 1001
    """Indices of an array must be below this."""
    min_job_age_seconds: int = 300
    """How long squeue remembers a job that has ended."""
    kill_wait_seconds: int = 30
    """Time between SIGTERM and SIGKILL."""
    requeues: bool = True
    """Whether jobs may be put back into the queue (JobRequeue)."""
    preempt_mode: str = ""
    """OFF, CANCEL, REQUEUE, SUSPEND, GANG or a list of them."""
    has_accounting: bool = False
    """Whether sacct can answer."""
    enforced: tuple[str, ...] = field(default=())
    """What is enforced of accounts: associations, limits, qos …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """What the user may do under one account."""

    account: str
    partition: str
    """Empty: any partition."""
    max_jobs: int | None
    """Jobs that may run at once."""
    max_submit: int | None
    """Jobs that may be queued or running at once."""
    qos: tuple[str, ...]
    default_qos: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Qos:
    """Limits of one QOS on a single user."""

    name: str
    max_jobs: int | None
    max_submit: int | None


def config_command() -> list[str]:
    """Return the command that prints the configuration of the cluster."""
    return ["scontrol", "show", "config"]


def parse_config(text: str) -> ClusterConfig:
    """Return the part of the configuration that matters to us."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator:
            values.setdefault(name.strip(), value.strip())
    default = ClusterConfig()
    enforced = values.get("AccountingStorageEnforce", "none").lower()
    return ClusterConfig(
        cluster=values.get("ClusterName", ""),
        version=values.get("SLURM_VERSION", ""),
        max_array_size=_number(values.get("MaxArraySize"), default.max_array_size),
        min_job_age_seconds=_number(values.get("MinJobAge"), default.min_job_age_seconds),
        kill_wait_seconds=_number(values.get("KillWait"), default.kill_wait_seconds),
        requeues=_number(values.get("JobRequeue"), 1) != 0,
        preempt_mode=values.get("PreemptMode", ""),
        has_accounting=values.get("AccountingStorageType", "").endswith(("slurmdbd", "mysql")),
        enforced=() if enforced in ("none", "", "(null)") else tuple(enforced.split(",")),
    )


def associations_command(user: str) -> list[str]:
    """Return the command that prints the user's accounts and their limits."""
    listed = ",".join(_ASSOCIATION_FIELDS)
    return ["sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", f"format={listed}"]


def parse_associations(text: str) -> list[Association]:
    """Return the user's associations."""
    found: list[Association] = []
    for fields in _table(text, len(_ASSOCIATION_FIELDS)):
        account, partition, max_jobs, max_submit, qos, default_qos = fields
        found.append(
            Association(
                account=account,
                partition=partition,
                max_jobs=_limit(max_jobs),
                max_submit=_limit(max_submit),
                qos=tuple(name for name in qos.split(",") if name),
                default_qos=default_qos,
            )
        )
    return found


def default_account_command(user: str) -> list[str]:
    """Return the command that prints the account that jobs get without ``--account``."""
    return ["sacctmgr", "-n", "-P", "show", "user", user, "format=DefaultAccount"]


def qos_command() -> list[str]:
    """Return the command that prints the limits of every QOS."""
    return ["sacctmgr", "-n", "-P", "show", "qos", f"format={','.join(_QOS_FIELDS)}"]


def parse_qos(text: str) -> list[Qos]:
    """Return the limits of every QOS."""
    rows = _table(text, len(_QOS_FIELDS))
    return [Qos(name=n, max_jobs=_limit(jobs), max_submit=_limit(sub)) for n, jobs, sub in rows]


def submit_limit(
    associations: Iterable[Association], qos: Iterable[Qos], enforced: Iterable[str]
) -> int | None:
    """Return how many jobs the user may have queued or running at once; None is no limit.

    The largest limit of any account and QOS of the user that has one: which of them a job falls
    under is only known to Slurm, and its refusal of more than that is no error.
    """
    if not {"limits", "safe", "qos", "all"} & set(enforced):
        return None
    mine = list(associations)
    names = {name for association in mine for name in association.qos}
    by_account = [association.max_submit for association in mine]
    by_qos = [one.max_submit for one in qos if one.name in names]
    limits = [_largest(by_account), _largest(by_qos)]
    return min((limit for limit in limits if limit is not None), default=None)


def _largest(limits: Sequence[int | None]) -> int | None:
    """Return the largest limit; None when there is none or one of them is no limit."""
    known = [limit for limit in limits if limit is not None]
    return max(known) if known and len(known) == len(limits) else None


def _table(text: str, width: int) -> list[list[str]]:
    """Return the rows of sacctmgr's ``-P`` output that have the right number of columns."""
    rows = (line.strip().split("|") for line in text.splitlines())
    return [row for row in rows if len(row) == width]


def _limit(text: str) -> int | None:
    """Return a limit; empty and negative ones are none."""
    return int(text) if text.isdigit() else None


def _number(text: str | None, default: int) -> int:
    """Return the number at the start of ``30 sec``."""
    first = (text or "").split()
    return int(first[0]) if first and first[0].isdigit() else default

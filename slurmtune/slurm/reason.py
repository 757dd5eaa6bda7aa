"""Slurm's reasons for waiting, in plain words, and which of them never go away by waiting.

Reasons are mostly single words (``Priority``), but some are sentences (``launch failed requeued
held``) and some carry a detail after a comma (``ReqNodeNotAvail, UnavailableNodes:node4``). One
that is not in the tables is shown as Slurm wrote it: Slurm knows close to two hundred.
"""

from __future__ import annotations

_WORDS = {
    "Resources": "no free node of this size; next in line",
    "Priority": "other jobs are ahead",
    "BeginTime": "waits for its start time, or for Slurm's two minutes after a requeue",
    "Dependency": "waits for another job to end",
    "DependencyNeverSatisfied": "the job it waits for failed: it never starts",
    "JobHeldUser": "held by you: free it with `scontrol release`",
    "JobHeldAdmin": "held by an administrator: only they can release it",
    "launch failed requeued held": (
        "the node could not start it: `scontrol release` after a look at the log"
    ),
    "job requeued in held state": "requeued and held: free it with `scontrol release`",
    "JobHoldMaxRequeue": "requeued too often, now held: `scontrol release` tries again",
    "PartitionTimeLimit": "the time limit is above the partition's: it never starts",
    "PartitionNodeLimit": "asks for more nodes than the partition allows: it never starts",
    "PartitionConfig": "the partition cannot give what it asks for: it never starts",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "BadConstraints": "no node can satisfy its constraints: it never starts",
    "InvalidAccount": "the account is not valid: it never starts",
    "InvalidQOS": "the QOS is not valid: it never starts",
    "AccountNotAllowed": "the account may not use this partition: it never starts",
    "QOSNotAllowed": "the QOS may not be used here: it never starts",
    "NodeDown": "a node that it needs is down",
    "Reservation": "waits for its reservation",
    "Licenses": "waits for a licence",
    "Cleaning": "its last run is still being cleaned up",
    "Prolog": "the node is being prepared",
    "None": "not looked at by Slurm yet",
}

_NEVER = frozenset(
    {
        "AccountNotAllowed",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "InvalidAccount",
        "InvalidQOS",
        "JobHeldAdmin",
        "PartitionConfig",
        "PartitionNodeLimit",
        "PartitionTimeLimit",
        "QOSNotAllowed",
    }
)
_BROKEN = frozenset({"JobHoldMaxRequeue", "launch failed requeued held"})


def plain_reason(
    reason: str,
    *,
    qos: str = "",
    account: str = "",
    array_limit: int | None = None,
    parallel: int | None = None,
) -> str:
    """Return why a job waits, in words for people.

    Args:
        reason: Slurm's reason, as ``squeue -o %r`` prints it.
        qos: Name of the job's QOS, empty when not known.
        account: Name of the job's account, empty when not known.
        array_limit: The ``array_limit`` of the spec (``%k`` of the array).
        parallel: Attempts that may run at once, if the spec has no ``array_limit``: slots that
            were queued ahead are then kept from running beyond it.
    """
    word, _, detail = (part.strip() for part in reason.partition(","))
    if word == "JobArrayTaskLimit" and parallel is not None and array_limit is None:
        return f"queued ahead; at most {parallel} run at once"
    if word == "JobArrayTaskLimit":
        return "your own array_limit" + ("" if array_limit is None else f" ({array_limit})")
    if word.startswith("ReqNodeNotAvail"):
        nodes = detail.partition(":")[2]
        return "nodes are down or reserved" + (f": {nodes}" if nodes else "")
    if word not in _WORDS:
        if never_starts(word) and word.startswith(("QOS", "Assoc")):
            return f"asks for more than one job may have ({word}): it never starts"
        if word.startswith("QOS"):
            name = f"QOS {qos}" if qos else "the QOS"
            return f"your limit in {name} is in use ({word})"
        if word.startswith("Assoc"):
            name = f"account {account}" if account else "your account"
            return f"{name} has reached its limit ({word}): ask its owner"
    return _WORDS.get(word, reason)


def is_broken(reason: str) -> bool:
    """Tell whether a node could not start the job, and Slurm holds it for that: another may."""
    return reason.partition(",")[0].strip() in _BROKEN


def never_starts(reason: str) -> bool:
    """Tell whether a job that waits for this reason will wait for ever.

    A job that its own user holds is not counted: the user knows.
    """
    word = reason.partition(",")[0].strip()
    if word in _NEVER or "not permitted to use this partition" in reason:
        return True
    if word.startswith(("QOSMax", "AssocMax")):
        return "PerJob" in word or "MaxWall" in word
    return False

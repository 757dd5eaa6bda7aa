"""From the operations of a run that nobody disturbed to everything that can go wrong in it."""

from __future__ import annotations

import errno
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from slurmtune.testing.crash.seam import (
    CLOSE,
    CREATE,
    LINK,
    MKDIR,
    RENAME,
    SYNC,
    UNLINK,
    WRITE,
    Fault,
    Kind,
    Operation,
)

_TROUBLE = (errno.EIO, errno.ESTALE)
# A full disk is told when something is begun, a quota also when it is brought to the server.
_NO_SPACE: Mapping[str, Sequence[int]] = {
    CREATE: (errno.ENOSPC,),
    MKDIR: (errno.ENOSPC,),
    LINK: (errno.ENOSPC,),
    RENAME: (errno.ENOSPC,),
    WRITE: (errno.ENOSPC, errno.EDQUOT),
    SYNC: (errno.EDQUOT,),
    CLOSE: (errno.EDQUOT,),
}
_LOST_AS: Mapping[str, Sequence[int]] = {
    RENAME: (errno.EIO, errno.ESTALE, errno.ENOENT, errno.EEXIST),
    LINK: (errno.EIO, errno.ESTALE, errno.ENOENT, errno.EEXIST),
    MKDIR: (errno.EIO, errno.ESTALE, errno.EEXIST),
    UNLINK: (errno.EIO, errno.ESTALE, errno.ENOENT),
    CREATE: (errno.EIO, errno.ESTALE, errno.EEXIST),
    "submit": (errno.EIO,),
    "cancel": (errno.EIO,),
}
"""What a call that was carried out can be told to have failed with: the request was sent twice,
or the server went away before it answered."""


def deaths(operations: Sequence[Operation]) -> list[Fault]:
    """Return a death at every operation that finds another world than the one before it.

    A death after an operation is one before the next. What was only read leaves nothing behind,
    so of all operations between two changes one stands for all (see `Operation.state`).
    """
    last = len(operations) - 1
    return [
        *(Fault(at=number, kind=Kind.DIE) for number in first_of_each_state(operations)),
        Fault(at=last, kind=Kind.DIE_AFTER),
    ]


def first_of_each_state(operations: Iterable[Operation]) -> list[int]:
    """Return the numbers of the operations before which the world is another than before."""
    found: dict[int, int] = {}
    for number, operation in enumerate(operations):
        found.setdefault(operation.state, number)
    return list(found.values())


def torn_writes(operations: Sequence[Operation]) -> list[Fault]:
    """Return deaths within every write: after one byte, after half of them, before the last.

    After none and after all of them are deaths before the write and before the next operation.
    """
    return [
        Fault(at=number, kind=Kind.TORN, part=part)
        for number, operation in enumerate(operations)
        if operation.verb == WRITE
        for part in sorted({1, operation.size // 2, operation.size - 1} - {0, operation.size})
    ]


def lost_replies(operations: Sequence[Operation]) -> list[Fault]:
    """Return, for every change of names, that it was carried out and told as failed."""
    return [
        Fault(at=number, kind=Kind.LOST, error=error)
        for number, operation in enumerate(operations)
        for error in _LOST_AS.get(operation.verb, ())
    ]


def failures(operations: Sequence[Operation]) -> list[Fault]:
    """Return, for every operation, each error that it can meet."""
    return [
        Fault(at=number, kind=Kind.FAIL, error=error)
        for number, operation in enumerate(operations)
        for error in (*_TROUBLE, *_NO_SPACE.get(operation.verb, ()))
    ]


def thinned(
    faults: Sequence[Fault], operations: Sequence[Operation], most: int = 2
) -> list[Fault]:
    """Return the faults, but of those alike at operations of one name only so many, spread."""
    alike: dict[tuple[object, ...], list[Fault]] = defaultdict(list)
    for fault in faults:
        alike[operations[fault.at].name, fault.kind, fault.error].append(fault)
    kept = []
    for group in alike.values():
        step = max(1, -(-len(group) // most))
        kept += group[::step]
    return sorted(kept, key=lambda fault: fault.at)


def covered(faults: Iterable[Fault], operations: Sequence[Operation]) -> Counter[tuple[str, str]]:
    """Return how often each operation, by its name, meets each kind of fault.

    A death that stands for several operations counts for each of them.
    """
    by_state: dict[int, list[int]] = defaultdict(list)
    for number, operation in enumerate(operations):
        by_state[operation.state].append(number)
    counts: Counter[tuple[str, str]] = Counter()
    for fault in faults:
        alike: Collection[int] = (fault.at,)
        if fault.kind is Kind.DIE:
            alike = by_state[operations[fault.at].state]
        for number in alike:
            counts[operations[number].name, fault.kind.value] += 1
    return counts

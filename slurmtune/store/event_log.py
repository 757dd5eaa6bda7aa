"""Event logs of attempts: the records that a slot writes and everybody else reads.

Four kinds of record, told by ``k``; ``n`` counts them from 0: ``start`` (the program runs),
``report`` (metrics at a resource), ``checkpoint`` (one is published), ``end`` (how it ended). Only
the slot that claimed the attempt writes its log.

A ``start`` with ``"continued": true`` began in the process of the attempt before it. An ``end``
with ``"holds": true`` left its program alive, waiting for more work on its trial. What that
program still reports when nothing follows stands behind the end, with ``"late": true``: it is for
people, and no decision ever sees it.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

from typing import List

from slurmtune.store import frame, fs

EVENTS_NAME = "events.log"

START = "start"
REPORT = "report"
CHECKPOINT = "checkpoint"
END = "end"


def read(path: str) -> List[frame.Record]:
    """Return the whole records of a framed log; an unfinished tail is left out.

    Raises:
        FileNotFoundError: there is no log yet.
        OSError: it cannot be read.
    """
    return frame.parse(fs.read_file(path)).records

"""One of two drivers that replace each other all the time: a process of its own, one for each mount.

``race.py STUDY LOG EPOCHS``: opens the journal again and again until EPOCHS were claimed by both together. In each
epoch it does what a driver does: append, check the epoch, act. An action is a line in LOG, which is on a local disk;
so is what the journal told when it was opened.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import uuid

from slurmtune.errors import DriverBusyError, DriverFencedError
from slurmtune.store.journal import Journal
from slurmtune.store.layout import StudyLayout


def main(root: str, log_path: str, epochs: int) -> None:
    random.seed(log_path)
    with open(log_path, "w", encoding="ascii", buffering=1) as log:
        while True:
            try:
                journal, records = Journal.open(
                    StudyLayout(root), {"id": uuid.uuid4().hex, "pid": os.getpid()}
                )
            except DriverBusyError:
                time.sleep(random.uniform(0.0, 0.1))
                continue
            log.write(
                json.dumps({"epoch": journal.epoch, "opened": [r["id"] for r in records]}) + "\n"
            )
            if journal.epoch >= epochs:
                return
            drive(journal, log)
            journal.close()


def drive(journal: Journal, log: object) -> None:
    """Work until another driver takes over, or for a while."""
    deadline = time.monotonic() + random.uniform(0.0, 0.6)
    try:
        while time.monotonic() < deadline:
            record = {"id": uuid.uuid4().hex}
            journal.append([record])
            journal.check_owner()
            print(json.dumps({"epoch": journal.epoch, "acted": record["id"]}), file=log)  # type: ignore[call-overload]
            time.sleep(random.uniform(0.0, 0.02))
    except DriverFencedError:
        print(json.dumps({"epoch": journal.epoch, "fenced": True}), file=log)  # type: ignore[call-overload]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

"""Entry of a slot: ``python -m slurmtune.worker STUDY_DIR TOKEN MANIFEST_SHA256 [--task N]``.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import os
import sys
import time
from typing import List

from slurmtune.errors import SlurmtuneError
from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout
from slurmtune.store.manifest import load_manifest
from slurmtune.worker.attempt import SlotIdentity
from slurmtune.worker.signals import SignalInbox
from slurmtune.worker.slot import EXIT_NO_SPACE, EXIT_REFUSED, Slot

_USAGE = "usage: python -m slurmtune.worker STUDY_DIR TOKEN MANIFEST_SHA256 [--task N]\n"
_EXIT_USAGE = 2


def main(argv: List[str]) -> int:
    """Serve offers as one slot and return its exit code."""
    started = time.monotonic()
    task = os.environ.get("SLURM_ARRAY_TASK_ID", "0")
    if len(argv) == 5 and argv[3] == "--task":
        task = argv.pop()
        argv.pop()
    if len(argv) != 3 or not task.isdigit():
        sys.stderr.write(_USAGE)
        return _EXIT_USAGE
    study_dir, token, sha256 = argv
    layout = StudyLayout(os.path.abspath(study_dir))
    with SignalInbox() as inbox:
        try:
            fs.check_private(layout.root, owner=False)
            manifest = load_manifest(layout.manifest(token), sha256)
        except FileNotFoundError:
            sys.stderr.write(f"error: {study_dir} is missing, or not visible on this node\n")
            return EXIT_NO_SPACE
        except OSError as error:
            return _unusable(study_dir, error)
        except (SlurmtuneError, ValueError) as error:
            sys.stderr.write(f"error: {error}\n")
            return EXIT_REFUSED
        try:
            identity = _identity(token, int(task))
            return Slot(layout, manifest, identity, started=started, inbox=inbox).serve()
        except OSError as error:
            return _unusable(study_dir, error)


def _unusable(study_dir: str, error: OSError) -> int:
    sys.stderr.write(f"error: {study_dir} cannot be used: {error}\n")
    return EXIT_NO_SPACE


def _identity(token: str, index: int) -> SlotIdentity:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    restart = os.environ.get("SLURM_RESTART_COUNT", "0")
    return SlotIdentity(
        token=token,
        position=index,
        restart=int(restart) if restart.isdigit() else 0,
        job=f"{array}_{task}" if array and task else str(os.getpid()),
        # Slurm's name of the node, if there is one: that is what can be left out.
        host=os.environ.get("SLURMD_NODENAME") or os.uname().nodename,
        pid=os.getpid(),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Studies that are disturbed in one place each, and what must hold after any of it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from slurmtune.testing.crash.seam import Fault, Operation
from slurmtune.testing.crash.study import CrashStudy, scratch_folder


class Rig:
    """Makes studies in new folders and takes the folders away when nothing was wrong."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0

    def make(self, **arguments: Any) -> CrashStudy:
        """Return a study that was not launched yet."""
        self._made += 1
        folder = self._folder / str(self._made)
        folder.mkdir()
        return CrashStudy(str(folder), **arguments)

    def sweep(
        self,
        faults: Sequence[Fault],
        operations: Sequence[Operation],
        disturb: Callable[[CrashStudy, Fault], Sequence[str]],
        **arguments: Any,
    ) -> dict[str, list[str]]:
        """Disturb a new study by each fault; return what was wrong after which."""
        bad: dict[str, list[str]] = {}
        for fault in faults:
            study = self.make(**arguments)
            met = operations[fault.at].name
            try:
                wrong = list(disturb(study, fault))
            except Exception as error:  # noqa: BLE001 - told with the fault that led to it
                wrong = [f"{type(error).__name__}: {error}"]
            if met not in study.seam.fired:
                wrong.append(f"the fault did not meet it, but {study.seam.fired}")
            if wrong:
                bad[f"{met}: {fault}"] = wrong
            else:
                shutil.rmtree(study.folder)
        return bad


@pytest.fixture
def rig() -> Iterator[Rig]:
    # Accidents are told in warnings: thousands of them, and none is of interest here.
    logging.disable(logging.CRITICAL)
    with scratch_folder() as folder:
        yield Rig(Path(folder))
    logging.disable(logging.NOTSET)

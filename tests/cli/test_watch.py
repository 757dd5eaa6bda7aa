"""What `launch` tells while it watches."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from slurmtune.cli.output import LiveLine
from slurmtune.cli.watch import Watcher
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.study_rig import StudyRig


def told(folder: Path, **limits: Any) -> str:
    """Return all that a person is told about a study."""
    stream = io.StringIO()
    watcher = Watcher(
        LiveLine(stream),
        StudyLayout(str(folder)),
        name="rig",
        resource="epoch",
        command_of=str,
    )
    rig = StudyRig(trials=12, slots=3, levels=(1, 3, 9), limits=limits)
    rig.launch(rig.new_driver(observer=watcher))
    return stream.getvalue()


def test_a_checkpoint_that_was_removed_was_left(tmp_path: Path) -> None:
    words = told(tmp_path, keep="none")

    assert "t00000 rung 2 val_loss" in words
    assert "left no checkpoint" not in words

"""Checkpoints that were dropped, that heirs go on from, and what programs that go on leave behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurmtune.analysis.fsck.examine import Sources, examine
from slurmtune.analysis.fsck.finding import Finding, mend_all
from slurmtune.core.trial import AttemptState
from slurmtune.spec import launching
from slurmtune.store import checkpoint, frame, fs
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.written_study import (
    rig_of,
    spec_text,
    write_journal,
    write_logs,
    write_study,
)

SPEC = spec_text("pbt", trials=6, top=5)


class Written:
    """A study of population-based training with a folder for each checkpoint that should exist."""

    def __init__(self, folder: Path) -> None:
        spec = folder / "spec.toml"
        spec.write_text(SPEC)
        rig = rig_of(spec)
        assert rig.run() == "done"
        self.records = rig.stored_records()
        self.layout: StudyLayout = write_study(spec, self.records)

    def save_all(self) -> None:
        """Write every checkpoint that the journal says is there."""
        for trial in launching.read_study(self.layout).trials:
            for one in trial.saved:
                self.save(one.name)

    def save(self, name: str) -> str:
        _, writer = checkpoint.parse_checkpoint_name(name)
        number = int(writer[1:6])
        temporary = checkpoint.begin(self.layout, number, name)
        Path(temporary, "weights").write_text("1")
        final = self.layout.checkpoint(number, name)
        assert checkpoint.publish(temporary, final, {"trial": number})
        return final

    def cut(self, holds: Callable[[dict[str, Any]], object]) -> None:
        """End the journal behind the first record for which this holds."""
        end = 1 + next(number for number, one in enumerate(self.records) if holds(one))
        self.records = self.records[:end]
        write_journal(self.layout, self.records)
        fs.remove_tree(self.layout.trials)
        fs.make_dir(self.layout.trials)
        write_logs(self.layout, self.records)

    def dropped(self) -> str:
        events = (record["e"] for record in self.records)
        name: str = next(e for e in events if e["t"] == "CheckpointsDropped")["names"][0]
        return name

    def look(self, *codes: str) -> list[Finding]:
        sources = Sources(
            identity=lambda: launching.read_identity(self.layout),
            study=lambda: launching.read_study(self.layout),
        )
        findings = examine(self.layout, sources, is_driven=False).findings
        return [one for one in findings if one.code.startswith(codes)]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def test_what_was_dropped_is_no_loss(written: Written) -> None:
    written.save_all()

    assert written.look("checkpoint") == []


def test_what_was_dropped_and_is_still_there_is_left_over(written: Written) -> None:
    written.save_all()
    path = written.save(written.dropped())

    (found,) = written.look("checkpoint")

    assert found.code == "checkpoint-dropped"
    assert found.path == os.path.relpath(path, written.layout.root)
    assert [one.problem for one in mend_all([found], lambda: None)] == [""]
    assert not os.path.exists(path)
    assert written.look("checkpoint") == []


def test_what_is_to_be_dropped_at_the_next_launch_is_no_finding(written: Written) -> None:
    written.cut(lambda one: any("DropCheckpoints" in line for line in one.get("a", ())))
    written.save_all()
    line = next(x for x in written.records[-1]["a"] if x.startswith("DropCheckpoints"))
    for name in line.split()[2:]:
        written.save(name)

    assert written.look("checkpoint") == []


def test_a_checkpoint_that_an_heir_goes_on_from_is_missed_where_its_donor_saved_it(
    written: Written,
) -> None:
    heirs = [
        f"Offer t{record['e']['trial']:05d}"
        for record in written.records
        if record["e"]["t"] == "ConfigProposed" and record["e"]["trial"] >= 6
    ]
    written.cut(lambda one: any(line.startswith(heirs[0]) for line in one.get("a", ())))
    written.save_all()
    study = launching.read_study(written.layout)
    heir = study.trials[-1]
    assert heir.source is not None
    assert heir.checkpoint is not None
    path = written.layout.checkpoint(heir.source, heir.checkpoint)

    assert written.look("checkpoint") == []
    fs.remove_tree(path)
    (found,) = written.look("checkpoint")

    assert found.code == "checkpoint-missing"
    assert found.path == os.path.relpath(path, written.layout.root)


def test_a_checkpoint_that_an_heir_goes_on_from_is_read_as_a_whole(written: Written) -> None:
    written.cut(lambda one: any(" t00006.r" in line for line in one.get("a", ())))
    written.save_all()
    heir = launching.read_study(written.layout).trials[6]
    assert heir.source is not None
    assert heir.checkpoint is not None
    path = written.layout.checkpoint(heir.source, heir.checkpoint)
    Path(path, "weights").write_text("2")  # of the same size: only reading tells

    (found,) = written.look("checkpoint")

    assert found.code == "checkpoint-damaged"


def test_a_program_that_goes_on_prints_where_it_did_before(written: Written) -> None:
    study = launching.read_study(written.layout)
    ended = [a for t in study.trials for a in t.attempts if a.state is AttemptState.ENDED]
    name = ended[0].id

    def is_reported() -> bool:
        return any(name in one.path for one in written.look("output-missing"))

    assert is_reported()
    path = Path(written.layout.events(name))
    records = frame.parse(path.read_bytes()).records
    records[0]["continued"] = True
    path.write_bytes(b"".join(map(frame.encode, records)))
    assert not is_reported()


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"attempts": [1]}', b""])
def test_a_damaged_list_of_what_the_driver_has_seen(written: Written, data: bytes) -> None:
    fs.publish_file(written.layout.settled, data)

    (found,) = written.look("settled")

    assert found.path == "control/settled.json"
    assert [one.problem for one in mend_all([found], lambda: None)] == [""]
    assert written.look("settled") == []


def test_a_sound_list_of_what_the_driver_has_seen(written: Written) -> None:
    fs.publish_file(written.layout.settled, b'{"format": 1, "attempts": ["t00001.r0.a1"]}')

    assert written.look("settled") == []


def test_what_slots_hand_to_programs_may_be_written_by_nobody_else(written: Written) -> None:
    path = written.layout.more("t00001.r0.a1")
    fs.publish_file(path, b"{}")
    os.chmod(path, 0o666)

    (found,) = [one for one in written.look("mode") if one.path.endswith("more.json")]

    assert found.is_repairable

"""The files that the driver writes for slots and for readers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from slurmtune.core.request import ResourceRequest
from slurmtune.driver.files import DirectoryFiles
from slurmtune.driver.ports import Command
from slurmtune.errors import StudyStateError
from slurmtune.store import control, fs, lease
from slurmtune.store.layout import StudyLayout
from slurmtune.store.lease import Lease
from slurmtune.store.manifest import load_manifest
from slurmtune.store.sealed import unseal

TOKEN = "st-0123abcd-1-1"
REQUEST = ResourceRequest(name="c0-1234", time_limit_seconds=1800, gpus=2)


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    layout = StudyLayout(str(tmp_path / "study"))
    layout.create()
    return layout


@pytest.fixture
def mine() -> Lease:
    return Lease.of_this_process()


@pytest.fixture
def files(layout: StudyLayout, mine: Lease) -> DirectoryFiles:
    base = {"study": "asha", "command": ["python", "train.py"], "reuse": True}
    return DirectoryFiles(layout, manifest_base=base, mine=mine)


# ------------------------------------------------------------------ manifests


def test_a_manifest_says_what_the_slots_of_its_array_need(
    layout: StudyLayout, files: DirectoryFiles
) -> None:
    sha256 = files.publish_manifest(TOKEN, REQUEST, 16)

    assert load_manifest(layout.manifest(TOKEN), sha256) == {
        "format": 1,
        "study": "asha",
        "command": ["python", "train.py"],
        "reuse": True,
        "token": TOKEN,
        "class": "c0-1234",
        "size": 16,
        "time_limit_seconds": 1800,
    }


def test_the_hash_is_that_of_the_bytes(layout: StudyLayout, files: DirectoryFiles) -> None:
    sha256 = files.publish_manifest(TOKEN, REQUEST, 16)

    data = Path(layout.manifest(TOKEN)).read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256


def test_the_same_array_has_the_same_hash_again(files: DirectoryFiles) -> None:
    """A driver that goes on may publish it once more, while slots that know the hash start."""
    first = files.publish_manifest(TOKEN, REQUEST, 16)

    assert files.publish_manifest(TOKEN, REQUEST, 16) == first


def test_a_manifest_that_was_changed_is_refused(
    layout: StudyLayout, files: DirectoryFiles
) -> None:
    sha256 = files.publish_manifest(TOKEN, REQUEST, 16)
    path = Path(layout.manifest(TOKEN))
    path.write_bytes(path.read_bytes().replace(b"train.py", b"other.py"))

    with pytest.raises(StudyStateError, match="was changed"):
        load_manifest(layout.manifest(TOKEN), sha256)


# ------------------------------------------------------------------ the overview


def test_the_overview_is_published_with_who_drives(
    layout: StudyLayout, files: DirectoryFiles, mine: Lease
) -> None:
    files.publish_overview({"schema": "slurmtune.status/1", "time": 12.5, "driver": {}})

    assert unseal(Path(layout.status).read_bytes()) == {
        "schema": "slurmtune.status/1",
        "time": 12.5,
        "driver": {"alive": True, "host": mine.host, "pid": mine.pid, "beat": 12.5},
    }


def test_after_the_release_nobody_drives(layout: StudyLayout, files: DirectoryFiles) -> None:
    files.beat(10.0, released=True)
    files.publish_overview({"time": 12.5})

    assert unseal(Path(layout.status).read_bytes())["driver"]["alive"] is False


# ------------------------------------------------------------------ ends that were answered


def test_settled_ends_are_announced(layout: StudyLayout, files: DirectoryFiles) -> None:
    files.announce_settled(["t00001.r0.a1", "t00002.r0.a1"])

    assert json.loads(Path(layout.settled).read_bytes()) == {
        "format": 1,
        "attempts": ["t00001.r0.a1", "t00002.r0.a1"],
    }


def test_each_announcement_takes_the_place_of_the_one_before(
    layout: StudyLayout, files: DirectoryFiles
) -> None:
    files.announce_settled(["t00001.r0.a1"])
    files.announce_settled(["t00002.r0.a1"])

    assert json.loads(Path(layout.settled).read_bytes())["attempts"] == ["t00002.r0.a1"]


# ------------------------------------------------------------------ lease, end, commands


def test_each_beat_renews_the_lease(
    layout: StudyLayout, files: DirectoryFiles, mine: Lease
) -> None:
    files.beat(10.0)
    files.beat(20.0)

    found = lease.read(layout)
    assert found == mine.beat(10.0).beat(20.0)


def test_a_release_stands_in_the_lease(layout: StudyLayout, files: DirectoryFiles) -> None:
    files.beat(10.0, released=True)

    found = lease.read(layout)
    assert found is not None
    assert found.released


def test_idle_classes_are_told_and_the_next_driver_knows(
    layout: StudyLayout, files: DirectoryFiles, mine: Lease
) -> None:
    files.announce_idle(frozenset({"c0", "c1"}))
    files.announce_idle(frozenset({"c1"}))
    assert fs.list_dir(layout.control) == ["idle.c1"]

    DirectoryFiles(layout, manifest_base={}, mine=mine).announce_idle(frozenset())

    assert fs.list_dir(layout.control) == []


def test_the_end_is_announced_and_taken_back(layout: StudyLayout, files: DirectoryFiles) -> None:
    files.announce_end(finished=True)
    assert Path(layout.finished).exists()

    files.announce_end(finished=False)
    files.announce_end(finished=False)
    assert not Path(layout.finished).exists()


def test_commands_come_in_order_until_they_are_acknowledged(
    layout: StudyLayout, files: DirectoryFiles
) -> None:
    control.send(layout, {"command": "stop", "trial": 7})
    control.send(layout, {"command": "stop", "trial": None})

    first, second = files.commands()
    assert (first.verb, first.trial) == ("stop", 7)
    assert (second.verb, second.trial) == ("stop", None)

    files.acknowledge(first)
    files.acknowledge(first)
    assert list(files.commands()) == [second]


def test_the_announcement_of_the_end_is_no_command(files: DirectoryFiles) -> None:
    files.announce_end(finished=True)

    assert list(files.commands()) == []


def test_a_command_without_a_trial_means_the_whole_study(
    layout: StudyLayout, files: DirectoryFiles
) -> None:
    control.send(layout, {"command": "stop"})

    (command,) = files.commands()
    assert command == Command(name=command.name, verb="stop", trial=None)


@pytest.mark.parametrize("trial", ["7", "t00007", True, 1.5, [7], {"number": 7}])
def test_a_command_for_no_trial_never_means_the_whole_study(
    layout: StudyLayout, files: DirectoryFiles, trial: Any
) -> None:
    control.send(layout, {"command": "stop", "trial": trial})

    (command,) = files.commands()
    assert command.verb != "stop"
    assert "stop" in command.verb


def test_the_lineage_is_one_line_for_each_heir(layout: StudyLayout, files: DirectoryFiles) -> None:
    heirs = [{"trial": "t00004", "parent": "t00001"}, {"trial": "t00005", "parent": "t00001"}]
    files.publish_lineage(heirs)

    lines = Path(layout.lineage).read_text().splitlines()
    assert [json.loads(line) for line in lines] == heirs

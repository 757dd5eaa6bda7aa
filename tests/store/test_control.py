"""Commands to the driver."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurmtune.store import control, fs
from slurmtune.store.layout import StudyLayout


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    layout = StudyLayout(str(tmp_path))
    layout.create()
    return layout


def test_commands_come_in_the_order_sent(layout: StudyLayout) -> None:
    for trial in range(5):
        control.send(layout, {"command": "stop", "trial": trial})

    received = [command for _, command in control.receive(layout)]

    assert received == [{"format": 1, "command": "stop", "trial": trial} for trial in range(5)]


def test_a_command_stays_until_it_is_acknowledged(layout: StudyLayout) -> None:
    control.send(layout, {"command": "pause"})
    [(name, _)] = control.receive(layout)
    assert len(control.receive(layout)) == 1

    control.acknowledge(layout, name)
    control.acknowledge(layout, name)

    assert control.receive(layout) == []


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"command":7}', b"[" * 100_000, b"\xff"])
def test_a_file_without_a_command_is_skipped(layout: StudyLayout, data: bytes) -> None:
    fs.publish_file(os.path.join(layout.control, "0" * 19 + "-00000000.json"), data)
    control.send(layout, {"command": "stop"})

    assert [command["command"] for _, command in control.receive(layout)] == ["stop"]


def test_what_is_no_command_waits_for_nobody(layout: StudyLayout) -> None:
    """Such as the list of attempts after which nothing follows, which stays for good."""
    fs.publish_file(layout.settled, b"{}")
    assert control.is_empty(layout)

    control.send(layout, {"command": "stop"})
    assert not control.is_empty(layout)


def test_other_files_are_left_alone(layout: StudyLayout) -> None:
    fs.publish_file(layout.finished, b"")

    assert control.receive(layout) == []


@pytest.mark.parametrize("name", ["finished", "../spec.toml", ""])
def test_only_commands_are_acknowledged(layout: StudyLayout, name: str) -> None:
    with pytest.raises(ValueError):
        control.acknowledge(layout, name)

"""Whoever can change a manifest, or the folder that it lies in, can still not choose what a slot runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slurmtune.store.layout import StudyLayout
from slurmtune.store.manifest import publish_manifest
from slurmtune.store.offer import offer_name

TOKEN = "st-aaaaaaaa-1-1"
ATTEMPT = "t00000.r0.a1"


class Slot:
    """A study with one manifest and one offer, and a slot to be started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = StudyLayout(str(folder / "study"))
        self.layout.create()
        os.makedirs(self.layout.array(TOKEN), 0o700)
        os.makedirs(self.layout.offers("c0"), 0o700)
        self.sha256 = publish_manifest(
            self.layout.manifest(TOKEN),
            {
                "study": "s",
                "class": "c0",
                "reuse": False,
                "linger_seconds": 1,
                "command": ["touch", str(folder / "RAN")],
                "args": "none",
                "workdir": str(folder),
                "hyperparameters": ["q"],
                "objectives": ["loss"],
            },
        )

    def offer(self, attempt: str = ATTEMPT, priority: int = 1, **changes: Any) -> Path:
        """Publish an offer."""
        offer = {"format": 1, "attempt": attempt, "config": {"q": 1}, "seed": 1, **changes}
        path = Path(self.layout.offers("c0"), offer_name(priority, attempt))
        path.write_text(json.dumps(offer))
        return path

    def run(self, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run the slot to its end."""
        return subprocess.run(
            [sys.executable, "-m", "slurmtune.worker", self.layout.root, TOKEN, self.sha256],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    @property
    def has_run(self) -> bool:
        """Whether the user's program was started."""
        return (self.folder / "RAN").exists()


@pytest.fixture
def slot(tmp_path: Path) -> Slot:
    return Slot(tmp_path)


def test_an_honest_slot_runs_the_program(slot: Slot) -> None:
    slot.offer()
    assert slot.run().returncode == 0
    assert slot.has_run


def test_one_flipped_bit_in_the_manifest_ends_the_slot_before_any_user_code(slot: Slot) -> None:
    slot.offer()
    path = Path(slot.layout.manifest(TOKEN))
    data = path.read_bytes()
    for place in (0, len(data) // 2, len(data) - 2):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        done = slot.run()
        assert (done.returncode, slot.has_run) == (78, False)
        assert "was changed" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_manifest_of_another_command_ends_the_slot(slot: Slot) -> None:
    slot.offer()
    path = Path(slot.layout.manifest(TOKEN))
    path.write_text(path.read_text().replace("RAN", "PWNED"))
    assert slot.run().returncode == 78
    assert not (slot.folder / "PWNED").exists()


def test_a_slot_refuses_a_study_that_others_may_write(slot: Slot) -> None:
    slot.offer()
    os.chmod(slot.layout.root, 0o777)
    done = slot.run()
    assert (done.returncode, slot.has_run) == (78, False)
    assert f"chmod go-w {slot.layout.root}" in done.stderr


HOSTILE_OFFERS: list[dict[str, Any]] = [
    {"config": {"PATH": "/tmp/evil"}},
    {"config": {"LD_PRELOAD": "/tmp/evil.so"}},
    {"config": {"q": {"deep": [1]}}},
    {"config": {"q": None}},
    {"config": [1]},
    {"config": "q"},
    {"config": {"q\nx": 1}},
    {"attempt": "t00001.r0.a1"},
    {"attempt": 7},
    {"checkpoint": 5},
    {"checkpoint": ["../x"]},
    {"seed": float("inf")},
    {"seed": "x"},
    {"start": float("nan")},
    {"start": float("inf")},
    {"start": -1},
    {"start": True},
    {"end": "x"},
    {"end": float("inf")},
]


@pytest.mark.parametrize("changes", HOSTILE_OFFERS, ids=repr)
def test_a_hostile_offer_is_passed_over(slot: Slot, changes: dict[str, Any]) -> None:
    path = slot.offer()
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    done = slot.run()
    assert (done.returncode, slot.has_run) == (0, False), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert os.listdir(slot.layout.claims) == []


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\0" * 1000, b"[" * 200_000, b'{"a":' * 100_000, b"9" * 100_000, b"\xff\xfe"),
        *(b"null", b"[]", b'"x"', b"{" + b" " * 20_000_000 + b"}"),
    ],
    ids=range(10),
)
def test_an_offer_that_is_no_offer_is_passed_over(slot: Slot, data: bytes) -> None:
    slot.offer().write_bytes(data)
    slot.offer("t00001.r0.a1", 2)
    done = slot.run()
    assert (done.returncode, slot.has_run) == (0, True), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_links_folders_and_pipes_among_the_offers_are_passed_over(slot: Slot) -> None:
    for number, attempt in enumerate(["t00001.r0.a1", "t00002.r0.a1", "t00003.r0.a1"]):
        os.unlink(slot.offer(attempt, number))
    folder = Path(slot.layout.offers("c0"))
    target = slot.folder / "elsewhere.json"
    target.write_text(json.dumps({"attempt": "t00001.r0.a1", "config": {"q": 1}}))
    (folder / offer_name(0, "t00001.r0.a1")).symlink_to(target)
    (folder / offer_name(1, "t00002.r0.a1")).mkdir()
    os.mkfifo(folder / offer_name(2, "t00003.r0.a1"))
    slot.offer(priority=5)
    done = slot.run()
    assert (done.returncode, slot.has_run) == (0, True), done.stdout + done.stderr
    assert os.listdir(slot.layout.claims) == [ATTEMPT]


@pytest.mark.parametrize(
    "name", ["../../../outside", "/etc", "..", "3.t00000.r0.a1/../../..", "x\0y", "A" * 500]
)
def test_a_checkpoint_that_is_named_elsewhere_is_not_loaded(slot: Slot, name: str) -> None:
    slot.offer(checkpoint=name, start=3, end=9)
    done = slot.run()
    assert "Traceback" not in done.stdout + done.stderr
    assert slot.has_run
    assert "training starts from 0" in Path(slot.layout.output(ATTEMPT)).read_text()


@pytest.mark.parametrize("where", ["claim", "attempt", "events", "output", "metrics", "config"])
def test_a_link_at_a_name_that_can_be_guessed_is_not_followed(slot: Slot, where: str) -> None:
    slot.offer()
    outside = slot.folder / "outside"
    outside.mkdir()
    victim = outside / "victim"
    victim.write_text("untouched")
    path = Path(getattr(slot.layout, where)(ATTEMPT))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside if where == "attempt" else victim)
    done = slot.run()
    assert "Traceback" not in done.stdout + done.stderr
    assert os.listdir(outside) == ["victim"]
    assert victim.read_text() == "untouched"
    assert not slot.has_run

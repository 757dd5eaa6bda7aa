"""Paths of a study."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from slurmtune.store.layout import StudyLayout

BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a/b",
    "-rf",
    "a\n",
    "a\0b",
    "a" * 200,
    "%j",
    "é",
]


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    return StudyLayout(str(tmp_path / "study"))


def test_the_folders_are_made_with_mode_0700(layout: StudyLayout) -> None:
    layout.create()
    layout.create()

    assert sorted(os.listdir(layout.root)) == [
        "arrays", "claims", "control", "journal", "lib", "logs", "offers", "trials",
    ]  # fmt: skip
    for folder in [layout.root, layout.journal, layout.claims, layout.control]:
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


def test_paths_of_an_attempt(layout: StudyLayout) -> None:
    attempt = "t00007.r2.a1"

    relative = [
        os.path.relpath(path, layout.root)
        for path in (
            layout.offer("c0", 12, attempt),
            layout.claim(attempt),
            layout.events(attempt),
            layout.checkpoint(7, "3.t00007.r1.a1"),
            layout.slot_log("tok-1", 3, 0),
            layout.slot_output("tok-1", 3),
        )
    ]

    assert relative == [
        "offers/c0/000012-t00007.r2.a1.json",
        "claims/t00007.r2.a1",
        "trials/t00007/t00007.r2.a1/events.log",
        "trials/t00007/checkpoints/3.t00007.r1.a1",
        "arrays/tok-1/3.0.log",
        "logs/tok-1_3.log",
    ]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("method", ["offers", "array", "claim", "attempt", "events"])
def test_no_name_leads_out_of_the_study(layout: StudyLayout, method: str, name: str) -> None:
    with pytest.raises(ValueError):
        getattr(layout, method)(name)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_checkpoint_leads_out_of_the_study(layout: StudyLayout, name: str) -> None:
    with pytest.raises(ValueError):
        layout.checkpoint(0, name)

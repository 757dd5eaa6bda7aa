"""Damage to any file of a study: every command works, or says what is wrong; never a wrong best."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmtune.cli import app
from slurmtune.store import sealed
from slurmtune.testing.live_study import LiveStudy

COMMANDS = (
    ("status", "runs/live"),
    ("best", "runs/live"),
    ("best", "runs/live", "--json"),
    ("best", "runs/live", "--args"),
    ("trials", "runs/live", "--all"),
    ("trials", "runs/live", "--json"),
    ("show", "runs/live", "0"),
    ("explain", "runs/live", "0"),
    ("replay", "runs/live"),
    ("replay", "runs/live", "--check"),
    ("logs", "runs/live", "0"),
    ("stop", "runs/live", "--yes"),
    ("fsck", "runs/live"),
)
ROUNDS = 12
"""Mutations of each kind, each seen by every command."""


@pytest.fixture(autouse=True)
def handlers_of_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


class Here:
    """Runs commands in this process, in the folder of a study."""

    def __init__(self, live: LiveStudy, capsys: pytest.CaptureFixture[str]) -> None:
        self.live = live
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Run one command; it may fail, but it must say why and must not fall over."""
        self._capsys.readouterr()
        code = app.run(list(words))
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        assert "internal error" not in err, err
        assert code in {0, 1, 2, 3, 4, 5}, (code, err)
        # What a check finds is its output, not an error of its own.
        told = out + err if words[0] in {"fsck", "replay"} else err
        assert code == 0 or told.strip(), (words, code)
        assert not list(self.live.folder.glob("crash-*"))
        return code, out, err


@pytest.fixture
def here(
    finished: LiveStudy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Here:
    monkeypatch.chdir(finished.folder)
    return Here(finished, capsys)


def files_of(live: LiveStudy) -> list[Path]:
    root = Path(live.layout.root)
    return sorted(path for path in root.rglob("*") if path.is_file() and "lib" not in path.parts)


def weighted(live: LiveStudy, rng: random.Random) -> Path:
    """Return a file; those that commands believe in come as often as all others together."""
    files = files_of(live)
    believed = [
        path
        for path in files
        if path.suffix in {".json", ".log", ".claim"} and "trials" not in path.parts
    ]
    return rng.choice(believed if rng.random() < 0.7 else files)


def flip(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return b"\0"
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) or 1)]


def overwrite(data: bytes, rng: random.Random) -> bytes:
    place, size = rng.randrange(len(data) or 1), rng.choice([1, 7, 64, 4096])
    return data[:place] + rng.choice([b"\0" * size, rng.randbytes(size)]) + data[place + size :]


def lose_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(line for line in lines if rng.random() < 0.7)


def rubbish(data: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        [b"", b"null\n", b"[]", b"{}", b"[" * 100_000, b"\xff" * 100, b"\x1b[2J" * 50]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [flip, truncate, overwrite, lose_lines, rubbish], ids=lambda f: f.__name__
)
def test_damaged_bytes_are_told_or_do_not_matter(here: Here, damage: Any) -> None:
    rng = random.Random(f"slurmtune {damage.__name__}")
    truth = here("best", "runs/live")[1]
    table = here("trials", "runs/live", "--all")[1]
    for _ in range(ROUNDS):
        path = weighted(here.live, rng)
        before = path.read_bytes()
        path.write_bytes(damage(before, rng))
        for words in COMMANDS:
            code, out, err = here(*words)
            if words == COMMANDS[1] and code == 0:
                assert out == truth or err.strip(), (path, out)
            if words == COMMANDS[4] and code == 0 and damage is flip and "journal" in path.parts:
                assert out == table or err.strip(), (path, out)
        path.write_bytes(before)


@pytest.mark.slow
def test_a_missing_file_is_told_or_does_not_matter(here: Here) -> None:
    rng = random.Random("slurmtune lost")
    truth = here("best", "runs/live")[1]
    for _ in range(2 * ROUNDS):
        path = weighted(here.live, rng)
        before = path.read_bytes()
        path.unlink()
        for words in COMMANDS:
            code, out, err = here(*words)
            if words == COMMANDS[1] and code == 0:
                assert out == truth or err.strip(), (path, out)
        path.write_bytes(before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "link", "pipe", "unreadable folder"])
def test_something_else_in_place_of_a_file_is_told(here: Here, kind: str, tmp_path: Path) -> None:
    layout = here.live.layout
    journal = next(Path(layout.journal).glob("*.log"))
    claim = next(Path(layout.journal).glob("*.claim"))
    for path in (Path(layout.status), Path(layout.study), journal, claim, Path(layout.lease)):
        aside = tmp_path / "aside"
        shutil.move(path, aside)
        if kind == "link":
            path.symlink_to(aside)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir(0o700 if kind == "folder" else 0)
        for words in COMMANDS:
            here(*words)
        os.rmdir(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.move(aside, path)


def edited(overview: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of the overview with one part replaced."""
    copy: dict[str, Any] = json.loads(json.dumps(overview))
    *folders, last = path.split(".")
    place: Any = copy
    for key in folders:
        place = place[int(key)] if key.isdigit() else place[key]
    place[int(last) if last.isdigit() else last] = value
    return copy


VALUES: list[Any] = [
    None,
    "x",
    "\x1b]0;t\x07",
    -1,
    10**400,
    float("nan"),
    float("inf"),
    True,
    [],
    {},
    [[]],
    {"a": {}},
]


@pytest.mark.slow
def test_an_overview_that_somebody_made_up_is_no_traceback(here: Here) -> None:
    """It has the right digest, so only a look at each part can tell."""
    path = Path(here.live.layout.status)
    honest = sealed.unseal(path.read_bytes())
    places = [
        *honest,
        *(f"trials.{k}" for k in honest["trials"]),
        *(f"rungs.0.{k}" for k in honest["rungs"][0]),
    ]
    places += [
        *(f"best.{k}" for k in honest["best"]),
        "best.params.q",
        "best.values.loss",
        "rungs.0",
        "slots.running",
    ]
    places += [f"gpu_hours.{k}" for k in honest["gpu_hours"]]
    rng = random.Random("slurmtune overview")
    for place in places:
        for value in rng.sample(VALUES, 1):
            path.write_bytes(sealed.seal(edited(honest, place, value)))
            for words in (
                ("status", "runs/live"),
                ("status", "runs/live", "--json"),
                ("best", "runs/live"),
                ("status", "--all"),
            ):
                _, out, err = here(*words)
                assert "\x1b" not in out + err


@pytest.mark.slow
def test_an_identity_that_somebody_made_up_is_no_traceback(here: Here) -> None:
    path = Path(here.live.layout.study)
    honest = sealed.unseal(path.read_bytes())
    places = [
        *honest,
        *(f"core.{k}" for k in honest["core"]),
        "spec.run",
        "spec.run.command",
        "spec.run.args",
    ]
    places += [
        "spec.fidelity",
        "spec.fidelity.resource",
        "spec.run.function",
        "spec.space",
        "spec.env",
    ]
    rng = random.Random("slurmtune identity")
    for place in places:
        for value in rng.sample(VALUES, 1):
            path.write_bytes(sealed.seal(edited(honest, place, value)))
            for words in (COMMANDS[0], COMMANDS[3], COMMANDS[4], COMMANDS[6]):
                here(*words)
            if rng.random() < 0.3:
                here("launch", "spec.toml", "--local=1")


@pytest.mark.slow
def test_a_launch_of_a_damaged_study_works_or_says_what_is_wrong(here: Here) -> None:
    rng = random.Random("slurmtune launch")
    here("launch", "spec.toml", "--local=1")
    truth = here("best", "runs/live")[1]
    root = Path(here.live.layout.root)
    whole = here.live.folder / "whole"
    shutil.copytree(root, whole)
    for number in range(16):
        path = weighted(here.live, rng)
        path.write_bytes(
            (flip, truncate, overwrite, lose_lines)[number % 4](path.read_bytes(), rng)
        )
        code, _, err = here("launch", "spec.toml", "--local=1")
        if code == 0:
            found = here("best", "runs/live")
            assert found[1] == truth or err.strip() or found[2].strip(), path
        shutil.rmtree(root)
        shutil.copytree(whole, root)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_flipped_bit_inside_the_journal_is_told_by_all_who_read_it(
    here: Here, share: float
) -> None:
    """What stands before it is history still, but nobody may believe that it is all."""
    path = next(Path(here.live.layout.journal).glob("*.log"))
    data = path.read_bytes()
    place = data.index(b'"loss"', int(len(data) * share)) + 2
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    for words in (
        ("trials", "runs/live"),
        ("show", "runs/live", "0"),
        ("launch", "spec.toml", "--local=1"),
    ):
        _, _, err = here(*words)
        assert f"{path} is damaged at byte " in err

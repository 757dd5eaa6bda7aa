"""No name leads out of a study's directory, and no link that was placed there is followed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from slurmtune.cli import app
from slurmtune.spec.load import load_spec
from slurmtune.spec.problem import SpecErrors
from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.bad_inputs import BAD_TEXTS, NO_TEXTS, STEERS
from slurmtune.testing.live_study import LiveStudy

ELSEWHERE = [
    "../../etc/passwd",
    "..",
    "/etc/passwd",
    "a/../../b",
    "../x",
    "a/b",
    "/",
    "",
    ".",
    "a\0b",
    "%j",
    "a\n",
]
ATTEMPT = "t00000.r0.a1"


def test_no_name_from_outside_leads_out(tmp_path: Path) -> None:
    layout = StudyLayout(str(tmp_path))
    for name in [*ELSEWHERE, *BAD_TEXTS, *NO_TEXTS]:
        for method in (
            layout.array,
            layout.offers,
            layout.manifest,
            lambda n: layout.checkpoint(0, n),
            layout.claim,
        ):
            try:
                path = method(name)
            except ValueError:
                continue
            assert os.path.dirname(os.path.realpath(path)).startswith(str(tmp_path))
            assert "/.." not in path


@pytest.mark.parametrize(
    "command",
    [("show",), ("logs",), ("stop", "--yes"), ("status",), ("best",), ("trials",)],
    ids=repr,
)
def test_arguments_that_lead_elsewhere_are_told(
    finished_once: LiveStudy,
    command: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(finished_once.folder)
    for word in (
        "../../x",
        "/etc/passwd",
        "/etc",
        "t00001/../../x",
        "..",
        "-1",
        "t99999999999",
        "\x1b[2J",
        "runs/../..",
        "💥",
    ):
        code = app.run([*command, word])
        text = "".join(capsys.readouterr())
        assert code in {2, 4}, (word, text)
        assert "Traceback" not in text
        assert "internal error" not in text
        assert not [c for c in STEERS if c in text]


@pytest.mark.parametrize(
    "target", ["../x", "/tmp/x", "a/../../x", "~/x", "a\\..\\x", "%j", "..", ""]
)
def test_a_file_of_the_spec_stays_in_the_folder_of_its_trial(tmp_path: Path, target: str) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(
        f"[study]\nname = 's'\n[run]\ncommand = 'true'\nfiles = {{ {json.dumps(target)} = 'in.txt' }}\n"
        "[objective]\nmetric = 'm'\ngoal = 'minimize'\n[space]\nq = { fixed = 1 }\n[search]\ntrials = 1\n"
    )
    if target == "":
        assert not (tmp_path / "runs").exists()
        return
    with pytest.raises(SpecErrors):
        load_spec(str(path))


# ------------------------------------------------------------------ links that somebody placed


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("untouched")
    return path


def test_publishing_replaces_a_link_and_not_its_target(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "f").symlink_to(victim)
    fs.publish_file(str(tmp_path / "f"), b"new")
    assert victim.read_text() == "untouched"
    assert (tmp_path / "f").read_bytes() == b"new"
    assert not (tmp_path / "f").is_symlink()


def test_publishing_once_loses_against_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "f").symlink_to(victim)
    with pytest.raises(OSError):
        fs.publish_once(str(tmp_path / "f"), b"new")
    assert victim.read_text() == "untouched"


def test_neither_reading_nor_appending_follows_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "f").symlink_to(victim)
    with pytest.raises(OSError):
        fs.read_file(str(tmp_path / "f"))
    with pytest.raises(OSError):
        fs.Appender(str(tmp_path / "f"))
    assert victim.read_text() == "untouched"


def test_a_link_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        fs.make_dir(str(tmp_path / "link"))


def test_removing_a_tree_removes_links_and_not_what_they_lead_to(
    tmp_path: Path, victim: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").symlink_to(victim)
    (tree / "folder").symlink_to(outside)
    (tmp_path / "link").symlink_to(outside)
    fs.remove_tree(str(tree))
    fs.remove_tree(str(tmp_path / "link"))
    assert (victim.read_text(), (outside / "kept").read_text()) == ("untouched", "kept")
    assert not tree.exists()


@pytest.mark.parametrize(
    "name", ["offers", "claims", "logs", "trials", "journal", "control", "arrays", "lib"]
)
def test_a_new_study_does_not_move_in_behind_a_link(
    make_study: Any, tmp_path: Path, name: str
) -> None:
    live = make_study()
    outside = tmp_path / "outside"
    outside.mkdir()
    root = Path(live.layout.root)
    root.mkdir(0o700, parents=True)
    (root / name).symlink_to(outside)
    done = live.run("--local=1")
    assert done.code == 3, done.text
    assert "Traceback" not in done.text
    assert "internal error" not in done.text
    assert os.listdir(outside) == []


def test_a_dangling_link_in_place_of_a_study_is_refused(make_study: Any, tmp_path: Path) -> None:
    live = make_study()
    root = Path(live.layout.root)
    root.parent.mkdir(mode=0o700)
    root.symlink_to(tmp_path / "nowhere")
    done = live.run("--local=1")
    assert done.code == 3, done.text
    assert "internal error" not in done.text
    assert not (tmp_path / "nowhere").exists()

"""What a study writes is for its owner alone, under any umask; a folder that others may write is refused."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from slurmtune.driver.files import DirectoryFiles
from slurmtune.store import lease
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.live_study import LiveStudy

pytestmark = pytest.mark.slow

PROGRAM = """\
import slurmtune

trial = slurmtune.trial()
for epoch in trial.steps():
    trial.report(loss=trial["q"] / epoch)
    with trial.save() as folder:
        (folder / "model").write_text("x")
print("hello")
"""
SPEC = f"""
[run]
command = ["{sys.executable}", "train.py"]
files = {{ "a/b/c.txt" = "in.txt" }}
[objective]
metric = "loss"
goal = "minimize"
[space]
q = {{ int = [1, 9] }}
[fidelity]
resource = "epoch"
max = 3
[search]
scheduler = "sha"
trials = 3
"""


def run_under(umask: int, live: LiveStudy) -> None:
    before = os.umask(umask)
    try:
        done = live.run("--local=2")
    finally:
        os.umask(before)
    assert done.code == 0, done.text


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_everything_is_for_the_owner_alone(make_study: Any, umask: int) -> None:
    live = make_study(SPEC, programs={"train.py": PROGRAM, "in.txt": "{q}"})
    run_under(umask, live)
    live.call("stop", "live", "--yes")
    root = Path(live.layout.root)
    seen = 0
    for path in [root, *root.rglob("*")]:
        if path.name == "model":
            continue  # the program's own, in a folder that is closed
        mode = stat.S_IMODE(path.stat().st_mode)
        seen += 1
        assert not path.is_symlink()
        assert mode == (0o700 if path.is_dir() or path == root / "lib/bin/slurmtune" else 0o600), (
            path,
            oct(mode),
        )
    assert seen > 40
    names = {path.name for path in root.rglob("*")}
    assert {
        "MANIFEST",
        "output.log",
        "events.log",
        "c.txt",
        "metrics.jsonl",
        "params.sh",
        "manifest.json",
    } <= names


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o770, 0o720, 0o1777, 0o2775], ids=oct)
def test_a_study_that_others_may_write_is_refused(make_study: Any, mode: int) -> None:
    live = make_study()
    root = Path(live.layout.root)
    root.mkdir(parents=True)
    root.chmod(mode)
    done = live.run("--local=1")
    assert done.code == 3, done.text
    assert f"chmod go-w {root}" in done.err
    assert os.listdir(root) == []
    root.chmod(0o700)


def test_a_study_that_was_opened_up_is_refused_until_it_is_closed(finished: LiveStudy) -> None:
    root = Path(finished.layout.root)
    root.chmod(0o777)
    assert finished.run("--local=1").code == 3
    # Reading it does no harm.
    assert finished.call("status", "live").code == 0
    assert finished.call("best", "live").code == 0
    root.chmod(0o700)
    assert finished.run("--local=1").code == 0


def test_a_study_that_others_may_read_is_taken(finished: LiveStudy) -> None:
    Path(finished.layout.root).chmod(0o755)
    assert finished.run("--local=1").code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_study_of_another_user_is_refused(make_study: Any) -> None:
    live = make_study()
    root = Path(live.layout.root)
    root.mkdir(0o700, parents=True)
    os.chown(root, 65534, 65534)
    done = live.run("--local=1")
    assert done.code == 3, done.text
    assert "belongs to another user (uid 65534)" in done.err


def test_a_study_may_be_shown_to_the_group(tmp_path: Path) -> None:
    study = LiveStudy(tmp_path / "here", SPEC, {"train.py": PROGRAM, "in.txt": "{q}"})
    study.launch("--local=2", "-s", "study.group=true").wait()

    open_to_group = {
        os.path.relpath(path, study.layout.root)
        for path in _every_path(str(study.layout.root))
        # The model is the program's own, in a folder that is closed.
        if os.lstat(path).st_mode & 0o070 and not path.endswith("/model")
    }

    assert open_to_group == {".", "journal", "study.json", "status.json", "journal/lease.json"}


def test_a_group_may_look_and_nothing_else(tmp_path: Path) -> None:
    """With study.group, status and best can be read by its members; values and commands cannot."""
    layout = StudyLayout(str(tmp_path / "study"))
    layout.create()
    lease.write(layout, lease.Lease.of_this_process())
    layout.show_to_group(True)
    files = DirectoryFiles(
        layout, manifest_base={}, mine=lease.Lease.of_this_process(), group=True
    )
    files.publish_overview({"time": 1.0})
    files.beat(2.0)

    shown = {path for path in _every_path(layout.root) if os.lstat(path).st_mode & 0o070}

    assert shown == {layout.root, layout.journal, layout.status, layout.lease}
    assert not any(os.lstat(path).st_mode & 0o027 for path in shown)
    layout.show_to_group(False)
    assert not any(os.lstat(path).st_mode & 0o077 for path in _every_path(layout.root))


def _every_path(root: str) -> list[str]:
    inner = [
        os.path.join(folder, name)
        for folder, folders, files in os.walk(root)
        for name in folders + files
    ]
    return [root, *inner]

"""``fsck`` as users call it: what it prints, its exit codes, and that a study goes on after a repair."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from slurmtune.errors import BackendUnavailableError
from slurmtune.spec import jobs
from slurmtune.store import frame, lease, sealed
from slurmtune.store.layout import StudyLayout

pytestmark = pytest.mark.slow

HEX = "0123456789abcdef" * 2
ATTEMPT = "t00000.r0.a1"


@pytest.fixture
def layout(finished: Path) -> StudyLayout:
    return StudyLayout(str(finished / "runs" / "toy"))


def damage(layout: StudyLayout) -> None:
    """Leave behind what deaths leave behind, and some more."""
    Path(layout.root, f".status.json.{HEX}.tmp").write_text("")
    Path(layout.checkpoints(0), f".trash-1.{ATTEMPT}-{HEX}").mkdir(mode=0o700)
    (offers,) = Path(layout.offer_classes).iterdir()
    (offers / f"001000-{ATTEMPT}.json").write_text("{}")
    os.chmod(layout.claims, 0o777)
    with open(layout.events(ATTEMPT), "ab") as log:
        log.write(b"torn")
    os.unlink(layout.status)


def fingerprint(root: str) -> list[tuple[str, int, int, str]]:
    return [
        (path, os.lstat(path).st_mode, os.lstat(path).st_mtime_ns, _digest(path))
        for parent, _, files in sorted(os.walk(root))
        for path in [parent, *(os.path.join(parent, name) for name in sorted(files))]
    ]


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if os.path.isfile(path) else ""


def say_slurm(layout: StudyLayout) -> None:
    """Make it a study that runs on Slurm, as far as its files tell."""
    for path in Path(layout.arrays).glob("*/local*"):
        path.unlink()


def test_a_sound_study_is_exit_code_0(run: Any, finished: Path) -> None:
    ended = run("fsck", "toy", cwd=finished)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("toy: sound; ")


def test_errors_are_exit_code_3(run: Any, finished: Path, layout: StudyLayout) -> None:
    os.chmod(layout.claims, 0o777)
    ended = run("fsck", cwd=finished)
    assert ended.code == 3
    assert "error    claims  [can be mended]" in ended.out
    assert "toy: 1 error; " in ended.out
    assert "slurmtune fsck toy --repair" in ended.out


def test_warnings_are_exit_code_0(run: Any, finished: Path, layout: StudyLayout) -> None:
    os.unlink(layout.spec)
    ended = run("fsck", cwd=finished)
    assert ended.code == 0
    assert "toy: 1 warning; " in ended.out


def test_json_tells_every_finding(run: Any, finished: Path, layout: StudyLayout) -> None:
    os.chmod(layout.claims, 0o777)
    told = json.loads(run("fsck", "--json", cwd=finished).out)
    assert (told["schema"], told["study"], told["mended"]) == ("slurmtune.fsck/1", "toy", [])
    (finding,) = told["findings"]
    assert finding.pop("message")
    assert finding == {"severity": "error", "code": "mode", "path": "claims", "repairable": True}


def test_without_repair_nothing_is_written(run: Any, finished: Path, layout: StudyLayout) -> None:
    damage(layout)
    before = fingerprint(layout.root)
    assert run("fsck", cwd=finished).code == 3
    assert fingerprint(layout.root) == before


def test_lines_fit_80_columns(run: Any, finished: Path, layout: StudyLayout) -> None:
    damage(layout)
    lines = run("fsck", cwd=finished).out.splitlines()
    assert max(len(line) for line in lines if "/" not in line) <= 80


def test_after_a_repair_the_study_is_sound_and_goes_on(
    run: Any, finished: Path, layout: StudyLayout, start_process: Any, finish_process: Any
) -> None:
    damage(layout)
    repaired = run("fsck", "--repair", cwd=finished)
    assert repaired.code == 0
    assert "mended: claims (mode)" in repaired.out
    again = run("fsck", cwd=finished)
    assert (again.code, again.out.splitlines()[0][:11]) == (0, "toy: sound;")
    launched = finish_process(
        start_process(
            "launch", "spec.toml", "--local=2", "-s", "search.trials=5", "--yes", cwd=finished
        )
    )
    assert launched.code == 0, launched.err
    assert sealed.unseal(Path(layout.status).read_bytes())["trials"]["started"] == 5


def test_a_repair_publishes_a_fresh_overview(
    run: Any, finished: Path, layout: StudyLayout
) -> None:
    old = sealed.unseal(Path(layout.status).read_bytes())
    assert run("fsck", "--repair", cwd=finished).code == 0
    new = sealed.unseal(Path(layout.status).read_bytes())
    changing = {"time", "driver", "digest", "dir", "eta_seconds"}
    assert {k: v for k, v in new.items() if k not in changing} == {
        k: v for k, v in old.items() if k not in changing
    }
    assert new["dir"] == layout.root
    assert new["driver"]["alive"] is False
    assert new["time"] > old["time"]


def test_nothing_is_repaired_while_a_driver_is_alive(
    run: Any, finished: Path, layout: StudyLayout
) -> None:
    damage(layout)
    lease.write(layout, lease.Lease.of_this_process().beat(time.time()))
    before = fingerprint(layout.root)
    ended = run("fsck", "--repair", cwd=finished)
    assert ended.code == 5
    assert f"already driven by pid {os.getpid()}" in ended.err
    assert fingerprint(layout.root) == before


def test_a_repair_lets_the_next_driver_in_at_once(
    run: Any, finished: Path, layout: StudyLayout
) -> None:
    assert run("fsck", "--repair", cwd=finished).code == 0
    held = lease.read(layout)
    assert held is not None
    assert held.released


def test_a_journal_that_makes_no_sense_is_left_alone(
    run: Any, finished: Path, layout: StudyLayout
) -> None:
    damage(layout)
    (segment,) = Path(layout.journal).glob("*.log")
    records = frame.parse(segment.read_bytes()).records
    segment.write_bytes(b"".join(frame.encode({**r, "a": ["Finish never"]}) for r in records))
    sealed_bytes = segment.read_bytes()
    ended = run("fsck", "--repair", cwd=finished)
    assert ended.code == 3
    assert "nothing was mended" in ended.err
    assert segment.read_bytes() == sealed_bytes
    assert os.path.exists(os.path.join(layout.root, f".status.json.{HEX}.tmp"))


def test_a_study_that_has_no_identity_left_is_refused(
    run: Any, finished: Path, layout: StudyLayout
) -> None:
    Path(layout.study).write_text("{")
    ended = run("fsck", "--repair", cwd=finished)
    assert ended.code == 3
    assert "study.json" in ended.out
    assert "nothing was mended" in ended.err


def test_a_study_on_slurm_is_compared_with_its_jobs(
    run: Any, finished: Path, layout: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_slurm(layout)
    monkeypatch.setattr(jobs, "live_jobs", lambda study: {"st-00000000-7-7": "4711"})
    ended = run("fsck", cwd=finished)
    assert ended.code == 3
    assert "error    st-00000000-7-7 (job 4711)" in ended.out


def test_a_slurm_that_does_not_answer_is_said(
    run: Any, finished: Path, layout: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(study: str) -> Any:
        raise BackendUnavailableError("squeue did not answer within 60 s")

    say_slurm(layout)
    monkeypatch.setattr(jobs, "live_jobs", silent)
    ended = run("fsck", cwd=finished)
    assert ended.code == 0
    assert "were not checked: squeue did not answer" in ended.out


def test_a_study_on_this_machine_asks_nobody(
    run: Any, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(study: str) -> Any:
        raise AssertionError(study)

    monkeypatch.setattr(jobs, "live_jobs", asked)
    assert run("fsck", cwd=finished).code == 0


def test_no_study_is_exit_code_4(run: Any, tmp_path: Path) -> None:
    assert run("fsck", cwd=tmp_path).code == 4

"""``replay``: the ledger in words, and the check with its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slurmtune.spec.proposing import drawn_by
from slurmtune.store import sealed
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.written_study import rig_of, spec_text, write_journal, write_study

SPEC = spec_text("asha", trials=9)


class Written:
    """A study on disk and the records of its journal, which a test may change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        spec = folder / "spec.toml"
        spec.write_text(SPEC)
        rig = rig_of(spec)
        rig.run()
        self.records = rig.stored_records()
        self.layout: StudyLayout = write_study(spec, self.records)

    def rewrite(self) -> None:
        write_journal(self.layout, self.records)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def test_an_untouched_study_passes(run: Any, written: Written) -> None:
    ended = run("replay", "--check", cwd=written.folder)

    assert ended.code == 0
    assert ended.out.startswith(f"rig: {len(written.records)} records, 9 trials, ")
    assert "  9  configs asked for\n" in ended.out
    assert ended.out.splitlines()[-1].startswith("all ")
    assert ended.out.endswith(" decisions agree\n")


def test_each_end_of_a_study_is_listed_and_counted(run: Any, tmp_path: Path) -> None:
    """Opened again with nothing left to do it ends again."""
    spec = tmp_path / "spec.toml"
    spec.write_text(SPEC)
    rig = rig_of(spec)
    rig.run()
    rig.run()
    write_study(spec, rig.stored_records())

    listed = run("replay", cwd=tmp_path).out.count("the study ends")
    counts = json.loads(run("replay", "--check", "--json", cwd=tmp_path).out)["by_kind"]

    assert listed == counts["Finish"] == 2


def test_the_check_as_json(run: Any, written: Written) -> None:
    data = json.loads(run("replay", "--check", "--json", cwd=written.folder).out)

    assert data["schema"] == "slurmtune.replay/1"
    assert data["agrees"] is True
    assert data["difference"] is None
    assert data["decisions"] == sum(data["by_kind"].values())


def test_the_first_difference_is_shown_with_both_sides(run: Any, written: Written) -> None:
    number, record = next(
        (n, one) for n, one in enumerate(written.records) if one["e"]["t"] == "AttemptReported"
    )
    old = record["e"]["metrics"]["val_loss"]
    record["e"]["metrics"]["val_loss"] = 0.125
    written.rewrite()

    ended = run("replay", "--check", cwd=written.folder)

    assert ended.code == 1
    lines = ended.out.splitlines()
    assert f"record {number} differs in result 1 of {record['e']['attempt']}" in ended.out
    assert next(line for line in lines if "  journal   " in line).count("0.125") == 1
    assert next(line for line in lines if "  computed  " in line).count(repr(old)) == 1


def test_a_difference_as_json(run: Any, written: Written) -> None:
    verdict = next(one for one in written.records if one.get("v"))["v"][0]
    verdict["loss"] = 0.125
    written.rewrite()

    ended = run("replay", "--check", "--json", cwd=written.folder)

    assert ended.code == 1
    assert "0.125" in json.loads(ended.out)["difference"]["recorded"]


def test_missing_raw_results_fail_the_check(run: Any, written: Written) -> None:
    Path(written.layout.events("t00003.r0.a1")).unlink()

    ended = run("replay", "--check", cwd=written.folder)

    assert ended.code == 1
    assert "1 attempt is missing (t00003.r0.a1)" in ended.out
    assert ended.out.endswith("as far as the raw results are there\n")


def test_missing_raw_results_may_be_allowed(run: Any, written: Written) -> None:
    Path(written.layout.events("t00003.r0.a1")).unlink()

    ended = run("replay", "--check", "--allow-missing", cwd=written.folder)

    assert ended.code == 0
    assert "t00003.r0.a1" in ended.out


def test_damage_of_a_log_is_not_allowed(run: Any, written: Written) -> None:
    Path(written.layout.events("t00003.r0.a1")).write_bytes(b"")

    assert run("replay", "--check", "--allow-missing", cwd=written.folder).code == 1


def test_records_of_an_older_version_are_named(run: Any, written: Written) -> None:
    for record in written.records:
        record.pop("v", None)
    written.rewrite()

    ended = run("replay", "--check", cwd=written.folder)

    assert ended.code == 0
    assert "of an older slurmtune" in ended.out


def test_the_ledger_has_a_line_for_each_decision(run: Any, written: Written) -> None:
    lines = run("replay", cwd=written.folder).out.splitlines()

    assert lines[0].endswith("the study is opened")
    assert lines[-1].endswith("the study ends: nothing is left to do")
    verdicts = sum(len(record.get("v", ())) for record in written.records)
    assert len(lines) == verdicts + 9 + 2


def test_the_ledger_of_a_trial(run: Any, written: Written) -> None:
    lines = run("replay", "--trial", "t0", cwd=written.folder).out.splitlines()

    assert all(" t00000  " in line for line in lines)
    assert "started: drawn by hash" in lines[0]


def test_the_ledger_as_json(run: Any, written: Written) -> None:
    data = json.loads(run("replay", "--json", "--trial", "0", cwd=written.folder).out)

    assert data["schema"] == "slurmtune.ledger/1"
    kinds = [one["kind"] for one in data["decisions"]]
    assert kinds[:3] == ["started", "paused", "promoted"]
    assert data["decisions"][2]["standing"]["of"] == 3


def test_the_ledger_of_an_unknown_trial(run: Any, written: Written) -> None:
    assert run("replay", "--trial", "99", cwd=written.folder).code == 4


@pytest.mark.parametrize("words", [["--check", "--trial", "0"], ["--allow-missing"]])
def test_options_that_do_not_go_together(run: Any, written: Written, words: list[str]) -> None:
    assert run("replay", *words, cwd=written.folder).code == 2


def test_configs_of_an_unknown_version_are_believed(run: Any, written: Written) -> None:
    """What the rig draws is in no spec."""
    ended = run("replay", "--check", cwd=written.folder)

    told = " ".join(ended.out.split())
    assert ended.code == 0
    assert (
        "note: 9 configs came out otherwise when drawn again: what they were drawn by is not "
        "recorded; the journal was believed"
    ) in told
    assert "configs drawn again" not in told


def test_configs_of_another_version_are_believed(run: Any, written: Written) -> None:
    opened = next(one["e"] for one in written.records if one["e"]["t"] == "StudyOpened")
    opened["drawn_by"] = "slurmtune 0.0.9, numpy 1.0"
    written.rewrite()

    data = json.loads(run("replay", "--check", "--json", cwd=written.folder).out)
    told = " ".join(run("replay", "--check", cwd=written.folder).out.split())

    assert data["agrees"] is True
    assert data["configs_drawn_again"] == 0
    assert data["configs_drawn_otherwise"] == {"slurmtune 0.0.9, numpy 1.0": 9}
    assert "they were drawn by slurmtune 0.0.9, numpy 1.0, and here is slurmtune " in told


def test_configs_of_this_version_must_come_out_alike(run: Any, written: Written) -> None:
    opened = next(one["e"] for one in written.records if one["e"]["t"] == "StudyOpened")
    opened["drawn_by"] = drawn_by()
    written.rewrite()

    ended = run("replay", "--check", cwd=written.folder)

    assert ended.code == 1
    assert "differs in the config drawn for t00000" in ended.out


def test_why_configs_were_not_drawn_is_told(run: Any, written: Written) -> None:
    path = Path(written.layout.study)
    identity = sealed.unseal(path.read_bytes())
    identity["spec"]["space"] = "lost"
    path.write_bytes(sealed.seal(identity))

    ended = run("replay", "--check", cwd=written.folder)

    assert ended.code == 0
    assert (
        "note: configs were not drawn again: its spec cannot be read from study.json" in ended.out
    )


@pytest.mark.slow
def test_a_study_that_really_ran_passes(run: Any, finished: Path) -> None:
    data = json.loads(run("replay", "--check", "--json", cwd=finished).out)

    assert data["agrees"] is True, data
    assert data["configs_drawn_again"] == data["trials"] > 0
    assert data["configs_drawn_otherwise"] == {}
    assert data["configs_not_drawn"] == ""

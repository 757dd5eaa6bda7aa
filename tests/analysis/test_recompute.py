"""A study is recomputed from what its slots wrote; whatever was tampered with is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurmtune.analysis.recompute import Check, raw_results, recompute
from slurmtune.errors import CorruptJournalError
from slurmtune.store import frame
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.study_rig import StudyRig
from slurmtune.testing.written_study import rig_of, spec_text, write_study

SPEC = spec_text("asha", trials=9)
Records = list[dict[str, Any]]


class Ran:
    """A study that ran, its records, and the files of its slots."""

    def __init__(self, folder: Path) -> None:
        spec = folder / "spec.toml"
        spec.write_text(SPEC)
        self.rig: StudyRig = rig_of(spec)
        assert self.rig.run() == "done"
        self.records: Records = copy.deepcopy(self.rig.stored_records())
        self.layout: StudyLayout = write_study(spec, self.records)

    def check(self, records: Records | None = None) -> Check:
        given = self.records if records is None else records
        return recompute(self.rig.empty_study(), given, raw_results(self.layout))

    def first(self, holds: Callable[[dict[str, Any]], object]) -> int:
        return next(number for number, one in enumerate(self.records) if holds(one))

    def rewrite(self, attempt: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
        path = Path(self.layout.events(attempt))
        records = frame.parse(path.read_bytes()).records
        change(records)
        path.write_bytes(b"".join(map(frame.encode, records)))


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    return Ran(tmp_path)


def is_report(record: dict[str, Any]) -> bool:
    return bool(record["e"]["t"] == "AttemptReported")


def test_an_untouched_study_agrees(ran: Ran) -> None:
    found = ran.check()

    assert found.difference is None
    assert found.missing == ()
    assert found.records == len(ran.records)
    assert found.trials == 9


def test_every_action_and_verdict_is_counted(ran: Ran) -> None:
    written = sum(len(one.get("a", ())) + len(one.get("v", ())) for one in ran.records)

    assert ran.check().count == written


def test_every_result_of_the_journal_is_looked_up(ran: Ran) -> None:
    told = sum(one["e"].get("seq") is not None for one in ran.records)

    assert ran.check().results == told


def test_a_changed_number_in_the_journal_is_found(ran: Ran) -> None:
    number = ran.first(is_report)
    metrics = ran.records[number]["e"]["metrics"]
    metrics["val_loss"] += 2.0**-50  # the least that this number can change by, or a little more

    found = ran.check().difference

    assert found is not None
    assert found.record == number
    assert found.recorded != found.computed
    assert repr(metrics["val_loss"]) in found.recorded


def test_a_changed_number_in_a_raw_log_is_found(ran: Ran) -> None:
    number = ran.first(is_report)

    def change(records: list[dict[str, Any]]) -> None:
        report = next(one for one in records if one["k"] == "report")
        report["metrics"]["val_loss"] -= 1e-12

    ran.rewrite(ran.records[number]["e"]["attempt"], change)
    found = ran.check().difference

    assert found is not None
    assert found.record == number


def test_a_raw_log_that_is_damaged_is_found(ran: Ran) -> None:
    number = ran.first(is_report)
    path = Path(ran.layout.events(ran.records[number]["e"]["attempt"]))
    path.write_bytes(path.read_bytes().replace(b'"metrics"', b'"metricz"', 1))

    found = ran.check().difference

    assert found is not None
    assert found.record == number
    assert "events.log" in found.computed


def test_an_integer_in_place_of_a_float_is_found(ran: Ran) -> None:
    number = ran.first(is_report)
    assert ran.records[number]["e"]["resource"] == 1
    ran.records[number]["e"]["resource"] = 1.5

    found = ran.check().difference

    assert found is not None
    assert found.record == number


@pytest.mark.parametrize("key", ["kind", "loss", "rung", "standing"])
def test_a_changed_verdict_is_found(ran: Ran, key: str) -> None:
    number = ran.first(lambda one: any(v["kind"] == "PROMOTED" for v in one.get("v", ())))
    verdict = next(v for v in ran.records[number]["v"] if v["kind"] == "PROMOTED")
    verdict[key] = {"kind": "PAUSED", "loss": 0.5, "rung": 1, "standing": None}[key]

    found = ran.check().difference

    assert found is not None
    assert found.record == number
    assert "judged" in found.what


def test_a_cutoff_that_is_off_by_one_bit_is_found(ran: Ran) -> None:
    number = ran.first(lambda one: any("cutoff" in v["standing"] for v in one.get("v", ())))
    standing = next(v["standing"] for v in ran.records[number]["v"] if "cutoff" in v["standing"])
    standing["cutoff"] *= 1 + 2.0**-52

    found = ran.check().difference

    assert found is not None
    assert found.record == number


def test_a_verdict_that_was_taken_away_is_found(ran: Ran) -> None:
    numbers = [number for number, one in enumerate(ran.records) if one.get("v")]
    del ran.records[numbers[2]]["v"]

    found = ran.check().difference

    assert found is not None
    assert found.record == numbers[2]


def test_a_changed_action_is_found(ran: Ran) -> None:
    number = ran.first(lambda one: any("r1" in line for line in one.get("a", ())))
    ran.records[number]["a"][-1] = "Offer t00008.r1.a1 1 -> 3 from nothing"

    found = ran.check().difference

    assert found is not None
    assert found.record == number


def test_a_swapped_order_is_found(ran: Ran) -> None:
    numbers = [n for n, one in enumerate(ran.records) if one["e"]["t"] == "AttemptEnded"]
    first, second = numbers[:2]
    events = ran.records[first]["e"], ran.records[second]["e"]
    ran.records[second]["e"], ran.records[first]["e"] = events

    found = ran.check().difference

    assert found is not None
    assert found.record == first


def test_a_result_that_the_journal_passed_over_is_found(ran: Ran) -> None:
    """Also one that nothing follows from: the attempt reports again before its rung."""
    number = ran.first(lambda one: is_report(one) and one["e"]["resource"] == 2)
    attempt = ran.records[number]["e"]["attempt"]
    removed = ran.records.pop(number)

    found = ran.check().difference

    assert found is not None
    assert found.what == f"result {removed['e']['seq']} of {attempt}"
    assert found.recorded == "nothing"


def test_a_changed_config_is_found(ran: Ran) -> None:
    number = ran.first(lambda one: one["e"]["t"] == "ConfigProposed")
    config = dict(ran.records[number]["e"]["config"])
    Path(ran.layout.config("t00000.r0.a1")).write_text(str(config).replace("'", '"'))
    ran.records[number]["e"]["config"]["x1"] += 1e-9

    found = ran.check().difference

    assert found is not None
    assert found.what == "config of t00000.r0.a1"


def test_a_record_that_is_there_twice_is_found(ran: Ran) -> None:
    number = ran.first(is_report)
    ran.records.insert(number + 1, ran.records[number])

    found = ran.check().difference

    assert found is not None
    assert found.record == number + 1


def test_a_raw_log_that_is_gone_is_named_and_believed(ran: Ran) -> None:
    Path(ran.layout.events("t00003.r0.a1")).unlink()

    found = ran.check()

    assert found.missing == ("t00003.r0.a1",)
    assert found.difference is None


def test_results_that_came_too_late_change_nothing(ran: Ran) -> None:
    number = ran.first(lambda one: one["e"]["t"] == "AttemptEnded")
    half = ran.records[:number]

    assert ran.check(half).difference is None


def test_what_was_reported_after_the_end_changes_nothing(ran: Ran) -> None:
    path = Path(ran.layout.events("t00003.r0.a1"))
    count = len(frame.parse(path.read_bytes()).records)
    late = {"n": count, "k": "report", "late": True, "resource": 1, "metrics": {"loss": -99.0}}
    before = ran.check()

    with path.open("ab") as file:
        file.write(frame.encode(late))

    assert ran.check() == before
    assert before.difference is None


def test_the_records_of_an_older_version_are_compared_by_actions(ran: Ran) -> None:
    judged = sum(len(record.pop("v", ())) for record in ran.records)

    found = ran.check()

    assert found.difference is None
    assert found.unrecorded == judged > 0
    assert "PROMOTED" not in found.decisions


def test_a_study_that_an_older_version_began_goes_on_with_verdicts(ran: Ran) -> None:
    numbers = [number for number, one in enumerate(ran.records) if one.get("v")]
    before = sum(len(ran.records[number].pop("v")) for number in numbers[:3])

    found = ran.check()

    assert found.difference is None
    assert found.unrecorded == before


def test_an_empty_journal_agrees(ran: Ran) -> None:
    assert ran.check([]).difference is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("attempt", "t00099.r0.a1"), ("attempt", "../x"), ("attempt", 7), ("seq", "one")],
)
def test_a_result_that_cannot_be_is_found(ran: Ran, key: str, value: object) -> None:
    number = ran.first(is_report)
    ran.records[number]["e"][key] = value

    found = ran.check().difference

    assert found is not None
    assert found.record == number


def test_a_record_without_an_event_is_damage(ran: Ran) -> None:
    with pytest.raises(CorruptJournalError, match="record 0 of the journal holds no event"):
        ran.check([{"a": []}])

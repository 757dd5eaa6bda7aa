"""Configs are drawn again where the journal has them, and must be the same to the last bit."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slurmtune.analysis.recompute import Check, Drawing, raw_results, recompute
from slurmtune.core.events import Config
from slurmtune.core.ports import HistoryView, Sampler
from slurmtune.errors import StudyStateError
from slurmtune.spec import build, launching
from slurmtune.spec.load import load_spec
from slurmtune.spec.proposing import drawn_by, stored_sampler
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.study_rig import StudyRig
from slurmtune.testing.written_study import rig_of, write_study

HERE = drawn_by()
SPACE = """
x1 = { uniform = [-5.0, 10.0] }
x2 = { uniform = [0.0, 15.0] }
depth = { values = [2, 4, 8], ordered = true }
kind = { values = ["a", "b", "c"] }
lr = { loguniform = [1e-5, 1e-1], when = { kind = "a" } }
units = { int = [1, 64], when = { kind = ["a", "b"] } }
drop = { pvalues = [[0.0, 0.7], [0.1, 0.3]] }
"""
GRID = """
x1 = { values = [-5.0, 0.0, 5.0] }
x2 = { values = [1, 2] }
"""
MORE = """
[constraints]
small = "x1 + x2 < 20"
[[start]]
x1 = 3.0
[[start]]
x1 = 1.0
x2 = 2.5
depth = 4
kind = "c"
drop = 0.1
"""


def spec_text(search: str, *, space: str = SPACE, more: str = MORE, top: int = 9) -> str:
    return f"""
[study]
name = "rig"
seed = 11
[run]
command = "python train.py"
[space]{space}
[objective]
metric = "val_loss"
goal = "minimize"
[search]
{search}
parallel = 3
[fidelity]
resource = "epoch"
max = {top}
{more}
"""


class OfTheSpec:
    """The sampler that a launch of this spec makes, for whatever study the rig has."""

    name = "spec"

    def __init__(self, spec: Path) -> None:
        self.spec = load_spec(str(spec)).spec
        self.space = build.build_space(self.spec)
        self.rig: StudyRig | None = None
        self.trials = build.count_trials(self.spec, self.space)
        self.made: tuple[int, object, Sampler] | None = None

    @property
    def sampler(self) -> Sampler:
        assert self.rig is not None
        study = self.rig.study
        if self.made is None or self.made[:2] != (self.trials, study):
            made = build.build_sampler(self.spec, self.space, self.trials, study.scheduler)
            self.made = (self.trials, study, made)
        return self.made[2]

    def propose(self, trial: int, history: HistoryView, seed: int) -> Config | None:
        return self.sampler.propose(trial, history, seed)

    def origin(self, trial: int) -> str:
        return self.sampler.origin(trial)


class Drawn:
    """A study that ran with the sampler of its spec, and its files."""

    def __init__(self, folder: Path, text: str, *, by: str = HERE, raised: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        spec = folder / "spec.toml"
        spec.write_text(text)
        sampler = OfTheSpec(spec)
        self.rig = rig_of(spec, sampler=sampler, seed=11, drawn_by=by)
        sampler.rig = self.rig
        self.rig.run()
        if raised:
            sampler.trials += raised
            self.rig.limits = replace(self.rig.limits, trials=sampler.trials)
            self.rig.run()
        self.records = copy.deepcopy(self.rig.stored_records())
        self.layout: StudyLayout = write_study(spec, self.records)

    def drawing(self) -> Drawing:
        identity = launching.read_identity(self.layout)
        assert identity is not None
        return Drawing(sampler=stored_sampler(identity), drawn_by=HERE)

    def check(self, records: list[dict[str, Any]] | None = None) -> Check:
        given = self.records if records is None else records
        study, _ = launching.read_journal(self.layout)
        return recompute(study, given, raw_results(self.layout), self.drawing())

    def proposals(self) -> list[dict[str, Any]]:
        return [one["e"] for one in self.records if one["e"]["t"] == "ConfigProposed"]


def asha(sampler: str, trials: int = 25) -> str:
    return f'scheduler = "asha"\nsampler = "{sampler}"\ntrials = {trials}'


@pytest.mark.parametrize("sampler", ["random", "sobol", "halton", "hammersley", "lhs", "tpe"])
def test_every_config_of_a_sampler_is_drawn_again(tmp_path: Path, sampler: str) -> None:
    drawn = Drawn(tmp_path, spec_text(asha(sampler)))

    found = drawn.check()

    assert found.difference is None
    assert (found.draws, found.other_draws, found.undrawn) == (25, {}, "")
    assert {one["origin"] for one in drawn.proposals()} == {"start", sampler}


@pytest.mark.parametrize(
    ("search", "top"),
    [
        ('scheduler = "pbt"\ntrials = 6', 4),
        ('scheduler = "dehb"\ntrials = 40', 9),
        ('scheduler = "irace"\nirace = { budget = 300, first_test = 3 }', 6),
        ('scheduler = "bohb"', 9),
    ],
)
def test_every_config_that_is_made_of_others_is_made_again(
    tmp_path: Path, search: str, top: int
) -> None:
    drawn = Drawn(tmp_path, spec_text(search, top=top))

    found = drawn.check()

    assert found.difference is None
    assert found.draws == len(drawn.proposals()) > 6
    assert (
        any(asked.parents for asked in drawn.rig.study.results.history.asked) or "bohb" in search
    )


def test_the_end_of_a_grid_is_found_again(tmp_path: Path) -> None:
    text = spec_text('scheduler = "asha"\nsampler = "grid"\ntrials = 20', space=GRID, more="")
    drawn = Drawn(tmp_path, text)

    found = drawn.check()

    assert [one["e"]["t"] for one in drawn.records].count("SpaceExhausted") == 1
    assert found.difference is None
    assert found.draws == 6 + 1


@pytest.mark.parametrize("sampler", ["lhs", "hammersley"])
def test_each_launch_drew_for_the_trials_that_it_allowed(tmp_path: Path, sampler: str) -> None:
    """More trials at a later launch make another set of points."""
    drawn = Drawn(tmp_path, spec_text(asha(sampler, trials=8)), raised=5)

    assert drawn.check().difference is None
    assert drawn.check().draws == 13


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_config_that_is_off_by_one_bit_is_found(tmp_path: Path, sampler: str) -> None:
    drawn = Drawn(tmp_path, spec_text(asha(sampler)))
    number, record = [
        (n, one) for n, one in enumerate(drawn.records) if one["e"]["t"] == "ConfigProposed"
    ][20]
    record["e"]["config"]["x2"] *= 1 + 2.0**-52

    found = drawn.check().difference

    assert found is not None
    assert found.record == number
    assert found.what == "the config drawn for t00020"
    assert repr(record["e"]["config"]["x2"]) in found.recorded


def test_another_origin_is_found(tmp_path: Path) -> None:
    drawn = Drawn(tmp_path, spec_text(asha("random")))
    drawn.proposals()[3]["origin"] = "start"

    found = drawn.check().difference

    assert found is not None
    assert found.what == "the config drawn for t00003"


@pytest.mark.parametrize("by", ["", "slurmtune 0.0.9, numpy 1.0.0, scipy 1.0.0, abacus"])
def test_what_other_versions_drew_is_believed_if_it_differs(tmp_path: Path, by: str) -> None:
    drawn = Drawn(tmp_path, spec_text(asha("random")), by=by)
    assert drawn.check().draws == 25
    for event in drawn.proposals()[5:8]:
        event["config"]["x1"] = 0.25

    found = drawn.check()

    assert found.difference is None
    assert found.draws == 22
    assert found.other_draws == {by: 3}


def test_without_a_sampler_configs_are_believed(tmp_path: Path) -> None:
    drawn = Drawn(tmp_path, spec_text(asha("random")))
    study, records = launching.read_journal(drawn.layout)

    found = recompute(study, records, raw_results(drawn.layout))

    assert found.difference is None
    assert found.draws == 0


def test_why_a_sampler_cannot_be_made_is_told(tmp_path: Path) -> None:
    drawn = Drawn(tmp_path, spec_text(asha("random")))
    study, records = launching.read_journal(drawn.layout)

    def none(*_: object) -> Sampler:
        raise StudyStateError("no such sampler")

    drawing = Drawing(sampler=none, drawn_by=HERE)
    found = recompute(study, records, raw_results(drawn.layout), drawing)

    assert found.difference is None
    assert (found.draws, found.undrawn) == (0, "no such sampler")


@pytest.mark.parametrize(
    "damage", [{}, {"space": None}, {"space": [{"name": "x"}]}, {"search": {"sampler": 3}}]
)
def test_a_stored_spec_that_makes_no_sense_is_told(tmp_path: Path, damage: Any) -> None:
    drawn = Drawn(tmp_path, spec_text(asha("random", trials=4)))
    identity = launching.read_identity(drawn.layout)
    assert identity is not None
    spec = {**identity["spec"], **damage} if damage else {}

    with pytest.raises(StudyStateError, match=r"cannot be read from study\.json"):
        stored_sampler({"spec": spec})

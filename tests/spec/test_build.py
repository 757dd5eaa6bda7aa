"""From a spec to scheduler, sampler and settings, for every scheduler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from slurmtune.core.ports import StartTrial
from slurmtune.errors import SpecError
from slurmtune.schedulers.async_hyperband import AsyncHyperband
from slurmtune.schedulers.hedged import Hedged
from slurmtune.schedulers.hyperband import Hyperband
from slurmtune.schedulers.pasha import Pasha
from slurmtune.schedulers.pbt import Pbt
from slurmtune.spec import build
from slurmtune.spec.difference import difference, effective
from slurmtune.spec.field import Scheduler
from slurmtune.spec.load import loads_spec
from slurmtune.spec.model import Spec

ASHA = (Path(__file__).parent.parent / "data" / "spec" / "asha.toml").read_text()
SCHEDULERS = get_args(Scheduler)


def spec_of(*overrides: str) -> Spec:
    return loads_spec(ASHA, overrides, launching=True).spec


def core_of(*overrides: str) -> dict[str, Any]:
    spec = spec_of(*overrides)
    core: dict[str, Any] = build.core_settings(spec, build.count_trials(spec))
    return core


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_study_is_built_from_what_json_keeps(scheduler: str) -> None:
    core = core_of(f"search.scheduler={scheduler}")
    study = build.build_study(json.loads(json.dumps(core)))
    assert isinstance(study.scheduler.decide(may_start=True), StartTrial)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("sampler", ["random", "lhs", "tpe"])
def test_a_first_config_is_proposed(scheduler: str, sampler: str) -> None:
    given = ["search.scheduler=" + scheduler]
    if scheduler != "bohb":
        given.append(f"search.sampler={sampler}")
    spec = spec_of(*given)
    study = build.build_study(core_of(*given))
    space = build.build_space(spec)
    made = build.build_sampler(spec, space, build.count_trials(spec), study.scheduler)
    from slurmtune.core.history import History
    from slurmtune.core.ports import Asked

    history = History()
    history.ask(Asked())
    assert set(made.propose(0, history, 0) or {}) == {"lr", "dropout"}


def test_an_older_study_is_built_without_the_newer_settings() -> None:
    core = core_of()
    for key in ("brackets", "guard", "hedge", "options"):
        del core[key]
    assert build.build_study(core).settings.guard is False


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        (["search.scheduler=hyperband"], Hyperband),
        (["search.scheduler=bohb"], Hyperband),
        (["search.scheduler=async_hyperband"], AsyncHyperband),
        (["fidelity.brackets=2"], AsyncHyperband),
        (["search.scheduler=pasha"], Pasha),
        (["search.scheduler=pbt"], Pbt),
        (["fidelity.hedge=0.1"], Hedged),
    ],
)
def test_the_scheduler_is_the_one_that_was_named(overrides: list[str], kind: type) -> None:
    assert type(build.build_scheduler(core_of(*overrides))) is kind


def test_the_sampler_of_bohb_is_tpe() -> None:
    spec = spec_of("search.scheduler=bohb")
    assert build.build_sampler(spec, build.build_space(spec), 9).name == "tpe"


@pytest.mark.parametrize(
    ("overrides", "trials"),
    [
        (["search.scheduler=hyperband", "fidelity.max=81"], 143),
        (["search.scheduler=async_hyperband", "fidelity.max=81"], 143),
        (["search.scheduler=bohb", "fidelity.max=81"], 143),
        (["search.scheduler=dehb", "fidelity.max=81"], 128),
        (["search.scheduler=hyperband", "fidelity.brackets=2"], 27 + 12),
        (["search.scheduler=hyperband", "fidelity.hedge=0.5"], 97),
        (["search.scheduler=pbt", "fidelity.min=9"], 20 * 3),
        (["search.scheduler=irace"], 1000),
        (["search.scheduler=asha"], 100),
    ],
)
def test_trials_that_were_left_out_follow_from_the_scheduler(
    overrides: list[str], trials: int
) -> None:
    text = ASHA.replace("trials = 81\n", "")
    assert build.count_trials(loads_spec(text, overrides).spec) == trials


def test_trials_of_pbt_are_its_members() -> None:
    core = core_of("search.scheduler=pbt", "search.trials=5", "fidelity.min=9")
    assert (core["options"]["population"], core["trials"]) == (5, 15)


def test_the_budget_of_irace_follows_from_its_trials() -> None:
    assert core_of("search.scheduler=irace")["options"]["budget"] == 810


@pytest.mark.parametrize(
    ("overrides", "levels"),
    [
        ([], [1, 3, 9, 27]),
        (["fidelity.rungs=[2, 5, 27]"], [2, 5, 27]),
        (["search.scheduler=median"], [27]),
        (["search.scheduler=pbt", "fidelity.min=10"], [10, 27]),
        (["search.scheduler=pbt", "fidelity.min=0.1", "fidelity.max=0.4"], [0.1, 0.2, 0.3, 0.4]),
        (["search.scheduler=irace", "fidelity.max=6"], [1, 2, 3, 4, 5, 6]),
    ],
)
def test_levels_follow_from_the_scheduler(overrides: list[str], levels: list[float]) -> None:
    assert list(build.build_levels(loads_spec(ASHA, overrides).spec)) == levels


def test_rungs_need_neither_min_nor_max() -> None:
    fidelity = loads_spec(ASHA.replace("max = 27", "rungs = [2, 5, 9]")).spec.fidelity
    assert fidelity is not None
    assert (fidelity.min, fidelity.max) == (2, 9)


def test_checkpoints_that_stay_are_a_limit() -> None:
    """So that a later launch may change them."""
    assert build.build_limits(spec_of("checkpoint.keep=best:3"), 81, ("c0",), {}).keep == "best:3"


def test_a_scheduler_of_a_newer_slurmtune_is_told() -> None:
    with pytest.raises(SpecError, match="knows no scheduler 'magic'"):
        build.build_scheduler({**core_of(), "scheduler": "magic"})


# ------------------------------------------------------------------ time limits


@pytest.mark.parametrize(
    ("overrides", "limits"),
    [
        ([], [1, 2, 6, 18]),
        (["fidelity.resume=false"], [1, 3, 9, 27]),
        (["search.scheduler=hyperband"], [1, 3, 9, 27]),
        (["search.scheduler=hyperband", "fidelity.brackets=2"], [1, 3, 6, 18]),
        (["search.variant=stopping"], [27, 27, 27, 27]),
        (["fidelity.guard=true"], [1, 3, 9, 27]),
        (["search.scheduler=irace", "fidelity.max=5"], [1, 1, 1, 1, 1]),
    ],
)
def test_a_slot_has_time_for_all_that_a_trial_may_have_to_train(
    overrides: list[str], limits: list[int]
) -> None:
    text = ASHA.replace('time = "1:00:00"', 'time_per_unit = "0:01"')
    names, classes = build.build_requests(loads_spec(text, overrides).spec)
    assert [classes[name].time_limit_seconds for name in names] == limits


# ------------------------------------------------------------------ a later launch


def changed(old: list[str], new: list[str]) -> list[tuple[str, bool]]:
    one, other = (effective(loads_spec(ASHA, given).spec) for given in (old, new))
    return [(change.path, change.allowed) for change in difference(one, other)]


@pytest.mark.parametrize("scheduler", ["hyperband", "async_hyperband", "asha", "dehb", "bohb"])
def test_more_trials_may_be_added(scheduler: str) -> None:
    given = f"search.scheduler={scheduler}"
    assert changed([given], [given, "search.trials=200"]) == [("search.trials", True)]


@pytest.mark.parametrize("scheduler", ["sha", "pbt", "irace"])
def test_trials_that_the_plan_rests_on_stay(scheduler: str) -> None:
    given = f"search.scheduler={scheduler}"
    assert changed([given], [given, "search.trials=200"]) == [("search.trials", False)]


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("search.pbt.quantile=0.3", "search.pbt"),
        ("fidelity.hedge=0.1", "fidelity.hedge"),
        ("fidelity.guard=true", "fidelity.guard"),
        ("fidelity.brackets=2", "fidelity.brackets"),
        ("fidelity.rungs=[1, 27]", "fidelity.rungs"),
    ],
)
def test_how_the_scheduler_works_may_not_change(override: str, path: str) -> None:
    assert changed([], [override]) == [(path, False)]


def test_checkpoints_and_slots_may_be_kept_otherwise() -> None:
    assert all(ok for _, ok in changed([], ["checkpoint.keep=promoted", "slurm.ahead=2.0"]))


def test_a_spec_of_an_earlier_slurmtune_has_not_changed() -> None:
    new = effective(loads_spec(ASHA).spec)
    old = json.loads(json.dumps(new))
    for key in ("options", "median", "pasha", "pbt", "irace", "dehb", "tpe"):
        del old["search"][key]
    for key in ("rungs", "guard", "hedge"):
        del old["fidelity"][key]
    old["fidelity"]["brackets"] = 1
    assert difference(old, new) == []

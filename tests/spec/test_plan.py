"""What a study will cost, held against the published tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.core.resource import dehb_brackets
from slurmtune.schedulers.irace import iterations, least_budget
from slurmtune.spec.build import count_trials
from slurmtune.spec.load import loads_spec
from slurmtune.spec.model import Spec
from slurmtune.spec.plan import (
    BracketRow,
    build_brackets,
    build_plan,
    build_race,
    least_race_budget,
    race_iterations,
)
from slurmtune.spec.rungs import brackets_of

ASHA = (Path(__file__).parent.parent / "data" / "spec" / "asha.toml").read_text()
TEXT = ASHA.replace("trials = 81\n", "")


def spec_of(scheduler: str, top: int, eta: int = 3, *more: str) -> Spec:
    given = [f"search.scheduler={scheduler}", f"fidelity.max={top}", f"fidelity.eta={eta}", *more]
    return loads_spec(TEXT, given).spec


def brackets(spec: Spec) -> tuple[BracketRow, ...]:
    return build_brackets(spec, count_trials(spec))


def totals(rows: tuple[BracketRow, ...]) -> tuple[float, ...]:
    return tuple(
        sum(getattr(row, name) for row in rows)
        for name in ("configs", "evaluations", "cost_from_scratch", "cost_resumed")
    )


@pytest.mark.parametrize("scheduler", ["hyperband", "async_hyperband", "bohb"])
@pytest.mark.parametrize(
    ("top", "eta", "expected"),
    [
        (81, 3, (143, 206, 1902, 1581)),
        (27, 3, (49, 69, 423, 357)),
        (16, 2, (43, 72, 372, 278)),
        (64, 4, (98, 127, 1000, 884)),
    ],
)
def test_hyperband_costs_what_is_published(
    scheduler: str, top: int, eta: int, expected: tuple[int, ...]
) -> None:
    """Li et al. 2018, Algorithm 1, with whole numbers."""
    assert totals(brackets(spec_of(scheduler, top, eta))) == expected


def test_hyperband_of_243() -> None:
    assert totals(brackets(spec_of("hyperband", 243)))[:3] == (415, 611, 8457)


def test_stages_of_hyperband() -> None:
    sizes = [row.plan.sizes for row in brackets(spec_of("hyperband", 81))]
    assert sizes == [(81, 27, 9, 3, 1), (34, 11, 3, 1), (15, 5, 1), (8, 2), (5,)]


def test_dehb_has_the_sizes_of_its_authors() -> None:
    rows = brackets(spec_of("dehb", 81))
    assert [row.plan.trials for row in rows] == [81, 27, 9, 6, 5]
    assert totals(rows) == (128, 187, 1701, 1404)


@given(rungs=st.integers(2, 7), eta=st.integers(2, 5), count=st.integers(1, 7) | st.none())
def test_the_brackets_of_the_plan_are_those_of_the_scheduler(
    rungs: int, eta: int, count: int | None
) -> None:
    more = [] if count is None else [f"fidelity.brackets={min(count, rungs)}"]
    spec = spec_of("dehb", eta ** (rungs - 1), eta, *more)
    levels = [eta**rung for rung in range(rungs)]
    assert brackets_of(spec) == dehb_brackets(levels, eta, count and min(count, rungs))


def test_rows_of_the_plan_sum_up_the_brackets() -> None:
    plan = build_plan(spec_of("hyperband", 81), 143)
    assert [row.trials for row in plan] == [81, 27 + 34, 9 + 11 + 15, 3 + 3 + 5 + 8, 10]
    assert sum(row.units_all or 0 for row in plan) == 1581


def test_rows_of_the_plan_without_checkpoints() -> None:
    plan = build_plan(spec_of("hyperband", 81, 3, "fidelity.resume=false"), 143)
    assert sum(row.units_all or 0 for row in plan) == 1902


@given(
    scheduler=st.sampled_from(["hyperband", "async_hyperband", "dehb", "asha", "pasha"]),
    trials=st.integers(1, 700),
    hedge=st.sampled_from(["0.0", "0.1", "0.3"]),
)
def test_every_trial_is_in_one_bracket(scheduler: str, trials: int, hedge: str) -> None:
    more = [] if scheduler == "dehb" else [f"fidelity.hedge={hedge}"]
    rows = build_brackets(spec_of(scheduler, 27, 3, *more), trials)
    assert sum(row.configs for row in rows) == trials


def test_a_second_round_of_hyperband_is_told_as_that() -> None:
    rows = build_brackets(spec_of("hyperband", 9), 34)
    assert [(row.bracket, row.times) for row in rows] == [(0, 2), (1, 2), (2, 2)]


def test_a_bracket_that_is_not_filled_ends_with_its_best() -> None:
    rows = build_brackets(spec_of("hyperband", 9), 11)
    assert [(row.bracket, row.plan.sizes) for row in rows] == [(0, (9, 3, 1)), (1, (2, 1))]


def test_a_control_group_runs_to_the_end() -> None:
    *_, row = build_brackets(spec_of("asha", 9, 3, "fidelity.hedge=0.1"), 100)
    assert (row.bracket, row.plan.sizes) == (None, (10, 10, 10))


def test_a_population_is_trained_in_full() -> None:
    [row] = brackets(spec_of("pbt", 40, 3, "search.trials=6", "fidelity.min=10"))
    assert (row.evaluations, row.cost_resumed) == (24, 240)


@pytest.mark.parametrize("scheduler", ["none", "median", "irace"])
def test_without_promotions_there_are_no_brackets(scheduler: str) -> None:
    assert build_brackets(spec_of(scheduler, 27), 10) == ()


@pytest.mark.parametrize(
    ("dimension", "budget", "configs"),
    [
        (4, 1000, [41, 35, 31, 27]),
        (10, 1000, [33, 28, 25, 22, 20]),
        (3, 200, [11, 9, 8]),
        (8, 5000, [166, 142, 125, 111, 100]),
    ],
)
def test_iterations_of_irace(dimension: int, budget: int, configs: list[int]) -> None:
    """López-Ibáñez et al. 2016, if each iteration uses up its budget."""
    spec = spec_of("irace", 27, 3, f"search.irace.budget={budget}")
    assert [row.configs for row in build_race(spec, dimension)] == configs


@given(dimension=st.integers(1, 200))
def test_races_are_planned_as_the_scheduler_does(dimension: int) -> None:
    assert race_iterations(dimension) == iterations(dimension)
    assert least_race_budget(spec_of("irace", 27), dimension) == least_budget(dimension)


def test_irace_is_one_row_of_evaluations() -> None:
    [row] = build_plan(spec_of("irace", 27, 3, "search.irace.budget=500"), 100)
    assert (row.trials, row.units_all) == (500, 500)

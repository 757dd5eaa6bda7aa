"""What a study will cost, held against the published tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.core.resource import dehb_brackets
from slurmtune.schedulers.irace import iterations, least_budget, race_size
from slurmtune.spec.build import count_trials
from slurmtune.spec.load import loads_spec
from slurmtune.spec.model import Spec
from slurmtune.spec.plan import (
    BracketRow,
    PlanRow,
    build_brackets,
    build_plan,
    build_race,
    expected_race_trials,
    least_race_budget,
    race_configs,
    race_iterations,
)
from slurmtune.spec.rungs import bracket_name, brackets_of

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


# ------------------------------------------------------------------ time limits and GPU-hours

HOURS = "slurm.gpus_per_node=1"


def rows_of(spec: Spec) -> tuple[PlanRow, ...]:
    return build_plan(spec, count_trials(spec))


@given(
    scheduler=st.sampled_from(
        ["none", "asha", "sha", "hyperband", "async_hyperband", "dehb", "median", "pbt", "irace"]
    ),
    variant=st.sampled_from(["promotion", "stopping"]),
    unit_time=st.floats(0.001, 1e5),
    resume=st.booleans(),
    seconds=st.integers(1, 5000),
)
def test_what_is_likely_is_never_above_what_is_used_at_most(
    scheduler: str, variant: str, unit_time: float, resume: bool, seconds: int
) -> None:
    given = [HOURS, f"fidelity.unit_time={unit_time!r}", f'slurm.time="0:00:{seconds}"']
    given += ["search.trials=30"]
    if scheduler == "asha":
        given.append(f"search.variant={variant}")
    if scheduler not in {"pbt", "irace"}:
        given.append(f"fidelity.resume={str(resume).lower()}")
    for row in rows_of(spec_of(scheduler, 27, 3, *given)):
        assert row.likely_gpu_hours is not None
        assert row.likely_gpu_hours <= row.most_gpu_hours


def test_a_training_that_does_not_fit_takes_several_slots() -> None:
    """18 epochs of an hour in slots of ten minutes: 108 of them."""
    given = [HOURS, "fidelity.unit_time=3600", 'slurm.time="0:10:00"', "search.trials=30"]
    row = rows_of(spec_of("asha", 27, 3, *given))[-1]
    assert (row.trials, row.slots, row.longest_seconds) == (1, 108, 18 * 3600)


def test_a_training_that_fits_takes_one_slot_for_each_trial() -> None:
    rows = rows_of(spec_of("asha", 27, 3, "fidelity.unit_time=1", "search.trials=30"))
    assert [(row.trials, row.slots) for row in rows] == [(30, 30), (10, 10), (3, 3), (1, 1)]


def test_without_unit_time_nobody_knows_how_long_a_training_takes() -> None:
    assert {row.longest_seconds for row in rows_of(spec_of("asha", 27))} == {None}


# ------------------------------------------------------------------ the stopping variant of asha

STOPPING = ("search.variant=stopping", "search.trials=81")


@pytest.mark.parametrize("resume", ["true", "false"])
def test_trials_that_run_on_pay_for_nothing_twice(resume: str) -> None:
    """81, 27, 9 and 3 trials pass 1, 3, 9 and 27 epochs: (81-27) + 3*18 + 9*6 + 27*3."""
    [row] = rows_of(spec_of("asha", 27, 3, *STOPPING, f"fidelity.resume={resume}"))
    assert (row.trials, row.units_all, row.units_each) == (81, 243, None)


def test_a_trial_that_runs_on_asks_once_for_what_the_last_rung_asks_for() -> None:
    given = ['slurm.time_per_unit="2:00"', 'slurm.time_extra="5:00"', HOURS, *STOPPING]
    text = TEXT.replace('time = "1:00:00"\n', "")
    [row] = rows_of(loads_spec(text, ["fidelity.max=9", *given]).spec)
    assert (row.rung, row.resource, row.time_limit_seconds) == (2, 9, 23 * 60)
    assert row.most_gpu_hours == pytest.approx(81 * 23 / 60)


def test_what_differs_from_a_rung_on_holds_for_the_whole_trial_that_runs_on() -> None:
    given = ['slurm.rung.1.time="2:00:00"', "slurm.rung.1.gpus_per_node=2"]
    [row] = rows_of(spec_of("asha", 9, 3, *STOPPING, *given))
    assert (row.time_limit_seconds, row.gpus) == (7200, 2)


def test_one_trial_of_the_stopping_variant_always_runs_to_the_end() -> None:
    [row] = build_brackets(spec_of("asha", 27, 3, *STOPPING), 4)
    assert row.plan.sizes == (4, 1, 1, 1)


def test_the_control_group_of_the_stopping_variant_is_in_its_row() -> None:
    [row] = rows_of(spec_of("asha", 9, 3, "search.variant=stopping", "fidelity.hedge=0.1"))
    [stopped, control] = build_brackets(
        spec_of("asha", 9, 3, "search.variant=stopping", "fidelity.hedge=0.1"), 100
    )
    assert row.trials == 100
    assert row.units_all == stopped.cost_resumed + control.cost_resumed


# ------------------------------------------------------------------ brackets that are not filled


@pytest.mark.parametrize(
    ("scheduler", "trials", "missing"),
    [
        ("hyperband", 5, 4),  # 5, 1, 1 of 9, 3, 1
        ("bohb", 1, 8),
        ("dehb", 5, 4),
        ("hyperband", 11, 3),  # the second has 2, 1 of 5, 1
        ("hyperband", 9, None),
        ("hyperband", 12, None),  # 3, 1 of 5, 1
        ("hyperband", 15, None),  # the third compares nobody anyway
        ("async_hyperband", 5, None),
        ("sha", 9, None),
        ("asha", 2, None),
    ],
)
def test_a_bracket_with_too_few_to_compare_is_known(
    scheduler: str, trials: int, missing: int | None
) -> None:
    rows = build_brackets(spec_of(scheduler, 9, 3, f"search.trials={trials}"), trials)
    short = [row for row in rows if row.compares_too_few(3)]
    assert [(row.room or 0) - row.plan.trials for row in short] == (
        [] if missing is None else [missing]
    )


# ------------------------------------------------------------------ the names of brackets


@pytest.mark.parametrize("scheduler", ["hyperband", "dehb"])
def test_repeated_brackets_have_the_numbers_that_the_scheduler_gives(scheduler: str) -> None:
    rows = build_brackets(spec_of(scheduler, 9), 100)
    found = sorted(number for row in rows for number in row.numbers)
    assert found == list(range(len(found)))


@pytest.mark.parametrize(
    ("scheduler", "name"),
    [
        ("asha", ""),
        ("none", ""),
        ("pbt", ""),
        ("hyperband", "bracket 1"),
        ("async_hyperband", "bracket 1"),
        ("bohb", "bracket 1"),
        ("dehb", "bracket 1"),
        ("irace", "iteration 2"),
        ("own", "bracket 1"),
    ],
)
def test_a_bracket_is_called_what_its_scheduler_calls_it(scheduler: str, name: str) -> None:
    assert bracket_name(scheduler, 1) == name


def test_the_first_bracket_of_an_own_scheduler_may_be_the_only_one() -> None:
    assert bracket_name("own", 0) == ""


# ------------------------------------------------------------------ how many trials irace starts


@given(
    budget=st.integers(1, 5000),
    iteration=st.integers(1, 9),
    first=st.integers(1, 9),
    every=st.integers(1, 4),
    known=st.lists(st.integers(1, 20), max_size=6),
)
def test_the_size_of_a_race_is_that_of_the_scheduler(
    budget: int, iteration: int, first: int, every: int, known: list[int]
) -> None:
    ours = race_configs(budget, iteration, first, every, known)
    theirs = race_size(
        budget, iteration, first_test=first, test_every=every, elite_instances=known
    )
    assert ours == theirs


@pytest.mark.parametrize(
    ("budget", "fewest", "most"),
    [(1000, 118, 163), (80, 8, 11)],
)
def test_irace_starts_more_trials_the_earlier_its_races_end(
    budget: int, fewest: int, most: int
) -> None:
    """Measured with made-up losses, from clear to pure noise: 128 to 164, and 10 to 12."""
    given = [f"search.irace.budget={budget}"]
    assert expected_race_trials(spec_of("irace", 10, 3, *given), 2) == (fewest, most)


def test_evaluations_of_irace_are_bounded_by_trials_and_instances() -> None:
    spec = spec_of("irace", 6, 3, "search.irace.budget=500", "search.trials=20")
    [row] = rows_of(spec)
    assert (row.trials, row.units_all) == (120, 120)

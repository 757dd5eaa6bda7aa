"""DEHB: the sizes of its brackets, promotion in the first iteration, evolution afterwards."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given

from slurmtune.core.ports import Decision, Promote, StartTrial
from slurmtune.core.resource import dehb_brackets
from slurmtune.samplers.dehb import DehbSampler
from slurmtune.samplers.random import RandomSampler
from slurmtune.schedulers.dehb import Dehb
from slurmtune.space.domain import Uniform
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.curves import PowerLawCurves
from slurmtune.testing.scheduler_contract import MOVES, Move, SchedulerContract, Walk
from slurmtune.testing.study_rig import StudyRig, snapshot


class TestDehbContract(SchedulerContract):
    def make_scheduler(self) -> Dehb:
        return Dehb((1, 2), 2, seed=3)


class TestDehbWithThreeRungsContract(SchedulerContract):
    def make_scheduler(self) -> Dehb:
        return Dehb((1, 2, 4), 2, seed=3, brackets=2)


# -------------------------------------------------------------------- the plan


def test_the_sizes_are_those_of_the_old_table() -> None:
    sizes = [plan.sizes for plan in dehb_brackets((1, 3, 9, 27, 81), 3)]

    assert sizes == [(81, 27, 9, 3, 1), (27, 9, 3, 1), (9, 3, 1), (6, 2), (5,)]


def test_an_iteration_costs_what_the_old_table_does() -> None:
    plans = dehb_brackets((1, 3, 9, 27, 81), 3)

    assert sum(plan.trials for plan in plans) == 128
    assert sum(plan.evaluations for plan in plans) == 187
    assert sum(plan.cost_from_scratch for plan in plans) == 1701
    assert sum(plan.cost_resumed for plan in plans) == 1404


def test_a_stage_of_seven_to_the_third_is_exact() -> None:
    """DEHB's own computation with floats gives 6 instead of 7."""
    assert dehb_brackets((1, 7, 49, 343), 7)[0].sizes == (343, 49, 7, 1)


def test_a_bracket_begins_at_its_rung() -> None:
    assert [plan.levels for plan in dehb_brackets((1, 3, 9), 3)] == [(1, 3, 9), (3, 9), (9,)]


def test_only_the_first_brackets() -> None:
    assert len(dehb_brackets((1, 3, 9), 3, 2)) == 2


@pytest.mark.parametrize("brackets", [0, 4])
def test_brackets_that_there_are_not_are_refused(brackets: int) -> None:
    with pytest.raises(ValueError, match="brackets must be from 1 to 3"):
        Dehb((1, 3, 9), 3, seed=0, brackets=brackets)


def test_a_population_is_as_large_as_the_largest_bracket_there() -> None:
    scheduler = Dehb((1, 3, 9, 27, 81), 3, seed=0)

    assert [len(scheduler.population(rung)) for rung in range(5)] == [81, 27, 9, 6, 5]


def test_every_bracket_has_the_whole_ladder() -> None:
    assert list(Dehb((1, 3, 9), 3, seed=0).ladder(17)) == [1, 3, 9]


# -------------------------------------------------------------------- runs


class Run:
    """Carries out decisions and finishes trials."""

    def __init__(self, scheduler: Dehb) -> None:
        self.scheduler = scheduler
        self.asked: list[StartTrial] = []
        """By trial."""
        self.on_way: dict[int, int] = {}
        self.decisions: list[Decision] = []

    def step(self, *, may_start: bool = True) -> Decision | None:
        decision = self.scheduler.decide(may_start=may_start)
        if isinstance(decision, StartTrial):
            trial = len(self.asked)
            self.asked.append(decision)
            self.scheduler.started(trial, decision.bracket)
            self.on_way[trial] = decision.rung
        elif decision is not None:
            self.on_way[decision.trial] = decision.rung
        if decision is not None:
            self.decisions.append(decision)
        return decision

    def steps(self, count: int) -> list[Decision | None]:
        return [self.step() for _ in range(count)]

    def finish(self, trial: int, loss: float | None) -> None:
        self.scheduler.finished(trial, self.on_way.pop(trial), loss)

    def alone(self, count: int, loss: dict[int, float | None] | None = None) -> Run:
        """Carry out ``count`` decisions one after the other; losses are trial numbers at first."""
        for _ in range(count):
            self.step()
            (trial,) = self.on_way
            self.finish(trial, (loss or {}).get(trial, float(trial)))
        return self


def small() -> Run:
    """Return a run of brackets 4-2-1, 2-1 and 3: 7 + 3 + 3 evaluations, 9 trials at first."""
    return Run(Dehb((1, 2, 4), 2, seed=1))


def test_the_small_example_has_these_sizes() -> None:
    assert [plan.sizes for plan in dehb_brackets((1, 2, 4), 2)] == [(4, 2, 1), (2, 1), (3,)]


def test_the_first_iteration_is_hyperband() -> None:
    decisions = small().alone(13).decisions

    assert decisions == [
        *[StartTrial(bracket=0, rung=0)] * 4,
        Promote(trial=0, rung=1),
        Promote(trial=1, rung=1),
        Promote(trial=0, rung=2),
        *[StartTrial(bracket=1, rung=1)] * 2,
        Promote(trial=1, rung=2),  # it is in the population of rung 1, and not of rung 2
        *[StartTrial(bracket=2, rung=2)] * 3,
    ]


def test_a_new_config_that_is_better_takes_a_place_and_is_promoted() -> None:
    run = small().alone(9, {4: -1.0})

    assert run.scheduler.population(1) == (4, 1)
    assert run.step() == Promote(trial=4, rung=2)


def test_a_new_config_that_is_worse_takes_no_place() -> None:
    assert small().alone(9).scheduler.population(1) == (0, 1)


def test_an_equal_one_takes_the_place() -> None:
    assert small().alone(9, {4: 0.0}).scheduler.population(1) == (4, 1)


def test_failed_trials_are_neither_promoted_nor_individuals() -> None:
    run = small().alone(4, {0: None, 1: None, 2: None})

    assert run.scheduler.population(0) == (None, None, None, 3)
    assert run.step() == Promote(trial=3, rung=1)
    run.finish(3, 1.0)
    assert run.step() == Promote(trial=3, rung=2)


def test_a_bracket_whose_trials_all_failed_ends() -> None:
    run = small().alone(4, dict.fromkeys(range(4)))

    assert run.step() == StartTrial(bracket=1, rung=1)


def test_the_second_iteration_evolves_at_every_rung() -> None:
    decisions = small().alone(26).decisions[13:]

    assert all(isinstance(d, StartTrial) and len(d.parents) == 4 for d in decisions)
    assert [(d.bracket, d.rung) for d in decisions if isinstance(d, StartTrial)] == [
        *[(3, 0)] * 4,
        *[(3, 1)] * 2,
        (3, 2),
        *[(4, 1)] * 2,
        (4, 2),
        *[(5, 2)] * 3,
    ]


def test_offspring_train_from_nothing() -> None:
    decisions = small().alone(26).decisions

    assert all(d.source is None for d in decisions if isinstance(d, StartTrial))


def test_targets_go_round_the_population() -> None:
    run = small().alone(13)
    before = run.scheduler.population(0)
    targets = [d.parents[0] for d in run.steps(4) if isinstance(d, StartTrial)]

    assert targets == list(before) == [0, 1, 2, 3]


def test_parents_are_three_different_ones_of_the_rungs_population_at_the_base() -> None:
    for seed in range(20):
        run = Run(Dehb((1, 2, 4), 2, seed=seed)).alone(13)
        decision = run.step()
        assert isinstance(decision, StartTrial)
        assert len(set(decision.parents[1:])) == 3
        assert set(decision.parents[1:]) <= {0, 1, 2, 3}


def test_higher_up_parents_are_the_best_of_the_next_lower_population() -> None:
    """Rung 1 of the bracket 27-9-3-1 has 9 evaluations: the best 9 of 27 below are parents."""
    scheduler = Dehb((1, 3, 9, 27), 3, seed=0)
    sizes = [plan.sizes for plan in dehb_brackets((1, 3, 9, 27), 3)]
    assert sizes == [(27, 9, 3, 1), (9, 3, 1), (6, 2), (4,)]
    run = Run(scheduler).alone(sum(map(sum, sizes)))
    run.alone(27, dict.fromkeys(range(46, 100), 1000.0))
    decision = run.step()

    assert isinstance(decision, StartTrial)
    assert (decision.bracket, decision.rung) == (4, 1)
    assert set(decision.parents[1:]) <= set(range(9))


def test_two_parents_are_filled_up_from_all_populations() -> None:
    run = small().alone(13 + 4)
    decision = run.step()

    assert isinstance(decision, StartTrial)
    assert decision.rung == 1
    assert len(set(decision.parents[1:])) == 3
    assert {0, 1} <= set(decision.parents[1:])


def test_all_parents_are_drawn_alike() -> None:
    drawn: Counter[int] = Counter()
    for seed in range(100):
        run = Run(Dehb((1, 2, 4), 2, seed=seed)).alone(13)
        for decision in run.steps(4):
            assert isinstance(decision, StartTrial)
            drawn.update(decision.parents[1:])

    assert set(drawn) == {0, 1, 2, 3}
    assert min(drawn.values()) > 250  # of 1200


def test_the_seed_decides_about_parents() -> None:
    first = [Run(Dehb((1, 2, 4), 2, seed=seed)).alone(26).decisions for seed in (1, 1, 2)]

    assert first[0] == first[1] != first[2]


def test_an_offspring_replaces_its_target_if_it_is_no_worse() -> None:
    run = small().alone(13)
    first = len(run.asked)
    run.alone(4, {first: 0.0, first + 1: 1.5, first + 2: None, first + 3: -1.0})

    assert run.scheduler.population(0) == (first, 1, 2, first + 3)


def test_an_offspring_of_two_brackets_competes_with_who_holds_the_place_then() -> None:
    run = small().alone(13)
    first = len(run.asked)
    run.steps(4)
    for trial in (first, first + 1, first + 2):
        run.finish(trial, -5.0)
    assert run.step() == run.asked[-1]
    assert run.asked[-1].bracket == 4  # rung 0 of bracket 3 still runs
    run.finish(first + 3, 99.0)

    assert run.scheduler.population(0) == (first, first + 1, first + 2, 3)


def test_an_empty_place_is_taken_by_an_offspring_of_its_neighbour() -> None:
    run = small().alone(13, {1: None})
    first = len(run.asked)
    assert run.scheduler.population(0) == (0, None, 2, 3)
    targets = [d.parents[0] for d in run.steps(4) if isinstance(d, StartTrial)]
    run.finish(first + 1, 50.0)

    assert targets == [0, 2, 2, 3]
    assert run.scheduler.population(0) == (0, first + 1, 2, 3)


def test_with_fewer_than_three_individuals_new_configs_are_tried() -> None:
    run = small()
    while run.step() is not None and len(run.asked) < 30:
        for trial in list(run.on_way):
            run.finish(trial, None)

    assert {asked.parents for asked in run.asked} == {()}
    assert run.asked[-1].bracket > 3


def test_while_a_rung_runs_the_next_bracket_begins() -> None:
    run = small()

    assert run.steps(7) == [
        *[StartTrial(bracket=0, rung=0)] * 4,
        *[StartTrial(bracket=1, rung=1)] * 2,
        StartTrial(bracket=2, rung=2),
    ]


def test_earlier_brackets_go_first() -> None:
    run = small()
    run.steps(5)
    for trial in range(4):
        run.finish(trial, float(trial))

    assert run.step() == Promote(trial=0, rung=1)


# -------------------------------------------------------------------- the end of trials


def test_a_first_rung_that_cannot_be_filled_goes_on_with_what_there_is() -> None:
    run = small().alone(2)

    assert run.step(may_start=False) == Promote(trial=0, rung=1)
    run.finish(0, 1.0)
    assert run.step(may_start=False) == Promote(trial=0, rung=2)
    run.finish(0, 1.0)
    assert run.step(may_start=False) is None


def test_a_first_rung_is_not_closed_while_a_trial_of_it_runs() -> None:
    run = small()
    run.steps(2)
    run.finish(0, 1.0)

    assert run.step(may_start=False) is None


def test_evolution_ends_without_further_trials() -> None:
    run = small().alone(15)

    assert run.step(may_start=False) is None


def test_a_start_that_never_came_is_asked_for_again() -> None:
    run = small().alone(13)
    first = run.scheduler.decide(may_start=True)

    assert run.scheduler.decide(may_start=True) == first
    assert run.scheduler.decide(may_start=False) is None


# -------------------------------------------------------------------- what is spare


def test_nothing_is_spare_while_it_may_be_promoted() -> None:
    assert small().alone(3).scheduler.spare(100) == []


def test_what_is_left_behind_is_spare_when_the_last_promotion_was_chosen() -> None:
    assert small().alone(4).scheduler.spare(100) == [(2, 0), (3, 0)]


def test_a_rung_of_two_brackets_is_kept_until_both_have_promoted() -> None:
    run = small().alone(7)

    assert set(run.scheduler.spare(100)) == {(2, 0), (3, 0), (0, 0), (1, 0), (0, 1), (0, 2)}
    run.alone(1)
    assert run.scheduler.spare(100) == [(4, 1)]  # worse than who holds its place
    run.alone(2)
    assert set(run.scheduler.spare(100)) == {(5, 1), (1, 1), (1, 2)}


def test_who_lost_its_place_is_spare() -> None:
    run = small().alone(8, {1: -5.0})
    run.scheduler.spare(100)
    assert run.scheduler.population(1) == (1, 0)
    run.alone(1, {5: -9.0})

    assert run.scheduler.spare(100) == [(0, 1)]


def test_offspring_are_spare_at_once() -> None:
    run = small().alone(13)
    run.scheduler.spare(100)
    run.alone(1)

    assert run.scheduler.spare(100) == [(9, 0)]


# -------------------------------------------------------------------- standing


def test_a_standing_tells_the_place_among_those_that_might_go_on() -> None:
    run = small().alone(4)
    first, last = run.scheduler.standing(0, 0), run.scheduler.standing(3, 0)

    assert first is not None
    assert last is not None
    assert (first.place, first.places, first.size, first.cutoff) == (0, 2, 4, 1.0)
    assert first.outlook == "waits for a free slot"
    assert (last.place, last.outlook) == (3, "holds a place in the population")


def test_a_standing_tells_whose_place_it_took_and_who_took_it() -> None:
    run = small().alone(14, {9: -1.0})
    winner, loser = run.scheduler.standing(9, 0), run.scheduler.standing(0, 0)

    assert winner is not None
    assert loser is not None
    assert winner.outlook == "holds a place in the population, which was that of t00000"
    assert loser.outlook == ""
    assert run.scheduler.compared(9, 0) == [(9, -1.0), (0, 0.0)]
    assert (winner.place, winner.places, winner.cutoff) == (0, 0, 0.0)
    assert winner.rule == "it takes the place of t00000 in the rung's population if as good"


def test_who_went_on_is_told_by_the_rule_of_that_moment() -> None:
    """Also when nothing will be promoted from the rung any more."""
    run = small().alone(14, {9: -1.0})
    standing = run.scheduler.standing(0, 0)

    assert standing is not None
    assert standing.rule == "the best of the rung's population go on that have not done so"
    assert (standing.place, standing.places, standing.cutoff) == (0, 2, 1.0)
    assert run.scheduler.compared(0, 0) == [(trial, float(trial)) for trial in range(4)]


def test_a_trial_that_lost_to_its_target_stands_behind_it() -> None:
    run = small().alone(14, {9: 50.0})
    standing = run.scheduler.standing(9, 0)

    assert standing is not None
    assert (standing.place, standing.size, standing.cutoff) == (1, 2, 0.0)
    assert standing.outlook == "never: t00000 holds its place in the population"
    assert run.scheduler.compared(9, 0) == [(0, 0.0), (9, 50.0)]


# -------------------------------------------------------------------- mistakes


def test_a_trial_that_was_never_started_cannot_finish() -> None:
    with pytest.raises(ValueError, match="never started"):
        small().scheduler.finished(0, 0, 1.0)


def test_a_trial_cannot_finish_what_it_was_not_sent_to() -> None:
    run = small()
    run.step()

    with pytest.raises(ValueError, match="only scheduled up to rung 0"):
        run.scheduler.finished(0, 1, 1.0)


def test_nobody_starts_unasked() -> None:
    with pytest.raises(ValueError, match="nobody asked"):
        small().scheduler.started(0, 0)


# -------------------------------------------------------------------- properties


@SchedulerContract.checked
@given(moves=MOVES)
def test_no_place_ever_gets_worse(moves: list[Move]) -> None:
    scheduler = Dehb((1, 2), 2, seed=0)
    walk = Walk(scheduler, trials=1000)
    held: dict[tuple[int, int], float] = {}
    for move in moves:
        walk.follow([move])
        for rung in range(2):
            for place, trial in enumerate(scheduler.population(rung)):
                assert trial is not None or (rung, place) not in held
                if trial is not None:
                    loss = walk.results[trial, rung]
                    assert loss is not None
                    assert loss <= held.get((rung, place), loss)
                    held[rung, place] = loss


@SchedulerContract.checked
@given(moves=MOVES)
def test_parents_have_finite_results(moves: list[Move]) -> None:
    walk = Walk(Dehb((1, 2), 2, seed=0), trials=1000)
    for move in moves:
        known = len(walk.decisions)
        walk.follow([move])
        for decision in walk.decisions[known:]:
            for parent in decision.parents if isinstance(decision, StartTrial) else ():
                losses = [loss for (trial, _), loss in walk.results.items() if trial == parent]
                assert any(loss is not None for loss in losses)


# -------------------------------------------------------------------- a whole study


def test_a_study_evolves_and_replays() -> None:
    space = Space(
        [
            Hyperparameter(name="x1", domain=Uniform(-5, 10)),
            Hyperparameter(name="x2", domain=Uniform(0, 15)),
        ]
    )
    rig = StudyRig(
        trials=60,
        slots=5,
        levels=(1, 3, 9),
        scheduler=lambda: Dehb((1, 3, 9), 3, seed=0),
        sampler=DehbSampler(space, RandomSampler(space)),
        program=PowerLawCurves(seconds_spread=0.9),
        limits={"keep": "none"},
    )
    assert rig.run() == "done"
    trials = rig.study.trials
    before = snapshot(rig.study)
    rig.new_driver()

    assert Counter(trial.origin for trial in trials) == {"random": 9 + 3 + 3, "dehb": 60 - 15}
    assert all(trial.attempts[0].start == 0 for trial in trials)
    assert snapshot(rig.study) == before

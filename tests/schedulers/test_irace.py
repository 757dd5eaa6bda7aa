"""Iterated racing: the plan, the race, and who goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.core.ports import Leaders, Promote, Standing, StartTrial
from slurmtune.schedulers.irace import (
    Irace,
    iteration_budget,
    iterations,
    least_budget,
    parent_shares,
    race_size,
)
from slurmtune.schedulers.race import Race, RaceRules
from slurmtune.schedulers.racing import RaceTest
from slurmtune.testing.scheduler_contract import SchedulerContract

Loss = Callable[[int, int], float | None]


def make(instances: int = 12, budget: int = 200, **options: Any) -> Irace:
    given: dict[str, Any] = {"dimension": 2, "seed": 7, **options}
    return Irace(range(1, instances + 1), budget=budget, **given)


def by_trial(trial: int, rung: int) -> float:
    """Trials in a clear order, the same on every instance."""
    return (trial * 7 % 31) + 0.001 * rung


@dataclass(slots=True)
class Run:
    """A study of one worker at a time, which writes down what was asked for."""

    scheduler: Irace
    loss: Loss = by_trial
    most: int = 10_000
    starts: list[StartTrial] = field(default_factory=list)
    evaluated: list[tuple[int, int]] = field(default_factory=list)
    """(trial, rung) in their order."""

    def step(self) -> bool:
        """Ask once, and let what is asked for end at once."""
        decision = self.scheduler.decide(may_start=len(self.starts) < self.most)
        if decision is None:
            return False
        if isinstance(decision, StartTrial):
            pair = (len(self.starts), 0)
            self.starts.append(decision)
            self.scheduler.started(pair[0], decision.bracket)
        else:
            pair = (decision.trial, decision.rung)
        self.evaluated.append(pair)
        self.scheduler.finished(*pair, self.loss(*pair))
        return True

    def to_end(self) -> Run:
        while self.step():
            pass
        return self

    def until(self, bracket: int) -> Run:
        """Go on until a trial of this iteration was started."""
        while not (self.starts and self.starts[-1].bracket == bracket) and self.step():
            pass
        return self

    def counts(self) -> Counter[int]:
        """Return the instances that each trial was evaluated on."""
        return Counter(trial for trial, _ in self.evaluated)

    def standing(self, trial: int, rung: int) -> Standing:
        standing = self.scheduler.standing(trial, rung)
        assert standing is not None
        return standing


def first_race(scheduler: Irace, loss: Loss = by_trial) -> Run:
    """Run the first iteration only."""
    return Run(scheduler, loss, most=scheduler.newcomers(0)).to_end()


class TestIrace(SchedulerContract):
    """Iterated racing is a scheduler."""

    def make_scheduler(self) -> Irace:
        return make(instances=7, budget=90, dimension=1, first_test=2)


class TestIraceWithTTests(SchedulerContract):
    """Also with another test, tests that are far apart, and few instances."""

    def make_scheduler(self) -> Irace:
        return make(instances=5, budget=80, dimension=1, first_test=3, test_every=4, test="t-test")


# ------------------------------------------------------------------ plan


@pytest.mark.parametrize(
    ("dimension", "count"),
    [(1, 2), (2, 3), (3, 3), (4, 4), (7, 4), (8, 5), (15, 5), (16, 6), (31, 6)],
)
def test_number_of_iterations(dimension: int, count: int) -> None:
    assert iterations(dimension) == count


@pytest.mark.parametrize(
    ("budget", "dimension", "sizes"),
    [
        (1000, 4, [41, 35, 31, 27]),
        (1000, 10, [33, 28, 25, 22, 20]),
        (200, 3, [11, 9, 8]),
        (5000, 8, [166, 142, 125, 111, 100]),
    ],
)
def test_sizes_of_races_that_use_up_their_share(
    budget: int, dimension: int, sizes: list[int]
) -> None:
    count, used, found = iterations(dimension), 0, []
    for iteration in range(1, count + 1):
        share = iteration_budget(budget - used, iteration, count)
        found.append(race_size(share, iteration))
        used += share

    assert found == sizes


def test_shares_of_a_budget_that_does_not_divide() -> None:
    shares, left = [], 200
    for iteration in (1, 2, 3):
        shares.append(iteration_budget(left, iteration, 3))
        left -= shares[-1]

    assert shares == [66, 67, 67]


def test_what_elites_know_is_not_paid_again() -> None:
    """Two elites of 6 instances: (66 + 12) / max(5 + 2, 6 + 1)."""
    assert race_size(66, 2, elite_instances=(6, 6)) == 11


def test_newcomers_must_be_able_to_see_all_that_elites_know() -> None:
    """(60 + 40) / max(5 + 2, 20 + 1)."""
    assert race_size(60, 2, elite_instances=(20, 20)) == 4


@pytest.mark.parametrize(("elites", "shares"), [(3, (3, 2, 1)), (4, (4, 3, 2, 1)), (1, (1,))])
def test_parent_shares(elites: int, shares: tuple[int, ...]) -> None:
    """Of their sum: .5, .333, .167; .4, .3, .2, .1."""
    assert parent_shares(elites) == shares


def test_least_budget_is_just_enough() -> None:
    needed = least_budget(2)
    assert make(budget=needed).newcomers(0) == 4

    with pytest.raises(ValueError, match=f"at least {needed} are needed"):
        make(budget=needed - 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 0}, "dimension must be at least 1"),
        ({"first_test": 0}, "first_test must be at least 1"),
        ({"test_every": 0}, "test_every must be at least 1"),
        ({"alpha": 1.0}, "alpha must be between 0 and 1"),
        ({"test": "sign"}, "sign"),
    ],
)
def test_refuses_what_makes_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


# ------------------------------------------------------------------ first race


def test_first_iteration_has_no_parents() -> None:
    run = Run(make()).until(1)

    assert {start.parents for start in run.starts if start.bracket == 0} == {()}


def test_first_iteration_starts_what_was_planned() -> None:
    run = Run(make(budget=200, dimension=3)).until(1)

    assert sum(start.bracket == 0 for start in run.starts) == 11


def test_trials_run_ahead_to_the_first_test_without_waiting() -> None:
    scheduler = make()
    assert isinstance(scheduler.decide(may_start=True), StartTrial)
    scheduler.started(0, 0)
    for rung in range(4):
        scheduler.finished(0, rung, 1.0)
        decision = scheduler.decide(may_start=False)

        assert decision == Promote(trial=0, rung=rung + 1)


def test_nobody_passes_the_first_test_before_all_have_come() -> None:
    scheduler = make()
    count = scheduler.newcomers(0)
    for trial in range(count):
        scheduler.started(trial, 0)
    for trial in range(count - 1):
        scheduler.finished(trial, 0, float(trial))
    while isinstance(decision := scheduler.decide(may_start=True), Promote):
        assert decision.rung <= 4
        scheduler.finished(decision.trial, decision.rung, float(decision.trial))

    assert decision is None


def test_newcomers_start_before_others_go_on() -> None:
    """All of them are needed for the test, and the fewer go last, the less has to wait."""
    run = Run(make(budget=200, dimension=3))
    for _ in range(22):
        run.step()

    assert run.evaluated == [(n, 0) for n in range(11)] + [(n, 1) for n in range(11)]


def worked_example(trial: int, rung: int) -> float:
    table = (
        (0.30, 0.32, 0.35, 0.50),
        (0.28, 0.33, 0.31, 0.52),
        (0.31, 0.30, 0.36, 0.49),
        (0.29, 0.34, 0.33, 0.55),
        (0.27, 0.31, 0.36, 0.51),
    )
    return table[rung][trial] if rung < 5 and trial < 4 else 9.0


def test_worked_example_leaves_one() -> None:
    """N_min is 2 and the first race has 4 configs: the best alone goes on."""
    run = Run(make(dimension=1, budget=50), worked_example).until(1)

    assert run.scheduler.newcomers(0) == 4
    assert run.starts[-1].parents == (0,)


def test_outlook_of_an_eliminated_trial() -> None:
    run = Run(make(dimension=1, budget=50), worked_example).until(1)

    assert run.standing(3, 4).outlook == (
        "eliminated after instance 5: rank sum 20 is 14 behind the best, 4.36 allowed"
    )
    assert run.standing(3, 4).rule == "Friedman test, p < 0.05"


def test_places_after_a_test_are_those_of_the_test() -> None:
    run = Run(make(dimension=1, budget=50), worked_example).until(1)
    places = [run.standing(trial, 4).place for trial in range(4)]

    assert places == [0, 1, 2, 3]
    assert run.standing(1, 4).places == 1


def test_eliminated_trials_get_no_further_instance() -> None:
    run = Run(make(dimension=1, budget=50), worked_example).until(1)

    assert all(count == 5 for trial, count in run.counts().items() if trial < 4)


def test_failed_trial_is_rejected_at_once() -> None:
    run = Run(
        make(), lambda trial, rung: None if (trial, rung) == (2, 1) else by_trial(trial, rung)
    )
    run.to_end()

    assert run.counts()[2] == 2
    assert run.standing(2, 1).outlook == "failed on instance 2: out of the race at once"
    assert run.standing(2, 1).place is None


def test_race_goes_on_instance_by_instance_until_few_are_left() -> None:
    """Everything equal: nobody can be dropped, the budget of the iteration ends the race."""
    scheduler = make(budget=300, instances=40)
    run = Run(scheduler, lambda trial, rung: 1.0).until(1)
    first = [trial for trial, start in enumerate(run.starts) if start.bracket == 0]
    counts = {run.counts()[trial] for trial in first}

    assert counts == {100 // len(first)}


def test_race_ends_with_the_last_instance() -> None:
    run = first_race(make(budget=300, instances=5), lambda *_: 1.0)

    assert run.counts()[0] == 5
    assert run.standing(0, 4).outlook.endswith("which ended after instance 5")


def test_fewer_instances_than_the_first_test_needs_end_in_a_ranking() -> None:
    run = first_race(make(instances=3))

    assert run.standing(0, 2).rule == "the best 3 of the race go on"
    assert run.standing(0, 2).place == 0
    assert run.standing(0, 2).places == 3


def test_a_last_test_follows_the_last_instance() -> None:
    """Tests after 5, then 9 = 7: there is no ninth instance."""
    run = first_race(make(instances=7, test_every=4, budget=400), lambda *_: 1.0)

    assert run.standing(0, 6).rule == "Friedman test, p < 0.05"


# ------------------------------------------------------------------ further iterations


def test_elites_are_parents_with_falling_shares() -> None:
    """3 elites and over 150 children: 1/2, 1/3, 1/6, each within 4 sigma of chance."""
    run = Run(make(budget=3000, instances=6)).until(2)
    parents = Counter(start.parents for start in run.starts if start.bracket == 1)
    total = sum(parents.values())
    best = sorted(range(run.scheduler.newcomers(0)), key=lambda trial: (by_trial(trial, 0), trial))

    assert total > 100
    assert set(parents) <= {(elite,) for elite in best[:3]}
    for elite, share in zip(best, (1 / 2, 1 / 3, 1 / 6), strict=False):
        sigma = (total * share * (1 - share)) ** 0.5
        assert abs(parents[elite,] - share * total) < 4 * sigma


def test_another_seed_draws_other_parents() -> None:
    one, other = (Run(make(budget=600, seed=seed), lambda *_: 1.0).to_end() for seed in (1, 2))

    assert [start.parents for start in one.starts] != [start.parents for start in other.starts]


def test_parent_of_a_trial_is_drawn_once() -> None:
    """Asked again, because the answer was not taken up, the scheduler answers the same."""
    run = Run(make()).until(1)

    first, second = (run.scheduler.decide(may_start=True) for _ in range(2))

    assert isinstance(first, StartTrial)
    assert first == second


def test_elites_take_the_places_of_new_configs() -> None:
    run = Run(make(budget=200, dimension=3, instances=5), lambda *_: 1.0).until(2)
    elites = {parent for start in run.starts if start.bracket == 1 for parent in start.parents}

    # 55 used; (200 - 55) // 2 = 72 and 15 saved, 87 // max(7, 6) = 12, 3 of them elites.
    assert run.scheduler.newcomers(1) == 9
    assert len(elites) <= 3


def test_elites_keep_their_results() -> None:
    run = Run(make(instances=5, budget=300)).to_end()

    assert len(run.evaluated) == len(set(run.evaluated))
    assert max(run.counts().values()) == 5


def test_elite_is_protected_until_newcomers_have_seen_its_instances() -> None:
    """All newcomers beat it from the beginning, so each test would drop it."""
    scheduler = make(dimension=1, budget=300, instances=30)
    first = scheduler.newcomers(0)

    def loss(trial: int, rung: int) -> float:
        return 0.01 * trial if trial >= first else 1.0 if trial < 4 else 5.0

    run = Run(scheduler, loss).until(1)
    elite = run.starts[-1].parents[0]
    known = run.counts()[elite]
    outlooks = {run.standing(elite, 4).outlook}
    while run.step():
        outlooks.add(run.standing(elite, 4).outlook)

    assert known == 11
    assert f"an elite: it stays until the others have seen its {known} instances" in outlooks
    assert run.standing(elite, 4).outlook.startswith(f"eliminated after instance {known}:")


def test_protected_elites_hold_their_place_at_a_test() -> None:
    scheduler = make(dimension=1, budget=300, instances=30)
    first = scheduler.newcomers(0)

    def loss(trial: int, rung: int) -> float:
        return 0.01 * trial if trial >= first else 1.0 if trial < 4 else 5.0

    run = Run(scheduler, loss).to_end()
    elites = {parent for start in run.starts for parent in start.parents}

    assert elites == {0, 1}
    assert all(run.standing(elite, 4).place is not None for elite in elites)
    assert not any(trial in elites and rung > 10 for trial, rung in run.evaluated)


def test_when_all_fail_the_next_iteration_starts_anew() -> None:
    run = Run(make(), lambda *_: None).to_end()

    assert {start.parents for start in run.starts} == {()}
    assert {start.bracket for start in run.starts} == {0, 1, 2}


def test_ends_after_the_last_iteration() -> None:
    run = Run(make(budget=400)).to_end()

    assert {start.bracket for start in run.starts} == {0, 1, 2}
    assert run.scheduler.decide(may_start=True) is None


def noisy_at_first(trial: int, rung: int) -> float:
    return 5.0 + trial % 3 + (trial * 13 % 5 + rung * 7 % 3) * 0.01 * (rung < 4)


def test_iteration_whose_share_is_too_small_gets_that_of_the_next_one() -> None:
    """A third of the 125 left: (41 + 5) // 8 = 5, as many as go on; half: (62 + 5) // 8 = 8."""
    scheduler = make(dimension=8, budget=180, instances=60)
    Run(scheduler, noisy_at_first).to_end()

    assert scheduler.newcomers(2) == 8 - 1


def test_ends_when_all_that_is_left_does_not_pay_a_race() -> None:
    scheduler = make(dimension=2, budget=36, instances=60, first_test=2)
    run = Run(scheduler, noisy_at_first).to_end()

    assert {start.bracket for start in run.starts} == {0, 1}
    assert scheduler.decide(may_start=True) is None


def test_goes_on_with_those_there_are_when_no_more_may_start() -> None:
    run = Run(make(budget=200, dimension=3, instances=5), lambda *_: 1.0, most=4).to_end()

    assert run.counts() == dict.fromkeys(range(4), 5)


def test_ends_when_an_iteration_gets_no_newcomer() -> None:
    """Elites alone would only use up budget."""
    run = Run(make(budget=200, dimension=3, instances=9), lambda *_: 1.0, most=11).to_end()

    assert {start.bracket for start in run.starts} == {0}
    assert run.counts()[0] == 6


def test_an_iteration_without_newcomers_begins_when_more_trials_may_start() -> None:
    """A larger limit goes on with what the elites know."""
    run = Run(make(budget=200, dimension=3, instances=9), lambda *_: 1.0, most=11).to_end()
    run.most = 10_000
    run.to_end()

    assert {start.bracket for start in run.starts} == {0, 1, 2}
    assert all(start.parents for start in run.starts[11:])


def test_trial_cannot_start_in_a_complete_iteration() -> None:
    run = Run(make()).until(1)

    with pytest.raises(ValueError, match="iteration 0, which is complete"):
        run.scheduler.started(len(run.starts), 0)


def test_trial_cannot_start_twice() -> None:
    scheduler = make()
    scheduler.started(0, 0)

    with pytest.raises(ValueError, match="trial 0 was started before"):
        scheduler.started(0, 0)


def test_outlook_before_the_end_of_few_instances() -> None:
    scheduler = make(instances=3)
    scheduler.started(0, 0)
    scheduler.finished(0, 0, 1.0)
    standing = scheduler.standing(0, 0)
    assert standing is not None

    assert standing.outlook == (
        f"ranked after instance 3, once {scheduler.newcomers(0)} more have finished it"
    )


def test_trial_cannot_finish_what_was_not_asked_for() -> None:
    with pytest.raises(ValueError, match="not scheduled so far"):
        make().finished(0, 0, 1.0)


def late_winner(first: int) -> Loss:
    """Trial 0 wins the first race late, and the first newcomer of the second beats it at once."""

    def loss(trial: int, rung: int) -> float:
        if trial == first:
            return -5.0
        if trial >= 5:
            return 9.0 + (trial + rung) % 3
        return 0.0 if rung >= 5 and not trial else 1.0

    return loss


def run_late_winner() -> tuple[Run, int]:
    """Return a run after its second race, and the number of the first race's trials."""
    scheduler = make(budget=1000, instances=30, test="t-test")
    first = scheduler.newcomers(0)
    return Run(scheduler, late_winner(first)).until(2), first


def test_the_best_was_evaluated_most() -> None:
    """The race ends after five instances: no more are in it than go on, the elite among them.

    Lopez-Ibanez et al. 2016: the elitist race is there to ensure that.
    """
    run, first = run_late_winner()

    leaders = run.scheduler.leaders()

    assert run.counts()[0] == 9
    assert run.counts()[first] == 5
    assert leaders == Leaders(
        trials=(0, first),
        rung=8,
        rule="of the 2 that race 2 left, the one that was evaluated on most: 9 instances",
    )


def test_if_the_best_fails_later_the_next_one_is_best() -> None:
    run, first = run_late_winner()
    # Nobody is dropped before the tenth instance, on which all fail.
    run.loss = lambda _, rung: -5.0 if rung < 5 else 10.0 if rung < 9 else None
    while (0, 9) not in run.evaluated:
        assert run.step()

    assert run.scheduler.leaders() == Leaders(
        trials=(first,), rung=4, rule="the only one that race 2 left"
    )


def test_those_with_equally_many_instances_are_ranked_on_all_of_them() -> None:
    """Trial 2 would be the first on the two instances that all have; 0 has the lower sum."""
    rules = RaceRules(
        instances=5, first_test=9, test_every=1, test=RaceTest.FRIEDMAN, alpha=0.05, least=3
    )
    elites = {0: [2.0, 2.0, 2.0], 1: [1.0, 9.0, 1.0], 2: [0.0, 0.0]}
    race = Race(rules, planned=1, budget=0, elites=elites)

    assert race.ranked_at_end() == [1, 0, 2]


def test_who_leads_the_first_race_is_best_until_it_ends() -> None:
    scheduler = make()
    run = Run(scheduler)
    while not scheduler.leaders():
        assert run.step()
    leaders = scheduler.leaders()
    assert leaders is not None

    assert set(run.counts().values()) == {5}
    assert leaders.rung == 4
    assert leaders.trials == tuple(t for t, _ in scheduler.compared(0, 4) if t in leaders.trials)
    assert "race 1" in leaders.rule


def test_a_race_that_goes_on_says_nothing_of_who_is_best() -> None:
    run = Run(make(budget=400)).until(1)
    before = run.scheduler.leaders()
    while run.starts[-1].bracket == 1 and len(run.starts) < 25:
        assert run.scheduler.leaders() == before
        run.step()

    assert before is not None
    assert "race 1 left" in before.rule


def test_an_elite_that_fails_is_not_best_any_more() -> None:
    scheduler = make(dimension=1, budget=300, instances=30)
    loss = noisy_at_first
    run = Run(scheduler, loss).until(1)
    before = scheduler.leaders()
    assert before is not None
    known = run.counts()[before.trials[0]]
    run.loss = lambda trial, rung: None if rung >= known else loss(trial, rung)
    while run.step() and not any(rung >= known for _, rung in run.evaluated):
        pass
    gone = {trial for trial, rung in run.evaluated if rung >= known}
    after = scheduler.leaders()

    assert gone
    assert after is None or gone.isdisjoint(after.trials)


def test_when_all_elites_failed_the_best_is_who_leads_the_next_race() -> None:
    run = Run(make(dimension=1, budget=300, instances=30), noisy_at_first).until(1)
    before = run.scheduler.leaders()
    assert before is not None
    elites = set(before.trials)
    run.loss = lambda trial, rung: None if trial in elites else noisy_at_first(trial, rung)
    failed: set[int] = set()
    while failed != elites and run.step():
        failed |= {run.evaluated[-1][0]} & elites
    leaders = run.scheduler.leaders()

    assert leaders is not None
    assert leaders.trials == (30, 45)
    assert leaders.rule == "the first of 2 still in race 2, by the ranks on 6 instances"


def test_nobody_is_best_when_all_failed() -> None:
    assert Run(make(), lambda *_: None).to_end().scheduler.leaders() is None


def test_the_only_one_left_is_the_best() -> None:
    scheduler = make(dimension=3, budget=200, instances=5)
    first_race(scheduler, lambda trial, _: 1.0 if trial == 3 else None)

    assert scheduler.leaders() == Leaders(
        trials=(3,), rung=4, rule="the only one that race 1 left"
    )


def test_what_a_trial_saved_is_not_spare_while_it_may_be_among_the_best() -> None:
    run, first = run_late_winner()
    leaders = run.scheduler.leaders()
    assert leaders is not None

    told = set(run.scheduler.spare(99))
    newest = {trial: count - 1 for trial, count in run.counts().items()}

    assert {(trial, newest[trial]) for trial in leaders.trials}.isdisjoint(told)
    assert {(trial, newest[trial]) for trial in range(1, first)} <= told


def test_every_result_is_spare_once() -> None:
    run = Run(make()).to_end()

    assert sorted(run.scheduler.spare(99)) == sorted(run.evaluated)
    assert run.scheduler.spare(99) == []


def test_what_a_trial_without_a_finite_result_saved_is_spare_too() -> None:
    run = Run(make(), lambda trial, rung: None if trial == 0 else by_trial(trial, rung)).to_end()

    assert (0, 0) in run.scheduler.spare(99)


def test_compared_are_mean_losses_so_far() -> None:
    run = Run(make(instances=5), lambda trial, rung: trial + 0.5 * rung).until(1)

    assert run.scheduler.compared(2, 1)[:3] == [(0, 0.25), (1, 1.25), (2, 2.25)]


def test_ladder_is_the_instances() -> None:
    assert make(instances=3).ladder(2) == (1, 2, 3)

    with pytest.raises(ValueError, match="iterations 0 to 2"):
        make().ladder(3)


@settings(deadline=None, max_examples=60)
@given(
    budget=st.integers(60, 600),
    instances=st.integers(2, 20),
    first_test=st.integers(1, 5),
    test_every=st.integers(1, 4),
    noise=st.integers(0, 2**32),
)
def test_budget_is_never_exceeded(
    budget: int, instances: int, first_test: int, test_every: int, noise: int
) -> None:
    scheduler = make(
        instances=instances,
        budget=max(budget, least_budget(2, first_test=first_test, test_every=test_every)),
        first_test=first_test,
        test_every=test_every,
    )

    def loss(trial: int, rung: int) -> float | None:
        drawn = hash((noise, trial, rung)) % 97
        return None if drawn > 92 else trial % 5 + drawn / 20

    run = Run(scheduler, loss).to_end()

    assert len(run.evaluated) == len(set(run.evaluated))
    assert len(run.evaluated) <= max(
        budget, least_budget(2, first_test=first_test, test_every=test_every)
    )
    assert all(rung == 0 or (trial, rung - 1) in run.evaluated for trial, rung in run.evaluated)

"""Population-based training: who gives way to whom, stragglers, failures, and what is spare."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.backends.simulator import Program
from slurmtune.core.ids import trial_id
from slurmtune.core.ports import Decision, Promote, StartTrial
from slurmtune.core.trial import TrialState
from slurmtune.samplers.pbt import PbtSampler
from slurmtune.samplers.random import RandomSampler
from slurmtune.schedulers.pbt import Pbt, exploited_count
from slurmtune.space.domain import Uniform
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.curves import NaNRegion, PowerLawCurves, Region
from slurmtune.testing.scheduler_contract import MOVES, Move, SchedulerContract, Walk
from slurmtune.testing.study_rig import StudyRig, snapshot

LEVELS = (2, 4, 6)


class TestPbtContract(SchedulerContract):
    def make_scheduler(self) -> Pbt:
        return Pbt(LEVELS, 5, quantile=0.4, seed=3)


class TestPbtWithStragglersContract(SchedulerContract):
    def make_scheduler(self) -> Pbt:
        return Pbt(LEVELS, 6, quantile=0.25, min_ready=0.5, seed=3)


@pytest.mark.parametrize(
    ("quantile", "table"),
    [
        (0.2, {0: 0, 1: 0, 2: 1, 3: 1, 4: 1, 5: 1, 8: 2, 10: 2, 20: 4}),
        (0.25, {1: 0, 4: 1, 5: 2, 8: 2, 10: 3, 20: 5}),
        (0.5, {1: 0, 4: 2, 5: 2, 10: 5}),
        (0.07, {100: 7}),  # 0.07 * 100 is above 7 for floats
    ],
)
def test_how_many_give_way(quantile: float, table: dict[int, int]) -> None:
    assert {n: exploited_count(n, quantile) for n in table} == table


class Population:
    """A scheduler whose decisions are carried out as they come."""

    def __init__(self, scheduler: Pbt) -> None:
        self.scheduler = scheduler
        self.trials = 0
        self.on_way: dict[int, int] = {}
        """Rung by trial."""

    def run(self, *, may_start: bool = True) -> list[Decision]:
        """Carry out all that is decided now."""
        decisions: list[Decision] = []
        while (decision := self.scheduler.decide(may_start=may_start)) is not None:
            decisions.append(decision)
            if isinstance(decision, StartTrial):
                self.scheduler.started(self.trials, decision.bracket)
                self.on_way[self.trials] = decision.rung
                self.trials += 1
            else:
                self.on_way[decision.trial] = decision.rung
        return decisions

    def finish(self, losses: dict[int, float | None]) -> None:
        for trial, loss in losses.items():
            self.scheduler.finished(trial, self.on_way.pop(trial), loss)


def population(
    losses: list[float | None],
    *,
    size: int | None = None,
    quantile: float = 0.25,
    min_ready: float = 1.0,
    seed: int = 0,
) -> Population:
    """Return a population whose first members finished generation 0 with these losses."""
    count = size or len(losses)
    found = Population(Pbt(LEVELS, count, quantile=quantile, min_ready=min_ready, seed=seed))
    found.run()
    found.finish(dict(enumerate(losses)))
    return found


class ComparedTrial(int):
    """A number of a trial that counts how often it is compared."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        ComparedTrial.comparisons += 1
        return super().__eq__(other)

    def __hash__(self) -> int:
        return super().__hash__()


def test_a_result_is_not_compared_with_every_donor() -> None:
    """A few look-ups each, however large the population is, while heirs are waited for."""
    donors = 200
    found = population([float(trial) for trial in range(2 * donors)], quantile=0.5)
    scheduler = found.scheduler
    promoted = [scheduler.decide(may_start=True) for _ in range(donors)]
    assert promoted == [Promote(trial=trial, rung=1) for trial in range(donors)]
    ComparedTrial.comparisons = 0
    for trial in range(donors):
        scheduler.finished(ComparedTrial(trial), 1, 0.0)

    assert ComparedTrial.comparisons < 20 * donors


def test_a_generation_begins_with_the_whole_population() -> None:
    found = Population(Pbt(LEVELS, 3, seed=0))

    assert found.run() == [StartTrial()] * 3


def test_nothing_is_decided_before_all_have_finished() -> None:
    found = population([1.0, 2.0, 3.0], size=4)

    assert found.run() == []


def test_the_worst_give_way_to_an_heir_of_the_best() -> None:
    found = population([3.0, 1.0, 4.0, 2.0])

    assert found.run() == [
        Promote(trial=1, rung=1),
        Promote(trial=3, rung=1),
        Promote(trial=0, rung=1),
        StartTrial(rung=1, parents=(1,), source=1),
    ]


def test_among_equals_who_finished_first_is_better() -> None:
    found = population([None] * 0, size=4)
    found.finish({2: 1.0, 0: 1.0, 3: 1.0, 1: 1.0})

    assert [d.trial for d in found.run() if isinstance(d, Promote)] == [2, 0, 3]


def test_donors_are_drawn_from_the_best_alike() -> None:
    drawn = Counter(
        decision.source
        for seed in range(200)
        for decision in population([float(n) for n in range(10)], quantile=0.3, seed=seed).run()
        if isinstance(decision, StartTrial)
    )

    assert set(drawn) == {0, 1, 2}
    assert min(drawn.values()) > 150  # of 600


def test_the_seed_decides_about_donors() -> None:
    losses: list[float | None] = [float(n) for n in range(10)]

    assert len({tuple(population(losses, quantile=0.5, seed=n).run()) for n in range(5)}) == 5


def test_a_failed_member_gives_way() -> None:
    found = population([1.0, None, 3.0, 2.0])

    assert found.run()[-1] == StartTrial(rung=1, parents=(0,), source=0)
    assert 1 not in found.on_way


def test_all_failed_members_give_way_also_when_they_are_many() -> None:
    found = population([None, None, 3.0, None])

    assert found.run() == [
        Promote(trial=2, rung=1),
        *[StartTrial(rung=1, parents=(2,), source=2)] * 3,
    ]


def test_donors_have_a_finite_result_even_if_fewer_than_the_quantile() -> None:
    found = population([None, None, 3.0, None, None, None, None, None], quantile=0.5)

    assert {d.source for d in found.run() if isinstance(d, StartTrial)} == {2}


def test_the_search_is_over_when_all_fail() -> None:
    assert population([None, None, None]).run() == []


def test_a_single_member_goes_on() -> None:
    assert population([1.0]).run() == [Promote(trial=0, rung=1)]


def test_without_further_trials_everybody_goes_on_who_can() -> None:
    found = population([1.0, 4.0, None, 2.0], quantile=0.5)

    assert found.run(may_start=False) == [
        Promote(trial=0, rung=1),
        Promote(trial=3, rung=1),
        Promote(trial=1, rung=1),
    ]


def test_an_heir_whose_start_never_comes_is_done_without() -> None:
    found = population([1.0, 2.0])
    assert found.scheduler.decide(may_start=True) == Promote(trial=0, rung=1)
    assert isinstance(found.scheduler.decide(may_start=True), StartTrial)

    assert found.scheduler.decide(may_start=False) == Promote(trial=1, rung=1)


def test_a_smaller_first_generation_counts_as_the_population() -> None:
    scheduler = Pbt(LEVELS, 10, quantile=0.5, seed=0)
    for trial in range(2):
        scheduler.decide(may_start=True)
        scheduler.started(trial, 0)
        scheduler.finished(trial, 0, float(trial))

    assert scheduler.decide(may_start=False) == Promote(trial=0, rung=1)


def test_heirs_are_ranked_with_those_that_went_on() -> None:
    found = population([3.0, 1.0, 4.0, 2.0])
    found.run()
    found.finish({1: 5.0, 3: 3.0, 0: 4.0, 4: 2.0})

    assert found.run()[-1] == StartTrial(rung=2, parents=(4,), source=4)
    assert 1 not in found.on_way


def test_the_last_generation_ends_the_search() -> None:
    found = population([3.0, 1.0])
    for _ in range(2):
        found.run()
        found.finish(dict.fromkeys(list(found.on_way), 1.0))

    assert found.run() == []


# -------------------------------------------------------------------- stragglers


def test_a_generation_is_closed_when_enough_are_ready() -> None:
    found = population([3.0, 1.0, 2.0], size=4, min_ready=0.75)

    assert found.run() == [
        Promote(trial=1, rung=1),
        Promote(trial=2, rung=1),
        StartTrial(rung=1, parents=(1,), source=1),
    ]


def test_a_generation_that_has_not_been_begun_by_all_is_not_closed() -> None:
    found = Population(Pbt(LEVELS, 4, min_ready=0.5, seed=0))
    for trial in range(3):
        found.scheduler.started(trial, 0)
        found.scheduler.finished(trial, 0, 1.0)
    found.trials = 3

    assert found.run() == [
        StartTrial(),
        Promote(trial=0, rung=1),
        Promote(trial=1, rung=1),
        StartTrial(rung=1, parents=(0,), source=0),
    ]


def test_a_generation_is_not_closed_before_it_has_a_donor() -> None:
    found = population([None, None], size=4, min_ready=0.5)
    assert found.run() == []

    found.finish({2: 1.0})
    assert found.run() == [
        Promote(trial=2, rung=1),
        *[StartTrial(rung=1, parents=(2,), source=2)] * 2,
    ]


def test_a_straggler_goes_on_unchanged_however_bad_it_is() -> None:
    found = population([3.0, 1.0, 2.0], size=4, min_ready=0.75)
    found.run()
    found.finish({3: 99.0})

    assert found.run() == [Promote(trial=3, rung=1)]


def test_a_straggler_skips_a_generation_that_was_closed_meanwhile() -> None:
    found = population([3.0, 1.0, 2.0], size=4, min_ready=0.75)
    found.run()
    found.finish({1: 1.0, 2: 2.0, 4: 3.0})
    found.run()
    found.finish({3: 99.0})

    assert found.run() == [Promote(trial=3, rung=2)]


def test_a_generation_is_closed_as_soon_as_the_last_straggler_has_begun_it() -> None:
    """Enough had finished it before; nobody waits for the straggler's result."""
    found = population([1.0], size=2, min_ready=0.5)
    assert found.scheduler.decide(may_start=True) == Promote(trial=0, rung=1)
    found.scheduler.finished(1, 0, 2.0)
    found.scheduler.finished(0, 1, 1.0)

    assert found.scheduler.decide(may_start=True) == Promote(trial=1, rung=1)
    assert found.scheduler.decide(may_start=True) == Promote(trial=0, rung=2)


def test_who_can_go_on_does_before_another_place_is_given_up() -> None:
    """Giving up the place of trial 1 closes a generation, in which trial 2 failed."""
    found = population([1.0, None], size=3, min_ready=0.5)
    assert found.scheduler.decide(may_start=True) == Promote(trial=0, rung=1)
    found.scheduler.finished(2, 0, 3.0)
    assert found.scheduler.decide(may_start=True) == Promote(trial=2, rung=1)
    found.scheduler.finished(0, 1, 1.0)
    found.scheduler.finished(2, 1, None)

    assert found.scheduler.decide(may_start=False) == Promote(trial=0, rung=2)
    assert found.scheduler.decide(may_start=True) == StartTrial(rung=2, parents=(0,), source=0)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_a_straggler_without_a_finite_loss_gives_way_like_one_that_failed(loss: float) -> None:
    found = population([3.0, 1.0, 2.0], size=4, min_ready=0.75)
    found.run()
    found.finish({3: loss})

    assert found.run() == [StartTrial(rung=1, parents=(1,), source=1)]


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_a_member_without_a_finite_loss_gives_way_like_one_that_failed(loss: float) -> None:
    with_loss, failed = (population([1.0, bad, 3.0, 2.0]) for bad in (loss, None))

    assert with_loss.run() == failed.run()
    assert with_loss.scheduler.spare(100) == failed.scheduler.spare(100)


def test_a_straggler_that_fails_gives_way_to_an_heir_in_the_open_generation() -> None:
    found = population([3.0, 1.0, 2.0], size=4, min_ready=0.75)
    found.run()
    found.finish({3: None})

    assert found.run() == [StartTrial(rung=1, parents=(1,), source=1)]


# -------------------------------------------------------------------- what is spare


def test_the_state_of_a_member_that_gave_way_is_spare_once_its_heir_began() -> None:
    found = population([3.0, 1.0, 4.0, 2.0])
    assert found.scheduler.spare(100) == []
    found.run()

    assert found.scheduler.spare(100) == [(2, 0)]


def test_what_was_gone_on_from_is_spare_when_the_next_generation_is_finished() -> None:
    found = population([3.0, 1.0, 4.0, 2.0])
    found.run()
    found.scheduler.spare(100)
    found.finish({3: 1.0})

    assert found.scheduler.spare(100) == [(3, 0)]


def test_a_donor_is_kept_while_an_heir_may_still_start() -> None:
    found = population([1.0, 2.0])
    assert found.scheduler.decide(may_start=True) == Promote(trial=0, rung=1)
    found.scheduler.finished(0, 1, 1.0)
    assert found.scheduler.spare(100) == []
    found.run()

    assert found.scheduler.spare(100) == [(1, 0), (0, 0)]


def test_a_donor_is_kept_while_a_straggler_may_still_fail() -> None:
    found = population([3.0, 1.0, 2.0], size=4, min_ready=0.75)
    found.run()
    found.finish({1: 1.0})
    assert (1, 0) not in found.scheduler.spare(100)
    found.finish({3: 1.0})

    assert (1, 0) in found.scheduler.spare(100)


def test_everything_is_spare_in_the_end() -> None:
    found = population([3.0, 1.0, None, 2.0])
    found.run()
    found.finish({trial: float(trial) for trial in list(found.on_way)})
    found.run()
    finished = set(found.on_way.items())
    found.finish({trial: float(trial) for trial in list(found.on_way)})
    spare = found.scheduler.spare(100)

    assert len(spare) == len(set(spare))
    assert finished <= set(spare)
    assert {(trial, 0) for trial in range(4)} | {(4, 1)} <= set(spare)


# -------------------------------------------------------------------- standing


def test_a_standing_says_whose_heir_takes_the_place() -> None:
    found = population([3.0, 1.0, 4.0, 2.0])
    before = found.scheduler.standing(2, 0)
    found.run()
    after = found.scheduler.standing(2, 0)

    assert before is not None
    assert after is not None
    assert (before.place, before.places, before.size, before.cutoff) == (3, 3, 4, 3.0)
    assert before.outlook == "never: replaced by an heir of t00001"
    assert after.outlook == "never: replaced by t00004, an heir of t00001"


def test_a_standing_says_how_many_are_waited_for() -> None:
    standing = population([1.0], size=4, min_ready=0.75).scheduler.standing(0, 0)

    assert standing is not None
    assert standing.places == 0
    assert standing.outlook == "decided when 2 more of the generation have finished"


def test_a_straggler_stands_among_those_that_it_missed() -> None:
    found = population([3.0, 1.0, 2.0], size=4, min_ready=0.75)
    found.finish({3: 2.5})
    standing = found.scheduler.standing(3, 0)

    assert standing is not None
    assert (standing.place, standing.size) == (2, 4)
    assert found.scheduler.compared(3, 0) == [(1, 1.0), (2, 2.0), (3, 2.5), (0, 3.0)]
    assert found.scheduler.compared(0, 0) == [(1, 1.0), (2, 2.0), (0, 3.0)]


# -------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("population_size", "quantile", "min_ready", "message"),
    [
        (0, 0.2, 1.0, "population"),
        (4, 0.0, 1.0, "quantile"),
        (4, 0.6, 1.0, "quantile"),
        (4, 0.2, 0.0, "min_ready"),
        (4, 0.2, 1.5, "min_ready"),
    ],
)
def test_figures_out_of_range_are_refused(
    population_size: int, quantile: float, min_ready: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Pbt(LEVELS, population_size, quantile=quantile, min_ready=min_ready, seed=0)


def test_a_trial_that_was_never_started_cannot_finish() -> None:
    with pytest.raises(ValueError, match="never started"):
        Pbt(LEVELS, 2, seed=0).finished(0, 0, 1.0)


def test_a_trial_cannot_finish_what_it_was_not_sent_to() -> None:
    scheduler = Pbt(LEVELS, 2, seed=0)
    scheduler.started(0, 0)

    with pytest.raises(ValueError, match="only scheduled up to rung 0"):
        scheduler.finished(0, 1, 1.0)


def test_nobody_joins_a_complete_population() -> None:
    found = population([1.0], size=2)

    with pytest.raises(ValueError, match="complete"):
        found.scheduler.started(2, 0)


# -------------------------------------------------------------------- properties

SETTINGS = st.tuples(
    st.integers(1, 8), st.sampled_from([0.2, 0.25, 0.5]), st.sampled_from([0.25, 0.5, 0.8, 1.0])
)


def walk_of(settings: tuple[int, float, float]) -> Walk:
    size, quantile, min_ready = settings
    scheduler = Pbt((1, 2, 3, 4), size, quantile=quantile, min_ready=min_ready, seed=1)
    return Walk(scheduler, trials=1000)


def always(moves: list[Move]) -> list[Move]:
    """Return the moves of a study that may always start another trial."""
    return [
        Move(finish=move.finish, which=move.which, loss=move.loss, may_start=True)
        for move in moves
    ]


@SchedulerContract.checked
@given(moves=MOVES, settings=SETTINGS)
def test_the_population_keeps_its_size(
    moves: list[Move], settings: tuple[int, float, float]
) -> None:
    walk = walk_of(settings)
    for move in always(moves):
        walk.follow([move])
    while walk.ask(may_start=True) is not None:
        pass
    at_last = sum(rung == 3 for _, rung in walk.results)
    undecided = 0
    for trial, rung in walk.reached.items():
        standing = walk.scheduler.standing(trial, rung)
        assert standing is not None
        undecided += standing.outlook.startswith(("decided", "an heir"))

    assert len(walk.running) + at_last + undecided == settings[0]


@SchedulerContract.checked
@given(moves=MOVES, settings=SETTINGS)
def test_heirs_come_from_the_best_of_the_generation_before(
    moves: list[Move], settings: tuple[int, float, float]
) -> None:
    walk = walk_of(settings)
    for move in always(moves):
        known = len(walk.decisions)
        walk.follow([move])
        for decision in walk.decisions[known:]:
            if isinstance(decision, StartTrial) and decision.source is not None:
                compared = walk.scheduler.compared(decision.source, decision.rung - 1)
                best = max(1, exploited_count(len(compared), settings[1]))
                finite = [trial for trial, loss in compared[:best] if loss is not None]
                assert decision.source in finite
                assert decision.parents == (decision.source,)


@SchedulerContract.checked
@given(moves=MOVES, settings=SETTINGS)
def test_a_failed_member_is_never_trained_on_and_always_replaced(
    moves: list[Move], settings: tuple[int, float, float]
) -> None:
    walk = walk_of(settings).follow(always(moves))
    while walk.running:
        walk.finish(0, 1.0)
        while walk.ask(may_start=True) is not None:
            pass
    heirs = sum(isinstance(d, StartTrial) and d.source is not None for d in walk.decisions)
    failed = sum(loss is None and rung < 3 for (_, rung), loss in walk.results.items())
    survived = any(rung == 3 for _, rung in walk.results)

    assert not survived or heirs >= failed


# -------------------------------------------------------------------- a whole study

GENERATIONS = (1, 2, 3, 4, 5, 6)
BRANIN = Space(
    [
        Hyperparameter(name="x1", domain=Uniform(-5, 10)),
        Hyperparameter(name="x2", domain=Uniform(0, 15)),
    ]
)


def study(*, min_ready: float = 1.0, program: Program | None = None) -> StudyRig:
    """Return a study of a population of 12 on 5 machines, which keeps as little as it can."""
    rig = StudyRig(
        trials=200,
        slots=5,
        levels=GENERATIONS,
        scheduler=lambda: Pbt(GENERATIONS, 12, quantile=0.25, min_ready=min_ready, seed=0),
        sampler=PbtSampler(BRANIN, RandomSampler(BRANIN)),
        program=program or PowerLawCurves(seconds_spread=0.9),
        limits={"keep": "none", "max_failed_trials": None},
    )
    assert rig.run() == "done"
    return rig


@pytest.mark.parametrize("min_ready", [1.0, 0.5])
def test_a_study_trains_the_population_to_its_end(min_ready: float) -> None:
    rig = study(min_ready=min_ready)
    ended = [trial for trial in rig.study.trials if trial.state is TrialState.COMPLETED]

    assert len(ended) == 12
    assert any(trial.source is not None for trial in ended)


@pytest.mark.parametrize("min_ready", [1.0, 0.5])
def test_heirs_go_on_from_the_state_of_their_donor(min_ready: float) -> None:
    """Although all that nobody needs is removed meanwhile."""
    rig = study(min_ready=min_ready)
    heirs = [trial for trial in rig.study.trials if trial.source is not None]

    assert heirs
    assert rig.recorded("CheckpointsDropped")
    assert {trial.origin for trial in heirs} == {"pbt"}
    for heir in heirs:
        assert heir.source is not None
        first = heir.attempts[0]
        assert first.checkpoint is not None
        assert f".{trial_id(heir.source)}.r{heir.first_rung - 1}." in first.checkpoint
        assert first.start == GENERATIONS[heir.first_rung - 1]


def test_a_study_replays() -> None:
    rig = study(min_ready=0.5)
    before = snapshot(rig.study)
    rig.new_driver()

    assert snapshot(rig.study) == before


def test_members_that_report_nan_are_replaced() -> None:
    program = NaNRegion(program=PowerLawCurves(), region=Region({"x1": (-5, 0)}), from_resource=2)
    whole = study(program=program).study
    loss = whole.settings.objective.loss
    failed = [
        t for t in whole.trials if t.finished_rung < 5 and loss(t.values[t.finished_rung]) is None
    ]
    ended = [trial for trial in whole.trials if trial.state is TrialState.COMPLETED]

    assert failed
    assert len(ended) == 12
    assert len([trial for trial in whole.trials if trial.source is not None]) >= len(failed)

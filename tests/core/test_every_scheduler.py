"""What must hold under every scheduler, whatever happens in whatever order."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurmtune.core.ports import Scheduler
from slurmtune.core.trial import TrialState
from slurmtune.core.verdict import VerdictKind
from slurmtune.driver.recovery import replay
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.async_hyperband import AsyncHyperband
from slurmtune.schedulers.dehb import Dehb
from slurmtune.schedulers.hedged import Hedged
from slurmtune.schedulers.hyperband import Hyperband
from slurmtune.schedulers.irace import Irace
from slurmtune.schedulers.median import MedianRule
from slurmtune.schedulers.pasha import Pasha
from slurmtune.schedulers.pbt import Pbt
from slurmtune.schedulers.single import SingleRung
from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.store import frame
from slurmtune.testing.study_rig import snapshot
from slurmtune.testing.study_walk import StudyWalk

LEVELS = (1, 2, 4, 8)

SCHEDULERS: dict[str, Callable[[], Scheduler]] = {
    "none": lambda: SingleRung(8),
    "asha": lambda: Asha(LEVELS, 2),
    "asha-stopping": lambda: AshaStopping(LEVELS, 2),
    "sha": lambda: SuccessiveHalving(LEVELS, 2, 24),
    "hyperband": lambda: Hyperband(LEVELS, 2),
    "async_hyperband": lambda: AsyncHyperband(LEVELS, 2),
    "pasha": lambda: Pasha(LEVELS, 2),
    "median": lambda: MedianRule(8, grace=2, min_trials=3),
    "pbt": lambda: Pbt(LEVELS, 6, quantile=0.3, min_ready=1.0, seed=0),
    "pbt-stragglers": lambda: Pbt(LEVELS, 6, quantile=0.3, min_ready=0.6, seed=0),
    "irace": lambda: Irace((1, 2, 3, 4, 5, 6), dimension=2, budget=120, first_test=3, seed=0),
    "dehb": lambda: Dehb(LEVELS, 2, seed=0),
    "hedged": lambda: Hedged(Asha(LEVELS, 2), 0.25),
    "hedged-hyperband": lambda: Hedged(Hyperband(LEVELS, 2), 0.25),
}

walks = settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
seeds = st.integers(0, 10**9)
every_scheduler = pytest.mark.parametrize("make", SCHEDULERS.values(), ids=list(SCHEDULERS))


@every_scheduler
@walks
@given(seed=seeds, keep=st.sampled_from(("all", "none", "promoted", "best:3")))
def test_no_checkpoint_is_removed_that_something_starts_from_or_the_best_needs(
    make: Callable[[], Scheduler], seed: int, keep: str
) -> None:
    """The walk checks it after each event."""
    walk = StudyWalk(make, Random(seed), trials=24, keep=keep).run()

    assert walk.study.finished == "done"


@every_scheduler
@walks
@given(seed=seeds, configs=st.one_of(st.none(), st.integers(1, 23)))
def test_every_study_comes_to_its_end(
    make: Callable[[], Scheduler], seed: int, configs: int | None
) -> None:
    """Also when the space has fewer configs than the study wants."""
    walk = StudyWalk(make, Random(seed), trials=24, configs=configs).run()

    assert not walk.study.live
    assert all(
        trial.state is not TrialState.RUNNING and trial.state is not TrialState.WAITING
        for trial in walk.study.trials
    )


@every_scheduler
@walks
@given(seed=seeds, cut=st.floats(0, 1))
def test_a_restart_between_any_two_events_gives_the_same_study(
    make: Callable[[], Scheduler], seed: int, cut: float
) -> None:
    """The journal, read back from its bytes, leads to the same state and the same decisions."""
    walk = StudyWalk(make, Random(seed), trials=24).run()
    stored = frame.parse(b"".join(frame.encode(record) for record in walk.records)).records
    part = walk.empty_study()
    replay(part, stored[: int(cut * len(stored))])
    replay(part, stored[int(cut * len(stored)) :])

    assert snapshot(part) == snapshot(walk.study)


@every_scheduler
@walks
@given(seed=seeds)
def test_a_trial_is_promoted_once_from_each_rung_and_only_upwards(
    make: Callable[[], Scheduler], seed: int
) -> None:
    """Promotions of a trial climb the ladder."""
    walk = StudyWalk(make, Random(seed), trials=24).run()
    promoted = walk.judged(VerdictKind.PROMOTED)

    assert len(promoted) == len(set(promoted))
    for number in range(len(walk.study.trials)):
        rungs = [rung for trial, rung in promoted if trial == number]
        assert rungs == sorted(rungs)


@every_scheduler
@walks
@given(seed=seeds)
def test_what_was_promoted_had_a_finite_result(make: Callable[[], Scheduler], seed: int) -> None:
    """NaN and failures are never promoted."""
    walk = StudyWalk(make, Random(seed), trials=24).run()

    assert all(
        verdict.loss is not None
        for verdict in walk.verdicts
        if verdict.kind is VerdictKind.PROMOTED
    )

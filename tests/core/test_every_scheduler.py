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
from slurmtune.store import frame
from slurmtune.testing.schedulers import SCHEDULERS
from slurmtune.testing.study_rig import snapshot
from slurmtune.testing.study_walk import StudyWalk

walks = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
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
@given(seed=seeds)
def test_programs_that_seldom_save_start_from_nothing_that_was_removed(
    make: Callable[[], Scheduler], seed: int
) -> None:
    """A trial may live for long on what another one saved."""
    walk = StudyWalk(make, Random(seed), trials=24, saves=0.4, keep="none").run()

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

"""Under which schedulers a rung that misleads is told of, under which it is left out, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurmtune.analysis.recompute import raw_results, recompute
from slurmtune.core.events import Config, Resource
from slurmtune.core.ports import Scheduler
from slurmtune.core.verdict import VerdictKind
from slurmtune.driver.recovery import replay
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.async_hyperband import AsyncHyperband
from slurmtune.schedulers.dehb import Dehb
from slurmtune.schedulers.hedged import Hedged
from slurmtune.schedulers.hyperband import Hyperband
from slurmtune.schedulers.median import MedianRule
from slurmtune.schedulers.pasha import Pasha
from slurmtune.schedulers.pbt import Pbt
from slurmtune.schedulers.single import SingleRung
from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.testing.study_rig import METRIC, StudyRig, snapshot
from slurmtune.testing.written_study import rig_of, spec_text, write_study

LEVELS = (1, 3, 9)
DROPPED, DOUBTED = VerdictKind.RUNG_DROPPED, VerdictKind.RUNG_DOUBTED


class Misleading:
    """After one unit of training the best look worst; from then on the order is the true one."""

    def __init__(self, startup: float = 0.0, *, misleads: bool = True) -> None:
        self._startup, self._misleads = startup, misleads

    def startup_seconds(self, config: Config) -> float:
        """Return the same for all."""
        del config
        return self._startup

    def seconds_per_unit(self, config: Config) -> float:
        """Return the same for all."""
        del config
        return 60.0

    def metrics(self, config: Config, resource: Resource, seed: int) -> Mapping[str, float]:
        """Return a number of the config, with the wrong sign at first."""
        del seed
        value = sum(float(value) for value in config.values() if not isinstance(value, str))
        return {METRIC: -value if self._misleads and resource < 2 else value}


def live(
    make: Callable[[], Scheduler],
    *,
    guard: bool,
    program: Misleading | None = None,
    trials: int = 90,
    **options: object,
) -> StudyRig:
    """Return a study that ran."""
    given = Misleading() if program is None else program
    rig = StudyRig(trials=trials, slots=8, scheduler=make, program=given, guard=guard, **options)  # type: ignore[arg-type]
    assert rig.run() == "done"
    return rig


def told(rig: StudyRig) -> list[tuple[VerdictKind, int]]:
    """Return what was told of its rungs."""
    return [(verdict.kind, verdict.rung) for verdict in rig.study.results.doubts]


LEAVE_OUT: Mapping[str, Callable[[], Scheduler]] = {
    "asha": lambda: Asha(LEVELS, 3),
    "asha-stopping": lambda: AshaStopping(LEVELS, 3),
    "pasha": lambda: Pasha(LEVELS, 3),
    "async_hyperband": lambda: AsyncHyperband(LEVELS, 3),
    "hedged": lambda: Hedged(Asha(LEVELS, 3), 0.3),
    "hedged-stopping": lambda: Hedged(AshaStopping(LEVELS, 3), 0.3),
}
FIXED: Mapping[str, Callable[[], Scheduler]] = {
    "sha": lambda: SuccessiveHalving(LEVELS, 3, 90),
    "hyperband": lambda: Hyperband(LEVELS, 3),
    "dehb": lambda: Dehb((1, 3, 9, 27, 81), 3, seed=0),
}
UNJUDGED: Mapping[str, Callable[[], Scheduler]] = {
    "none": lambda: SingleRung(9),
    "median": lambda: MedianRule(9, grace=1, min_trials=3),
    "pbt": lambda: Pbt(LEVELS, 30, seed=0),
}


@pytest.mark.parametrize("name", LEAVE_OUT)
def test_a_rung_that_misleads_is_left_out(name: str) -> None:
    trials = 150 if name == "async_hyperband" else 90
    rig = live(LEAVE_OUT[name], guard=True, trials=trials)

    assert (DROPPED, 0) in told(rig)


@pytest.mark.parametrize("name", [*LEAVE_OUT, *FIXED])
def test_without_guard_it_is_told_all_the_same(name: str) -> None:
    rig = live({**LEAVE_OUT, **FIXED}[name], guard=False, trials=150)

    assert (DOUBTED, 0) in told(rig)
    assert DROPPED not in {kind for kind, _ in told(rig)}


@pytest.mark.parametrize("name", FIXED)
def test_where_the_plan_is_fixed_guard_leaves_it_to_telling(name: str) -> None:
    guarded = live(FIXED[name], guard=True, trials=150)

    assert told(guarded) == told(live(FIXED[name], guard=False, trials=150))


@pytest.mark.parametrize("name", UNJUDGED)
def test_without_rungs_that_decide_nothing_is_told(name: str) -> None:
    assert told(live(UNJUDGED[name], guard=True)) == []


@pytest.mark.parametrize("name", [*LEAVE_OUT, *FIXED])
def test_rungs_that_foretell_and_save_are_not_doubted(name: str) -> None:
    program = Misleading(misleads=False)

    assert told(live({**LEAVE_OUT, **FIXED}[name], guard=True, program=program, trials=150)) == []


@pytest.mark.parametrize("name", ["asha", "pasha"])
def test_after_that_no_trial_is_sent_there(name: str) -> None:
    rig = live(LEAVE_OUT[name], guard=True)

    assert rig.study.results.rungs[0].done < len(rig.study.trials)


def test_in_the_stopping_variant_nobody_is_stopped_there_any_more() -> None:
    """The good ones come through: without guard every one of them is stopped at once."""
    guarded = live(LEAVE_OUT["asha-stopping"], guard=True)
    plain = live(LEAVE_OUT["asha-stopping"], guard=False)

    assert guarded.study.results.rungs[0].done == len(guarded.study.trials)
    assert guarded.study.results.rungs[1].done > plain.study.results.rungs[1].done + 20
    assert guarded.study.results.best_loss is not None
    assert plain.study.results.best_loss is not None


def test_a_start_that_takes_long_makes_a_rung_not_cheaper() -> None:
    """10 minutes before the first of three: the pause costs another ten."""
    rig = live(lambda: Asha(LEVELS, 3), guard=True, program=Misleading(1200.0, misleads=False))

    assert (DROPPED, 0) in told(rig)
    assert "going straight to rung 1" in rig.study.results.doubts[0].note


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(list(LEAVE_OUT)),
    seed=st.integers(0, 99),
    startup=st.sampled_from([0.0, 30.0, 1200.0]),
    misleads=st.booleans(),
    cut=st.floats(0, 1),
)
def test_a_restart_at_any_moment_finds_and_drops_the_same(
    name: str, seed: int, startup: float, misleads: bool, cut: float
) -> None:
    program = Misleading(startup, misleads=misleads)
    rig = live(
        LEAVE_OUT[name], guard=True, program=program, seed=seed, cluster_seed=seed, trials=70
    )
    records = rig.stored_records()
    again = rig.empty_study()
    replay(again, records[: int(cut * len(records))])
    replay(again, records[int(cut * len(records)) :])

    assert again.results.doubts == rig.study.results.doubts
    assert snapshot(again) == snapshot(rig.study)


@pytest.mark.parametrize("variant", ["promotion", "stopping"])
def test_what_was_dropped_follows_from_the_raw_results(tmp_path: Path, variant: str) -> None:
    spec = tmp_path / "spec.toml"
    text = spec_text("asha", trials=90) + "guard = true\n"
    spec.write_text(text.replace("[fidelity]", f'variant = "{variant}"\n[fidelity]'))
    rig = rig_of(spec, program=Misleading())
    assert rig.run() == "done"
    assert (DROPPED, 0) in told(rig)

    records = rig.stored_records()
    found = recompute(rig.empty_study(), records, raw_results(write_study(spec, records)))

    assert found.difference is None
    assert found.missing == ()

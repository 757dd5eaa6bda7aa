"""The overview of a study: what status, best and the live line show."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from slurmtune.core.actions import Propose
from slurmtune.core.events import (
    AttemptClaimed,
    AttemptEnded,
    AttemptReported,
    CapacityChanged,
    CheckpointSaved,
    ConfigProposed,
    Event,
    Limits,
    StopRequested,
    StudyOpened,
)
from slurmtune.core.objective import Goal, Objective
from slurmtune.core.overview import (
    SCHEMA,
    Surroundings,
    WaitingSlots,
    best,
    overview,
    state_word,
    stray_words,
)
from slurmtune.core.ports import Leaders
from slurmtune.core.results import Stray
from slurmtune.core.study import Study, StudySettings
from slurmtune.core.trial import Outcome
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.irace import Irace
from slurmtune.schedulers.median import MedianRule
from slurmtune.schedulers.pbt import Pbt
from slurmtune.schedulers.single import SingleRung
from slurmtune.testing.curves import PowerLawCurves
from slurmtune.testing.study_rig import StudyRig

AROUND = Surroundings(
    name="asha",
    directory="/runs/asha",
    backend="slurm",
    resource="epoch",
    now=3600.0,
    opened=0.0,
)


class Told:
    """A study, as its events tell it."""

    def __init__(
        self,
        *,
        capacity: int = 3,
        goal: Goal = Goal.MINIMIZE,
        scheduler: Any = None,
        **limits: Any,
    ) -> None:
        settings = StudySettings(seed=0, objective=Objective("loss", goal))
        self.study = Study(settings, scheduler or Asha([1, 3], 3))
        self.limits = Limits(**{"trials": 9, "gpus": {"c0": 2}, **limits})
        self.seq = 0
        self.feed(StudyOpened(time=0.0, spec_sha256="x", limits=self.limits))
        self.feed(CapacityChanged(time=0.0, attempts=capacity))

    def feed(self, event: Event) -> None:
        for action in self.study.handle(event) or ():
            if isinstance(action, Propose):
                config = {"x": action.trial}
                self.feed(
                    ConfigProposed(time=0.0, trial=action.trial, config=config, origin="random")
                )

    def claim(self, name: str, time: float = 0.0) -> None:
        self.feed(AttemptClaimed(time=time, attempt=name, slot="st-1-1-1.0.0"))

    def report(self, name: str, resource: float, loss: float) -> None:
        self.seq += 1
        self.feed(
            AttemptReported(
                time=0.0, attempt=name, seq=self.seq, resource=resource, metrics={"loss": loss}
            )
        )

    def end(self, name: str, outcome: Outcome = Outcome.SUCCEEDED, **more: Any) -> None:
        self.seq += 1
        ended = AttemptEnded(
            time=0.0, attempt=name, seq=self.seq, outcome=outcome, seconds=1800.0, **more
        )
        self.feed(ended)

    def run(self, trial: int, loss: float, rung: int = 0) -> None:
        name = f"t{trial:05d}.r{rung}.a1"
        self.claim(name)
        self.report(name, [1, 3][rung], loss)
        self.seq += 1
        saved = CheckpointSaved(
            time=0.0, attempt=name, seq=self.seq, resource=[1, 3][rung], name=f"{rung}.{name}"
        )
        self.feed(saved)
        self.end(name)

    def overview(self, **around: Any) -> dict[str, Any]:
        return overview(self.study, replace(AROUND, **around))


def test_it_is_json_of_a_named_schema() -> None:
    shown = Told().overview()

    assert shown["schema"] == SCHEMA
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


def test_it_tells_the_surroundings() -> None:
    shown = Told().overview(queries={"squeue": 7}, running_slots=2)

    assert (shown["study"], shown["dir"], shown["backend"]) == ("asha", "/runs/asha", "slurm")
    assert (shown["time"], shown["opened"], shown["resource"]) == (3600.0, 0.0, "epoch")
    assert shown["queries"] == {"squeue": 7}
    assert shown["slots"] == {"waiting": 0, "running": 2}


def test_it_tells_why_slots_wait() -> None:
    waiting = (
        WaitingSlots(reason="Priority", slots=3, start=4000.0),
        WaitingSlots(reason="Resources", slots=1, start=None),
    )
    shown = Told().overview(waiting=waiting)

    assert shown["slots"]["waiting"] == 4
    assert shown["queue"] == [
        {"reason": "Priority", "jobs": 3, "start": 4000.0},
        {"reason": "Resources", "jobs": 1, "start": None},
    ]


def test_it_counts_trials() -> None:
    told = Told()
    told.run(0, 1.0)
    told.run(1, math.nan)
    told.claim("t00002.r0.a1")
    told.end("t00002.r0.a1", Outcome.FAILED, exit_code=1)

    assert told.overview()["trials"] == {
        "total": 9,
        "at_most": False,
        "started": 5,
        "expected": None,
        "finished": 1,
        "ended": 3,
        "good": 1,
        "failed": 1,
        "without_result": 1,
        "stopped": 0,
    }


def test_it_counts_each_rung() -> None:
    told = Told()
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        told.run(trial, loss)
    told.claim("t00003.r0.a1")
    told.end("t00003.r0.a1", Outcome.FAILED, exit_code=1)
    told.claim("t00001.r1.a1")

    first, second = told.overview()["rungs"]
    assert first == {
        "rung": 0,
        "resource": 1,
        "waiting": 2,
        "running": 0,
        "done": 3,
        "promoted": 1,
        "failed": 1,
        "stopped": 0,
        "best": 3.0,
    }
    assert second == {
        "rung": 1,
        "resource": 3,
        "waiting": 0,
        "running": 1,
        "done": 0,
        "promoted": 0,
        "failed": 0,
        "stopped": 0,
        "best": None,
    }


def test_gpu_hours_count_what_ended_and_what_runs() -> None:
    told = Told(gpu_hours=10.0)
    told.run(0, 1.0)
    told.claim("t00001.r0.a1", time=1800.0)

    shown = told.overview(now=3600.0)
    assert shown["gpu_hours"] == {"used": 2.0, "limit": 10.0, "retried": 0.0}
    assert shown["gpus_now"] == 2


def test_an_attempt_that_runs_since_the_beginning_of_time_counts() -> None:
    told = Told()
    told.claim("t00000.r0.a1", time=0.0)

    assert told.overview(now=3600.0)["gpu_hours"]["used"] == 2.0


def test_work_that_was_repeated_is_told() -> None:
    told = Told()
    told.claim("t00000.r0.a1")
    told.end("t00000.r0.a1", Outcome.PREEMPTED)

    assert told.overview()["gpu_hours"]["retried"] == 1.0


def test_the_newest_three_failures_are_shown() -> None:
    told = Told(capacity=5)
    told.run(0, 1.0)
    for trial in range(1, 5):
        told.claim(f"t0000{trial}.r0.a1")
        told.end(f"t0000{trial}.r0.a1", Outcome.FAILED, exit_code=trial, cause="no GPU")

    failures = told.overview()["failures"]
    assert [failure["trial"] for failure in failures] == ["t00002", "t00003", "t00004"]
    assert failures[0] == {
        "trial": "t00002",
        "attempt": "t00002.r0.a1",
        "outcome": "FAILED",
        "exit_code": 2,
        "cause": "no GPU",
        "host": "",
        "job": "",
    }


# ------------------------------------------------------------------ the best


def test_there_is_no_best_before_a_finite_result() -> None:
    told = Told()
    assert best(told.study) is None
    told.run(0, math.nan)
    assert best(told.study) is None


def test_the_next_best_of_the_rung_are_at_hand() -> None:
    told = Told()
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        told.run(trial, loss)

    found = best(told.study)

    assert found is not None
    assert [other["trial"] for other in found["next"]] == ["t00000", "t00002"]
    assert found["next"][0]["values"] == {"loss": 5.0}


class Led(Asha):
    """Has its own opinion of who is best, as soon as all have a result."""

    def leaders(self) -> Leaders | None:
        if any(self.standing(trial, 0) is None for trial in range(3)):
            return None
        return Leaders(trials=(2, 0), rung=0, rule="by lot")


def test_the_leaders_of_the_scheduler_are_the_best() -> None:
    told = Told(scheduler=Led([1, 3], 3))
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        told.run(trial, loss)
    told.run(1, 4.0, rung=1)

    found = best(told.study)

    assert found is not None
    assert (found["trial"], found["rung"], found["resource"]) == ("t00002", 0, 1)
    assert found["values"] == {"loss": 8.0}
    assert [other["trial"] for other in found["next"]] == ["t00000"]
    assert found["lower"] is None
    assert found["rule"] == "by lot"


def test_leaders_without_a_result_are_passed_over() -> None:
    told = Told(scheduler=Led([1, 3], 3))
    told.run(0, math.nan)
    told.run(1, 3.0)
    told.run(2, math.nan)

    found = best(told.study)

    assert found is not None
    assert found["trial"] == "t00001"
    assert found["rule"] == ""


@pytest.mark.parametrize("instances", [12, 5])
@pytest.mark.parametrize("keep", ["none", "best:2"])
def test_what_the_winner_of_the_last_race_saved_is_kept(keep: str, instances: int) -> None:
    """Of few instances some trials have seen all before it is known who is best."""
    rig = StudyRig(
        trials=40,
        slots=4,
        scheduler=lambda: Irace(range(1, instances + 1), dimension=2, budget=200, seed=0),
        program=PowerLawCurves(noise=0.3),
        limits={"keep": keep},
    )
    assert rig.run() == "done"

    found, leaders = best(rig.study), rig.study.scheduler.leaders()

    assert found is not None
    assert leaders is not None
    assert found["trial"] == f"t{leaders.trials[0]:05d}"
    assert found["checkpoint"] is not None
    kept = [trial.number for trial in rig.study.trials if trial.saved]
    assert kept == sorted(leaders.trials[: 2 if keep == "best:2" else 1])


def test_the_best_is_that_of_the_highest_rung() -> None:
    """Results of different rungs are not compared."""
    told = Told()
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        told.run(trial, loss)
    told.run(1, 4.0, rung=1)

    assert best(told.study) == {
        "trial": "t00001",
        "values": {"loss": 4.0},
        "rung": 1,
        "resource": 3,
        "level": 3,
        "top_resource": 3,
        "params": {"x": 1},
        "checkpoint": "1.t00001.r1.a1",
        "rule": "",
        "next": [],
        "lower": {
            "trial": "t00001",
            "values": {"loss": 3.0},
            "params": {"x": 1},
            "rung": 0,
            "resource": 1,
        },
    }


@pytest.mark.parametrize(("goal", "at_top"), [(Goal.MINIMIZE, 3.0), (Goal.MAXIMIZE, 8.0)])
def test_a_lower_rung_is_told_only_when_its_best_is_better(goal: Goal, at_top: float) -> None:
    told = Told(goal=goal)
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        told.run(trial, loss)
    told.run(1 if goal is Goal.MINIMIZE else 2, at_top, rung=1)

    found = best(told.study)

    assert found is not None
    assert found["rung"] == 1
    assert found["lower"] is None


def test_folds_are_not_compared_with_each_other() -> None:
    """Here every further fold is worse, so that the mean of the first alone is the best."""
    rig = StudyRig(
        trials=8,
        slots=2,
        scheduler=lambda: Irace((1, 2, 3, 4, 5), dimension=1, budget=40, seed=0),
        program=PowerLawCurves(rate=-0.5),
    )
    rig.run()

    found = best(rig.study)

    assert found is not None
    assert found["rung"] > 0
    first, top = (
        rig.study.results.rungs[0].best_loss,
        rig.study.results.rungs[found["rung"]].best_loss,
    )
    assert first is not None
    assert top is not None
    assert first < top
    assert found["lower"] is None


def test_how_many_trials_a_population_needs_is_a_bound_until_it_is_done() -> None:
    def scheduler() -> Pbt:
        return Pbt((1, 2, 3), 6, quantile=0.34, min_ready=1.0, seed=0)

    begun = Told(scheduler=scheduler())
    rig = StudyRig(trials=18, slots=4, scheduler=scheduler)
    rig.run()

    assert begun.overview()["trials"]["at_most"] is True
    assert overview(rig.study, AROUND)["trials"]["at_most"] is False


def test_the_best_is_told_as_it_was_reported_when_maximised() -> None:
    told = Told(goal=Goal.MAXIMIZE)
    told.run(0, 0.5)
    told.run(1, 0.9)

    found = best(told.study)
    assert found is not None
    assert (found["trial"], found["values"]) == ("t00001", {"loss": 0.9})
    assert told.overview()["rungs"][0]["best"] == 0.9


def test_the_first_of_equals_stays_the_best() -> None:
    told = Told(scheduler=SingleRung(1))
    for trial in range(3):
        told.run(trial, 2.0)

    found = best(told.study)
    assert found is not None
    assert found["trial"] == "t00000"


# ------------------------------------------------------------------ words and time


def test_a_study_that_runs_is_running() -> None:
    told = Told()

    assert state_word(told.study) == "running"
    assert told.overview()["state"] == "running"


def test_a_study_that_was_stopped_is_stopped_also_before_it_is_over() -> None:
    told = Told()
    told.claim("t00000.r0.a1")
    told.feed(StopRequested(time=1.0, trial=None))

    assert not told.study.finished
    assert state_word(told.study) == "stopped"


def test_a_study_with_a_result_ends_done() -> None:
    told = Told(scheduler=SingleRung(1), trials=1, capacity=1)
    told.run(0, 1.0)

    assert state_word(told.study) == "done"


def test_a_study_without_a_result_ends_failed() -> None:
    told = Told(scheduler=SingleRung(1), trials=1, capacity=1)
    told.claim("t00000.r0.a1")
    told.end("t00000.r0.a1", Outcome.FAILED, exit_code=1)

    assert state_word(told.study) == "failed"


def test_a_pause_is_told_with_its_reason() -> None:
    told = Told(capacity=1)
    told.claim("t00000.r0.a1")
    told.end("t00000.r0.a1", Outcome.FAILED, exit_code=0, cause="it reported no 'loss'")

    shown = told.overview()
    assert (shown["state"], shown["reason"]) == ("paused", "it reported no 'loss'")


def test_the_time_left_follows_from_the_units_left() -> None:
    told = Told()
    told.run(0, 1.0)
    told.claim("t00001.r0.a1")
    told.claim("t00002.r0.a1")

    # One unit took 1800 s; 10 are left for two that run.
    assert told.overview(expected_units=11.0)["eta_seconds"] == pytest.approx(9000.0)


@pytest.mark.parametrize("units", [None, 11.0])
def test_without_a_result_or_a_plan_the_time_left_is_not_known(units: float | None) -> None:
    told = Told()
    if units is None:
        told.run(0, 1.0)
    told.claim("t00001.r0.a1")

    assert told.overview(expected_units=units)["eta_seconds"] is None


def test_the_time_left_is_not_known_when_more_is_trained_than_was_expected() -> None:
    told = Told()
    told.run(0, 1.0)
    told.claim("t00001.r0.a1")

    assert told.overview(expected_units=0.5)["eta_seconds"] is None


def test_it_costs_no_more_in_a_large_study() -> None:
    """It never looks at all trials: it is made every two seconds on a login node."""
    told = Told(trials=300, capacity=1, scheduler=SingleRung(1))
    for trial in range(200):
        told.run(trial, float(trial))

    class Counted(list[Any]):
        def __iter__(self) -> Any:
            raise AssertionError("somebody looks at all trials")

    told.study.trials = Counted(told.study.trials)

    assert told.overview()["trials"]["started"] == 201


def test_a_study_that_needed_fewer_configs_than_its_limit_has_started_all() -> None:
    """As population-based training does: its limit is what it may need at most."""
    rig = StudyRig(
        trials=40,
        slots=4,
        scheduler=lambda: Pbt((1, 2), 4, quantile=0.25, min_ready=1.0, seed=0),
    )
    assert rig.run() == "done"
    shown = overview(rig.study, AROUND)["trials"]

    assert shown["total"] == shown["started"] == 5


# ------------------------------------------------------------------ who is good, who is not


def counted(told: Told) -> tuple[int, int, int, int]:
    """Return good, failed, without a result, and stopped."""
    trials = told.overview()["trials"]
    assert trials["good"] + trials["failed"] + trials["without_result"] == trials["ended"]
    return trials["good"], trials["failed"], trials["without_result"], trials["stopped"]


def test_a_trial_that_fails_at_a_higher_rung_is_not_good() -> None:
    told = Told()
    for trial, loss in enumerate([5.0, 3.0, 8.0]):
        told.run(trial, loss)
    told.claim("t00001.r1.a1")
    told.end("t00001.r1.a1", Outcome.FAILED, exit_code=1)

    assert counted(told) == (2, 1, 0, 0)


def test_a_config_that_the_program_gave_up_has_no_result_and_did_not_fail() -> None:
    told = Told()
    told.claim("t00000.r0.a1")
    told.end("t00000.r0.a1", Outcome.FAILED, gave_up=True)

    assert counted(told) == (0, 0, 1, 0)


def test_trials_without_a_finite_result_are_told() -> None:
    told = Told()
    for trial in range(2):
        told.run(trial, math.nan)

    assert counted(told) == (0, 0, 2, 0)


def test_a_trial_that_the_median_rule_stopped_is_counted_as_stopped() -> None:
    told = Told(scheduler=MedianRule(9, grace=1, min_trials=1), capacity=3)
    told.claim("t00000.r0.a1")
    told.report("t00000.r0.a1", 3, 1.0)
    told.report("t00000.r0.a1", 9, 1.0)
    told.end("t00000.r0.a1")
    told.claim("t00001.r0.a1")
    told.report("t00001.r0.a1", 3, 2.0)
    told.end("t00001.r0.a1", Outcome.CANCELLED)

    [row] = told.overview()["rungs"]
    assert (row["done"], row["failed"], row["stopped"]) == (1, 0, 1)
    assert counted(told) == (2, 0, 0, 1)


def test_a_trial_that_the_user_stopped_before_its_first_report_has_no_result() -> None:
    told = Told()
    told.claim("t00000.r0.a1")
    told.feed(StopRequested(time=0.0, trial=0))
    told.end("t00000.r0.a1", Outcome.CANCELLED)

    assert told.overview()["rungs"][0]["stopped"] == 1
    assert counted(told) == (0, 0, 1, 1)


# ------------------------------------------------------------------ trials that run through


def passing() -> Told:
    """Return a study whose trials run through the rungs 1, 3 and 9; two have passed the first."""
    told = Told(scheduler=AshaStopping([1, 3, 9], 3))
    for trial, loss in enumerate([1.0, 2.0]):
        told.claim(f"t{trial:05d}.r2.a1")
        told.report(f"t{trial:05d}.r2.a1", 1, loss)
    return told


def test_trials_that_run_through_are_on_their_way_to_the_next_rung() -> None:
    """Not all to the last one: t0 runs on, t1 was stopped, t2 waits."""
    first, second, third = passing().overview()["rungs"]

    assert (first["waiting"], first["running"]) == (1, 1)
    assert (second["waiting"], second["running"]) == (0, 1)
    assert (third["waiting"], third["running"]) == (0, 0)


def test_a_trial_that_runs_on_counts_as_promoted() -> None:
    first, second, _ = passing().overview()["rungs"]

    assert (first["done"], first["promoted"]) == (2, 1)
    assert second["promoted"] == 0


def test_a_trial_that_was_stopped_at_a_rung_has_its_result_there() -> None:
    told = passing()
    told.end("t00001.r2.a1", Outcome.CANCELLED)

    assert [row["stopped"] for row in told.overview()["rungs"]] == [0, 0, 0]
    assert counted(told)[3] == 1


# ------------------------------------------------------------------ reports beside the rungs


def astray() -> Told:
    """Return a study with rungs at 2 and 6 whose programs report at 1, 5 and 9."""
    told = Told(scheduler=AshaStopping([2, 6, 10], 3))
    told.claim("t00000.r2.a1")
    for resource, loss in [(1, 5.0), (5, 4.0), (9, 3.0)]:
        told.report("t00000.r2.a1", resource, loss)
    told.end("t00000.r2.a1")
    return told


def test_reports_that_never_come_at_a_rung_are_told_in_one_note() -> None:
    [note] = astray().overview()["notes"]

    assert note == (
        "reports come at 1, 5, 9; "
        "a rung at epoch 2 is judged by the first report at or after it, at 5; "
        "a rung at epoch 6 is judged by the first report at or after it, at 9; "
        "a rung at epoch 10 is judged by the last report before it, at 9"
    )


def test_the_best_is_told_with_the_resource_that_was_reported() -> None:
    found = best(astray().study)

    assert found is not None
    assert (found["resource"], found["level"], found["top_resource"]) == (9, 10, 10)


def test_reports_at_the_rungs_are_not_worth_a_note() -> None:
    assert passing().overview()["notes"] == []


def test_a_program_that_ends_early_with_nan_is_no_example_of_reports() -> None:
    told = Told()
    told.claim("t00000.r0.a1")
    told.report("t00000.r0.a1", 0.5, math.nan)
    told.end("t00000.r0.a1")

    assert told.overview()["notes"] == []


def test_a_resource_that_was_added_up_of_parts_is_that_of_the_rung() -> None:
    told = Told(scheduler=Asha([0.3, 0.9], 3))
    told.claim("t00000.r0.a1")
    told.report("t00000.r0.a1", 0.1 + 0.2, 1.0)
    told.end("t00000.r0.a1")

    assert told.overview()["notes"] == []


def test_reports_of_a_repeated_attempt_are_no_further_example() -> None:
    told = Told(scheduler=Asha([10, 30], 3))
    told.claim("t00000.r0.a1")
    told.report("t00000.r0.a1", 4, 1.0)
    told.end("t00000.r0.a1", Outcome.PREEMPTED)
    told.claim("t00000.r0.a2")
    for resource in (4, 8, 12):
        told.report("t00000.r0.a2", resource, 1.0)

    assert told.study.first_reports == [4, 8, 12]


def test_instances_are_no_resource_that_could_be_missed() -> None:
    told = Told(scheduler=Irace(range(1, 13), dimension=1, budget=72, seed=0), trials=40)
    told.claim("t00000.r0.a1")
    told.report("t00000.r0.a1", 100, 1.0)
    told.end("t00000.r0.a1")

    assert told.overview()["notes"] == []


def test_a_ladder_of_many_missed_rungs_is_told_in_short() -> None:
    words = stray_words([Stray(rung=k, level=2.0, resource=3.0) for k in range(9)], [], "")

    assert words.startswith("a rung at 2 is judged by the first report at or after it, at 3; ")
    assert words.count("a rung") == 3
    assert words.endswith("; and so on")


# ------------------------------------------------------------------ when and why it ended


def ended_study() -> Told:
    told = Told(trials=2, scheduler=SingleRung(1))
    for trial in range(2):
        told.run(trial, 1.0)
    return told


def test_the_end_of_a_study_is_told() -> None:
    assert Told().overview()["ended"] is None
    assert ended_study().overview()["ended"] == 0.0


def test_opening_a_finished_study_again_does_not_move_its_end() -> None:
    told = ended_study()
    told.feed(StudyOpened(time=9000.0, spec_sha256="x", limits=told.limits))

    shown = told.overview(now=9001.0)
    assert (shown["state"], shown["ended"]) == ("done", 0.0)


def test_more_trials_give_a_finished_study_another_end() -> None:
    told = ended_study()
    told.feed(StudyOpened(time=9000.0, spec_sha256="y", limits=replace(told.limits, trials=3)))
    assert told.overview()["ended"] is None
    told.claim("t00002.r0.a1", time=9000.0)
    told.report("t00002.r0.a1", 1, 1.0)
    told.feed(
        AttemptEnded(
            time=9500.0,
            attempt="t00002.r0.a1",
            seq=99,
            outcome=Outcome.SUCCEEDED,
            seconds=1.0,
        )
    )

    assert told.overview()["ended"] == 9500.0


def test_the_limit_that_ended_a_study_is_told() -> None:
    told = Told(target_loss=2.0, scheduler=SingleRung(1), capacity=1)
    told.run(0, 1.0)

    assert told.overview()["limit"] == "target"


@pytest.mark.parametrize("why", ["", "stopped"])
def test_who_stops_a_study_is_no_limit(why: str) -> None:
    told = Told()
    if why:
        told.feed(StopRequested(time=0.0, trial=None))

    assert told.study.halt == why
    assert told.overview()["limit"] == ""


# ------------------------------------------------------------------ how far it is


def population(**around: Any) -> dict[str, Any]:
    """Return the overview of a population of four that has ended its first generation."""
    told = Told(
        scheduler=Pbt((1, 3), 4, quantile=0.25, min_ready=1.0, seed=0), trials=8, capacity=4
    )
    for trial in range(4):
        told.run(trial, float(trial))
    return told.overview(expected_trials=5, expected_units=12.0, **around)


def test_how_many_trials_are_likely_is_told_where_the_limit_is_only_a_bound() -> None:
    trials = population()["trials"]

    assert (trials["total"], trials["at_most"], trials["expected"]) == (8, True, 5)


def test_where_all_trials_are_started_nothing_else_is_expected() -> None:
    assert Told().overview(expected_trials=5)["trials"]["expected"] is None


def test_what_was_trained_tells_how_far_a_population_is() -> None:
    assert population()["share"] == pytest.approx(4 / 12)


def test_trials_that_ended_tell_how_far_a_study_is() -> None:
    told = Told()
    told.run(0, 1.0)
    told.run(1, math.nan)

    assert told.overview()["share"] == pytest.approx(2 / 9)


def test_a_study_that_is_done_is_there() -> None:
    assert ended_study().overview()["share"] == 1.0


def test_how_many_may_run_at_once_is_told() -> None:
    shown = Told().overview(parallel=4, array_limit=2)

    assert (shown["parallel"], shown["array_limit"]) == (4, 2)

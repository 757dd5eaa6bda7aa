"""Whole studies in which everything goes wrong: no invariant breaks, and planted faults are found."""

from __future__ import annotations

import os

import pytest

from slurmtune.core.trial import Outcome
from slurmtune.errors import DriverFencedError
from slurmtune.testing.fault_study import Result, simulate, simulate_many
from slurmtune.testing.faults.actors import Actor, Killed
from slurmtune.testing.faults.journal import EpochJournal
from slurmtune.testing.faults.plan import draw_plan
from slurmtune.testing.faults.planted import PLANTED
from slurmtune.testing.schedulers import SCHEDULERS
from slurmtune.testing.simulate_faults import main
from slurmtune.testing.study_rig import StudyRig

STUDIES = 1000 if os.environ.get("CI") else 200
PARTS = 4
HOUR = 3600.0
FAULTS = {
    "a checkpoint that cannot be removed",
    "Slurm silent",
    "a living slot reported lost",
    "a slot's end told twice",
    "a slot's state told late",
    "clock set",
    "detached",
    "disk full at an append",
    "input/output error",
    "killed",
    "killed in an append",
    "paused",
    "paused and replaced",
    "records read again",
    "records seen late",
    "sbatch refused",
    "sbatch reply lost",
    "sbatch reply lost, job comes later",
    "slot: cancel",
    "slot: cut_off",
    "slot: lose_node",
    "slot: preempt",
    "user stops a trial",
    "user stops the study",
}
"""Everything that can go wrong must go wrong somewhere."""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_invariant_breaks_whatever_goes_wrong(part):
    """Reproduce a failure with ``scripts/simulate-faults --seed N``."""
    totals = simulate_many(range(part, STUDIES, PARTS))

    assert totals.broken == [], [(r.plan.seed, r.broken) for r in totals.broken]
    assert set(totals.faults) == FAULTS


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name):
    assert any(simulate(seed, PLANTED[name]).broken for seed in range(30))


def test_a_seed_always_tells_the_same_story():
    def story() -> Result:
        return simulate(3)

    assert story().lines == story().lines


def test_a_seed_draws_the_same_plan():
    assert repr(draw_plan(5)) == repr(draw_plan(5))


def test_every_scheduler_meets_the_faults():
    kinds = {draw_plan(seed).kind.replace("_stopping", "-stopping") for seed in range(200)}
    names = {name.partition("-s")[0] if "pbt" in name else name for name in SCHEDULERS}

    # A control group is another scheduler's business but for a few trials.
    assert names - kinds == {"none", "hedged", "hedged-hyperband"}


def test_a_broken_study_is_told_line_by_line(capsys):
    assert main(["--seed", "0", "--planted", "acts-first"]) == 0

    told = capsys.readouterr().out
    assert "driver 1  ** begins" in told
    assert "BROKEN: " in told


def test_a_planted_fault_that_is_not_found_is_a_failure():
    assert main(["--seed", "0", "--studies", "0", "--planted", "counts-twice"]) == 1


def test_a_sound_study_is_one_line(capsys):
    assert main(["--seed", "0"]) == 0

    assert capsys.readouterr().out.count("\n") == 1


def test_many_studies_are_counted(capsys):
    assert main(["--studies", "2"]) == 0

    told = capsys.readouterr().out
    assert told.startswith("2 studies, ")
    assert "0 with a broken invariant" in told


def test_an_earlier_segment_is_sealed_when_the_next_one_is_opened():
    journal = EpochJournal()
    first = journal.open()
    first.append([{"n": 1}])
    second = journal.open()

    first.append([{"n": 2}])
    second.append([{"n": 3}])

    assert journal.history == [{"n": 1}, {"n": 3}]


def test_an_earlier_driver_is_fenced():
    journal = EpochJournal()
    first = journal.open()
    journal.open()

    with pytest.raises(DriverFencedError, match="epoch 2"):
        first.check_owner()


def test_an_actor_runs_only_while_it_is_resumed():
    steps: list[int] = []

    def body() -> None:
        steps.append(1)
        actor.hand_over()
        steps.append(2)

    actor = Actor(body)
    actor.resume()
    assert steps == [1]
    actor.resume()

    assert (steps, actor.is_over) == ([1, 2], True)


def test_a_killed_actor_does_nothing_more():
    steps: list[int] = []

    def body() -> None:
        actor.hand_over()
        steps.append(1)

    actor = Actor(body)
    actor.resume()
    actor.kill()

    assert (steps, actor.is_over, actor.error) == ([], True, None)


def test_what_ends_an_actor_is_kept():
    def body() -> None:
        raise ValueError("no")

    actor = Actor(body)
    actor.resume()

    assert repr(actor.error) == "ValueError('no')"


def test_a_driver_that_kills_itself_leaves_no_error():
    def body() -> None:
        raise Killed

    actor = Actor(body)
    actor.resume()

    assert actor.error is None


def test_a_program_that_was_cut_off_writes_on_while_its_slot_starts_again():
    rig = StudyRig(trials=1, slots=1, levels=(10,), woken=False, grace_seconds=HOUR)
    slot = "st-rig-1-1"

    def cut_off() -> None:
        rig.cluster.queue.slots(slot)[0].cut_off()

    rig.clock.call_at(200.0, cut_off)
    assert rig.run() == "done"

    assert rig.cluster.queue.slots(slot)[0].restart == 1
    assert [attempt.outcome for attempt in rig.study.trials[0].attempts] == [Outcome.SUCCEEDED]

"""Which checkpoints are removed, and above all which are not."""

from slurmtune.core.actions import DropCheckpoints
from slurmtune.core.collection import Collection, best_count
from slurmtune.core.record import AttemptRecord, SavedCheckpoint, TrialRecord
from slurmtune.core.trial import TrialState


def trial_with(*names: str, number: int = 0, state=TrialState.PAUSED, **more) -> TrialRecord:
    """Return a trial with these checkpoints that finished its only rung."""
    trial = TrialRecord(
        number=number, config={}, origin="r", bracket=0, state=state, finished_rung=0
    )
    trial.saved = [SavedCheckpoint(name, 1, "a") for name in names]
    for name, value in more.items():
        setattr(trial, name, value)
    return trial


def dropped(*trials: TrialRecord, keep="none", copies=False, best=(999,)) -> dict[int, list[str]]:
    """Return what is removed when all these trials are looked at."""
    collection = Collection(copies=copies)
    collection.look_at_best(frozenset(best) & {trial.number for trial in trials})
    for trial in trials:
        collection.look_at(trial.number)
    return {action.trial: list(action.names) for action in collection.drops(trials, keep)}


def test_a_trial_that_may_go_on_keeps_its_newest_two() -> None:
    assert dropped(trial_with("a", "b", "c")) == {0: ["a"]}


def test_a_trial_that_can_never_go_on_keeps_nothing() -> None:
    assert dropped(trial_with("a", "b", spare_rungs={0})) == {0: ["a", "b"]}


def test_a_trial_on_its_way_to_a_higher_rung_keeps_two_although_the_lower_is_spare() -> None:
    trial = trial_with("a", "b", "c", spare_rungs={0}, target_rung=1, state=TrialState.WAITING)

    assert dropped(trial) == {0: ["a"]}


def test_what_a_live_attempt_starts_from_stays() -> None:
    trial = trial_with("a", "b", "c", state=TrialState.RUNNING)
    trial.attempts.append(
        AttemptRecord(
            id="t00000.r1.a1",
            trial=0,
            rung=1,
            number=1,
            start=1,
            end=3,
            checkpoint="a",
            resource_class="c0",
            priority=1,
            queued_time=0.0,
        )
    )

    assert dropped(trial) == {}


def test_the_best_keeps_its_newest_under_every_rule() -> None:
    done = trial_with("a", "b", state=TrialState.COMPLETED)

    assert dropped(done, keep="none", best=(0,)) == {0: ["a"]}


def test_all_keeps_the_newest_of_every_trial() -> None:
    assert dropped(trial_with("a", "b", state=TrialState.STOPPED), keep="all") == {0: ["a"]}


def test_promoted_keeps_the_newest_of_trials_that_were_promoted() -> None:
    once = trial_with("a", number=0, state=TrialState.STOPPED)
    twice = trial_with("a", number=1, state=TrialState.STOPPED, finished_rung=1)

    assert dropped(once, twice, keep="promoted") == {0: ["a"]}


def test_who_falls_out_of_the_best_is_looked_at_again() -> None:
    trials = [trial_with("a", number=n, state=TrialState.COMPLETED) for n in (0, 1)]
    collection = Collection(copies=False)
    collection.look_at_best(frozenset({0}))
    assert collection.drops(trials, "best:1") == []
    collection.look_at_best(frozenset({1}))

    assert collection.drops(trials, "best:1") == [DropCheckpoints(trial=0, names=("a",))]


def test_what_others_may_still_copy_stays() -> None:
    donor = trial_with("a", "b", state=TrialState.FAILED, rung_checkpoints={0: ("a", 1)})

    assert dropped(donor, copies=True) == {0: ["b"]}


def test_what_nobody_copies_any_more_goes() -> None:
    donor = trial_with(
        "a", state=TrialState.FAILED, rung_checkpoints={0: ("a", 1)}, spare_rungs={0}
    )

    assert dropped(donor, copies=True) == {0: ["a"]}


def test_what_an_heir_has_to_start_from_stays_until_it_has_finished_a_rung() -> None:
    donor = trial_with(
        "a",
        state=TrialState.FAILED,
        rung_checkpoints={0: ("a", 1)},
        spare_rungs={0},
        heirs=[1],
    )
    heir = trial_with(number=1, state=TrialState.WAITING, source=0, first_rung=1)
    heir.finished_rung = -1
    assert dropped(donor, heir, copies=True) == {}
    heir.finished_rung = 1

    assert dropped(donor, heir, copies=True) == {0: ["a"]}


def borrower(number: int, source: int, **more) -> TrialRecord:
    """Return an heir that saved nothing and lives on checkpoint ``a`` of its source."""
    heir = trial_with(
        number=number, source=source, first_rung=number, checkpoint="a", target_rung=number
    )
    heir.finished_rung = number
    heir.rung_checkpoints = {number: ("a", 1)}
    for name, value in more.items():
        setattr(heir, name, value)
    return heir


def lender() -> TrialRecord:
    """Return a donor that ended, whose state nobody will copy again."""
    return trial_with(
        "a",
        state=TrialState.STOPPED,
        rung_checkpoints={0: ("a", 1)},
        spare_rungs={0},
        heirs=[1],
    )


def test_what_an_heir_without_a_checkpoint_of_its_own_goes_on_from_stays() -> None:
    assert dropped(lender(), borrower(1, 0), copies=True) == {}


def test_what_an_heir_handed_on_to_its_own_heir_stays() -> None:
    heir = borrower(1, 0, state=TrialState.STOPPED, spare_rungs={1}, heirs=[2])

    assert dropped(lender(), heir, borrower(2, 1), copies=True) == {}


def test_what_the_best_took_over_stays() -> None:
    heir = borrower(1, 0, state=TrialState.COMPLETED, spare_rungs={1})

    assert dropped(lender(), heir, copies=True, best=(1,)) == {}


def test_when_the_last_heir_is_done_what_it_took_over_goes() -> None:
    heir = borrower(1, 0, state=TrialState.STOPPED, spare_rungs={1}, heirs=[2])
    last = borrower(2, 1)
    trials = [lender(), heir, last]
    collection = Collection(copies=True)
    collection.look_at(0)
    assert collection.drops(trials, "none") == []
    last.state, last.spare_rungs = TrialState.COMPLETED, {2}
    collection.look_at(2)

    assert collection.drops(trials, "none") == [DropCheckpoints(trial=0, names=("a",))]


def test_what_is_dropped_is_forgotten_so_that_nothing_starts_from_it() -> None:
    trial = trial_with("a", spare_rungs={0}, checkpoint="a", checkpoint_resource=1)
    dropped(trial)

    assert (trial.checkpoint, trial.checkpoint_resource, trial.saved) == (None, 0, [])


def test_what_is_not_confirmed_stays_pending() -> None:
    trial = trial_with("a", "b", spare_rungs={0})
    collection = Collection(copies=False)
    collection.look_at(0)
    asked = collection.drops([trial], "none")
    assert collection.pending() == asked
    assert collection.confirm(0, ("a", "b"))

    assert collection.pending() == []
    assert not collection.confirm(0, ("a", "b"))


def test_the_number_of_the_best() -> None:
    assert [best_count(rule) for rule in ("all", "none", "promoted", "best:1", "best:7")] == [
        1,
        1,
        1,
        1,
        7,
    ]

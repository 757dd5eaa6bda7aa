"""Slots that are used in different ways: what is decided follows from the results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.backends.simulator import Constant, Exponential
from slurmtune.core.actions import Action, Offer
from slurmtune.core.events import AttemptEnded, Event
from slurmtune.core.ports import Decision, Promote, Scheduler
from slurmtune.core.study import Study
from slurmtune.core.trial import Outcome, TrialState
from slurmtune.driver import loop
from slurmtune.driver.loop import Driver
from slurmtune.driver.ports import NoObserver
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.successive_halving import SuccessiveHalving
from slurmtune.store.codec import decode_event
from slurmtune.testing.study_rig import RigFiles, StudyRig

LEVELS = (1, 3, 9)
MODES: Sequence[Mapping[str, Any]] = (
    {"reuse": False, "continue_in_place": False, "ahead": 1.0},
    {"reuse": False, "continue_in_place": True, "ahead": 1.0},
    {"reuse": True, "continue_in_place": False, "ahead": 1.0},
    {"reuse": True, "continue_in_place": True, "ahead": 1.0},
    {"reuse": True, "continue_in_place": True, "ahead": 2.0},
)
ROUGH = {"preemptions_per_hour": 0.5, "node_failures_per_hour": 0.2, "visibility_delay_seconds": 2}


def rig_of(mode: Mapping[str, Any], *, trials: int = 27, **more: Any) -> StudyRig:
    model = {
        "queue_wait": Exponential(300.0),
        "startup": Constant(60.0),
        "load_seconds": 30.0,
        "continue_in_place": mode["continue_in_place"],
        "reuse": mode["reuse"],
        **more.pop("model", {}),
    }
    return StudyRig(
        **{"trials": trials, "slots": 4, "levels": LEVELS, "woken": False, **more},
        model=model,
        ahead=mode["ahead"],
    )


def events(rig: StudyRig) -> list[Event]:
    return [decode_event(record["e"]) for record in rig.stored_records()]


def bare(actions: Sequence[Action] | None) -> list[Action]:
    """Return the actions without who holds what."""
    return [
        replace(action, holder="") if isinstance(action, Offer) else action
        for action in actions or ()
    ]


def promotions(study: Study) -> set[tuple[int, int]]:
    return {(t.number, a.rung) for t in study.trials for a in t.attempts if a.rung}


class Recording(Asha):
    """Keeps the order of results and promotions."""

    def __init__(self) -> None:
        super().__init__(LEVELS, 3)
        self.order: list[tuple[Any, ...]] = []

    def decide(self, *, may_start: bool) -> Decision | None:
        decision = super().decide(may_start=may_start)
        self.order.append(("decide", may_start, decision))
        return decision

    def started(self, trial: int, bracket: int) -> None:
        self.order.append(("started", trial, bracket))
        super().started(trial, bracket)

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        self.order.append(("finished", trial, rung, loss))
        super().finished(trial, rung, loss)


def repeat(order: Sequence[tuple[Any, ...]], scheduler: Scheduler) -> list[Decision | None]:
    """Tell a scheduler the same in the same order; return what it decides."""
    decided: list[Decision | None] = []
    for what, *arguments in order:
        if what == "decide":
            decided.append(scheduler.decide(may_start=arguments[0]))
        elif what == "started":
            scheduler.started(*arguments)
        else:
            scheduler.finished(*arguments)
    return decided


def assert_legal(order: Sequence[tuple[Any, ...]]) -> None:
    """Each trial was among the best third of its rung in the moment of its promotion."""
    results: dict[int, list[tuple[bool, float, int]]] = {}
    for what, *arguments in order:
        if what == "finished":
            trial, rung, loss = arguments
            entries = results.setdefault(rung, [])
            if trial not in [entry[2] for entry in entries]:
                entries.append((loss is None, loss or 0.0, trial))
        elif what == "decide" and isinstance(arguments[1], Promote):
            promoted = arguments[1]
            # Sorting is stable: among equals who finished first.
            ranked = sorted(results[promoted.rung - 1], key=lambda entry: entry[:2])
            best = [trial for _, _, trial in ranked[: len(ranked) // 3]]
            assert promoted.trial in best


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), rough=st.booleans())
def test_promotions_follow_from_the_order_of_results_in_every_mode(
    mode: Mapping[str, Any], seed: int, rough: bool
) -> None:
    made: list[Recording] = []

    def scheduler() -> Recording:
        made.append(Recording())
        return made[-1]

    rig = rig_of(
        mode, scheduler=scheduler, seed=seed, cluster_seed=seed, model=ROUGH if rough else {}
    )
    assert rig.run() == "done"
    live = made[-1]

    decided = [arguments[1] for what, *arguments in live.order if what == "decide"]
    assert repeat(live.order, Asha(LEVELS, 3)) == decided
    assert_legal(live.order)
    told = {(d.trial, d.rung) for d in decided if isinstance(d, Promote)}
    assert told == promotions(rig.study)
    states = {trial.state for trial in rig.study.trials}
    assert states <= {
        TrialState.PAUSED,
        TrialState.COMPLETED,
        TrialState.FAILED,
    }


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_same_results_lead_to_the_same_decisions_whether_programs_stayed_or_not(
    seed: int,
) -> None:
    rig = rig_of(MODES[3], seed=seed, cluster_seed=seed, model=ROUGH)
    rig.run()
    history = events(rig)
    assert any(isinstance(event, AttemptEnded) and event.holding for event in history)

    with_holding, without = rig.empty_study(), rig.empty_study()
    for event in history:
        told = replace(event, holding=False) if isinstance(event, AttemptEnded) else event
        assert bare(with_holding.handle(event)) == bare(without.handle(told))


def test_synchronous_halving_promotes_the_same_trials_in_every_mode() -> None:
    """Its decisions do not depend on the order, so neither do they on the mode."""
    found = []
    for mode in MODES:
        rig = rig_of(mode, scheduler=lambda: SuccessiveHalving(LEVELS, 3, 27))
        assert rig.run() == "done"
        found.append(promotions(rig.study))

    assert all(one == found[0] for one in found)
    assert len(found[0]) == 9 + 3


def test_programs_that_go_on_in_place_load_nothing() -> None:
    rig = rig_of(MODES[3])
    rig.run()

    attempts = [a for t in rig.study.trials for a in t.attempts if a.rung]
    loading = [a.seconds - 60.0 * ((a.end or 0) - a.start) for a in attempts]
    assert {round(seconds) for seconds in loading} == {0, 30}
    assert len(loading) == len(promotions(rig.study))


class NotingFiles(RigFiles):
    """Keeps what was announced."""

    def __init__(self, rig: StudyRig) -> None:
        super().__init__(rig.cluster)
        self._rig = rig
        self.announced: list[Sequence[str]] = []
        self.missing: list[str] = []

    def announce_settled(self, attempts: Sequence[str]) -> None:
        super().announce_settled(attempts)
        self.announced.append(attempts)
        live = self._rig.study.live.values()
        offers = self._rig.cluster.folder.published
        self.missing += [attempt.id for attempt in live if attempt.id not in offers]


def test_an_end_is_settled_after_what_follows_from_it_is_on_offer() -> None:
    rig = rig_of(MODES[3])
    files = NotingFiles(rig)

    rig.launch(rig.new_driver(files=files))

    assert files.announced
    assert files.missing == []


def test_every_end_of_a_program_that_stayed_is_settled_once() -> None:
    rig = rig_of(MODES[3])
    files = NotingFiles(rig)
    rig.launch(rig.new_driver(files=files))

    held = [e.attempt for e in events(rig) if isinstance(e, AttemptEnded) and e.holding]
    assert list(files.announced[-1]) == held
    assert all(len(one) < len(other) for one, other in pairwise(files.announced))


def test_no_more_ends_are_announced_than_slots_can_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "_MOST_SETTLED", 50)
    rig = rig_of(MODES[3], trials=100, levels=(1,), scheduler=lambda: Asha((1,), 3), slots=16)
    files = NotingFiles(rig)
    rig.launch(rig.new_driver(files=files))

    assert max(len(one) for one in files.announced) == 50


def test_nothing_is_announced_where_programs_do_not_stay() -> None:
    rig = rig_of(MODES[2])
    files = NotingFiles(rig)
    rig.launch(rig.new_driver(files=files))

    assert files.announced == []


def test_a_driver_that_is_away_costs_the_slots_linger_time_and_nothing_else() -> None:
    """No tick for six hours: programs wait, make room and leave; all goes on with the next."""
    rig = rig_of(MODES[3], trials=81, model={"linger_seconds": 120.0})
    driver = rig.new_driver()
    rig.clock.call_at(1200.0, driver.detach)
    assert rig.launch(driver) == "detached"
    away_from = rig.clock.now()
    rig.clock.wait(6 * 3600.0)

    spans = rig.cluster.slot_spans()
    last_work = {span.slot: 0.0 for span in spans}
    for span in rig.cluster.attempt_spans():
        last_work[span.slot] = max(last_work[span.slot], span.end)
    for span in spans:
        if span.end > away_from and last_work[span.slot]:
            assert span.end == last_work[span.slot] + 120.0
    assert rig.run() == "done"
    outcomes = {a.outcome for t in rig.study.trials for a in t.attempts}
    assert outcomes == {Outcome.SUCCEEDED}
    assert all(len({a.rung for a in t.attempts}) == len(t.attempts) for t in rig.study.trials)


# ------------------------------------------------------------------ checkpoints that go


class FullOfErrors(NoObserver):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


class Stubborn:
    """An exchange that cannot remove anything."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange
        self.asked: list[tuple[int, Sequence[str]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def drop_checkpoints(self, trial: int, names: Sequence[str]) -> None:
        self.asked.append((trial, names))
        raise OSError(13, "Permission denied")


def stored(rig: StudyRig) -> int:
    return sum(len(rig.cluster.folder.checkpoints(t.number)) for t in rig.study.trials)


def believed(rig: StudyRig) -> int:
    return sum(len(trial.saved) for trial in rig.study.trials)


@pytest.mark.parametrize("keep", ["none", "promoted", "best:2"])
def test_checkpoints_that_nobody_needs_are_removed(keep: str) -> None:
    rig = rig_of(MODES[3], limits={"keep": keep})
    rig.run()

    everything = rig_of(MODES[3])
    everything.run()
    assert rig.recorded("CheckpointsDropped")
    assert stored(rig) == believed(rig) < stored(everything)


def launch_stubborn(rig: StudyRig) -> tuple[Driver, Stubborn, FullOfErrors]:
    driver, observer = rig.new_driver(), FullOfErrors()
    driver.observer = observer
    stubborn = Stubborn(driver.exchange)
    driver.exchange = stubborn
    assert rig.launch(driver) == "done"
    return driver, stubborn, observer


def test_a_study_goes_on_when_checkpoints_cannot_be_removed() -> None:
    """The user is told once."""
    rig = rig_of(MODES[3], limits={"keep": "none"})

    _, stubborn, observer = launch_stubborn(rig)

    assert len(stubborn.asked) > 1
    assert len([text for text in observer.messages if "could not be removed" in text]) == 1
    assert not rig.recorded("CheckpointsDropped")
    assert stored(rig) > believed(rig)


def test_what_could_not_be_removed_is_tried_again_by_the_next_launch() -> None:
    rig = rig_of(MODES[3], limits={"keep": "none"})
    _, stubborn, _ = launch_stubborn(rig)

    rig.run()

    dropped = rig.recorded("CheckpointsDropped")
    assert {event["trial"] for event in dropped} == {trial for trial, _ in stubborn.asked}
    assert stored(rig) == believed(rig)

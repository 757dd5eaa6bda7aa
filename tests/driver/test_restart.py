"""A driver that dies anywhere, and the next one: nothing is lost, nothing is done twice.

Every call that leaves the driver is a place to die: before it, after it, and in the middle of an
append. The drivers after the first know only the records that were durable, the slots and files.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slurmtune.backends.base import ArraySpec
from slurmtune.backends.simulator import Constant, Exponential, Interval
from slurmtune.core.events import AttemptEnded, Config
from slurmtune.core.trial import Outcome, TrialState
from slurmtune.driver.loop import Driver
from slurmtune.driver.recovery import replay
from slurmtune.driver.submission import Submissions
from slurmtune.errors import BackendUnavailableError
from slurmtune.store.memory import MemoryJournal
from slurmtune.testing.schedulers import SCHEDULERS
from slurmtune.testing.study_rig import StudyRig, snapshot

PORTS = {
    "submit",
    "find",
    "adopt",
    "poll",
    "cancel",
    "publish",
    "withdraw",
    "request_stop",
    "watch",
    "forget",
    "read",
    "check_owner",
    "announce_end",
    "announce_settled",
    "publish_manifest",
    "publish_lineage",
    "drop_checkpoints",
    "acknowledge",
}


class Killed(BaseException):
    """The driver's process is gone."""


class Fuse:
    """Kills at its n-th step; 0 never does."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.steps = 0

    def burn(self) -> None:
        self.steps += 1
        if self.steps == self.length:
            raise Killed


class Mined:
    """A port with a step before and after every call."""

    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port = port
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in PORTS:
            return found

        def call(*args: Any, **named: Any) -> Any:
            self._fuse.burn()
            result = found(*args, **named)
            self._fuse.burn()
            return result

        return call


class MinedJournal(MemoryJournal):
    """Appends record by record: a batch may be cut short anywhere."""

    def __init__(self, kept: MemoryJournal, fuse: Fuse) -> None:
        super().__init__()
        self.records = kept.records
        self._fuse = fuse

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        for record in records:
            self._fuse.burn()
            super().append([record])
        self._fuse.burn()


class Sbatch:
    """The simulator's backend as Slurm is: it would take the same token twice."""

    def __init__(self, backend: Any, doubles: list[str]) -> None:
        self._backend = backend
        self._doubles = doubles

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def submit(self, array: ArraySpec) -> str:
        if self._backend._queue.job(array.token) is not None:
            self._doubles.append(array.token)
        return str(self._backend.submit(array))


class Life:
    """A study whose drivers die at the given steps; the last one lives."""

    def __init__(self, rig: StudyRig, kind: type[Driver] = Driver) -> None:
        self.rig = rig
        self.kind = kind
        self.doubles: list[str] = []
        self.steps = 0
        self.reason = ""

    def live(self, fuses: Sequence[int], away_seconds: Sequence[float] = ()) -> None:
        pauses = iter(away_seconds)
        for length in fuses:
            if self._drive(Fuse(length)):
                return
            self.rig.clock.wait(next(pauses, 0.0))
        assert self._drive(Fuse(0))

    def _drive(self, fuse: Fuse) -> bool:
        rig = self.rig
        try:
            driver = rig.new_driver(self.kind)
            driver.journal = MinedJournal(rig.journal, fuse)
            driver.backend = Mined(Sbatch(rig.cluster.backend, self.doubles), fuse)
            driver.exchange = Mined(rig.cluster.exchange, fuse)
            driver.files = Mined(rig.files, fuse)
            self.reason = rig.launch(driver)
        except Killed:
            return False
        finally:
            self.steps = fuse.steps
        return True

    # ------------------------------------------------------------ what must hold

    def faults(self, undisturbed: Mapping[int, Config]) -> list[str]:
        """Return everything that is wrong at the end, in words."""
        return [*self._wrong_states(undisturbed), *self._wrong_records(), *self._wrong_slots()]

    def _wrong_states(self, undisturbed: Mapping[int, Config]) -> Iterator[str]:
        study = self.rig.study
        if self.reason != "done":
            yield f"the study ended as {self.reason}"
        for trial in study.trials:
            if not (trial.state.is_final or trial.state is TrialState.PAUSED):
                yield f"trial {trial.number} is left {trial.state}"
        configs = {trial.number: dict(trial.config) for trial in study.trials}
        if configs != {number: dict(config) for number, config in undisturbed.items()}:
            yield "other configs than without a death"
        again = self.rig.empty_study()
        replay(again, self.rig.stored_records())
        if snapshot(again) != snapshot(study):
            yield "the journal tells another story"

    def _wrong_records(self) -> Iterator[str]:
        proposed = Counter(event["trial"] for event in self.rig.recorded("ConfigProposed"))
        yield from (f"trial {n} was proposed {k} times" for n, k in proposed.items() if k > 1)
        ended = Counter(event["attempt"] for event in self.rig.recorded("AttemptEnded"))
        yield from (f"attempt {name} ended {k} times" for name, k in ended.items() if k > 1)
        values = Counter(
            (event["attempt"], event["seq"])
            for kind in ("AttemptStarted", "AttemptReported", "CheckpointSaved")
            for event in self.rig.recorded(kind)
        )
        yield from (f"record {key} was applied {k} times" for key, k in values.items() if k > 1)

    def _wrong_slots(self) -> Iterator[str]:
        rig, folder = self.rig, self.rig.cluster.folder
        yield from (f"array {token} was submitted twice" for token in self.doubles)
        for token in rig.cluster.backend._queue._arrays:
            if token not in rig.study.fleet.arrays:
                yield f"array {token} is not known to the journal"
        runs = Counter(span.attempt for span in rig.cluster.attempt_spans())
        yield from (f"attempt {name} ran {k} times" for name, k in runs.items() if k > 1)
        known = {attempt.id: attempt for trial in rig.study.trials for attempt in trial.attempts}
        for name in folder.claims:
            if name not in known:
                yield f"attempt {name} was claimed but never decided"
                continue
            for record in folder.records(name, 0):
                event = record(0.0)
                if not isinstance(event, AttemptEnded) or event.outcome is not Outcome.SUCCEEDED:
                    continue
                told = {e["attempt"]: e for e in rig.recorded("AttemptEnded")}
                given_up = name in told and told[name]["seq"] is None
                if not given_up and known[name].outcome is not Outcome.SUCCEEDED:
                    yield f"the result of {name} was lost"


def small(**more: Any) -> StudyRig:
    return StudyRig(trials=6, slots=3, levels=(1, 3), **more)


def undisturbed(rig: StudyRig) -> dict[int, Config]:
    rig.run()
    return {trial.number: trial.config for trial in rig.study.trials}


def count_steps() -> int:
    life = Life(small())
    life.live([])
    return life.steps


STEPS = count_steps()


# ------------------------------------------------------------------ every place to die


@pytest.mark.slow
def test_a_driver_may_die_at_any_step() -> None:
    configs = undisturbed(small())
    assert STEPS > 200
    bad = {}
    for step in range(1, STEPS + 1):
        life = Life(small())
        life.live([step])
        if faults := life.faults(configs):
            bad[step] = faults

    assert bad == {}


@pytest.mark.slow
def test_a_driver_may_die_at_any_step_and_be_away_while_the_slots_finish() -> None:
    configs = undisturbed(small())
    bad = {}
    for step in range(1, STEPS + 1, 3):
        life = Life(small())
        life.live([step], [3600.0])
        if faults := life.faults(configs):
            bad[step] = faults

    assert bad == {}


@pytest.mark.slow
@pytest.mark.parametrize("first", [STEPS // 7, STEPS // 2, STEPS - STEPS // 8])
def test_the_second_driver_may_die_at_any_step_too(first: int) -> None:
    """Also while it repeats what the first may not have done."""
    configs = undisturbed(small())
    bad = {}
    for step in range(1, STEPS // 4, 2):
        life = Life(small())
        life.live([first, step])
        if faults := life.faults(configs):
            bad[step] = faults

    assert bad == {}


ROUGH = {
    "queue_wait": Exponential(300.0),
    "startup": Constant(30.0),
    "preemptions_per_hour": 1.0,
    "node_failures_per_hour": 0.3,
    "visibility_delay_seconds": 2.0,
    "lost_replies": (Interval(0.0, 30.0), Interval(2000.0, 4000.0)),
    "silences": (Interval(500.0, 900.0),),
    "refusals": (Interval(1000.0, 1200.0),),
}


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    lives=st.lists(
        st.tuples(st.integers(1, 900), st.sampled_from([0.0, 1.0, 20.0, 200.0, 5000.0])),
        max_size=6,
    ),
    seed=st.integers(0, 50),
)
@example(lives=[(3, 0.0)] * 6, seed=1)
def test_drivers_may_die_again_and_again_on_a_rough_cluster(
    lives: list[tuple[int, float]], seed: int
) -> None:
    def rig() -> StudyRig:
        return StudyRig(
            trials=30, slots=5, levels=(1, 3, 9), factor=3, cluster_seed=seed, model=ROUGH
        )

    configs = undisturbed(rig())
    life = Life(rig())

    life.live([length for length, _ in lives], [away for _, away in lives])

    assert life.faults(configs) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
@settings(max_examples=5, deadline=None)
@given(
    lives=st.lists(
        st.tuples(st.integers(1, 900), st.sampled_from([0.0, 20.0, 5000.0])), max_size=5
    ),
    seed=st.integers(0, 50),
)
def test_drivers_may_die_again_and_again_under_every_scheduler(
    name: str, lives: list[tuple[int, float]], seed: int
) -> None:
    """Which trials there are may depend on the order of results: nothing else may."""
    rig = StudyRig(
        trials=24,
        slots=4,
        scheduler=SCHEDULERS[name],
        cluster_seed=seed,
        model={**ROUGH, "checkpoint_every": 1},
        limits={"keep": "none"},
    )
    life = Life(rig)

    life.live([length for length, _ in lives], [away for _, away in lives])

    configs = {
        number: rig.sampler.propose(number, rig.study.results.history, 0)
        for number in range(len(rig.study.trials))
    }
    assert life.faults({n: c for n, c in configs.items() if c is not None}) == []


@pytest.mark.slow
def test_each_append_may_be_the_last() -> None:
    """A driver that dies after every k-th append, over and over, still gets there."""
    configs = undisturbed(small())
    for k in (3, 5, 8):

        class Mortal(Driver):
            appends = 0

            def _save(self) -> None:
                super()._save()
                type(self).appends += 1
                if type(self).appends % k == 0:  # noqa: B023 - used within its turn
                    raise Killed

        rig = small()
        life = Life(rig, Mortal)
        life.live([0] * 400, [5.0] * 400)

        assert life.faults(configs) == []


# ------------------------------------------------------------------ the test itself is tested


class Hasty(Driver):
    """Acts before its records are durable: each batch is written only with the next one."""

    def _save(self) -> None:
        late = getattr(self.journal, "late", [])
        self.journal.append(late)
        self.journal.late = list(self._unsaved)  # type: ignore[attr-defined]
        self._unsaved.clear()


class Blind(Submissions):
    """Submits what an earlier driver intended without asking whether it did."""

    def adopt(self, array: Any, now: float) -> None:
        super().adopt(array, now)
        for submission in self.on_the_way.values():
            submission.look_first = False


class Forgetful(Driver):
    """Submits so."""

    make_submissions = Blind


class Careless(Driver):
    """Does not repeat what the driver before may not have done."""

    def _carry_out(self, actions: Any) -> None:
        if (
            isinstance(actions, list)
            and actions
            and self.study.fleet.arrays
            and not self._beaten()
        ):
            return
        super()._carry_out(actions)

    def _beaten(self) -> bool:
        return self._last_tick is not None


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Hasty, Forgetful, Careless])
def test_a_driver_with_a_fault_is_caught(kind: type[Driver]) -> None:
    configs = undisturbed(small())
    caught = []
    for step in range(1, STEPS):
        life = Life(small(most_hours=3.0), kind)
        try:
            life.live([step])
        except (AssertionError, BackendUnavailableError) as error:
            caught.append(str(error))
        else:
            caught += life.faults(configs)
        if len(caught) > 3:
            break

    assert caught


# ------------------------------------------------------------------ single deaths, one fact each


def test_an_array_that_was_submitted_before_the_death_is_adopted() -> None:
    rig = small()
    life = Life(rig)

    class DiesAfterSbatch(Driver):
        def feed(self, events: Any) -> bool:
            kinds = {type(event).__name__ for event in events}
            if "ArraySubmitted" in kinds and self.study.fleet.live_arrays and rig.epoch == 1:
                raise Killed
            return super().feed(events)

    life.kind = DiesAfterSbatch
    life.live([0])

    assert [event["token"] for event in rig.recorded("ArraySubmitted")] == ["st-rig-1-1"]
    assert rig.study.finished == "done"


def test_an_array_that_was_only_intended_is_submitted_by_the_next_driver() -> None:
    rig = small()

    class Deadly(Submissions):
        def attempt(self, submission: Any, now: float) -> bool:
            if rig.epoch == 1:
                raise Killed
            return super().attempt(submission, now)

    class DiesBeforeSbatch(Driver):
        make_submissions = Deadly

    life = Life(rig, DiesBeforeSbatch)
    life.live([0])

    assert [event["token"] for event in rig.recorded("ArrayIntended")] == ["st-rig-1-1"]
    assert rig.study.finished == "done"


def test_configs_that_were_drawn_but_not_written_are_drawn_again_the_same() -> None:
    configs = undisturbed(small())
    rig = small()
    driver = rig.new_driver()
    driver.journal = MinedJournal(rig.journal, Fuse(5))
    with pytest.raises(Killed):
        rig.launch(driver)
    assert len(rig.recorded("ConfigProposed")) < len(driver.study.trials)

    assert rig.run() == "done"

    assert {trial.number: trial.config for trial in rig.study.trials} == configs


def test_a_second_launch_of_a_finished_study_changes_nothing() -> None:
    rig = small()
    rig.run()
    trials = snapshot(rig.study.trials)
    arrays = len(rig.study.fleet.arrays)

    assert rig.run() == "done"

    assert snapshot(rig.study.trials) == trials
    assert len(rig.study.fleet.arrays) == arrays


def test_results_that_came_while_no_driver_lived_are_read() -> None:
    rig = small()
    driver = rig.new_driver()
    driver.open(rig.limits, "rig")
    driver.tick()
    rig.clock.wait(36_000.0)

    assert rig.run() == "done"

    assert all(trial.attempts[0].outcome is Outcome.SUCCEEDED for trial in rig.study.trials)


def test_the_order_of_deaths_does_not_matter() -> None:
    """Twenty drivers that live for random times."""
    configs = undisturbed(small())
    lengths = random.Random(7)
    life = Life(small())

    life.live([lengths.randint(1, 120) for _ in range(20)])

    assert life.faults(configs) == []

"""Population-based training once more, in the plainest words, against the real scheduler."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.core.ports import Decision, Promote, StartTrial
from slurmtune.core.seeding import derived_seed
from slurmtune.schedulers.pbt import Pbt


@dataclass(slots=True)
class PlainPopulation:
    """One open generation, those that wait to go on, and the places that wait for an heir."""

    members: int
    quantile: Fraction
    min_ready: Fraction
    last: int
    seed: int
    begun: int = 0
    """Trials that were started."""
    is_full: bool = False
    generation: int = 0
    finished: list[tuple[int, float | None]] = field(default_factory=list)
    """Trials and losses of the open generation, in the order of arrival."""
    donors: list[int] = field(default_factory=list)
    going_on: list[int] = field(default_factory=list)
    vacant: list[tuple[int, bool]] = field(default_factory=list)
    """Members that are to be replaced, and whether they failed."""
    running: dict[int, int] = field(default_factory=dict)
    """Generation by trial."""

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return what comes next: members at first, then who goes on, then heirs."""
        if not self.is_full and may_start:
            return StartTrial()
        if not self.is_full and self.begun and not self.running:
            self.is_full, self.members = True, self.begun
            self.judge()
        while self.vacant and not self.going_on:
            member, failed = self.vacant[0]
            if may_start:
                donor = self.donor_of(member)
                return StartTrial(rung=self.generation, parents=(donor,), source=donor)
            del self.vacant[0]
            if failed:
                self.members -= 1
                self.judge()
            else:
                self.going_on.append(member)
        if not self.going_on:
            return None
        promotion = Promote(trial=self.going_on.pop(0), rung=self.generation)
        self.running[promotion.trial] = promotion.rung
        self.judge()
        return promotion

    def started(self) -> None:
        """Start what was decided last."""
        self.running[self.begun] = self.generation
        self.begun += 1
        if self.is_full:
            del self.vacant[0]
        else:
            self.is_full = self.begun == self.members
        self.judge()

    def finish(self, trial: int, loss: float | None) -> None:
        """A trial came to the end of its generation; a straggler, after others judged it."""
        if self.running.pop(trial) == self.generation:
            self.finished.append((trial, loss))
        elif loss is None:
            self.vacant.append((trial, True))
        else:
            self.going_on.append(trial)
        self.judge()

    def judge(self) -> None:
        """Close the generation when all have begun it and enough have finished it."""
        good = [result for result in self.finished if result[1] is not None]
        count = len(self.finished)
        enough = count >= math.ceil(self.min_ready * self.members)
        waits = not self.is_full or self.going_on or self.vacant
        if self.generation == self.last or waits or not enough or not good:
            return
        ranked = sorted(good, key=lambda result: result[1] or 0.0)
        ranked += [result for result in self.finished if result[1] is None]
        worst = math.ceil(self.quantile * count)
        worst = count // 2 if worst > count / 2 else worst
        self.donors = [trial for trial, loss in ranked[: max(worst, 1)] if loss is not None]
        self.generation += 1
        self.finished = []
        for place, (trial, loss) in enumerate(ranked):
            if loss is None or place >= count - worst:
                self.vacant.append((trial, loss is None))
            else:
                self.going_on.append(trial)

    def donor_of(self, member: int) -> int:
        """Return who was drawn for the place of a member, given the lot for it."""
        lot = derived_seed(self.seed, f"pbt-{self.generation}", member)
        return self.donors[lot % len(self.donors)]


def loss_of(source: random.Random, failures: float) -> float | None:
    """Return one of a few losses or any, or a failure."""
    if source.random() < failures:
        return None
    return source.choice((1.0, 2.0, source.random()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A population, and how rough its life is."""

    members: int
    quantile: float
    min_ready: float
    generations: int
    failures: float
    """Share of members that fail at the end of a generation."""
    refusals: float
    """Share of questions after which no trial may be started."""
    seed: int


SETTINGS = st.builds(
    Setting,
    members=st.integers(1, 12),
    quantile=st.sampled_from((0.07, 0.1, 0.2, 0.25, 0.3, 0.5)),
    min_ready=st.sampled_from((0.1, 0.25, 0.5, 0.75, 0.9, 1.0)),
    generations=st.integers(1, 5),
    failures=st.sampled_from((0.0, 0.1, 0.4)),
    refusals=st.sampled_from((0.0, 0.05, 0.3)),
    seed=st.integers(0, 99),
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(source=st.randoms(use_true_random=True), setting=SETTINGS)
def test_in_any_order_of_arrival(source: random.Random, setting: Setting) -> None:
    """Slots ask and members end among each other; starts are refused or never come."""
    real = Pbt(
        range(1, setting.generations + 1),
        setting.members,
        quantile=setting.quantile,
        min_ready=setting.min_ready,
        seed=setting.seed,
    )
    plain = PlainPopulation(
        members=setting.members,
        quantile=Fraction(str(setting.quantile)),
        min_ready=Fraction(str(setting.min_ready)),
        last=setting.generations - 1,
        seed=setting.seed,
    )
    for _ in range(200):
        if plain.running and source.random() < 0.5:
            trial = source.choice(list(plain.running))
            rung, loss = plain.running[trial], loss_of(source, setting.failures)
            real.finished(trial, rung, math.nan if loss is None else loss)
            plain.finish(trial, loss)
            if source.random() < 0.3:
                real.finished(trial, rung, None if loss else -5.0)
            continue
        may_start = source.random() >= setting.refusals
        decision = real.decide(may_start=may_start)
        assert decision == plain.decide(may_start=may_start)
        if isinstance(decision, StartTrial) and source.random() < 0.95:
            real.started(plain.begun, 0)
            plain.started()

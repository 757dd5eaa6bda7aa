"""The median rule once more, as plainly as the paper says it, against the real one."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.schedulers.median import MedianRule

LOSSES = (0.1, 0.2, 0.3, 0.7, -0.1, 1.0, 1e300)
"""Few, so that many are equal; sums of most of them are not exact as floats."""


@dataclass(slots=True)
class PlainRule:
    """Everything that was ever said, looked at from the beginning at every report."""

    grace: float
    min_trials: int
    reports: dict[int, dict[float, float | None]] = field(default_factory=dict)
    completed: list[int] = field(default_factory=list)
    over: set[int] = field(default_factory=set)
    stopped: set[int] = field(default_factory=set)
    compared: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Averages and their median that a trial was compared with last."""

    def finite(self, trial: int, resource: float) -> list[float]:
        """Return the finite losses that a trial reported up to a resource."""
        return [
            loss
            for at, loss in self.reports[trial].items()
            if at <= resource and loss is not None and math.isfinite(loss)
        ]

    def reported(self, trial: int, resource: float, loss: float | None) -> bool:
        """Tell whether the trial must stop; a repeated report says nothing."""
        if trial in self.over or trial in self.stopped or resource in self.reports[trial]:
            return trial in self.stopped
        self.reports[trial][resource] = loss
        known = [self.finite(other, resource) for other in self.completed]
        averages = [statistics.mean(losses) for losses in known if losses]
        if resource < self.grace or len(averages) < self.min_trials:
            return False
        median = statistics.median(averages)
        self.compared[trial] = (len(averages), median)
        if min(self.finite(trial, resource), default=math.inf) > median:
            self.stopped.add(trial)
        return trial in self.stopped

    def finished(self, trial: int, loss: float | None) -> None:
        """The trial is over: completed, if it was not stopped and has a finite loss."""
        has_loss = loss is not None and math.isfinite(loss)
        if trial not in self.over and trial not in self.stopped and has_loss:
            self.completed.append(trial)
        self.over.add(trial)


def loss_of(source: random.Random) -> float | None:
    """Return one of few losses; now and then nothing finite."""
    if source.random() < 0.1:
        return source.choice((None, math.nan, math.inf, -math.inf))
    return source.choice(LOSSES)


def resource_of(source: random.Random, known: dict[float, float | None]) -> float:
    """Return the next resource that a trial reports at; now and then an old one once more."""
    if known and source.random() < 0.1:
        return source.choice(list(known))
    return max(known, default=0) + source.choice((0.5, 1, 1, 2))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    source=st.randoms(use_true_random=True),
    grace=st.sampled_from((0, 1, 2.5)),
    min_trials=st.sampled_from((1, 2, 3, 5)),
    steps=st.sampled_from((20, 60, 150)),
    sign=st.sampled_from((1, -1)),
)
def test_in_any_order_of_arrival(
    source: random.Random, grace: float, min_trials: int, steps: int, sign: int
) -> None:
    """Trials start, report, fail and end among each other; some things are said twice."""
    real = MedianRule(100, grace=grace, min_trials=min_trials)
    plain = PlainRule(grace, min_trials)
    running: list[int] = []
    for _ in range(steps):
        dice, trial = source.random(), source.choice(running) if running else 0
        if dice < 0.15 or not running:
            trial = len(plain.reports)
            real.started(trial, 0)
            plain.reports[trial] = {}
            running.append(trial)
        elif dice < 0.3:
            loss = loss_of(source)
            running.remove(trial)
            for said in (loss, loss, None if loss else 0.5)[: source.choice((1, 1, 2, 3))]:
                real.finished(trial, 0, said)
                plain.finished(trial, said)
        else:
            resource, loss = resource_of(source, plain.reports[trial]), loss_of(source)
            loss = None if loss is None else sign * loss

            assert real.reported(trial, resource, loss) is plain.reported(trial, resource, loss)
    for trial in plain.over:
        standing = real.standing(trial, 0)
        assert standing is not None
        others, median = plain.compared.get(trial, (0, None))
        has_place = others > 0 and (trial in plain.stopped or trial in plain.completed)
        assert (standing.size, standing.cutoff) == ((others + 1) * has_place, median)

"""What is optimised: one metric and its direction, turned into a loss that is always minimised."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Goal(Enum):
    """Which values of the metric are better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


@dataclass(frozen=True, slots=True)
class Objective:
    """The metric that trials are compared by."""

    metric: str
    goal: Goal = Goal.MINIMIZE

    def loss(self, value: float | None) -> float | None:
        """Return the loss of a reported value; None ranks last and is never promoted.

        NaN and both infinities give None, also the infinity in the direction of the goal: an
        infinitely good result is an overflow in the program, and one such trial would stay the
        best of the study for ever.
        """
        if value is None or not math.isfinite(value):
            return None
        # 0.0 - 0.0 is 0.0, whereas -(0.0) would be shown as -0.0.
        return value if self.goal is Goal.MINIMIZE else 0.0 - value

    def value(self, loss: float | None) -> float | None:
        """Return the value of the metric that has this loss."""
        return self.loss(loss)


RankingKey = tuple[bool, float, int, int]
"""What `ranking_key` returns."""


def ranking_key(loss: float | None, finish_sequence: int, trial: int) -> RankingKey:
    """Return the sort key of a result: by loss, then who finished first, then trial; None last.

    The order is total, so that exactly the wanted number of trials is best even among equals. A
    loss that is not finite counts as None: one NaN would leave a sorted list without any order.
    """
    if loss is None or not math.isfinite(loss):
        return (True, 0.0, finish_sequence, trial)
    return (False, loss, finish_sequence, trial)

"""Asynchronous Hyperband: every new trial is given a bracket, and each bracket runs ASHA.

The brackets get shares of the trials as in Hyperband (Li et al. 2018, Alg. 1): a trial is in the
bracket that begins at rung b with a probability in proportion to
``reduction_factor**(s_max - b) * (s_max + 1) / (s_max - b + 1)`` (Klein et al., "Model-based
Asynchronous Hyperparameter and Neural Architecture Search", 2020, appendix A), here with
Hyperband's integers, and without a lot.
"""

from __future__ import annotations

from collections.abc import Sequence

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, StartTrial
from slurmtune.core.resource import bracket_table, leading_brackets
from slurmtune.schedulers.asha import AshaBracket
from slurmtune.schedulers.bracket import BracketScheduler


class Shares:
    """Gives out brackets one by one, so that each always has about its share of all.

    Next is the bracket that lacks most (the largest remainder, the lower bracket of two): of n
    trials it should have ``n * share / total``. After ``total`` trials each bracket has exactly
    its share, and it begins anew.
    """

    def __init__(self, shares: Sequence[int]) -> None:
        self._shares = tuple(shares)
        self._total = sum(shares)
        self._counts = [0] * len(shares)

    def next(self) -> int:
        """Return the bracket of the next trial; see `take`."""
        given = sum(self._counts)
        rounds = given // self._total + 1
        # No bracket gets more than its share before all others have theirs.
        return max(
            (b for b, share in enumerate(self._shares) if self._counts[b] < rounds * share),
            key=lambda b: (given + 1) * self._shares[b] - self._counts[b] * self._total,
        )

    def take(self, bracket: int) -> None:
        """A trial was started in this bracket."""
        self._counts[bracket] += 1

    def most(self, bracket: int, trials: int) -> int:
        """Return how many of ``trials``, those that were given out included, it gets at most."""
        rounds = -(-trials // self._total)
        left = max(0, trials - sum(self._counts))
        return min(rounds * self._shares[bracket], self._counts[bracket] + left)


class AsyncHyperband(BracketScheduler):
    """As many brackets as rungs, or the first ``brackets``; bracket b begins at rung b.

    A trial is compared with those of its bracket only, also where two brackets share a rung's
    resource. Promotions come before new trials: first those from the highest rung, among equal
    rungs those of the lower bracket.
    """

    def __init__(
        self, levels: Sequence[Resource], reduction_factor: int, brackets: int | None = None
    ) -> None:
        super().__init__(levels, reduction_factor)
        plans = leading_brackets(bracket_table(levels, reduction_factor), brackets)
        self._brackets = [
            AshaBracket(len(self._levels), reduction_factor, first) for first in range(len(plans))
        ]
        self._shares = Shares([plan.trials for plan in plans])
        self._asked: StartTrial | None = None
        """What `decide` returned last, if it wants a trial."""

    def decide(self, *, may_start: bool) -> Decision | None:
        """Return the promotion from the highest possible rung, else a new trial."""
        self._asked = None
        for rung in range(self._last - 1, -1, -1):
            for bracket in self._brackets[: rung + 1]:
                promotion = bracket.promote_from(rung)
                if promotion is not None:
                    return promotion
        if not may_start:
            return None
        number = self._shares.next()
        self._asked = StartTrial(bracket=number, rung=self._brackets[number].first)
        return self._asked

    def started(self, trial: int, bracket: int) -> None:
        """Trial ``trial`` was started in ``bracket``; it is trained up to its first rung."""
        self._check_bracket(bracket)
        asked, self._asked = self._asked, None
        home = self._brackets[bracket]
        self._settle(trial, home, home.first if asked is None else asked.rung)
        self._shares.take(bracket)

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        """Return who can never go on if ``trials`` are the most, and what was gone on from.

        What was told stands for the limit that it was told under: under a larger one later, such
        a trial may be promoted all the same, and then trains from the start.
        """
        return [
            told
            for number, bracket in enumerate(self._brackets)
            for told in bracket.spare(self._shares.most(number, trials))
        ]

    def drop(self, rung: int) -> bool:
        """Send no further trial to ``rung`` in any bracket; False for the last one."""
        return all(bracket.drop(rung) for bracket in self._brackets)

    def _check_bracket(self, bracket: int) -> None:
        if not 0 <= bracket < len(self._brackets):
            raise ValueError(
                f"there are brackets 0 to {len(self._brackets) - 1}, no bracket {bracket}"
            )

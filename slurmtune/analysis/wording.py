"""Verdicts in words, in the user's metric and goal: the one place that makes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slurmtune.analysis.decisions import Entry, EntryKind, Prospect, Ruling
from slurmtune.core.events import Resource
from slurmtune.core.objective import Goal, Objective
from slurmtune.core.ports import Standing
from slurmtune.core.verdict import VerdictKind

_DIGITS = (4, 6, 9, 12, 17)
"""Significant digits to try until different numbers look different; 17 tell all apart."""
_RESOURCE = re.compile(r"\bresource\b(?: (\d+(?:\.\d+)?(?:e[+-]?\d+)?)\b)?")
"""How schedulers, which know no name for it, speak of the resource, such as ``resource 3``."""
_HEADS = {
    VerdictKind.RUNS_ON: "runs on",
    VerdictKind.PAUSED: "paused",
    VerdictKind.STOPPED: "stopped",
    VerdictKind.COMPLETED: "completed",
    VerdictKind.FAILED: "failed",
    VerdictKind.RUNG_DOUBTED: "says too little for what it costs",
    VerdictKind.RUNG_DROPPED: "dropped: no trial is compared there any more",
}
_ENDS = {
    "done": "nothing is left to do",
    "stopped": "stopped by the user",
    "gpu_hours": "stop.gpu_hours is used up",
    "wall_time": "stop.wall_time is over",
    "target": "stop.target is reached",
    "stall": "no better best since stop.stall trials",
}


def numbers(values: Iterable[float | None]) -> list[str]:
    """Return the numbers with four digits, or as many more as tell different ones apart.

    None becomes ``-``.
    """
    found = list(values)
    different = len({value for value in found if value is not None})
    for digits in _DIGITS:
        texts = ["-" if value is None else f"{value:.{digits}g}" for value in found]
        if len({text for text in texts if text != "-"}) == different:
            break
    return texts


def ordinal(number: int) -> str:
    """Return ``1st``, ``2nd``, ``13th``."""
    if number % 100 in {11, 12, 13}:
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def origin(name: str) -> str:
    """Return where a config comes from."""
    return "a start point of the spec" if name == "start" else f"drawn by {name}"


@dataclass(frozen=True, slots=True)
class Wording:
    """How the decisions of one study are told."""

    objective: Objective
    resource: str = ""
    """Name of one unit, such as ``epoch``; empty where trials are not cut into rungs."""
    resources: str = ""
    """Name of several."""

    @property
    def better(self) -> str:
        """Which values are better: ``lower`` or ``higher``."""
        return "lower" if self.objective.goal is Goal.MINIMIZE else "higher"

    def amount(self, resource: Resource | None, rung: int) -> str:
        """Return ``9 epochs``, or ``rung 2`` where there is no resource."""
        if resource is None or not self.resource:
            return f"rung {rung}"
        return f"{resource:.12g} {self.resource if resource == 1 else self.resources}"

    def ruling(self, one: Ruling) -> str:
        """Return a verdict as one sentence.

        Such as ``promoted to 9 epochs: val_loss 0.41, 2nd of 9; the best 1/3 of the rung go on:
        3 places, val_loss at most 0.42``.
        """
        verdict, standing = one.verdict, one.verdict.standing
        if verdict.trial is None:
            head = f"rung {verdict.rung} {_HEADS[verdict.kind]}"
            return f"{head}: {verdict.note}" if verdict.note else head
        value, cutoff, best = numbers([one.value, one.cutoff, one.best])
        seen = [] if one.value is None else [f"{self.objective.metric} {value}"]
        rule = outlook = ""
        # What was seen when a trial was told to stop says nothing of the end that it came to.
        if standing is not None and not (one.is_late and verdict.kind is VerdictKind.COMPLETED):
            place = _place(standing, one.value)
            seen.append(place if one.best is None else f"by {best} {place}")
            rule = self._rule(standing, None if one.cutoff is None else cutoff)
            if verdict.kind is VerdictKind.PAUSED and _has_no_place(standing):
                rule += ": no place yet"
            # Of a stop that came too late the words of the scheduler would not be true.
            outlook = "" if one.is_late else self._named(standing.outlook)
        told = [", ".join(filter(None, seen)), rule, outlook, verdict.note]
        words = "; ".join(filter(None, told))
        return f"{self._head(one)}: {words}" if words else self._head(one)

    def prospect(self, one: Prospect, value: float | None) -> str:
        """Return how a paused trial stands now and what has to happen for it to go on."""
        head = f"paused at {self.amount(one.resource, one.rung)}"
        if one.standing is None:
            return f"{head}; its scheduler does not tell how it stands"
        _, cutoff = numbers([value, one.cutoff])
        rule = self._rule(one.standing, None if one.cutoff is None else cutoff)
        if _has_no_place(one.standing):
            rule += ": no place yet"
        told = [_place(one.standing, value), rule, self._named(one.standing.outlook)]
        return f"{head}: {'; '.join(filter(None, told))}"

    def entry(self, one: Entry) -> str:
        """Return a line of the ledger, without its time and its trial."""
        if one.ruling is not None:
            return self.ruling(one.ruling)
        end = _ENDS.get(one.detail, one.detail)
        match one.kind:
            case EntryKind.OPENED:
                return "the study is opened"
            case EntryKind.STARTED:
                return f"started: {origin(one.detail)}"
            case EntryKind.REPEATED:
                return f"repeated as {one.detail}"
            case EntryKind.EXHAUSTED:
                return "there is no further config"
            case EntryKind.STOP:
                return "the user stops it" if one.trial is not None else "the user stops the study"
            case EntryKind.HALTED | EntryKind.LIMIT:
                return f"nothing new is decided: {end}"
            case _:
                return f"the study ends: {end}"

    def _head(self, one: Ruling) -> str:
        kind, rung = one.verdict.kind, one.verdict.rung
        if kind is VerdictKind.PROMOTED:
            return f"promoted to {self.amount(one.next_resource, one.next_rung)}"
        where = self.amount(one.resource, rung)
        if one.measured is not None and kind is VerdictKind.FAILED:
            return f"failed after {self.amount(one.measured, rung)}, on its way to {where}"
        if one.measured is not None:
            where += f" (reported at {self.amount(one.measured, rung)})"
        if one.is_late and kind is VerdictKind.STOPPED:
            return f"told to stop at {where}"
        if one.is_late:
            return f"had finished before it could, at {where}"
        return f"{_HEADS[kind]} at {where}"

    def _named(self, words: str) -> str:
        """Return a scheduler's words with the name of the resource in them."""
        if not self.resource:
            return words
        return _RESOURCE.sub(
            lambda found: self.amount(float(found[1]), 0) if found[1] else self.resource, words
        )

    def _rule(self, standing: Standing, cutoff: str | None) -> str:
        """Return who may go on; of the last rung only that it is the last."""
        parts = []
        if standing.places:
            parts.append("1 place" if standing.places == 1 else f"{standing.places} places")
        if cutoff is not None:
            bound = "at most" if self.objective.goal is Goal.MINIMIZE else "at least"
            parts.append(f"{self.objective.metric} {bound} {cutoff}")
        rule = self._named(standing.rule)
        return f"{rule}: {', '.join(parts)}" if parts else rule


def _has_no_place(standing: Standing) -> bool:
    """Tell whether nobody could go on so far, and a place may still come."""
    is_open = standing.size > 0 and not standing.outlook.startswith("never")
    return is_open and not standing.places and standing.cutoff is None


def _place(standing: Standing, value: float | None) -> str:
    """Return the place among those that were compared; empty when nobody was."""
    if not standing.size:
        return ""
    if standing.place is not None:
        # Some schedulers compare a trial with others only, and do not count it.
        return f"{ordinal(standing.place + 1)} of {max(standing.size, standing.place + 1)}"
    return "" if value is not None else f"no finite result, so ranked last of {standing.size}"

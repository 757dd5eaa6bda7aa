"""Which checkpoints nobody needs any more: removed are only those of which that is certain.

A checkpoint is needed while its trial may be trained on from it, while another trial may start
from it, or while the user wants it to stay (``[checkpoint] keep``). Of a trial that goes on the
newest two are kept, since the newest may turn out to be damaged. What the best trials saved stays
under every rule, so that nothing that is reported as best is ever removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slurmtune.core.actions import DropCheckpoints
from slurmtune.core.record import TrialRecord
from slurmtune.core.trial import TrialState

_SPARE_COPIES = 2
"""Checkpoints of a trial that goes on."""
KEEP_ALL, KEEP_NONE, KEEP_PROMOTED, KEEP_BEST = "all", "none", "promoted", "best"


def best_count(keep: str) -> int:
    """Return how many of the best trials keep their checkpoint under ``[checkpoint] keep``."""
    rule, _, count = keep.partition(":")
    return max(1, int(count)) if rule == KEEP_BEST else 1


class Collection:
    """Finds checkpoints to remove. Looks only at trials about which something changed."""

    def __init__(self, *, copies: bool, races: bool = False) -> None:
        self._copies = copies
        """Whether trials start from what others saved."""
        self._races = races
        """Whether a trial that has completed its rungs may turn out to be the best only later."""
        self._best: frozenset[int] = frozenset()
        self._changed: dict[int, None] = {}
        self._dropping: dict[int, set[str]] = {}
        """By trial, what was asked to be removed and is not confirmed."""

    def look_at(self, trial: int) -> None:
        """Something changed about what this trial needs."""
        self._changed[trial] = None

    def look_at_best(self, best: frozenset[int]) -> None:
        """These trials are the best now."""
        for number in best ^ self._best:
            self.look_at(number)
        self._best = best

    def confirm(self, trial: int, names: Sequence[str]) -> bool:
        """These were removed; tell whether any was asked to be."""
        waiting = self._dropping.get(trial, set())
        was_asked = not waiting.isdisjoint(names)
        waiting.difference_update(names)
        if not waiting:
            self._dropping.pop(trial, None)
        return was_asked

    def pending(self) -> list[DropCheckpoints]:
        """Return what was asked and is not confirmed."""
        return [
            DropCheckpoints(trial=trial, names=tuple(sorted(names)))
            for trial, names in self._dropping.items()
        ]

    @property
    def has_changes(self) -> bool:
        """Whether there is a trial to look at."""
        return bool(self._changed)

    def drops(self, trials: Sequence[TrialRecord], keep: str) -> list[DropCheckpoints]:
        """Return what became unnecessary since the last call; its trial forgets it at once."""
        actions = []
        # In an order that does not hang on how they were found: it is part of the journal.
        changed = self._with_sources(trials) if self._copies else self._changed
        for number in sorted(changed):
            trial = trials[number]
            goes_on = self._goes_on(trial)
            newest = _SPARE_COPIES if goes_on else int(self._stays(trial, keep))
            if len(trial.saved) <= newest:
                continue
            needed = self._needed(trial, trials, keep, newest=newest, goes_on=goes_on)
            names = tuple(one.name for one in trial.saved if one.name not in needed)
            if names:
                trial.forget_checkpoints(names)
                self._dropping.setdefault(number, set()).update(names)
                actions.append(DropCheckpoints(trial=number, names=names))
        self._changed.clear()
        return actions

    def _with_sources(self, trials: Sequence[TrialRecord]) -> dict[int, None]:
        """Return what changed, and whose checkpoints that may have lived on."""
        found = dict(self._changed)
        for number in self._changed:
            source = trials[number].source
            while source is not None and source not in found:
                found[source] = None
                source = trials[source].source
        return found

    def _needed(
        self,
        trial: TrialRecord,
        trials: Sequence[TrialRecord],
        keep: str,
        *,
        newest: int,
        goes_on: bool,
    ) -> frozenset[str]:
        """Return what is needed: the newest so many, and what the trial or an heir starts from."""
        names = [one.name for one in trial.saved]
        needed = set(names[len(names) - newest :])
        if goes_on:
            needed.update(a.checkpoint for a in trial.attempts if a.is_live and a.checkpoint)
        if self._copies:
            needed.update(_by_name(trial.rung_checkpoints, trial.spare_rungs))
            needed |= self._lent(trial, trials, keep, frozenset(names))
        return frozenset(needed)

    def _lent(
        self,
        donor: TrialRecord,
        trials: Sequence[TrialRecord],
        keep: str,
        names: frozenset[str],
    ) -> set[str]:
        """Return those of ``names`` that heirs of the donor, and their heirs, have need of.

        An heir that saves nothing lives on what it took over, and hands it on.
        """
        found: set[str | None] = set()
        for number in donor.heirs:
            heir = trials[number]
            found.add(_inherited(heir, donor.rung_checkpoints))
            found.update(attempt.checkpoint for attempt in heir.attempts if attempt.is_live)
            if self._goes_on(heir) or self._stays(heir, keep):
                found.add(heir.checkpoint)
            found |= _by_name(heir.rung_checkpoints, heir.spare_rungs)
            if not names.isdisjoint(_by_name(heir.rung_checkpoints, set())):
                found |= self._lent(heir, trials, keep, names)
        return {name for name in names if name in found}

    def _goes_on(self, trial: TrialRecord) -> bool:
        """Tell whether the trial is, or may still be, trained on."""
        if trial.state.is_final:
            return False
        is_on_its_way = trial.target_rung > trial.finished_rung
        return is_on_its_way or trial.finished_rung not in trial.spare_rungs

    def _stays(self, trial: TrialRecord, keep: str) -> bool:
        if trial.number in self._best or keep == KEEP_ALL:
            return True
        is_completed = trial.state is TrialState.COMPLETED
        if self._races and is_completed and trial.finished_rung not in trial.spare_rungs:
            return True
        return keep == KEEP_PROMOTED and trial.finished_rung > trial.first_rung


def _by_name(
    checkpoints: Mapping[int, tuple[str, object]], spare_rungs: set[int]
) -> frozenset[str]:
    return frozenset(name for rung, (name, _) in checkpoints.items() if rung not in spare_rungs)


def _inherited(heir: TrialRecord, checkpoints: Mapping[int, tuple[str, object]]) -> str | None:
    """Return what the heir may still have to start from: until it has finished a rung itself."""
    if heir.state.is_final or heir.finished_rung >= heir.first_rung:
        return None
    found = checkpoints.get(heir.first_rung - 1)
    return None if found is None else found[0]

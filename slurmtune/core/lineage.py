"""The ancestors of a trial that continues the training of another: its schedule of configs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slurmtune.core.events import Config, Resource, Scalar
from slurmtune.core.ids import trial_id
from slurmtune.core.record import TrialRecord
from slurmtune.core.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value that differs from the donor's; None where the hyperparameter is absent."""

    name: str
    old: Scalar | None
    new: Scalar | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The part of a training that ran with one trial's config."""

    trial: int
    config: Config
    rung: int
    """First rung that was finished with this config."""
    start: Resource
    """Resource from which on."""
    end: Resource | None
    """Resource up to which it trained, or is to be trained; None where there are none."""
    changes: tuple[Change, ...]
    """Against the stage before; empty for the first."""


def lineage(study: Study, number: int) -> tuple[Stage, ...]:
    """Return the stages of a trial's training, oldest first; the last one is the trial's own."""
    chain = [study.trials[number]]
    while (source := chain[-1].source) is not None:
        chain.append(study.trials[source])
    chain.reverse()
    heirs: Sequence[TrialRecord | None] = [*chain[1:], None]
    stages: list[Stage] = []
    start: Resource = 0
    for trial, heir in zip(chain, heirs, strict=True):
        ladder = study.scheduler.ladder(trial.bracket)
        last = max(trial.finished_rung, trial.target_rung) if heir is None else heir.first_rung - 1
        end = ladder[last]
        stages.append(
            Stage(
                trial=trial.number,
                config=trial.config,
                rung=trial.first_rung,
                start=start,
                end=end,
                changes=changes(stages[-1].config, trial.config) if stages else (),
            )
        )
        start = 0 if end is None else end
    return tuple(stages)


def changes(old: Config, new: Config) -> tuple[Change, ...]:
    """Return the values that differ between two configs, in the order of the new one."""
    names = [*new, *(name for name in old if name not in new)]
    return tuple(
        Change(name=name, old=old.get(name), new=new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    )


def heir_record(study: Study, number: int) -> dict[str, Any]:
    """Return where an heir comes from, as one line of ``lineage.jsonl``.

    ``trial`` goes on from what ``parent`` had saved at ``resource``, with ``config``; ``changed``
    holds old and new value of what differs from the parent's.
    """
    heir = study.trials[number]
    assert heir.source is not None
    parent = study.trials[heir.source]
    checkpoint, resource = parent.rung_checkpoints.get(heir.first_rung - 1, (None, 0))
    return {
        "trial": trial_id(number),
        "parent": trial_id(parent.number),
        "rung": heir.first_rung - 1,
        "resource": resource,
        "checkpoint": checkpoint,
        "config": dict(heir.config),
        "changed": {
            change.name: [change.old, change.new] for change in changes(parent.config, heir.config)
        },
    }

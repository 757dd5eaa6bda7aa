"""The best trial and the end of a study in words: the same text for ``best`` and ``launch``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slurmtune.cli import output, text
from slurmtune.cli.study import Overview, checkpoint_path
from slurmtune.core.trial import Outcome, TrialState
from slurmtune.store.layout import StudyLayout

if TYPE_CHECKING:
    from slurmtune.core.study import Study


HAPPENED = {
    Outcome.FAILED: "failed",
    Outcome.TIMEOUT: "reached its time limit",
    Outcome.PREEMPTED: "was pre-empted",
    Outcome.OUT_OF_MEMORY: "ran out of memory",
    Outcome.NODE_FAILED: "lost its node",
    Outcome.CANCELLED: "was stopped",
    Outcome.LOST: "was lost",
}
"""What became of an attempt, after its name."""
_LIMITS = {
    "gpu_hours": "stop.gpu_hours is used up",
    "wall_time": "stop.wall_time is over",
    "target": "stop.target is reached",
    "stall": "no better best since stop.stall trials",
}
"""Limits of ``[stop]`` that ended a study."""
_NUMBER = re.compile(r"\d[\d.]*(?:e[+-]?\d+)?")


def best_headline(overview: Overview) -> str:
    """Return ``t00033   val_loss 0.1873 at 27 of 27 epochs``; only for an overview with a best."""
    best = overview["best"]
    values = "  ".join(f"{name} {text.metric(v)}" for name, v in best["values"].items())
    words = f"{output.paint(best['trial'], 'accent')}   {output.paint(values, 'bold')}"
    return words + at_resource(overview, best["resource"], best["top_resource"])


def best_text(overview: Overview, layout: StudyLayout) -> str:
    """Return the best trial: value, config, where its checkpoint is."""
    best = overview["best"]
    ranges = _ranges_of_the_best(best)
    values = {name: text.value(item) for name, item in best["params"].items()}
    wide = max((len(words) for words in values.values()), default=0)
    entries = {
        name: f"{words:<{wide}}   {ranges[name]}" if name in ranges else words
        for name, words in values.items()
    }
    if best.get("next"):
        entries["next"] = ", ".join(
            f"{other['trial']} {text.metric(value)}"
            for other in best["next"][:3]
            for value in other["values"].values()
        )
    if best.get("checkpoint"):
        entries["ckpt"] = text.short_path(checkpoint_path(layout, best["checkpoint"]))
    width = max((len(name) for name in entries), default=0)
    lines = [f"{name:<{width}}  {words}" for name, words in entries.items()]
    return "\n".join([best_headline(overview), *(line.rstrip() for line in lines)])


def _ranges_of_the_best(best: Mapping[str, Any]) -> dict[str, str]:
    """Return the range of each numeric hyperparameter within the best few trials."""
    others = best.get("next") or []
    ranges = {}
    for name, value in best["params"].items():
        numbers = [trial["params"].get(name) for trial in (best, *others)]
        known = [n for n in numbers if isinstance(n, (int, float)) and not isinstance(n, bool)]
        if others and isinstance(value, (int, float)) and len(known) == len(numbers):
            low, high = text.value(min(known)), text.value(max(known))
            ranges[name] = f"within the best {len(known)}: {low} .. {high}"
    return ranges


def at_resource(overview: Overview, resource: float | None, top: float | None) -> str:
    """Return `` at 9 of 27 epochs``; empty when trials are not trained by a resource."""
    word = overview["resource"]
    if resource is None or not word:
        return ""
    of = "" if top is None else f" of {text.resource(top)}"
    unit = word if (top or resource) == 1 else text.many(word)
    return f" at {text.resource(resource)}{of} {unit}"


def missed_top(best: Mapping[str, Any]) -> float | None:
    """Return the top resource if the best trial was to train for it and no report came there.

    None where ``at 9 epochs`` says it all.
    """
    level: float | None = best.get("level", best["resource"])
    return level if level != best["resource"] else None


def counts(overview: Overview) -> str:
    """Return ``81 of 81 trials, 80 good, 1 failed; 12 stopped early``.

    Good is who has a finite result and did not fail, also one who was stopped early. The overview
    may be of an older version.
    """
    trials = overview["trials"]
    words = f"{started(overview)}, {trials['good']} good"
    if without := trials.get("without_result", 0):
        words += f", {without} without a finite {text.printable(overview['metric'])}"
    if trials["failed"]:
        words += f", {trials['failed']} failed"
    if stopped := trials.get("stopped", 0):
        words += f"; {stopped} stopped early"
    return words


def started(overview: Overview) -> str:
    """Return ``7 of 81 trials``; where the scheduler decides how many, ``7 of at most 18``.

    Where it is known how many are likely: ``7 of about 12 trials (at most 18)``.
    """
    trials = overview["trials"]
    begun, total, likely = trials["started"], trials["total"], trials.get("expected")
    if trials.get("at_most") is not True:
        return f"{begun} of {text.plural(total, 'trial')}"
    if isinstance(likely, int) and begun <= likely < total:
        return f"{begun} of about {text.plural(likely, 'trial')} (at most {total})"
    return f"{begun} of at most {text.plural(total, 'trial')}"


def gpu_hours(overview: Overview) -> str:
    """Return ``31.4 GPU-h``, or nothing when no GPUs were asked for."""
    used = overview["gpu_hours"]["used"]
    return f"{used:.1f} GPU-h" if used >= 0.05 else ""


def commonest_causes(study: Study, most: int = 3) -> list[str]:
    """Return the commonest causes of failed trials, each with its count."""
    causes: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for trial in study.trials:
        attempt = trial.last_attempt
        if trial.state is TrialState.FAILED and attempt is not None:
            cause = text.printable(attempt.cause) or "no cause is known"
            # The same error with another number in it is the same error.
            kind = _NUMBER.sub("N", cause)
            causes[kind] += 1
            examples.setdefault(kind, cause)
    return [f"{count} x  {examples[kind]}" for kind, count in causes.most_common(most)]


def ending(overview: Overview) -> str:
    """Return how a study ended: the limit that did it, if one did, and the counts."""
    limit = overview.get("limit", "")
    told = _LIMITS.get(limit, text.printable(limit))
    return f"{told}: {counts(overview)}" if told else counts(overview)


def end_reason(reason: str, overview: Mapping[str, Any]) -> str:
    """Return why a study ended, in words."""
    words = {
        "done": "done",
        "stopped": "stopped",
        "paused": "paused",
        **{limit: f"ended: {told}" for limit, told in _LIMITS.items()},
    }.get(reason, reason)
    detail = text.printable(str(overview.get("reason") or ""))
    return f"{words}: {detail}" if detail and reason == "paused" else words

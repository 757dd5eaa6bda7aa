"""``slurmtune show TRIAL``: everything about one trial."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurmtune.analysis.reported import newest_metrics
from slurmtune.cli import output, study, text, trials
from slurmtune.cli.options import JsonOption, parse_trial, study_and_trial
from slurmtune.core.ids import trial_id
from slurmtune.core.objective import ranking_key
from slurmtune.core.overview import is_total_a_bound, total_trials
from slurmtune.core.trial import AttemptState, Outcome
from slurmtune.errors import UsageError
from slurmtune.store.layout import StudyLayout

if TYPE_CHECKING:
    from slurmtune.core.record import AttemptRecord, TrialRecord
    from slurmtune.core.study import Study

_SHOWN_METRICS = 12
"""Of one attempt, besides the objective."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="show")(show)


def show(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STUDY] TRIAL", help="Such as t0017 or 17.", show_default=False),
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Show one trial: its values, its attempts, its files, the command to repeat it.

    \b
    Examples
      slurmtune show t0017
      slurmtune show runs/asha 17 --json
    """
    name, wanted = study_and_trial(words)
    if wanted is None:
        raise UsageError("which trial? Such as  slurmtune show t0017")
    number, _ = parse_trial(wanted)
    layout = study.find(name)
    whole = study.read_study(layout)
    study.must_exist(whole, number)
    trial = whole.trials[number]
    identity = study.identity(layout)
    if json:
        output.say_json(_data(whole, trial, layout, identity))
        return
    word = str((identity.get("spec", {}).get("fidelity") or {}).get("resource", ""))
    lines = [_headline(whole, trial, word), _config(whole, trial)]
    if trial.source is not None:
        lines += ["", *schedule(whole, number, word)]
    if trial.attempts:
        lines += ["", _attempts(whole, trial, word), *_also(whole, trial, layout)]
    cause = trial.attempts[-1].cause if trial.attempts else ""
    if cause:
        lines.append(text.wrap(text.printable(cause), first="cause   ", rest=" " * 8))
    lines += ["", f"files   {text.short_path(layout.trial(number))}"]
    if trial.checkpoint:
        path = study.checkpoint_path(layout, trial.checkpoint)
        lines.append(f"ckpt    {text.short_path(path)}")
    notes = []
    if identity.get("spec", {}).get("run", {}).get("args") == "none":
        notes.append("asks slurmtune for the values above")
    if part := _part(whole, trial, word):
        notes.append(part)
    note = f"     ({'; '.join(notes)})" if notes else ""
    lines.append(f"again   {shlex.join(command_of(identity, layout, trial))}{note}")
    output.say("\n".join(lines))


def _part(whole: Study, trial: TrialRecord, word: str) -> str:
    """Return which fold, or other instance, the command repeats, where each is a rung.

    The program learns that from its environment, so its arguments need not tell.
    """
    attempt = trial.last_attempt
    if not whole.scheduler.separate_rungs or attempt is None or attempt.end is None:
        return ""
    below = whole.scheduler.ladder(trial.bracket)[attempt.rung - 1] if attempt.rung else None
    begin, name = below or 0, word or "resource"
    if attempt.end - begin == 1:
        return f"{name} {text.resource(attempt.end)} alone"
    return f"{text.many(name)} {text.resource(begin)} -> {text.resource(attempt.end)}"


def command_of(identity: dict[str, Any], layout: StudyLayout, trial: TrialRecord) -> list[str]:
    """Return the argument list of the newest attempt of a trial, as its slot builds it."""
    from slurmtune.worker.command import build_argv

    spec = identity.get("spec", {})
    run = spec.get("run", {})
    attempt = trial.last_attempt
    args = run.get("args", "gnu")
    named = attempt.id if attempt is not None else f"{trial_id(trial.number)}.r0.a1"
    ends = attempt is not None and attempt.end is not None
    context = {
        "start": "" if attempt is None else text.resource(attempt.start),
        "end": text.resource(attempt.end) if attempt is not None and ends else "",
        "resource": str((spec.get("fidelity") or {}).get("resource", "")),
        "config": layout.config(named),
        "trial": trial_id(trial.number),
        "rung": str(trial.target_rung),
    }
    if run.get("function"):
        return ["python", "-m", "slurmtune.worker.call", str(run["function"])]
    return build_argv(
        run.get("command") or "",
        shell=False,
        args=args if args in {"gnu", "hydra", "json", "none"} else {"template": args},
        config=trial.config,
        context=context,
    )


def schedule(whole: Study, number: int, word: str) -> list[str]:
    """Return the configs that the training of an heir went through, one line each."""
    from slurmtune.core.lineage import lineage

    stages = lineage(whole, number)
    rows = [["lineage", "rung", text.many(word) or "resource", "config"]]
    for stage in stages:
        told = text.params(stage.config)
        if stage is not stages[0]:
            told = "  ".join(
                f"{change.name} {text.value(change.old)} -> {text.value(change.new)}"
                for change in stage.changes
            )
        span = f"{text.resource(stage.start)} -> {text.resource(stage.end)}"
        rows.append([trial_id(stage.trial), str(stage.rung), span, told or "as before"])
    return text.table(rows, "<><<").splitlines()


def lineage_data(whole: Study, number: int) -> list[dict[str, Any]]:
    """Return the configs that the training of a trial went through, oldest first."""
    from slurmtune.core.lineage import lineage

    return [
        {
            "trial": trial_id(stage.trial),
            "rung": stage.rung,
            "start": stage.start,
            "end": stage.end,
            "params": dict(stage.config),
            "changes": {
                change.name: {"old": change.old, "new": change.new} for change in stage.changes
            },
        }
        for stage in lineage(whole, number)
    ]


def _headline(whole: Study, trial: TrialRecord, word: str) -> str:
    attempt = trial.last_attempt
    parts = [output.paint(trial_id(trial.number), "accent")]
    promotions = len({one.rung for one in trial.attempts}) - 1
    state = trials.row(whole, trial)["state"]
    if promotions > 0:
        parts.append(f"promoted {promotions} time{'s' if promotions > 1 else ''}; now {state}")
    else:
        parts.append(state)
    if attempt is not None and attempt.is_live:
        span = ""
        if attempt.end is not None and word:
            ends = f"{text.resource(attempt.start)} -> {text.resource(attempt.end)}"
            span = f" ({ends} {text.many(word)})"
        place = f", job {attempt.job} on {attempt.host}" if attempt.job else ""
        parts.append(f"at rung {whole.rung_of(trial)}{span}{place}")
    return f"{parts[0]}   {' '.join(parts[1:])}"


def _config(whole: Study, trial: TrialRecord) -> str:
    # How many a population or a race starts nobody knows before its end.
    of = "" if is_total_a_bound(whole) else f" of {total_trials(whole)}"
    drawn = f"drawn by {trial.origin} (trial {trial.number}{of})"
    if trial.source is not None:
        drawn += f", heir of {trial_id(trial.source)}"
    return text.wrap(f"{text.params(trial.config)}    {drawn}", first="", rest="")


def _attempts(whole: Study, trial: TrialRecord, word: str) -> str:
    """Return the table of attempts; where each rung is an evaluation of its own, with the mean."""
    metric = whole.settings.objective.metric
    titles = ["rung", text.many(word), "job", "node", "waited", "ran", metric, "mean", "ended"]
    rows = [titles, *(_attempt_row(whole, trial, attempt) for attempt in trial.attempts)]
    hidden = set() if word else {1}
    hidden |= set() if whole.scheduler.separate_rungs else {7}
    shown = [[cell for i, cell in enumerate(row) if i not in hidden] for row in rows]
    sides = "".join(side for i, side in enumerate(">><<>>>><") if i not in hidden)
    return text.table(shown, sides)


def _also(whole: Study, trial: TrialRecord, layout: StudyLayout) -> list[str]:
    """Return what attempts reported besides the objective, the newest values, one line each."""
    lines: list[str] = []
    for attempt in trial.attempts:
        found = newest_metrics(layout, attempt.id)
        found.pop(whole.settings.objective.metric, None)
        words = [f"{text.printable(name)} {text.metric(value)}" for name, value in found.items()]
        if len(words) > _SHOWN_METRICS:
            words[_SHOWN_METRICS:] = [f"and {len(words) - _SHOWN_METRICS} more: --json"]
        if words:
            first = f"{'' if lines else 'also':8}rung {attempt.rung}: "
            lines.append(text.wrap("  ".join(words), first=first, rest=" " * len(first)))
    return lines


def _attempt_row(whole: Study, trial: TrialRecord, attempt: AttemptRecord) -> list[str]:
    waited, ran = "-", "-"
    if attempt.started_time is not None:
        waited = text.stopwatch(attempt.started_time - attempt.queued_time)
        ran = text.stopwatch(attempt.seconds) if attempt.seconds else "-"
    return [
        str(attempt.rung),
        text.resource(attempt.end),
        attempt.job or "-",
        text.printable(attempt.host) or "-",
        waited,
        ran,
        text.metric(attempt.value),
        text.metric(trial.values.get(attempt.rung)),
        _ended(whole, trial, attempt),
    ]


def _ended(whole: Study, trial: TrialRecord, attempt: AttemptRecord) -> str:
    if attempt.state is not AttemptState.ENDED:
        if attempt.state is AttemptState.RUNNING:
            reached = "" if attempt.resource is None else f", at {text.resource(attempt.resource)}"
            return f"running{reached}"
        return "waiting"
    if attempt.outcome is not Outcome.SUCCEEDED:
        code = "" if attempt.exit_code is None else f", exit code {attempt.exit_code}"
        words = "" if attempt.outcome is None else attempt.outcome.value.lower().replace("_", " ")
        return f"{words}{code}"
    rank, of = rank_at(whole, trial.number, attempt.rung)
    words = "ok" if rank is None else f"ok, {text.ordinal(rank)} of {of}"
    is_promoted = any(one.rung > attempt.rung for one in trial.attempts)
    return f"{words}, promoted" if is_promoted else words


def rank_at(whole: Study, number: int, rung: int) -> tuple[int | None, int]:
    """Return the rank of a trial at a rung, and of how many; 0 when nobody ranks it there.

    It is ranked as its scheduler has it now, which `explain` tells too. Where that is no rank of
    results at the rung: among all results there in its bracket.
    """
    trial, scheduler = whole.trials[number], whole.scheduler
    if trial.stopped_rung is not None and rung > trial.stopped_rung:
        return None, 0  # it was not admitted there
    stops_by_reports = scheduler.watches and scheduler.runs_through
    standing = None if stops_by_reports else scheduler.standing(number, rung)
    if standing is not None:
        place = standing.place if standing.size else None
        return (None if place is None else place + 1), standing.size
    loss = whole.settings.objective.loss
    found = sorted(
        (ranking_key(loss(other.values[rung]), 0, other.number), other.number)
        for other in whole.trials
        if rung in other.values and other.bracket == trial.bracket
    )
    order = [one for _, one in found]
    return (order.index(number) + 1 if number in order else None), len(order)


def _data(
    whole: Study, trial: TrialRecord, layout: StudyLayout, identity: dict[str, Any]
) -> dict[str, Any]:
    return {
        **trials.row(whole, trial),
        "dir": layout.trial(trial.number),
        "command": command_of(identity, layout, trial),
        "source": None if trial.source is None else trial_id(trial.source),
        "lineage": lineage_data(whole, trial.number),
        "attempts": [
            {
                "attempt": attempt.id,
                "rung": attempt.rung,
                "start": attempt.start,
                "end": attempt.end,
                "state": attempt.state.value,
                "outcome": None if attempt.outcome is None else attempt.outcome.value,
                "exit_code": attempt.exit_code,
                "job": attempt.job,
                "node": attempt.host,
                "queued": text.iso_utc(attempt.queued_time),
                "started": text.iso_utc(attempt.started_time),
                "ended": text.iso_utc(attempt.ended_time),
                "seconds": attempt.seconds,
                "resource": attempt.resource,
                "value": attempt.value,
                "metrics": newest_metrics(layout, attempt.id),
                "cause": attempt.cause,
                "tail": list(attempt.tail),
                "output": os.path.join(layout.attempt(attempt.id), "output.log"),
            }
            for attempt in trial.attempts
        ],
    }

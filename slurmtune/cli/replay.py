"""``slurmtune replay``: all decisions of a study in order, and the proof that they follow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurmtune.cli import output, study, text
from slurmtune.cli.options import JsonOption, StudyArgument, parse_trial
from slurmtune.core.ids import trial_id
from slurmtune.errors import StudyStateError, UsageError
from slurmtune.store.layout import StudyLayout

if TYPE_CHECKING:
    from slurmtune.analysis.decisions import Entry, Ruling
    from slurmtune.analysis.recompute import Check, Drawing
    from slurmtune.analysis.wording import Wording
    from slurmtune.core.ports import Standing

EXIT_DIFFERS = 1
_KINDS = {
    "Propose": "configs asked for",
    "Offer": "attempts put on offer",
    "Withdraw": "offers taken back",
    "StopAttempt": "attempts told to stop",
    "DropCheckpoints": "removals of checkpoints",
    "Finish": "ends of the study",
    "PROMOTED": "promotions",
    "RUNS_ON": "trials let run on",
    "PAUSED": "pauses",
    "STOPPED": "stops",
    "COMPLETED": "completions",
    "FAILED": "failures",
    "RUNG_DOUBTED": "doubts about a rung",
    "RUNG_DROPPED": "rungs left out",
}
_SHOWN_MISSING = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="replay")(replay)


def replay(
    name: StudyArgument = None,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Recompute all decisions from the raw results.")
    ] = False,
    trial: Annotated[
        str | None,
        typer.Option("--trial", metavar="TRIAL", help="Only about it.", show_default=False),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="With --check: where raw results are gone, believe."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Print every decision of a study in order, or check that each one follows.

    \b
    Examples
      slurmtune replay --trial t0017
      slurmtune replay --check

    Exit code 1 when something does not agree, or when the raw results of an attempt are missing.
    """
    if check and trial is not None:
        raise UsageError("--check is about the whole study: leave --trial out")
    if allow_missing and not check:
        raise UsageError("--allow-missing belongs to --check")
    layout = study.find(name)
    if check:
        _check(layout, allow_missing=allow_missing, as_json=json)
    else:
        _ledger(layout, None if trial is None else parse_trial(trial)[0], as_json=json)


# ---------------------------------------------------------------- the ledger


def _ledger(layout: StudyLayout, number: int | None, *, as_json: bool) -> None:
    from slurmtune.analysis import decisions
    from slurmtune.spec import launching

    whole, records = launching.read_journal(layout)
    entries = decisions.ledger(whole, records, number)
    if number is not None:
        study.must_exist(whole, number)
    words = study.wording(layout, whole)
    if as_json:
        head = _head("slurmtune.ledger/1", layout)
        output.say_json({**head, "decisions": [_entry_json(words, one) for one in entries]})
        return
    for one in entries:
        output.say(_line(words, one))
    if not entries:
        output.say("nothing was decided yet")


def _line(words: Wording, one: Entry) -> str:
    who = "" if one.trial is None else trial_id(one.trial)
    told = text.printable(words.entry(one))
    return f"{text.iso_local(one.time)}  {output.paint(f'{who:<7}', 'accent')} {told}"


def _entry_json(words: Wording, one: Entry) -> dict[str, Any]:
    data: dict[str, Any] = {
        "record": one.record,
        "time": text.iso_utc(one.time),
        "kind": one.kind.value.lower(),
        "trial": None if one.trial is None else trial_id(one.trial),
        "words": words.entry(one),
    }
    if one.ruling is not None:
        data.update(ruling_json(one.ruling))
    return data


def ruling_json(ruling: Ruling) -> dict[str, Any]:
    """Return a verdict as data."""
    standing = ruling.verdict.standing
    return {
        "record": ruling.record,
        "time": text.iso_utc(ruling.time),
        "kind": ruling.verdict.kind.value.lower(),
        "rung": ruling.verdict.rung,
        "bracket": ruling.verdict.bracket,
        "resource": ruling.resource,
        "value": ruling.value,
        "note": ruling.verdict.note,
        "standing": standing_json(standing, ruling.cutoff),
    }


def standing_json(standing: Standing | None, cutoff: float | None) -> dict[str, Any] | None:
    """Return a standing as data, its cutoff as a value of the metric."""
    if standing is None:
        return None
    return {
        "rule": standing.rule,
        "place": None if standing.place is None else standing.place + 1,
        "of": standing.size,
        "places": standing.places,
        "cutoff": cutoff,
        "outlook": standing.outlook,
    }


# ---------------------------------------------------------------- the check


def _drawing(layout: StudyLayout) -> tuple[Drawing | None, str]:
    """Return how configs are drawn again, or why they cannot be."""
    from slurmtune.analysis.recompute import Drawing
    from slurmtune.spec import proposing

    try:
        make = proposing.stored_sampler(study.identity(layout))
    except StudyStateError as error:
        return None, str(error)
    return Drawing(sampler=make, drawn_by=proposing.drawn_by()), ""


def _check(layout: StudyLayout, *, allow_missing: bool, as_json: bool) -> None:
    from slurmtune.analysis.recompute import raw_results, recompute
    from slurmtune.spec import launching

    whole, records = launching.read_journal(layout)
    drawing, why_not = _drawing(layout)
    found = recompute(whole, records, raw_results(layout), drawing)
    found = replace(found, undrawn=found.undrawn or why_not)
    agrees = found.difference is None and (allow_missing or not found.missing)
    if as_json:
        output.say_json(_check_json(layout, found, agrees=agrees))
    else:
        output.say("\n".join(_report(layout, found, allow_missing=allow_missing)))
    if not agrees:
        raise typer.Exit(EXIT_DIFFERS)


def _report(layout: StudyLayout, found: Check, *, allow_missing: bool) -> list[str]:
    counts = [
        text.plural(found.records, "record"),
        text.plural(found.trials, "trial"),
        text.plural(found.results, "raw result"),
    ]
    lines = [f"{study.name(layout)}: {', '.join(counts)}"]
    rows = [[str(count), _KINDS.get(kind, kind)] for kind, count in found.decisions.items()]
    if found.draws:
        rows.append([str(found.draws), "configs drawn again"])
    if rows:
        lines.append(text.table(rows, "><", indent="  "))
    lines += [text.wrap(words, first="", rest="  ") for words in _not_drawn(found)]
    if found.unrecorded:
        words = (
            f"note: {text.plural(found.unrecorded, 'verdict')} of an older slurmtune were not "
            "recorded: there only the actions were compared"
        )
        lines.append(text.wrap(words, first="", rest="  "))
    if found.missing:
        lines += _missing(found.missing, allowed=allow_missing)
    if found.difference is not None:
        differs = found.difference
        lines += [
            f"record {differs.record} differs in {text.printable(differs.what)}",
            f"  journal   {text.printable(differs.recorded)}",
            f"  computed  {text.printable(differs.computed)}",
            f"{text.plural(found.count, 'decision')} before it agree",
        ]
    elif found.missing and not allow_missing:
        lines.append(f"{found.count} decisions agree, as far as the raw results are there")
    else:
        lines.append(f"all {found.count} decisions agree")
    return lines


def _not_drawn(found: Check) -> list[str]:
    """Return which configs were believed, and why."""
    from slurmtune.spec.proposing import drawn_by

    notes = []
    for by, count in found.other_draws.items():
        why = f"they were drawn by {by}, and here is {drawn_by()}"
        why = why if by else "what they were drawn by is not recorded"
        notes.append(f"{text.plural(count, 'config')} came out otherwise when drawn again: {why}")
    if found.undrawn:
        notes.append(f"configs were not drawn again: {found.undrawn}")
    return [text.printable(f"note: {note}; the journal was believed") for note in notes]


def _missing(attempts: tuple[str, ...], *, allowed: bool) -> list[str]:
    named = ", ".join(attempts[:_SHOWN_MISSING])
    more = len(attempts) - _SHOWN_MISSING
    named += f" and {more} more" if more > 0 else ""
    words = (
        f"the events.log of {text.plural(len(attempts), 'attempt')} is missing ({named}): "
        "what the journal says of them was believed"
    )
    words += "" if allowed else "; with --allow-missing that is enough"
    return [text.wrap(words, first="", rest="  ")]


def _check_json(layout: StudyLayout, found: Check, *, agrees: bool) -> dict[str, Any]:
    differs = found.difference
    return {
        **_head("slurmtune.replay/1", layout),
        "agrees": agrees,
        "records": found.records,
        "trials": found.trials,
        "results": found.results,
        "decisions": found.count,
        "by_kind": dict(found.decisions),
        "configs_drawn_again": found.draws,
        "configs_drawn_otherwise": dict(found.other_draws),
        "configs_not_drawn": found.undrawn,
        "unrecorded_verdicts": found.unrecorded,
        "missing": list(found.missing),
        "difference": None
        if differs is None
        else {
            "record": differs.record,
            "what": differs.what,
            "recorded": differs.recorded,
            "computed": differs.computed,
        },
    }


def _head(schema: str, layout: StudyLayout) -> dict[str, Any]:
    return {"schema": schema, "study": study.name(layout), "dir": layout.root}

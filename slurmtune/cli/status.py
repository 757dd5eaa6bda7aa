"""``slurmtune status``: where a study stands, from what its driver published last.

It never replays the journal and never asks Slurm, so it is quick for any number of trials and of
people who watch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from slurmtune.analysis import record
from slurmtune.cli import clock, output, study, summary, text
from slurmtune.cli.options import JsonOption, StudyArgument
from slurmtune.cli.summary import HAPPENED
from slurmtune.core.trial import Outcome
from slurmtune.errors import SlurmtuneError, StudyNotFoundError
from slurmtune.slurm.reason import plain_reason
from slurmtune.store.layout import StudyLayout

_DONE, _RUNNING, _WAITING, _PAUSED, _FAILED = 0, 10, 11, 12, 1
_LEAST_WATCH_SECONDS = 1.0
_LABEL = 7
_MOST_RUNGS = 8
"""With more rungs, those that no trial has reached yet are only counted."""
_WORTH_TELLING = 0.05
"""GPU-hours that are shown as at least 0.1."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="status")(status)


def status(
    name: StudyArgument = None,
    *,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch",
            metavar="SECONDS",
            help="Show it again and again, such as every 30 s.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="One line for every study below ./runs.")
    ] = False,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="Exit with 0 done, 10 running, 11 waiting, 12 paused, 1 failed."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show where a study stands: rungs, queue, best trial, time left.

    \b
    Examples
      slurmtune status
      slurmtune status --watch 30
      slurmtune status --json | jq .best.params
      until slurmtune status --exit-code >/dev/null; do sleep 600; done
    """
    if everything:
        _show_all(json=json)
        return
    layout = study.find(name)
    if watch is not None and not json and study.is_watched():
        output.say("\x1b[2J")
    while True:
        overview = study.overview_of(layout)
        if json:
            output.say_json(study.overview_json(overview))
        elif watch is None:
            output.say(render(overview, layout))
        else:
            _redraw(render(overview, layout))
        if watch is None or not is_going_on(overview):
            break
        clock.pause(max(watch, _LEAST_WATCH_SECONDS))
    if exit_code:
        raise typer.Exit(code_of(overview))


def is_going_on(overview: study.Overview) -> bool:
    """Tell whether something may still change."""
    return bool(overview["driver"]["alive"])


def is_unfinished(overview: study.Overview) -> bool:
    """Tell whether the study goes on, or would with a driver."""
    return bool(overview["state"] == "running")


def code_of(overview: study.Overview) -> int:
    """Return the exit code that tells scripts how a study stands."""
    state = overview["state"]
    if state == "done":
        return _DONE
    if state == "failed":
        return _FAILED
    if state in {"paused", "stopped"}:
        return _PAUSED
    return _RUNNING if _running(overview) else _WAITING


def render(overview: study.Overview, layout: StudyLayout) -> str:
    """Return the status as text of at most 80 columns (paths may be longer)."""
    parts = [_headline(overview, layout)]
    if overview["state"] == "paused":
        reason = text.printable(str(overview["reason"])) or "no reason is recorded"
        parts.append(text.wrap(reason, first="paused ", rest=" " * _LABEL))
    parts += ["", _rungs(overview), ""]
    parts += _queue(overview)
    parts += _use(overview)
    parts += _best(overview)
    parts += _left(overview)
    parts += _notes(overview)
    return "\n".join(parts).rstrip("\n")


def _headline(overview: study.Overview, layout: StudyLayout) -> str:
    # While a driver lives time goes on; otherwise the overview is as old as its end.
    until = clock.now() if overview["driver"]["alive"] else overview["time"]
    # Opened again with nothing left to do, it lasted no longer.
    until = overview.get("ended") or until
    lasted = text.stopwatch(until - overview["opened"])
    state = f"{overview['state']} {lasted}"
    path = text.short_path(layout.root)
    first = f"{overview['study']}   {state}"
    driver, is_bad = _driver(overview)
    if is_bad:
        again = study.command_to_continue(layout, is_local=overview["backend"] == "local")
        colour = "red" if is_unfinished(overview) else "yellow"
        line = f"{first}   {path}\n{output.paint(driver, colour)}"
        return f"{line}   continue: {again}"
    line = f"{first}   {driver}" if driver else first
    return f"{line}   {path}" if len(line) + 3 + len(path) <= text.WIDTH else f"{line}\n{path}"


def _driver(overview: study.Overview) -> tuple[str, bool]:
    """Return what to say about the driver, and whether the user should do something."""
    driver = overview["driver"]
    ago = text.duration(clock.now() - driver["beat"])
    if driver["alive"]:
        return f"driver ok ({driver['host']}, pid {driver['pid']}, {ago} ago)", False
    if not is_unfinished(overview):
        # A driver that was launched again only to find nothing left to do ended nothing.
        if overview.get("ended") is not None:
            ago = text.duration(clock.now() - overview["ended"])
        return f"ended {ago} ago", overview["state"] in {"paused", "stopped"}
    if not driver["host"]:
        return "no driver", True
    how = "left" if driver["released"] else "died"
    return f"driver {how} {ago} ago ({driver['host']}, pid {driver['pid']})", True


def _rungs(overview: study.Overview) -> str:
    rows = overview["rungs"]
    has_resource = any(row["resource"] is not None for row in rows) and overview["resource"]
    heads = ["rung", text.many(overview["resource"]), "waiting", "running", "done", "promoted"]
    heads += ["failed", "stopped", f"best {overview['metric']}"]
    shown = _reached(rows) if len(rows) > _MOST_RUNGS else rows
    cells = [heads]
    for row in shown:
        is_top = row is rows[-1]
        cells.append(
            [
                str(row["rung"]),
                text.resource(row["resource"]),
                str(row["waiting"]),
                str(row["running"]),
                str(row["done"]),
                "-" if is_top else str(row["promoted"]),
                str(row["failed"]),
                str(row.get("stopped", 0)),
                text.metric(row["best"]),
            ]
        )
    hidden_columns = set() if has_resource else {1}
    hidden_columns |= set() if len(rows) > 1 else {5}
    hidden_columns |= set() if any(row.get("stopped") for row in rows) else {7}
    kept = [column for column in range(len(heads)) if column not in hidden_columns]
    table = text.table([[line[i] for i in kept] for line in cells], ">" * len(kept), indent="  ")
    hidden = len(rows) - len(shown)
    more = f"  ... {hidden} more rung{'s' * (hidden != 1)} not reached"
    return f"{table}\n{more}" if hidden else table


def _reached(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return the rungs up to the last that a trial was sent to; the first one always."""
    counts = ("waiting", "running", "done", "promoted", "failed", "stopped")
    last = max((i for i, row in enumerate(rows) if any(row.get(one) for one in counts)), default=0)
    return rows[: last + 1]


def _queue(overview: study.Overview) -> list[str]:
    lines: list[str] = []
    # What still waits when a study ends is cancelled.
    for group in overview["queue"] if is_unfinished(overview) else ():
        count, reason = group["jobs"], text.printable(str(group["reason"]))
        words = "no reason is known yet"
        if reason:
            limit, parallel = overview.get("array_limit"), overview.get("parallel")
            words = plain_reason(reason, array_limit=limit, parallel=parallel)
        verb = "waits" if count == 1 else "wait"
        # A reason that has no other words stands for itself.
        named = f' for "{reason}"' if reason and words != reason else ""
        told = f"{count} {verb}{named}: {words}"
        if group["start"] is not None:
            told += f"; start about {text.about(group['start'], clock.now())}"
        lines.append(_entry("queue" if not lines else "", told))
    if lines and not _running(overview) and not overview["trials"]["finished"]:
        waited = text.duration(clock.now() - overview["opened"])
        jobs = text.plural(overview["slots"]["waiting"], "job")
        verb = "waits" if overview["slots"]["waiting"] == 1 else "wait"
        lines.insert(0, f"nothing has started yet: {jobs} {verb} {waited} so far")
    return lines


def _use(overview: study.Overview) -> list[str]:
    slots, gpus = overview["slots"]["running"], overview["gpus_now"]
    used, limit = overview["gpu_hours"]["used"], overview["gpu_hours"]["limit"]
    retried = overview["gpu_hours"]["retried"]
    words = []
    if is_unfinished(overview):
        when = "now" if overview["driver"]["alive"] else "when the driver left"
        words.append(f"{text.plural(gpus, 'GPU') if gpus else text.plural(slots, 'slot')} {when}")
    if used >= _WORTH_TELLING or limit is not None:
        most = "" if limit is None else f" of at most {limit:g}"
        lost = f" ({retried:.1f} in attempts that failed)" if retried >= _WORTH_TELLING else ""
        words.append(f"{used:.1f}{most} GPU-h{lost}")
    return [_entry("use", "; ".join(words))] if words else []


def _best(overview: study.Overview) -> list[str]:
    best = overview["best"]
    if best is None:
        return []
    values = "  ".join(f"{name} {text.metric(v)}" for name, v in best["values"].items())
    where = summary.at_resource(overview, best["resource"], summary.missed_top(best))
    return [_entry("best", f"{best['trial']}  {values}{where}    {text.params(best['params'])}")]


def _left(overview: study.Overview) -> list[str]:
    done = f"{summary.started(overview)} started"
    seconds = overview["eta_seconds"]
    if not is_unfinished(overview):
        return [_entry("ended", summary.ending(overview))]
    if seconds is None or not overview["driver"]["alive"]:
        return [_entry("left", f"not known yet ({done})")]
    return [_entry("left", f"about {text.duration(seconds)} ({done})")]


def _notes(overview: study.Overview) -> list[str]:
    lines = [_entry("note", text.printable(words)) for words in overview.get("notes") or ()]
    for failure in overview["failures"]:
        cause = text.printable(failure["cause"] or str(failure["outcome"]))
        happened = HAPPENED.get(Outcome(failure["outcome"] or "FAILED"), "failed")
        words = f"{failure['trial']} {happened}: {cause}"
        more = f"slurmtune logs {failure['trial']}"
        room = text.WIDTH - _LABEL - len(more) - 2
        lines.append(_entry("note", f"{text.cut(words, room):<{room}}  {more}"))
    return lines


def _entry(label: str, words: str) -> str:
    return text.wrap(words, first=f"{label:<{_LABEL}}", rest=" " * _LABEL)


def _running(overview: study.Overview) -> int:
    attempts: int = sum(row["running"] for row in overview["rungs"])
    return attempts + int(overview["slots"]["running"])


def _redraw(shown: str) -> None:
    # Home, then every line with the rest of it erased, then everything below.
    if study.is_watched():
        body = output.plain(shown).replace("\n", "\x1b[K\n")
        output.say_exactly(f"\x1b[H{body}\x1b[K\x1b[J")
    else:
        output.say(f"{text.iso_local(clock.now())}\n{shown}\n")


def _show_all(*, json: bool) -> None:
    layouts = record.list_studies(".")
    if not layouts:
        raise StudyNotFoundError("no study below ./runs")
    overviews = []
    for layout in layouts:
        try:
            overviews.append((layout, study.overview_of(layout)))
        except SlurmtuneError as error:
            # One damaged study must not hide the others.
            output.warn(f"{text.short_path(layout.root)}: {error}")
    if json:
        output.say_json([study.overview_json(overview) for _, overview in overviews])
        return
    rows: list[Sequence[str]] = [("study", "state", "trials", "failed", "best", "driver")]
    rows += [_one_line(overview) for _, overview in overviews]
    output.say(text.table(rows, "<<>>><"))


def _one_line(overview: dict[str, Any]) -> Sequence[str]:
    trials, best = overview["trials"], overview["best"]
    value = "-" if best is None else text.metric(next(iter(best["values"].values())))
    return (
        overview["study"],
        overview["state"],
        f"{trials['started']}/{trials['total']}",
        str(trials["failed"]),
        value,
        _driver(overview)[0],
    )

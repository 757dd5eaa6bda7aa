"""``slurmtune best``: the best config so far."""

from __future__ import annotations

import shlex
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurmtune.cli import output, show, study, summary, text
from slurmtune.cli.options import JsonOption, StudyArgument
from slurmtune.core.ids import parse_trial_id
from slurmtune.errors import StudyNotFoundError, StudyStateError
from slurmtune.store.layout import StudyLayout

if TYPE_CHECKING:
    from slurmtune.core.study import Study


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="best")(best)


def best(
    name: StudyArgument = None,
    *,
    args: Annotated[
        bool, typer.Option("--args", help="Print it as arguments for your command line.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show the best trial of the highest rung that has results.

    \b
    Examples
      slurmtune best
      python train.py $(slurmtune best --args)
      slurmtune best --json | jq .params.lr
    """
    layout = study.find(name)
    overview = study.overview_of(layout)
    found = overview["best"]
    if found is None:
        raise StudyNotFoundError(_nothing_yet(overview, layout))
    if json:
        more = _lineage(layout, found["trial"])
        output.say_json({**found, **more, "study": overview["study"], "dir": layout.root})
    elif args:
        words = shlex.join(arguments(layout, found["params"]))
        # A program gets the values as they are.
        output.say_exactly(output.plain(words) if study.is_watched() else words)
    else:
        output.say(summary.best_text(overview, layout))
        for line in _schedule(layout, found["trial"]):
            output.say(line)
        if not _tell_rule(overview):
            _warn_of_lower_rung(overview)
        _tell_of_better_below(overview)


def arguments(layout: StudyLayout, config: dict[str, Any]) -> list[str]:
    """Return the config as the study passes it to its program; as ``--name=value`` by default."""
    from slurmtune.worker.command import build_argv

    style = study.identity(layout).get("spec", {}).get("run", {}).get("args", "gnu")
    style = style if style in {"gnu", "hydra"} else "gnu"
    return build_argv([""], shell=False, args=style, config=config, context={})[1:]


def _schedule(layout: StudyLayout, trial: str) -> list[str]:
    """Return the configs that the best training went through; none when it had only one."""
    if not _may_have_heirs(layout):
        return []
    whole = _study_if_it_can_be_read(layout)
    number = parse_trial_id(trial)
    if whole is None or number >= len(whole.trials) or whole.trials[number].source is None:
        return []
    return ["", *show.schedule(whole, number, study.resource_word(layout))]


def _lineage(layout: StudyLayout, trial: str) -> dict[str, Any]:
    if not _may_have_heirs(layout):
        return {}
    whole = _study_if_it_can_be_read(layout)
    number = parse_trial_id(trial)
    if whole is None or number >= len(whole.trials):
        return {}
    return {"lineage": show.lineage_data(whole, number)}


def _study_if_it_can_be_read(layout: StudyLayout) -> Study | None:
    """Return the study; None, with a note, when only its overview can be read.

    As when its scheduler is the code of another user, which is not run.
    """
    try:
        return study.read_study(layout)
    except (StudyStateError, OSError) as error:
        why = study.why_code_is_not_run(layout) or error
        output.complain(f"note: whether it went through several configs is not known: {why}")
        return None


def _may_have_heirs(layout: StudyLayout) -> bool:
    """Tell whether trials may continue others: only then is the journal worth replaying."""
    search = study.identity(layout)["spec"].get("search")
    name = str(search.get("scheduler", "")) if isinstance(search, dict) else ""
    return name == "pbt" or ":" in name


def _nothing_yet(overview: study.Overview, layout: StudyLayout) -> str:
    failed = overview["trials"]["failed"]
    without = overview["trials"].get("without_result", 0)
    if without and not failed:
        which = f"all {without} trials" if without > 1 else "the only trial"
        yet = " so far" if overview["state"] == "running" else ""
        return (
            f"{study.name(layout)} has no result: {which}{yet} ended without a finite "
            f"{text.printable(overview['metric'])}. Look at  slurmtune trials"
        )
    if failed:
        return (
            f"{study.name(layout)} has no result yet: {text.plural(failed, 'trial')} failed. "
            "Look at  slurmtune trials --state failed"
        )
    return f"{study.name(layout)} has no result yet; look at  slurmtune status"


def _tell_of_better_below(overview: study.Overview) -> None:
    """Tell of a better value at a lower rung; the overview may be of an older version."""
    lower = overview["best"].get("lower")
    if not isinstance(lower, dict) or not isinstance(lower.get("values"), dict):
        return
    value, resource = lower["values"].get(overview["metric"]), lower.get("resource")
    # Nobody has checked this part of the file.
    if not isinstance(value, (int, float)) or not isinstance(resource, (int, float, NoneType)):
        return
    where = summary.at_resource(overview, resource, None) or f" at rung {lower.get('rung')}"
    output.complain(text.printable(f"note: {lower.get('trial')} had {text.metric(value)}{where}"))


def _tell_rule(overview: study.Overview) -> bool:
    """Tell by what the scheduler holds this trial for the best, if by more than its loss."""
    rule = overview["best"].get("rule")
    if not isinstance(rule, str) or not rule:
        return False
    output.complain(text.printable(f"note: {rule}"))
    return True


def _warn_of_lower_rung(overview: study.Overview) -> None:
    found = overview["best"]
    if found["top_resource"] != found.get("level", found["resource"]):
        yet = " yet" if overview["state"] == "running" else ""
        output.complain(
            f"note: nothing has finished {text.resource(found['top_resource'])} "
            f"{text.many(overview['resource'])}{yet}"
        )

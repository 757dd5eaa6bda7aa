"""``slurmtune explain``: why a trial is where it is; and what a code or a method means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurmtune.cli import output, replay, study, summary, text, trials
from slurmtune.cli.options import JsonOption, is_trial, parse_trial, study_and_trial
from slurmtune.core.ids import trial_id
from slurmtune.core.trial import AttemptState, TrialState
from slurmtune.errors import UsageError
from slurmtune.store.layout import StudyLayout

if TYPE_CHECKING:
    from slurmtune.analysis.decisions import Rival, Ruling, Story
    from slurmtune.analysis.wording import Wording
    from slurmtune.core.record import AttemptRecord, TrialRecord
    from slurmtune.core.study import Study

CLUSTER: Mapping[str, str] = {
    "C0": "Slurm refuses the request with words that slurmtune does not know; they are shown as "
    "they are.",
    "C1": "slurm.partition names a partition that this cluster does not have. `sinfo -s` lists "
    "them; the one with the asterisk is the default.",
    "C2": "No node of the partition is as large as slurm.cpus_per_task, slurm.mem and "
    "slurm.gpus_per_node ask for. A slot runs on one node.",
    "C3": "The GPUs of this cluster have no such type: write gpus_per_node = 1, or a type that "
    "`sinfo -o %G` shows.",
    "C4": "slurm.constraint names a feature that no node has. `sinfo -o '%n %f'` lists them.",
    "C5": "The array is longer than the cluster's MaxArraySize. slurmtune splits longer ones.",
    "C6": "sbatch does not take the time limit: minutes, H:M:S or D-H:M:S.",
    "C7": "The account or the QOS is not one of yours. `sacctmgr show assoc user=$USER` lists "
    "them. Where limits are not enforced sbatch takes any name, and this is only a warning.",
    "C8": "slurm.exclude names a node that does not exist. `sinfo -N` lists them.",
    "C9": "There is no sbatch on this machine: it is no login node of a Slurm cluster, or its "
    "module is not loaded. `slurmtune launch spec.toml --local` runs the trials here.",
    "C10": "Slurm's controller does not answer. slurmtune asks again, ever more slowly; running "
    "jobs are not affected and nothing is lost.",
    "C11": "You may have so many jobs queued at once. slurmtune keeps below the limit and submits "
    "the rest later.",
    "C12": "The jobs ask for something that they will never get, such as a time limit above the "
    "partition's, so they would wait for ever.",
}
"""Messages about the cluster, by code (`slurmtune.slurm.advice`)."""

SCHEMA = "slurmtune.explain/1"
_AROUND = 2
"""Trials that are shown on each side of the trial and of the cutoff."""
_INDENT = " " * 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="explain")(explain)


def explain(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[STUDY] WHAT", help="A trial, a code or a method."),
    ],
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Show all trials that it was compared with.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Explain why a trial was promoted, paused or stopped; or a code, or a method.

    \b
    Examples
      slurmtune explain t0017       its whole story, and what it waits for
      slurmtune explain K2          a message of check
      slurmtune explain pasha       a scheduler or a sampler
    """
    if not any(is_trial(word) for word in words):
        if len(words) > 1:
            raise UsageError("which trial? Such as  slurmtune explain runs/asha t0017")
        output.say(_explain_word(words[0]))
        return
    name, wanted = study_and_trial(words)
    number, _ = parse_trial(wanted or "")
    layout = study.find(name)
    whole, told = _read(layout, number)
    if json:
        output.say_json(_data(whole, told, layout))
    else:
        called = study.bracket_name(layout, whole.trials[number].bracket)
        wording = study.wording(layout, whole)
        output.say("\n".join(_lines(whole, told, wording, called, everything)))


def _explain_word(word: str) -> str:
    """Return what a code or a method means.

    Raises:
        UsageError: there is neither.
    """
    key = word.strip().upper()
    if key in CLUSTER:
        return text.wrap(f"{key}: {CLUSTER[key]}", first="", rest="")
    from slurmtune.spec.explain import EXPLANATIONS
    from slurmtune.spec.explain import explain as explain_code

    if key not in EXPLANATIONS:
        from slurmtune.spec.methods import describe

        described = describe(word.strip().lower())
        if described is not None:
            return described
    return text.wrap(explain_code(word), first="", rest="")


def _read(layout: StudyLayout, number: int) -> tuple[Study, Story]:
    """Return the study and the story of a trial.

    Raises:
        StudyNotFoundError: there is no such study or trial.
        StudyStateError: the journal cannot be replayed.
    """
    from slurmtune.analysis import decisions
    from slurmtune.spec import launching

    whole, records = launching.read_journal(layout)
    return whole, decisions.story(whole, records, number)


# ---------------------------------------------------------------- in words


def _lines(
    whole: Study, told: Story, words: Wording, called: str, everything: bool
) -> Iterator[str]:
    trial = whole.trials[told.trial]
    metric = whole.settings.objective.metric
    head = output.paint(trial_id(trial.number), "accent")
    yield f"{head}   {trials.row(whole, trial)['state']}; {metric}, {words.better} is better"
    yield text.params(trial.config)
    yield ""
    clock = _clock([told.began, *(ruling.time for ruling in told.rulings)])
    yield _paragraph(clock(told.began), _beginning(whole, trial, told, words, called))
    for index, ruling in enumerate(told.rulings):
        yield _paragraph(clock(ruling.time), words.ruling(ruling))
        # A promotion right after a pause sees the same rung.
        later = told.rulings[index + 1] if index + 1 < len(told.rulings) else None
        if later is None or later.compared != ruling.compared:
            yield from _neighbours(trial.number, ruling.compared, _places(ruling), everything)
    for attempt in trial.attempts:
        if again := _why_repeated(trial, attempt):
            yield _paragraph("repeated", again)
    yield ""
    yield _paragraph("now", _now(whole, trial, told, words))
    if told.prospect is not None:
        standing = told.prospect.standing
        places = 0 if standing is None else standing.places
        yield from _neighbours(trial.number, told.prospect.compared, places, everything)


def _clock(times: Sequence[float]) -> Callable[[float], str]:
    """Return how to write the times: with their date unless all are of one day."""
    days = {text.iso_local(time)[:10] for time in times}
    return text.clock if len(days) == 1 else lambda time: text.iso_local(time)[:19]


def _paragraph(label: str, words: str) -> str:
    return text.wrap(text.printable(words), first=f"{label:<9} ", rest=_INDENT)


def _beginning(whole: Study, trial: TrialRecord, told: Story, words: Wording, called: str) -> str:
    """Return how the trial began: its config, its bracket, whose training it continues."""
    from slurmtune.analysis import wording

    asked = told.asked
    first = words.amount(asked.resource, asked.rung)
    parts = [wording.origin(trial.origin)]
    known = dict.fromkeys(asked.parents)  # one of them may be there twice
    parents = [trial_id(parent) for parent in known if parent != trial.source]
    if parents:
        parts.append(f"made of {text.joined(parents)}")
    if trial.source is not None:
        below = trial.first_rung - 1
        saved = words.amount(whole.scheduler.ladder(trial.bracket)[below], below)
        parts.append(f"heir of {trial_id(trial.source)}: goes on from what that saved at {saved}")
    if called:
        parts.append(called)
    if asked.resource is not None:
        parts.append(f"to be trained up to {first}")
    return "; ".join(parts)


def _places(ruling: Ruling) -> int:
    standing = ruling.verdict.standing
    return 0 if standing is None else standing.places


def _neighbours(
    number: int, compared: Sequence[Rival], places: int, everything: bool
) -> Iterator[str]:
    """Show the trials around the trial and around the last place that may go on."""
    from slurmtune.analysis.wording import numbers

    mine = next((i for i, rival in enumerate(compared) if rival.trial == number), None)
    near = [centre for centre in (mine, places - 1 if places else None) if centre is not None]
    shown = [
        place
        for place in range(len(compared))
        if everything or any(abs(place - centre) <= _AROUND for centre in near)
    ]
    # Dots in place of a single line would save nothing.
    edges = [-1, *shown, len(compared)] if shown else []
    single = {low + 1 for low, high in pairwise(edges) if high - low == 2}
    shown = sorted({*shown, *single})
    values = numbers([compared[place].value for place in shown])
    before = -1
    for place, value in zip(shown, values, strict=True):
        if place > before + 1:
            yield f"{_INDENT}     ..."
        notes = ["this trial"] if place == mine else []
        # One without a finite result never goes on, also where there is room for it.
        is_last = place == places - 1 and compared[place].value is not None
        notes += ["the last that may go on"] if is_last else []
        note = f"   <- {', '.join(notes)}" if notes else ""
        yield f"{_INDENT}{place + 1:>4}  {trial_id(compared[place].trial)}  {value}{note}"
        before = place
    if shown and before < len(compared) - 1:
        yield f"{_INDENT}     ..."


def _why_repeated(trial: TrialRecord, attempt: AttemptRecord) -> str:
    """Return why another attempt followed at the same rung; empty when none did."""
    later = [
        other
        for other in trial.attempts
        if other.rung == attempt.rung and other.number == attempt.number + 1
    ]
    if not later or attempt.outcome is None:
        return ""
    if attempt.started_time is None:
        happened = "was taken back before a slot claimed it"
    else:
        happened = summary.HAPPENED.get(attempt.outcome, "ended")
        if attempt.host:
            happened += f" on {attempt.host}"
        if attempt.seconds:
            happened += f" after {text.duration(attempt.seconds)}"
    cause = f" ({attempt.cause})" if attempt.cause else ""
    return f"{attempt.id} {happened}{cause}: repeated as {later[0].id}"


def _now(whole: Study, trial: TrialRecord, told: Story, words: Wording) -> str:
    attempt = trial.last_attempt
    if trial.state is TrialState.PAUSED and told.prospect is not None:
        state = words.prospect(told.prospect, trial.values.get(told.prospect.rung))
        if whole.finished:
            state += "; the study has ended, so it stays so"
        elif whole.halt:
            state += "; nothing new is decided now"
        return state
    if attempt is not None and attempt.is_live:
        goal = words.amount(attempt.end, attempt.rung)
        if attempt.state is AttemptState.RUNNING:
            reached = "" if attempt.resource is None else f", at {text.resource(attempt.resource)}"
            place = f" on {attempt.host}" if attempt.host else ""
            return f"{attempt.id} runs{place} up to {goal}{reached}"
        return f"{attempt.id} waits for a slot, to be trained up to {goal}"
    if trial.state.is_final:
        return f"{trials.row(whole, trial)['state']}: nothing more is decided about it"
    return "waits until the study goes on" if whole.halt else "waits to be repeated"


# ---------------------------------------------------------------- as data


def _data(whole: Study, told: Story, layout: StudyLayout) -> dict[str, Any]:
    trial = whole.trials[told.trial]
    asked = told.asked
    prospect = told.prospect
    words = study.wording(layout, whole)
    return {
        "schema": SCHEMA,
        "study": study.name(layout),
        "dir": layout.root,
        "trial": trial_id(trial.number),
        "state": trials.row(whole, trial)["state"],
        "metric": whole.settings.objective.metric,
        "goal": whole.settings.objective.goal.value,
        "resource": study.resource_word(layout),
        "params": dict(trial.config),
        "began": {
            "time": text.iso_utc(told.began),
            "origin": trial.origin,
            "bracket": trial.bracket,
            "rung": asked.rung,
            "resource": asked.resource,
            "parents": [trial_id(parent) for parent in asked.parents],
            "source": None if trial.source is None else trial_id(trial.source),
        },
        "verdicts": [
            {
                **replay.ruling_json(ruling),
                "words": words.ruling(ruling),
                "compared": _rivals(ruling.compared),
            }
            for ruling in told.rulings
        ],
        "repeated": [again for a in trial.attempts if (again := _why_repeated(trial, a))],
        "now": {
            "words": _now(whole, trial, told, words),
            "standing": None
            if prospect is None
            else replay.standing_json(prospect.standing, prospect.cutoff),
            "compared": [] if prospect is None else _rivals(prospect.compared),
        },
    }


def _rivals(compared: Sequence[Rival]) -> list[dict[str, Any]]:
    return [{"trial": trial_id(rival.trial), "value": rival.value} for rival in compared]

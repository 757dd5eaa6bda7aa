"""``slurmtune check``: whether a spec is right, what it will do and what it may cost."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurmtune.cli import cluster, output, text
from slurmtune.cli.options import (
    AccountOption,
    ConstraintOption,
    ExcludeOption,
    JsonOption,
    NameOption,
    PartitionOption,
    QosOption,
    SetOption,
    SpecArgument,
    TimeOption,
    overrides,
)
from slurmtune.errors import BackendError, SpecError

if TYPE_CHECKING:
    from slurmtune.core.request import ResourceRequest
    from slurmtune.space.space import Space
    from slurmtune.spec.difference import Change
    from slurmtune.spec.load import LoadedSpec
    from slurmtune.spec.model import Spec
    from slurmtune.spec.plan import BracketRow, PlanRow, RaceRow

_SHOWN = 8
"""Hyperparameters that are shown without ``--all``."""
_DRAWS = 3
_FEW = 0.01
"""Below this share of configs that keep the constraints, most draws are wasted."""
_VALUES_WIDTH, _DRAW_WIDTH = 26, 9
_LABEL = 9
_MOST_ROWS = 12
"""Rungs of the plan that are shown one by one; of more the first few and the last."""
_MOST_STAGES = 7
"""The same for the rungs of one bracket, which stand on a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A spec that is right, and what follows from it."""

    loaded: LoadedSpec
    space: Space
    trials: int
    plan: tuple[PlanRow, ...]
    brackets: tuple[BracketRow, ...]
    """For schedulers with rungs."""
    race: tuple[RaceRow, ...]
    """For irace."""
    race_trials: tuple[int, int]
    """How many trials irace starts at the fewest and at the most, about."""
    rung_classes: tuple[str, ...]
    requests: Mapping[str, ResourceRequest]
    directory: str
    changes: Sequence[Change]
    """Differences to the study of that name that exists."""
    is_new: bool
    warnings: tuple[str, ...]


def register(app: typer.Typer) -> None:
    """Add the command, and its other name."""
    app.command(name="check")(check)
    app.command(name="validate", hidden=True)(check)


def check(
    spec: SpecArgument = "spec.toml",
    *,
    set_: SetOption = None,
    partition: PartitionOption = None,
    account: AccountOption = None,
    qos: QosOption = None,
    time: TimeOption = None,
    constraint: ConstraintOption = None,
    exclude: ExcludeOption = None,
    job_name: NameOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask Slurm nothing.")] = False,
    sbatch: Annotated[
        bool, typer.Option("--sbatch", help="Print the batch scripts and nothing else.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show every hyperparameter.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Let warnings count as errors.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check a spec, show its plan and what it may cost. Nothing is submitted.

    \b
    Examples
      slurmtune check spec.toml
      slurmtune check spec.toml --offline -s search.trials=9
      slurmtune check spec.toml --sbatch          the batch scripts
      slurmtune check spec.toml --json            for editors and scripts
    """
    given = overrides(
        set_,
        partition=partition,
        account=account,
        qos=qos,
        time=time,
        constraint=constraint,
        exclude=exclude,
        job_name=job_name,
    )
    run(
        spec,
        given,
        offline=offline,
        sbatch=sbatch,
        everything=everything,
        strict=strict,
        json=json,
    )


def run(
    spec: str,
    given: Sequence[str],
    *,
    offline: bool = False,
    sbatch: bool = False,
    everything: bool = False,
    strict: bool = False,
    json: bool = False,
) -> None:
    """Check the spec and print what was asked for; ends with exit code 2 or 3 if it is wrong."""
    try:
        checked = examine(spec, given)
    except SpecError as error:
        if not json:
            raise
        problems = getattr(error, "problems", ())
        found = [one.as_json() for one in problems] or [{"message": str(error)}]
        output.say_json({"schema": "slurmtune.check/1", "ok": False, "problems": found})
        raise typer.Exit(error.exit_code) from None
    if sbatch:
        _print_scripts(checked)
        return
    found_there = (
        None
        if offline
        else cluster.examine(
            checked.loaded,
            checked.directory,
            checked.requests,
            checked.rung_classes,
            first_slots(checked),
        )
    )
    if json:
        output.say_json(_data(checked, found_there))
    else:
        _print(checked, found_there, everything=everything)
    if found_there is not None and found_there.errors:
        raise typer.Exit(3)
    if strict and (_warning_count(checked, found_there)):
        raise typer.Exit(2)


def examine(spec: str, given: Sequence[str], *, launching: bool = False) -> Checked:
    """Return the spec with all that follows from it.

    Raises:
        SpecError: it is wrong; holds every problem.
    """
    from slurmtune.spec import build
    from slurmtune.spec.custom import read_code
    from slurmtune.spec.load import load_spec
    from slurmtune.spec.plan import (
        build_brackets,
        build_plan,
        build_race,
        expected_race_trials,
    )
    from slurmtune.spec.rehearsal import rehearse

    loaded = load_spec(spec, given, launching=launching)
    spec_ = loaded.spec
    space = build.build_space(spec_)
    trials = build.count_trials(spec_, space)
    code = read_code(spec_.search.scheduler, loaded.base_dir)
    core = build.core_settings(spec_, trials, code, space)
    try:
        study = build.build_study(core, code)
        build.build_sampler(spec_, space, trials, study.scheduler)
    except SpecError as error:
        # What has no function yet was told as a note; a plan can be made all the same.
        if launching or "not available yet" not in str(error):
            raise
    classes, requests = build.build_requests(spec_)
    plan, race = build_plan(spec_, trials), build_race(spec_, space.dimension)
    directory, changes, is_new = _existing(loaded, core)
    # A study that exists goes on with the scheduler that it began with, unless it may not anyway.
    if code is not None and (is_new or any(not change.allowed for change in changes)):
        rehearse(code, core)
    checked = Checked(
        loaded=loaded,
        space=space,
        trials=trials,
        plan=plan,
        brackets=build_brackets(spec_, trials),
        race=race,
        race_trials=expected_race_trials(spec_, space.dimension) if race else (0, 0),
        rung_classes=classes,
        requests=requests,
        directory=directory,
        changes=changes,
        is_new=is_new,
        warnings=(),
    )
    return replace(checked, warnings=tuple(_warnings(checked)))


def _existing(loaded: LoadedSpec, core: Mapping[str, Any]) -> tuple[str, Sequence[Change], bool]:
    """Return where the study lives, what differs there, and whether it is new."""
    from slurmtune.spec.difference import code_difference, difference, effective
    from slurmtune.spec.launching import study_directory
    from slurmtune.store import fs, sealed

    directory = study_directory(loaded)
    try:
        stored = sealed.unseal(fs.read_file(os.path.join(directory, "study.json")))
        found = difference(stored["spec"], effective(loaded.spec))
        return directory, [*found, *code_difference(stored["core"], core)], False
    except FileNotFoundError:
        return directory, (), True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return directory, (), False


def _warnings(checked: Checked) -> Iterator[str]:
    """Yield what only the whole plan shows."""
    yield from _warnings_of_plan(checked)
    yield from _warnings_of_spec(checked)


def _warnings_of_plan(checked: Checked) -> Iterator[str]:
    """Yield what the rungs and their costs show."""
    spec, plan = checked.loaded.spec, checked.plan
    yield from _too_long(checked)
    most = _total(row.most_gpu_hours for row in plan)
    limit = spec.stop.gpu_hours
    if limit is not None and limit < most:
        yield (
            f"stop.gpu_hours = {limit:g} is below the most this can use, {most:.0f}: "
            "it may end early"
        )
    if spec.search.scheduler in {"asha", "async_hyperband"} and not plan[-1].trials:
        yield f"so few trials promote none to the last rung: {_needed(spec)} would be enough"
    yield from _too_few_in_bracket(checked)
    if _ends_races(checked) and spec.search.irace.budget is not None:
        fewest, most_trials = checked.race_trials
        yield (
            f"search.trials = {checked.trials} may leave a part of search.irace.budget = "
            f"{spec.search.irace.budget} unused: the races would start about {fewest} to "
            f"{most_trials} trials; leave search.trials out, or write at least {most_trials}"
        )


def _warnings_of_spec(checked: Checked) -> Iterator[str]:
    """Yield what the space and the keys that were left out show."""
    from slurmtune.spec import whole

    loaded, space = checked.loaded, checked.space
    spec = loaded.spec
    share = whole.share_kept(space)
    if share < _FEW:
        words = "none" if share == 0 else f"only {100 * share:.1f} %"
        yield f"{words} of {whole.DRAWS} random configs keep the constraints"
    if not spec.slurm.time and not spec.slurm.time_per_unit and "slurm.time" not in loaded.given:
        yield "slurm.time is not given: each slot asks for 1 h"
    dotted = [name for name in spec.space if not name.replace("_", "").isalnum()]
    if spec.run.args == "gnu" and dotted and spec.run.command:
        yield f'run.args = "gnu" passes --{dotted[0]}=...: does the program take that name?'


def _too_long(checked: Checked) -> Iterator[str]:
    """Yield the rung whose training least fits into its time limit, if some does not."""
    long = [row for row in checked.plan if (row.longest_seconds or 0) > row.time_limit_seconds]
    fidelity = checked.loaded.spec.fidelity
    if not long or fidelity is None or fidelity.unit_time is None:
        return
    worst = max(long, key=lambda row: (row.longest_seconds or 0) / row.time_limit_seconds)
    seconds, limit = worst.longest_seconds or 0, worst.time_limit_seconds
    amount = seconds / fidelity.unit_time
    takes = "takes" if amount == 1 else "take"
    where = f" of rung {worst.rung}" if len(checked.plan) > 1 else ""
    none = f"; not even 1 {fidelity.resource} fits into one" if fidelity.unit_time > limit else ""
    grows = checked.loaded.spec.slurm.at_rung(worst.rung).time_per_unit is not None
    more = "" if grows else "slurm.time, or let it grow with the rungs: "
    yield (
        f"{text.of_resource(amount, fidelity.resource)} {takes} {text.duration(seconds)} at "
        f"fidelity.unit_time = {fidelity.unit_time:g} s, {seconds / limit:.3g} times the time "
        f"limit{where}, {text.time_limit(limit)}: that needs several slots in a row, and "
        f"checkpoints to go on from{none}. If that is not meant, raise "
        f"{more}slurm.time_per_unit"
    )


def _too_few_in_bracket(checked: Checked) -> Iterator[str]:
    """Yield which bracket promotes trials that nobody was compared with enough."""
    from slurmtune.spec.rungs import bracket_name, kind_of

    spec = checked.loaded.spec
    fidelity = spec.fidelity
    for row in checked.brackets:
        if fidelity is None or row.room is None or not row.compares_too_few(fidelity.eta):
            continue
        there, missing = row.plan.trials, row.room - row.plan.trials
        fill = f"{text.plural(missing, 'more trial')} would fill it"
        if not fidelity.hedge:
            fill = f"search.trials = {checked.trials + missing} would fill it"
            if there < checked.trials:
                fill += f", {checked.trials - there} would leave it out"
        sizes = text.joined(map(str, row.plan.sizes))
        name = bracket_name(kind_of(spec), row.numbers[0])
        yield (
            f"{name} has {there} of its {text.plural(row.room, 'trial')}, so that its rungs hold "
            f"{sizes}: where fewer than eta = {fidelity.eta} are left, the best one goes on all "
            f"the same; {fill}"
        )


def _ends_races(checked: Checked) -> bool:
    """Tell whether search.trials may end irace before its budget is used up."""
    given = checked.loaded.spec.search.trials
    return bool(checked.race) and given is not None and given < checked.race_trials[1]


def _needed(spec: Spec) -> int:
    """Return how many trials of asha let one reach the last rung."""
    from slurmtune.spec.rungs import rung_count

    eta = 2 if spec.fidelity is None else spec.fidelity.eta
    return int(eta ** ((rung_count(spec) or 1) - 1))


def _draws(checked: Checked) -> list[Mapping[str, Any]]:
    """Return three configs such as the study will try; for a grid the first three."""
    from slurmtune.spec.whole import DRAWS, points

    space = checked.space
    if checked.loaded.spec.search.sampler == "grid":
        try:
            return list(islice(space.grid(), _DRAWS))
        except ValueError:
            return []
    draws = map(space.decode, points(space, checked.loaded.spec.study.seed, DRAWS))
    return list(islice((c for c in draws if space.keeps_constraints(c)), _DRAWS))


def first_slots(checked: Checked) -> int:
    """Return how many slots a new study submits first."""
    spec = checked.loaded.spec
    at_once = checked.trials
    if spec.search.scheduler == "pbt":
        at_once = checked.brackets[0].plan.trials
    elif checked.race:
        at_once = min(at_once, checked.race[0].configs)
    if spec.slurm.ahead > 1 and at_once > 1:
        return math.ceil(spec.slurm.ahead * spec.search.parallel)
    return max(1, min(spec.search.parallel, at_once))


def _print_scripts(checked: Checked) -> None:
    slots = first_slots(checked)
    from slurmtune.spec.cluster import scripts

    made = scripts(
        checked.loaded, checked.directory, checked.requests, checked.rung_classes, slots
    )
    for name, script in made.items():
        rungs = [str(r) for r, one in enumerate(checked.rung_classes) if one == name]
        word = "rung" if len(rungs) == 1 else "rungs"
        output.say(f"# {word} {text.joined(rungs)}, first array of {slots}\n{script.rstrip()}\n")


# -------------------------------------------------------------------- as text


def _print(checked: Checked, found: cluster.Examination | None, *, everything: bool) -> None:
    loaded = checked.loaded
    problems = [str(problem) for problem in loaded.problems]
    parts = [
        _headline(checked, found),
        *_changes(checked),
        _space(checked, everything=everything),
        _search(checked),
        _plan(checked),
    ]
    if found is not None:
        parts.append(_slurm(found))
    if checked.warnings:
        lines = [text.wrap(words, first="  ", rest="    ") for words in checked.warnings]
        parts.append("\n".join([output.paint("Warnings", "yellow"), *lines]))
    parts.append(_last_line(checked, found))
    if problems:
        output.complain("\n\n".join(problems) + "\n")
    output.say("\n\n".join(parts))


def _headline(checked: Checked, found: cluster.Examination | None) -> str:
    is_good = found is None or not found.errors
    verdict = output.paint("ok", "green") if is_good else output.paint("Slurm refuses it", "red")
    name = checked.loaded.spec.study.name
    state = "new" if checked.is_new else "exists"
    place = f"study {name}, {state}, in {text.short_path(checked.directory)}"
    return f"{text.short_path(checked.loaded.path)}: {verdict}    {place}"


def _changes(checked: Checked) -> list[str]:
    if not checked.changes:
        return []
    lines = [
        f"  {change.path}: {change.old!r} -> {change.new!r}"
        + ("" if change.allowed else "   refused: it would be another study")
        for change in checked.changes
    ]
    return ["\n".join(["Changes to the study that exists", *lines])]


def _space(checked: Checked, *, everything: bool) -> str:
    items = checked.space.hyperparameters
    conditional = sum(item.when is not None for item in items)
    fixed = len(items) - checked.space.dimension
    words = [text.plural(len(items), "hyperparameter")]
    words += [f"{conditional} conditional"] if conditional else []
    words += [f"{fixed} fixed"] if fixed else []
    draws = _draws(checked)
    shown = items if everything or len(items) <= _SHOWN else items[: _SHOWN - 1]
    rows = [
        [
            item.name,
            item.domain.kind,
            text.cut(item.domain.describe(), _VALUES_WIDTH),
            *(text.cut(text.value(draw.get(item.name)), _DRAW_WIDTH) for draw in draws),
        ]
        for item in shown
    ]
    head = f"{'Space':<{_LABEL}}{', '.join(words)}"
    if draws:
        is_grid = checked.loaded.spec.search.sampler == "grid"
        head += f"     on the right: {'the first three' if is_grid else 'three draws'}"
    lines = [head, text.table(rows, "<<<" + "<" * len(draws), indent="  ")]
    if len(shown) < len(items):
        lines.append(f"  ...  (--all shows {len(items) - len(shown)} more)")
    return "\n".join(lines)


def _search(checked: Checked) -> str:
    spec = checked.loaded.spec
    search = spec.search
    goals = [f"{one.goal} {one.metric}" for one in spec.objective]
    scheduler = [] if search.scheduler == "none" else [search.scheduler]
    first = ", ".join([search.sampler, *scheduler, *goals])
    starts = f", {text.plural(len(spec.start), 'start point')} first" if spec.start else ""
    tried = f"{amount(checked)}, {search.parallel} at a time{starts}"
    return f"{'Search':<{_LABEL}}{first}\n{'':<{_LABEL}}{tried}"


def amount(checked: Checked) -> str:
    """Return how much is tried, in the words of the scheduler."""
    trials = text.plural(checked.trials, "trial")
    if checked.race:
        evaluations = text.plural(checked.plan[0].trials, "evaluation")
        if not _ends_races(checked):
            fewest, most = checked.race_trials
            trials = f"{fewest} to {most} trials"
            return f"at most {evaluations} of about {trials}"
        return f"at most {evaluations} of at most {trials}"
    if checked.loaded.spec.search.scheduler == "pbt":
        [row] = checked.brackets
        generations = text.plural(len(row.plan.levels), "generation")
        return f"a population of {row.plan.trials}, {generations}"
    return trials


def _plan(checked: Checked) -> str:
    spec, plan = checked.loaded.spec, checked.plan
    fidelity = spec.fidelity
    word = "" if fidelity is None else fidelity.resource
    has_gpus = any(row.gpus for row in plan)
    has_likely = any(row.likely_gpu_hours is not None for row in plan)
    has_each = bool(word) and all(row.units_each is not None for row in plan)
    columns: list[tuple[str, bool, Any]] = [
        ("rung", len(plan) > 1, lambda row: str(row.rung)),
        (_up_to(checked), bool(_up_to(checked)), lambda row: text.resource(row.resource)),
        (_counted(checked), True, lambda row: str(row.trials)),
        (f"{text.many(word)} each", has_each, lambda row: text.resource(row.units_each)),
        ("in all", bool(word), lambda row: text.resource(row.units_all)),
        ("time limit", True, lambda row: text.time_limit(row.time_limit_seconds)),
        ("GPUs", has_gpus, lambda row: str(row.gpus)),
        ("likely", has_gpus and has_likely, lambda row: _hours(row.likely_gpu_hours)),
        ("at most", has_gpus, lambda row: _hours(row.most_gpu_hours)),
    ]
    shown = [column for column in columns if column[1]]
    rows = [[title for title, _, _ in shown]]
    rows += [[cell(row) for _, _, cell in shown] for row in plan]
    if len(plan) > _MOST_ROWS:
        rows[4:-1] = [["..." if index == 0 else "" for index in range(len(shown))]]
    totals = {
        "in all": text.resource(_total(row.units_all for row in plan)),
        "likely": _hours(_total(row.likely_gpu_hours for row in plan)),
        "at most": _hours(_total(row.most_gpu_hours for row in plan)),
    }
    if len(plan) > 1:
        rows.append([totals.get(title, "") for title, _, _ in shown])
        rows[-1][0] = "total"
    lines = [f"{'Plan':<{_LABEL}}{_plan_words(checked)}"]
    lines += _race(checked)
    lines += _brackets(checked)
    lines.append(text.table(rows, ">" * len(shown), indent="  "))
    lines += _comparison(checked)
    if has_gpus:
        lines.append(text.wrap(_hours_words(checked), first="  ", rest="  "))
    return "\n".join(lines)


def _up_to(checked: Checked) -> str:
    """Return the title of the resource of the rungs; empty when there is none to show."""
    fidelity = checked.loaded.spec.fidelity
    if fidelity is None or checked.race:
        return ""
    word = text.many(fidelity.resource)
    return f"up to {word}" if _runs_through(checked) else word


def _hours_words(checked: Checked) -> str:
    """Return what the GPU-hours rest on."""
    fidelity = checked.loaded.spec.fidelity
    parts = ["GPU-hours"]
    if fidelity is not None and fidelity.unit_time is not None:
        parts.append(f"likely from fidelity.unit_time = {fidelity.unit_time:g} s")
    elif fidelity is not None:
        parts.append("fidelity.unit_time, seconds per unit, would give a likely figure")
    more = any(row.slots > row.trials for row in checked.plan)
    slots = "all slots that this takes" if more else "every slot"
    parts.append(f"at most if {slots} used the whole time limit and nothing was repeated")
    return f"{'; '.join(parts)}."


def _runs_through(checked: Checked) -> bool:
    from slurmtune.spec.rungs import runs_through

    return runs_through(checked.loaded.spec)


def _counted(checked: Checked) -> str:
    """Return what the counts of the plan are counts of."""
    return "evaluations" if checked.race else "trials"


def _plan_words(checked: Checked) -> str:
    from slurmtune.spec.rungs import is_own

    fidelity = checked.loaded.spec.fidelity
    if fidelity is None:
        return "each trial runs once and ends by itself"
    scheduler = checked.loaded.spec.search.scheduler
    word = text.many(fidelity.resource)
    top = f"{text.resource(fidelity.max)} {word}"
    if checked.race:
        return f"races over up to {top}, until the results tell who is best"
    if scheduler == "pbt":
        return f"each generation continues the checkpoints of the one before, up to {top}"
    if scheduler == "median":
        return f"each trial runs to {top}, unless it is stopped for being below the median"
    if _runs_through(checked):
        share = f"best 1/{fidelity.eta}"
        return f"eta {fidelity.eta}, a trial runs on, and stops at a rung unless in its {share}"
    if len(checked.plan) == 1:
        return f"each trial runs to {top}"
    how = "continue from their checkpoint" if fidelity.resume else "start again"
    if is_own(scheduler):
        return f"if your scheduler promotes 1/{fidelity.eta} of each rung; promoted trials {how}"
    if scheduler == "pasha":
        return f"at most, eta {fidelity.eta}; rungs open as needed, promoted trials {how}"
    return f"eta {fidelity.eta}, promoted trials {how}"


def _race(checked: Checked) -> list[str]:
    """Return irace's iterations."""
    if not checked.race:
        return []
    from slurmtune.spec.rungs import bracket_word

    fewest, most = checked.race_trials
    rows = [[bracket_word("irace"), "evaluations", "configs"]]
    rows += [[str(row.iteration), str(row.budget), str(row.configs)] for row in checked.race]
    words = f"What one leaves unused is the next one's, for more configs: some {fewest} to {most}."
    if _ends_races(checked):
        words = (
            f"What one leaves unused is the next one's: with enough trials some {fewest} to "
            f"{most} would be started; search.trials = {checked.trials} ends it before, with "
            "fewer evaluations."
        )
    return [text.table(rows, ">>>", indent="  "), text.wrap(words, first="  ", rest="  ")]


def _brackets(checked: Checked) -> list[str]:
    """Return the brackets with their costs; of a single one its totals only."""
    found, fidelity = checked.brackets, checked.loaded.spec.fidelity
    if not found or fidelity is None:
        return []
    from slurmtune.spec.rungs import bracket_word, kind_of

    resumed = "resumed" if fidelity.resume else "if resumed"
    if _runs_through(checked):
        return _stops(checked)
    if len(found) == 1:
        [row] = found
        if checked.loaded.spec.search.scheduler == "pbt":
            return [_generations(checked, row)]
        costs = f"{text.of_resource(row.cost_from_scratch, fidelity.resource)} from scratch"
        amount = text.plural(row.evaluations, "evaluation")
        return [f"  {amount}: {costs}, {text.resource(row.cost_resumed)} {resumed}"]
    word = bracket_word(kind_of(checked.loaded.spec))
    has_times = any(row.times > 1 for row in found)
    columns: list[tuple[str, bool, Any]] = [
        (word, True, _numbers),
        ("times", has_times, lambda row: str(row.times)),
        (f"trials@{text.many(fidelity.resource)}", True, _stages),
        ("configs", True, lambda row: str(row.configs)),
        ("evaluations", True, lambda row: str(row.evaluations)),
        ("from scratch", True, lambda row: text.resource(row.cost_from_scratch)),
        (resumed, True, lambda row: text.resource(row.cost_resumed)),
    ]
    shown = [column for column in columns if column[1]]
    rows = [[title for title, _, _ in shown]]
    rows += [[cell(row) for _, _, cell in shown] for row in found]
    totals = {
        word: "total",
        "configs": str(sum(row.configs for row in found)),
        "evaluations": str(sum(row.evaluations for row in found)),
        "from scratch": text.resource(sum(row.cost_from_scratch for row in found)),
        resumed: text.resource(sum(row.cost_resumed for row in found)),
    }
    rows.append([totals.get(title, "") for title, _, _ in shown])
    align = "".join("<" if "@" in title else ">" for title, _, _ in shown)
    return [text.table(rows, align, indent="  ")]


def _generations(checked: Checked, row: BracketRow) -> str:
    """Return what a population costs, and how fast it changes."""
    members, quantile = row.plan.trials, checked.loaded.spec.search.pbt.quantile
    leaving = min(math.ceil(quantile * members), members // 2)
    fidelity = checked.loaded.spec.fidelity
    word = "" if fidelity is None else fidelity.resource
    costs = text.of_resource(row.cost_resumed, word)
    give = "gives way to an heir" if leaving == 1 else "give way to heirs"
    amount = text.plural(row.evaluations, "evaluation")
    return f"  {amount}: {costs}; after each generation {leaving} of {members} {give}"


def _stops(checked: Checked) -> list[str]:
    """Return how many trials get how far when they run on until they are stopped."""
    fidelity = checked.loaded.spec.fidelity
    assert fidelity is not None
    title = f"trials@{text.many(fidelity.resource)} if 1/{fidelity.eta} of each rung run on"
    stopped, *control = map(_stages, checked.brackets)
    group = f"; the control group {control[0]}" if control else ""
    return [text.wrap(f"{title}: {stopped}{group}", first="  ", rest="  ")]


def _numbers(row: BracketRow) -> str:
    """Return the numbers of a bracket that is run several times: ``0, 3, ...``."""
    if row.bracket is None:
        return "hedge"
    more = ["..."] if len(row.numbers) > 2 else []
    return ", ".join([*map(str, row.numbers[:2]), *more])


def _stages(row: BracketRow) -> str:
    """Return how many trials are trained up to what: ``81@1 27@3 9@9 3@27 1@81``."""
    stages = [
        f"{size}@{text.resource(level)}"
        for size, level in zip(row.plan.sizes, row.plan.levels, strict=True)
    ]
    if len(stages) > _MOST_STAGES:
        stages[3:-1] = ["..."]
    return " ".join(stages)


def _comparison(checked: Checked) -> list[str]:
    """Return what the same trials would cost without early stopping."""
    plan = checked.plan
    total, top = _total(row.units_all for row in plan), plan[-1].resource
    is_like = checked.loaded.spec.search.scheduler not in {"pbt", "irace"}
    if not checked.brackets or total is None or top is None or not total or not is_like:
        return []
    word = "" if checked.loaded.spec.fidelity is None else checked.loaded.spec.fidelity.resource
    full = checked.trials * top
    if full <= total:
        return []
    amount = f"{checked.trials} x {text.resource(top)} = {text.of_resource(full, word)}"
    return [f"  Without early stopping: {amount}, {full / total:.1f} times as many."]


def _slurm(found: cluster.Examination) -> str:
    lines = [f"{'Slurm':<{_LABEL}}{found.headline}"]
    colours = {"ok": "green", "note": "accent", "warn": "yellow", "error": "red"}
    width = max((len(one.subject) for one in found.findings), default=0)
    for one in found.findings:
        start = f"  {output.paint(f'{one.level:<5}', colours[one.level])} {one.subject:<{width}}  "
        plain = f"  {one.level:<5} {one.subject:<{width}}  "
        body = text.wrap(one.words.replace("\n", " "), first=plain, rest=" " * len(plain))
        lines.append(start + body[len(plain) :])
        if one.says:
            lines.append(f"{' ' * len(plain)}Slurm says: {one.says}")
    return "\n".join(lines)


def _last_line(checked: Checked, found: cluster.Examination | None) -> str:
    count = _warning_count(checked, found)
    told = f"{text.plural(count, 'warning')}; " if count else ""
    path = text.short_path(checked.loaded.path)
    if found is not None and found.errors:
        wrong = text.plural(len(found.errors), "error")
        return f"{wrong}, {told}nothing was submitted.   change [slurm] in {path}"
    is_elsewhere = found is not None and found.headline == cluster.ELSEWHERE
    local = " --local" if is_elsewhere else ""
    return f"{told}nothing was submitted.   next: slurmtune launch {path}{local}"


def _warning_count(checked: Checked, found: cluster.Examination | None) -> int:
    of_spec = sum(problem.severity.value == "warning" for problem in checked.loaded.problems)
    of_cluster = 0 if found is None else sum(one.level == "warn" for one in found.findings)
    return len(checked.warnings) + of_spec + of_cluster


def _hours(hours: float | None) -> str:
    return "-" if hours is None else f"{hours:.1f} h"


def _total(numbers: Any) -> Any:
    found = list(numbers)
    return None if None in found else sum(found)


# -------------------------------------------------------------------- as data


def _data(checked: Checked, found: cluster.Examination | None) -> dict[str, Any]:
    spec = checked.loaded.spec
    return {
        "schema": "slurmtune.check/1",
        "ok": found is None or not found.errors,
        "study": spec.study.name,
        "dir": checked.directory,
        "is_new": checked.is_new,
        "problems": [problem.as_json() for problem in checked.loaded.problems],
        "warnings": list(checked.warnings),
        "changes": [asdict(change) for change in checked.changes],
        "trials": checked.trials,
        "space": [
            {"name": item.name, "kind": item.domain.kind, "values": item.domain.describe()}
            for item in checked.space.hyperparameters
        ],
        "draws": [dict(draw) for draw in _draws(checked)],
        "plan": [asdict(row) for row in checked.plan],
        "brackets": [_bracket_data(row) for row in checked.brackets],
        "race": [asdict(row) for row in checked.race],
        "slurm": None if found is None else found.as_json(),
    }


def _bracket_data(row: BracketRow) -> dict[str, Any]:
    stages = zip(row.plan.levels, row.plan.sizes, strict=True)
    return {
        "bracket": row.bracket,
        "times": row.times,
        "rungs": [
            {"rung": row.first_rung + number, "resource": level, "trials": size}
            for number, (level, size) in enumerate(stages)
        ],
        "configs": row.configs,
        "evaluations": row.evaluations,
        "cost_from_scratch": row.cost_from_scratch,
        "cost_resumed": row.cost_resumed,
    }


def refuse_unless_good(found: cluster.Examination) -> None:
    """Raise when Slurm would refuse what is about to be submitted.

    Raises:
        BackendError: it would; says why.
    """
    if found.errors:
        raise BackendError(f"{cluster.refusal(found.errors)}\nNothing was submitted.")

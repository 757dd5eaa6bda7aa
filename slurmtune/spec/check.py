"""What must hold between the parts of a spec, each check with the place and the remedy.

Every check gets the spec that is left when wrong parts are taken out, and the tree that tells
where things stand; a check about a part that is wrong anyway says nothing (`Checker.is_sound`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slurmtune.space.condition import Condition
from slurmtune.space.expression import Expression
from slurmtune.spec.field import is_number
from slurmtune.spec.hyperparameter import (
    HyperparameterSpec,
    contains,
    describe_limits,
    is_enumerable,
    levels,
    outside,
    plain,
)
from slurmtune.spec.model import Spec
from slurmtune.spec.problem import Problem, Severity
from slurmtune.spec.rungs import rung_count
from slurmtune.spec.scheduling import scheduling_problems
from slurmtune.spec.source import Path, Tree, dotted
from slurmtune.spec.words import did_you_mean, kind, number_text, quoted

PLACEHOLDERS = ("start", "end", "config", "trial", "rung", "seed", "checkpoint")
"""What a command or a template may hold in braces besides hyperparameters, most used first."""
SELDOM_PLACEHOLDERS = ("resource", "save")
"""May be used as well; left out of the hint, which would get too long for a line."""
ARGUMENT_STYLES = ("gnu", "hydra", "json", "none")
_FOR_PROMOTIONS = "the smallest budget must leave room for at least one promotion"
_ROOM: Mapping[str, str] = {
    "none": "min does nothing without a scheduler: remove it",
    "median": "nobody is stopped below min, so that it must leave room for a stop before max",
    "pbt": "min is the length of a generation, and max must have room for at least two",
}
"""Why min must be below max, by scheduler; for others there must be something to promote to."""
_PLACEHOLDER = re.compile(r"(?<!\$)\{([A-Za-z_][A-Za-z0-9_.-]*)\}", re.ASCII)
_COLUMN = re.compile(r"column (\d+): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Checker:
    """A spec, where it comes from, and which parts of it are wrong already."""

    tree: Tree
    spec: Spec
    names: Collection[str]
    """All hyperparameters, also those that are wrong themselves."""
    wrong: frozenset[str]
    """Dotted paths of the problems found so far."""

    def problems(self) -> Iterator[Problem]:
        """Yield everything that does not go together."""
        yield from self._run()
        yield from self._env()
        yield from self._conditions()
        yield from self._grid()
        yield from self._objectives()
        yield from self._fidelity()
        yield from self._rungs()
        yield from self._slurm()

    def is_sound(self, *path: str | int) -> bool:
        """Tell whether nothing at, above or below ``path`` is wrong already."""
        here = dotted(path)
        return not any(
            here == other or here.startswith((f"{other}.", f"{other}[")) or
            other.startswith((f"{here}.", f"{here}["))
            for other in self.wrong
        )  # fmt: skip

    def given(self, *path: str | int) -> bool:
        """Tell whether something stands at ``path``."""
        return self.tree.get(path) is not None

    def _run(self) -> Iterator[Problem]:
        run = self.spec.run
        if run.command is None and run.function is None and self.is_sound("run"):
            fix = 'add  command = "python train.py"  or  function = "module:name"'
            yield self.tree.problem("R7", "no command", ("run",), fix=fix, at_key=True)
        if run.command is not None and run.function is not None:
            message = "command and function exclude each other"
            path = ("run", "function")
            yield self.tree.problem("R10", message, path, fix="remove one of them", at_key=True)
        if isinstance(run.command, str):
            yield from self._unsplittable(run.command, ("run", "command"))
            yield from self._placeholders(run.command, ("run", "command"))
        for index, word in enumerate(run.command if isinstance(run.command, tuple) else ()):
            yield from self._placeholders(word, ("run", "command", index))
        if run.args not in ARGUMENT_STYLES:
            yield from self._template(run.args)

    def _template(self, template: str) -> Iterator[Problem]:
        path = ("run", "args")
        if re.fullmatch(r"\w+", template):
            guess = did_you_mean(template, ARGUMENT_STYLES)
            listed = 'one of: gnu, hydra, json, none, or a template such as "--lr {lr}"'
            fix = f"{guess}  {listed}" if guess else listed
            yield self.tree.problem("M1", f"args cannot be {quoted(template)}", path, fix=fix)
            return
        yield from self._unsplittable(template, path)
        yield from self._placeholders(template, path)

    def _unsplittable(self, text: str, path: Path) -> Iterator[Problem]:
        try:
            shlex.split(text)
        except ValueError:
            fix = "close the quotes, or write a list of words"
            yield self.tree.problem("R18", f"{path[-1]} has an open quote", path, fix=fix)

    def _placeholders(self, text: str, path: Path) -> Iterator[Problem]:
        if not self.is_sound("space") and self.tree.get(("space",)) is None:
            return
        for name in dict.fromkeys(_PLACEHOLDER.findall(text)):
            if name in self.spec.space and self.spec.space[name].when:
                message = f"{{{name}}} has no value while its condition does not hold"
                fix = f"read {name} from the config instead, or leave its 'when' out"
                warning = Severity.WARNING
                yield self.tree.problem("R19", message, path, fix=fix, severity=warning)
            if name in {*self.names, *PLACEHOLDERS, *SELDOM_PLACEHOLDERS}:
                continue
            guess = did_you_mean(name, self.names)
            listed = " ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            fix = f"{guess}  also known: {listed}" if guess else f"also known: {listed}"
            message = f"{{{name}}} is not a hyperparameter"
            yield self.tree.problem("R5", message, path, fix=fix)

    def _env(self) -> Iterator[Problem]:
        env = self.spec.env
        given = [key for key in ("conda", "venv", "container") if getattr(env, key)]
        if len(given) > 1:
            message = f"{given[0]} and {given[1]} exclude each other"
            path = ("env", given[1])
            yield self.tree.problem("R10", message, path, fix="keep one of them", at_key=True)

    def _conditions(self) -> Iterator[Problem]:
        for name, parameter in self.spec.space.items():
            for parent, asked in parameter.when.items():
                path: Path = ("space", name, "when", parent)
                if parent not in self.names:
                    guess = did_you_mean(parent, self.names)
                    known = f"known: {', '.join(sorted(self.names)[:30])}"
                    # The list says it all when it is short.
                    fix = f"{guess}  {known}" if guess and len(self.names) > 6 else known
                    message = f"{quoted(parent)} is not a hyperparameter"
                    yield self.tree.problem("S12", message, path, fix=fix)
                else:
                    yield from self._condition(parent, asked, path)
        yield from self._cycles()

    def _condition(self, parent: str, asked: Any, path: Path) -> Iterator[Problem]:
        try:
            Condition.parse({parent: asked})
        except ValueError as error:
            fix = 'a value, a list of values, or a comparison such as ">= 3"'
            yield self.tree.problem("S23", str(error), path, fix=fix)
            return
        parameter = self.spec.space.get(parent)
        if parameter is None:
            return
        is_comparison = isinstance(asked, str) and bool(re.match(r"\s*(?:>=|<=|==|!=|>|<)", asked))
        if is_comparison:
            listed = levels(parameter)
            if listed and not any(map(is_number, listed)) and re.match(r"\s*[<>]", asked):
                message = f"{quoted(asked)} compares numbers, but {parent} has none"
                fix = f"values of {parent}: {describe_limits(parameter)}"
                yield self.tree.problem("S23", message, path, fix=fix)
            return
        options = asked if isinstance(asked, tuple) else (asked,)
        for index, option in enumerate(options):
            if not contains(parameter, option):
                where = (*path, index) if isinstance(asked, tuple) else path
                guess = did_you_mean(str(option), map(plain, levels(parameter)))
                fix = guess or f"values of {parent}: {describe_limits(parameter)}"
                message = f"{parent} can never be {quoted(option)}"
                yield self.tree.problem("S23", message, where, fix=fix)

    def _cycles(self) -> Iterator[Problem]:
        done: set[str] = set()
        for first in self.spec.space:
            trail: list[str] = []
            yield from self._visit(first, trail, done)

    def _visit(self, first: str, trail: list[str], done: set[str]) -> Iterator[Problem]:
        """Follow the conditions depth first, with a stack of our own: chains may be long."""
        stack: list[tuple[str, Iterator[str]]] = []
        if first in done:
            return
        stack.append((first, iter(self.spec.space[first].when)))
        trail.append(first)
        while stack:
            name, parents = stack[-1]
            parent = next(parents, None)
            if parent is None:
                stack.pop()
                trail.pop()
                done.add(name)
            elif parent in trail:
                circle = " -> ".join([*trail[trail.index(parent) :], parent])
                message = f"conditions go round in a circle: {circle}"
                path = ("space", name, "when", parent)
                fix = "remove one of these conditions"
                yield self.tree.problem("S22", message, path, fix=fix)
            elif parent in self.spec.space and parent not in done:
                stack.append((parent, iter(self.spec.space[parent].when)))
                trail.append(parent)

    def _grid(self) -> Iterator[Problem]:
        if self.spec.search.sampler != "grid" or not self.is_sound("search", "sampler"):
            return
        for name, parameter in self.spec.space.items():
            if not is_enumerable(parameter):
                message = f"grid search cannot enumerate the continuous {quoted(name)}"
                fix = 'use linspace or geomspace, or sampler = "sobol"'
                yield self.tree.problem("S13", message, ("space", name), fix=fix)

    def _objectives(self) -> Iterator[Problem]:
        seen: set[str] = set()
        path: Path
        for index, objective in enumerate(self.spec.objective):
            if objective.metric in seen:
                path = ("objective", index, "metric")
                message = f"two objectives are called {quoted(objective.metric)}"
                yield self.tree.problem("M9", message, path, fix="remove one of them")
            seen.add(objective.metric)
        if not self.is_sound("objective"):
            return
        for metric in self.spec.stop.target:
            if metric not in seen:
                listed = ", ".join(objective.metric for objective in self.spec.objective)
                message = f"stop.target is about {quoted(metric)}, which is no objective"
                path = ("stop", "target", metric)
                fix = did_you_mean(metric, seen) or f"objectives: {listed}"
                yield self.tree.problem("M10", message, path, fix=fix, at_key=True)

    def _fidelity(self) -> Iterator[Problem]:
        scheduler, fidelity = self.spec.search.scheduler, self.spec.fidelity
        if fidelity is None:
            if scheduler != "none" and self.is_sound("fidelity"):
                message = f"{scheduler} needs to know what a budget is"
                fix = 'add  [fidelity]  resource = "epoch"  max = 81'
                if scheduler == "irace":
                    message = "irace needs to know how many instances there are"
                    fix = 'add  [fidelity]  resource = "fold"  max = 10: folds, seeds or data sets'
                yield self.tree.problem("M5", message, ("search", "scheduler"), fix=fix)
            return
        if self._contradicts_rungs():
            yield from self._ends()
        elif self._lacks_room():
            low, high = number_text(fidelity.min), number_text(fidelity.max)
            is_given = self.given("fidelity", "min")
            path = ("fidelity", "min" if is_given else "max")
            message = f"min {low} is not below max {high}"
            if fidelity.rungs is not None:
                path = ("fidelity", "rungs")
                message = f"there is one rung, at {high}"
            yield self.tree.problem("M6", message, path, fix=_ROOM.get(scheduler, _FOR_PROMOTIONS))
        elif fidelity.max / fidelity.min > 1e15:
            message = "max is too far above min: more than 10^15 times"
            yield self.tree.problem("M6", message, ("fidelity", "max"))
        else:
            yield from scheduling_problems(self)

    def _lacks_room(self) -> bool:
        """Tell whether nothing lies between the smallest and the largest budget."""
        fidelity, scheduler = self.spec.fidelity, self.spec.search.scheduler
        assert fidelity is not None
        if scheduler == "irace" or not self.is_sound("fidelity", "min"):
            return False  # its rungs are instances: what is wrong with their number is told there
        is_enough = fidelity.min == fidelity.max and scheduler == "none"
        return fidelity.min >= fidelity.max and not is_enough

    def _contradicts_rungs(self) -> bool:
        fidelity = self.spec.fidelity
        if fidelity is None or fidelity.rungs is None:
            return False
        return (fidelity.min, fidelity.max) != (fidelity.rungs[0], fidelity.rungs[-1])

    def _ends(self) -> Iterator[Problem]:
        fidelity = self.spec.fidelity
        assert fidelity is not None
        assert fidelity.rungs is not None
        ends = (("min", "begin", fidelity.rungs[0]), ("max", "end", fidelity.rungs[-1]))
        for key, word, end in ends:
            if getattr(fidelity, key) != end:
                message = f"rungs {word} with {number_text(end)}, but {key} says otherwise"
                fix = f"remove {key}, or write {key} = {number_text(end)}"
                yield self.tree.problem("M6", message, ("fidelity", key), fix=fix)

    def _rungs(self) -> Iterator[Problem]:
        count = rung_count(self.spec)
        if count is None or not (
            self.is_sound("fidelity") and self.is_sound("search", "scheduler")
        ):
            return
        for number in self.spec.slurm.rung:
            if number >= count:
                has = "1 rung: 0" if count == 1 else f"{count} rungs: 0 to {count - 1}"
                path = ("slurm", "rung", str(number))
                message, fix = f"there is no rung {number}", f"this study has {has}"
                yield self.tree.problem("R3", message, path, fix=fix, at_key=True)

    def _slurm(self) -> Iterator[Problem]:
        spec = self.spec
        tables: list[tuple[Any, Path]] = [(spec.slurm, ("slurm",))]
        tables += [(table, ("slurm", "rung", str(n))) for n, table in spec.slurm.rung.items()]
        for table, path in tables:
            given = table.model_fields_set
            for one, other in (("gpus_per_node", "gres"), ("time", "time_per_unit")):
                if {one, other} <= given and not (
                    other == "gres" and "gpu" not in str(table.gres)
                ):
                    message = f"{one} and {other} exclude each other"
                    fix = "keep one of them"
                    yield self.tree.problem("R10", message, (*path, other), fix=fix, at_key=True)
            if "time_per_unit" in given and spec.fidelity is None and self.is_sound("fidelity"):
                message = "time_per_unit needs to know the units of a rung"
                fix = 'add  [fidelity]  resource = "epoch"  max = 81, or write time = "04:00:00"'
                where = (*path, "time_per_unit")
                yield self.tree.problem("M5", message, where, fix=fix)


def read_rungs(tree: Tree) -> tuple[dict[int, Any], list[Problem]]:
    """Return the tables of ``[slurm.rung]`` by their number."""
    table = tree.get(("slurm", "rung"))
    found: dict[int, Any] = {}
    problems: list[Problem] = []
    for key, value in table.items() if isinstance(table, dict) else ():
        path: Path = ("slurm", "rung", key)
        if not re.fullmatch(r"0|[1-9]\d{0,3}", key, re.ASCII):
            message = f"{quoted(key)} is not the number of a rung"
            fix = "rungs count from 0, such as [slurm.rung.1]"
            problems.append(tree.problem("R3", message, path, fix=fix, at_key=True))
        elif not isinstance(value, dict):
            message = f"rung {key} must be a table, not {kind(value)}"
            problems.append(
                tree.problem("M7", message, path, fix=f"open it with [slurm.rung.{key}]")
            )
        else:
            found[int(key)] = dict(value)
    return found, problems


def read_constraints(
    tree: Tree, names: Collection[str]
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Return the rules of ``[constraints]`` and what is wrong with the others."""
    table = tree.get(("constraints",))
    found: list[dict[str, Any]] = []
    problems: list[Problem] = []
    if table is not None and not isinstance(table, dict):
        message = f"constraints must be a table, not {kind(table)}"
        fix = 'write  [constraints]  memory = "batch_size * width <= 65536"'
        problems.append(tree.problem("M7", message, ("constraints",), fix=fix))
        return found, problems
    for name, text in (table or {}).items():
        path: Path = ("constraints", name)
        if not isinstance(text, str):
            message = f"a constraint must be text, not {kind(text)}"
            fix = f'such as {name} = "batch_size * width <= 65536"'
            problems.append(tree.problem("S24", message, path, fix=fix))
            continue
        errors = list(_constraint_problems(tree, path, text, names))
        problems += errors
        if not errors:
            found.append({"name": name, "expression": text})
    return found, problems


def _constraint_problems(
    tree: Tree, path: Path, text: str, names: Collection[str]
) -> Iterator[Problem]:
    try:
        rule = Expression(text)
    except ValueError as error:
        found = _COLUMN.fullmatch(str(error))
        words, _, allowed = (found.group(2) if found else str(error)).partition("; allowed: ")
        words += f" (character {found.group(1)})" if found else ""
        fix = f"a rule may hold {allowed}" if allowed else ""
        yield tree.problem("S24", f"the rule is not understood: {words}", path, fix=fix)
        return
    for name in sorted(rule.names - set(names)):
        fix = did_you_mean(name, names) or f"known: {', '.join(sorted(names)[:30])}"
        message = f"{quoted(name)} is not a hyperparameter"
        yield tree.problem("S24", message, path, fix=fix)
    if not rule.names:
        message = "the rule is not about any hyperparameter"
        yield tree.problem("S24", message, path)


def read_start(
    tree: Tree, space: Mapping[str, HyperparameterSpec], names: Collection[str]
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Return the configs of ``[[start]]`` that the space can hold."""
    given = tree.get(("start",))
    is_single = isinstance(given, dict)
    tables: Iterable[Any] = [given] if is_single else given if isinstance(given, list) else []
    problems: list[Problem] = []
    if given is not None and not isinstance(given, (dict, list)):
        message = f"start must be a table, not {kind(given)}"
        problems.append(tree.problem("M7", message, ("start",), fix="open it with [[start]]"))
    found: list[dict[str, Any]] = []
    for index, table in enumerate(tables):
        path: Path = ("start",) if is_single else ("start", index)
        errors = list(_start_problems(tree, path, table, space, names))
        if not errors and any(config["values"] == table for config in found):
            message = "this start is given twice"
            warning = Severity.WARNING
            errors.append(
                tree.problem("S25", message, path, fix="remove it", at_key=True, severity=warning)
            )
        elif not errors:
            found.append({"values": dict(table)})
        problems += errors
    return found, problems


def _start_problems(
    tree: Tree,
    path: Path,
    table: Any,
    space: Mapping[str, HyperparameterSpec],
    names: Collection[str],
) -> Iterator[Problem]:
    if not isinstance(table, dict):
        message = f"start must be a table, not {kind(table)}"
        yield tree.problem("M7", message, path, fix="open it with [[start]]")
        return
    for name, value in table.items():
        where = (*path, name)
        if name not in names:
            fix = did_you_mean(name, names) or f"known: {', '.join(sorted(names)[:30])}"
            message = f"{quoted(name)} is not a hyperparameter"
            yield tree.problem("S25", message, where, fix=fix, at_key=True)
        elif not isinstance(value, (str, int, float)):
            message = f"a value must be text, a number, true or false, not {kind(value)}"
            yield tree.problem("S25", message, where)
        elif name in space and not contains(space[name], value):
            yield tree.problem("S25", f"start {outside(space[name], value)}", where)

"""From a tree of data to a `Spec`, and from pydantic's errors to problems in our own words.

What is wrong is told and taken out, and what is left is validated again: so that a mistake in one
table does not hide the mistakes in the others.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from slurmtune.spec import model
from slurmtune.spec.field import KEY, PATH
from slurmtune.spec.problem import Problem
from slurmtune.spec.source import Path, Tree
from slurmtune.spec.words import kind, nearest, quoted

TABLES: Mapping[str, type[BaseModel]] = {
    "study": model.StudyTable,
    "run": model.RunTable,
    "env": model.EnvTable,
    "objective": model.ObjectiveTable,
    "search": model.SearchTable,
    "fidelity": model.FidelityTable,
    "slurm": model.SlurmTable,
    "retry": model.RetryTable,
    "stop": model.StopTable,
    "checkpoint": model.CheckpointTable,
    "report": model.ReportTable,
}
TOP_LEVEL = ("study", "run", "env", "space", "constraints", "start", *list(TABLES)[3:])

SEARCH_TABLES: Mapping[str, type[BaseModel]] = {
    "gp": model.GaussianProcessTable,
    "median": model.MedianTable,
    "pasha": model.PashaTable,
    "pbt": model.PopulationTable,
    "irace": model.RaceTable,
    "dehb": model.DifferentialEvolutionTable,
    "tpe": model.KernelDensityTable,
}
"""Tables within ``[search]``: the options of one sampler or scheduler."""

_OTHER_WORDS: Mapping[str, Mapping[str, str]] = {
    "": {
        "hyperparameters": "space", "parameters": "space", "params": "space",
        "search_space": "space", "hparams": "space", "metric": "objective",
        "metrics": "objective", "resources": "slurm", "cluster": "slurm", "sbatch": "slurm",
        "tuner": "search", "environment": "env", "budget": "fidelity", "limits": "stop",
    },
    "study": {"title": "name", "study_name": "name", "directory": "dir", "output": "dir"},
    "run": {"cmd": "command", "program": "command", "script": "command", "exec": "command",
            "cwd": "workdir", "arguments": "args"},
    "env": {"environment": "vars", "variables": "vars", "module": "modules", "image": "container",
            "virtualenv": "venv"},
    "objective": {"direction": "goal", "mode": "goal", "optimize": "goal", "name": "metric",
                  "minimise": "goal", "target": "metric"},
    "search": {"n_trials": "trials", "num_samples": "trials", "max_trials": "trials",
               "num_trials": "trials", "n_experiments": "trials", "searcher": "sampler",
               "search_alg": "sampler", "algorithm": "sampler", "method": "sampler",
               "pruner": "scheduler", "concurrency": "parallel", "max_concurrent": "parallel",
               "n_jobs": "parallel", "workers": "parallel", "n_startup_trials": "startup",
               "scheduler_options": "options", "population": "trials",
               "population_size": "trials"},
    "fidelity": {"max_t": "max", "max_iter": "max", "max_epochs": "max", "max_resource": "max",
                 "grace_period": "min", "min_resource": "min", "min_t": "min",
                 "reduction_factor": "eta", "time_attr": "resource", "name": "resource",
                 "levels": "rungs", "rung_levels": "rungs", "milestones": "rungs"},
    "slurm": {"timeout": "time", "walltime": "time", "runtime": "time", "timeout_min": "time",
              "time_limit": "time", "memory": "mem", "mem_gb": "mem", "gpus": "gpus_per_node",
              "gpu": "gpus_per_node", "cpus": "cpus_per_task", "queue": "partition",
              "project": "account"},
    "retry": {"out_of_memory": "oom", "preemption": "preempted", "failed": "crash"},
    "stop": {"timeout": "wall_time", "patience": "stall", "max_gpu_hours": "gpu_hours"},
}  # fmt: skip

# Options of sbatch that people look for as keys of [slurm].
_SBATCH = {
    "mail_type", "mail_user", "nice", "nodes", "ntasks", "ntasks_per_node", "nodelist", "licenses",
    "reservation", "begin", "deadline", "exclusive", "hint", "mem_per_cpu", "mem_per_gpu",
    "cpus_per_gpu", "gpus_per_task", "gpu_bind", "cpu_bind", "cluster", "clusters", "prefer",
    "tmp", "switches", "oversubscribe", "priority", "wckey", "profile", "core_spec", "propagate",
    "cores_per_socket", "threads_per_core", "distribution", "export", "output", "error", "array",
    "job_name", "dependency", "contiguous", "hold", "overcommit", "power", "reboot", "uid", "gid",
}  # fmt: skip

_MISSING_TABLE = {
    "study": 'add  [study]  name = "my-study"',
    "run": 'add  [run]  command = "python train.py"',
    "space": "add  [space]  lr = { loguniform = [1e-5, 1e-1] }",
    "objective": 'add  [objective]  metric = "val_loss"  goal = "minimize"',
}
_MISSING_KEY = {
    "name": 'add  name = "my-study"',
    "max": "add  max = 81, the budget of a full training",
    "metric": 'add  metric = "val_loss"',
    "goal": 'add  goal = "minimize", or goal = "maximize"',
}
_STAND_INS: Mapping[str, Any] = {
    "study": {"name": "unnamed"},
    "run": {},
    "space": {},
    "objective": [{"metric": "loss", "goal": "minimize"}],
}


def keys_of(table: type[BaseModel]) -> list[str]:
    """Return the keys that a table takes, as written in a spec."""
    return [field.alias or name for name, field in table.model_fields.items()]


def wants_text(path: Path) -> bool:
    """Tell whether the key at ``path`` takes text and no number: ``slurm.account``."""
    table = TABLES.get(str(path[0])) if len(path) == 2 else None
    field = table.model_fields.get(str(path[1])) if table is not None else None
    types = _types(field.annotation) if field is not None else set()
    return str in types and int not in types


def take_out_unknown(tree: Tree, data: dict[str, Any]) -> tuple[list[Problem], set[Path]]:
    """Remove every unknown key from ``data``; return what is said, and which were meant."""
    finder = _UnknownKeys(tree)
    finder.look(data)
    return finder.problems, finder.meant


def validate(
    tree: Tree, data: dict[str, Any], meant: Collection[Path] = ()
) -> tuple[model.Spec, list[Problem]]:
    """Return the spec that is left of ``data`` when everything wrong is taken out, and why.

    What stands in ``meant`` was given under a wrong name and is not said to be missing.
    """
    problems: list[Problem] = []
    left = copy.copy(data)
    for attempt in range(64):
        try:
            return model.Spec.model_validate(left), problems
        except ValidationError as error:
            errors = error.errors(include_url=False)
            if attempt == 0:
                problems += [
                    _problem(tree, dict(item))
                    for item in errors
                    if item["type"] != "missing" or _tree_path(tree, item["loc"]) not in meant
                ]
            left = copy.deepcopy(left)
            for item in errors:
                _take_out(left, tuple(item["loc"]), item["type"])
    raise AssertionError("validation does not come to an end")


def _types(annotation: Any) -> set[Any]:
    """Return the types in a union, without what is annotated to them."""
    if get_origin(annotation) is Annotated:
        return _types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_types, get_args(annotation)))
    return {annotation}


class _UnknownKeys:
    """Finds and removes what no table takes."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.problems: list[Problem] = []
        self.meant: set[Path] = set()

    def look(self, data: dict[str, Any]) -> None:
        for key in [key for key in data if key not in TOP_LEVEL]:
            self._unknown_top(key)
            del data[key]
        for name, table in TABLES.items():
            if name == "objective":
                self._in_objectives(data.get(name))
            else:
                self._in_table(data.get(name), table, (name,))
        for name, table in SEARCH_TABLES.items():
            self._in_table(_inner(data, ("search", name)), table, ("search", name))
        rungs = _inner(data, ("slurm", "rung"))
        for key, rung in rungs.items() if isinstance(rungs, dict) else ():
            self._in_table(rung, model.RungTable, ("slurm", "rung", str(key)))

    def _in_objectives(self, objectives: Any) -> None:
        is_single = isinstance(self._tree.get(("objective",)), dict)
        for index, table in enumerate(objectives if isinstance(objectives, list) else []):
            path: Path = ("objective",) if is_single else ("objective", index)
            self._in_table(table, model.ObjectiveTable, path)

    def _in_table(self, given: Any, table: type[BaseModel], path: Path) -> None:
        if not isinstance(given, dict):
            return
        known = keys_of(table)
        for key in [key for key in given if key not in known]:
            self._unknown_key(key, known, (*path, key), given[key])
            del given[key]

    def _unknown_top(self, key: str) -> None:
        guess = _OTHER_WORDS[""].get(key) or nearest(key, TOP_LEVEL)
        owners = [name for name, table in TABLES.items() if key in keys_of(table)]
        message = f"unknown table or key {quoted(key)}"
        if len(owners) == 1 and not isinstance(self._tree.get((key,)), (dict, list)):
            self._add("K2", message, (key,), _belongs(key, owners[0]))
            return
        if guess:
            self.meant.add((guess,))
        fix = f"did you mean '{guess}'?" if guess else f"tables: {', '.join(TOP_LEVEL)}"
        self._add("K6", message, (key,), fix)

    def _unknown_key(self, key: str, known: list[str], path: Path, value: Any) -> None:
        code, guess, fix = _meant(key, known, str(path[0]), value)
        if guess:
            self.meant.add((*path[:-1], guess))
            fix = f"did you mean '{guess}'?"
        where = ".".join(str(part) for part in path[:-1] if not isinstance(part, int))
        self._add(code, f"unknown key {quoted(key)} in {where}", path, fix)

    def _add(self, code: str, message: str, path: Path, fix: str) -> None:
        self.problems.append(self._tree.problem(code, message, path, fix=fix, at_key=True))


def _inner(data: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = data
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _belongs(key: str, table: str) -> str:
    return f"'{key}' belongs to [{table}]; in TOML a key belongs to the last [table] above it"


def _meant(key: str, known: list[str], table: str, value: Any) -> tuple[str, str, str]:
    """Return code, the key that was meant, and another remedy if that is not known."""
    underscored = key.replace("-", "_")
    if underscored != key and underscored in known:
        return "K4", underscored, ""
    other = _OTHER_WORDS.get(table, {}).get(underscored.lower())
    if other in known:
        return "K3", str(other), ""
    option = f"any sbatch option goes into  extra = {{ {key.replace('_', '-')} = ... }}"
    if table == "slurm" and underscored in _SBATCH:
        return "K5", "", option
    if key in ("space", "start", "constraints", *TABLES) and isinstance(value, dict):
        return "K2", "", f"'{key}' is a table of its own: [{key}]"
    if key == "include":
        return "K2", "", "'include' stands at the top of the file, above every [table]"
    owners = [name for name, fields in TABLES.items() if key in keys_of(fields)]
    if len(owners) == 1:
        return "K2", "", _belongs(key, owners[0])
    guess = nearest(key, known)
    if guess:
        return "K1", guess, ""
    if table == "slurm" and re.fullmatch(r"[a-z][a-z0-9_-]*", key):
        return "K5", "", option
    return "K1", "", f"keys of {table}: {', '.join(known)}"


def _problem(tree: Tree, item: dict[str, Any]) -> Problem:
    location = tuple(item["loc"])
    at_key = location[-1:] == ("[key]",)
    path = _tree_path(tree, location[:-1] if at_key else location)
    name = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
    if item["type"] == "missing":
        return _missing(tree, path)
    if item["type"] == "spec":
        context = item["ctx"]
        message = str(context["message"]).replace(KEY, name)
        dotted = ".".join(str(part) for part in path)
        fix = str(context["fix"]).replace(KEY, name).replace(PATH, dotted)
        return tree.problem(str(context["code"]), message, path, fix=fix, at_key=at_key)
    message = f"{name} cannot be {kind(item.get('input'))}"
    return tree.problem("M7", message, path, at_key=at_key)


def _missing(tree: Tree, path: Path) -> Problem:
    key = str(path[-1])
    if len(path) == 1:
        fix = _MISSING_TABLE.get(key, "")
        return tree.document.problem("K7", f"table [{key}] is missing", path=key, fix=fix)
    table = [str(part) for part in path[:-1] if not isinstance(part, int)]
    fix = _MISSING_KEY.get(key, f"add  {key} = ...")
    message = f"'{key}' is missing in [{'.'.join(table)}]"
    return tree.problem("K8", message, path[:-1], fix=fix, at_key=True)


def _tree_path(tree: Tree, location: Path) -> Path:
    """Return where pydantic's location stands in the tree."""
    path: Path = tuple(
        str(part) if isinstance(part, int) and index == 2 and location[:2] == ("slurm", "rung")
        else part
        for index, part in enumerate(location)
    )  # fmt: skip
    if path[:1] == ("objective",) and isinstance(tree.get(("objective",)), dict):
        path = ("objective", *path[2:])
    return path


def _take_out(data: dict[str, Any], location: Path, error: str) -> None:
    """Remove what is at ``location``, or what cannot do without it."""
    path = location[:-1] if error == "missing" or location[-1:] == ("[key]",) else location
    if location[-1:] == ("[key]",) or (error == "missing" and path and path[-1] == "[key]"):
        path = path[:-1]
    if not path:
        data[str(location[0])] = copy.deepcopy(_STAND_INS[str(location[0])])
        return
    holder: Any = data
    objectives = data.get("objective")
    steps: list[tuple[Any, Any]] = []
    for part in path:
        steps.append((holder, part))
        try:
            holder = holder[part]
        except (LookupError, TypeError):
            break
    while steps:
        holder, part = steps.pop()
        if isinstance(holder, dict) and part in holder:
            del holder[part]
            break
        if isinstance(objectives, list) and holder is objectives:
            objectives[part] = copy.deepcopy(_STAND_INS["objective"][0])
            break
    for name, stand_in in _STAND_INS.items():
        if name not in data:
            data[name] = copy.deepcopy(stand_in)

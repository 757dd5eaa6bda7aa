"""From a spec file to a checked `Spec`, with every problem found at once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slurmtune.spec.available import unavailable
from slurmtune.spec.check import Checker, read_constraints, read_rungs, read_start
from slurmtune.spec.difference import effective
from slurmtune.spec.field import own_scheduler, scheduler_path
from slurmtune.spec.hyperparameter import read_space
from slurmtune.spec.model import Spec
from slurmtune.spec.problem import Problem, Severity, SpecErrors, errors_among
from slurmtune.spec.source import (
    MAX_BYTES,
    Document,
    Path,
    Tree,
    decode,
    parse,
    parse_override,
)
from slurmtune.spec.translate import SEARCH_TABLES, take_out_unknown, validate, wants_text
from slurmtune.spec.whole import problems_of_space
from slurmtune.spec.words import did_you_mean, kind

SITE_FILE = "/etc/slurmtune.toml"
_DEFAULT_TABLES = ("slurm", "env", "report")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec:
    """A spec without errors."""

    spec: Spec
    text: str
    """The spec file as it was read."""
    sha256: str
    """Of the effective spec as canonical JSON: includes, defaults and overrides count."""
    problems: tuple[Problem, ...]
    """Warnings and notes."""
    given: frozenset[str]
    """Dotted paths that stand in any of the sources."""
    path: str
    base_dir: str
    """Absolute folder of the spec; its relative paths begin here."""
    overrides: tuple[str, ...] = ()
    """As they were given, ``KEY=VALUE``, without those of ``env``: these may hold secrets."""


def load_spec(path: str, overrides: Sequence[str] = (), *, launching: bool = False) -> LoadedSpec:
    """Read, merge and check a spec file.

    Below the file lie the site's and the user's own defaults and the files it includes; above it
    ``overrides``, each ``KEY=VALUE``. With ``launching``, what is not available yet is an error
    where ignoring it would change what is tried.

    Raises:
        SpecErrors: the spec, or a file it rests on, is wrong.
    """
    base_dir = os.path.dirname(os.path.abspath(path))
    defaults, problems = _default_trees()
    main, own = _read_tree(path, path)
    loaded, more = _assemble(main, own, defaults, overrides, base_dir)
    more += _unreadable_scheduler(loaded, base_dir)
    finished = _finish(loaded, [*problems, *more], path, base_dir, launching=launching)
    return replace(finished, overrides=_without_env(overrides))


def loads_spec(
    text: str,
    overrides: Sequence[str] = (),
    *,
    name: str = "spec.toml",
    base_dir: str = ".",
    launching: bool = False,
) -> LoadedSpec:
    """Check a spec given as text; no defaults of the site or the user are read.

    Raises:
        SpecErrors: the spec is wrong.
    """
    main, own = _decoded_tree(text.encode("utf-8", errors="surrogatepass"), name)
    loaded, problems = _assemble(main, own, [], overrides, base_dir)
    finished = _finish(loaded, problems, name, os.path.abspath(base_dir), launching=launching)
    return replace(finished, overrides=_without_env(overrides))


def sha256_of(spec: Spec) -> str:
    """Return the digest of the effective spec."""
    text = json.dumps(
        effective(spec), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _without_env(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that may be shown."""
    keys = (text.partition("=")[0].partition(".")[0].strip().strip("\"'") for text in overrides)
    return tuple(text for text, key in zip(overrides, keys, strict=True) if key != "env")


def _finish(
    tree: Tree, problems: list[Problem], path: str, base_dir: str, *, launching: bool
) -> LoadedSpec:
    spec = None
    # Without a tree there is nothing to check, and only the broken syntax is worth telling.
    if not any(problem.code.startswith("T") for problem in errors_among(problems)):
        spec, found = _checked(tree)
        problems = [*problems, *found]
    given = tree.given()
    if spec is not None and (launching or not errors_among(problems)):
        for gap in unavailable(spec, given, tree):
            is_error = launching and gap.blocks_launch
            problems.append(replace(gap, severity=Severity.ERROR) if is_error else gap)
    problems = _in_order(problems, path)
    if spec is None or errors_among(problems):
        raise SpecErrors(problems)
    return LoadedSpec(
        spec=spec,
        text=tree.document.text,
        sha256=sha256_of(spec),
        problems=tuple(problems),
        given=given,
        path=path,
        base_dir=base_dir,
    )


def _checked(tree: Tree) -> tuple[Spec, list[Problem]]:
    space, problems = read_space(tree)
    table = tree.get(("space",))
    names: list[str] = list(table) if isinstance(table, dict) else []
    data: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value
        for key, value in tree.data.items()
        if key not in {"include", "space", "constraints", "start"}
    }
    if "space" in tree.data:
        data["space"] = space
    objective = data.get("objective")
    if isinstance(objective, list):
        data["objective"] = [dict(o) if isinstance(o, dict) else o for o in objective]
    elif isinstance(objective, dict):
        data["objective"] = [objective]
    if data.get("objective") == []:
        del data["objective"]
    if "objective" in data and not isinstance(data["objective"], list):
        message = f"objective must be a table, not {kind(objective)}"
        fix = "open it with [objective]"
        problems.append(tree.problem("M7", message, ("objective",), fix=fix))
        data["objective"] = [{"metric": "loss", "goal": "minimize"}]
    slurm = data.get("slurm")
    if isinstance(slurm, dict) and isinstance(slurm.get("rung"), dict):
        slurm["rung"], found = read_rungs(tree)
        problems += found
    search = data.get("search")
    if isinstance(search, dict):
        copied = {k: dict(search[k]) for k in SEARCH_TABLES if isinstance(search.get(k), dict)}
        search.update(copied)
    found, meant = take_out_unknown(tree, data)
    problems += found
    rules, found = read_constraints(tree, names)
    problems += found
    starts, found = read_start(tree, space, names)
    problems += found
    data["constraints"], data["start"] = tuple(rules), tuple(starts)
    spec, found = validate(tree, data, meant)
    problems += found
    wrong = frozenset(problem.path for problem in errors_among(problems))
    problems += Checker(tree, spec, names, wrong).problems()
    if not errors_among(problems):
        problems += problems_of_space(tree, spec)
    return spec, problems


def _assemble(
    main: Tree,
    own: list[Problem],
    defaults: list[Tree],
    overrides: Sequence[str],
    base_dir: str,
) -> tuple[Tree, list[Problem]]:
    """Lay defaults, includes, the spec and overrides over each other."""
    problems = list(own)
    layers, found = _included(main, base_dir)
    problems += found
    merged = Tree(main.document)
    for tree in [*defaults, *layers, main]:
        merged.merge(tree)
    for number, text in enumerate(overrides, 1):
        path, tree, found = parse_override(text, number)
        if not found:
            found = _apply(merged, path, tree)
        problems += found
    return merged, problems


def _apply(merged: Tree, path: Path, override: Tree) -> list[Problem]:
    """Set the value of one override."""
    value = override.get(path)
    if isinstance(value, (bool, int, float)) and wants_text(path):
        # A shell takes the quotes away: an account may well be called 12345.
        value = override.document.text.partition("=")[2]
    objectives = merged.data.get("objective")
    target = path
    if path[:1] == ("objective",) and len(path) > 1 and isinstance(objectives, list):
        if len(objectives) != 1:
            message = "there are several objectives: this does not say which one is meant"
            return [override.problem("T12", message, path, at_key=True)]
        target = ("objective", 0, *path[1:])
    holder: Any = merged.data
    for index, step in enumerate(target[:-1]):
        if isinstance(holder, dict):
            holder = holder.setdefault(str(step), {})
        else:
            holder = holder[step]
        if not isinstance(holder, (dict, list)):
            name = ".".join(map(str, target[: index + 1]))
            message = f"{name} is not a table"
            return [override.problem("T12", message, path, at_key=True)]
        place = override.places.get(path[: index + 1])
        if place is not None:
            merged.places.setdefault(target[: index + 1], place)
    if not isinstance(holder, dict):
        message = f"{'.'.join(map(str, target[:-1]))} is a list"
        return [override.problem("T12", message, path, at_key=True)]
    holder[str(target[-1])] = value
    size = len(target)
    merged.places = {p: q for p, q in merged.places.items() if p[:size] != target}
    for here, place in override.places.items():
        if here[: len(path)] == path:
            merged.places[(*target, *here[len(path) :])] = place
    return []


def _included(main: Tree, base_dir: str) -> tuple[list[Tree], list[Problem]]:
    names = main.data.pop("include", None)
    if names is None:
        return [], []
    if isinstance(names, str):
        names = [names]
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        fix = 'such as include = ["cluster.toml"]'
        message = f"include must be a list of files, not {kind(names)}"
        return [], [main.problem("I1", message, ("include",), fix=fix)]
    trees: list[Tree] = []
    problems: list[Problem] = []
    for index, name in enumerate(names):
        full = os.path.join(base_dir, os.path.expanduser(name))
        tree, found = _read_tree(full, name)
        for problem in found:
            is_missing = problem.code == "T14"
            where = main.problem("T14", problem.message, ("include", index), fix=problem.fix)
            problems.append(where if is_missing else problem)
        if "include" in tree.data:
            message = "an included file cannot include others"
            problems.append(tree.problem("I1", message, ("include",), at_key=True))
            del tree.data["include"]
        trees.append(tree)
    return trees, problems


def _unreadable_scheduler(tree: Tree, base_dir: str) -> Iterator[Problem]:
    """Yield a scheduler of the user's own whose file cannot be read."""
    path = ("search", "scheduler")
    named = tree.get(path)
    own = own_scheduler(named) if isinstance(named, str) else None
    if own is None:
        return
    file, name = own
    try:
        with open(scheduler_path(file, base_dir), "rb"):
            return
    except OSError as error:
        message = f"cannot read {file}: {error.strerror or error}"
    near = did_you_mean(file, _programs(base_dir)).replace(".py'", f".py:{name}'")
    fix = f"{near}  its path is relative to the spec".lstrip()
    yield tree.problem("M12", message, path, fix=fix)


def _programs(folder: str) -> list[str]:
    """Return the Python files of a folder."""
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    except OSError:
        return []


def _default_trees() -> tuple[list[Tree], list[Problem]]:
    """Return the defaults of the site and of the user; files that do not exist are none."""
    named = os.environ.get("SLURMTUNE_CONFIG_FILE", "")
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    personal = named or os.path.join(config, "slurmtune", "config.toml")
    trees: list[Tree] = []
    problems: list[Problem] = []
    for path, must_exist in ((SITE_FILE, False), (personal, bool(named))):
        if not must_exist and not os.path.exists(path):
            continue
        tree, found = _read_tree(path, path)
        problems += found
        for key in [key for key in tree.data if key not in _DEFAULT_TABLES]:
            message = f"defaults cannot hold '{key}'"
            fix = f"only: {', '.join(f'[{name}]' for name in _DEFAULT_TABLES)}"
            problems.append(tree.problem("I2", message, (key,), fix=fix, at_key=True))
            del tree.data[key]
        trees.append(tree)
    return trees, problems


def _read_tree(path: str, name: str) -> tuple[Tree, list[Problem]]:
    empty = Document(name, "")
    try:
        if os.path.isdir(path):
            fix = "name the file, such as spec.toml"
            problem = empty.problem("T14", f"{name} is a folder, not a file", fix=fix)
            return Tree(empty), [problem]
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        fix = "slurmtune init  writes one to start from"
        return Tree(empty), [empty.problem("T14", f"there is no file {name}", fix=fix)]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        message = f"cannot read {name}: {reason or error}"
        return Tree(empty), [empty.problem("T14", message)]
    return _decoded_tree(raw, name)


def _decoded_tree(raw: bytes, name: str) -> tuple[Tree, list[Problem]]:
    document, problem = decode(raw, name)
    if problem is not None:
        return Tree(document), [problem]
    return parse(document)


def _in_order(problems: Sequence[Problem], main: str) -> list[Problem]:
    """Return the problems by file and place, each once."""

    def key(problem: Problem) -> tuple[int, str, int, int]:
        rank = {main: 0, "command line": 2}.get(problem.file, 1)
        return rank, problem.file, problem.line, problem.column

    unique: Mapping[tuple[Any, ...], Problem] = {
        (p.file, p.line, p.column, p.code, p.message): p for p in sorted(problems, key=key)
    }
    return list(unique.values())

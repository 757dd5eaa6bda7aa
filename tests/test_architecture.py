"""The shape of the package: who may import whom, what the pure core never touches, what runs on old Pythons.

The rules are tables at the top; the tests below read the source with ``ast`` and compare. A rule that stands in the
way of something good is changed here, in the open, with its reason.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from slurmtune.store.lib import build_library

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "slurmtune"

# A package -> the packages of slurmtune that it may import. A dotted name allows one module only.
MAY_IMPORT: dict[str, set[str]] = {
    "": {"worker.session", "errors"},  # slurmtune/__init__.py: what a training script sees
    "errors": set(),
    "core": {"errors"},
    "space": {"core", "errors"},
    "samplers": {"core", "space", "errors"},
    "schedulers": {"core", "errors"},
    "slurm": {"core", "errors"},
    "store": {"core", "errors"},
    "worker": {"store", "core", "errors"},
    "backends": {"core", "slurm", "store", "errors"},
    "driver": {"core", "store", "backends.base", "errors"},
    "spec": {
        "core",
        "space",
        "samplers",
        "schedulers",
        "slurm",
        "store",
        "worker",
        "backends",
        "driver",
        "errors",
    },
    # Decisions are recomputed as a driver does.
    "analysis": {"core", "space", "store", "driver.recovery", "errors"},
    "testing": {
        "core",
        "space",
        "samplers",
        "schedulers",
        "slurm",
        "store",
        "worker",
        "backends",
        "driver",
        "spec",
        "analysis",
        "errors",
    },
    # `slurmtune report` is the worker's reporting for programs that are not Python; `best --args` writes arguments
    # as the worker does; `status` puts Slurm's reasons into words.
    "cli": {
        "spec",
        "driver",
        "store",
        "analysis",
        "core",
        "slurm.reason",
        "worker.report",
        "worker.command",
        "errors",
    },
}

# A package -> the third-party packages that it may import; and modules that may import more than their package.
THIRD_PARTY: dict[str, set[str]] = {
    "space": {"numpy", "scipy"},
    "samplers": {"numpy", "scipy", "sklearn"},
    "schedulers": {"numpy", "scipy"},
    "spec": {"pydantic", "pydantic_core"},
    "analysis": {"pandas", "numpy", "scipy", "sklearn"},
    "testing": {"hypothesis", "pytest", "numpy"},
    "cli": {"typer", "rich"},
}
THIRD_PARTY_OF_MODULE: dict[str, set[str]] = {
    "core.seeding": {"numpy"},
    "backends.slurm": {"submitit"},
    "backends.local": {"submitit"},
}

PURE = {"core", "space", "samplers", "schedulers", "slurm"}
IMPURE_MODULES = {
    *("os", "sys", "io", "time", "datetime", "random", "subprocess", "threading", "pathlib"),
    *("shutil", "socket", "logging", "tempfile", "signal", "multiprocessing", "asyncio"),
    *("submitit", "filelock", "pandas", "typer"),
}

# Only these may know what time it is, or start a process. Some tools of testing are made of real processes.
MAY_USE_TIME = {
    *("driver.clock", "worker", "store", "backends"),
    *("testing.fake_slurm_commands", "testing.slurm_rig", "testing.live_study", "testing.crash"),
}
MAY_USE_SUBPROCESS = {"backends", "worker", "testing.live_study"}

# Formats whose reading runs code, and calls that do the same.
FORBIDDEN_IMPORTS = {
    "pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "marshal",
    "shelve",
    "joblib",
    "yaml",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "read_pickle", "to_pickle"}

# The only module that knows concrete backends, samplers and schedulers; testing ships contracts for them.
COMPOSITION_ROOT = {"spec.build", "spec.launching", "spec.cluster", "spec.jobs", "testing"}
CONCRETE = {"backends", "samplers", "schedulers"}
INTERFACES = {"backends.base"}

# Prints: the command line, and a session outside slurmtune, where a training script is run by hand.
MAY_PRINT = {"cli", "worker.session"}
MAY_SET_LOG_LEVELS = {"cli"}

# Where what runs in the job begins; everything that these import must run there too.
IN_JOB_ROOTS = ("", "worker")
OLDEST_PYTHON_IN_JOB = (3, 8)

HEAVY = {"numpy", "scipy", "sklearn", "pandas", "submitit"}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module or name, absolute and with dots."""

    name: str
    line: int
    at_top: bool
    """False inside a function: it costs nothing until the function is called."""


@dataclass(frozen=True, slots=True)
class Module:
    """A source file of the package."""

    name: str
    """Without the leading ``slurmtune.``; the package itself is the empty name."""
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    def at(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}"


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, ast.parse(path.read_text("utf-8"), str(path))))
    return tuple(found)


@cache
def names() -> frozenset[str]:
    return frozenset(module.name for module in modules())


@cache
def imports(module: Module) -> tuple[Import, ...]:
    """Everything that the module imports when it runs; ``if TYPE_CHECKING`` is for readers only."""
    return tuple(_imports_below(module, module.tree, at_top=True))


def _imports_below(module: Module, node: ast.AST, *, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for other in child.orelse:
                yield from _imports_below(module, other, at_top=at_top)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_top)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(module, child)
            for alias in child.names:
                yield Import(f"{base}.{alias.name}", child.lineno, at_top)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports_below(module, child, at_top=at_top and not inside)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = ["slurmtune", *module.name.split(".")] if module.name else ["slurmtune"]
    is_package = module.path.name == "__init__.py"
    parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def own_module(name: str) -> str | None:
    """The module of slurmtune behind an imported name, or None for anything else."""
    if name.split(".", maxsplit=1)[0] != "slurmtune":
        return None
    inner = name.split(".")[1:]
    while inner and ".".join(inner) not in names():
        inner.pop()
    return ".".join(inner)


def third_party(name: str) -> str | None:
    top = name.split(".", maxsplit=1)[0]
    return None if top == "slurmtune" or top in sys.stdlib_module_names else top


def belongs(name: str, places: set[str]) -> bool:
    """True when the module is one of the places or below one."""
    return any(name == place or name.startswith(f"{place}.") for place in places if place)


def calls(module: Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id, node.lineno
            elif isinstance(node.func, ast.Attribute):
                yield f".{node.func.attr}", node.lineno


def show(offences: list[str]) -> str:
    return "\n" + "\n".join(offences)


def test_the_rules_name_every_package() -> None:
    assert {module.package for module in modules()} <= MAY_IMPORT.keys()


def test_packages_import_only_the_layers_below_them() -> None:
    offences = [
        f"{module.at(found.line)}: slurmtune.{module.package} may not import slurmtune.{target}"
        for module in modules()
        for found in imports(module)
        if (target := own_module(found.name)) is not None
        # The package itself is imported whenever anything in it is; it has nothing but the public names.
        if target != ""
        if target.split(".")[0] != module.package
        if not belongs(target, MAY_IMPORT[module.package])
    ]

    assert not offences, show(offences)


def test_no_two_modules_import_each_other() -> None:
    edges = {
        module.name: {
            target
            for found in imports(module)
            if found.at_top and (target := own_module(found.name)) and target != module.name
        }
        for module in modules()
    }
    # A package that re-exports its modules is imported before them by Python itself: that is no cycle.
    packages = {module.name for module in modules() if module.path.name == "__init__.py"}
    cycles = [
        f"{name} imports itself through {' -> '.join(path)}"
        for name in edges
        if name not in packages and (path := _way_back(edges, name))
    ]

    assert not cycles, show(cycles)


def _way_back(edges: dict[str, set[str]], start: str) -> list[str] | None:
    waiting, seen = [[target] for target in sorted(edges[start])], set()
    while waiting:
        path = waiting.pop()
        if path[-1] == start:
            return path
        if path[-1] not in seen:
            seen.add(path[-1])
            waiting += [[*path, target] for target in sorted(edges.get(path[-1], ()))]
    return None


def test_third_party_packages_are_imported_only_where_they_are_allowed() -> None:
    offences = [
        f"{module.at(found.line)}: slurmtune.{module.name} may not import {package}"
        for module in modules()
        for found in imports(module)
        if (package := third_party(found.name))
        if package
        not in THIRD_PARTY.get(module.package, set())
        | THIRD_PARTY_OF_MODULE.get(module.name, set())
    ]

    assert not offences, show(offences)


def test_pure_packages_know_no_clock_no_files_and_no_processes() -> None:
    offences = [
        f"{module.at(found.line)}: slurmtune.{module.package} is pure and may not import {found.name}"
        for module in modules()
        if module.package in PURE
        for found in imports(module)
        if found.name.split(".")[0] in IMPURE_MODULES
    ]

    assert not offences, show(offences)


def test_pure_packages_open_nothing() -> None:
    offences = [
        f"{module.at(line)}: {name}() in a pure package"
        for module in modules()
        if module.package in PURE
        for name, line in calls(module)
        if name in {"open", "input", "__import__"}
    ]

    assert not offences, show(offences)


@pytest.mark.parametrize(
    ("library", "places"), [("time", MAY_USE_TIME), ("subprocess", MAY_USE_SUBPROCESS)]
)
def test_libraries_with_a_place_of_their_own(library: str, places: set[str]) -> None:
    offences = [
        f"{module.at(found.line)}: {library} belongs to {', '.join(sorted(places))}"
        for module in modules()
        if not belongs(module.name, places)
        for found in imports(module)
        if found.name.split(".")[0] == library
    ]

    assert not offences, show(offences)


def test_no_format_is_read_that_runs_code() -> None:
    offences = [
        f"{module.at(found.line)}: import of {found.name}"
        for module in modules()
        for found in imports(module)
        if found.name.split(".")[0] in FORBIDDEN_IMPORTS
    ] + [
        f"{module.at(line)}: call of {name}()"
        for module in modules()
        for name, line in calls(module)
        # re.compile is a method; the builtin is a bare name. The pandas calls are methods of a frame.
        if name in FORBIDDEN_CALLS or name in {".read_pickle", ".to_pickle"}
    ]

    assert not offences, show(offences)


def test_only_the_composition_root_knows_concrete_backends_samplers_and_schedulers() -> None:
    offences = [
        f"{module.at(found.line)}: only {', '.join(sorted(COMPOSITION_ROOT))} may import slurmtune.{target}"
        for module in modules()
        if not belongs(module.name, COMPOSITION_ROOT)
        for found in imports(module)
        if (target := own_module(found.name)) is not None
        if belongs(target, CONCRETE) and target not in INTERFACES
        if target.split(".")[0] != module.package
    ]

    assert not offences, show(offences)


def test_only_the_command_line_prints() -> None:
    offences = [
        f"{module.at(line)}: print()"
        for module in modules()
        if not belongs(module.name, MAY_PRINT)
        for name, line in calls(module)
        if name == "print"
    ]

    assert not offences, show(offences)


def test_only_the_command_line_sets_log_levels() -> None:
    offences = [
        f"{module.at(line)}: {name}()"
        for module in modules()
        if not belongs(module.name, MAY_SET_LOG_LEVELS)
        for name, line in calls(module)
        if name in {".basicConfig", ".setLevel"}
    ]

    assert not offences, show(offences)


def test_every_module_says_why_it_exists_and_has_annotations_as_strings() -> None:
    offences = []
    for module in modules():
        body = module.tree.body
        if not body:
            continue
        if ast.get_docstring(module.tree) is None:
            offences.append(f"{module.at(1)}: no docstring")
        future = [node for node in body if isinstance(node, ast.ImportFrom)][:1]
        only_docstring = len(body) == 1 and isinstance(body[0], ast.Expr)
        if not only_docstring and not (future and future[0].module == "__future__"):
            offences.append(f"{module.at(1)}: no `from __future__ import annotations`")

    assert not offences, show(offences)


def test_nothing_is_left_to_do() -> None:
    # Put together here, so that this file does not find itself.
    words = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
    folders = ("slurmtune", "tests", "scripts", "examples", "templates")
    offences = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file()
        and path.suffix in {"", ".py", ".sh", ".toml", ".md", ".R", ".jl", ".lua"}
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if words.search(line)
    ]

    assert not offences, show(offences)


# ------------------------------------------------------------------------------------------ what runs in the job


@cache
def in_job() -> tuple[Module, ...]:
    """The closure of imports from the worker and the package itself, with the packages around each module."""
    by_name = {module.name: module for module in modules()}
    waiting = [module.name for module in modules() if module.package in IN_JOB_ROOTS]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        parts = name.split(".")
        waiting += [".".join(parts[:end]) for end in range(1, len(parts))]
        waiting += [
            target
            for imported in imports(by_name[name])
            if (target := own_module(imported.name)) is not None
        ]
    return tuple(by_name[name] for name in sorted(found))


def test_what_runs_in_the_job_needs_nothing_but_the_standard_library() -> None:
    offences = [
        f"{module.at(found.line)}: {found.name}"
        for module in in_job()
        for found in imports(module)
        if third_party(found.name)
    ]

    assert not offences, show(offences)


def test_what_runs_in_the_job_is_the_worker_the_store_and_little_else() -> None:
    strangers = [
        module.name
        for module in in_job()
        if not belongs(module.name, {"worker", "store", "errors", "core.ids"})
        if module.name not in ("", "core")
    ]

    assert not strangers


def test_what_runs_in_the_job_is_all_in_the_library_that_is_sent_there() -> None:
    with zipfile.ZipFile(io.BytesIO(build_library())) as library:
        sent = set(library.namelist())

    needed = {module.path.relative_to(ROOT).as_posix() for module in in_job()}
    assert needed <= sent


@pytest.mark.parametrize("module", in_job(), ids=lambda module: module.name or "slurmtune")
def test_what_runs_in_the_job_is_grammar_of_the_oldest_python(module: Module) -> None:
    parsed = ast.parse(module.path.read_text("utf-8"), feature_version=OLDEST_PYTHON_IN_JOB)

    # Grammar of later versions which the parser accepts all the same.
    late = [
        node
        for node in ast.walk(parsed)
        if type(node).__name__ in {"Match", "TryStar", "TypeAlias", "ParamSpec"}
    ]
    assert not late


@pytest.mark.parametrize("module", in_job(), ids=lambda module: module.name or "slurmtune")
def test_what_runs_in_the_job_uses_no_later_library(module: Module) -> None:
    """What parses on the oldest Python and fails there only when it is reached."""
    offences = [f"{module.at(line)}: {what}" for what, line in _later_than_oldest(module.tree)]

    assert not offences, show(offences)


def _later_than_oldest(tree: ast.Module) -> Iterator[tuple[str, int]]:
    generics = {"list", "dict", "tuple", "set", "frozenset", "type"}
    methods = {".removeprefix", ".removesuffix", ".is_relative_to", ".with_stem", ".hardlink_to"}
    late_imports = {"tomllib", "zoneinfo", "graphlib"}
    for node in _run_time_nodes(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            if node.value.id in generics:
                yield f"{node.value.id}[...] outside an annotation", node.lineno
        elif isinstance(node, ast.Attribute) and f".{node.attr}" in methods:
            yield f".{node.attr}", node.lineno
        elif isinstance(node, ast.Import | ast.ImportFrom):
            name = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            if name in late_imports:
                yield f"import {name}", node.lineno
        elif isinstance(node, ast.Call):
            yield from _late_arguments(node)


def _late_arguments(call: ast.Call) -> Iterator[tuple[str, int]]:
    late = {
        "dataclass": {"slots", "kw_only"},
        "zip": {"strict"},
        "rmtree": {"onexc"},
    }
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    for keyword in call.keywords:
        if keyword.arg in late.get(name, set()):
            yield f"{name}({keyword.arg}=...)", call.lineno
    if name == "isinstance" and any(isinstance(part, ast.BinOp) for part in call.args[1:]):
        yield "isinstance(_, A | B)", call.lineno


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations, which are never evaluated."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child
                yield from _run_time_nodes(child)


def old_python() -> str | None:
    """A real interpreter of the oldest version in jobs, if this machine has one."""
    version = ".".join(map(str, OLDEST_PYTHON_IN_JOB))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [*map(str, sorted(pyenv.glob(f"{version}*/bin/python"))), f"python{version}"]
    for candidate in candidates:
        try:
            done = subprocess.run(
                [candidate, "--version"], capture_output=True, text=True, check=False
            )
        except OSError:
            continue
        # A shim of pyenv exists for every version that is installed, and fails for those not chosen.
        if done.returncode == 0 and done.stdout.startswith(f"Python {version}"):
            return candidate
    return None


@pytest.mark.slow
def test_what_runs_in_the_job_imports_on_a_real_oldest_python() -> None:
    python = old_python()
    if python is None:
        pytest.skip(f"no Python {'.'.join(map(str, OLDEST_PYTHON_IN_JOB))} on this machine")
    dotted = [
        ".".join(filter(None, ["slurmtune", module.name]))
        for module in in_job()
        if not module.name.endswith("__main__")
    ]
    code = f"import importlib\nfor name in {dotted!r}: importlib.import_module(name)"

    done = run_python(code, python=python)

    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------ how fast it starts


def run_python(
    code: str, *options: str, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [python, *options, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def imported_by(statement: str) -> set[str]:
    """The top-level packages that a statement brings into a fresh interpreter."""
    code = (
        "import json, sys; before = set(sys.modules)\n"
        f"{statement}\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.slow
def test_importing_the_package_brings_only_the_standard_library() -> None:
    strangers = imported_by("import slurmtune") - sys.stdlib_module_names - {"slurmtune"}

    assert not strangers


@pytest.mark.slow
def test_importing_the_package_takes_less_than_a_tenth_of_a_second() -> None:
    # The best of five: what is measured is our code, not what else the machine does.
    milliseconds = min(_import_milliseconds("slurmtune") for _ in range(5))

    assert milliseconds < 100


def _import_milliseconds(package: str) -> float:
    done = run_python(f"import {package}", "-X", "importtime")
    assert done.returncode == 0, done.stderr
    # import time: self [us] | cumulative | imported package
    row = re.search(rf"^import time: +\d+ \| +(\d+) \| {package}$", done.stderr, re.MULTILINE)
    assert row, done.stderr
    return int(row[1]) / 1000


@pytest.mark.slow
def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    assert not imported_by("import slurmtune.cli.app") & HEAVY

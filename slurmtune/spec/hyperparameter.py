"""One line of ``[space]``: from what the user wrote to a distribution with checked arguments.

The parameters are plain data; what a distribution *does* is the business of `slurmtune.space`.
Bounds are values, never logarithms; only ``logspace`` takes exponents, as numpy does.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slurmtune.spec.domain import build_domain
from slurmtune.spec.field import is_number, number_in
from slurmtune.spec.problem import Problem, Severity
from slurmtune.spec.source import Path, Tree
from slurmtune.spec.words import (
    did_you_mean,
    kind,
    nearest,
    number_text,
    quoted,
    toml_key,
    toml_text,
)

Scalar = str | int | float | bool
"""A value of a hyperparameter."""

MAX_VALUES = 100_000
MAX_CONFIG_BYTES = 48 * 1024
"""A config must fit into one record of the journal, beside what else it says."""
_NUMBER_BYTES = 25
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperparameterSpec:
    """One hyperparameter, as plain data."""

    name: str
    distribution: str
    """A key of `SIGNATURES`."""
    arguments: tuple[Any, ...]
    """Numbers in the order of the distribution's signature; the values of ``values`` and
    ``fixed``; (value, probability) pairs of ``pvalues``; nothing for ``bool``. ``range`` always
    has three."""
    default: Scalar | None = None
    when: Mapping[str, Any] = field(default_factory=dict)
    """As written: a value, a list of values or a comparison, by the name it is about."""
    type: str | None = None
    """``int``, ``float`` or None: whatever the distribution gives."""
    clip: tuple[float, float] | None = None
    ordered: bool = False
    prior: tuple[Scalar, Scalar] | None = None
    """(value, confidence)."""
    position: tuple[int, int] = field(default=(1, 1), compare=False)
    """Line and column of the definition, from 1."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What the list of a distribution holds."""

    labels: tuple[str, ...]
    """Names of the numbers, in order; empty for distributions over listed values."""
    is_log: bool = False
    """Bounds must be above 0."""
    is_bounded: bool = False
    """The first two numbers are the lowest and the highest value."""
    is_whole: bool = False
    """All numbers must be whole."""
    is_normal: bool = False
    """The first two numbers are mean and standard deviation."""
    is_stepped: bool = False
    """The last number is the step, q."""
    is_listed: bool = False
    """A finite list of numbers between two ends."""


SIGNATURES: Mapping[str, Signature] = {
    "values": Signature(()),
    "pvalues": Signature(()),
    "bool": Signature(()),
    "fixed": Signature(()),
    "range": Signature(("start", "stop", "step"), is_listed=True),
    "linspace": Signature(("start", "stop", "number"), is_listed=True),
    "logspace": Signature(("first exponent", "last exponent", "number"), is_listed=True),
    "geomspace": Signature(("start", "stop", "number"), is_listed=True),
    "uniform": Signature(("low", "high"), is_bounded=True),
    "quniform": Signature(("low", "high", "step"), is_bounded=True, is_stepped=True),
    "loguniform": Signature(("low", "high"), is_bounded=True, is_log=True),
    "qloguniform": Signature(
        ("low", "high", "step"), is_bounded=True, is_log=True, is_stepped=True
    ),
    "int": Signature(("low", "high"), is_bounded=True, is_whole=True),
    "logint": Signature(("low", "high"), is_bounded=True, is_whole=True, is_log=True),
    "normal": Signature(("mean", "standard deviation"), is_normal=True),
    "qnormal": Signature(("mean", "standard deviation", "step"), is_normal=True, is_stepped=True),
    "lognormal": Signature(("mean", "standard deviation"), is_normal=True),
    "qlognormal": Signature(
        ("mean", "standard deviation", "step"), is_normal=True, is_stepped=True
    ),
}
OPTIONS = ("default", "when", "type", "clip", "ordered", "prior")

_OTHER_NAMES = {
    "choice": "values", "choices": "values", "categorical": "values", "grid_search": "values",
    "constant": "fixed", "const": "fixed", "value": "fixed", "boolean": "bool",
    "log_uniform": "loguniform", "log_uniform_values": "loguniform", "reciprocal": "loguniform",
    "qlog_uniform": "qloguniform", "q_uniform": "quniform", "q_normal": "qnormal",
    "log_normal": "lognormal", "gaussian": "normal", "randn": "normal", "float": "uniform",
    "randint": "int", "integer": "int", "int_uniform": "int", "uniform_int": "int",
    "lograndint": "logint", "log_int": "logint", "pchoice": "pvalues",
}  # fmt: skip
_FOREIGN = {
    "low", "high", "lower", "upper", "min", "max", "log", "is_log", "distribution", "choices",
    "value", "mu", "sigma", "q", "step", "scale", "bounds", "range_min", "range_max",
}  # fmt: skip


def read_space(tree: Tree) -> tuple[dict[str, HyperparameterSpec], list[Problem]]:
    """Return the hyperparameters of ``[space]`` that are right, and all problems of the others."""
    table = tree.get(("space",))
    found: dict[str, HyperparameterSpec] = {}
    problems: list[Problem] = []
    if not isinstance(table, dict):
        if table is not None:
            message = f"space must be a table, not {kind(table)}"
            problems.append(tree.problem("M7", message, ("space",), fix="open it with [space]"))
        return found, problems
    if not table:
        fix = "add a hyperparameter, such as  lr = { loguniform = [1e-5, 1e-1] }"
        message = "[space] holds no hyperparameter"
        problems.append(tree.problem("S28", message, ("space",), fix=fix, at_key=True))
    for name, raw in table.items():
        reader = _Reader(tree, name, raw)
        parsed = reader.read()
        problems += reader.problems
        if parsed is not None:
            found[name] = parsed
    size = sum(map(_most_bytes, found.values()))
    if size > MAX_CONFIG_BYTES:
        message = f"a config could need {size} bytes, and may have {MAX_CONFIG_BYTES}"
        fix = "put long texts into files, and let the values be their names"
        problems.append(tree.problem("S21", message, ("space",), fix=fix, at_key=True))
    return found, problems


def _most_bytes(parameter: HyperparameterSpec) -> int:
    """Return the most bytes that one value takes in the journal, with its name."""
    values = (len(json.dumps(value)) for value in levels(parameter))
    return len(parameter.name) + 6 + max(values, default=_NUMBER_BYTES)


def contains(parameter: HyperparameterSpec, value: Any) -> bool:
    """Tell whether the hyperparameter can have this value."""
    try:
        return build_domain(parameter).contains(value)
    except ArithmeticError:
        # A value that is out of all proportion to the domain's step.
        return False


def limits(parameter: HyperparameterSpec) -> tuple[float, float]:
    """Return the lowest and highest value of a distribution over numbers."""
    signature = SIGNATURES[parameter.distribution]
    if signature.is_bounded:
        return parameter.arguments[0], parameter.arguments[1]
    if parameter.clip is not None:
        return parameter.clip
    positive = parameter.distribution in {"lognormal", "qlognormal"}
    return (0.0 if positive else -math.inf), math.inf


def levels(parameter: HyperparameterSpec) -> tuple[Scalar, ...]:
    """Return the values of a hyperparameter whose values are written out."""
    if parameter.distribution == "bool":
        return (False, True)
    if parameter.distribution == "pvalues":
        return tuple(value for value, _ in parameter.arguments)
    if parameter.distribution in {"values", "fixed"}:
        return parameter.arguments
    return ()


def is_enumerable(parameter: HyperparameterSpec) -> bool:
    """Tell whether a grid can hold every value of it."""
    return build_domain(parameter).size is not None


def describe_limits(parameter: HyperparameterSpec) -> str:
    """Return the range, or the values, for messages."""
    signature = SIGNATURES[parameter.distribution]
    if not signature.labels:
        listed = levels(parameter)
        more = ", ..." if len(listed) > 12 else ""
        return ", ".join(map(plain, listed[:12])) + more
    if signature.is_listed:
        return f"{parameter.distribution} {toml_text(parameter.arguments)}"
    low, high = limits(parameter)
    return f"[{number_text(low)}, {number_text(high)}]"


def plain(value: Any) -> str:
    """Return a value for people: text without quotes."""
    if isinstance(value, str):
        return value
    return number_text(value) if is_number(value) else toml_text(value)


class _Reader:
    """Reads one hyperparameter and collects what is wrong with it."""

    def __init__(self, tree: Tree, name: str, raw: Any) -> None:
        self._tree = tree
        self._name = name
        self._raw = raw
        self._path: Path = ("space", name)
        self.problems: list[Problem] = []

    def read(self) -> HyperparameterSpec | None:
        self._check_name()
        if not isinstance(self._raw, dict):
            self._bare_value()
            return None
        distribution = self._distribution()
        if distribution is None:
            return None
        for key in self._raw:
            if key != distribution and key not in OPTIONS:
                fix = did_you_mean(key, OPTIONS) or f"options: {', '.join(OPTIONS)}"
                message = f"unknown key {quoted(key)} in the hyperparameter {self._name}"
                self._add("K1", message, (key,), fix=fix, at_key=True)
        arguments = self._arguments(distribution, self._raw[distribution])
        options = self._options(distribution)
        if arguments is None or any(p.severity is Severity.ERROR for p in self.problems):
            return None
        place = self._tree.place(self._path)
        parameter = HyperparameterSpec(
            name=self._name,
            distribution=distribution,
            arguments=arguments,
            position=(place.value.line, place.value.column) if place else (1, 1),
            **options,
        )
        self._check_domain(parameter)
        has_errors = any(p.severity is Severity.ERROR for p in self.problems)
        return None if has_errors else parameter

    def _add(
        self,
        code: str,
        message: str,
        below: Path = (),
        *,
        fix: str = "",
        at_key: bool = False,
        severity: Severity = Severity.ERROR,
    ) -> None:
        self.problems.append(
            self._tree.problem(
                code, message, (*self._path, *below), fix=fix, at_key=at_key, severity=severity
            )
        )

    def _check_name(self) -> None:
        if _NAME.fullmatch(self._name):
            return
        if len(self._name) > 64:
            message = f"the name is too long: {len(self._name)} characters, at most 64"
            self._add("S17", message, at_key=True)
            return
        guess = _NOT_IN_NAMES.sub("_", self._name).lstrip(".-")
        guess = f"p{guess}" if guess[:1].isdigit() else guess
        message = f"{quoted(self._name)} cannot be the name of a hyperparameter"
        fix = "letters, digits, _ . and -, a letter first"
        if _NAME.fullmatch(guess) and guess.strip("_"):
            fix += f"; such as {guess}"
        self._add("S17", message, fix=fix, at_key=True)

    def _bare_value(self) -> None:
        raw = self._raw
        if isinstance(raw, list):
            message = "a hyperparameter needs a distribution, not a bare list"
            fix = f"write {{ values = {toml_text(raw)} }} to choose among them"
            if any(isinstance(item, dict) for item in raw):
                fix = "write { values = [...] } to choose among values"
        else:
            message = f"a hyperparameter needs a distribution, not {_bare_kind(raw)}"
            simple = isinstance(raw, (str, int, float))
            fix = f"write {{ fixed = {toml_text(raw)} }} for a value that never changes"
            fix = fix if simple else "such as { uniform = [0.0, 1.0] }"
        self._add("S9", message, fix=fix)

    def _distribution(self) -> str | None:
        raw = self._raw
        named = [key for key in raw if key in SIGNATURES]
        if len(named) == 1:
            return str(named[0])
        if named:
            message = f"two distributions: {' and '.join(named[:2])}"
            self._add("S18", message, (named[1],), fix="keep one of them", at_key=True)
            return None
        if _FOREIGN & raw.keys():
            message = "this is how Optuna, W&B or NePS write it"
            code = "S7" if {"distribution", "min", "max"} & raw.keys() else "S6"
            self._add(code, message, fix=f"write {_translated(raw)}")
            return None
        tables = [key for key, value in raw.items() if isinstance(value, dict) and key != "when"]
        if tables and set(tables) == raw.keys():
            dotted_name = f'"{self._name}.{tables[0]}"'
            message = f"'{self._name}' has no distribution"
            fix = f"a name with a dot needs quotes: {dotted_name} = {{ ... }}"
            self._add("S5", message, fix=fix)
            return None
        unknown = [key for key in raw if key not in OPTIONS]
        if unknown:
            guess = _OTHER_NAMES.get(unknown[0].lower()) or nearest(unknown[0], SIGNATURES)
            fix = f"did you mean '{guess}'?" if guess else f"one of: {', '.join(SIGNATURES)}"
            message = f"unknown distribution {quoted(unknown[0])}"
            self._add("S5", message, (unknown[0],), fix=fix)
            return None
        message = f"'{self._name}' has no distribution"
        self._add("S5", message, fix=f"one of: {', '.join(SIGNATURES)}")
        return None

    def _arguments(self, distribution: str, given: Any) -> tuple[Any, ...] | None:
        if distribution == "bool":
            if given is not True:
                message = f"bool says no more than true, not {quoted(given)}"
                self._add("S14", message, (distribution,), fix="write { bool = true }")
                return None
            return ()
        if distribution == "fixed":
            return (given,) if self._check_scalar(given, (distribution,)) else None
        if not isinstance(given, list):
            self._not_a_list(distribution, given)
            return None
        if distribution == "values":
            return self._values(given, distribution)
        if distribution == "pvalues":
            return self._pvalues(given)
        return self._numbers(distribution, given)

    def _not_a_list(self, distribution: str, given: Any) -> None:
        labels = SIGNATURES[distribution].labels
        fix = f"write {distribution} = [{', '.join(labels) or '...'}]"
        if isinstance(given, str) and ":" in given and all(map(number_in, given.split(":"))):
            fix = f"write {distribution} = [{', '.join(given.replace(' ', '').split(':'))}]"
        elif isinstance(given, dict) and labels:
            low_high = [given[key] for key in ("low", "high", "q") if is_number(given.get(key))]
            low_high = low_high or [value for value in given.values() if is_number(value)]
            if len(low_high) == len(labels):
                fix = f"write {distribution} = {toml_text(low_high)}"
        elif isinstance(given, (str, int, float)) and not labels:
            fix = f"write {distribution} = [{toml_text(given)}]"
        self._add("S8", f"{distribution} needs a list", (distribution,), fix=fix)

    def _check_scalar(self, value: Any, below: Path) -> bool:
        if isinstance(value, (str, int)):
            return True
        if isinstance(value, float):
            if math.isfinite(value):
                return True
            self._add("S15", f"a value must be finite, not {value}", below)
        else:
            message = f"a value must be text, a number, true or false, not {kind(value)}"
            self._add("S15", message, below)
        return False

    def _values(self, given: list[Any], distribution: str) -> tuple[Any, ...] | None:
        if not given:
            self._add("S20", f"{distribution} is empty", (distribution,), fix="list the choices")
            return None
        if len(given) > MAX_VALUES:
            message = f"{len(given)} values are too many, at most {MAX_VALUES}"
            self._add("S21", message, (distribution,))
            return None
        for index, value in enumerate(given):
            if not self._check_scalar(value, (distribution, index)):
                return None
        return tuple(given) if self._check_distinct(given, distribution) else None

    def _check_distinct(self, given: Sequence[Any], distribution: str) -> bool:
        seen: set[tuple[bool, Any]] = set()
        for index, value in enumerate(given):
            key = (isinstance(value, bool), value)
            if key in seen:
                message = f"{quoted(value)} is listed twice"
                self._add("S20", message, (distribution, index), fix="remove one of them")
                return False
            seen.add(key)
        return True

    def _pvalues(self, given: list[Any]) -> tuple[Any, ...] | None:
        for index, pair in enumerate(given):
            if not (isinstance(pair, list) and len(pair) == 2 and is_number(pair[1])):
                fix = 'write pvalues = [["a", 0.7], ["b", 0.3]]'
                message = "pvalues needs pairs of a value and its probability"
                self._add("S14", message, ("pvalues", index), fix=fix)
                return None
            if not 0 <= pair[1] < math.inf:
                message = f"{number_text(pair[1])} is not a probability"
                self._add("S10", message, ("pvalues", index, 1))
                return None
        values = self._values([pair[0] for pair in given], "pvalues")
        if values is None:
            return None
        total = math.fsum(pair[1] for pair in given)
        if abs(total - 1) > 1e-6:
            message = f"probabilities sum to {number_text(round(total, 9))}, not 1"
            fix = ""
            if total > 0 and math.isfinite(total):
                scaled = [[value, round(p / total, 6)] for value, p in given]
                fix = f"scaled: {toml_text(scaled)}"
            self._add("S10", message, ("pvalues",), fix=fix)
            return None
        return tuple((value, float(p)) for value, p in given)

    def _numbers(self, distribution: str, given: list[Any]) -> tuple[Any, ...] | None:
        signature = SIGNATURES[distribution]
        if distribution == "range" and len(given) == 2:
            given = [*given, 1]
        if len(given) != len(signature.labels):
            labels = ", ".join(signature.labels)
            message = f"{distribution} needs {len(signature.labels)} numbers: [{labels}]"
            self._add("S14", message, (distribution,))
            return None
        before = len(self.problems)
        for index, value in enumerate(given):
            needs_whole = signature.is_whole or (index == 2 and "number" in signature.labels)
            self._check_number(distribution, index, value, whole=needs_whole)
        if len(self.problems) > before:
            return None
        self._check_numbers(distribution, signature, given)
        return None if self._has_errors(before) else tuple(given)

    def _has_errors(self, since: int) -> bool:
        return any(p.severity is Severity.ERROR for p in self.problems[since:])

    def _check_number(self, distribution: str, index: int, value: Any, *, whole: bool) -> None:
        below = (distribution, index)
        if not is_number(value):
            number = number_in(value)
            fix = f"remove the quotes: {number}" if number is not None else ""
            found = quoted(value) if isinstance(value, (str, int, float)) else kind(value)
            self._add("S4", f"{distribution} needs numbers, found {found}", below, fix=fix)
        elif not math.isfinite(value):
            self._add("S15", f"{distribution} needs finite numbers, found {value}", below)
        elif whole and not isinstance(value, int):
            fix = f"write {int(value)}" if value.is_integer() else ""
            message = f"{distribution} needs whole numbers, found {number_text(value)}"
            self._add("S4", message, below, fix=fix)

    def _check_numbers(self, distribution: str, signature: Signature, given: list[Any]) -> None:
        if signature.is_bounded:
            self._check_bounds(distribution, signature, given)
        if signature.is_normal and given[1] <= 0:
            message = f"the standard deviation must be above 0, not {number_text(given[1])}"
            self._add("S16", message, (distribution, 1))
        if signature.is_stepped and given[2] <= 0:
            message = f"the step must be above 0, not {number_text(given[2])}"
            self._add("S16", message, (distribution, 2))
        if distribution == "range":
            self._check_range(given)
        elif signature.is_listed:
            self._check_listed(distribution, given)

    def _check_bounds(self, distribution: str, signature: Signature, given: list[Any]) -> None:
        low, high = given[:2]
        below: Path = (distribution,)
        if signature.is_log and low < 0:
            message = f"bounds of {distribution} are values and must be above 0"
            fix = ""
            if low < high <= 300 and low >= -300 and distribution == "loguniform":
                natural = f"[{_rough(math.exp(low))}, {_rough(math.exp(high))}]"
                decimal = f"[{_power_of_ten(low)}, {_power_of_ten(high)}]"
                fix = (
                    f"these look like logarithms; write {distribution} = {natural} if natural, "
                    f"{decimal} if decimal"
                )
            self._add("S3", message, below, fix=fix)
        elif signature.is_log and 0 in (low, high):
            plain_name = {"logint": "int", "qloguniform": "quniform"}.get(distribution, "uniform")
            start = "1" if distribution == "logint" else "1e-6"
            fix = f"start above 0, such as {start}; or use {plain_name}"
            where = (*below, 0 if low == 0 else 1)
            self._add("S2", "a logarithmic scale cannot reach 0", where, fix=fix)
        elif low > high:
            rest = [number_text(value) for value in given[2:]]
            swapped = ", ".join([number_text(high), number_text(low), *rest])
            message = f"low {number_text(low)} is above high {number_text(high)}"
            self._add("S1", message, below, fix=f"swap them: {distribution} = [{swapped}]")
        elif low == high:
            fix = f"for a value that never changes write {{ fixed = {number_text(low)} }}"
            self._add("S1", f"low and high are both {number_text(low)}", below, fix=fix)
        elif not math.isfinite(float(high) - float(low)):
            self._add("S15", "the range is too wide for numbers of 64 bits", below)

    def _check_range(self, given: list[Any]) -> None:
        start, stop, step = given
        if step == 0:
            self._add("S16", "the step of range must not be 0", ("range", 2))
            return
        steps = (stop - start) / step
        if steps <= 0:
            message = f"range {toml_text(given)} holds no value"
            self._add("S20", message, ("range",), fix="stop itself is not part of a range")
        elif steps > MAX_VALUES:
            message = f"range holds more than {MAX_VALUES} values"
            self._add("S21", message, ("range",), fix="use int or quniform")

    def _check_listed(self, distribution: str, given: list[Any]) -> None:
        start, stop, count = given
        if count < 1:
            message = f"{distribution} needs at least 1 value, not {count}"
            self._add("S16", message, (distribution, 2))
        elif count > MAX_VALUES:
            message = f"{count} values are too many, at most {MAX_VALUES}"
            self._add("S21", message, (distribution, 2))
        elif distribution == "geomspace" and (start == 0 or stop == 0):
            where = ("geomspace", 0 if start == 0 else 1)
            fix = "start above 0, such as 1e-6; or use linspace"
            self._add("S2", "a logarithmic scale cannot reach 0", where, fix=fix)
        elif distribution == "geomspace" and (start < 0) != (stop < 0):
            fix = "for exponents use logspace"
            self._add(
                "S3", "the ends of geomspace must have the same sign", (distribution,), fix=fix
            )
        elif distribution == "logspace":
            self._check_exponents(start, stop, count)
        elif start == stop and count > 1:
            fix = f"for a value that never changes write {{ fixed = {number_text(start)} }}"
            self._add(
                "S1", f"start and stop are both {number_text(start)}", (distribution,), fix=fix
            )

    def _check_exponents(self, start: float, stop: float, count: int) -> None:
        if max(abs(start), abs(stop)) > 300:
            message = "logspace takes exponents of 10, from -300 to 300"
            self._add("S27", message, ("logspace",))
        elif abs(stop - start) < 1:
            first, last = 10.0**start, 10.0**stop
            message = f"logspace takes exponents: these values are {first:.3g} .. {last:.3g}"
            fix = ""
            if start > 0 and stop > 0:
                ends = f"{number_text(start)}, {number_text(stop)}, {count}"
                fix = f"did you mean geomspace = [{ends}]?"
            self._add("S27", message, ("logspace",), fix=fix, severity=Severity.WARNING)

    def _options(self, distribution: str) -> dict[str, Any]:
        raw, signature = self._raw, SIGNATURES[distribution]
        found: dict[str, Any] = {}
        if "default" in raw and self._check_scalar(raw["default"], ("default",)):
            found["default"] = raw["default"]
        if "type" in raw:
            found["type"] = raw["type"]
            if raw["type"] not in ("int", "float"):
                fix = "one of: int, float"
                self._add("S26", f"type cannot be {quoted(raw['type'])}", ("type",), fix=fix)
            elif not (signature.is_bounded or signature.is_normal):
                message = f"{distribution} takes its values as they are: no 'type'"
                self._add("S26", message, ("type",), fix="remove it", at_key=True)
            elif signature.is_whole and raw["type"] == "float":
                message = f"{distribution} gives whole numbers, not float"
                self._add("S26", message, ("type",), fix="remove it, or use uniform")
        if "ordered" in raw:
            found["ordered"] = raw["ordered"]
            if not isinstance(raw["ordered"], bool):
                message = f"ordered must be true or false, not {quoted(raw['ordered'])}"
                self._add("M7", message, ("ordered",))
            elif distribution not in {"values", "pvalues"}:
                message = f"{distribution} has an order anyway: 'ordered' is for values"
                self._add("S26", message, ("ordered",), fix="remove it", at_key=True)
        self._read_clip(distribution, found)
        self._read_prior(found)
        self._read_when(found)
        return found

    def _read_clip(self, distribution: str, found: dict[str, Any]) -> None:
        if "clip" not in self._raw:
            return
        clip = self._raw["clip"]
        if not SIGNATURES[distribution].is_normal:
            message = f"{distribution} has ends of its own: 'clip' is for normal distributions"
            self._add("S26", message, ("clip",), fix="remove it", at_key=True)
        elif not (isinstance(clip, list) and len(clip) == 2 and all(map(is_number, clip))):
            self._add("S26", "clip needs 2 numbers: [low, high]", ("clip",))
        elif not (all(map(math.isfinite, clip)) and clip[0] < clip[1]):
            message = f"clip {toml_text(clip)} is no range: low must be below high"
            self._add("S26", message, ("clip",))
        elif "log" in distribution and clip[1] <= 0:
            message = f"{distribution} is above 0 everywhere: nothing lies in {toml_text(clip)}"
            self._add("S26", message, ("clip",))
        else:
            found["clip"] = (clip[0], clip[1])

    def _read_prior(self, found: dict[str, Any]) -> None:
        if "prior" not in self._raw:
            return
        prior = self._raw["prior"]
        words = ("low", "medium", "high")
        is_pair = isinstance(prior, list) and len(prior) == 2
        if not (is_pair and (is_number(prior[1]) or prior[1] in words)):
            fix = 'such as prior = [3e-4, "medium"]'
            self._add("S26", "prior needs a value and a confidence", ("prior",), fix=fix)
        elif self._check_scalar(prior[0], ("prior", 0)):
            found["prior"] = (prior[0], prior[1])

    def _read_when(self, found: dict[str, Any]) -> None:
        if "when" not in self._raw:
            return
        when = self._raw["when"]
        if not isinstance(when, dict) or not when:
            fix = 'such as when = { optimizer = "sgd" }'
            self._add("S23", "when needs a table of conditions", ("when",), fix=fix)
            return
        asked: dict[str, Any] = {}
        for name, condition in when.items():
            options = condition if isinstance(condition, list) else [condition]
            if not options:
                message = f"the condition on '{name}' allows nothing: the list is empty"
                self._add("S23", message, ("when", name))
            elif isinstance(condition, dict):
                fix = f'a name with a dot needs quotes: "{name}.{next(iter(condition), "x")}"'
                message = f"the condition on '{name}' is a table"
                self._add("S23", message, ("when", name), fix=fix)
            elif all(self._check_scalar(option, ("when", name)) for option in options):
                asked[name] = tuple(condition) if isinstance(condition, list) else condition
        found["when"] = asked

    def _check_domain(self, parameter: HyperparameterSpec) -> None:
        """Ask the domain itself: what it refuses must not come to light in a running study."""
        try:
            build_domain(parameter)
        except (ValueError, ArithmeticError) as error:
            self._add("S29", str(error), (parameter.distribution,))
            return
        for key, value in (("default", parameter.default), ("prior", parameter.prior)):
            inner = value[0] if isinstance(value, tuple) else value
            if inner is None or contains(parameter, inner):
                continue
            below: Path = (key, 0) if isinstance(value, tuple) else (key,)
            self._add("S11", f"{key} {outside(parameter, inner)}", below)


def outside(parameter: HyperparameterSpec, value: Any) -> str:
    """Return in words why the hyperparameter cannot have this value."""
    range_text = describe_limits(parameter)
    shown = number_text(value) if is_number(value) else quoted(value)
    if not SIGNATURES[parameter.distribution].labels:
        return f"{shown} is not one of: {range_text}"
    if not is_number(value):
        return f"{shown} is not a number"
    low, high = (-math.inf, math.inf)
    if not SIGNATURES[parameter.distribution].is_listed:
        low, high = limits(parameter)
        if low <= value <= high:
            step = number_text(parameter.arguments[-1])
            is_stepped = SIGNATURES[parameter.distribution].is_stepped
            return f"{shown} is not a {f'multiple of {step}' if is_stepped else 'whole number'}"
        return f"{shown} is outside {range_text}"
    return f"{shown} is not in {range_text}"


def _bare_kind(raw: Any) -> str:
    if isinstance(raw, str):
        return "bare text"
    return "a bare number" if is_number(raw) else f"a bare {toml_text(raw)}"


def _rough(value: float) -> str:
    return f"{value:.0e}" if value < 0.01 else f"{value:.2g}"


def _power_of_ten(exponent: float) -> str:
    return f"1e{int(exponent)}" if exponent == int(exponent) else f"{10**exponent:.2g}"


def _translated(raw: Mapping[str, Any]) -> str:
    """Return another tool's way to write a hyperparameter in ours."""
    choices = raw.get("choices", raw.get("values"))
    if isinstance(choices, list) and not any(isinstance(item, (dict, list)) for item in choices):
        return f"{{ values = {toml_text(choices)} }}"
    if "value" in raw and isinstance(raw["value"], (str, int, float)):
        return f"{{ fixed = {toml_text(raw['value'])} }}"
    said = f"{raw.get('distribution', '')} {raw.get('type', '')}".lower()
    if is_number(raw.get("mu")) and is_number(raw.get("sigma")):
        name = "lognormal" if "log" in said else "normal"
        return f"{{ {name} = [{number_text(raw['mu'])}, {number_text(raw['sigma'])}] }}"
    low = next(
        (raw[k] for k in ("low", "lower", "min", "range_min") if is_number(raw.get(k))), None
    )
    high = next(
        (raw[k] for k in ("high", "upper", "max", "range_max") if is_number(raw.get(k))), None
    )
    is_log = raw.get("log") is True or raw.get("is_log") is True or "log" in said
    q = next((raw[k] for k in ("q", "step") if is_number(raw.get(k))), None)
    is_whole = "int" in said or (
        isinstance(low, int) and isinstance(high, int) and "float" not in said and q is None
        and "uniform" not in said
    )  # fmt: skip
    if is_whole:
        name = "logint" if is_log else "int"
    else:
        name = ("q" if q is not None else "") + ("loguniform" if is_log else "uniform")
    numbers = [low, high] + ([q] if q is not None and not is_whole else [])
    shown = [number_text(n) if n is not None else label for n, label in
             zip(numbers, ("low", "high", "step"), strict=False)]  # fmt: skip
    return f"{{ {name} = [{', '.join(shown)}] }}"


def as_toml(parameter: HyperparameterSpec) -> str:
    """Return the line of ``[space]`` for people, without options."""
    arguments: Any = list(parameter.arguments)
    if parameter.distribution == "bool":
        arguments = True
    elif parameter.distribution == "fixed":
        arguments = parameter.arguments[0]
    return f"{toml_key(parameter.name)} = {{ {parameter.distribution} = {toml_text(arguments)} }}"

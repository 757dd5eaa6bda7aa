"""The types of the values in a spec, and what is said about a value that does not fit.

A validator raises `fault`, which carries code, message and remedy in our own words; the name of
the key is filled in later (`KEY`). Nothing is ever converted behind the user's back: ``"81"`` is
no number and ``1`` is not true.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from math import ceil
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from slurmtune.spec import quantity
from slurmtune.spec.words import did_you_mean, kind, quoted, toml_text

KEY = "\0"
"""Stands for the name of the key in messages and remedies."""
PATH = "\1"
"""Stands for the key with the tables that it is in, such as ``stop.target``, in remedies."""
MAX_TEXT = 4096

_STUDY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
_NAMES_ONLY = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SIGNAL = re.compile(r"(?:[BR]{1,2}:)?(?:[A-Z][A-Z0-9]{1,9}|\d{1,2})(?:@\d{1,5})?", re.ASCII)
_OPTION = re.compile(r"[a-z][a-z0-9-]*", re.ASCII)
_KEEP = re.compile(r"all|none|promoted|best:[1-9]\d{0,6}", re.ASCII)
_OWN_SCHEDULER = re.compile(r"(?P<file>[^:]*[^:/]\.py):(?P<name>[A-Za-z_]\w*)", re.ASCII)
_ARGUMENT = re.compile(r"[A-Za-z_]\w*", re.ASCII)
MAX_RUNGS = 10_000
"""Rungs of a ladder: each has its own figures and may have its own resources."""

Sampler = Literal[
    "random", "grid", "halton", "sobol", "hammersley", "lhs", "poisson", "rsa", "tpe", "gp",
    "cmaes", "evolution", "pso", "neldermead", "optuna",
]  # fmt: skip
Initial = Literal["random", "sobol", "halton", "hammersley", "lhs", "poisson", "rsa"]
Scheduler = Literal[
    "none", "asha", "sha", "hyperband", "async_hyperband", "pasha", "median", "pbt", "irace",
    "dehb", "bohb",
]  # fmt: skip
Variant = Literal["promotion", "stopping"]
Goal = Literal["minimize", "maximize"]
RaceTest = Literal["friedman", "t-test", "t-test-bonferroni", "t-test-holm"]

_OTHER_SAMPLERS = {
    "bohb": 'BOHB is  sampler = "tpe"  with  scheduler = "hyperband"',
    "bayes": 'Bayesian optimisation is  sampler = "gp"',
    "bayesian": 'Bayesian optimisation is  sampler = "gp"',
    "bo": 'Bayesian optimisation is  sampler = "gp"',
    "mobster": 'MOBSTER is  sampler = "gp"  with  scheduler = "asha"',
    "genetic": 'write  sampler = "evolution"',
    "qmc": 'write  sampler = "sobol"',
}
_OTHER_SCHEDULERS = {
    "successive_halving": "sha", "successivehalving": "sha", "asynchyperband": "asha",
    "async_hb": "async_hyperband", "hb": "hyperband", "median_stopping": "median",
    "medianstopping": "median", "population_based_training": "pbt", "iterated_race": "irace",
}  # fmt: skip

# sbatch options that a key of [slurm] stands for, or that belong to slurmtune.
_OWN_OPTIONS = {
    "array", "job-name", "output", "error", "wrap", "parsable", "test-only", "wait", "input",
    "chdir", "dependency", "kill-on-invalid-dep", "export", "export-file", "open-mode", "quiet",
}  # fmt: skip
_KEYED_OPTIONS = {
    "partition", "account", "qos", "time", "gpus-per-node", "gres", "cpus-per-task", "mem",
    "constraint", "exclude", "signal", "comment", "requeue", "no-requeue",
}  # fmt: skip


def fault(code: str, message: str, fix: str = "") -> PydanticCustomError:
    """Return the error that a validator raises."""
    return PydanticCustomError("spec", "{message}", {"code": code, "message": message, "fix": fix})


def is_number(value: Any) -> bool:
    """Tell whether a value is a whole or broken number, not a truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number_in(text: Any) -> str | None:
    """Return the number written in a text, or None."""
    if not isinstance(text, str):
        return None
    stripped = text.strip()
    found = re.fullmatch(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", stripped, re.ASCII)
    if found is None:
        return None
    whole, point, rest = stripped.partition(".")
    return f"{whole or '0'}.{rest or '0'}" if point and not whole.strip("+-") else stripped


def _integer(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    message = f"{KEY} must be a whole number, not {quoted(value)}"
    number = number_in(value)
    if number is not None:
        raise fault("M7", message, f"remove the quotes: {KEY} = {number}")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        raise fault("M7", message, f"write {KEY} = {int(value)}")
    is_broken = isinstance(value, float) and 0 < value < 1e15
    raise fault("M7", message, f"such as {KEY} = {ceil(value)}" if is_broken else "")


def _number(value: Any) -> Any:
    if not is_number(value):
        number = number_in(value)
        fix = f"remove the quotes: {KEY} = {number}" if number is not None else ""
        raise fault("M7", f"{KEY} must be a number, not {quoted(value)}", fix)
    if not -float("inf") < value < float("inf"):
        raise fault("M8", f"{KEY} must be a finite number, not {value}")
    return value


def _above_zero(value: Any) -> Any:
    if value <= 0:
        raise fault("M8", f"{KEY} must be above 0, not {quoted(value)}")
    return value


def _not_negative(value: Any) -> Any:
    if value < 0:
        raise fault("M8", f"{KEY} must be at least 0, not {quoted(value)}")
    return value


def _at_least_one(value: Any) -> Any:
    if value < 1:
        raise fault("M8", f"{KEY} must be at least 1, not {quoted(value)}")
    return value


def _at_least_two(value: Any) -> Any:
    if value < 2:
        raise fault("M8", f"{KEY} must be at least 2, not {quoted(value)}")
    return value


def _between(low: float, high: float, *, low_counts: bool, high_counts: bool) -> Any:
    """Return the check that a number lies between two bounds, which count or do not."""
    least = f"at least {low:g}" if low_counts else f"above {low:g}"
    most = f"at most {high:g}" if high_counts else f"below {high:g}"

    def check(value: Any) -> Any:
        is_above = value >= low if low_counts else value > low
        if not is_above or not (value <= high if high_counts else value < high):
            raise fault("M8", f"{KEY} must be {least} and {most}, not {quoted(value)}")
        return value

    return check


def _rungs(value: Any) -> Any:
    fix = f"such as {KEY} = [1, 3, 9, 27]"
    if not isinstance(value, list):
        raise fault("M7", f"{KEY} must be a list of numbers, not {kind(value)}", fix)
    if not 1 <= len(value) <= MAX_RUNGS:
        message = f"{KEY} must hold 1 to {MAX_RUNGS} numbers, not {len(value)}"
        raise fault("M6", message, fix)
    below = 0.0
    for level in value:
        _number(level)
        if level <= below:
            told = "be above 0" if below == 0 else f"increase: {quoted(level)} follows {below:g}"
            raise fault("M6", f"{KEY} must {told}", fix)
        below = level
    return tuple(value)


def _arguments(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise fault("M7", f"{KEY} must be a table, not {kind(value)}", f"write {KEY} = {{ ... }}")
    for name, item in value.items():
        if not _ARGUMENT.fullmatch(name):
            raise fault("M12", f"{quoted(name)} is not the name of an argument")
        _plain(name, item)
    return dict(value)


def _plain(name: str, value: Any) -> None:
    """Let only pass what JSON can hold: the study's directory keeps it."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _plain(name, item)
    elif isinstance(value, Mapping):
        for item in value.values():
            _plain(name, item)
    elif not isinstance(value, (str, bool, int, float)):
        raise fault("M7", f"{name} cannot be {kind(value)}", "write it as text")
    elif isinstance(value, float) and not -float("inf") < value < float("inf"):
        raise fault("M8", f"{name} must be a finite number, not {value}")


def own_scheduler(text: str) -> tuple[str, str] | None:
    """Return file and class of ``FILE.py:CLASS``, or None when it is a scheduler of ours."""
    found = _OWN_SCHEDULER.fullmatch(text)
    return (found["file"], found["name"]) if found else None


def scheduler_path(file: str, base_dir: str) -> str:
    """Return where the file of a scheduler of the user's own is; ``base_dir`` is the spec's."""
    return os.path.abspath(os.path.join(base_dir, os.path.expanduser(file)))


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    guess = {"true": "true", "yes": "true", "on": "true", "1": "true"}.get(str(value).lower())
    guess = guess or {"false": "false", "no": "false", "off": "false", "0": "false"}.get(
        str(value).lower()
    )
    fix = f"write {KEY} = {guess}" if guess else ""
    raise fault("M7", f"{KEY} must be true or false, not {quoted(value)}", fix)


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        simple = isinstance(value, (bool, int, float))
        fix = f'quote it: {KEY} = "{toml_text(value)}"' if simple else ""
        raise fault(
            "M7", f"{KEY} must be text, not {quoted(value) if simple else kind(value)}", fix
        )
    # A newline inside a batch script's directive would start a line of its own, and run.
    if any(c < " " or "\x7f" <= c <= "\x9f" or c in "\u2028\u2029" for c in value):
        raise fault("R9", f"{KEY} may not hold line breaks or control characters")
    if len(value) > MAX_TEXT:
        raise fault("R9", f"{KEY} is too long: {len(value)} characters, at most {MAX_TEXT}")
    return value


def _filled(value: Any) -> Any:
    if not value.strip():
        raise fault("R9", f"{KEY} is empty", f"give it a value, or leave {KEY} out")
    return value


def _one_of(code: str, choices: tuple[str, ...]) -> Callable[[Any], Any]:
    listed = f"one of: {', '.join(choices)}"

    def check(value: Any) -> Any:
        if isinstance(value, str) and value in choices:
            return value
        guess = did_you_mean(value, choices) if isinstance(value, str) else ""
        fix = f"{guess}  {listed}" if guess else listed
        raise fault(code, f"{KEY} cannot be {quoted(value)}", fix)

    return check


def _sampler(value: Any) -> Any:
    if isinstance(value, str) and value.lower() in _OTHER_SAMPLERS:
        raise fault("M3", f"{KEY} cannot be '{value}'", _OTHER_SAMPLERS[value.lower()])
    if isinstance(value, str) and value in get_args(Scheduler) and value != "none":
        fix = f'{value} says how long trials run, so it is a scheduler: scheduler = "{value}"'
        raise fault("M2", f"{KEY} cannot be '{value}'", fix)
    return _one_of("M1", get_args(Sampler))(value)


def _scheduler(value: Any) -> Any:
    if isinstance(value, str) and value in get_args(Sampler):
        fix = f'{value} says what is tried, so it is a sampler: sampler = "{value}"'
        raise fault("M2", f"{KEY} cannot be '{value}'", fix)
    if isinstance(value, str) and (":" in value or value.endswith(".py")):
        if own_scheduler(_text(value)) is None:
            message = f"{quoted(value)} does not name a file and a class"
            raise fault("M12", message, 'such as "my_scheduler.py:MyScheduler"')
        return value
    other = _OTHER_SCHEDULERS.get(value.lower()) if isinstance(value, str) else None
    if other is not None:
        raise fault("M1", f"{KEY} cannot be {quoted(value)}", f'write  scheduler = "{other}"')
    return _one_of("M1", get_args(Scheduler))(value)


def _study_name(value: Any) -> Any:
    if _STUDY_NAME.fullmatch(value):
        return value
    if len(value) > 64:
        raise fault("R6", f"{KEY} is too long: {len(value)} characters, at most 64")
    guess = _NAMES_ONLY.sub("-", value).strip("-.")
    fix = f'such as "{guess}"' if guess else 'such as "my-study"'
    if _NAMES_ONLY.search(value) or not value:
        message = f"{KEY} {quoted(value)} may only hold letters, digits, . _ and -"
        raise fault("R6", message, fix)
    raise fault("R6", f"{KEY} {quoted(value)} must begin with a letter or a digit", fix)


def _folder(value: Any) -> Any:
    if "%" in value:
        fix = "Slurm replaces % in the paths of logs"
        raise fault("R12", f"{KEY} {quoted(value)} may not hold %", fix)
    return value


def _inner_path(value: Any) -> Any:
    parts = value.split("/")
    if value.startswith(("/", "~")) or ".." in parts or "\\" in value or "%" in value:
        message = f"{quoted(value)} must be a path inside the folder of the trial"
        raise fault("R12", message, 'such as "conf/trial.yaml"')
    return value


def _function(value: Any) -> Any:
    if not _FUNCTION.fullmatch(value):
        raise fault("R14", f"{quoted(value)} does not name a function", 'such as "train:main"')
    return value


def _expression(value: Any) -> Any:
    try:
        pattern = re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise fault("R11", f"{KEY} is not a regular expression: {error}") from None
    if pattern.groups == 0:
        fix = "put ( ) around the part that is the number"
        raise fault("R11", f"the expression of {KEY} has no group", fix)
    return value


def _metric(value: Any) -> Any:
    if len(value) > 128:
        raise fault("M9", f"the name of a metric may have 128 characters, not {len(value)}")
    if "," in value or '"' in value or value.startswith("_") or value != value.strip():
        message = f"{quoted(value)} cannot be the name of a metric"
        raise fault("M9", message, "no commas, no quotes, no spaces around, no _ at the start")
    return value


def _slurm_time(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        is_clock = hasattr(value, "hour") and not hasattr(value, "year")
        fix = f'quote it: {KEY} = "{value}"' if is_clock else f'such as {KEY} = "04:00:00"'
        raise fault("R1", f"{KEY} must be text, not {kind(value)}", fix)
    try:
        return quantity.slurm_time_seconds(value)
    except ValueError:
        guess = quantity.guess_slurm_time(value)
        fix = f'write "{guess}"' if guess else 'such as "04:00:00" (minutes, H:M:S or D-H:M:S)'
        raise fault("R1", f"{quoted(value)} is not a Slurm time", fix) from None


def _duration(value: Any) -> Any:
    if is_number(value):
        fix = f'write {KEY} = "{value}s" or {KEY} = "{value}m"'
        raise fault("R15", f"{KEY} needs a unit: {toml_text(value)} of what?", fix)
    if not isinstance(value, str):
        is_clock = hasattr(value, "hour") and not hasattr(value, "year")
        fix = f'quote it: {KEY} = "{value}"' if is_clock else f'such as {KEY} = "10m"'
        raise fault("R15", f"{KEY} must be text, not {kind(value)}", fix)
    try:
        return quantity.duration_seconds(value)
    except ValueError:
        if number_in(value):
            fix = f'write {KEY} = "{value}s" or {KEY} = "{value}m"'
            raise fault("R15", f"{KEY} needs a unit: {value} of what?", fix) from None
        fix = 'such as "60s", "10m", "2h", "3-00:00:00"'
        raise fault("R15", f"{quoted(value)} is not a duration", fix) from None


def _memory(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise fault("R2", f"{value} is not a Slurm memory size", 'write "32G"')
        return f"{value}M"
    if not isinstance(value, str):
        raise fault("R2", f"{KEY} must be text, not {kind(value)}", f'such as {KEY} = "32G"')
    try:
        quantity.memory_megabytes(value)
    except ValueError:
        guess = quantity.guess_memory(value)
        fix = f'write "{guess}"' if guess else 'such as "32G"'
        raise fault("R2", f"{quoted(value)} is not a Slurm memory size", fix) from None
    return value.removesuffix("B")


def _gpus(value: Any) -> Any:
    try:
        quantity.gpu_count("" if isinstance(value, bool) else str(value))
    except ValueError:
        message = f"{quoted(value)} is not a number of GPUs"
        raise fault("R4", message, 'a whole number, or "a100:2"') from None
    return value


def _share_or_count(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return quantity.share(value)
        except ValueError:
            message = f"{KEY} must be a percentage or a count, not {quoted(value)}"
            raise fault("R16", message, 'such as "20%" or 10') from None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    message = f"{KEY} must be a percentage or a count, not {quoted(value)}"
    raise fault("R16", message, 'such as "20%" or 10')


def _signal(value: Any) -> Any:
    if not _SIGNAL.fullmatch(value):
        message = f"{quoted(value)} is not a signal for sbatch"
        raise fault(
            "R13", message, 'such as "USR1@120": the signal and the seconds before the end'
        )
    return value


def _keep(value: Any) -> Any:
    if not _KEEP.fullmatch(value):
        raise fault(
            "M1", f"{KEY} cannot be {quoted(value)}", "one of: all, none, promoted, best:N"
        )
    return value


def _variable_name(value: Any) -> Any:
    if not _VARIABLE.fullmatch(value):
        raise fault("R17", f"{quoted(value)} is not the name of an environment variable")
    return value


def _option_name(value: Any) -> Any:
    if value in _KEYED_OPTIONS:
        fix = f"write slurm.{value.replace('-', '_')}"
        if value.endswith("requeue"):
            fix = "write slurm.requeue = true or false"
        raise fault("R8", f"'{value}' has a key of its own", fix)
    if value in _OWN_OPTIONS:
        raise fault("R8", f"'{value}' is set by slurmtune itself", "remove it")
    if not _OPTION.fullmatch(value):
        guess = value.lstrip("-").replace("_", "-").lower()
        fix = f"write {guess}" if _OPTION.fullmatch(guess) else ""
        raise fault("R8", f"{quoted(value)} is not an option of sbatch", fix)
    return value


def _option_value(value: Any) -> Any:
    if isinstance(value, (bool, int)):
        return value
    return _filled(_text(value))


def _scalar_list(value: Any) -> Any:
    if not isinstance(value, list):
        fix = f"write {KEY} = [{toml_text(value)}]" if isinstance(value, str) else ""
        raise fault("M7", f"{KEY} must be a list, not {kind(value)}", fix)
    return tuple(value)


def _command(value: Any) -> Any:
    if isinstance(value, str):
        return _filled(_text(value))
    if not isinstance(value, list):
        fix = f'such as {KEY} = "python train.py"'
        raise fault("M7", f"{KEY} must be text or a list of texts, not {kind(value)}", fix)
    if not value:
        raise fault("R7", "no command", 'add  command = "python train.py"')
    return tuple(_text(item) for item in value)


def _table(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise fault("M7", f"{KEY} must be a table, not {kind(value)}", f"open it with [{PATH}]")
    return value


_NUMBER = {"type": "number"}
_TIME = {"type": ["string", "integer"], "description": "M, M:S, H:M:S, D-H, D-H:M or D-H:M:S"}

Text = Annotated[str, BeforeValidator(_text)]
"""One line of text without control characters."""
FilledText = Annotated[str, BeforeValidator(_filled), BeforeValidator(_text)]
Integer = Annotated[int, BeforeValidator(_integer)]
Count = Annotated[
    int,
    BeforeValidator(_above_zero),
    BeforeValidator(_integer),
    Field(json_schema_extra={"minimum": 1}),
]
"""A whole number above 0."""
CountOrZero = Annotated[
    int,
    BeforeValidator(_not_negative),
    BeforeValidator(_integer),
    Field(json_schema_extra={"minimum": 0}),
]
Factor = Annotated[
    int,
    BeforeValidator(_at_least_two),
    BeforeValidator(_integer),
    Field(json_schema_extra={"minimum": 2}),
]
Number = Annotated[float, BeforeValidator(_number)]
PositiveNumber = Annotated[float, BeforeValidator(_above_zero), BeforeValidator(_number)]
NumberFromOne = Annotated[
    float,
    BeforeValidator(_at_least_one),
    BeforeValidator(_number),
    Field(json_schema_extra={"minimum": 1}),
]
ResourceAmount = Annotated[
    int | float,
    BeforeValidator(_above_zero),
    BeforeValidator(_number),
    WithJsonSchema({**_NUMBER, "exclusiveMinimum": 0}),
]
"""A resource level; whole numbers stay whole."""
NumberOrZero = Annotated[float, BeforeValidator(_not_negative), BeforeValidator(_number)]
Share = Annotated[
    float,
    BeforeValidator(_between(0, 1, low_counts=True, high_counts=True)),
    BeforeValidator(_number),
    Field(json_schema_extra={"minimum": 0, "maximum": 1}),
]
"""From 0 to 1, both included."""
ShareUpToHalf = Annotated[
    float,
    BeforeValidator(_between(0, 0.5, low_counts=True, high_counts=True)),
    BeforeValidator(_number),
    Field(json_schema_extra={"minimum": 0, "maximum": 0.5}),
]
"""From 0 to a half, both included."""
ShareAboveZero = Annotated[
    float,
    BeforeValidator(_between(0, 1, low_counts=False, high_counts=True)),
    BeforeValidator(_number),
    Field(json_schema_extra={"exclusiveMinimum": 0, "maximum": 1}),
]
Probability = Annotated[
    float,
    BeforeValidator(_between(0, 1, low_counts=False, high_counts=False)),
    BeforeValidator(_number),
    Field(json_schema_extra={"exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]
"""Between 0 and 1, which do not count."""
AtMostHalf = Annotated[
    float,
    BeforeValidator(_between(0, 0.5, low_counts=False, high_counts=True)),
    BeforeValidator(_number),
    Field(json_schema_extra={"exclusiveMinimum": 0, "maximum": 0.5}),
]
OneToTwo = Annotated[
    float,
    BeforeValidator(_between(1, 2, low_counts=False, high_counts=False)),
    BeforeValidator(_number),
    Field(json_schema_extra={"exclusiveMinimum": 1, "exclusiveMaximum": 2}),
]
"""Between 1 and 2, which do not count."""
AtMostTwo = Annotated[
    float,
    BeforeValidator(_between(0, 2, low_counts=False, high_counts=True)),
    BeforeValidator(_number),
    Field(json_schema_extra={"exclusiveMinimum": 0, "maximum": 2}),
]
Rungs = Annotated[
    tuple[int | float, ...],
    BeforeValidator(_rungs),
    WithJsonSchema({"type": "array", "items": {**_NUMBER, "exclusiveMinimum": 0}}),
]
"""Resources that increase; whole numbers stay whole."""
Arguments = Annotated[Mapping[str, Any], BeforeValidator(_arguments)]
"""Named arguments that JSON can hold."""
Boolean = Annotated[bool, BeforeValidator(_boolean)]
SamplerName = Annotated[Sampler, BeforeValidator(_sampler)]
InitialName = Annotated[Initial, BeforeValidator(_one_of("M1", get_args(Initial)))]
SchedulerName = Annotated[
    str,
    BeforeValidator(_scheduler),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(get_args(Scheduler))},
                {"type": "string", "pattern": _OWN_SCHEDULER.pattern.replace("?P", "?")},
            ]
        }
    ),
]
"""One of ours, or ``FILE.py:CLASS``."""
VariantName = Annotated[Variant, BeforeValidator(_one_of("M1", get_args(Variant)))]
RaceTestName = Annotated[RaceTest, BeforeValidator(_one_of("M1", get_args(RaceTest)))]
AcquisitionName = Annotated[str, BeforeValidator(_one_of("M1", ("ei", "poi", "ucb")))]
KernelName = Annotated[str, BeforeValidator(_one_of("M1", ("matern", "rbf")))]
GoalName = Annotated[Goal, BeforeValidator(_one_of("M4", get_args(Goal)))]
StudyName = Annotated[str, BeforeValidator(_study_name), BeforeValidator(_text)]
Folder = Annotated[str, BeforeValidator(_folder), BeforeValidator(_filled), BeforeValidator(_text)]
InnerPath = Annotated[
    str, BeforeValidator(_inner_path), BeforeValidator(_filled), BeforeValidator(_text)
]
FunctionName = Annotated[str, BeforeValidator(_function), BeforeValidator(_text)]
Pattern = Annotated[str, BeforeValidator(_expression), BeforeValidator(_text)]
MetricName = Annotated[
    str, BeforeValidator(_metric), BeforeValidator(_filled), BeforeValidator(_text)
]
SlurmSeconds = Annotated[int, BeforeValidator(_slurm_time), WithJsonSchema(_TIME)]
"""Seconds, written as sbatch's ``--time``."""
Seconds = Annotated[float, BeforeValidator(_duration), WithJsonSchema({"type": "string"})]
"""Seconds, written with a unit or a colon."""
Memory = Annotated[str, BeforeValidator(_memory), WithJsonSchema({"type": ["string", "integer"]})]
"""sbatch's ``--mem``."""
Gpus = Annotated[
    int | str, BeforeValidator(_gpus), WithJsonSchema({"type": ["integer", "string"]})
]
"""``2`` or ``a100:2``."""
ShareOrCount = Annotated[
    int | float,
    BeforeValidator(_share_or_count),
    WithJsonSchema({"type": ["string", "integer"]}),
]
"""A whole number counts trials; a broken one is a part of one (``"20%"`` is 0.2)."""
SignalText = Annotated[str, BeforeValidator(_signal), BeforeValidator(_text)]
KeepRule = Annotated[str, BeforeValidator(_keep), BeforeValidator(_text)]
VariableName = Annotated[str, BeforeValidator(_variable_name), BeforeValidator(_text)]
OptionName = Annotated[str, BeforeValidator(_option_name), BeforeValidator(_text)]
OptionValue = Annotated[
    bool | int | str,
    BeforeValidator(_option_value),
    WithJsonSchema({"type": ["string", "integer", "boolean"]}),
]
Command = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_command),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
]
TextList = Annotated[tuple[FilledText, ...], BeforeValidator(_scalar_list)]
AnyTable = BeforeValidator(_table)

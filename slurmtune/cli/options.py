"""Arguments and options that several commands share, named as sbatch names them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated

import typer

from slurmtune.core.ids import trial_id
from slurmtune.errors import UsageError

OPTIONAL_VALUES = {"--local": "0", "--watch": "30"}
"""Options that may stand without a value, and the value that they have then."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TRIAL = re.compile(r"t?(\d{1,9})(?:@(\d{1,4}))?")

SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help="The spec file.")]
StudyArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[STUDY]",
        help="A spec file, a study's directory or its name below ./runs; "
        "left out: the only one there, else the newest.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, numbers in full.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]

_SLURM = "Override [slurm]"
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Override any key: -s search.trials=4",
        show_default=False,
    ),
]
PartitionOption = Annotated[
    str | None, typer.Option("--partition", "-p", rich_help_panel=_SLURM, show_default=False)
]
AccountOption = Annotated[
    str | None, typer.Option("--account", "-A", rich_help_panel=_SLURM, show_default=False)
]
QosOption = Annotated[
    str | None, typer.Option("--qos", "-q", rich_help_panel=_SLURM, show_default=False)
]
TimeOption = Annotated[
    str | None,
    typer.Option(
        "--time",
        "-t",
        rich_help_panel=_SLURM,
        help="Time limit: minutes, H:M:S or D-H:M:S.",
        show_default=False,
    ),
]
ConstraintOption = Annotated[
    str | None, typer.Option("--constraint", "-C", rich_help_panel=_SLURM, show_default=False)
]
ExcludeOption = Annotated[
    str | None, typer.Option("--exclude", "-x", rich_help_panel=_SLURM, show_default=False)
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--job-name",
        "-J",
        rich_help_panel=_SLURM,
        help="Another study.name: another study.",
        show_default=False,
    ),
]


def overrides(
    given: list[str] | None,
    *,
    partition: str | None,
    account: str | None,
    qos: str | None,
    time: str | None,
    constraint: str | None,
    exclude: str | None,
    job_name: str | None,
) -> list[str]:
    """Return all overrides as ``KEY=VALUE``, those of ``-s`` last."""
    named = {
        "slurm.partition": partition,
        "slurm.account": account,
        "slurm.qos": qos,
        "slurm.time": time,
        "slurm.constraint": constraint,
        "slurm.exclude": exclude,
        "study.name": job_name,
    }
    # In quotes: a partition may be called 2024, and 30 is a time.
    texts = [f"{key}={json.dumps(text)}" for key, text in named.items() if text is not None]
    return texts + list(given or ())


def expand_optional_values(words: Sequence[str]) -> list[str]:
    """Return the command line with the values of ``--local[=N]`` and ``--watch[=SECONDS]``."""
    result: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in OPTIONAL_VALUES:
            value = rest.pop(0) if rest and _NUMBER.fullmatch(rest[0]) else OPTIONAL_VALUES[word]
            word = f"{word}={value}"
        result.append(word)
    return result


def is_trial(word: str) -> bool:
    """Tell whether ``word`` has the form of a trial: ``t0017``, ``17`` or ``17@2``."""
    return _TRIAL.fullmatch(word) is not None


def parse_trial(word: str) -> tuple[int, int | None]:
    """Return number and rung of ``t0017``, ``17`` or ``17@2``; the rung is None when not given.

    Raises:
        UsageError: it is no trial.
    """
    found = _TRIAL.fullmatch(word)
    if found is None:
        raise UsageError(f"{word!r} is not a trial; write it like {trial_id(17)}, 17 or 17@2")
    return int(found[1]), None if found[2] is None else int(found[2])


def study_and_trial(words: list[str] | None) -> tuple[str | None, str | None]:
    """Return STUDY and TRIAL of up to two arguments, whichever comes first.

    Raises:
        UsageError: there are two of the same.
    """
    trials = [word for word in words or () if is_trial(word)]
    studies = [word for word in words or () if not is_trial(word)]
    if len(trials) > 1 or len(studies) > 1:
        wrong = trials if len(trials) > 1 else studies
        kind = "trial" if len(trials) > 1 else "study"
        raise UsageError(f"one {kind} at a time, not {' and '.join(wrong)}")
    return (studies[0] if studies else None), (trials[0] if trials else None)

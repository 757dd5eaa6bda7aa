"""Reports from a shell script: ``slurmtune report val_loss=0.2 [--step 3]``.

Also ``python -m slurmtune.worker.report``, where the command line is not installed.
Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import os
import sys
from typing import Dict, List, Optional, Sequence

from slurmtune.errors import TrialError, UsageError
from slurmtune.worker import metrics as lines
from slurmtune.worker.metrics import Number

_USAGE = "usage: slurmtune report NAME=NUMBER ... [--step NUMBER]"


def report_from_shell(argv: Sequence[str]) -> int:
    """Report what the arguments say and return the exit code: 0, or 2 for a mistake.

    Outside of slurmtune the report is printed.
    """
    try:
        step, values = _parse(argv)
        objectives = [one for one in os.environ.get("SLURMTUNE_OBJECTIVES", "").split(",") if one]
        resource = os.environ.get("SLURMTUNE_RESOURCE", "")
        if step is None and resource in values and resource not in objectives:
            step = lines.as_resource(values.pop(resource))
        line = lines.report_line(resource, step, lines.check_metrics(values, objectives))
    except (UsageError, TrialError) as error:
        sys.stderr.write(f"error: {error}\n")
        return UsageError.exit_code
    path = os.environ.get("SLURMTUNE_METRICS", "")
    if not path:
        sys.stdout.write(line.decode("ascii"))
        return 0
    try:
        lines.append_line(path, line)
    except OSError as error:
        sys.stderr.write(f"error: cannot write {path}: {error}\n")
        return 3
    return 0


def _parse(argv: Sequence[str]) -> "tuple[Optional[Number], Dict[str, float]]":
    words: List[str] = list(argv)
    step: Optional[Number] = None
    values: Dict[str, float] = {}
    while words:
        word = words.pop(0)
        if word == "--step" and words:
            step = lines.as_resource(_number(word, words.pop(0)))
            continue
        name, separator, text = word.partition("=")
        if name == "--step" and separator:
            step = lines.as_resource(_number(name, text))
            continue
        if not separator or not name or name.startswith("-"):
            raise UsageError(f"cannot read {word!r}; {_USAGE}")
        values[name] = _number(name, text)
    if not values:
        raise UsageError(f"nothing to report; {_USAGE}")
    return step, values


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{name} must be a number, not {text!r}; {_USAGE}") from None


if __name__ == "__main__":
    sys.exit(report_from_shell(sys.argv[1:]))

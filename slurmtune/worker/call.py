"""Runs ``function = "module:name"``: ``python -m slurmtune.worker.call module:name``.

The function gets hyperparameters by the names of its parameters, and the trial as ``trial``. What
it returns, a number or a dict, is the last report.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import Any, Callable, Dict, List, Mapping

from slurmtune.errors import SlurmtuneError, TrialError
from slurmtune.worker.session import Trial, trial

_EXIT_MISUSE = 2
_ATTRIBUTES = ("start", "end", "seed", "rung", "checkpoint")


def call(target: str, current: Trial) -> None:
    """Call the function with the values of the trial, and report what it returns.

    Raises:
        TrialError: there is no such function, its parameters have no values, or it returns
            something that cannot be reported.
    """
    function = _load(target)
    result = function(**arguments(function, target, current))
    if result is None:
        return
    step = current.end
    if current.should_stop:
        step = current.reached
    if isinstance(result, Mapping):
        current.report(step, **result)
        return
    objectives = current.objectives or ["value"]
    if len(objectives) > 1:
        raise TrialError(
            f"the study wants {', '.join(objectives)}: {target} must return a dict of them"
        )
    current.report(step, **{objectives[0]: result})


def arguments(function: Callable[..., Any], target: str, current: Trial) -> Dict[str, Any]:
    """Return the keyword arguments for ``function``.

    Raises:
        TrialError: a parameter without a default has no value.
    """
    result: Dict[str, Any] = {}
    takes_all = False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_all = True
        elif parameter.kind is parameter.VAR_POSITIONAL:
            continue
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            raise TrialError(f"{target}: parameter {name!r} must be usable by name")
        elif name in current.params:
            result[name] = current.params[name]
        elif name == "trial":
            result[name] = current
        elif parameter.default is not parameter.empty:
            continue
        elif name in _ATTRIBUTES:
            result[name] = getattr(current, name)
        else:
            known = ", ".join(current.params) or "none"
            raise TrialError(
                f"{target} wants {name!r}, which is no hyperparameter; known: {known}"
            )
    if takes_all:
        result.update((name, v) for name, v in current.params.items() if name not in result)
    return result


def _load(target: str) -> Callable[..., Any]:
    module_name, separator, path = target.partition(":")
    if not (module_name and separator and path):
        raise TrialError(f"function must be module:name, not {target!r}")
    found: Any = importlib.import_module(module_name)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise TrialError(f"there is no {path!r} in {module_name}") from None
    if not callable(found):
        raise TrialError(f"{target} is no function")
    return found  # type: ignore[no-any-return]


def main(argv: List[str]) -> int:
    """Call the function that is named, and return the exit code."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m slurmtune.worker.call MODULE:NAME\n")
        return _EXIT_MISUSE
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        call(argv[0], trial())
    except SlurmtuneError as error:
        sys.stderr.write(f"error: {error}\n")
        return _EXIT_MISUSE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

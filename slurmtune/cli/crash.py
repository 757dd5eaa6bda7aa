"""What happens to an error of our own: a file to send to us, one line for the user."""

from __future__ import annotations

import os
import platform
import re
import sys
import traceback
from collections.abc import Sequence
from datetime import datetime

EXIT_CODE = 70
_SECRET = re.compile(r"(.*(?:key|token|secret|passw|cred)[^=]*=).+", re.IGNORECASE | re.DOTALL)


def write_report(error: BaseException, argv: Sequence[str], folder: str | None = None) -> str:
    """Write the traceback to ``crash-TIME.txt`` and return its path; empty when nothing works.

    The file goes to the study that was worked on, else to the current folder, else to the
    temporary one.
    """
    from slurmtune import __version__

    lines = [
        f"slurmtune {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"command: slurmtune {' '.join(map(_without_secret, argv))}",
        "",
        "".join(traceback.format_exception(error)),
    ]
    name = f"crash-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    for place in (folder, os.getcwd(), os.environ.get("TMPDIR", "/tmp")):  # noqa: S108
        if place is None:
            continue
        path = os.path.join(place, name)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.write("\n".join(lines))
        except OSError:
            continue
        return path
    return ""


def message(error: BaseException, path: str) -> str:
    """Return what the user is told."""
    kind = type(error).__name__
    if not path:
        return f"internal error ({kind}: {error}); please report it, run again with --debug"
    return f"internal error ({kind}); please report with {path}"


def show_traceback(error: BaseException) -> None:
    """Print the traceback, for ``--debug``."""
    sys.stderr.write("".join(traceback.format_exception(error)))


def _without_secret(word: str) -> str:
    """Return a word of the command line; users send us the report, so ``TOKEN=...`` is cut."""
    found = _SECRET.fullmatch(word)
    return word if found is None else f"{found[1]}(hidden)"

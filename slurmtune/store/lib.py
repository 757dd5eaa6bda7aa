"""The part of slurmtune that runs in the job, as one zip file in the study's directory.

Slots and users' programs import it with the zip on ``PYTHONPATH``: whichever Python they have
needs no slurmtune of its own, an upgrade does not change a running study, and a thousand nodes
open one file instead of twenty.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator

from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MODULES = (
    "__init__.py",
    "errors.py",
    "core/__init__.py",
    "core/ids.py",
    "store/__init__.py",
    "store/checkpoint.py",
    "store/event_log.py",
    "store/frame.py",
    "store/fs.py",
    "store/layout.py",
    "store/manifest.py",
    "store/offer.py",
)
# What ``slurmtune`` means to a user's program: it need not have slurmtune installed, and one that
# has must not mix it with the zip.
_COMMAND = b"""#!/bin/sh
if [ "${1-}" != report ]; then
    echo "error: inside a trial there is only: slurmtune report NAME=NUMBER ..." >&2
    exit 2
fi
shift
[ -x "${SLURMTUNE_PYTHON-}" ] || SLURMTUNE_PYTHON=python3
exec "$SLURMTUNE_PYTHON" -m slurmtune.worker.report "$@"
"""
# The earliest time that a zip can hold: the same files must give the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


def build_library() -> bytes:
    """Return the zip; the same slurmtune gives the same bytes."""
    buffer = io.BytesIO()
    # Stored, not compressed: how well zlib compresses depends on its version.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in _names():
            entry = zipfile.ZipInfo(f"slurmtune/{name}", _TIME)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, fs.read_file(os.path.join(_PACKAGE, name)))
    return buffer.getvalue()


def publish_library(layout: StudyLayout) -> str:
    """Publish the zip, and the command beside it, if the study has none yet; return its path.

    One that is there is never replaced: a running Python finds its modules in it by their offset.

    Raises:
        OSError: it could not be published.
    """
    fs.make_dir(layout.commands)
    if os.path.basename(layout.library) not in fs.list_dir(layout.lib):
        fs.publish_file(os.path.join(layout.commands, "slurmtune"), _COMMAND, mode=0o700)
        fs.publish_once(layout.library, build_library())
    return layout.library


def _names() -> Iterator[str]:
    yield from _MODULES
    for name in fs.list_dir(os.path.join(_PACKAGE, "worker")):
        if name.endswith(".py"):
            yield f"worker/{name}"

"""Commands to the driver: ``stop``, ``pause`` and their like, each one a file.

Whoever sends a command publishes a new file; the driver lists the folder, journals what it takes
and then removes the file. A command that is read twice is a command that may be carried out twice.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import uuid
from typing import Any, Dict, List, Mapping, Tuple

from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout

FORMAT = 1
_NAME = re.compile(r"\d{19,20}-[0-9a-f]{8,32}\.json")
_MAX_BYTES = 1024 * 1024
_LOG = logging.getLogger(__name__)


def send(layout: StudyLayout, command: Mapping[str, Any]) -> None:
    """Publish ``command`` (such as ``{"command": "stop", "trial": 7}``) for the driver.

    Raises:
        ValueError, TypeError: it is no JSON.
        OSError: it could not be published.
    """
    name = f"{time.time_ns():019d}-{uuid.uuid4().hex[:8]}.json"
    data = json.dumps({"format": FORMAT, **command}, allow_nan=False).encode("ascii")
    fs.publish_file(os.path.join(layout.control, name), data)


def receive(layout: StudyLayout) -> List[Tuple[str, Dict[str, Any]]]:
    """Return the waiting commands as (name, command), in the order in which they were sent.

    A file that is no command is skipped with a warning. One that is listed but cannot be opened
    yet is met again by the next call.
    """
    commands: List[Tuple[str, Dict[str, Any]]] = []
    for name in fs.list_dir(layout.control):
        if _NAME.fullmatch(name) is None:
            continue
        path = os.path.join(layout.control, name)
        try:
            command = json.loads(fs.read_file(path, limit=_MAX_BYTES).decode("utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            _LOG.warning("the command %s cannot be read: %s", path, error)
            continue
        if isinstance(command, dict) and isinstance(command.get("command"), str):
            commands.append((name, command))
        else:
            _LOG.warning("the file %s holds no command", path)
    return commands


def is_empty(layout: StudyLayout) -> bool:
    """Tell whether no command waits; other files of the folder do not matter."""
    return not any(_NAME.fullmatch(name) for name in fs.list_dir(layout.control))


def acknowledge(layout: StudyLayout, name: str) -> None:
    """Remove a command that was taken; one that is gone already is no error.

    Raises:
        ValueError: ``name`` is not the name of a command.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"not the name of a command: {name!r}")
    fs.unlink(os.path.join(layout.control, name))

"""Manifests: what the slots of one array are to do.

A manifest is published before the array is submitted, and the SHA-256 of its bytes stands on the
command line that Slurm keeps: whoever can write into the study's directory can still not choose
the command that a slot runs.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Mapping

from slurmtune.errors import NewerFormatError, StudyStateError
from slurmtune.store import fs

FORMAT = 1
_MAX_BYTES = 16 * 1024 * 1024


def publish_manifest(path: str, manifest: Mapping[str, Any]) -> str:
    """Publish the manifest and return the SHA-256 of its bytes; the same manifest, the same bytes.

    Raises:
        ValueError, TypeError: it is no JSON.
        OSError: it could not be published.
    """
    content = {"format": FORMAT, **manifest}
    data = json.dumps(content, allow_nan=False, sort_keys=True, indent=1).encode("ascii") + b"\n"
    fs.publish_file(path, data)
    return hashlib.sha256(data).hexdigest()


def load_manifest(path: str, sha256: str) -> Dict[str, Any]:
    """Return the manifest, if its bytes are those of ``sha256``.

    Raises:
        StudyStateError: it is missing, or it is not the one that was published.
        NewerFormatError: a newer slurmtune wrote it.
    """
    try:
        data = fs.read_file(path, limit=_MAX_BYTES)
    except FileNotFoundError:
        raise StudyStateError(f"the manifest {path} is missing") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise StudyStateError(
            f"the manifest {path} was changed after it was published: its SHA-256 is {found}, "
            f"the array was submitted with {sha256}; nothing was run"
        )
    manifest: Dict[str, Any] = json.loads(data.decode("ascii"))
    if manifest["format"] > FORMAT:
        raise NewerFormatError(f"the manifest {path} was written by a newer slurmtune")
    return manifest

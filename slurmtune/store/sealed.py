"""JSON files with a digest of themselves: a flipped bit is noticed, and not believed.

The digest is the last key of the object, over every byte before it, so any program can still read
the file as JSON. A file without one, written by hand, is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_SEAL = re.compile(rb', "digest": "([0-9a-f]{16})"\}\s*\Z')


def seal(data: Mapping[str, Any]) -> bytes:
    """Return the JSON of ``data`` with its digest.

    Raises:
        ValueError: there is nothing in it.
    """
    if not data:
        raise ValueError("nothing to seal")
    body = json.dumps(data, default=str).encode("ascii")
    return body[:-1] + b', "digest": "%s"}\n' % _digest(body).encode("ascii")


def unseal(data: bytes) -> dict[str, Any]:
    """Return what was sealed.

    Raises:
        ValueError: it is no JSON object, or not what was written.
    """
    found = _SEAL.search(data)
    if found is not None and _digest(data[: found.start()] + b"}") != found[1].decode("ascii"):
        raise ValueError("its content does not match its digest")
    try:
        content = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if isinstance(content, dict):
        content.pop("digest", None)
        return content
    raise ValueError("it holds no object")


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]

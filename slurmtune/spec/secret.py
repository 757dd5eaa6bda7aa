"""Values that are shown and stored as digests only: those of variables that sound secret.

The digest tells a change from none; the value itself stands in the spec, in its copy in the study
and in the manifests, all of them readable by the user alone.
"""

from __future__ import annotations

import hashlib
import re

_NAME = re.compile(r"key|token|secret|passw|cred", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    r"""(\w*(?:key|token|secret|passw|cred)\w*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&|}]+)""",
    re.IGNORECASE,
)


def is_secret(name: str) -> bool:
    """Tell whether a variable of this name may hold a secret."""
    return _NAME.search(name) is not None


def hidden(value: str) -> str:
    """Return what stands for a secret value."""
    return f"(hidden, sha256 {hashlib.sha256(value.encode()).hexdigest()[:8]})"


def without_secrets(text: str) -> str:
    """Return a line of shell or TOML with the values of such assignments left out."""
    return _ASSIGNMENT.sub(lambda found: f"{found[1]}{hidden(found[2])}", text)


def masked(text: str) -> str:
    """Return the line with the values of such assignments as stars, each as wide as it was."""
    return _ASSIGNMENT.sub(lambda found: found[1] + "*" * len(found[2]), text)

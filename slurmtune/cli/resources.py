"""Files that come with slurmtune: templates, in the wheel or beside the package in a checkout."""

from __future__ import annotations

import os
from importlib import resources

from slurmtune.errors import SlurmtuneError


def read_template(name: str) -> str:
    """Return the text of a template such as ``spec-asha.toml``.

    Raises:
        SlurmtuneError: the installation is broken: it lacks the file.
    """
    package = resources.files("slurmtune")
    try:
        return package.joinpath("_templates", name).read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    beside = os.path.join(os.path.dirname(str(package)), "templates", name)
    try:
        with open(beside, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise SlurmtuneError(
            f"this installation lacks the template {name}: install slurmtune again"
        ) from None

"""What runs in a simulated slot: how fast it trains and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from slurmtune.core.events import Config, Resource
from slurmtune.core.trial import Outcome
from slurmtune.errors import SlurmtuneError


class Program(Protocol):
    """A training program. Every answer depends on the arguments only."""

    def startup_seconds(self, config: Config) -> float:
        """Return what each attempt pays before it trains: imports, data, loading a checkpoint."""
        ...

    def seconds_per_unit(self, config: Config) -> float:
        """Return how long one resource unit takes."""
        ...

    def metrics(self, config: Config, resource: Resource, seed: int) -> Mapping[str, float]:
        """Return what is reported when training has reached ``resource``.

        Raises:
            ProgramFailedError: the program ends here and reports nothing for this resource.
        """
        ...


class ProgramFailedError(SlurmtuneError):
    """A simulated program failed.

    ``outcome`` is FAILED or OUT_OF_MEMORY, ``cause`` the words of the end record.
    """

    def __init__(
        self, cause: str, *, outcome: Outcome = Outcome.FAILED, exit_code: int = 1
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.outcome = outcome
        self.exit_code = exit_code

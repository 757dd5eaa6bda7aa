"""What the parts of a driver share: its settings, and the driver as its parts see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from slurmtune.backends.base import Backend, Exchange
from slurmtune.core.events import Event
from slurmtune.core.request import ResourceRequest
from slurmtune.core.study import Study
from slurmtune.driver.ports import JournalPort, Observer, StudyFiles
from slurmtune.errors import BackendUnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How the loop behaves; what it decides is the study's business."""

    name: str
    directory: str
    resource: str
    parallel: int
    """Attempts that may be in flight, queued and running together."""
    requests: Mapping[str, ResourceRequest]
    """Resource classes by name."""
    reuse: bool = True
    grace_seconds: float = 60.0
    """How long the last records of a slot that is gone are waited for."""
    shortest_tick_seconds: float = 0.1
    longest_tick_seconds: float = 2.0
    wall_seconds: float | None = None
    """Time that the study may take since it was first opened."""
    expected_units: float | None = None
    adaptive: bool = True
    """Whether more offers than slots are kept out when attempts are shorter than a few ticks."""
    expected_trials: int | None = None
    """Configs that are likely to be started, where `Limits.trials` is only a bound."""
    ahead: float = 1.0
    """Slots that are queued for each attempt that may still be in flight. Above 1 a config is
    chosen when there is a slot for it, not when the slot is submitted."""
    drawn_by: str = ""
    """Versions of all that configs are drawn with."""

    @property
    def binds_late(self) -> bool:
        """Whether slots are queued before there is work for them."""
        return self.ahead > 1


class Desk(Protocol):
    """The driver as its parts see it."""

    study: Study
    journal: JournalPort
    backend: Backend
    exchange: Exchange
    settings: LoopSettings
    files: StudyFiles
    observer: Observer

    @property
    def make_token(self) -> Callable[[int], str]:
        """From the number of an array, unique in this epoch, to its token."""
        ...

    def feed(self, events: Iterable[Event]) -> bool:
        """Apply events, make them durable, carry out what follows; tell whether any counted."""
        ...

    def hear_nothing(self, error: BackendUnavailableError) -> None:
        """The backend gave no answer."""
        ...

    def look_soon(self, now: float) -> None:
        """Look at the queue earlier than it is due: something was submitted."""
        ...

    def usable_slots(self) -> Mapping[str, int]:
        """Return how many slots serve, or could serve, an attempt now, by resource class."""
        ...

    def offers_ahead(self) -> int:
        """Return how many offers are kept for slots that may start before the next look."""
        ...


def class_of_new_trials(study: Study) -> str:
    """Return the resource class that the next trial needs first, as far as can be known."""
    rung = study.trials[-1].first_rung if study.trials else 0
    classes = study.limits.rung_classes
    return classes[min(rung, len(classes) - 1)]

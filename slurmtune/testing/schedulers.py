"""Every scheduler in a small setting, for tests of what must hold under all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slurmtune.core.ports import Scheduler
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.asha_stopping import AshaStopping
from slurmtune.schedulers.async_hyperband import AsyncHyperband
from slurmtune.schedulers.dehb import Dehb
from slurmtune.schedulers.hedged import Hedged
from slurmtune.schedulers.hyperband import Hyperband
from slurmtune.schedulers.irace import Irace
from slurmtune.schedulers.median import MedianRule
from slurmtune.schedulers.pasha import Pasha
from slurmtune.schedulers.pbt import Pbt
from slurmtune.schedulers.single import SingleRung
from slurmtune.schedulers.successive_halving import SuccessiveHalving

LEVELS = (1, 2, 4, 8)

SCHEDULERS: Mapping[str, Callable[[], Scheduler]] = {
    "none": lambda: SingleRung(8),
    "asha": lambda: Asha(LEVELS, 2),
    "asha-stopping": lambda: AshaStopping(LEVELS, 2),
    "sha": lambda: SuccessiveHalving(LEVELS, 2, 24),
    "hyperband": lambda: Hyperband(LEVELS, 2),
    "async_hyperband": lambda: AsyncHyperband(LEVELS, 2),
    "pasha": lambda: Pasha(LEVELS, 2),
    "median": lambda: MedianRule(8, grace=2, min_trials=3),
    "pbt": lambda: Pbt(LEVELS, 6, quantile=0.3, min_ready=1.0, seed=0),
    "pbt-stragglers": lambda: Pbt(LEVELS, 6, quantile=0.3, min_ready=0.6, seed=0),
    "irace": lambda: Irace((1, 2, 3, 4, 5, 6), dimension=2, budget=120, first_test=3, seed=0),
    "dehb": lambda: Dehb(LEVELS, 2, seed=0),
    "hedged": lambda: Hedged(Asha(LEVELS, 2), 0.25),
    "hedged-hyperband": lambda: Hedged(Hyperband(LEVELS, 2), 0.25),
}
"""Makes a fresh one, by name; for studies of some two dozen trials."""

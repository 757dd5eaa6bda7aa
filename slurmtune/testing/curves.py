"""Learning-curve problems: programs for the simulator whose answers are known.

A curve falls from ``floor + amplitude`` towards ``floor`` with a power of the resource,

    loss(r) = floor + amplitude * r ** -rate + noise * z,

where floor comes from the config's values, and amplitude and rate from a hash of the config, so
that curves cross as real ones do. Power laws are what learning curves of neural networks follow
(Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically"). Everything depends on
(config, resource, seed) only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from slurmtune.backends.simulation.program import Program, ProgramFailedError
from slurmtune.core.events import Config, Resource
from slurmtune.core.trial import Outcome

_WORD = 2.0**64


def uniform_of(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the text of ``parts`` only."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _WORD


def normal_of(*parts: object) -> float:
    """Return a standard normal number that depends on the text of ``parts`` only."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
    first = (int.from_bytes(digest[:8], "big") + 1) / (_WORD + 1)
    second = int.from_bytes(digest[8:], "big") / _WORD
    # Box and Muller (1958), one of the two numbers.
    return math.sqrt(-2.0 * math.log(first)) * math.cos(2.0 * math.pi * second)


def branin(x1: float, x2: float) -> float:
    """Return Branin's function: three minima of 0.397887 on [-5, 10] x [0, 15]."""
    bend = x2 - 5.1 / (4.0 * math.pi**2) * x1**2 + 5.0 / math.pi * x1 - 6.0
    return bend**2 + 10.0 * (1.0 - 1.0 / (8.0 * math.pi)) * math.cos(x1) + 10.0


BRANIN_MINIMUM = 0.39788735772973816
"""Of `branin`, for example at (pi, 2.275)."""


def branin_floor(config: Config) -> float:
    """Return Branin's function of ``x1`` and ``x2`` above its minimum, divided by 100."""
    value = branin(float(config["x1"]), float(config["x2"]))
    return (value - BRANIN_MINIMUM) / 100.0


@dataclass(frozen=True, slots=True)
class Bowl:
    """A floor that rises with the square of the distance from the best values."""

    centre: Mapping[str, float]
    """Best value by hyperparameter; those of the config that are not named do not matter."""
    scale: Mapping[str, float] = field(default_factory=dict)
    """Distance that costs 1, by hyperparameter; 1 where not named."""

    def __call__(self, config: Config) -> float:
        """Return the floor of this config; a hyperparameter that is absent costs nothing."""
        return sum(
            ((float(config[name]) - best) / self.scale.get(name, 1.0)) ** 2
            for name, best in self.centre.items()
            if name in config
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLawCurves:
    """Curves that fall with a power of the resource."""

    floor: Callable[[Config], float] = branin_floor
    """What a config reaches in the end."""
    amplitude: float = 1.0
    """What is above the floor after one resource unit, on average over configs."""
    rate: float = 0.5
    """Exponent, on average over configs."""
    crossing: float = 0.5
    """How much amplitude and rate differ between configs, from 0 to 1; with 0 no curves cross."""
    noise: float = 0.0
    """Standard deviation of each report."""
    seconds: float = 60.0
    """One resource unit, on average over configs."""
    seconds_spread: float = 0.0
    """How much the seconds differ between configs, from 0 to 1."""
    startup: float = 0.0
    """What each attempt pays before it trains, in seconds."""
    metric: str = "val_loss"

    def startup_seconds(self, config: Config) -> float:
        """Return the start-up time, the same for all."""
        del config
        return self.startup

    def seconds_per_unit(self, config: Config) -> float:
        """Return how long one resource unit takes with this config."""
        return self._vary(self.seconds, self.seconds_spread, "seconds", _text(config))

    def metrics(self, config: Config, resource: Resource, seed: int) -> Mapping[str, float]:
        """Return the metric at ``resource``."""
        text = _text(config)
        loss = self._curve(config, text, resource)
        if self.noise:
            loss += self.noise * normal_of("noise", text, float(resource), seed)
        return {self.metric: loss}

    def loss(self, config: Config, resource: Resource) -> float:
        """Return the metric at ``resource`` without noise: the truth that tests compare with."""
        return self._curve(config, _text(config), resource)

    def _curve(self, config: Config, text: str, resource: Resource) -> float:
        amplitude = self._vary(self.amplitude, self.crossing, "amplitude", text)
        rate = self._vary(self.rate, self.crossing, "rate", text)
        return self.floor(config) + amplitude * math.pow(max(float(resource), 1e-9), -rate)

    @staticmethod
    def _vary(mean: float, spread: float, purpose: str, text: str) -> float:
        if not spread:
            return mean
        return mean * (1.0 + spread * (2.0 * uniform_of(purpose, text) - 1.0))


@dataclass(frozen=True, slots=True)
class Region:
    """Configs whose numeric values lie in all of these ranges, ends included."""

    ranges: Mapping[str, tuple[float, float]]

    def __contains__(self, config: Config) -> bool:
        return all(
            name in config and low <= float(config[name]) <= high
            for name, (low, high) in self.ranges.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NaNRegion:
    """A program that reports NaN in a region, from some resource on."""

    program: Program
    region: Region
    from_resource: Resource = 0

    def startup_seconds(self, config: Config) -> float:
        """Return what the program within says."""
        return self.program.startup_seconds(config)

    def seconds_per_unit(self, config: Config) -> float:
        """Return what the program within says."""
        return self.program.seconds_per_unit(config)

    def metrics(self, config: Config, resource: Resource, seed: int) -> Mapping[str, float]:
        """Return the metrics of the program within, all NaN inside the region."""
        metrics = self.program.metrics(config, resource, seed)
        if resource >= self.from_resource and config in self.region:
            return dict.fromkeys(metrics, math.nan)
        return metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashRegion:
    """A program that fails in a region, when it reaches some resource."""

    program: Program
    region: Region
    from_resource: Resource = 0
    outcome: Outcome = Outcome.FAILED
    exit_code: int = 1
    cause: str = "the config lies in the crashing region"

    def startup_seconds(self, config: Config) -> float:
        """Return what the program within says."""
        return self.program.startup_seconds(config)

    def seconds_per_unit(self, config: Config) -> float:
        """Return what the program within says."""
        return self.program.seconds_per_unit(config)

    def metrics(self, config: Config, resource: Resource, seed: int) -> Mapping[str, float]:
        """Return the metrics of the program within.

        Raises:
            ProgramFailedError: inside the region.
        """
        if resource >= self.from_resource and config in self.region:
            raise ProgramFailedError(self.cause, outcome=self.outcome, exit_code=self.exit_code)
        return self.program.metrics(config, resource, seed)


def _text(config: Config) -> str:
    """Return the config in one fixed form."""
    return repr(sorted(config.items()))

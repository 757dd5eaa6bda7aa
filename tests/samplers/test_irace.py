"""Sampling around the elites of a race."""

from __future__ import annotations

import math
import statistics
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.core.events import Config
from slurmtune.core.history import History
from slurmtune.core.ports import Asked, HistoryView, Observation, Sampler, StartTrial
from slurmtune.core.seeding import generator
from slurmtune.samplers.irace import (
    IraceSampler,
    Shares,
    Spread,
    from_position,
    position,
    truncated_normal,
    updated,
)
from slurmtune.samplers.random import RandomSampler
from slurmtune.schedulers.irace import Irace, iterations
from slurmtune.space.condition import Condition
from slurmtune.space.domain import (
    Choice,
    Domain,
    Integer,
    LogUniform,
    Normal,
    Uniform,
    geomspace,
)
from slurmtune.space.expression import Expression
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.sampler_contract import FixedHistory, SamplerContract


def sampler_on(
    space: Space, *, iterations: int = 4, newcomers: int = 20, elitist: bool = True
) -> IraceSampler:
    return IraceSampler(
        space,
        RandomSampler(space),
        iterations=iterations,
        newcomers=lambda _: newcomers,
        elitist=elitist,
    )


def space_of(**domains: Domain) -> Space:
    return Space([Hyperparameter(name=name, domain=domain) for name, domain in domains.items()])


def asked_of(parents: list[int | None], brackets: list[int]) -> list[Asked]:
    return [
        Asked(bracket=bracket, parents=() if parent is None else (parent,))
        for parent, bracket in zip(parents, brackets, strict=True)
    ]


def child_history(config: Config, bracket: int = 1) -> FixedHistory:
    """Return a history in which a child of trial 0, drawn at first, is asked for."""
    return FixedHistory([config], asked=asked_of([None, 0], [0, bracket]))


class TestIraceSampler(SamplerContract):
    """Without parents it is the sampler behind."""

    def make_sampler(self, space: Space) -> Sampler:
        return sampler_on(space)


class TestIraceSamplerWithParents(SamplerContract):
    """Six trials of the first iteration, then their children."""

    def make_sampler(self, space: Space) -> Sampler:
        return sampler_on(space)

    def history(self, space: Space, configs: list[Config]) -> HistoryView:  # type: ignore[override]
        plain = super().history(space, configs)
        asked = [
            Asked(bracket=min(trial // 6, 3), parents=((trial - 6) % 6,) if trial >= 6 else ())
            for trial in range(len(configs) + 1)
        ]
        return FixedHistory(configs, plain.observations, asked)


# ------------------------------------------------------------------ models


def sigmas(space: Space, newcomers: int, iterations: int = 6) -> list[float]:
    sampler = sampler_on(space, newcomers=newcomers, iterations=iterations)
    found = []
    for bracket in range(1, iterations):
        history = child_history(space.defaults(), bracket)
        model = sampler.models(history, 0, bracket)[0]
        assert isinstance(model, Spread)
        found.append(model.sigma)
    return found


def test_numbers_spread_less_from_iteration_to_iteration() -> None:
    """20 new configs in 4 dimensions, a range of 1."""
    space = space_of(a=Uniform(0, 1), b=Uniform(0, 1), c=Uniform(0, 1), d=Uniform(0, 1))

    assert sigmas(space, 20)[:4] == pytest.approx([0.2364, 0.1118, 0.0529, 0.0250], abs=5e-5)


def shares_after(bracket: int, *, elitist: bool = True) -> tuple[float, ...]:
    """Return the probabilities of three categories in 4 dimensions and 4 iterations."""
    space = space_of(a=Choice(("x", "y", "z")), b=Uniform(0, 1), c=Uniform(0, 1), d=Uniform(0, 1))
    sampler = sampler_on(space, elitist=elitist)
    config: Config = {"a": "x", "b": 0.5, "c": 0.5, "d": 0.5}
    model = sampler.models(child_history(config, bracket), 0, bracket)[0]
    assert isinstance(model, Shares)
    return model.probabilities


@pytest.mark.parametrize(
    ("bracket", "expected"),
    [
        (1, (0.5, 0.25, 0.25)),
        (2, (0.7279, 0.1361, 0.1361)),
        (3, (0.9077, 0.0462, 0.0462)),
    ],
)
def test_probabilities_of_categories(bracket: int, expected: tuple[float, ...]) -> None:
    assert shares_after(bracket) == pytest.approx(expected, abs=5e-5)


def test_probabilities_before_the_cap() -> None:
    """.5/.25/.25, .75/.125/.125 and from the capped ones .932/.034/.034."""
    third = updated((1 / 3,) * 3, 0, 1 / 4, 1.0)
    raw = updated(third, 0, 2 / 4, 1.0)

    assert third == pytest.approx((0.5, 0.25, 0.25))
    assert raw == pytest.approx((0.75, 0.125, 0.125))
    assert updated((0.7279, 0.1361, 0.1361), 0, 3 / 4, 1.0) == pytest.approx(
        (0.932, 0.034, 0.034), abs=5e-5
    )


def test_only_elitist_races_cap_probabilities() -> None:
    assert shares_after(2, elitist=False) == pytest.approx((0.75, 0.125, 0.125))


def test_probabilities_given_by_the_user_come_first() -> None:
    space = space_of(a=Choice(("x", "y"), (0.9, 0.1)))
    model = sampler_on(space, iterations=2, elitist=False).models(child_history({"a": "y"}), 0, 1)[
        0
    ]

    assert model == Shares((0.45, 0.55))


def test_a_child_inherits_the_model_of_its_parent() -> None:
    """Trial 0 had x in iteration 1; its child has y, whose own child is asked for in 2."""
    space = space_of(a=Choice(("x", "y", "z")))
    history = FixedHistory([{"a": "x"}, {"a": "y"}], asked=asked_of([None, 0, 1], [0, 1, 2]))
    model = sampler_on(space, iterations=4, elitist=False).models(history, 1, 2)[0]

    # 1/3 -> x: 1/2, others 1/4 -> halved, and y: + 1/2.
    assert model == Shares((0.25, 0.625, 0.125))


def test_an_elite_keeps_its_own_model() -> None:
    space = space_of(a=Choice(("x", "y", "z")))
    history = FixedHistory([{"a": "x"}, {"a": "y"}], asked=asked_of([None, 0, 0], [0, 1, 2]))
    model = sampler_on(space, iterations=4, elitist=False).models(history, 0, 2)[0]

    assert model == Shares((0.75, 0.125, 0.125))


def test_a_trial_without_parent_in_a_later_iteration_begins_anew() -> None:
    """All before it had failed."""
    space = space_of(a=Choice(("x", "y", "z")))
    history = FixedHistory([{"a": "x"}, {"a": "y"}], asked=asked_of([None, None, 1], [0, 1, 2]))
    model = sampler_on(space, iterations=4, elitist=False).models(history, 1, 2)[0]

    assert model == Shares(pytest.approx((1 / 6, 4 / 6, 1 / 6)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("domain", "width"),
    [
        (Uniform(2, 4), 0.5),
        (LogUniform(1e-5, 1e-1), 0.5),
        (Integer(1, 8), 3.5 / 8),
        (geomspace(1, 8, 4), 1.5 / 4),
        (Normal(0, 1), 0.5),
    ],
)
def test_first_spread_is_half_the_domain(domain: Domain, width: float) -> None:
    """For whole numbers (ub - lb) / 2 on the scale from lb to ub + 1."""
    model = sampler_on(space_of(a=domain)).models(
        child_history(space_of(a=domain).defaults(), 0), 0, 0
    )[0]
    assert isinstance(model, Spread)

    assert model.sigma == pytest.approx(width)


# ------------------------------------------------------------------ drawing


def children(
    space: Space, parent: Config, *, newcomers: int = 20, count: int = 300
) -> list[Config]:
    """Return a child of ``parent`` for each of many seeds."""
    sampler = sampler_on(space, newcomers=newcomers)
    drawn = [sampler.propose(1, child_history(parent), seed) for seed in range(count)]
    return [config for config in drawn if config is not None]


def test_trials_without_parent_come_from_the_sampler_behind() -> None:
    space = space_of(a=Uniform(0, 1))
    history = FixedHistory([{"a": 0.5}])

    proposed = sampler_on(space).propose(1, history, 3)

    assert proposed == RandomSampler(space).propose(1, history, 3)


def test_children_lie_around_their_parent() -> None:
    """Mean within 5 sigma of the mean (false alarm 6e-7); spread .5 / 100."""
    values = [
        float(c["a"]) for c in children(space_of(a=Uniform(0, 1)), {"a": 0.4}, newcomers=100)
    ]

    assert abs(statistics.fmean(values) - 0.4) < 5 * 0.005 / math.sqrt(300)
    assert statistics.stdev(values) == pytest.approx(0.005, rel=0.25)


def test_children_on_a_logarithmic_scale_lie_around_by_factors() -> None:
    space = space_of(a=LogUniform(1e-6, 1))
    values = [math.log10(float(c["a"])) for c in children(space, {"a": 1e-3}, newcomers=100)]

    # 6 decades, so a spread of 3 / 100 decades.
    assert abs(statistics.fmean(values) + 3) < 5 * 0.03 / math.sqrt(300)
    assert statistics.stdev(values) == pytest.approx(0.03, rel=0.25)


def test_children_of_a_bound_stay_inside() -> None:
    values = [c["a"] for c in children(space_of(a=Uniform(0, 1)), {"a": 0.0}, newcomers=4)]

    assert all(0 <= float(value) <= 1 for value in values)
    assert sum(value == 0.0 for value in values) < 3


def test_whole_numbers_are_drawn_on_both_sides() -> None:
    """Other seeds of an even spread: as often above as below, within 4 sigma."""
    values = [int(c["a"]) for c in children(space_of(a=Integer(0, 1000)), {"a": 500})]
    above = sum(value > 500 for value in values)

    assert abs(above - 150) < 4 * math.sqrt(75)


def test_categories_are_drawn_by_their_probabilities() -> None:
    """1/4 * 3/4 + 1/4 = .4375 for the parent's, below the cap of .447."""
    space = space_of(a=Choice(("x", "y", "z", "w")), b=Uniform(0, 1))
    drawn = Counter(config["a"] for config in children(space, {"a": "x", "b": 0.5}))

    assert abs(drawn["x"] - 300 * 0.4375) < 4 * math.sqrt(300 * 0.4375 * 0.5625)


def test_what_the_parent_lacks_is_drawn_from_the_whole_domain() -> None:
    space = Space(
        [
            Hyperparameter(name="kind", domain=Choice(("a", "b"))),
            Hyperparameter(
                name="power", domain=Uniform(0, 1), when=Condition.parse({"kind": "b"})
            ),
        ]
    )
    powers = [c["power"] for c in children(space, {"kind": "a"}, newcomers=400) if "power" in c]
    values = [float(power) for power in powers]

    assert len(values) > 50
    assert min(values) < 0.1
    assert max(values) > 0.9


def test_children_keep_the_constraints() -> None:
    items = [
        Hyperparameter(name="a", domain=Uniform(0, 1)),
        Hyperparameter(name="b", domain=Uniform(0, 1)),
    ]
    space = Space(items, {"rule": Expression("a + b <= 1")})

    assert all(space.keeps_constraints(config) for config in children(space, {"a": 0.5, "b": 0.5}))


def test_a_model_that_gives_nothing_allowed_asks_the_sampler_behind() -> None:
    """The parent stands far from all that the constraint leaves."""
    items = [Hyperparameter(name="a", domain=Uniform(0, 1))]
    space = Space(items, {"rule": Expression("a >= 0.9")})
    history = child_history({"a": 0.1})

    proposed = sampler_on(space, newcomers=10_000).propose(1, history, 1)

    assert proposed == RandomSampler(space).propose(1, history, 1)


def test_no_config_is_proposed_twice_from_few() -> None:
    space = space_of(a=Choice(("x", "y", "z")), b=Choice((1, 2)))
    sampler = sampler_on(space, newcomers=2)
    configs: list[Config] = [{"a": "x", "b": 1}]
    for trial in range(1, 8):
        asked = asked_of([None] + [0] * trial, [0] + [3] * trial)
        config = sampler.propose(trial, FixedHistory(configs, asked=asked), 0)
        if config is None:
            break
        configs.append(config)

    assert len(configs) == 6
    assert len({space.key(config) for config in configs}) == 6


def test_failed_configs_are_not_drawn_again() -> None:
    space = space_of(a=Choice(("x", "y", "z")))
    configs: list[Config] = [{"a": "x"}, {"a": "y"}]
    failed = [Observation(trial=1, rung=0, resource=1, loss=None)]
    history = FixedHistory(configs, failed, asked_of([None, 0, 0], [0, 1, 1]))

    drawn = {str(sampler_on(space).propose(2, history, seed)) for seed in range(30)}

    assert drawn == {"{'a': 'z'}"}


# ------------------------------------------------------------------ soft restart


def test_soft_restart_widens_a_model_that_repeats_its_parent() -> None:
    """With a spread of 5e-6 every child would be the parent again; then the spread is 0.0005."""
    space = space_of(a=Uniform(0, 1))
    narrow = 1000
    sampler = IraceSampler(
        space, RandomSampler(space), iterations=4, newcomers=lambda n: narrow if n == 1 else 100
    )
    history = child_history({"a": 0.5}, 2)
    values = [(sampler.propose(1, history, seed) or {})["a"] for seed in range(100)]
    distances = [abs(float(value) - 0.5) for value in values]

    # min(5e-6 * 100^2, 0.5 / 100)
    assert statistics.fmean(distances) == pytest.approx(0.005 * math.sqrt(2 / math.pi), rel=0.3)


def test_soft_restart_evens_out_probabilities() -> None:
    """The parent's own category again is a repetition: p = .9 p + .1 max(p)."""
    space = space_of(a=Choice(("x", "y", "z")))
    drawn = {
        str(
            sampler_on(space, newcomers=2, elitist=False).propose(
                1, child_history({"a": "x"}, 3), s
            )
        )
        for s in range(60)
    }

    assert drawn == {"{'a': 'y'}", "{'a': 'z'}"}


# ------------------------------------------------------------------ worth


def raced(sampler: Sampler, scheduler: Irace, seed: int) -> float:
    """Return how good the config is, without noise, that was raced longest and best."""
    history, means = History(), dict[int, list[float]]()
    noise = generator(seed, "noise").normal(size=(1000, 20))
    while (decision := scheduler.decide(may_start=True)) is not None:
        if isinstance(decision, StartTrial):
            trial, rung = len(history.configs), 0
            history.ask(Asked(bracket=decision.bracket, parents=decision.parents))
            config = sampler.propose(trial, history, seed)
            assert config is not None
            history.add_config(config)
            scheduler.started(trial, decision.bracket)
        else:
            trial, rung = decision.trial, decision.rung
        loss = bowl(history.configs[trial]) + 0.3 * float(noise[trial, rung])
        means.setdefault(trial, []).append(loss)
        scheduler.finished(trial, rung, loss)
    best = min(means, key=lambda trial: (-len(means[trial]), statistics.fmean(means[trial])))
    return bowl(history.configs[best])


def bowl(config: Config) -> float:
    return (
        (math.log10(float(config["lr"])) + 2.7) ** 2
        + 4 * (float(config["momentum"]) - 0.9) ** 2
        + 0.5 * (config["optimizer"] != "adam")
    )


@pytest.mark.slow
def test_races_around_elites_beat_races_of_random_configs() -> None:
    """With noise as large as what is to be found, on average over 12 seeds."""
    space = space_of(
        lr=LogUniform(1e-6, 1e-1),
        momentum=Uniform(0, 1),
        optimizer=Choice(("sgd", "adam", "lion", "adagrad")),
    )
    plain = RandomSampler(space)
    ahead: list[float] = []
    behind: list[float] = []
    for seed in range(12):
        for narrows, found in ((True, ahead), (False, behind)):
            race = Irace(range(1, 21), dimension=3, budget=400, seed=seed)
            sampler = IraceSampler(
                space, plain, iterations=iterations(3), newcomers=race.newcomers
            )
            found.append(raced(sampler if narrows else plain, race, seed))

    assert statistics.fmean(ahead) < 0.7 * statistics.fmean(behind)


# ------------------------------------------------------------------ small functions


@given(mean=st.floats(0, 1), sigma=st.floats(1e-6, 1), u=st.floats(0, 1, exclude_max=True))
def test_truncated_normal_stays_inside(mean: float, sigma: float, u: float) -> None:
    assert 0 <= truncated_normal(mean, sigma, u) <= 1


def test_truncated_normal_has_the_middle_in_the_middle() -> None:
    assert truncated_normal(0.5, 0.2, 0.5) == pytest.approx(0.5)


@settings(deadline=None)
@given(index=st.integers(0, 3))
def test_levels_stand_at_equal_distances(index: int) -> None:
    domain = Choice((1, 10, 100, 1000), (0.7, 0.1, 0.1, 0.1), ordered=True)
    at = position(domain, domain.levels[index])

    assert at == (index + 0.5) / 4
    assert domain.decode(from_position(domain, at)) == domain.levels[index]


def test_no_iterations_make_no_sense() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sampler_on(space_of(a=Uniform(0, 1)), iterations=0)

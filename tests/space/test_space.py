"""The whole search space."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.space.condition import Condition
from slurmtune.space.domain import (
    Choice,
    Config,
    Domain,
    Fixed,
    Integer,
    LogUniform,
    QLogUniform,
    QNormal,
    Scalar,
    Uniform,
    boolean,
    linspace,
)
from slurmtune.space.expression import Expression
from slurmtune.space.space import Hyperparameter, Space
from slurmtune.testing.sampler_contract import finite_space, mixed_space


def hp(
    name: str,
    domain: Domain,
    when: Mapping[str, object] | None = None,
    default: Scalar | None = None,
) -> Hyperparameter:
    condition = None if when is None else Condition.parse(when)
    return Hyperparameter(name=name, domain=domain, when=condition, default=default)


def space_of(*items: Hyperparameter, **constraints: str) -> Space:
    return Space(items, {name: Expression(text) for name, text in constraints.items()})


def chain() -> Space:
    """A hyperparameter that depends on one that depends on another, in the wrong order."""
    return space_of(
        hp("momentum", Uniform(0, 1), {"nesterov": True}),
        hp("nesterov", boolean(), {"optimizer": "sgd"}),
        hp("optimizer", Choice(("sgd", "adamw"))),
        hp("dataset", Fixed("cifar10")),
    )


points = st.lists(st.floats(0, 1), min_size=6, max_size=6)


@given(points)
def test_decoded_configs_come_back(point: list[float]) -> None:
    """Checklist 12: discrete, continuous and conditional together; decode(encode(c)) == c."""
    space = mixed_space()
    config = space.decode(point)
    again = space.decode(space.encode(config))

    assert again.keys() == config.keys()
    for name, value in config.items():
        assert again[name] == (pytest.approx(value) if isinstance(value, float) else value)


@given(points)
def test_decoded_configs_are_accepted_unless_a_constraint_is_broken(point: list[float]) -> None:
    space = mixed_space()
    config = space.decode(point)

    assert space.accepts(config) == space.keeps_constraints(config)
    assert space.accepts(config) == (not space.broken(config))


def test_dimension_counts_what_is_searched() -> None:
    space = mixed_space()

    assert space.names == ("lr", "dropout", "mixup", "depth", "optimizer", "power", "dataset")
    assert space.searched == space.names[:-1]
    assert space.dimension == 6
    assert len(space) == 7
    assert space["depth"].domain == Integer(1, 8)


def test_inactive_names_are_absent() -> None:
    """Checklist 14: a condition on a condition, given in the wrong order."""
    space = chain()

    assert space.decode([0.5, 0.9, 0.1]) == {
        "momentum": 0.5, "nesterov": True, "optimizer": "sgd", "dataset": "cifar10",
    }  # fmt: skip
    assert space.decode([0.5, 0.1, 0.1]).keys() == {"nesterov", "optimizer", "dataset"}
    assert space.decode([0.5, 0.9, 0.9]) == {"optimizer": "adamw", "dataset": "cifar10"}


def test_config_is_in_spec_order() -> None:
    assert list(chain().decode([0.5, 0.9, 0.1])) == list(chain().names)


def test_inactive_coordinates_are_in_the_middle() -> None:
    assert chain().encode({"optimizer": "adamw", "dataset": "cifar10"}) == (0.5, 0.5, 0.75)


@pytest.mark.parametrize(
    "config",
    [
        {"optimizer": "sgd", "dataset": "cifar10"},
        {"optimizer": "adamw", "nesterov": True, "dataset": "cifar10"},
        {"optimizer": "adamw"},
        {"optimizer": "adamw", "dataset": "mnist"},
        {"optimizer": "lion", "dataset": "cifar10"},
        {"optimizer": "adamw", "dataset": "cifar10", "lr": 1},
        {},
    ],
)
def test_foreign_configs_are_not_accepted(config: Config) -> None:
    """Missing, inactive, outside and unknown names."""
    assert not chain().accepts(config)


def test_order_of_a_config_is_irrelevant() -> None:
    config = chain().decode([0.5, 0.9, 0.1])
    turned = dict(reversed(list(config.items())))

    assert chain().key(turned) == chain().key(config)
    assert chain().encode(turned) == chain().encode(config)
    assert chain().accepts(turned)


def test_keys_tell_types_apart() -> None:
    """1, 1.0 and True are three configs; text is a fourth."""
    space = space_of(hp("a", Integer(0, 5)))

    assert len({space.key({"a": value}) for value in (1, 1.0, True, "1")}) == 4


def test_wrong_points_are_refused() -> None:
    with pytest.raises(ValueError, match="has 3 coordinates, not 2"):
        chain().decode([0.5, 0.5])
    with pytest.raises(ValueError, match="a coordinate must be from 0 to 1"):
        chain().decode([0.5, 0.5, 2.0])


def test_defaults_are_the_users_else_the_middle() -> None:
    """Checklist 13: defaults first."""
    space = mixed_space()

    assert space.defaults()["lr"] == 3e-4
    assert space.defaults()["dropout"] == 0.25
    assert space.accepts(space.defaults())


def test_bounds_and_levels_are_changed_by_replacing_the_domain() -> None:
    """Checklist 13: bounds of numbers, levels of categories; the rest stays."""
    bounds = LogUniform(1e-5, 1e-1)
    lr = hp("lr", bounds, default=3e-4)
    optimizer = hp("optimizer", Choice(("sgd", "adamw")))
    changed = space_of(
        replace(lr, domain=replace(bounds, high=1e-3)),
        replace(optimizer, domain=Choice(("sgd", "lion"))),
    )

    assert changed.decode([1.0, 1.0]) == {"lr": 1e-3, "optimizer": "lion"}
    assert changed.defaults()["lr"] == 3e-4


def test_default_outside_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lr: default 1 is outside 1e-05 .. 0.1"):
        hp("lr", LogUniform(1e-5, 1e-1), default=1.0)


def test_default_takes_the_type_of_the_domain() -> None:
    assert isinstance(hp("x", Uniform(0, 5), default=1).default, float)


def test_complete_takes_what_is_missing_from_the_point() -> None:
    assert chain().complete({"optimizer": "sgd"}, [0.25, 1.0, 1.0]) == {
        "momentum": 0.25, "nesterov": True, "optimizer": "sgd", "dataset": "cifar10",
    }  # fmt: skip


def test_complete_leaves_out_what_is_not_active() -> None:
    completed = chain().complete({"optimizer": "adamw", "momentum": 0.3}, [0.5] * 3)

    assert completed == {"optimizer": "adamw", "dataset": "cifar10"}


def test_grid_has_all_combinations_with_the_last_fastest() -> None:
    space = space_of(hp("a", Integer(1, 2)), hp("b", Choice(("x", "y"))), hp("c", boolean()))

    assert [tuple(config.values()) for config in space.grid()] == list(
        itertools.product((1, 2), "xy", (False, True))
    )


def test_grid_has_each_conditional_config_once() -> None:
    space = space_of(
        hp("optimizer", Choice(("sgd", "adamw"))), hp("nesterov", boolean(), {"optimizer": "sgd"})
    )

    assert list(space.grid()) == [
        {"optimizer": "sgd", "nesterov": False},
        {"optimizer": "sgd", "nesterov": True},
        {"optimizer": "adamw"},
    ]


def test_grid_puts_parents_first() -> None:
    space = space_of(
        hp("nesterov", boolean(), {"optimizer": "sgd"}), hp("optimizer", Choice(("sgd", "lion")))
    )

    assert list(space.grid()) == [
        {"nesterov": False, "optimizer": "sgd"},
        {"nesterov": True, "optimizer": "sgd"},
        {"optimizer": "lion"},
    ]


def test_grid_keeps_the_constraints() -> None:
    space = finite_space()
    everything = Space(space.hyperparameters)

    assert list(space.grid()) == [c for c in everything.grid() if space.keeps_constraints(c)]


def test_grid_leaves_whole_branches_out() -> None:
    """A rule about the first names is not asked again for each of the last."""
    space = space_of(
        hp("a", Integer(1, 1000)), *(hp(f"x{n}", Integer(1, 100)) for n in range(5)),
        rule="a > 999",
    )  # fmt: skip

    assert next(space.grid())["a"] == 1000


def test_grid_that_breaks_all_constraints_ends_with_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a million combinations in a row; here after a thousand."""
    monkeypatch.setattr("slurmtune.space.space._MAX_REFUSED", 1000)
    space = space_of(*(hp(name, Integer(1, 1500)) for name in "ab"), never="a + b < 0")

    with pytest.raises(ValueError, match=r"in a row break the constraints \(never\)"):
        next(space.grid())


@pytest.mark.parametrize("domain", [LogUniform(1e-5, 1e-1), QNormal(0, 1, 0.5)])
def test_grid_names_what_cannot_be_listed(domain: Domain) -> None:
    space = space_of(hp("a", Integer(1, 3)), hp("lr", domain))

    with pytest.raises(ValueError, match="cannot enumerate the continuous 'lr'"):
        space.grid()


def test_size_counts_configs() -> None:
    assert mixed_space().size is None
    assert space_of().size == 1
    assert space_of(hp("a", Integer(1, 5)), hp("b", boolean())).size == 10
    assert space_of(hp("w", QLogUniform(32, 512, 8, type="int"))).size == 61


@given(st.data())
def test_size_is_the_length_of_the_grid(data: st.DataObject) -> None:
    """Whatever the conditions: random spaces of up to five names."""
    items: list[Hyperparameter] = []
    for number in range(data.draw(st.integers(1, 5))):
        kinds: list[Domain] = [Integer(1, 3), boolean(), linspace(0, 1, 2)]
        domain = data.draw(st.sampled_from(kinds))
        parents = [item for item in items if data.draw(st.booleans())][:2]
        when = {
            parent.name: data.draw(
                st.sampled_from([*parent.domain.values(), list(parent.domain.values())])
                if parent.domain == boolean()
                else st.sampled_from([*parent.domain.values(), ">= 1", "< 1"])
            )
            for parent in parents
        }
        items.append(hp(f"p{number}", domain, when or None))
    space = Space(data.draw(st.permutations(items)))
    configs = list(space.grid())

    assert len(configs) == space.size
    assert len({space.key(config) for config in configs}) == space.size
    assert all(space.accepts(config) for config in configs)


def test_size_with_a_condition_on_a_huge_name_is_a_bound() -> None:
    space = space_of(hp("a", Integer(1, 10**7)), hp("b", boolean(), {"a": "> 5"}))

    assert space.size == 2 * 10**7


def test_share_of_configs_that_keep_the_constraints() -> None:
    """The rule holds for half of the square: within 5 sigma of 10,000 draws (6e-7)."""
    space = space_of(hp("x", Uniform(0, 1)), hp("y", Uniform(0, 1)), rule="x + y <= 1")
    share = space.constraint_share(np.random.default_rng(0))

    assert abs(share - 0.5) < 5 * 0.005
    assert mixed_space().constraints.keys() == {"rule"}
    assert space_of(hp("x", Uniform(0, 1))).constraint_share(np.random.default_rng(0)) == 1.0


def test_broken_constraints_are_named() -> None:
    space = space_of(hp("x", Uniform(0, 1)), small="x < 0.5", large="x > 0.1")

    assert space.broken({"x": 0.7}) == ("small",)


def test_mixed_up_constraint_is_told() -> None:
    space = space_of(hp("optimizer", Choice(("sgd", "adamw"))), rule="optimizer > 3")

    with pytest.raises(
        ValueError, match=r"constraint 'rule': column 1: '>' needs a number.* in 'opt"
    ):
        space.keeps_constraints({"optimizer": "sgd"})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: space_of(hp("a", boolean()), hp("a", boolean())), "'a' is given twice"),
        (lambda: hp("", boolean()), "needs a name"),
        (
            lambda: space_of(hp("a", boolean()), hp("b", boolean(), {"c": 1})),
            "'c' is not a hyperparameter; known: a, b",
        ),
        (
            lambda: space_of(hp("o", Choice(("sgd",))), hp("b", boolean(), {"o": "sdg"})),
            "the condition of 'b': 'o' is never sdg; its values: sgd",
        ),
        (
            lambda: space_of(hp("o", Choice(("sgd",))), hp("b", boolean(), {"o": "> 3"})),
            "the condition of 'b': 'o' is never a number; its values: sgd",
        ),
        (
            lambda: space_of(hp("o", Choice(("sgd",))), rule="o == sgd"),
            "constraint 'rule': 'sgd' is not a hyperparameter .text needs quotes.; known: o",
        ),
        (
            lambda: space_of(hp("o", Choice(("sgd",))), rule="1 > 2"),
            "constraint 'rule' is about no hyperparameter: 1 > 2",
        ),
    ],
)
def test_what_does_not_go_together_is_told(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_start_point_is_checked() -> None:
    chain().check_start({"optimizer": "sgd", "nesterov": True})
    with pytest.raises(
        ValueError, match="'nesterov' has no effect here: it needs optimizer is sgd"
    ):
        chain().check_start({"optimizer": "adamw", "nesterov": True})


def test_space_without_hyperparameters_has_one_config() -> None:
    assert list(space_of().grid()) == [{}]
    assert space_of().accepts({})

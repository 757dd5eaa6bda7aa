"""Conditions between hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.space.condition import Comparison, Condition, OneOf, activation_order
from slurmtune.space.scalar import Scalar


def test_value_must_be_equal() -> None:
    condition = Condition.parse({"optimizer": "sgd"})

    assert condition.holds({"optimizer": "sgd"})
    assert not condition.holds({"optimizer": "adamw"})


def test_list_means_one_of() -> None:
    condition = Condition.parse({"optimizer": ["sgd", "lion"]})

    assert condition.holds({"optimizer": "lion"})
    assert not condition.holds({"optimizer": "adamw"})


@pytest.mark.parametrize(
    ("text", "holding", "failing"),
    [
        (">= 3", 3, 2),
        ("<=3", 3.0, 4),
        (" > 1e-3", 0.01, 0.001),
        ("< -1", -2, -1),
        ("== sgd", "sgd", "adamw"),
        ("!= 'sgd'", "adamw", "sgd"),
        ("== true", True, 1),
        ("!= false", 0, False),
        ("== 2", 2.0, 3),
    ],
)
def test_text_with_an_operator_is_a_comparison(
    text: str, holding: Scalar, failing: Scalar
) -> None:
    condition = Condition.parse({"x": text})

    assert condition.holds({"x": holding})
    assert not condition.holds({"x": failing})


def test_entries_are_joined_by_and() -> None:
    condition = Condition.parse({"optimizer": ["sgd", "lion"], "depth": ">= 3"})

    assert condition.holds({"optimizer": "sgd", "depth": 3})
    assert not condition.holds({"optimizer": "sgd", "depth": 2})
    assert condition.names == ("optimizer", "depth")


def test_absent_name_fails() -> None:
    """Also for "not": what is not active meets nothing."""
    assert not Condition.parse({"x": "!= 3"}).holds({})


def test_one_is_not_true() -> None:
    assert not Condition.parse({"flag": True}).holds({"flag": 1})


def test_text_is_never_on_a_side_of_a_number() -> None:
    assert not Condition.parse({"x": ">= 3"}).holds({"x": "big"})


def test_described_in_words() -> None:
    condition = Condition.parse({"a": ["x", 1], "b": ">= 3", "c": "!= false"})

    assert condition.describe() == "a is x or 1 and b >= 3 and c is not false"


def test_parsed_into_requirements() -> None:
    condition = Condition.parse({"a": ["x"], "b": "< 2.5"})

    assert condition.requirements == (("a", OneOf(("x",))), ("b", Comparison("<", 2.5)))


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ({}, "needs at least one entry"),
        ({"x": []}, "the list is empty"),
        ({"x": ">="}, "compares with nothing"),
        ({"x": "> big"}, "'>' needs a number, found 'big'"),
        ({"x": "> nan"}, "'>' needs a number"),
        ({"x": {"a": 1}}, "a value must be a text"),
    ],
)
def test_wrong_conditions_are_refused(when: Mapping[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Condition.parse(when)


def test_order_puts_parents_first() -> None:
    conditions: dict[str, Condition | None] = {
        "c": Condition.parse({"b": 1}),
        "b": Condition.parse({"a": 1}),
        "a": None,
        "d": None,
    }

    assert activation_order(conditions) == ("a", "b", "c", "d")


def test_cycle_is_told() -> None:
    conditions: dict[str, Condition | None] = {
        "x": None,
        "a": Condition.parse({"b": 1}),
        "b": Condition.parse({"a": 1}),
    }

    with pytest.raises(ValueError, match="depend on each other: a -> b -> a"):
        activation_order(conditions)


def test_unknown_name_is_told() -> None:
    with pytest.raises(ValueError, match="'optimiser' is not a hyperparameter; known: lr"):
        activation_order({"lr": Condition.parse({"optimiser": "sgd"})})


@given(st.permutations(list(range(8))), st.data())
def test_every_parent_comes_before_its_children(names: list[int], data: st.DataObject) -> None:
    """Any graph whose edges lead to smaller numbers has an order, from any spec order."""
    conditions: dict[str, Condition | None] = {}
    for number in names:
        parents = data.draw(st.sets(st.integers(0, max(number - 1, 0)), max_size=3))
        wanted = {f"p{parent}": 1 for parent in sorted(parents) if parent < number}
        conditions[f"p{number}"] = Condition.parse(wanted) if wanted else None
    order = activation_order(conditions)

    assert sorted(order) == sorted(conditions)
    for name, condition in conditions.items():
        for parent in condition.names if condition else ():
            assert order.index(parent) < order.index(name)

"""TOML text and overrides as data with places."""

from __future__ import annotations

import os
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurmtune.spec.source import Document, Tree, decode, dotted, parse, parse_override, walk

DATA = os.path.join(os.path.dirname(__file__), "..", "data", "spec")


def tree_of(text: str) -> Tree:
    tree, problems = parse(Document("spec.toml", text))
    assert problems == []
    return tree


def marks(text: str, *path: str | int) -> tuple[str, str]:
    """Return the text below the marks of key and value."""
    tree = tree_of(text)
    place = tree.places[path]
    lines = text.split("\n")
    return tuple(
        lines[mark.line - 1][mark.column - 1 : mark.column - 1 + mark.length]
        for mark in (place.key, place.value)
    )  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "path", "key", "value"),
    [
        ("a = 1", ("a",), "a", "1"),
        ("  a   =   'x y'  # z", ("a",), "a", "'x y'"),
        ("[t]\na = 1", ("t",), "t", "t"),
        ("[t]\na = 1", ("t", "a"), "a", "1"),
        ("[ t . u ]\na = 1", ("t", "u"), "t . u", "t . u"),
        ("[t.u]\na = 1", ("t",), "t.u", "t.u"),
        ("[[t]]\na = 1\n[[t]]\na = 2", ("t", 1, "a"), "a", "2"),
        ("[[t]]\n[t.u]\na = 1\n[[t]]\n[t.u]\na = 2", ("t", 1, "u", "a"), "a", "2"),
        ("a.b = 1", ("a", "b"), "a.b", "1"),
        ("a.b = 1", ("a",), "a.b", "a.b"),
        ('"a.b" = 1', ("a.b",), '"a.b"', "1"),
        ('"a\\u0062" = 1', ("ab",), '"a\\u0062"', "1"),
        ("a = [1, 22, 3]", ("a", 1), "22", "22"),
        ("a = [\n 1, # x ]\n [2, 33],\n]", ("a", 1, 1), "33", "33"),
        ("a = { b = { c = 1 }, d = 2 }", ("a", "b", "c"), "c", "1"),
        ("a = { b = { c = 1 }, d = 2 }", ("a", "d"), "d", "2"),
        ("a = {}\nb = 1", ("a",), "a", "{}"),
        ('a = "x # ]"\nb = 1', ("b",), "b", "1"),
        ('a = "x \\" y"', ("a",), "a", '"x \\" y"'),
        ('a = """x\n"" y"""\nb = 1', ("b",), "b", "1"),
        ("a = '''x\n'' y'''\nb = 1", ("b",), "b", "1"),
        ('a = """x""""\nb = 1', ("b",), "b", "1"),
        ("a = 2026-01-01 07:32:00\nb = 1", ("a",), "a", "2026-01-01 07:32:00"),
        ("a = [2026-01-01 07:32:00, 1]", ("a", 1), "1", "1"),
        ("a = 'é' # é", ("a",), "a", "'é'"),
    ],
)
def test_marks_are_where_key_and_value_stand(text: str, path: Any, key: str, value: str) -> None:
    assert marks(text, *path) == (key, value)


@pytest.mark.parametrize("name", ["smallest.toml", "asha.toml", "grid.toml", "reference.toml"])
def test_every_value_of_a_spec_has_a_place(name: str) -> None:
    with open(os.path.join(DATA, name), encoding="utf-8") as file:
        tree = tree_of(file.read())
    assert {path for path, _ in walk(tree.data)} == tree.places.keys()


VALUES = st.recursive(
    st.integers(-99, 99)
    | st.booleans()
    | st.sampled_from(['"a # b"', "'''x\ny'''", "1e-5", '"]"', '"}"']),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), VALUES), unique_by=lambda pair: pair[0]))
def test_value_at_its_mark_is_the_value(pairs: list[tuple[str, Any]]) -> None:
    """Property: parsing only the marked text gives the same value again."""

    def written(value: Any) -> str:
        if isinstance(value, list):
            return "[ " + " , ".join(map(written, value)) + " ]"
        return str(value).lower() if isinstance(value, bool) else str(value)

    text = "".join(f"{name} =  {written(value)}  # {name}\n" for name, value in pairs)
    tree = tree_of(text)
    lines = text.split("\n")
    for path, value in walk(tree.data):
        mark = tree.places[path].value
        shown = lines[mark.line - 1][mark.column - 1 :][: mark.length]
        if "'''" not in shown:
            assert tomllib.loads(f"v = {shown}")["v"] == value


def test_merge_keeps_what_is_below_and_takes_what_is_above() -> None:
    low = tree_of("[slurm]\ntime = '1:00'\nmem = '1G'\n[space]\nx = { int = [1, 2] }")
    low.merge(tree_of("[slurm]\ntime = '2:00'\n[space]\nx = { uniform = [0, 1] }"))
    assert low.data == {
        "slurm": {"time": "2:00", "mem": "1G"},
        "space": {"x": {"uniform": [0, 1]}},
    }


def test_merge_keeps_places_of_both() -> None:
    low, high = tree_of("[slurm]\nmem = '1G'"), tree_of("\n\n[slurm]\ntime = '2:00'")
    low.merge(high)
    assert {path: place.key.line for path, place in low.places.items()} == {
        ("slurm",): 3,
        ("slurm", "mem"): 2,
        ("slurm", "time"): 4,
    }


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("search.trials=4", ("search", "trials"), 4),
        ("slurm.partition=debug", ("slurm", "partition"), "debug"),
        ("slurm.time=10:00:00", ("slurm", "time"), "10:00:00"),
        ("slurm.time=1:00:00", ("slurm", "time"), "1:00:00"),
        ("study.name=2026-01-01", ("study", "name"), "2026-01-01"),
        ('space."a.b".default=0.5', ("space", "a.b", "default"), 0.5),
        ("study.tags=['a']", ("study", "tags"), ["a"]),
        ("study.description=a = b", ("study", "description"), "a = b"),
        ("study.description=1\nx = 2", ("study", "description"), "1\nx = 2"),
        ("study.description=", ("study", "description"), ""),
    ],
)
def test_override_is_toml_or_else_text(override: str, path: Any, value: Any) -> None:
    where, tree, problems = parse_override(override, 1)
    assert (where, tree.get(where), problems) == (path, value, [])


@pytest.mark.parametrize("override", ["trials", "=4", "a b=4", "a.=4", "", "a\nb=3"])
def test_override_without_a_key_is_told(override: str) -> None:
    assert [problem.code for problem in parse_override(override, 1)[2]] == ["T12"]


def test_override_marks_its_value() -> None:
    _, tree, _ = parse_override("search.trials=four", 2)
    mark = tree.places["search", "trials"].value
    assert (tree.document.line(2)[mark.column - 1 :], mark.line) == ("four", 2)


def test_byte_order_mark_is_left_out() -> None:
    assert decode(b"\xef\xbb\xbfa = 1", "x")[0].text == "a = 1"


def test_place_of_bad_bytes_is_told() -> None:
    problem = decode(b"a = 1\nb = '\xff'\n", "x")[1]
    assert problem is not None
    assert (problem.line, problem.column) == (2, 6)


def test_dotted_path_quotes_odd_names() -> None:
    assert dotted(("space", "a.b", "when", 1)) == 'space."a.b".when[1]'

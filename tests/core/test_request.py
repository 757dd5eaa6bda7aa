"""Resource classes that grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.core.request import (
    ClassName,
    ResourceRequest,
    derive,
    exclude_nodes,
    larger_memory,
    limit_array,
    parse_class,
)

BASE = ResourceRequest(
    name="c0", options=(("partition", "gpu"), ("mem", "32G")), time_limit_seconds=1800
)


@given(st.integers(0, 99), st.integers(0, 99))
def test_names_can_be_taken_apart(longer, larger):
    name = ClassName("c0-12ab", longer, larger)
    assert parse_class(str(name)) == name


def test_a_class_that_did_not_grow_has_its_own_name():
    assert str(ClassName("c0", 0, 0)) == "c0"


def test_the_limit_grows_by_half():
    assert derive(BASE, ClassName("c0", 1, 0), None).time_limit_seconds == 2700
    assert derive(BASE, ClassName("c0", 2, 0), None).time_limit_seconds == 4050


def test_the_limit_stays_within_what_slurm_allows_and_never_shrinks():
    assert derive(BASE, ClassName("c0", 2, 0), 3600).time_limit_seconds == 3600
    assert derive(BASE, ClassName("c0", 2, 0), 600).time_limit_seconds == 1800


def test_no_limit_stays_none():
    base = ResourceRequest(name="c0")
    assert derive(base, ClassName("c0", 3, 0), None).time_limit_seconds is None


def test_memory_grows_by_half():
    grown = derive(BASE, ClassName("c0", 0, 1), None)
    assert dict(grown.options)["mem"] == "49152M"
    assert grown.name == "c0.t0m1"


@pytest.mark.parametrize(
    ("size", "grown"), [("1000", "1500M"), ("1K", "1M"), ("2T", "3145728M"), ("0", "0")]
)
def test_every_unit_is_understood(size, grown):
    assert larger_memory(size, 1) == grown


def test_what_is_no_size_stays():
    assert larger_memory("a lot", 1) == "a lot"


def test_nodes_are_left_out_besides_those_of_the_spec():
    request = ResourceRequest(name="c0", options=(("exclude", "n[1-2]"), ("qos", "x")))
    assert dict(exclude_nodes(request, ("n7",)).options)["exclude"] == "n[1-2],n7"
    assert exclude_nodes(BASE, ()) is BASE


@pytest.mark.parametrize(
    ("given", "size", "limit"),
    [(None, 2, None), (None, 4, 2), (3, 4, 3), (3, 2, 3)],
)
def test_of_a_larger_array_only_so_many_slots_run_at_once(
    given: int | None, size: int, limit: int | None
) -> None:
    request = ResourceRequest(name="c0", array_limit=given)
    assert limit_array(request, size, parallel=2).array_limit == limit

"""What is told of schedulers and samplers by their names."""

from __future__ import annotations

from typing import get_args

import pytest

from slurmtune.spec.available import SAMPLERS
from slurmtune.spec.field import Sampler, Scheduler
from slurmtune.spec.methods import describe, names

TOLD = [*get_args(Scheduler), *sorted(SAMPLERS)]


def test_every_name_of_a_spec_is_described() -> None:
    assert [
        name for name in [*get_args(Scheduler), *get_args(Sampler)] if not describe(name)
    ] == []


@pytest.mark.parametrize("name", TOLD)
def test_a_description_has_8_to_17_lines_that_fit(name: str) -> None:
    lines = (describe(name) or "").splitlines()
    assert 8 <= len(lines) <= 17
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("label", ["When", "Cost", "Options"])
def test_a_description_has_all_its_parts(name: str, label: str) -> None:
    assert f"\n  {label} " in (describe(name) or "")


@pytest.mark.parametrize("name", list(get_args(Scheduler)))
def test_a_scheduler_names_its_source(name: str) -> None:
    assert "\n  Source  " in (describe(name) or "")


def test_capitals_and_hyphens_do_not_matter() -> None:
    assert describe("Async-Hyperband") == describe("async_hyperband")


def test_what_is_not_available_says_so() -> None:
    assert "Not available yet" in (describe("gp") or "")


def test_an_unknown_name_is_none() -> None:
    assert describe("magic") is None


def test_names_are_each_told_once() -> None:
    assert len(names()) == len(set(names()))

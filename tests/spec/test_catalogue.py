"""Every mistake of the catalogue, with the whole text that a user reads."""

from __future__ import annotations

import os
import re

import pytest

from slurmtune.spec.explain import EXPLANATIONS
from slurmtune.spec.load import loads_spec
from slurmtune.spec.problem import SpecErrors, report

HERE = os.path.dirname(__file__)
DATA = os.path.join(HERE, "..", "data", "spec", "catalogue.txt")
SOURCES = os.path.join(HERE, "..", "..", "slurmtune", "spec")


def read_cases() -> list[tuple[str, str, str]]:
    with open(DATA, encoding="utf-8") as file:
        parts = file.read().split("===== ")[1:]
    cases = []
    for part in parts:
        name, _, rest = part.partition("\n")
        spec, _, expected = rest.partition("-----\n")
        cases.append((name, spec, expected.rstrip("\n")))
    return cases


CASES = read_cases()


@pytest.mark.parametrize(("name", "text", "expected"), CASES, ids=[case[0] for case in CASES])
def test_report_is_told_word_for_word(name: str, text: str, expected: str) -> None:
    try:
        told = report(loads_spec(text).problems)
    except SpecErrors as errors:
        told = str(errors)
    assert told == expected


@pytest.mark.parametrize(("name", "text", "expected"), CASES, ids=[case[0] for case in CASES])
def test_code_is_the_one_of_the_catalogue(name: str, text: str, expected: str) -> None:
    try:
        problems = loads_spec(text).problems
    except SpecErrors as errors:
        problems = errors.problems
    assert [problem.code for problem in problems] == [name.split(maxsplit=1)[0]]


def test_every_code_in_the_source_has_an_explanation() -> None:
    used: set[str] = set()
    for name in os.listdir(SOURCES):
        if name.endswith(".py"):
            with open(os.path.join(SOURCES, name), encoding="utf-8") as file:
                used |= set(re.findall(r'"([TKSMRIU]\d{1,2})"', file.read()))
    assert used <= EXPLANATIONS.keys()


def test_every_explanation_is_used() -> None:
    text = ""
    for name in os.listdir(SOURCES):
        if name.endswith(".py") and name != "explain.py":
            with open(os.path.join(SOURCES, name), encoding="utf-8") as file:
                text += file.read()
    assert [code for code in EXPLANATIONS if f'"{code}"' not in text] == []

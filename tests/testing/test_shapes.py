"""The ways of using slots, in the order of what they are worth."""

from __future__ import annotations

from itertools import pairwise

import pytest

from slurmtune.testing.shapes import SHAPES, Figures, mean, run_shape


@pytest.mark.slow
def test_each_way_uses_the_machines_better_than_the_one_before():
    used = [run_shape(shape, 1, trials=120).used_of_machines for shape in SHAPES]

    assert all(below <= above + 0.02 for below, above in pairwise(used))
    assert used[-1] > 1.5 * used[0]


def test_figures_are_parts_of_one():
    found = run_shape(SHAPES[-1], 2, trials=60)

    assert 0 < found.used_of_allocated < 1
    assert 0 < found.used_of_machines < 1
    assert 0 < found.first_hours <= found.hours


def test_the_mean_is_by_figure():
    def figures(value: float) -> Figures:
        return Figures(
            used_of_allocated=value,
            used_of_machines=value,
            first_hours=value,
            hours=value,
            slots=value,
        )

    assert mean([figures(1.0), figures(2.0)]) == figures(1.5)

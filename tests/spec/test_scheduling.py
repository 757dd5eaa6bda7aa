"""What scheduler and ladder do not go together, beyond the words of the catalogue."""

from __future__ import annotations

import pytest

from slurmtune.spec.load import loads_spec
from slurmtune.spec.rungs import CANNOT_GUARD, FIXED_RUNGS
from slurmtune.testing.written_study import spec_text

LEAVE_OUT = ("asha", "pasha", "async_hyperband")


@pytest.mark.parametrize("scheduler", LEAVE_OUT)
def test_guard_goes_without_a_word_where_rungs_can_be_left_out(scheduler: str) -> None:
    assert loads_spec(spec_text(scheduler, trials=30) + "guard = true\n").problems == ()


def test_guard_goes_with_the_stopping_variant() -> None:
    spec = spec_text("asha", trials=30).replace("[fidelity]", 'variant = "stopping"\n[fidelity]')

    assert loads_spec(spec + "guard = true\n").problems == ()


def test_no_scheduler_is_both_without_rungs_and_with_fixed_ones() -> None:
    assert not {*CANNOT_GUARD} & {*FIXED_RUNGS}
    assert not {*LEAVE_OUT} & {*CANNOT_GUARD, *FIXED_RUNGS}

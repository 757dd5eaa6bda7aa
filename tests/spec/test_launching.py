"""What a launch tells the driver of the spec."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmtune.spec.launching import expected_trials
from slurmtune.spec.load import load_spec
from slurmtune.testing.written_study import rig_of, spec_text


@pytest.mark.parametrize(("members", "top"), [(6, 4), (2, 3), (5, 2)])
def test_as_many_configs_as_a_population_starts_are_expected(
    tmp_path: Path, members: int, top: int
) -> None:
    """If no member fails; the limit allows for it."""
    path = tmp_path / "spec.toml"
    path.write_text(spec_text("pbt", trials=members, top=top))
    rig = rig_of(path)
    rig.run()

    assert expected_trials(load_spec(str(path), ()).spec) == len(rig.study.trials)
    assert len(rig.study.trials) <= rig.limits.trials


def test_where_the_limit_tells_how_many_nothing_else_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(spec_text("asha", trials=9))

    assert expected_trials(load_spec(str(path), ()).spec) is None

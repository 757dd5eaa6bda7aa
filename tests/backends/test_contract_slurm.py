"""The contract of backends, with slots as array tasks of the fake Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slurmtune.testing.backend_contract import BackendContract, Rig
from slurmtune.testing.fake_slurm import FakeSlurm
from slurmtune.testing.slurm_rig import SlurmRig


@pytest.mark.slow
class TestSlurm(BackendContract):
    @pytest.fixture(autouse=True)
    def _slurm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        slurm = FakeSlurm(str(tmp_path / "slurm"), slots=2)
        monkeypatch.setenv("PATH", slurm.path)
        root = str(Path(__file__).parents[2])
        monkeypatch.setenv("PYTHONPATH", root)
        yield
        slurm.stop()

    def make_rig(self, tmp_path: Path) -> Rig:
        return SlurmRig(str(tmp_path))

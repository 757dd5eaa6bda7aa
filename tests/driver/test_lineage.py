"""The lineage that the driver publishes for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from slurmtune.schedulers.pbt import Pbt
from slurmtune.testing.study_rig import RigFiles, StudyRig


class KeptLineage(RigFiles):
    """Keeps the newest lineage."""

    lineage: Sequence[Mapping[str, Any]] = ()

    def publish_lineage(self, heirs: Sequence[Mapping[str, Any]]) -> None:
        """Keep it."""
        self.lineage = heirs


def published(rig: StudyRig) -> Sequence[Mapping[str, Any]]:
    """Run a study and return the lineage that it leaves."""
    files = KeptLineage(rig.cluster)
    rig.files = files
    assert rig.run() == "done"
    return files.lineage


def test_every_heir_of_a_population_is_published() -> None:
    rig = StudyRig(
        trials=40,
        slots=6,
        scheduler=lambda: Pbt((1, 2, 3, 4), 6, quantile=0.34, min_ready=1.0, seed=0),
    )
    heirs = [record["trial"] for record in published(rig)]

    assert heirs == [f"t{t.number:05d}" for t in rig.study.trials if t.source is not None] != []


def test_a_study_without_heirs_publishes_none() -> None:
    assert published(StudyRig(trials=9, slots=3)) == ()

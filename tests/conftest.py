"""What all tests share: how hypothesis searches, and the markers that only tests know."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# In CI the same examples on every run, and no deadline: the machine is shared. Elsewhere new examples each time.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("dev", deadline=None)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev")
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "cluster(**options): the options of scripts/slurm-cluster start for the fixture"
        " slurm_cluster, e.g. cluster(db=True, nodes=2, set=['KillWait=5'])",
    )

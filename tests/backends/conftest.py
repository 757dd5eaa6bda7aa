"""Failures inside the shared contract show their values."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("slurmtune.testing.backend_contract")

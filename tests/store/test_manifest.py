"""Manifests are what was published, or they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmtune.errors import NewerFormatError, StudyStateError
from slurmtune.store import fs
from slurmtune.store.manifest import load_manifest, publish_manifest


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "manifest.json")


def test_a_manifest_comes_back(path: str) -> None:
    sha256 = publish_manifest(path, {"command": ["a", "é"], "size": 2})

    assert load_manifest(path, sha256) == {"format": 1, "command": ["a", "é"], "size": 2}


def test_the_same_manifest_has_the_same_digest(path: str) -> None:
    assert publish_manifest(path, {"a": 1, "b": 2}) == publish_manifest(path, {"b": 2, "a": 1})


def test_any_changed_byte_is_refused(path: str) -> None:
    sha256 = publish_manifest(path, {"command": ["a"]})
    data = fs.read_file(path)
    for position in range(len(data)):
        fs.publish_file(path, data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])

        with pytest.raises(StudyStateError, match="was changed"):
            load_manifest(path, sha256)


def test_a_missing_manifest_is_a_state_error(path: str) -> None:
    with pytest.raises(StudyStateError, match="missing"):
        load_manifest(path, "0" * 64)


def test_a_newer_manifest_is_refused(path: str) -> None:
    sha256 = publish_manifest(path, {"format": 2})

    with pytest.raises(NewerFormatError, match="newer"):
        load_manifest(path, sha256)

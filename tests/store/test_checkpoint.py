"""Checkpoints appear whole, and damage is noticed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from slurmtune.errors import StudyStateError
from slurmtune.store import checkpoint, fs
from slurmtune.store.layout import StudyLayout

NAME = "3.t00007.r1.a1"
MANIFEST = {"trial": 7, "attempt": "t00007.r1.a1", "resource": 3}


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    layout = StudyLayout(str(tmp_path))
    layout.create()
    return layout


@pytest.fixture
def final(layout: StudyLayout) -> str:
    return layout.checkpoint(7, NAME)


def build(layout: StudyLayout, content: bytes = b"weights") -> str:
    folder = checkpoint.begin(layout, 7, NAME)
    os.mkdir(os.path.join(folder, "inner"))
    for name, data in (("model.bin", content), ("inner/state", b"s"), ("empty", b"")):
        fs.write_new(os.path.join(folder, name), data)
    return folder


@pytest.fixture
def published(layout: StudyLayout, final: str) -> str:
    assert checkpoint.publish(build(layout), final, MANIFEST)
    return final


@pytest.mark.parametrize(
    ("resource", "name"), [(3, "3"), (3.0, "3"), (0.5, "0.5"), (1e-05, "1e-05"), (0, "0")]
)
def test_names_come_back(resource: float, name: str) -> None:
    full = checkpoint.checkpoint_name(resource, "t00007.r1.a1")

    assert full == f"{name}.t00007.r1.a1"
    assert checkpoint.parse_checkpoint_name(full) == (resource, "t00007.r1.a1")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "3",
        ".t00007.r1.a1",
        "-1.t00007.r1.a1",
        "nan.t00007.r1.a1",
        "inf.t00007.r1.a1",
        "03.t00007.r1.a1",
        "3.t7",
        "../3.t00007.r1.a1",
        "True.t00007.r1.a1",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        checkpoint.parse_checkpoint_name(name)


def test_a_published_checkpoint_is_whole(layout: StudyLayout, published: str) -> None:
    assert checkpoint.verify(published)
    manifest = checkpoint.load(published)
    assert manifest is not None
    assert sorted(manifest["files"]) == ["empty", "inner/state", "model.bin"]
    assert os.listdir(layout.checkpoints(7)) == [NAME]


def test_one_without_files_is_whole(layout: StudyLayout, final: str) -> None:
    assert checkpoint.publish(checkpoint.begin(layout, 7, NAME), final, MANIFEST)
    assert checkpoint.verify(final)


def test_a_second_one_of_the_name_is_refused(layout: StudyLayout, published: str) -> None:
    assert not checkpoint.publish(build(layout, b"other"), published, MANIFEST)
    assert checkpoint.verify(published)
    assert fs.read_file(os.path.join(published, "model.bin")) == b"weights"
    assert os.listdir(layout.checkpoints(7)) == [NAME]


def test_a_missing_one_is_not_whole(final: str) -> None:
    assert not checkpoint.verify(final)


@pytest.mark.parametrize("name", ["model.bin", "inner/state", "MANIFEST"])
def test_every_changed_byte_is_noticed(published: str, name: str) -> None:
    path = os.path.join(published, name)
    data = fs.read_file(path)
    for position in range(len(data)):
        fs.publish_file(path, data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])

        assert not checkpoint.verify(published)


@pytest.mark.parametrize("name", ["model.bin", "inner/state", "MANIFEST"])
def test_a_truncated_file_is_noticed(published: str, name: str) -> None:
    path = os.path.join(published, name)
    fs.publish_file(path, fs.read_file(path)[:-1])

    assert not checkpoint.verify(published)


@pytest.mark.parametrize("name", ["model.bin", "inner/state", "MANIFEST", "empty"])
def test_a_missing_file_is_noticed(published: str, name: str) -> None:
    os.unlink(os.path.join(published, name))

    assert not checkpoint.verify(published)


def test_a_file_too_many_is_noticed(published: str) -> None:
    fs.write_new(os.path.join(published, "inner", "more"), b"")

    assert not checkpoint.verify(published)


def test_a_link_too_many_is_noticed(published: str) -> None:
    os.symlink("model.bin", os.path.join(published, "link"))

    assert not checkpoint.verify(published)


def test_a_file_replaced_by_a_link_is_noticed(tmp_path: Path, published: str) -> None:
    path = os.path.join(published, "model.bin")
    os.rename(path, tmp_path / "model.bin")
    os.symlink(tmp_path / "model.bin", path)

    assert not checkpoint.verify(published)


def test_links_are_not_published(layout: StudyLayout, final: str) -> None:
    folder = build(layout)
    os.symlink("/etc/passwd", os.path.join(folder, "link"))

    with pytest.raises(StudyStateError, match="'link'"):
        checkpoint.publish(folder, final, MANIFEST)

    assert not os.path.lexists(final)


def test_a_file_called_like_the_manifest_is_refused(layout: StudyLayout, final: str) -> None:
    folder = build(layout)
    fs.write_new(os.path.join(folder, "MANIFEST"), b"mine")

    with pytest.raises(StudyStateError, match="MANIFEST"):
        checkpoint.publish(folder, final, MANIFEST)


def test_too_many_files_are_refused_with_advice(layout: StudyLayout, final: str) -> None:
    folder = checkpoint.begin(layout, 7, NAME)
    for number in range(1000):
        os.close(
            os.open(
                os.path.join(folder, f"a-rather-long-name-{number:06d}"), os.O_CREAT | os.O_WRONLY
            )
        )

    with pytest.raises(StudyStateError, match="one archive"):
        checkpoint.publish(folder, final, MANIFEST)


class Os:
    """``os`` in which ``rename`` fails once, after or before it is carried out."""

    def __init__(self, code: int | None, *, after: bool) -> None:
        self._code = code
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def rename(self, source: str, target: str) -> None:
        code, self._code = self._code, None
        if code is None or self._after:
            os.rename(source, target)
        if code is not None:
            raise OSError(code, os.strerror(code))


def test_a_lost_reply_of_rename_is_success(
    layout: StudyLayout, final: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(layout)
    monkeypatch.setattr(checkpoint, "os", Os(errno.ENOENT, after=True))

    assert checkpoint.publish(folder, final, MANIFEST)
    assert checkpoint.verify(final)


def test_a_failed_one_can_be_published_again(
    layout: StudyLayout, final: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(layout)
    monkeypatch.setattr(checkpoint, "os", Os(errno.EIO, after=False))
    with pytest.raises(OSError):
        checkpoint.publish(folder, final, MANIFEST)

    assert checkpoint.publish(folder, final, MANIFEST)
    assert checkpoint.verify(final)

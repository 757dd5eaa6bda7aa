"""The part of slurmtune that runs in the job."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile

import pytest

from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout
from slurmtune.store.lib import build_library, publish_library


@pytest.fixture
def layout(tmp_path):
    return StudyLayout(str(tmp_path / "study"))


def test_the_same_files_give_the_same_bytes():
    assert build_library() == build_library()


def test_it_holds_only_what_runs_in_the_job():
    names = zipfile.ZipFile(io.BytesIO(build_library())).namelist()

    assert "slurmtune/worker/session.py" in names
    assert {name.split("/")[1] for name in names} == {"__init__.py", "errors.py", "core", "store", "worker"}


def test_it_is_never_replaced(layout):
    path = publish_library(layout)
    fs.publish_file(path, b"an earlier one")

    assert publish_library(layout) == path
    assert fs.read_file(path) == b"an earlier one"


def test_a_program_imports_it_alone_and_without_anything_heavy(layout):
    program = (
        "import sys, slurmtune, slurmtune.store.checkpoint, slurmtune.store.manifest\n"
        "print(slurmtune.__file__)\n"
        "print(sorted({'numpy', 'pydantic', 'submitit', 'dataclasses_json'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-E", "-c", f"import sys; sys.path[:0] = [{publish_library(layout)!r}]\n{program}"],
        capture_output=True,
        text=True,
        cwd=layout.root,
        check=True,
    )

    assert done.stdout.splitlines() == [f"{layout.library}/slurmtune/__init__.py", "[]"]

"""The part of slurmtune that runs in the job."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout
from slurmtune.store.lib import build_library, publish_library


@pytest.fixture
def layout(tmp_path: Path) -> StudyLayout:
    return StudyLayout(str(tmp_path / "study"))


def test_the_same_files_give_the_same_bytes() -> None:
    assert build_library() == build_library()


def test_it_holds_only_what_runs_in_the_job() -> None:
    names = zipfile.ZipFile(io.BytesIO(build_library())).namelist()

    assert "slurmtune/worker/session.py" in names
    assert {name.split("/")[1] for name in names} == {
        "__init__.py",
        "errors.py",
        "core",
        "store",
        "worker",
    }


def modules() -> dict[str, ast.Module]:
    """Return the syntax of each module in the zip, read as Python 3.8 reads it."""
    archive = zipfile.ZipFile(io.BytesIO(build_library()))
    return {
        name.removesuffix("/__init__.py").removesuffix(".py").replace("/", "."): ast.parse(
            archive.read(name), name, feature_version=(3, 8)
        )
        for name in archive.namelist()
    }


def imported(module: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
            if node.module in ("slurmtune.store", "slurmtune.core", "slurmtune.worker"):
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_every_import_in_it_is_of_the_standard_library_or_in_it() -> None:
    found = modules()

    for name, module in found.items():
        for other in imported(module):
            assert other in found or other.split(".")[0] in sys.stdlib_module_names, name


def test_it_is_never_replaced(layout: StudyLayout) -> None:
    path = publish_library(layout)
    fs.publish_file(path, b"an earlier one")

    assert publish_library(layout) == path
    assert fs.read_file(path) == b"an earlier one"


def test_a_program_imports_it_alone_and_without_anything_heavy(layout: StudyLayout) -> None:
    program = (
        "import sys, slurmtune, slurmtune.store.checkpoint, slurmtune.store.manifest\n"
        "print(slurmtune.__file__)\n"
        "print(sorted({'numpy', 'pydantic', 'submitit', 'dataclasses_json'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [
            sys.executable,
            "-E",
            "-c",
            f"import sys; sys.path[:0] = [{publish_library(layout)!r}]\n{program}",
        ],
        capture_output=True,
        text=True,
        cwd=layout.root,
        check=True,
    )

    assert done.stdout.splitlines() == [f"{layout.library}/slurmtune/__init__.py", "[]"]


def test_a_program_without_slurmtune_reports_by_a_command(
    layout: StudyLayout, tmp_path: Path
) -> None:
    layout.create()
    library = publish_library(layout)
    metrics = tmp_path / "metrics.jsonl"
    environment = {
        "PATH": f"{layout.commands}:/usr/bin:/bin",
        "PYTHONPATH": library,
        "SLURMTUNE_PYTHON": sys.executable,
        "SLURMTUNE_METRICS": str(metrics),
        "SLURMTUNE_RESOURCE": "epoch",
        "SLURMTUNE_OBJECTIVES": "loss",
    }

    subprocess.run(
        ["sh", "-c", "slurmtune report epoch=3 loss=0.5"],
        env=environment,
        check=True,
        cwd=tmp_path,
    )

    assert json.loads(metrics.read_text()) == {"epoch": 3, "loss": 0.5}


def test_the_command_does_nothing_else(layout: StudyLayout) -> None:
    layout.create()
    publish_library(layout)

    done = subprocess.run(
        [f"{layout.commands}/slurmtune", "launch"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "slurmtune report" in done.stderr

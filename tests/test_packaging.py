"""The wheel that users install: everything that runs, the templates, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def files_below(folder: Path) -> set[str]:
    """Relative paths of what git would keep."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The wheel, built from the checkout by the build backend itself, which needs no network."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "--target",
            "wheel",
            "--directory",
            str(folder),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return zipfile.Path(built)


@pytest.fixture(scope="module")
def content(wheel: zipfile.Path) -> set[str]:
    return {name for name in wheel.root.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.Path, content: set[str]) -> dict[str, str]:
    """The files of the .dist-info folder by name."""
    return {
        name.split("/", 1)[1]: (wheel / name).read_text("utf-8")
        for name in content
        if ".dist-info/" in name
    }


def test_the_templates_are_inside(content: set[str]) -> None:
    templates = {f"slurmtune/_templates/{name}" for name in files_below(ROOT / "templates")}

    assert "slurmtune/_templates/spec-asha.toml" in templates
    assert {name for name in content if name.startswith("slurmtune/_templates/")} == templates


def test_every_module_is_inside(content: set[str]) -> None:
    expected = {f"slurmtune/{name}" for name in files_below(ROOT / "slurmtune")}

    assert expected <= content


def test_the_types_are_declared(content: set[str]) -> None:
    assert "slurmtune/py.typed" in content


def test_nothing_but_the_package_is_installed(content: set[str]) -> None:
    tops = {name.split("/")[0] for name in content if ".dist-info/" not in name}

    assert tops == {"slurmtune"}


def test_the_version_is_that_of_the_package(metadata: dict[str, str]) -> None:
    source = (ROOT / "slurmtune" / "__init__.py").read_text("utf-8")
    declared = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)

    assert declared
    assert f"\nVersion: {declared[1]}\n" in metadata["METADATA"]


def test_the_command_and_the_licence_are_declared(metadata: dict[str, str]) -> None:
    assert "slurmtune = slurmtune.cli.app:main" in metadata["entry_points.txt"]
    assert "licenses/LICENSE" in metadata

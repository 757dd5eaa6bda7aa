"""The examples and the templates: each one is checked, and what can run here runs to its end."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurmtune.spec.load import load_spec
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.live_study import Done, LiveStudy

CHECKOUT = Path(__file__).parents[2]
SPECS = sorted([*CHECKOUT.glob("examples/*/spec.toml"), *CHECKOUT.glob("templates/spec*.toml")])

OpenExample = Callable[[str], LiveStudy]


@pytest.fixture
def open_example(tmp_path: Path) -> Iterator[OpenExample]:
    """``open_example(NAME)``: a copy of the example, to be launched."""
    opened: list[LiveStudy] = []

    def open_(name: str) -> LiveStudy:
        folder = tmp_path / name
        shutil.copytree(CHECKOUT / "examples" / name, folder)
        live = LiveStudy(folder)
        live.layout = StudyLayout(str(folder / "runs" / load_spec(str(live.spec)).spec.study.name))
        opened.append(live)
        return live

    yield open_
    for live in opened:
        live.close()


def assert_all_good(live: LiveStudy, done: Done, trials: int) -> None:
    assert done.code == 0, done.text
    counts = live.overview()["trials"]
    assert (counts["total"], counts["good"], counts["failed"]) == (trials, trials, 0)


def test_there_are_examples_and_templates() -> None:
    assert len(SPECS) >= 6


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_spec_that_we_ship_has_no_problems(path: Path) -> None:
    assert load_spec(str(path), launching=True).problems == ()


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_spec_that_we_ship_names_its_program(path: Path) -> None:
    words = load_spec(str(path)).spec.run.command
    text = words if isinstance(words, str) else " ".join(words or ())
    files = [word for word in text.split() if word.endswith((".py", ".sh"))]
    assert files
    assert all((path.parent / file).exists() for file in files)


@pytest.mark.slow
def test_the_classifier_learns(open_example: OpenExample) -> None:
    live = open_example("classifier")
    done = live.run("--local=2", "-s", "search.trials=9", "-s", "fidelity.max=9", seconds=90)
    assert_all_good(live, done, 9)
    best = live.overview()["best"]
    assert best["resource"] == 9
    assert 0 <= best["values"]["val_error"] < 0.3


@pytest.mark.slow
def test_the_shell_program_is_run_for_the_whole_grid(open_example: OpenExample) -> None:
    live = open_example("bash")
    done = live.run("--local=2")
    assert_all_good(live, done, 10)
    best = live.overview()["best"]
    assert best["params"] == {"h": pytest.approx(1e-3), "scheme": "rk4"}


@pytest.mark.slow
def test_the_convolutional_network_learns_where_pytorch_is_installed(
    open_example: OpenExample,
) -> None:
    """Elsewhere its spec is checked, and the run that is started tells what is missing."""
    live = open_example("torch")
    checked = live.call("check", "spec.toml", "--offline", "--strict")
    assert checked.code == 0, checked.text
    done = live.run("--local=2", "-s", "search.trials=3", "-s", "fidelity.max=3", seconds=120)
    if importlib.util.find_spec("torch") is not None:
        assert_all_good(live, done, 3)
    else:
        assert done.code == 1
        assert "No module named 'torch': is [env] right?" in done.text

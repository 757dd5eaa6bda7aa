"""The examples and the templates: each one is checked, and what can run here runs to its end."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
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
    assert len(SPECS) >= 9


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
def test_hyperband_runs_every_bracket(open_example: OpenExample) -> None:
    live = open_example("hyperband")
    done = live.run("--local=2")
    assert_all_good(live, done, 17)
    brackets = [trial.bracket for trial in live.study().trials]
    assert [brackets.count(bracket) for bracket in range(3)] == [9, 5, 3]
    assert live.overview()["best"]["resource"] == 9


@pytest.mark.slow
def test_heirs_go_on_where_their_donors_were(open_example: OpenExample) -> None:
    live = open_example("pbt")
    done = live.run("--local=2")
    assert done.code == 0, done.text
    heirs = [trial for trial in live.study().trials if trial.source is not None]
    assert len(heirs) == 4
    # All the way to where the hill is 1.2 high, which no part of the training reaches alone.
    best = live.overview()["best"]
    assert best["resource"] == 45
    assert best["values"]["q"] > 1.0


@pytest.mark.slow
def test_a_scheduler_of_ones_own_decides(open_example: OpenExample) -> None:
    live = open_example("own_scheduler")
    done = live.run("--local=2")
    assert_all_good(live, done, 12)
    assert live.overview()["best"]["resource"] == 80
    assert (Path(live.layout.root) / "scheduler.py").exists()
    # Those who only look have the study's copy.
    (live.folder / "within_reach.py").unlink()
    assert live.call("trials", "--json").code == 0


@pytest.mark.slow
def test_a_scheduler_of_ones_own_may_not_change(open_example: OpenExample) -> None:
    live = open_example("own_scheduler")
    assert live.run("--local=2", "-s", "search.trials=1").code == 0
    with (live.folder / "within_reach.py").open("a") as file:
        file.write("# changed\n")
    done = live.run("--local=2", "-s", "search.trials=1")
    assert done.code == 2
    assert "its spec may not change in\n  search.scheduler: 'within_reach.py (sha256" in done.text


@pytest.mark.slow
def test_the_tests_of_the_own_scheduler_pass(tmp_path: Path) -> None:
    folder = tmp_path / "own_scheduler"
    shutil.copytree(CHECKOUT / "examples" / "own_scheduler", folder)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_within_reach.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


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

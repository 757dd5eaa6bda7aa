"""Functions instead of programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurmtune.errors import TrialError
from slurmtune.worker.call import arguments, call, main
from slurmtune.worker.session import Trial


@pytest.fixture
def module(tmp_path: Any, monkeypatch: Any) -> Any:
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: Any, text: Any) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    return write


@pytest.fixture
def trial(tmp_path: Any) -> Any:
    config = tmp_path / "config.json"
    config.write_text('{"lr": 0.5, "opt": "adam"}')
    return Trial(
        {
            "SLURMTUNE_CONFIG": str(config),
            "SLURMTUNE_METRICS": str(tmp_path / "metrics.jsonl"),
            "SLURMTUNE_OBJECTIVES": "val_loss",
            "SLURMTUNE_RESOURCE": "epoch",
            "SLURMTUNE_END": "9",
        },
        {},
    )


@pytest.fixture
def reported(tmp_path: Any) -> Any:
    return lambda: [
        json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]


def test_number_is_the_objective_at_the_end(module: Any, trial: Any, reported: Any) -> None:
    module("fn_number", "def main(lr): return lr * 2")
    call("fn_number:main", trial)

    assert reported() == [{"val_loss": 1.0, "epoch": 9}]


def test_dict_is_reported_as_it_is(module: Any, trial: Any, reported: Any) -> None:
    module("fn_dict", "def main(**values): return {'val_loss': values['lr'], 'acc': 1}")
    call("fn_dict:main", trial)

    assert reported() == [{"val_loss": 0.5, "acc": 1.0, "epoch": 9}]


def test_function_may_report_itself(module: Any, trial: Any, reported: Any) -> None:
    module("fn_self", "def main(trial):\n for _ in trial.steps(4): trial.report(val_loss=1)")
    call("fn_self:main", trial)

    assert [line["epoch"] for line in reported()] == [4, 8, 9]


def test_number_for_two_objectives_is_refused(module: Any, trial: Any) -> None:
    module("fn_two", "def main(): return 1")
    trial.objectives = ["a", "b"]

    with pytest.raises(TrialError, match="the study wants a, b: fn_two:main must return a dict"):
        call("fn_two:main", trial)


def test_parameters_by_name(trial: Any) -> None:
    def function(opt: Any, end: Any, trial: Any, momentum: Any = 0.9) -> None:
        pass

    assert arguments(function, "x:y", trial) == {"opt": "adam", "end": 9, "trial": trial}


def test_parameter_without_a_value_is_named(trial: Any) -> None:
    def function(momentum: Any) -> None:
        pass

    with pytest.raises(TrialError, match=r"x:y wants 'momentum', .* known: lr, opt"):
        arguments(function, "x:y", trial)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("fn_bad", "module:name"),
        ("fn_bad:nothing", "there is no 'nothing' in fn_bad"),
        ("fn_bad:number", "is no function"),
    ],
)
def test_bad_target_is_told(module: Any, trial: Any, target: Any, message: Any) -> None:
    module("fn_bad", "number = 3")

    with pytest.raises(TrialError, match=message):
        call(target, trial)


def test_mistakes_give_exit_code_2(module: Any, capsys: Any) -> None:
    module("fn_exit", "def main(x): pass")

    assert main(["fn_exit:main"]) == 2
    assert main([]) == 2
    assert "error: fn_exit:main wants 'x'" in capsys.readouterr().err

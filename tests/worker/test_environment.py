"""What a program gets: variables and two files."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from slurmtune.worker.environment import (
    NO_MORE,
    Variables,
    config_json,
    format_number,
    handover,
    program_environment,
    shell_assignments,
    shell_name,
)


def variables(**changes: Any) -> Any:
    fields = dict.fromkeys(Variables._fields, "")
    fields.update(changes)
    return Variables(**fields)


def environment(inherited: Any, **changes: Any) -> Any:
    arguments = {
        "variables": variables(trial="t00001"),
        "user_variables": {},
        "library": "/s/lib.zip",
    }
    arguments.update(changes)
    return program_environment(inherited, **arguments)


def test_variables_of_an_outer_trial_do_not_leak_in() -> None:
    result = environment({"SLURMTUNE_TRIAL": "t00009", "SLURMTUNE_OLD": "x", "HOME": "/h"})

    assert result["SLURMTUNE_TRIAL"] == "t00001"
    assert "SLURMTUNE_OLD" not in result
    assert result["HOME"] == "/h"


def test_library_comes_after_the_users_own_path() -> None:
    assert environment({"PYTHONPATH": "/mine"})["PYTHONPATH"] == "/mine:/s/lib.zip"
    assert environment({})["PYTHONPATH"] == "/s/lib.zip"


def test_the_command_of_the_library_is_found_first() -> None:
    result = environment({"PATH": "/usr/bin"})

    assert result["PATH"] == "/s/bin:/usr/bin"
    assert result["SLURMTUNE_PYTHON"] == sys.executable


def test_user_variables_win_over_inherited_ones() -> None:
    assert environment({"A": "1"}, user_variables={"A": "2"})["A"] == "2"


def test_output_of_python_is_not_buffered_unless_the_user_says_so() -> None:
    assert environment({})["PYTHONUNBUFFERED"] == "1"
    assert environment({"PYTHONUNBUFFERED": ""})["PYTHONUNBUFFERED"] == ""


def test_shell_reads_back_every_value(tmp_path: Any) -> None:
    config = {"lr": 0.1, "opt.name": "a 'b' $(x) `y`\n\\", "use-it": True, "2nd": 3}
    path = tmp_path / "params.sh"
    path.write_bytes(shell_assignments(config))

    script = f'. {path}; printf "%s|" "$lr" "$opt_name" "$use_it" "$_2nd"'
    shown = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout

    assert shown.decode() == "0.1|a 'b' $(x) `y`\n\\|true|3|"


@pytest.mark.parametrize(
    ("name", "expected"), [("lr", "lr"), ("a.b-c/d", "a_b_c_d"), ("1x", "_1x"), ("", "_")]
)
def test_shell_names(name: Any, expected: Any) -> None:
    assert shell_name(name) == expected


def test_config_is_plain_json() -> None:
    config = {"lr": 0.1, "opt": "é", "n": 3, "b": False}

    assert json.loads(config_json(config)) == config


@pytest.mark.parametrize(
    ("number", "text"), [(3, "3"), (3.0, "3"), (0.5, "0.5"), (None, ""), (0, "0")]
)
def test_resources_as_text(number: Any, text: Any) -> None:
    assert format_number(number) == text


def test_what_is_handed_over_are_the_variables() -> None:
    found = json.loads(
        handover(variables(attempt="t00007.r2.a1", end="9", more="/m"), rung=2, start=3, end=9)
    )

    assert set(found) == set(Variables._fields)
    assert (found["attempt"], found["more"]) == ("t00007.r2.a1", "/m")
    assert (found["rung"], found["start"], found["end"]) == (2, 3, 9)


def test_who_is_to_leave_gets_no_end() -> None:
    assert json.loads(NO_MORE) == {"end": None}

"""The argument list: values arrive as they are, whatever they hold."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.errors import SpecError
from slurmtune.worker.command import (
    Words,
    build_argv,
    format_value,
    placeholders,
    split_command,
    substitute,
)

BAD_VALUES = [
    *("", " ", ".", "..", "../../etc/passwd", "/etc/passwd", "a/../../b", "a\\..\\b"),
    *("-rf", "--help", "-", "~", "~root", "*", "?", "[a]", "{}", "{0}", "{p.__class__}"),
    *("%s", "%j", "%A_%a", "%u", "%%", "%n", "$(touch PWNED)", "`touch PWNED`", "; touch PWNED"),
    *("| touch PWNED", "& touch PWNED", "&& x", "> PWNED", "$HOME", "${IFS}", "a b", "a\tb"),
    *("a'b", 'a"b', "a\\", "!!", "#x", "=1+1", "+1", "@SUM(1)", "=cmd|' /C calc'!A0"),
    *("a\nb", "a\rb", "x\n#SBATCH --uid=0", "x\ntouch PWNED #", "\x1b[2J", "\x1b]0;t\x07"),
    *("\x9b31m", "[red]x[/red]", "\u202eabc", "\u2028", "\ufeff", "\xe9", "e\u0301", "\U0001f4a5"),
    *("A" * 256, "A" * 5000, "<script>alert(1)</script>", "__proto__", "null", "true", "NaN"),
    *("1e999", "0x10", "1_000", "१२", "{lr}", "'{lr}'", '"', "'", "\\'", "''"),
]
DUMP = [
    sys.executable,
    "-c",
    "import sys, os; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))",
]
CONTEXT = {
    "start": "3",
    "end": "9",
    "resource": "epoch",
    "config": "/s/config.json",
    "trial": "t00007",
    "rung": "2",
    "seed": "11",
    "checkpoint": "",
    "save": "/s/save",
}


def build(
    command: Any, config: Any = None, *, shell: Any = False, args: Any = "none", absent: Any = ()
) -> Any:
    return build_argv(
        command, shell=shell, args=args, config=config or {}, context=CONTEXT, absent=absent
    )


def received(argv: Any, cwd: Any) -> Any:
    """Return the arguments that a real program gets."""
    done = subprocess.run(
        [word.encode() for word in argv], stdout=subprocess.PIPE, check=True, cwd=cwd
    )
    assert not os.path.exists(os.path.join(cwd, "PWNED"))
    return done.stdout.decode().split("\0")


def test_bad_values_arrive_byte_identical_as_gnu_options(tmp_path: Any) -> None:
    config = {f"p{index}": value for index, value in enumerate(BAD_VALUES)}

    words = received(build(DUMP, config, args="gnu"), tmp_path)

    assert words == [f"--p{index}={value}" for index, value in enumerate(BAD_VALUES)]


def test_bad_values_arrive_byte_identical_through_a_template(tmp_path: Any) -> None:
    config = {f"p{index}": value for index, value in enumerate(BAD_VALUES)}
    template = " ".join(f"x{{p{index}}}" for index in range(len(BAD_VALUES)))

    words = received(build(DUMP, config, args={"template": template}), tmp_path)

    assert words == [f"x{value}" for value in BAD_VALUES]


@pytest.mark.parametrize("place", ["{v}", '"{v}"', "'{v}'", "\"a \"'b'{v}", '"x $HOME {v} y"'])
def test_bad_values_pass_a_shell_byte_identical(tmp_path: Any, place: Any) -> None:
    dump = f'{sys.executable} -c "{DUMP[2].replace(chr(92), chr(92) * 2)}"'
    config = {f"p{index}": value for index, value in enumerate(BAD_VALUES)}
    text = dump + " " + " ".join(place.replace("v", f"p{index}") for index in range(len(config)))

    words = received(build(text + " && true", config, shell=True), tmp_path)

    home = os.environ.get("HOME", "")
    plain = place.replace("'", "").replace('"', "").replace("$HOME", home)
    assert words == [plain.replace("{v}", value) for value in BAD_VALUES]


def test_bad_values_pass_a_script_of_bash_c_byte_identical(tmp_path: Any) -> None:
    for value in BAD_VALUES:
        argv = build(
            ["bash", "-c", 'printf "%s" {v}; printf "%s" "$1"', "me", "{v}"], {"v": value}
        )

        assert received(argv, tmp_path) == [value + value]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_shell_gives_back_any_text(value: Any) -> None:
    argv = build("printf %s {v} | cat", {"v": value})

    assert subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout == value.encode()


def test_text_without_shell_syntax_is_split() -> None:
    assert split_command("python train.py --name 'a b' {lr}") == Words(
        ("python", "train.py", "--name", "a b", "{lr}"), False
    )


@pytest.mark.parametrize(
    "text",
    [
        "python train.py | tee log",
        "python train.py > log",
        "cd src && python train.py",
        "python train.py; true",
        "python $HOME/train.py",
        'python "$HOME/train.py"',
        "python `which x`",
        "OMP_NUM_THREADS=4 python train.py",
        "source env.sh",
        "python train.py *.csv",
        "python ~/train.py",
        "a\nb",
    ],
)
def test_text_with_shell_syntax_needs_a_shell(text: Any) -> None:
    assert split_command(text) == Words((text,), True)


@pytest.mark.parametrize(
    "text",
    [
        "python -c 'print(1); x = 2 > 1'",
        'python -c "print(1)"',
        "python train.py --a=b{lr}",
        r"echo \$HOME \| x",
        "bash run.sh {lr}",
    ],
)
def test_quoted_shell_syntax_needs_no_shell(text: Any) -> None:
    assert not split_command(text).shell


@pytest.mark.parametrize("text", ["", "   ", "python 'train.py"])
def test_command_that_cannot_be_split_is_refused(text: Any) -> None:
    with pytest.raises(SpecError):
        split_command(text)


def test_gnu_options_hold_every_kind_of_value() -> None:
    config = {"lr": 1e-05, "layers": 3, "flag": True, "off": False, "name": "adam", "half": 0.5}

    assert build(["train"], config, args="gnu") == [
        *("train", "--lr=1e-05", "--layers=3", "--flag=true", "--off=false"),
        *("--name=adam", "--half=0.5"),
    ]


def test_hydra_overrides_quote_what_hydra_would_read_otherwise() -> None:
    config = {
        "opt.lr": 0.1,
        "name": "adam",
        "text": "a,b",
        "word": "true",
        "q": "it's \\",
        "b": True,
    }

    assert build(["train"], config, args="hydra") == [
        *("train", "opt.lr=0.1", "name=adam", "text='a,b'", "word='true'"),
        r"q='it\'s \\'",
        "b=true",
    ]


def test_json_style_appends_the_path_of_the_config() -> None:
    assert build(["train"], {"lr": 0.1}, args="json") == ["train", "/s/config.json"]


def test_style_none_appends_nothing() -> None:
    assert build(["train"], {"lr": 0.1}, args="none") == ["train"]


def test_unknown_style_is_refused() -> None:
    with pytest.raises(SpecError, match="args cannot be 'yaml'"):
        build(["train"], args="yaml")


def test_hyperparameters_named_in_the_command_are_not_appended() -> None:
    assert build(["solve", "{h}"], {"h": 0.1, "n": 2}, args="gnu") == ["solve", "0.1", "--n=2"]


def test_context_is_put_in() -> None:
    assert build(["x", "{start}-{end}", "{trial}/{rung}", "{seed}", "{save}", "{config}"]) == [
        *("x", "3-9", "t00007/2", "11", "/s/save", "/s/config.json"),
    ]


def test_other_braces_stay() -> None:
    assert build(["awk", "{print $1}", "{unknown}", "{lr.__class__}", "{0}"], {"lr": 1}) == [
        *("awk", "{print $1}", "{unknown}", "{lr.__class__}", "{0}"),
    ]


def test_values_are_not_substituted_again() -> None:
    assert build(["x", "{a}"], {"a": "{b}", "b": "no"}) == ["x", "{b}"]


def test_negative_value_is_joined_to_its_long_option() -> None:
    assert build(["x", "--lr", "{lr}", "-n", "{lr}"], {"lr": -0.5}) == [
        *("x", "--lr=-0.5", "-n", "-0.5"),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["x", "--resume", "{checkpoint}", "y"], ["x", "y"]),
        (["x", "--resume={checkpoint}", "y"], ["x", "y"]),
        (["x", "-r", "{checkpoint}"], ["x"]),
        (["x", "{checkpoint}", "y"], ["x", "", "y"]),
    ],
)
def test_absent_value_leaves_its_option_out(words: Any, expected: Any) -> None:
    assert build(words) == expected


def test_inactive_hyperparameter_is_absent() -> None:
    argv = build(["x", "--momentum", "{momentum}", "--lr={lr}"], {"lr": 1}, absent=["momentum"])

    assert argv == ["x", "--lr=1"]


def test_shell_variable_in_braces_belongs_to_the_shell() -> None:
    assert build("echo ${lr} {lr} | cat", {"lr": 1}) == ["bash", "-c", "echo ${lr} 1 | cat"]


def test_options_are_appended_to_a_shell_text_quoted() -> None:
    argv = build("cd src && python train.py", {"name": "a b"}, args="gnu")

    assert argv == ["bash", "-c", 'cd src && python train.py "$@"', "bash", "--name=a b"]


def test_plain_options_are_appended_to_a_shell_text_as_they_are() -> None:
    argv = build("cd src && python train.py", {"lr": 0.5}, args="gnu")

    assert argv == ["bash", "-c", "cd src && python train.py --lr=0.5"]


@pytest.mark.parametrize(
    "text",
    [
        'printf %s "$(printf %s {v})"',
        'printf %s "`printf %s {v}`"',
        "printf %s $(printf %s '{v}')",
        "true # {v}",
        "true # don't {v}",
        "true # it's\nprintf %s {v}",
        "cat <<EOF\n{v}\nEOF",
        "cat <<'EOF'\n{v}\nEOF",
        "cat <<EOF\n'{v}'\nEOF",
        "case x in x) printf %s {v};; esac | cat",
        "(printf %s {v}); printf '%s' \"{v}\"",
        "printf %s \\'{v}; true",
    ],
)
@pytest.mark.parametrize(
    "value",
    [
        "$(touch PWNED)",
        "`touch PWNED`",
        "a\ntouch PWNED\n#",
        "'; touch PWNED; '",
        '";touch PWNED;"',
    ],
)
def test_no_place_in_a_shell_text_runs_a_value(tmp_path: Any, text: Any, value: Any) -> None:
    for argv in (
        build(text, {"v": value}, shell=True),
        build(["sh", "-c", text, "x"], {"v": value}),
    ):
        subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False)

    assert os.listdir(tmp_path) == []


def test_an_appended_value_behind_a_comment_is_not_run(tmp_path: Any) -> None:
    argv = build("true # note", {"v": "a\ntouch PWNED"}, args="gnu", shell=True)
    subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False)

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (1e-5, "1e-05"), (3, "3"), (3.0, "3.0"), (True, "true"), ("x", "x")],
)
def test_values_as_text(value: Any, text: Any) -> None:
    assert format_value(value) == text


@given(st.floats(allow_nan=False))
def test_floats_come_back_exactly(number: Any) -> None:
    assert float(format_value(number)) == number


def test_placeholders_are_found_in_order() -> None:
    assert placeholders("--lr {lr} {opt.lr} {} {1} { x } {lr}") == ["lr", "opt.lr", "lr"]


def test_substitute_leaves_unknown_names() -> None:
    assert substitute("{a} {b}", {"a": "1"}) == "1 {b}"

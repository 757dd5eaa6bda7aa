"""Values of hyperparameters reach a real program as they are, and nothing in them is ever run."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from slurmtune.cli import app
from slurmtune.testing.bad_inputs import BAD_TEXTS, NO_TEXTS
from slurmtune.testing.live_study import LiveStudy

pytestmark = pytest.mark.slow

DUMP = """\
import os, sys
with open(os.environ["DUMP"], "wb") as file:
    file.write(b"\\0".join(os.fsencode(word) for word in sys.argv[1:]))
with open(os.environ["SLURMTUNE_METRICS"], "a") as file:
    file.write('{"loss": 1}\\n')
"""
NAMES = [f"p{index}" for index in range(len(BAD_TEXTS))]


def toml(text: str) -> str:
    """Return a text as TOML writes it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def escaped(text: str) -> str:
    """Return a text of few characters as TOML writes it, control characters as escapes."""
    return '"' + "".join(f"\\u{ord(c):04x}" for c in text) + '"'


def spec(run: str, names: list[str] = NAMES) -> str:
    space = "\n".join(
        f"{toml(name)} = {{ fixed = {toml(text)} }}"
        for name, text in zip(names, BAD_TEXTS, strict=True)
    )
    return f"""
[run]
{run}
[objective]
metric = "loss"
goal = "minimize"
[space]
{space}
[search]
trials = 1
"""


def arrived(make_study: Any, run: str, **programs: str) -> tuple[list[str], LiveStudy]:
    """Run a study of one trial; return the words that its program got."""
    files = {"dump.py": DUMP, **{name.replace("_", "."): text for name, text in programs.items()}}
    live: LiveStudy = make_study(spec(run), programs=files)
    dump = live.folder / "dump"
    done = live.run("--local=1", DUMP=str(dump), HOME="/home/somebody")
    assert done.code == 0, done.text
    assert not list(live.folder.rglob("PWNED"))
    return [os.fsdecode(word) for word in dump.read_bytes().split(b"\0")], live


def python(*words: str) -> str:
    """Return the command that dumps its arguments, as a list."""
    return f"command = {json.dumps([sys.executable, 'dump.py', *words])}"


def test_as_options_of_a_command_in_words(make_study: Any) -> None:
    words, _ = arrived(make_study, python())
    assert words == [f"--{name}={text}" for name, text in zip(NAMES, BAD_TEXTS, strict=True)]


def test_as_placeholders_of_a_command_in_words(make_study: Any) -> None:
    words, _ = arrived(make_study, python(*(f"x{{{name}}}" for name in NAMES)) + '\nargs = "none"')
    assert words == [f"x{text}" for text in BAD_TEXTS]


def test_as_placeholders_of_a_command_in_one_text(make_study: Any) -> None:
    text = " ".join([sys.executable, "dump.py", *(f"x{{{name}}}" for name in NAMES)])
    words, _ = arrived(make_study, f'command = {toml(text)}\nargs = "none"')
    assert words == [f"x{text}" for text in BAD_TEXTS]


@pytest.mark.parametrize("place", ["x{}", '"x"{}', '"x{}"', "'x{}'", "x\"$(printf %s '')\"{}"])
def test_as_placeholders_of_a_shell_command(make_study: Any, place: str) -> None:
    text = f"true && {sys.executable} dump.py "
    text += " ".join(place.replace("{}", f"{{{name}}}") for name in NAMES) + " # of {p0}"
    words, _ = arrived(make_study, f'command = {toml(text)}\nargs = "none"')
    assert words == [f"x{text}" for text in BAD_TEXTS]


def test_as_options_behind_a_shell_command(make_study: Any) -> None:
    words, _ = arrived(make_study, f'command = "true && {sys.executable} dump.py"')
    assert words == [f"--{name}={text}" for name, text in zip(NAMES, BAD_TEXTS, strict=True)]


def test_by_a_template(make_study: Any) -> None:
    template = " ".join(f"x{{{name}}}" for name in NAMES)
    words, _ = arrived(make_study, f"{python()}\nargs = {toml(template)}")
    assert words == [f"x{text}" for text in BAD_TEXTS]


def unquoted(value: str) -> str:
    """Return what Hydra's grammar reads from a value: backslashes count only before a quote."""
    if not value.startswith("'"):
        return value
    inner = re.sub(r"(\\+)'", lambda found: "\\" * (len(found[1]) // 2) + "'", value[1:-1])
    return re.sub(r"(\\+)\Z", lambda found: "\\" * (len(found[1]) // 2), inner)


def test_as_hydra_takes_them(make_study: Any) -> None:
    words, _ = arrived(make_study, f'{python()}\nargs = "hydra"')
    pairs = [word.partition("=") for word in words]
    assert [(name, unquoted(value)) for name, _, value in pairs] == list(
        zip(NAMES, BAD_TEXTS, strict=True)
    )


def test_in_a_file_of_json(make_study: Any) -> None:
    (path,), _ = arrived(make_study, f'{python()}\nargs = "json"')
    assert list(json.loads(Path(path).read_bytes()).values()) == BAD_TEXTS


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_as_variables_of_a_shell(make_study: Any, shell: str) -> None:
    script = f'. "$SLURMTUNE_SH"\n{sys.executable} dump.py ' + " ".join(
        f'"x${{{name}}}"' for name in NAMES
    )
    words, _ = arrived(
        make_study, f'command = ["{shell}", "run.sh"]\nargs = "none"', run_sh=script
    )
    assert words == [f"x{text}" for text in BAD_TEXTS]


def test_in_a_file_from_a_template(make_study: Any) -> None:
    template = "".join(f"<{{{name}}}>\n" for name in NAMES)
    run = f'{python()}\nargs = "none"\nfiles = {{ "conf/deep/out.txt" = "in.txt" }}'
    _, live = arrived(make_study, run, in_txt=template)
    (made,) = Path(live.layout.trials).rglob("out.txt")
    assert made.read_bytes().decode() == "".join(f"<{text}>\n" for text in BAD_TEXTS)


def test_a_name_that_is_no_name_is_refused(make_study: Any) -> None:
    names = [
        name for name in BAD_TEXTS if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", name)
    ]
    assert len(names) > 70
    for name in names:
        live = make_study(
            f'[run]\ncommand = "true"\n[objective]\nmetric = "m"\ngoal = "minimize"\n[search]\ntrials = 1\n[space]\n{toml(name)} = {{ fixed = 1 }}\n'
        )
        assert app.run(["check", str(live.spec)]) == 2


@pytest.mark.parametrize("text", NO_TEXTS, ids=ascii)
def test_a_value_that_is_no_text_is_refused(make_study: Any, text: str) -> None:
    live = make_study(f"{spec(python())}\n[space.last]\nfixed = {escaped(text)}\n")
    done = live.run("--local=1")
    assert done.code == 2
    assert "fixed holds a character that is no text" in done.err


def test_a_config_that_no_record_can_hold_is_refused(make_study: Any) -> None:
    live = make_study(f'{spec(python())}\n[space.huge]\nfixed = "{"A" * 70_000}"\n')
    done = live.run("--local=1")
    assert done.code == 2
    assert "a config could need" in done.err

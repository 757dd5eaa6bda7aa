"""Nothing that others wrote steers a terminal or calculates in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slurmtune.cli import output
from slurmtune.store import sealed
from slurmtune.testing.bad_inputs import STEERS
from slurmtune.testing.live_study import LiveStudy

pytestmark = pytest.mark.slow

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u2066\u200b\u2028\r[red]x[/red]"
FAILING = """\
. "$SLURMTUNE_SH"
echo '{"[bold]m\\u001b[2J\\u202e": 1, "loss": 1}' >> "$SLURMTUNE_METRICS"
printf 'one\\033]0;owned\\007two\\r\\033[2J\\233 \\342\\200\\256evil[red]\\n'
printf 'ValueError: \\033[2Jbad\\342\\200\\256 [link=file:///x]cause\\n' >&2
[ "$n" = 1 ]
"""
SPEC = """
[run]
command = ["sh", "train.sh"]
args = "none"
[objective]
metric = "loss"
goal = "minimize"
[space]
text = { fixed = "=1+1\\u001b[2J\\u202e[red]x\\u200b" }
call = { fixed = "@SUM(1)" }
minus = { fixed = "-2+3" }
tab = { fixed = "\\t=1" }
n = { values = [1, 2] }
[search]
sampler = "grid"
trials = 2
"""
COMMANDS = (
    ("status",), ("status", "--all"), ("status", "--json"), ("best",), ("best", "--json"), ("trials",),
    ("trials", "--json"), ("trials", "--csv"), ("show", "0"), ("show", "1"), ("show", "1", "--json"),
    ("logs", "0"), ("logs", "1", "--all"), ("logs",), ("stop", "--yes"), ("check", "spec.toml"),
)  # fmt: skip
_OURS = re.compile(r"\x1b\[(?:0|1|2|3[1236])m")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study whose values, output and causes hold everything that steers a terminal."""
    live = LiveStudy(tmp_path_factory.mktemp("hostile") / "here", SPEC, {"train.sh": FAILING})
    live.driver_text = live.run("--local=1").text  # type: ignore[attr-defined]
    yield live
    live.close()


def steering(text: str) -> list[str]:
    return [c for c in STEERS if c in text]


def test_the_program_ran_and_failed_as_meant(hostile: Any) -> None:
    states = {trial.state.value.lower() for trial in hostile.study().trials}
    assert states == {"completed", "failed"}


def test_launch_shows_nothing_that_steers(hostile: Any) -> None:
    assert "ValueError" in hostile.driver_text
    assert steering(hostile.driver_text) == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_shows_what_steers(hostile: Any, words: tuple[str, ...]) -> None:
    assert steering(hostile.call(*words).text) == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_on_a_terminal_only_our_own_colours_pass(hostile: Any, words: tuple[str, ...]) -> None:
    text = on_a_terminal(hostile, *words).replace("\r\n", "\n")
    assert steering(_OURS.sub("", text)) == []
    assert "Traceback" not in text


def on_a_terminal(live: LiveStudy, *words: str) -> str:
    """Run a command before a terminal and return all that it wrote to it."""
    master, slave = pty.openpty()
    environment = {**live.environment, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "slurmtune.cli.app", *words],
        cwd=live.folder, env=environment, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    data = b""
    with open(master, "rb", buffering=0) as terminal:
        while True:
            try:
                more = terminal.read(65536)
            except OSError:
                break  # Linux says so when the last writer has gone
            if not more:
                break
            data += more
    process.wait(30)
    return data.decode("utf-8", "surrogateescape")


def test_markup_is_shown_as_it_is(hostile: Any) -> None:
    assert "[red]x" in hostile.call("best").out


def test_json_holds_the_values_exactly(hostile: Any) -> None:
    params = json.loads(hostile.call("best", "--json").out)["params"]
    assert params["text"] == "=1+1\x1b[2J\u202e[red]x\u200b"


def test_no_cell_of_a_table_is_a_formula(hostile: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(hostile.call("trials", "--csv").out)))
    assert len(rows) == 2
    for row in rows:
        assert (row["call"], row["minus"]) == ("'@SUM(1)", "'-2+3")
        assert row["text"].startswith("'=1+1")
        assert row["tab"].startswith("'")
        assert not [cell for cell in row.values() if cell[:1] in "=+-@\t" and cell]


def test_a_hostile_overview_cannot_steer(finished: LiveStudy) -> None:
    path = Path(finished.layout.status)
    honest = sealed.unseal(path.read_bytes())
    failure = {
        "trial": "t00001",
        "attempt": "t00001.r0.a1",
        "outcome": "FAILED",
        "exit_code": 1,
        "cause": HOSTILE,
    }
    queue = [{"reason": HOSTILE, "jobs": 1, "start": None}]
    made_up = {
        **honest, "study": HOSTILE, "state": "paused", "reason": HOSTILE, "metric": HOSTILE, "resource": HOSTILE,
        "queue": queue, "failures": [failure], "best": {**honest["best"], "params": {HOSTILE: HOSTILE}, "values": {HOSTILE: 1.0}},
    }  # fmt: skip
    path.write_bytes(sealed.seal(made_up))
    for words in (
        ("status",),
        ("status", "--all"),
        ("status", "--json"),
        ("best",),
        ("best", "--json"),
    ):
        done = finished.call(*words)
        assert done.code == 0, done.text
        assert "owned" in done.text
        assert steering(done.text) == []
    assert steering(_OURS.sub("", on_a_terminal(finished, "status").replace("\r\n", "\n"))) == []


def test_a_lone_surrogate_is_no_crash(finished: LiveStudy) -> None:
    path = Path(finished.layout.status)
    path.write_bytes(sealed.seal({**sealed.unseal(path.read_bytes()), "study": "\ud800x"}))
    for words in (("status",), ("status", "--json"), ("status", "--all")):
        done = finished.call(*words)
        assert done.code == 0, done.text
        assert "x" in done.out


def test_a_terminal_without_unicode_is_no_crash(hostile: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slurmtune.cli.app", "trials"], cwd=hostile.folder, check=False,
        env={**hostile.environment, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_colours_are_only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert (
        output.plain("\x1b[31mred\x1b[0m\x1b[2J\x1b[8mhidden\x1b]0;t\x07")
        == "\x1b[31mred\x1b[0m?[2J?[8mhidden?]0;t?"
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.plain("\x1b[31mred\x1b[0m") == "?[31mred?[0m"

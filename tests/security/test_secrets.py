"""A secret in the environment or in ``[env]`` stands where the program needs it, and nowhere else."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from slurmtune.cli import crash
from slurmtune.spec import build
from slurmtune.spec.load import load_spec
from slurmtune.spec.problem import SpecErrors
from slurmtune.spec.secret import without_secrets
from slurmtune.store.manifest import load_manifest, publish_manifest
from slurmtune.testing.live_study import LiveStudy

CANARY = "c4n4ry-7f3a9e"
SECOND = "s3c0nd-51be07"
OUTSIDE = "0uts1de-99d2c1"
SPEC = f"""
[run]
command = ["{sys.executable}", "-c", "import os; print(len(os.environ['WANDB_API_KEY'])); open(os.environ['SLURMTUNE_METRICS'], 'a').write('{{\\"loss\\": 1}}\\\\n')"]
args = "none"
[objective]
metric = "loss"
goal = "minimize"
[env]
setup = ["export HF_TOKEN={SECOND}"]
[env.vars]
WANDB_API_KEY = "{CANARY}"
PLAIN = "visible"
[space]
q = {{ fixed = 1 }}
[search]
trials = 1
"""


def holders(root: Path, secret: str) -> set[str]:
    """Return the files that hold a secret, relative to ``root``."""
    return {
        str(p.relative_to(root))
        for p in root.rglob("*")
        if p.is_file() and secret.encode() in p.read_bytes()
    }


@pytest.mark.slow
def test_secrets_stand_only_where_they_are_needed(make_study: Any) -> None:
    live: LiveStudy = make_study(SPEC)
    done = live.run("--local=1", MY_PASSWORD=OUTSIDE)
    assert done.code == 0, done.text
    root = Path(live.layout.root)
    assert "13" in next(root.rglob("output.log")).read_text()
    manifests = {str(p.relative_to(root)) for p in root.glob("arrays/*/manifest.json")}
    assert manifests
    # The copy of the spec is the user's own text; manifests hand the variables to the slots.
    assert holders(root, CANARY) == {"spec.toml", *manifests}
    assert holders(root, SECOND) == {"spec.toml"}
    assert holders(root, OUTSIDE) == set()
    for name in ["spec.toml", *manifests]:
        assert stat.S_IMODE((root / name).stat().st_mode) == 0o600
    told = done.text
    for words in (
        ("status",),
        ("best",),
        ("trials", "--json"),
        ("show", "0", "--json"),
        ("logs", "0", "--all"),
    ):
        told += live.call(*words).text
    told += live.call("check", "spec.toml").text + live.call("check", "spec.toml", "--json").text
    assert not [secret for secret in (CANARY, SECOND, OUTSIDE) if secret in told]


@pytest.mark.slow
def test_a_changed_secret_is_noticed_and_not_shown(make_study: Any) -> None:
    live: LiveStudy = make_study(SPEC)
    assert live.run("--local=1").code == 0
    live.write_spec(
        SPEC.replace(CANARY, "an0ther-11")
        .replace(SECOND, "y3t-an0ther")
        .replace("visible", "other")
    )
    told = live.call("check", "spec.toml", "--json").text + live.run("--local=1").text
    assert "env.vars" in told
    assert "hidden, sha256" in told
    assert "other" in told
    assert not [
        secret for secret in (CANARY, SECOND, "an0ther-11", "y3t-an0ther") if secret in told
    ]


def test_a_manifest_is_needed_and_closed(tmp_path: Path) -> None:

    path = tmp_path / "manifest.json"
    before = os.umask(0)
    try:
        digest = publish_manifest(str(path), {"vars": {"TOKEN": CANARY}})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_manifest(str(path), digest)["vars"]["TOKEN"] == CANARY


@pytest.mark.parametrize(
    "env",
    [
        f'vars = {{ WANDB_API_KEY = "{CANARY}", N = 5 }}',
        f'[env.vars]\nMY_SECRET = "{CANARY}\\nx"',
        f'setup = ["export TOKEN={CANARY}", 5]',
        f"setup = [\"export PASSWORD='{CANARY} {CANARY}' ; \\u0007x\"]",
    ],
)
def test_a_mistake_in_the_environment_is_told_without_the_secret(tmp_path: Path, env: str) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(
        "[study]\nname = 's'\n[run]\ncommand = 'true'\n[objective]\nmetric = 'm'\ngoal = 'minimize'\n"
        f"[space]\nq = {{ fixed = 1 }}\n[search]\ntrials = 1\n[env]\n{env}\n"
    )
    with pytest.raises(SpecErrors) as caught:
        load_spec(str(path))
    assert CANARY not in str(caught.value)
    assert CANARY not in json.dumps([problem.as_json() for problem in caught.value.problems])


@pytest.mark.parametrize(
    "line",
    [
        "export HF_TOKEN=x9x9",
        "MY_KEY='x9x9 x9x9'",
        'A_SECRET="x9x9" cmd',
        "foo --password=x9x9",
        "CREDENTIALS=x9x9;y",
    ],
)
def test_assignments_of_secrets_are_hidden(line: str) -> None:
    shown = without_secrets(line)
    assert "x9x9" not in shown
    assert shown != without_secrets(line.replace("x9x9", "x8x8"))


def test_a_crash_report_hides_secrets_of_the_command_line(tmp_path: Path) -> None:
    argv = ["launch", "spec.toml", "-s", f"env.vars.API_KEY={CANARY}"]
    path = Path(crash.write_report(RuntimeError("x"), argv, str(tmp_path)))
    text = path.read_text()
    assert CANARY not in text
    assert "env.vars.API_KEY=(hidden)" in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_submitted_holds_no_variable(tmp_path: Path) -> None:
    """A script, a job name and a comment can be read by others; `[env] setup` is the user's own text."""
    path = tmp_path / "spec.toml"
    path.write_text(f'[study]\nname = "s"\n{SPEC}')
    _, requests = build.build_requests(load_spec(str(path)).spec)
    assert CANARY not in repr(requests)
    assert "WANDB_API_KEY" not in repr(requests)

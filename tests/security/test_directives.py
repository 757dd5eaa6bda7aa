"""Nothing of a spec can become a line of its own, or a directive, in a batch script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slurmtune.cli import app
from slurmtune.errors import SpecError
from slurmtune.slurm.sbatch import check_job_name, check_option, check_setup_line
from slurmtune.spec.load import load_spec
from slurmtune.spec.problem import SpecErrors
from slurmtune.testing.bad_inputs import BAD_TEXTS, NO_TEXTS

INJECTIONS = [
    "x\n#SBATCH --uid=0",
    "x\ntouch PWNED #",
    "x\r#SBATCH -A a",
    "a\x1b[2J",
    "a\x0bb",
    "a\x0cb",
    "a\u2028b",
]
INJECTIONS += [*NO_TEXTS, "a\x00", "a\x1cb", "a\u2029b"]
SPEC = """
[study]
name = "s"
[run]
command = "true"
[objective]
metric = "loss"
goal = "minimize"
[space]
q = { int = [1, 9] }
[search]
trials = 1
"""
KEYS = [
    *(
        "slurm.partition",
        "slurm.account",
        "slurm.qos",
        "slurm.gres",
        "slurm.constraint",
        "slurm.exclude",
    ),
    *(
        "slurm.comment",
        "slurm.mem",
        "slurm.time",
        "slurm.signal",
        "slurm.extra.reservation",
        "slurm.extra.mail-type",
    ),
    *(
        "slurm.rung.0.partition",
        "env.conda",
        "env.venv",
        "env.container",
        "study.name",
        "study.dir",
        "run.workdir",
    ),
    *("run.files.out", "env.vars.NAME"),
]
LISTS = ["env.setup", "env.modules"]


def toml(text: str) -> str:
    return '"' + "".join(f"\\u{ord(c):04x}" if not c.isalnum() else c for c in text) + '"'


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_a_line_break_is_refused_in_every_key(
    spec: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in KEYS:
        for words in (("check", str(spec)), ("launch", str(spec), "--local=1")):
            assert app.run([*words, "-s", f"{key}={toml(text)}"]) == 2, key
            err = capsys.readouterr().err
            assert "Traceback" not in err
            assert key.partition(".")[0] in err
    for key in LISTS:
        assert app.run(["check", str(spec), "-s", f"{key}=[{toml(text)}]"]) == 2, key
    assert not (spec.parent / "runs").exists()
    assert not list(spec.parent.rglob("PWNED"))


@pytest.mark.parametrize(
    "name",
    [*BAD_TEXTS, *INJECTIONS, "uid", "wrap", "array", "output", "Mail-Type", "é", "-a"],
    ids=ascii,
)
def test_a_key_that_is_no_option_is_refused(spec: Path, name: str) -> None:
    if name in {"uid", "constructor", "null", "true"}:
        return  # options that might exist; sbatch itself judges
    with pytest.raises(SpecErrors):
        load_spec(str(spec), [f"slurm.extra={{ {json.dumps(name, ensure_ascii=False)} = 'x' }}"])
    with pytest.raises(SpecError):
        check_option(name, "x")


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_the_last_check_before_a_script_refuses_them_too(text: str) -> None:
    with pytest.raises(SpecError):
        check_option("comment", text)
    with pytest.raises(SpecError):
        check_setup_line(text)
    with pytest.raises(SpecError):
        check_job_name(text)


@pytest.mark.parametrize("name", [text for text in BAD_TEXTS if not text.isalnum()], ids=ascii)
def test_a_study_name_that_leads_elsewhere_is_refused(spec: Path, name: str) -> None:
    if name in {"1_000", "A" * 256} or not set(name) - set("abcdefghijklmnopqrstuvwxyz_"):
        return  # a fine name, or refused for its length
    assert app.run(["check", str(spec), "-J", name]) == 2
    assert not (spec.parent / "runs").exists()


@pytest.mark.parametrize("name", ["50%j", "a\nb", "a\x1b[2J", "x%"])
def test_a_folder_that_slurm_would_read_otherwise_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "spec.toml").write_text(SPEC)
    assert app.run(["launch", str(folder / "spec.toml"), "--local=1"]) == 2
    err = capsys.readouterr().err
    assert "Slurm replaces % in paths" in err
    assert "\x1b" not in err
    assert not (folder / "runs").exists()

"""``slurmtune init``: a spec and a program to start from."""

from __future__ import annotations

import os
import re
import sys
from enum import Enum
from typing import Annotated, NamedTuple

import typer

from slurmtune.cli import output, resources, text
from slurmtune.errors import BackendError, UsageError


class Kind(Enum):
    """Kinds of specs to start from."""

    ASHA = "asha"
    GRID = "grid"
    BASH = "bash"


class _Kit(NamedTuple):
    words: str
    program: str
    about: str


_KITS = {
    Kind.ASHA: _Kit("asha: many trials, the best trained longest", "train.py", "a toy"),
    Kind.GRID: _Kit("grid: every combination once", "train.py", "a toy"),
    Kind.BASH: _Kit("bash: any program, called by a shell script", "run.sh", "a toy"),
}
_SPEC = "spec.toml"
_COMMENTED = re.compile(r"^# (partition|account) *=.*$", re.MULTILINE)
_GPUS = re.compile(r"^(gpus_per_node *=)", re.MULTILINE)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="init")(init)


def init(
    directory: Annotated[
        str, typer.Argument(metavar="[DIR]", help="Where to write.", show_default=False)
    ] = ".",
    *,
    template: Annotated[
        Kind | None, typer.Option("--template", help="What to start from.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files.")] = False,
) -> None:
    """Write a spec and a program to start from.

    \b
    Examples
      slurmtune init                     asks which kind
      slurmtune init --template asha my-study
    """
    kind = template or _ask()
    kit = _KITS[kind]
    targets = {
        name: os.path.normpath(os.path.join(directory, name)) for name in (_SPEC, kit.program)
    }
    if os.path.exists(targets[_SPEC]) and not force:
        raise UsageError(
            f"{targets[_SPEC]} exists; --force overwrites it, or name another folder: "
            f"slurmtune init --template {kind.value} DIR"
        )
    os.makedirs(directory, exist_ok=True)
    spec, found = _fitted(resources.read_template(f"spec-{kind.value}.toml"))
    _write(targets[_SPEC], spec)
    lines = [(f"wrote {targets[_SPEC]}", f"{_content_lines(spec)} lines{found}")]
    if os.path.exists(targets[kit.program]) and not force:
        lines.append((f"kept {targets[kit.program]}", "yours: it was there already"))
    else:
        _write(targets[kit.program], resources.read_template(kit.program))
        told = f"{kit.about} that runs in a second; put your training in its place"
        lines.append((f"wrote {targets[kit.program]}", told))
    if kit.program.endswith(".sh"):
        os.chmod(targets[kit.program], 0o755)  # noqa: S103
    output.say(text.table(lines, "<<", gap="   "))
    output.say(f"next: slurmtune check {targets[_SPEC]}      the plan and its cost")
    output.say(f"      slurmtune launch {targets[_SPEC]} --local    try it here, without Slurm")


def _ask() -> Kind:
    """Ask for the kind.

    Raises:
        UsageError: nobody can be asked, or the answer is none.
    """
    choices = "|".join(kind.value for kind in Kind)
    if not (output.is_terminal(sys.stdin) and output.is_terminal(sys.stdout)):
        raise UsageError(f"which kind? Without a terminal say  --template {choices}")
    for number, kit in enumerate(_KITS.values(), start=1):
        output.say(f"  [{number}] {kit.words}")
    sys.stdout.write("Which kind?  > ")
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()
    for number, kind in enumerate(Kind, start=1):
        if answer in {str(number), kind.value}:
            return kind
    raise UsageError(f"{answer!r} is none of 1, 2 and 3; or say  --template {choices}")


def _fitted(spec: str) -> tuple[str, str]:
    """Return the spec with what is known of this cluster, and what that was, in words."""
    from slurmtune.spec import cluster

    if not cluster.is_here():
        return spec, ""

    try:
        facts = cluster.facts()
    except BackendError:
        return spec, ""
    partition = facts.default_partition
    known = {"partition": partition, "account": facts.default_account}
    told = [f"{key} {name}" for key, name in known.items() if name]

    def fill(found: re.Match[str]) -> str:
        name = known[found[1]]
        return f'{found[1]} = "{name}"' if name else found[0]

    spec = _COMMENTED.sub(fill, spec)
    nodes = [group for group in facts.nodes if group.partition == partition]
    if nodes and not any(group.gpu_count for group in nodes):
        spec = _GPUS.sub(r"# \1", spec)
        told.append("no GPUs")
    return spec, f"; {', '.join(told)}: from this cluster" if told else ""


def _content_lines(spec: str) -> int:
    return sum(1 for line in spec.splitlines() if line.strip() and not line.startswith("#"))


def _write(path: str, content: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)

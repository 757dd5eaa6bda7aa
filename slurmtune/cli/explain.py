"""``slurmtune explain CODE``: what stands behind the code of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from slurmtune.cli import output, text

CLUSTER: Mapping[str, str] = {
    "C0": "Slurm refuses the request with words that slurmtune does not know; they are shown as "
    "they are.",
    "C1": "slurm.partition names a partition that this cluster does not have. `sinfo -s` lists "
    "them; the one with the asterisk is the default.",
    "C2": "No node of the partition is as large as slurm.cpus_per_task, slurm.mem and "
    "slurm.gpus_per_node ask for. A slot runs on one node.",
    "C3": "The GPUs of this cluster have no such type: write gpus_per_node = 1, or a type that "
    "`sinfo -o %G` shows.",
    "C4": "slurm.constraint names a feature that no node has. `sinfo -o '%n %f'` lists them.",
    "C5": "The array is longer than the cluster's MaxArraySize. slurmtune splits longer ones.",
    "C6": "sbatch does not take the time limit: minutes, H:M:S or D-H:M:S.",
    "C7": "The account or the QOS is not one of yours. `sacctmgr show assoc user=$USER` lists "
    "them. Where limits are not enforced sbatch takes any name, and this is only a warning.",
    "C8": "slurm.exclude names a node that does not exist. `sinfo -N` lists them.",
    "C9": "There is no sbatch on this machine: it is no login node of a Slurm cluster, or its "
    "module is not loaded. `slurmtune launch spec.toml --local` runs the trials here.",
    "C10": "Slurm's controller does not answer. slurmtune asks again, ever more slowly; running "
    "jobs are not affected and nothing is lost.",
    "C11": "You may have so many jobs queued at once. slurmtune keeps below the limit and submits "
    "the rest later.",
    "C12": "The jobs ask for something that they will never get, such as a time limit above the "
    "partition's, so they would wait for ever.",
}
"""Messages about the cluster, by code (`slurmtune.slurm.advice`)."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="explain")(explain)


def explain(
    code: Annotated[str, typer.Argument(metavar="CODE", help="Such as K2, from check --json.")],
) -> None:
    """Explain the code of a message about a spec or about the cluster.

    \b
    Example
      slurmtune explain K2
    """
    key = code.strip().upper()
    if key in CLUSTER:
        output.say(text.wrap(f"{key}: {CLUSTER[key]}", first="", rest=""))
        return
    from slurmtune.spec.explain import explain as explain_spec

    output.say(text.wrap(explain_spec(code), first="", rest=""))

"""Asking a cluster before anything is submitted: would it take this request, and what has it got.

Used by ``slurmtune check`` and ``slurmtune doctor``, and by ``launch`` to explain a refusal.
Every question may fail on its own: what could not be found out is simply missing.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass, field

from slurmtune.backends.command import CommandRunner, SubprocessRunner
from slurmtune.core.request import ResourceRequest
from slurmtune.errors import BackendError, BackendUnavailableError
from slurmtune.slurm import advice, environment, limits, sbatch, sinfo
from slurmtune.slurm.advice import Advice, Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What the cluster says to one request."""

    accepted: bool
    """Whether Slurm would take the request."""
    says: str
    """Slurm's own words: when and where the job would start, or why not."""
    advice: tuple[Advice, ...] = field(default=())
    """Errors and warnings, explained."""


def gather_facts(runner: CommandRunner | None = None) -> tuple[Facts, limits.ClusterConfig]:
    """Return what partitions, nodes, accounts and limits there are.

    Raises:
        BackendError: There is no Slurm here.
        BackendUnavailableError: Slurm does not answer.
    """
    runner = runner or SubprocessRunner()
    answer = runner.run(limits.config_command())
    if answer.returncode:
        raise BackendUnavailableError(f"{advice.NO_ANSWER}: {answer.stderr.strip()}")
    config = limits.parse_config(answer.stdout)
    associations: list[limits.Association] = []
    default_account = ""
    submit_limit: int | None = None
    if config.has_accounting:
        user = getpass.getuser()
        associations = limits.parse_associations(_said(runner, limits.associations_command(user)))
        default_account = _said(runner, limits.default_account_command(user)).strip()
        qos = limits.parse_qos(_said(runner, limits.qos_command()))
        submit_limit = limits.submit_limit(associations, qos, config.enforced)
    facts = Facts(
        nodes=tuple(sinfo.parse(_said(runner, sinfo.command()))),
        associations=tuple(associations),
        default_account=default_account.splitlines()[0] if default_account else "",
        max_array_size=config.max_array_size,
        enforced=config.enforced,
        submit_limit=submit_limit,
    )
    return facts, config


def probe(
    script: str, request: ResourceRequest, facts: Facts, runner: CommandRunner | None = None
) -> Probe:
    """Let Slurm look at a batch script with ``sbatch --test-only``; nothing is submitted.

    Args:
        script: What would be submitted, from `SlurmBackend.script`.
        request: What the script asks for.
        facts: From `gather_facts`.
        runner: Runs Slurm's commands; processes when left out.

    Raises:
        BackendError: There is no Slurm here.
    """
    options = {key.replace("_", "-"): value for key, value in (*request.options, *request.extra)}
    # On the command line these win over the user's SBATCH_ACCOUNT and its like.
    named = [f"--{key}={options[key]}" for key in environment.DEFAULTS.values() if key in options]
    answer = (runner or SubprocessRunner()).run(["sbatch", "--test-only", *named], script)
    # The verdict comes on stderr, also a good one.
    says = sbatch.says(answer.stderr)
    found = advice.unknown_names(options, facts)
    too_long = advice.too_long(options, request.time_limit_seconds, facts)
    if too_long is not None:
        found.append(too_long)
    if answer.returncode:
        found.insert(0, advice.explain(says, options, facts))
    # What a warning explains, a limit on the number of jobs, is no reason against the request.
    accepted = not any(one.is_error for one in found)
    return Probe(accepted=accepted, says=says, advice=tuple(dict.fromkeys(found)))


def _said(runner: CommandRunner, argv: Sequence[str]) -> str:
    """Return what the command printed; nothing when it failed."""
    try:
        answer = runner.run(argv)
    except BackendError:
        return ""
    return "" if answer.returncode else answer.stdout

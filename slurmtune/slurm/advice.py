"""Slurm's terse refusals, explained with what the cluster really has.

`explain` turns a refusal into a message with a stable code (C1 to C12) that names the wrong value
and the nearest right one. Slurm says ``Requested node configuration is not available`` alike for
too many GPUs, CPUs, memory and for a wrong type of GPU; comparing the request with ``sinfo`` tells
which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from slurmtune.errors import SpecError
from slurmtune.slurm.duration import format_time, parse_memory
from slurmtune.slurm.limits import Association
from slurmtune.slurm.reason import never_starts, plain_reason
from slurmtune.slurm.sinfo import NodeGroup

Options = Mapping[str, str | int | bool]
"""sbatch options by long name with dashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found out about the cluster."""

    nodes: tuple[NodeGroup, ...] = field(default=())
    associations: tuple[Association, ...] = field(default=())
    default_account: str = ""
    max_array_size: int = 1001
    enforced: tuple[str, ...] = field(default=())
    submit_limit: int | None = None

    @property
    def default_partition(self) -> str:
        """Partition of jobs that name none; empty when there is no default."""
        return next((group.partition for group in self.nodes if group.is_default), "")

    @property
    def partitions(self) -> tuple[str, ...]:
        """Names of all partitions."""
        return tuple(dict.fromkeys(group.partition for group in self.nodes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One message about the cluster."""

    code: str
    """``C1`` … ``C12``; ``C0`` when there is nothing better than Slurm's own words."""
    message: str
    fix: str = ""
    says: str = ""
    """Slurm's own words."""
    is_error: bool = True
    """False for a warning."""

    def __str__(self) -> str:
        gap = " " if self.message.endswith("?") else ". "
        text = self.message + (gap + self.fix if self.fix else "")
        return text + (f"\nSlurm says: {self.says}" if self.says else "")


NO_SLURM = Advice(
    code="C9",
    message="this is no Slurm login node: there is no sbatch here",
    fix="To try without Slurm: slurmtune launch spec.toml --local",
)

NO_ANSWER = Advice(
    code="C10",
    message="Slurm does not answer; trying again later. Running jobs are not affected",
)


def explain(says: str, options: Options, facts: Facts) -> Advice:
    """Return what a refusal by sbatch means for this request.

    Args:
        says: sbatch's words (stderr).
        options: What the request asked for, by sbatch's long names.
        facts: What is known of the cluster; parts of it may be missing.
    """
    text = says.lower()
    if "invalid partition" in text:
        return _partition(says, options, facts)
    if "node configuration is not available" in text or "generic resource" in text:
        return _configuration(says, options, facts)
    if "memory specification" in text:
        return _configuration(says, options, facts)
    if "invalid feature" in text:
        known = sorted({name for group in facts.nodes for name in group.features})
        return Advice(
            code="C4",
            message=f"no node has the feature {_quoted(options, 'constraint')}",
            fix=f"Features here: {', '.join(known) or 'none'}",
            says=says,
        )
    if "invalid job array" in text:
        return Advice(
            code="C5",
            message=f"the array is longer than this cluster allows ({facts.max_array_size})",
            says=says,
        )
    if any(words in text for words in ("maxsubmit", "job submit limit")):
        number = "a limited number of" if facts.submit_limit is None else str(facts.submit_limit)
        return Advice(
            code="C11",
            message=f"you may have at most {number} jobs queued; slurmtune keeps below it and "
            "submits the rest later",
            says=says,
            is_error=False,
        )
    if "time specification" in text or "time limit" in text:
        return Advice(code="C6", message="Slurm does not take the time limit", says=says)
    if "invalid account" in text:
        return _account(says, options, facts, is_error=True)
    if "invalid qos" in text:
        return _qos(says, options, facts, is_error=True)
    if "invalid node name" in text:
        nodes = dict.fromkeys(group.nodes for group in facts.nodes)
        wanted = _quoted(options, "nodelist", "exclude")
        return Advice(
            code="C8",
            message=f"no node {wanted}",
            fix=f"Nodes: {', '.join(nodes)}",
            says=says,
        )
    if any(words in text for words in ("unable to contact", "timed out", "connect failure")):
        return Advice(code=NO_ANSWER.code, message=NO_ANSWER.message, says=says)
    return Advice(code="C0", message="Slurm refuses this request", says=says)


def unknown_names(options: Options, facts: Facts) -> list[Advice]:
    """Return warnings for an account or QOS that is not the user's though sbatch takes it.

    Where limits are not enforced, sbatch accepts any account and any QOS.
    """
    if not facts.associations:
        return []
    is_error = "associations" in facts.enforced
    found: list[Advice] = []
    account = options.get("account")
    if account and account not in {one.account for one in facts.associations}:
        found.append(_account("", options, facts, is_error=is_error))
    qos = options.get("qos")
    if qos and qos not in _known_qos(facts):
        found.append(_qos("", options, facts, is_error=is_error))
    return found


def hopeless(reasons: Iterable[str], *, qos: str = "", account: str = "") -> Advice | None:
    """Return the message for slots that wait for ever; None when none of them does."""
    stuck = [reason for reason in reasons if never_starts(reason)]
    if not stuck:
        return None
    words = "; ".join(
        f"{plain_reason(reason, qos=qos, account=account)} ({reason})"
        for reason in dict.fromkeys(stuck)
    )
    jobs = "this job" if len(stuck) == 1 else f"these {len(stuck)} jobs"
    return Advice(
        code="C12",
        message=f"{jobs} can never start: {words}; cancelled",
        fix="Change [slurm] and launch again",
    )


def _partition(says: str, options: Options, facts: Facts) -> Advice:
    name = str(options.get("partition", ""))
    listed = ", ".join(
        f"{one} (default)" if one == facts.default_partition else one for one in facts.partitions
    )
    return Advice(
        code="C1",
        message=f"no partition {name!r}{_did_you_mean(name, facts.partitions)}",
        fix=f"Partitions here: {listed}" if listed else "",
        says=says,
    )


def _account(says: str, options: Options, facts: Facts, *, is_error: bool) -> Advice:
    name = str(options.get("account", "")) or facts.default_account
    yours = tuple(dict.fromkeys(one.account for one in facts.associations))
    return Advice(
        code="C7",
        message=f"account {name!r} is not yours{_did_you_mean(name, yours)}",
        fix=f"Yours: {', '.join(yours)}" if yours else "",
        says=says,
        is_error=is_error,
    )


def _qos(says: str, options: Options, facts: Facts, *, is_error: bool) -> Advice:
    name = str(options.get("qos", ""))
    yours = _known_qos(facts)
    return Advice(
        code="C7",
        message=f"QOS {name!r} is not yours{_did_you_mean(name, yours)}",
        fix=f"Yours: {', '.join(yours)}" if yours else "",
        says=says,
        is_error=is_error,
    )


def _configuration(says: str, options: Options, facts: Facts) -> Advice:
    """Find the number in the request that no node can give."""
    name = str(options.get("partition", "")) or facts.default_partition
    groups = [group for group in facts.nodes if group.partition == name]
    if not groups:
        return Advice(code="C2", message="no node can give what this job asks for", says=says)
    types = sorted({kind for group in groups for kind, _ in group.gpus if kind})
    wanted_type, wanted_gpus = wanted_gpu(options)
    if wanted_type and wanted_type not in types:
        has = f"GPU types here: {', '.join(types)}" if types else "GPUs here have no type"
        fix = "" if types else f"Write gpus_per_node = {wanted_gpus}"
        message = f"no node of partition {name} has GPUs of type {wanted_type!r}: {has}"
        return Advice(code="C3", message=message, fix=fix, says=says)
    wanted = (
        ("cpus_per_task", "CPUs", _whole(options, "cpus-per-task"), _cpus(groups)),
        ("gpus_per_node", "GPUs", wanted_gpus, max(group.gpu_count for group in groups)),
        ("mem", "MB of memory", _memory_mib(options), max(group.memory_mib for group in groups)),
    )
    largest = _largest_node(groups)
    for key, unit, asked, most in wanted:
        if asked > most:
            limit = f'"{most}M"' if key == "mem" else str(most)
            return Advice(
                code="C2",
                message=f"no node of partition {name} has {asked} {unit}: the largest has {most} "
                f"({largest})",
                fix=f"Set slurm.{key} to {limit} or less",
                says=says,
            )
    return Advice(
        code="C2",
        message=f"no node of partition {name} can give all of this at once; the largest has "
        f"{largest}",
        says=says,
    )


def wanted_gpu(options: Options) -> tuple[str, int]:
    """Return type (may be empty) and number of the GPUs per node that the options ask for."""
    for key in ("gpus-per-node", "gpus-per-task", "gpus", "gres"):
        value = options.get(key)
        if value is None or value is True:
            continue
        parts = str(value).split(",")[0].split(":")
        if parts[0] == "gpu":
            parts = parts[1:]
        elif key == "gres":
            continue
        number = int(parts[-1]) if parts and parts[-1].isdigit() else 1
        kind = parts[0] if parts and not parts[0].isdigit() else ""
        return kind, number
    return "", 0


def too_long(options: Options, time_limit_seconds: int | None, facts: Facts) -> Advice | None:
    """Return the message for a time limit above the partition's; None when it fits."""
    name = str(options.get("partition", "")) or facts.default_partition
    limits = [group.time_limit_seconds for group in facts.nodes if group.partition == name]
    if time_limit_seconds is None or not limits or None in limits:
        return None
    most = max(limit for limit in limits if limit is not None)
    if time_limit_seconds <= most:
        return None
    return Advice(
        code="C12",
        message=f"jobs of {format_time(time_limit_seconds)} can never start in partition {name}: "
        f"its limit is {format_time(most)}",
        fix=f'Set slurm.time to "{format_time(most)}" or less',
    )


def _largest_node(groups: Sequence[NodeGroup]) -> str:
    group = max(groups, key=lambda one: (one.gpu_count, one.cpus, one.memory_mib))
    gpus = ", ".join(f"gpu:{kind}:{n}" if kind else f"gpu:{n}" for kind, n in group.gpus)
    return f"{group.cpus} CPUs, {group.memory_mib} MB" + (f", {gpus}" if gpus else "")


def _cpus(groups: Sequence[NodeGroup]) -> int:
    return max(group.cpus for group in groups)


def _whole(options: Options, key: str) -> int:
    text = str(options.get(key, ""))
    return int(text) if text.isdigit() else 0


def _memory_mib(options: Options) -> int:
    value = options.get("mem")
    if value is None or value is True:
        return 0
    try:
        return parse_memory(str(value)) // 1024
    except SpecError:
        return 0


def _known_qos(facts: Facts) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for one in facts.associations for name in one.qos))


def _quoted(options: Options, *keys: str) -> str:
    return ", ".join(repr(str(options[key])) for key in keys if key in options) or "asked for"


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""

"""What the cluster consists of: partitions and kinds of nodes, from one ``sinfo``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slurmtune.errors import SpecError
from slurmtune.slurm.duration import parse_time

_FORMAT = "%P|%a|%l|%D|%c|%m|%G|%f|%N"
_FIELDS = 9
_OUT_OF_ORDER = ("down", "fail", "error", "unknown")
"""Beginnings of states; a ``*`` after them says that the node does not respond."""
_GPU = re.compile(r"gpu(?::([A-Za-z][^:(,]*))?:(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """Nodes of the same kind in one partition."""

    partition: str
    is_default: bool
    """Whether jobs that name no partition go there."""
    is_up: bool
    time_limit_seconds: int | None
    """Longest time limit of a job; None is no limit."""
    count: int
    cpus: int
    """CPUs of one node."""
    memory_mib: int
    """Memory of one node."""
    gpus: tuple[tuple[str, int], ...]
    """Type (empty when it has none) and number of the GPUs of one node."""
    features: tuple[str, ...]
    nodes: str
    """Names, as ``node[1-4]``."""

    @property
    def gpu_count(self) -> int:
        """GPUs of one node, of all types."""
        return sum(count for _, count in self.gpus)


def command() -> list[str]:
    """Return the command that lists every kind of node in every partition."""
    return ["sinfo", "-a", "-h", "-e", "-o", _FORMAT]


def states_command(nodes: Iterable[str]) -> list[str]:
    """Return the command that tells how these nodes are."""
    listed = ",".join(sorted(set(nodes)))
    return ["sinfo", "-a", "-h", "-N", "-n", listed, "-o", "%N|%T"]


def parse_down(text: str) -> frozenset[str]:
    """Return the nodes that are out of order, from the answer to `states_command`."""
    rows = (line.strip().partition("|") for line in text.splitlines())
    return frozenset(node for node, _, state in rows if state.lower().startswith(_OUT_OF_ORDER))


def parse(text: str) -> list[NodeGroup]:
    """Return the kinds of nodes; lines that are none are left out."""
    groups: list[NodeGroup] = []
    for line in text.splitlines():
        fields = line.strip().split("|", _FIELDS - 1)
        if len(fields) < _FIELDS:
            continue
        partition, state, limit, count, cpus, memory, gres, features, nodes = fields
        groups.append(
            NodeGroup(
                partition=partition.rstrip("*"),
                is_default=partition.endswith("*"),
                is_up=state == "up",
                time_limit_seconds=_time_limit(limit),
                count=_number(count),
                cpus=_number(cpus),
                memory_mib=_number(memory),
                gpus=tuple((kind, int(number)) for kind, number in _GPU.findall(gres)),
                features=() if features == "(null)" else tuple(sorted(features.split(","))),
                nodes=nodes,
            )
        )
    return groups


def _time_limit(text: str) -> int | None:
    """Return a partition's limit; one that cannot be read counts as none."""
    try:
        return parse_time(text)
    except SpecError:
        return None


def _number(text: str) -> int:
    """Return the number at the start of ``8`` or ``8+``; 0 when there is none."""
    digits = text.rstrip("+")
    return int(digits) if digits.isdigit() else 0

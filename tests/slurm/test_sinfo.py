"""Kinds of nodes."""

from __future__ import annotations

from collections.abc import Callable

from slurmtune.slurm import sinfo


def test_the_recorded_cluster_is_read(recorded: Callable[[str], str]) -> None:
    gpu, high = sinfo.parse(recorded("sinfo"))
    assert (gpu.partition, gpu.is_default, gpu.is_up, gpu.time_limit_seconds) == (
        "gpu",
        True,
        True,
        None,
    )
    assert (gpu.count, gpu.cpus, gpu.memory_mib, gpu.gpu_count) == (4, 8, 4000, 4)
    assert (gpu.features, gpu.nodes) == ((), "node[1-4]")
    assert (high.partition, high.is_default) == ("high", False)


def test_types_of_gpus_features_and_limits_are_read() -> None:
    (group,) = sinfo.parse(
        "gpu|down|2-00:00:00|1|128+|512000|gpu:a100:4(S:0-1),gpu:2,tmp:1|b,a|n1\n"
    )
    assert group.gpus == (("a100", 4), ("", 2))
    assert group.gpu_count == 6
    assert group.features == ("a", "b")
    assert group.time_limit_seconds == 172800
    assert (group.cpus, group.is_up) == (128, False)


def test_a_node_without_gpus() -> None:
    (group,) = sinfo.parse("cpu|up|infinite|1|8|4000|(null)|(null)|n1\n")
    assert group.gpu_count == 0


def test_other_lines_are_left_out() -> None:
    assert sinfo.parse("sinfo: warning\n\n") == []

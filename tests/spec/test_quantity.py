"""Times, sizes and shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmtune.spec import quantity


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800), ("30:15", 1815), ("1:00:00", 3600), ("00:30:00", 1800), ("1-0", 86400),
        ("2-3", 183600), ("2-3:30", 185400), ("3-00:00:00", 259200), ("100:00:00", 360000),
    ],
)  # fmt: skip
def test_slurm_time_has_sbatch_s_forms(text: str, seconds: int) -> None:
    assert quantity.slurm_time_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1h", "1:", ":1", "1:2:3:4", "-1", "1-", "1.5", "0", "0:00", "१२"]
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        quantity.slurm_time_seconds(text)


@given(st.integers(1, 10**7))
def test_slurm_time_survives_a_round_trip(seconds: int) -> None:
    assert quantity.slurm_time_seconds(quantity.slurm_time_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("4 hours", "04:00:00"), ("90 min", "01:30:00"), ("2 days", "2-00:00:00"), ("1h", "01:00:00"),
        ("1h30m", "01:30:00"), ("30 secs", "00:00:30"), ("3 hrs", "03:00:00"), ("soon", None), ("4 moons", None),
    ],
)  # fmt: skip
def test_time_of_people_is_guessed(text: str, guess: str | None) -> None:
    assert quantity.guess_slurm_time(text) == guess


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60),
        ("10m", 600),
        ("1.5h", 5400),
        ("1h 30m", 5400),
        ("3-00:00:00", 259200),
        ("00:30:00", 1800),
        ("2d", 172800),
    ],
)
def test_duration_has_a_unit_or_a_colon(text: str, seconds: float) -> None:
    assert quantity.duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "60", "soon", "10 min", "-5s", "m"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        quantity.duration_seconds(text)


@pytest.mark.parametrize(
    ("text", "megabytes"),
    [("4000", 4000), ("32G", 32768), ("1T", 1048576), ("512K", 0.5), ("0", 0)],
)
def test_memory_is_in_megabytes(text: str, megabytes: float) -> None:
    assert quantity.memory_megabytes(text) == megabytes


@pytest.mark.parametrize(
    ("text", "guess"), [("32 GB", "32G"), ("32gb", "32G"), ("1.5 GiB", "1536M"), ("much", None)]
)
def test_memory_of_people_is_guessed(text: str, guess: str | None) -> None:
    assert quantity.guess_memory(text) == guess


@pytest.mark.parametrize(
    ("text", "part"), [("20%", 0.2), ("0%", 0), ("12.5 %", 0.125), ("100%", 1)]
)
def test_share_is_a_part_of_one(text: str, part: float) -> None:
    assert quantity.share(text) == part


@pytest.mark.parametrize("text", ["101%", "20", "%", "-1%"])
def test_other_shares_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        quantity.share(text)


@pytest.mark.parametrize(("text", "count"), [("2", 2), ("a100:4", 4), ("0", 0)])
def test_gpus_are_counted(text: str, count: int) -> None:
    assert quantity.gpu_count(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("gpu:2", 2),
        ("gpu:a100:4", 4),
        ("gpu", 1),
        ("gpu:a100", 1),
        ("gpu:a:1,gpu:b:2,tmp:1G", 3),
        ("shard:2", 0),
    ],
)
def test_gpus_of_gres_are_counted(text: str, count: int) -> None:
    assert quantity.gres_gpu_count(text) == count

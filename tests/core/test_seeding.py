"""Streams depend on seed, purpose and trial, and on nothing else."""

from slurmtune.core.seeding import derived_seed, generator, program_seed


def test_streams_of_different_purposes_and_trials_differ():
    seeds = {derived_seed(s, p, t) for s in (0, 1) for p in ("a", "b") for t in range(50)}
    assert len(seeds) == 200


def test_a_stream_can_be_had_again():
    assert (
        generator(3, "random", 8).random(4).tolist()
        == generator(3, "random", 8).random(4).tolist()
    )


def test_the_numbers_never_change():
    """A study that is continued with a later slurmtune must draw the same configs."""
    assert derived_seed(0, "random", 0) == 7727365602186835386
    assert program_seed(0, 7) == program_seed(0, 7) < 2**31


def test_seeds_fit_where_programs_expect_them():
    assert all(0 <= program_seed(seed, 3) < 2**31 for seed in range(100))

"""Variables that must not reach Slurm's commands."""

from __future__ import annotations

from slurmtune.slurm.environment import for_command, unwanted


def test_variables_that_change_the_commands_are_removed() -> None:
    names = ["SQUEUE_STATES", "SACCT_FORMAT", "SBATCH_TIMELIMIT", "SLURM_CLUSTERS", "SINFO_SORT"]
    assert unwanted(dict.fromkeys([*names, "HOME", "PATH"], "x"), ()) == sorted(names)


def test_outside_a_job_other_variables_of_slurm_stay() -> None:
    assert unwanted({"SLURM_CONF": "x", "SLURM_ROOT": "x"}, ()) == []


def test_inside_a_job_its_variables_are_removed() -> None:
    environment = {
        "SLURM_JOB_ID": "1",
        "SLURM_MEM_PER_CPU": "1",
        "SRUN_CPUS_PER_TASK": "1",
        "HOME": "/",
    }
    assert unwanted(environment, ()) == ["SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SRUN_CPUS_PER_TASK"]


def test_the_way_to_the_configuration_is_kept_inside_a_job() -> None:
    assert "SLURM_CONF" not in unwanted({"SLURM_JOB_ID": "1", "SLURM_CONF": "x"}, ())


def test_a_default_account_is_kept_unless_the_spec_says_more() -> None:
    environment = {"SBATCH_ACCOUNT": "proj1"}
    assert unwanted(environment, ["partition"]) == []
    assert unwanted(environment, ["account"]) == ["SBATCH_ACCOUNT"]


def test_queries_print_seconds_and_whole_lists() -> None:
    environment = for_command("squeue", {"HOME": "/", "SLURM_TIME_FORMAT": "relative"})
    assert environment["SLURM_TIME_FORMAT"] == "%s"
    assert environment["SLURM_BITSTR_LEN"] == "0"
    assert environment["HOME"] == "/"


def test_sbatch_prints_times_for_people() -> None:
    assert "SLURM_TIME_FORMAT" not in for_command("sbatch", {"SLURM_TIME_FORMAT": "%s"})

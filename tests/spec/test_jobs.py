"""Which of the user's jobs belong to a study, told from recorded answers of squeue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from slurmtune.backends.command import CommandResult
from slurmtune.errors import BackendUnavailableError
from slurmtune.spec.jobs import backend_name, live_jobs
from slurmtune.store.layout import StudyLayout

STUDY = "9f31c2aa" + "0" * 24


class Squeue:
    """Answers every command the same."""

    def __init__(self, *rows: str, code: int = 0) -> None:
        self._result = CommandResult(code, "\n".join(rows), "no answer" if code else "")

    def run(self, argv: Sequence[str], stdin: str = "") -> CommandResult:
        assert argv[0] == "squeue"
        return self._result


def row(job: int, index: int, name: str, state: str = "RUNNING") -> str:
    return f"{job}|{index}|{job + index}|1700000000|{state}|N/A|node1|{name}|None"


def test_jobs_of_the_study_are_found_by_their_names() -> None:
    answer = Squeue(row(7, 0, "st-9f31c2aa-1-1"), row(7, 1, "st-9f31c2aa-1-1", "PENDING"))
    assert live_jobs(STUDY, answer) == {"st-9f31c2aa-1-1": "7"}


@pytest.mark.parametrize("name", ["st-00000000-1-1", "mine", "st-9f31c2aa-1"])
def test_other_jobs_are_none_of_ours(name: str) -> None:
    assert live_jobs(STUDY, Squeue(row(7, 0, name))) == {}


def test_jobs_that_have_ended_are_left_out() -> None:
    assert live_jobs(STUDY, Squeue(row(7, 0, "st-9f31c2aa-1-1", "COMPLETED"))) == {}


def test_a_slurm_that_does_not_answer_is_no_empty_queue() -> None:
    with pytest.raises(BackendUnavailableError, match="no answer"):
        live_jobs(STUDY, Squeue(code=1))


@pytest.mark.parametrize(
    ("file", "name"), [("local.json", "local"), ("manifest.json", "slurm"), (None, "")]
)
def test_the_folders_of_the_arrays_tell_where_they_went(
    tmp_path: Path, file: str | None, name: str
) -> None:
    layout = StudyLayout(str(tmp_path))
    layout.create()
    if file is not None:
        Path(layout.array("st-9f31c2aa-1-1")).mkdir()
        Path(layout.array("st-9f31c2aa-1-1"), file).write_text("{}")
    assert backend_name(layout) == name


def test_no_study_went_nowhere(tmp_path: Path) -> None:
    assert backend_name(StudyLayout(str(tmp_path / "none"))) == ""

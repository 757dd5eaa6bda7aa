"""The user's side of a trial."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import slurmtune
from slurmtune.core import ids
from slurmtune.errors import MissingMetricError, StudyStateError, TrialError
from slurmtune.store import checkpoint
from slurmtune.store.layout import StudyLayout
from slurmtune.worker.bell import bell_pair, describe, inherited_bell
from slurmtune.worker.session import Trial

ATTEMPT = ids.attempt_id(7, 2, 1)
HANDLED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _signals_are_put_back() -> Any:
    before = [signal.getsignal(number) for number in HANDLED]
    yield
    for number, handler in zip(HANDLED, before, strict=True):
        signal.signal(number, handler)


class Inside:
    """The variables and files that a slot gives to a program."""

    def __init__(self, root: Path) -> None:
        self.layout = StudyLayout(str(root / "study"))
        self.layout.create()
        os.makedirs(self.layout.attempt(ATTEMPT))
        config = Path(self.layout.config(ATTEMPT))
        config.write_text(json.dumps({"lr": 0.1, "opt": "adam"}))
        self.variables = {
            "SLURMTUNE_STUDY": "toy",
            "SLURMTUNE_DIR": self.layout.root,
            "SLURMTUNE_TRIAL": "t00007",
            "SLURMTUNE_TRIAL_DIR": self.layout.trial(7),
            "SLURMTUNE_ATTEMPT": ATTEMPT,
            "SLURMTUNE_RUNG": "2",
            "SLURMTUNE_START": "3",
            "SLURMTUNE_END": "6",
            "SLURMTUNE_RESOURCE": "epoch",
            "SLURMTUNE_SEED": "8812",
            "SLURMTUNE_CONFIG": str(config),
            "SLURMTUNE_METRICS": self.layout.metrics(ATTEMPT),
            "SLURMTUNE_CHECKPOINT": "",
            "SLURMTUNE_OBJECTIVES": "val_loss",
        }

    def trial(self, environment: Any = (), **defaults: Any) -> Any:
        return Trial({**self.variables, **dict(environment)}, defaults)

    def lines(self) -> Any:
        text = Path(self.layout.metrics(ATTEMPT)).read_text()
        return [json.loads(line) for line in text.splitlines() if line]


@pytest.fixture
def inside(tmp_path: Any) -> Any:
    return Inside(tmp_path)


@pytest.fixture
def outside(monkeypatch: Any) -> None:
    for name in list(os.environ):
        if name.startswith("SLURMTUNE_"):
            monkeypatch.delenv(name)


def test_trial_knows_what_it_is(inside: Any) -> None:
    trial = inside.trial()

    assert (trial.id, trial.rung, trial.seed) == ("t00007", 2, 8812)
    assert (trial.start, trial.end, trial.resource) == (3, 6, "epoch")
    assert trial.dir == Path(inside.layout.trial(7))
    assert not trial.resumed
    assert trial.checkpoint is None
    assert trial.ckpt("last.ckpt") is None


def test_values_come_three_ways(inside: Any) -> None:
    trial = inside.trial()

    assert trial.params == {"lr": 0.1, "opt": "adam"}
    assert trial["lr"] == 0.1
    assert vars(trial.namespace) == {"lr": 0.1, "opt": "adam"}


def test_defaults_fill_what_the_config_lacks(inside: Any) -> None:
    assert inside.trial(lr=9.0, momentum=0.9, epoch=100).params == {
        "lr": 0.1,
        "opt": "adam",
        "momentum": 0.9,
    }


def test_unknown_name_tells_the_known_ones(inside: Any) -> None:
    with pytest.raises(KeyError, match="no hyperparameter 'momentum'; known: lr, opt"):
        inside.trial()["momentum"]


def test_steps_go_from_the_checkpoint_to_the_rung(inside: Any) -> None:
    assert list(inside.trial().steps()) == [4, 5, 6]


def test_steps_end_with_the_end(inside: Any) -> None:
    assert list(inside.trial({"SLURMTUNE_END": "10"}).steps(every=3)) == [6, 9, 10]


def test_steps_do_not_add_up_errors(inside: Any) -> None:
    trial = inside.trial({"SLURMTUNE_START": "0", "SLURMTUNE_END": "1"})

    assert list(trial.steps(every=0.1))[2] == 3 * 0.1
    assert list(trial.steps(every=0.1))[-1] == 1


def test_steps_need_an_end(inside: Any) -> None:
    with pytest.raises(TrialError, match=r"slurmtune\.trial\(epoch=10\)"):
        inside.trial({"SLURMTUNE_END": ""}).steps()


def test_default_named_like_the_resource_is_the_end_without_fidelity(inside: Any) -> None:
    trial = inside.trial(
        {"SLURMTUNE_END": "", "SLURMTUNE_RESOURCE": "", "SLURMTUNE_START": "0"}, epoch=2
    )

    assert list(trial.steps()) == [1, 2]
    assert "epoch" not in trial.params


@pytest.mark.parametrize("number", HANDLED)
def test_steps_end_after_a_signal(inside: Any, number: Any) -> None:
    trial = inside.trial()
    done = []
    for epoch in trial.steps():
        os.kill(os.getpid(), number)
        done.append(epoch)

    assert done == [4]
    assert trial.should_stop


def test_earlier_handler_is_called_too(inside: Any) -> None:
    seen = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: seen.append(number))
    trial = inside.trial()

    os.kill(os.getpid(), signal.SIGUSR1)

    assert seen == [signal.SIGUSR1]
    assert trial.should_stop


def test_report_takes_the_step_of_the_loop(inside: Any) -> None:
    trial = inside.trial()
    for _ in trial.steps():
        trial.report(val_loss=0.5, lr_now=1)

    assert inside.lines() == [
        {"val_loss": 0.5, "lr_now": 1.0, "epoch": epoch} for epoch in (4, 5, 6)
    ]


def test_report_may_name_its_step(inside: Any) -> None:
    trial = inside.trial()
    trial.report(5, val_loss=1)
    trial.report(val_loss=1, epoch=6)

    assert [line["epoch"] for line in inside.lines()] == [5, 6]


def test_reports_outside_of_a_loop_are_counted_from_the_start(inside: Any) -> None:
    trial = inside.trial()
    trial.report(val_loss=1)
    trial.report(val_loss=1)

    assert [line["epoch"] for line in inside.lines()] == [4, 5]


def test_missing_objective_is_an_error_at_once(inside: Any) -> None:
    with pytest.raises(
        MissingMetricError, match="the study wants val_loss, this report has loss, acc"
    ):
        inside.trial().report(loss=1, acc=2)

    assert not os.path.exists(inside.layout.metrics(ATTEMPT))


def test_other_metrics_may_be_reported_when_the_objective_was(inside: Any) -> None:
    trial = inside.trial()
    trial.report(val_loss=1)
    trial.report(test_loss=2)
    trial.report(val_loss=3)

    assert inside.lines() == [
        {"val_loss": 1.0, "epoch": 4},
        {"test_loss": 2.0, "epoch": 4},
        {"val_loss": 3.0, "epoch": 5},
    ]


def test_study_without_fidelity_gets_lines_by_step(inside: Any) -> None:
    trial = inside.trial({"SLURMTUNE_RESOURCE": ""}, epoch=9)
    trial.report(val_loss=1)

    assert inside.lines() == [{"val_loss": 1.0, "step": 4}]


@pytest.mark.parametrize(
    "rank",
    [{"SLURM_PROCID": "1"}, {"RANK": "3", "SLURM_PROCID": "0"}, {"OMPI_COMM_WORLD_RANK": "2"}],
)
def test_other_ranks_report_and_save_nothing(inside: Any, rank: Any) -> None:
    trial = inside.trial(rank)
    trial.report(loss="not even a number")
    with trial.save() as folder:
        (folder / "x").write_text("x")

    assert not os.path.exists(inside.layout.metrics(ATTEMPT))
    assert not folder.exists()
    assert not os.path.exists(inside.layout.checkpoints(7))


def test_rank_zero_of_torchrun_reports(inside: Any) -> None:
    inside.trial({"RANK": "0", "SLURM_PROCID": "0"}).report(val_loss=1)

    assert len(inside.lines()) == 1


def save(inside: Any, trial: Any, resource: Any, text: Any = "x") -> Any:
    trial.report(resource, val_loss=1)
    with trial.save() as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "state").write_text(text)
    return Path(inside.layout.checkpoint(7, f"{resource}.{ATTEMPT}"))


@pytest.fixture
def study_variable(inside: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("SLURMTUNE_DIR", inside.layout.root)


@pytest.mark.usefixtures("study_variable")
def test_saved_folder_is_published_and_told(inside: Any) -> None:
    folder = save(inside, inside.trial(), 4, "hello")

    assert checkpoint.verify(str(folder))
    assert (folder / "sub" / "state").read_text() == "hello"
    assert inside.lines()[-1] == {"_checkpoint": f"4.{ATTEMPT}", "_resource": 4}


@pytest.mark.usefixtures("study_variable")
def test_last_two_checkpoints_are_kept(inside: Any) -> None:
    trial = inside.trial()
    for epoch in (4, 5, 6):
        save(inside, trial, epoch)

    assert sorted(os.listdir(inside.layout.checkpoints(7))) == [f"5.{ATTEMPT}", f"6.{ATTEMPT}"]


@pytest.mark.usefixtures("study_variable")
def test_error_while_saving_publishes_nothing(inside: Any) -> None:
    trial = inside.trial()

    def fail() -> None:
        with trial.save() as folder:
            (folder / "half").write_text("x")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        fail()
    assert os.listdir(inside.layout.checkpoints(7)) == []


@pytest.mark.usefixtures("study_variable")
def test_second_save_at_a_step_changes_nothing(inside: Any) -> None:
    trial = inside.trial()
    save(inside, trial, 4, "first")
    folder = save(inside, trial, 4, "second")

    assert (folder / "sub" / "state").read_text() == "first"


@pytest.mark.usefixtures("study_variable")
def test_links_in_a_checkpoint_are_refused(inside: Any) -> None:
    trial = inside.trial()

    def link() -> None:
        with trial.save() as folder:
            (folder / "link").symlink_to("/etc/passwd")

    with pytest.raises(StudyStateError, match="link"):
        link()
    assert os.listdir(inside.layout.checkpoints(7)) == []


def test_checkpoint_is_a_path(inside: Any) -> None:
    trial = inside.trial({"SLURMTUNE_CHECKPOINT": "/c/3"})

    assert trial.resumed
    assert trial.checkpoint == Path("/c/3")
    assert (trial.ckpt(), trial.ckpt("last.ckpt")) == ("/c/3", "/c/3/last.ckpt")


def test_trial_may_fail_without_an_error(inside: Any) -> None:
    with pytest.raises(SystemExit) as raised:
        inside.trial().fail("too large")

    assert raised.value.code == 0
    assert inside.lines() == [{"_fail": "too large"}]


def test_infeasible_trial_says_so(inside: Any) -> None:
    with pytest.raises(SystemExit):
        inside.trial().infeasible()

    assert inside.lines() == [{"_fail": "infeasible config"}]


def test_full_disk_does_not_end_the_training(inside: Any, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("slurmtune.worker.session._WRITE_PAUSES_SECONDS", (0.0,))
    monkeypatch.setattr("slurmtune.worker.session.atexit.register", lambda *_: None)
    trial = inside.trial()
    metrics = Path(inside.layout.metrics(ATTEMPT))
    metrics.mkdir()
    trial.report(4, val_loss=1)
    metrics.rmdir()
    trial.report(5, val_loss=2)

    assert "reports wait in memory" in capsys.readouterr().err
    assert [line["epoch"] for line in inside.lines()] == [4, 5]


def test_unreadable_config_is_told(inside: Any) -> None:
    with pytest.raises(TrialError, match="cannot read the config"):
        inside.trial({"SLURMTUNE_CONFIG": "/no/such/file"})


@pytest.mark.usefixtures("outside")
def test_outside_reports_are_printed(capsys: Any) -> None:
    trial = slurmtune.trial(lr=1e-3, epoch=2)
    for _ in trial.steps():
        trial.report(loss=0.25)

    assert trial.params == {"lr": 1e-3}
    assert capsys.readouterr().out == "epoch 1  loss 0.25\nepoch 2  loss 0.25\n"


@pytest.mark.usefixtures("outside")
def test_outside_saved_folders_are_thrown_away() -> None:
    trial = slurmtune.trial(epoch=1)
    with trial.save() as folder:
        (folder / "x").write_text("x")

    assert not folder.exists()


@pytest.mark.usefixtures("outside")
def test_outside_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    slurmtune.trial(epoch=1)

    assert signal.getsignal(signal.SIGTERM) is before


# ------------------------------------------------------------------ going on in place


SECOND = ids.attempt_id(7, 3, 1)


class Waiting:
    """A trial whose slot answers when it looks for the second time."""

    def __init__(self, inside: Inside, monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
        self.inside = inside
        self.more = inside.layout.more(ATTEMPT)
        self.environment = {
            **inside.variables,
            "SLURMTUNE_MORE": self.more,
            "SLURMTUNE_MORE_SECONDS": "20",
            **variables,
        }
        self.trial = Trial(self.environment, {})
        self.answer: dict[str, Any] | None = {"end": None}
        self.pauses: list[float] = []
        monkeypatch.setattr("slurmtune.worker.session.time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        if seconds == 0:
            return  # before a line is written
        self.pauses.append(seconds)
        if self.answer is not None:
            Path(self.more).write_text(json.dumps(self.answer))
            self.answer = None

    def next_attempt(self) -> dict[str, Any]:
        os.makedirs(self.inside.layout.attempt(SECOND))
        return {
            "attempt": SECOND, "rung": 3, "start": 6, "end": 8,
            "metrics": self.inside.layout.metrics(SECOND),
            "more": self.inside.layout.more(SECOND),
            "save": "/save", "checkpoint": f"/c/6.{ATTEMPT}",
        }  # fmt: skip

    def run(self, **arguments: Any) -> list[Any]:
        done = []
        for epoch in self.trial.steps(**arguments):
            self.trial.report(val_loss=1)
            with self.trial.save() as folder:
                (folder / "state").write_text("x")
            done.append(epoch)
        return done


@pytest.fixture
def waiting(inside: Inside, study_variable: None, monkeypatch: pytest.MonkeyPatch) -> Waiting:
    return Waiting(inside, monkeypatch)


def asked(inside: Inside, attempt: str = ATTEMPT) -> bool:
    text = Path(inside.layout.metrics(attempt)).read_text()
    return '{"_more": true}' in text.splitlines()


def test_the_loop_goes_on_with_the_next_attempt(waiting: Waiting) -> None:
    waiting.answer = waiting.next_attempt()

    done = []
    for epoch in waiting.trial.steps():
        if epoch == 7:
            waiting.answer = {"end": None}
            waiting.more = waiting.inside.layout.more(SECOND)
        waiting.trial.report(val_loss=1)
        with waiting.trial.save() as folder:
            (folder / "state").write_text("x")
        done.append(epoch)

    assert done == [4, 5, 6, 7, 8]
    assert sorted(os.listdir(waiting.inside.layout.checkpoints(7))) == [
        f"5.{ATTEMPT}",
        f"6.{ATTEMPT}",
        f"7.{SECOND}",
        f"8.{SECOND}",
    ]


def test_the_trial_becomes_the_next_attempt(waiting: Waiting) -> None:
    waiting.answer = waiting.next_attempt()
    trial, steps = waiting.trial, waiting.trial.steps()
    for epoch in steps:
        if epoch == 7:
            break
        trial.report(val_loss=1)
        with trial.save() as folder:
            (folder / "state").write_text("x")

    assert (trial.attempt, trial.rung, trial.start, trial.end) == (SECOND, 3, 6, 8)
    assert trial.checkpoint == Path(f"/c/6.{ATTEMPT}")
    assert waiting.environment["SLURMTUNE_ATTEMPT"] == SECOND
    assert waiting.environment["SLURMTUNE_END"] == "8"


def test_reports_go_to_the_next_attempt(waiting: Waiting) -> None:
    waiting.answer = waiting.next_attempt()
    for epoch in waiting.trial.steps():
        waiting.trial.report(val_loss=1)
        if epoch == 7:
            break
        with waiting.trial.save() as folder:
            (folder / "state").write_text("x")

    text = Path(waiting.inside.layout.metrics(SECOND)).read_text()
    assert json.loads(text) == {"val_loss": 1.0, "epoch": 7}


def test_the_answer_is_taken_away_by_who_goes_on(waiting: Waiting) -> None:
    waiting.answer = waiting.next_attempt()
    for epoch in waiting.trial.steps():
        if epoch == 7:
            break
        waiting.trial.report(val_loss=1)
        with waiting.trial.save() as folder:
            (folder / "state").write_text("x")

    assert not os.path.exists(waiting.more)


def test_the_loop_ends_when_there_is_no_more(waiting: Waiting) -> None:
    assert waiting.run() == [4, 5, 6]
    assert asked(waiting.inside)
    assert waiting.pauses == [0.05]


def test_the_bell_is_rung_and_heard(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two rings nobody looks at the files."""
    ours, descriptor = bell_pair()
    waiting.trial._bell = inherited_bell(describe(descriptor))
    looks: list[bool] = []

    def answer(path: str) -> Any:
        looks.append(ours.has_rung())
        ours.ring()
        return None if len(looks) < 3 else {"end": None}

    monkeypatch.setattr("slurmtune.worker.session._read_answer", answer)

    assert waiting.run() == [4, 5, 6]
    assert looks == [True, False, False]
    assert waiting.pauses == []
    ours.close()
    os.close(descriptor)


def test_when_the_bell_is_gone_files_are_looked_at(waiting: Waiting) -> None:
    ours, descriptor = bell_pair()
    waiting.trial._bell = inherited_bell(describe(descriptor))
    ours.close()

    assert waiting.run() == [4, 5, 6]
    assert waiting.pauses == [pytest.approx(0.075)]


def test_the_waiting_ends_after_a_signal(waiting: Waiting) -> None:
    waiting.answer = None
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "slurmtune.worker.session.time.sleep",
            lambda seconds: os.kill(os.getpid(), signal.SIGUSR1) if seconds else None,
        )
        assert waiting.run() == [4, 5, 6]
    assert waiting.trial.should_stop


def test_the_waiting_ends_with_its_time(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting.answer = None
    times = iter(range(0, 1000, 5))
    monkeypatch.setattr("slurmtune.worker.session.time.monotonic", lambda: float(next(times)))

    assert waiting.run() == [4, 5, 6]
    assert len(waiting.pauses) == 3


def test_the_waiting_ends_when_nobody_can_answer(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting.answer = None
    monkeypatch.setattr("slurmtune.worker.session.os.getppid", lambda: -1)

    assert waiting.run() == [4, 5, 6]
    assert waiting.pauses == []


def test_who_does_not_stay_does_not_ask(waiting: Waiting) -> None:
    assert waiting.run(stay=False) == [4, 5, 6]
    assert not asked(waiting.inside)


def test_who_did_not_save_at_the_end_does_not_ask(waiting: Waiting) -> None:
    for epoch in waiting.trial.steps():
        waiting.trial.report(val_loss=1)
        if epoch < 6:
            with waiting.trial.save() as folder:
                (folder / "state").write_text("x")

    assert not asked(waiting.inside)


def test_who_did_not_report_the_end_does_not_ask(waiting: Waiting) -> None:
    for epoch in waiting.trial.steps():
        if epoch < 6:
            waiting.trial.report(val_loss=1)
        with waiting.trial.save() as folder:
            (folder / "state").write_text("x")

    assert not asked(waiting.inside)


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURMTUNE_MORE": ""},
        {"WORLD_SIZE": "2"},
        {"RANK": "0"},
        {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"},
        {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("study_variable")
def test_who_is_not_alone_does_not_ask(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    waiting = Waiting(inside, monkeypatch, **variables)

    assert waiting.run() == [4, 5, 6]
    assert not asked(inside)


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_PROCID": "0"},
        {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "PMIX_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "1"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("study_variable")
def test_a_single_process_with_a_rank_asks(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    waiting = Waiting(inside, monkeypatch, **variables)

    assert waiting.run() == [4, 5, 6]
    assert asked(inside)

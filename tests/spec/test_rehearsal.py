"""A scheduler of the user's own is tried before a study begins: every mistake is told at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from slurmtune.cli.check import examine
from slurmtune.core.ports import Decision, Promote, Scheduler, StartTrial
from slurmtune.errors import SpecError
from slurmtune.schedulers.asha import Asha
from slurmtune.schedulers.base import BaseScheduler
from slurmtune.spec import launching
from slurmtune.spec.custom import SchedulerMistake, read_code
from slurmtune.spec.launching import LaunchOptions, prepare
from slurmtune.spec.load import load_spec
from slurmtune.spec.problem import SpecErrors
from slurmtune.spec.rehearsal import MOST_TRIALS, SCENES, Rehearsal, check_scheduler, rehearse
from slurmtune.store import lease
from slurmtune.testing.schedulers import LEVELS, SCHEDULERS

CHECKOUT = Path(__file__).parent.parent.parent
EXAMPLE = CHECKOUT / "examples" / "own_scheduler"
ASHA = CHECKOUT / "tests" / "data" / "spec" / "asha.toml"
CORE = {
    "levels": [1, 3, 9],
    "reduction_factor": 3,
    "trials": 27,
    "code": {"arguments": {}},
}
MINE = """\
from slurmtune.schedulers.asha import Asha

class Mine(Asha):
    def __init__(self, levels, reduction_factor):
        super().__init__(levels, reduction_factor)

"""


# ------------------------------------------------------------------ who passes


@pytest.mark.parametrize("name", SCHEDULERS)
def test_ours_pass(name: str) -> None:
    walked = []

    def make() -> Scheduler:
        walked.append(SCHEDULERS[name]())
        return walked[-1]

    check_scheduler(make)

    assert len(walked) == 2 * len(SCENES)


def test_the_one_of_the_example_passes() -> None:
    code = read_code("within_reach.py:WithinReach", str(EXAMPLE))
    assert code is not None
    times = count()
    core = {**CORE, "code": {"arguments": {"slack": 2.0, "least": 3}}}

    rehearse(code, core, lambda: next(times) / 1e6)

    assert next(times) > 100


@pytest.mark.parametrize("scene", SCENES[:2])
def test_a_walk_gets_to_the_higher_rungs(scene: Any) -> None:
    answers = Rehearsal(Asha(LEVELS, 2), scene, MOST_TRIALS, lambda: False).run()
    assert {answer.rung for _, answer in answers if isinstance(answer, Promote)} >= {1, 2}


def test_no_more_trials_are_started_than_the_study_has() -> None:
    answers = Rehearsal(Asha(LEVELS, 2), SCENES[0], 5, lambda: False).run()
    assert sum(isinstance(answer, StartTrial) for _, answer in answers) == 5


def test_a_slow_one_is_walked_only_so_far(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE + "    def decide(self, *, may_start): return 1 / 0\n")
    code = read_code("mine.py:Mine", str(tmp_path))
    assert code is not None
    seconds = count(0.0, 2.0)

    rehearse(code, CORE, lambda: next(seconds))

    assert next(seconds) > 2.0


# ------------------------------------------------------------------ what is told


class Wrong(BaseScheduler):
    """Asks for what stands in ``then`` once all trials have finished their first rung."""

    then: Sequence[Decision] = ()

    def __init__(self) -> None:
        self.started_trials = 0
        self.losses: dict[int, float | None] = {}
        self.left = list(self.then)

    def ladder(self, bracket: int) -> Sequence[int]:
        del bracket
        return (1, 3, 9)

    def decide(self, *, may_start: bool) -> Decision | None:
        if may_start:
            return StartTrial()
        is_ready = len(self.losses) == self.started_trials
        return self.left.pop(0) if self.left and is_ready else None

    def started(self, trial: int, bracket: int) -> None:
        del trial, bracket
        self.started_trials += 1

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        del rung
        self.losses[trial] = loss


def mistake(scheduler: type[Scheduler], trials: int = 3) -> str:
    with pytest.raises(SchedulerMistake) as caught:
        check_scheduler(scheduler, trials=trials)
    return str(caught.value)


@pytest.mark.parametrize(
    ("decisions", "what"),
    [
        ([Promote(trial=0, rung=1)] * 2, "promoted trial 0 to rung 1 a second time"),
        ([Promote(trial=0, rung=1), Promote(trial=0, rung=2)], "to rung 2 while it runs"),
        ([Promote(trial=0, rung=0)], "to rung 0, but it finished rung 0 already"),
        ([Promote(trial=0, rung=3)], "to rung 3, but the ladder has no such rung"),
        ([Promote(trial=9, rung=1)], "promoted trial 9 to rung 1, but there is no such trial"),
        ([StartTrial()], "it started a trial although may_start was False"),
    ],
)
def test_a_decision_that_no_study_can_carry_out_is_told(
    decisions: Sequence[Decision], what: str
) -> None:
    assert what in mistake(type("Mine", (Wrong,), {"then": decisions}))


def test_a_trial_that_runs_may_not_be_promoted() -> None:
    class Eager(Wrong):
        def decide(self, *, may_start: bool) -> Decision | None:
            return (
                Promote(trial=0, rung=1)
                if self.started_trials
                else super().decide(may_start=may_start)
            )

    assert "promoted trial 0 to rung 1 while it runs" in mistake(Eager)


def test_a_trial_that_failed_may_not_be_promoted() -> None:
    class Merciful(Wrong):
        def decide(self, *, may_start: bool) -> Decision | None:
            failed = [trial for trial, loss in self.losses.items() if loss is None]
            if failed:
                return Promote(trial=failed[0], rung=1)
            return super().decide(may_start=may_start)

    told = mistake(Merciful, trials=9)
    assert told == "decide failed: it promoted trial 2 to rung 1, but it failed at rung 0"


def test_a_trial_that_was_stopped_may_not_be_promoted() -> None:
    class Hard(Wrong):
        then = (Promote(trial=0, rung=1),)

        @property
        def watches(self) -> bool:
            return True

        def reported(self, trial: int, resource: float, loss: float | None) -> bool:
            return True

    assert "to rung 1, but it had told to stop it" in mistake(Hard)


def test_one_that_starts_nothing_is_told() -> None:
    class Idle(Wrong):
        def decide(self, *, may_start: bool) -> Decision | None:
            return None

    assert mistake(Idle) == (
        "decide failed: it started no trial, so the study would end before it began"
    )


def test_a_trial_may_not_start_from_another_unless_that_is_told() -> None:
    class Heirs(Wrong):
        def decide(self, *, may_start: bool) -> Decision | None:
            if self.losses and may_start:
                return StartTrial(rung=1, source=0, parents=(0,))
            return super().decide(may_start=may_start)

    assert "from trial 0, but `copies` is False" in mistake(Heirs, trials=9)


def test_a_trial_may_not_start_from_one_without_a_result() -> None:
    class Heirs(Wrong):
        @property
        def copies(self) -> bool:
            return True

        def decide(self, *, may_start: bool) -> Decision | None:
            return StartTrial(rung=1, source=0) if self.started_trials else StartTrial()

    assert "from trial 0, which has no result at the rung below" in mistake(Heirs)


def test_what_was_told_spare_may_not_be_asked_for() -> None:
    class Careless(Wrong):
        then = (Promote(trial=0, rung=1),)

        def spare(self, trials: int) -> Sequence[tuple[int, int]]:
            return [(0, 0)] if self.losses else []

    assert "nobody needs what trial 0 saved at rung 0; then it promoted trial 0" in mistake(
        Careless
    )


def test_state_that_is_shared_by_all_instances_is_told() -> None:
    everywhere: list[int] = []

    class Shared(Wrong):
        def decide(self, *, may_start: bool) -> Decision | None:
            return StartTrial(bracket=len(everywhere)) if may_start else None

        def started(self, trial: int, bracket: int) -> None:
            super().started(trial, bracket)
            everywhere.append(trial)

    assert "keep nothing in the class or the module" in mistake(Shared)


def test_a_lot_that_is_drawn_anew_is_told() -> None:
    lots = count()

    class Moody(Wrong):
        def decide(self, *, may_start: bool) -> Decision | None:
            return StartTrial(bracket=next(lots)) if may_start else None

    assert "when the same calls were repeated" in mistake(Moody)


# ------------------------------------------------------------------ where it is told


def told(folder: Path, methods: str, **core: Any) -> SpecErrors:
    (folder / "mine.py").write_text(MINE + methods)
    code = read_code("mine.py:Mine", str(folder))
    assert code is not None
    with pytest.raises(SpecErrors) as caught:
        rehearse(code, {**CORE, **core})
    return caught.value


def test_a_wrong_decision_is_told_with_the_line_of_decide(tmp_path: Path) -> None:
    text = "    def decide(self, *, may_start):\n        return super().decide(may_start=True)\n"
    assert str(told(tmp_path, text, trials=3)) == (
        "error: Mine.decide failed: it started a trial although may_start was False\n"
        "  --> mine.py:7:5 (search.scheduler)\n"
        "   |\n"
        " 7 |     def decide(self, *, may_start):\n"
        "   |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "   = it was tried with made-up losses; nothing was trained\n"
        "\n1 error; nothing was submitted."
    )


def test_an_error_in_decide_is_told_with_its_line(tmp_path: Path) -> None:
    [problem] = told(tmp_path, "    def decide(self, *, may_start):\n        1 / 0\n").problems
    assert problem.line == 8
    assert "Mine.decide failed: ZeroDivisionError" in problem.message


@pytest.mark.parametrize(
    ("member", "signature"),
    [
        ("decide", "self"),
        ("started", "self, trial"),
        ("finished", "self, trial, rung"),
        ("standing", "self, trial"),
        ("compared", "self"),
        ("spare", "self"),
        ("is_control", "self"),
    ],
)
def test_a_wrong_signature_is_told_with_the_line_of_the_method(
    tmp_path: Path, member: str, signature: str
) -> None:
    [problem] = told(tmp_path, f"    def {member}({signature}):\n        pass\n").problems
    assert problem.line == 7
    assert f"Mine.{member} failed: TypeError" in problem.message


@pytest.mark.parametrize(
    ("member", "switch", "signature"),
    [("reported", "watches", "self, trial"), ("stops", "runs_through", "self, trial")],
)
def test_what_is_asked_on_the_way_is_tried_where_it_is_wanted(
    tmp_path: Path, member: str, switch: str, signature: str
) -> None:
    text = f"    def {member}({signature}):\n        pass\n    {switch} = True\n"
    [problem] = told(tmp_path, text).problems
    assert f"Mine.{member} failed: TypeError" in problem.message


def test_answers_that_make_no_sense_are_told(tmp_path: Path) -> None:
    text = "    def compared(self, trial, rung):\n        return [trial]\n"
    [problem] = told(tmp_path, text).problems
    assert "not pairs of trial and loss" in problem.message


# ------------------------------------------------------------------ who asks for it


@pytest.fixture
def spec(tmp_path: Path) -> tuple[str, list[str]]:
    (tmp_path / "mine.py").write_text(
        MINE + "    def finished(self, trial, rung):\n        pass\n"
    )
    path = tmp_path / "spec.toml"
    path.write_text(ASHA.read_text())
    return str(path), ["search.scheduler=mine.py:Mine"]


@pytest.mark.parametrize("launching", [False, True])
def test_check_and_launch_try_it(spec: tuple[str, list[str]], *, launching: bool) -> None:
    with pytest.raises(SpecErrors, match=r"Mine\.finished failed: TypeError"):
        examine(*spec, launching=launching)


def test_nothing_is_written_when_it_fails(spec: tuple[str, list[str]], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SpecError, match=r"Mine\.finished failed: TypeError"):
        prepare(load_spec(*spec), LaunchOptions(local_slots=1))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_study_that_exists_goes_on_untried(
    spec: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that an earlier slurmtune began, which tried nothing."""
    loaded = load_spec(*spec)
    with monkeypatch.context() as earlier:
        earlier.setattr(launching, "rehearse", lambda _code, _core: None)
        session = prepare(loaded, LaunchOptions(local_slots=1))
    left = lease.read(session.layout)
    assert left is not None
    lease.write(session.layout, left.beat(session.clock.now(), released=True))
    session.close()

    assert not examine(*spec, launching=True).is_new
    again = prepare(loaded, LaunchOptions(local_slots=1))
    again.close()
    assert not again.is_new


def test_a_changed_file_is_tried_by_check_though_the_study_exists(
    spec: tuple[str, list[str]], tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    wrong = file.read_text()
    file.write_text(wrong.replace("trial, rung)", "trial, rung, loss)"))
    prepare(load_spec(*spec), LaunchOptions(local_slots=1)).close()
    file.write_text(wrong)

    with pytest.raises(SpecErrors, match=r"Mine\.finished failed: TypeError"):
        examine(*spec)

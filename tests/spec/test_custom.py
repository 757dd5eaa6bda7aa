"""A scheduler of the user's own: what it does wrong is told with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slurmtune.core.ports import Leaders, Promote, StartTrial
from slurmtune.core.verdict import Verdict, VerdictKind
from slurmtune.errors import SpecError, StudyStateError
from slurmtune.spec import build
from slurmtune.spec.custom import SchedulerCode, read_code, stored_code
from slurmtune.spec.difference import code_difference
from slurmtune.spec.load import loads_spec
from slurmtune.store import frame
from slurmtune.store.codec import encode_verdict
from slurmtune.store.layout import StudyLayout

ASHA = (Path(__file__).parent.parent / "data" / "spec" / "asha.toml").read_text()
GOOD = """\
from slurmtune.core.ports import StartTrial
from slurmtune.schedulers.base import BaseScheduler

class Mine(BaseScheduler):
    def __init__(self, levels, reduction_factor, patience=1):
        self.given = (levels, reduction_factor, patience)
        self._levels = levels

    def ladder(self, bracket):
        return self._levels

    def decide(self, *, may_start):
        return StartTrial() if may_start else None

    def started(self, trial, bracket):
        pass

    def finished(self, trial, rung, loss):
        pass
"""


def code_of(folder: Path, text: str = GOOD, name: str = "Mine") -> SchedulerCode:
    (folder / "mine.py").write_text(text)
    code = read_code(f"mine.py:{name}", str(folder))
    assert code is not None
    return code


def make(code: SchedulerCode, **arguments: Any) -> Any:
    return code.make([1, 3], 3, arguments)


def failure(folder: Path, text: str, name: str = "Mine", **arguments: Any) -> str:
    with pytest.raises(SpecError) as caught:
        make(code_of(folder, text, name), **arguments)
    return str(caught.value)


def test_it_is_made_with_ladder_and_options(tmp_path: Path) -> None:
    made = make(code_of(tmp_path), patience=4)
    assert made._scheduler.given == ((1, 3), 3, 4)


def test_it_is_asked_like_any_other(tmp_path: Path) -> None:
    made = make(code_of(tmp_path))
    assert made.decide(may_start=True) == StartTrial()
    assert made.ladder(0) == (1, 3)
    assert (made.runs_through, made.watches, made.copies, made.separate_rungs) == (False,) * 4
    assert (made.standing(0, 0), made.compared(0, 0), made.spare(9)) == (None, (), [])
    assert (made.drop(0), made.is_control(0)) == (False, False)


def test_ours_have_no_file(tmp_path: Path) -> None:
    assert read_code("asha", str(tmp_path)) is None


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot read gone\.py: No such file"):
        read_code("gone.py:Mine", str(tmp_path))


def test_nothing_is_written_beside_the_file(tmp_path: Path) -> None:
    make(code_of(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_two_versions_are_two_modules(tmp_path: Path) -> None:
    first = make(code_of(tmp_path))
    second = make(code_of(tmp_path, GOOD.replace("patience=1", "patience=2")))
    assert (first._scheduler.given[2], second._scheduler.given[2]) == (1, 2)


def test_dataclasses_work_in_it(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
        "@dataclass(slots=True)\nclass Note:\n    trial: int\n\n" + GOOD
    )
    assert make(code_of(tmp_path, text)).decide(may_start=False) is None


def test_a_mistake_of_syntax_is_shown_in_its_line(tmp_path: Path) -> None:
    assert failure(tmp_path, "class Mine:\n    x = = 1\n") == (
        "error: mine.py cannot be loaded: SyntaxError: invalid syntax\n"
        "  --> mine.py:2:5 (search.scheduler)\n"
        "   |\n"
        " 2 |     x = = 1\n"
        "   |     ^^^^^^^\n"
        "\n1 error; nothing was submitted."
    )


def test_a_mistake_is_told_once_when_a_study_is_made(tmp_path: Path) -> None:
    code = code_of(tmp_path, "class Mine:\n    x = = 1\n")
    core = {
        "scheduler": "own",
        "levels": [1, 3],
        "reduction_factor": 3,
        "code": {"arguments": {}},
    }
    with pytest.raises(SpecError, match=r"^error: mine\.py cannot be loaded: SyntaxError"):
        build.build_scheduler(core, code)


def test_a_scheduler_that_exits_is_told(tmp_path: Path) -> None:
    made = make(code_of(tmp_path, GOOD.replace("return StartTrial()", "raise SystemExit(3)")))
    with pytest.raises(SpecError, match=r"mine\.py:13: Mine\.decide failed: SystemExit: 3"):
        made.decide(may_start=True)


@pytest.mark.parametrize("levels", ["[3, 1]", "[1, 1]", "[0, 3]", "[float('nan')]"])
def test_a_ladder_increases(tmp_path: Path, levels: str) -> None:
    made = make(code_of(tmp_path, GOOD.replace("return self._levels", f"return {levels}")))
    with pytest.raises(SpecError, match=r"mine\.py:9: Mine\.ladder failed: it returned"):
        made.ladder(0)


def test_an_error_while_loading_is_shown_in_its_line(tmp_path: Path) -> None:
    told = failure(tmp_path, "import os\nLIMIT = wrong + 1\n")
    assert "NameError: name 'wrong' is not defined" in told
    assert "mine.py:2:1" in told


def test_an_error_in_the_constructor_is_shown_in_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("self._levels = levels", "self._levels = levels[9]")
    told = failure(tmp_path, text)
    assert "Mine cannot be made: IndexError" in told
    assert "mine.py:7:9" in told


def test_an_option_that_it_does_not_take_is_told(tmp_path: Path) -> None:
    told = failure(tmp_path, GOOD, patienec=3)
    assert "unexpected keyword argument 'patienec'" in told
    assert "it is called with levels=, reduction_factor= and what [search] options hold" in told


def test_a_class_that_is_misspelt_is_told(tmp_path: Path) -> None:
    told = failure(tmp_path, GOOD, name="Mien")
    assert "mine.py has no class Mien" in told
    assert "did you mean 'Mine'?" in told


def test_a_class_that_is_no_scheduler_is_told(tmp_path: Path) -> None:
    text = "class Mine:\n    def __init__(self, levels, reduction_factor):\n        pass\n"
    assert "derive it from slurmtune.schedulers.base.BaseScheduler" in failure(tmp_path, text)


def test_an_error_while_it_is_asked_has_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("return StartTrial() if may_start else None", "return 1 / 0")
    made = make(code_of(tmp_path, text))
    with pytest.raises(SpecError, match=r"mine\.py:13: Mine\.decide failed: ZeroDivisionError"):
        made.decide(may_start=True)


def test_an_answer_that_makes_no_sense_is_told(tmp_path: Path) -> None:
    text = GOOD.replace("return StartTrial() if may_start else None", "return 'more'")
    made = make(code_of(tmp_path, text))
    with pytest.raises(SpecError, match="it returned 'more', not StartTrial, Promote or None"):
        made.decide(may_start=True)


def asked(folder: Path, answer: str, more: str = "") -> Any:
    """Return a scheduler with one trial whose `decide` gives this answer."""
    imports = (
        "import math\nimport numpy as np\nfrom slurmtune.core.ports import Promote, Standing\n"
    )
    text = imports + GOOD.replace("return StartTrial() if may_start else None", f"return {answer}")
    made = make(code_of(folder, text + more))
    made.started(0, 0)
    return made


def test_numbers_of_numpy_become_plain(tmp_path: Path) -> None:
    made = asked(tmp_path, "Promote(trial=np.int64(0), rung=np.int64(1))")

    found = made.decide(may_start=True)

    assert found == Promote(trial=0, rung=1)
    assert {type(found.trial), type(found.rung)} == {int}


def test_a_ladder_of_numpy_becomes_plain(tmp_path: Path) -> None:
    text = "import numpy as np\n" + GOOD.replace("= levels", "= np.array(levels)")

    found = make(code_of(tmp_path, text)).ladder(0)

    assert found == (1, 3)
    assert {type(level) for level in found} == {int}


def test_a_promotion_that_is_repeated_is_told(tmp_path: Path) -> None:
    """The study would carry it out once, and ask for ever."""
    made = asked(tmp_path, "Promote(trial=0, rung=1)")
    made.decide(may_start=True)

    with pytest.raises(SpecError, match=r"Promote\(trial=0, rung=1\) a second time"):
        made.decide(may_start=True)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("Promote(trial=1, rung=1)", "no such trial"),
        ("Promote(trial=-1, rung=1)", "no such trial"),
        ("Promote(trial=0, rung=2)", "no such rung"),
        ("Promote(trial='t00000', rung=1)", "needs whole numbers"),
        ("StartTrial(rung=2)", "no such rung"),
        ("StartTrial(source=1, rung=1)", "no such trial"),
        ("StartTrial(parents=(7,))", "no such trial"),
        ("StartTrial(parents=7)", "needs whole numbers"),
    ],
)
def test_a_decision_that_cannot_be_carried_out_is_told(
    tmp_path: Path, answer: str, why: str
) -> None:
    with pytest.raises(SpecError, match=rf"Mine\.decide failed: it returned .*{why}"):
        asked(tmp_path, answer).decide(may_start=True)


def standing(folder: Path, fields: str) -> Any:
    more = f"\n    def standing(self, trial, rung):\n        return Standing({fields})\n"
    return asked(folder, "None", more).standing(0, 0)


@pytest.mark.parametrize("cutoff", ["math.inf", "math.nan", "-np.inf"])
def test_a_cutoff_that_is_not_finite_is_none(tmp_path: Path, cutoff: str) -> None:
    """What is judged is recorded as JSON, which has no such numbers."""
    given = f"rule='', size=1, place=0, places=1, cutoff={cutoff}, best={cutoff}"
    found = standing(tmp_path, given)
    assert (found.cutoff, found.best) == (None, None)


def test_a_standing_can_be_recorded(tmp_path: Path) -> None:
    given = (
        "rule='x' * 100_000, size=np.int64(3), place=np.int64(0), places=np.int64(1), "
        "cutoff=np.float32(0.5), best=np.float32(0.25)"
    )
    found = standing(tmp_path, given)
    verdict = Verdict(kind=VerdictKind.PAUSED, rung=0, trial=0, standing=found)

    assert len(frame.encode(encode_verdict(verdict))) < 1000
    assert (found.cutoff, found.best) == (0.5, 0.25)


def test_a_standing_that_makes_no_sense_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="something that is no number"):
        standing(tmp_path, "rule='', size='many', place=0, places=1")


@pytest.mark.parametrize("answer", ["[(1, 0)]", "[0]", "None", "[('t', 0)]"])
def test_what_is_called_spare_must_be_there(tmp_path: Path, answer: str) -> None:
    more = f"\n    def spare(self, trials):\n        return {answer}\n"
    with pytest.raises(SpecError, match=r"Mine\.spare failed: it returned"):
        asked(tmp_path, "None", more).spare(9)


def leaders(folder: Path, answer: str) -> Leaders | None:
    more = (
        "\n    def leaders(self):\n        from slurmtune.core.ports import Leaders\n"
        f"        return {answer}\n"
    )
    scheduler = asked(folder, "None", more)
    scheduler.started(0, 0)
    found: Leaders | None = scheduler.leaders()
    return found


def test_leaders_come_through_as_plain_values(tmp_path: Path) -> None:
    answer = "Leaders(trials=[np.int64(0)], rung=np.int64(1), rule='x' * 100_000)"
    found = leaders(tmp_path, answer)
    assert found == Leaders(trials=(0,), rung=1, rule="x" * 500)


@pytest.mark.parametrize(
    "answer",
    ["(0,)", "Leaders(trials=(9,), rung=0, rule='')", "Leaders(trials='a', rung=0, rule='')"],
)
def test_leaders_must_be_trials_that_are_there(tmp_path: Path, answer: str) -> None:
    with pytest.raises(SpecError, match=r"Mine\.leaders failed: it returned"):
        leaders(tmp_path, answer)


# ------------------------------------------------------------------ kept with the study


def core_of(code: SchedulerCode) -> dict[str, Any]:
    given = ["search.scheduler=mine.py:Mine", "search.options={ patience = 2 }"]
    core: dict[str, Any] = build.core_settings(loads_spec(ASHA, given).spec, 81, code)
    return core


def kept(folder: Path, text: str = GOOD) -> StudyLayout:
    layout = StudyLayout(str(folder / "study"))
    layout.create()
    (folder / "study" / "scheduler.py").write_text(text)
    return layout


def test_a_study_is_built_from_its_copy(tmp_path: Path) -> None:
    core = core_of(code_of(tmp_path))
    code = stored_code(kept(tmp_path), core)
    assert isinstance(build.build_study(core, code).scheduler.decide(may_start=True), StartTrial)


def test_a_study_that_fails_in_its_copy_tells_which_name_to_change(tmp_path: Path) -> None:
    wrong = GOOD.replace("return StartTrial()", "raise KeyError(may_start)")
    core = core_of(code_of(tmp_path, wrong))
    made = build.build_scheduler(core, stored_code(kept(tmp_path, wrong), core))

    with pytest.raises(SpecError) as caught:
        made.decide(may_start=True)

    assert str(caught.value) == (
        "mine.py:13: Mine.decide failed: KeyError: True\n"
        "Nothing was decided. The study goes on with its own copy of the file, so a mended one "
        'needs a new study: mend mine.py, change study.name = "study" in the spec to another '
        "name, and launch it"
    )


def test_without_a_study_no_other_name_is_asked_for(tmp_path: Path) -> None:
    made = make(code_of(tmp_path, GOOD.replace("return StartTrial()", "return 1")))
    with pytest.raises(SpecError, match=r"Nothing was decided\. Mend mine\.py$"):
        made.decide(may_start=True)


@pytest.mark.parametrize("answer", ["[0]", "None", "[('t', 0.5)]", "[(0, 'low')]"])
def test_what_is_compared_must_be_pairs(tmp_path: Path, answer: str) -> None:
    more = f"\n    def compared(self, trial, rung):\n        return {answer}\n"
    with pytest.raises(SpecError, match=r"mine\.py:\d+: Mine\.compared failed: it returned"):
        asked(tmp_path, "None", more).compared(0, 0)


def test_a_call_that_it_does_not_take_has_the_line_of_the_method(tmp_path: Path) -> None:
    made = make(code_of(tmp_path, GOOD.replace("(self, trial, rung, loss)", "(self, trial)")))
    with pytest.raises(SpecError, match=r"mine\.py:18: Mine\.finished failed: TypeError"):
        made.finished(0, 0, 1.0)


def test_a_copy_that_was_changed_is_refused(tmp_path: Path) -> None:
    core = core_of(code_of(tmp_path))
    with pytest.raises(StudyStateError, match=r"scheduler\.py was changed"):
        stored_code(kept(tmp_path, GOOD + "#\n"), core)


def test_a_copy_that_others_may_change_is_not_run(tmp_path: Path) -> None:
    core, layout = core_of(code_of(tmp_path)), kept(tmp_path)
    Path(layout.root).chmod(0o777)
    with pytest.raises(
        StudyStateError, match=r"its own scheduler, which is not done: others may write"
    ):
        stored_code(layout, core)


def test_a_study_with_one_of_ours_has_no_copy(tmp_path: Path) -> None:
    core = build.core_settings(loads_spec(ASHA).spec, 81)
    assert stored_code(StudyLayout(str(tmp_path)), core) is None


def test_a_file_that_changed_is_a_change_of_the_scheduler(tmp_path: Path) -> None:
    old = core_of(code_of(tmp_path))
    new = core_of(code_of(tmp_path, GOOD + "#\n"))
    [change] = code_difference(old, new)
    assert (change.path, change.allowed) == ("search.scheduler", False)
    assert code_difference(old, old) == []

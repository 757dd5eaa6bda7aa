"""``status`` and ``best`` of studies whose overview was written by hand."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest

STATUS = """\
asha   running 2:14:0X   driver ok (login1, pid 4242, 3 s ago)   runs/asha

  rung  epochs  waiting  running  done  promoted  failed  best val_loss
     0       1        8        6    66        22       1         0.4121
     1       3        1        3    18         6       0         0.2214
     2       9        0        3     0         -       0              -

queue  8 wait for "Priority": other jobs are ahead; start about HH:MM
       1 waits for "QOSMaxGRESPerUser": your limit in the QOS is in use
       (QOSMaxGRESPerUser)
use    12 GPUs now; 31.4 of at most 120 GPU-h (2.2 in attempts that failed)
best   t00033  val_loss 0.2214 at 3 epochs    lr 0.002123  dropout 0.11
left   about 3 h 10 min (81 of 81 trials started)
note   t00017 failed: CUDA out of memory                   slurmtune logs t00017
"""


def shown(text: str) -> str:
    """Return the text with what depends on the time of day taken out."""
    text = re.sub(r"2:14:0\d", "2:14:0X", text)
    text = re.sub(r"[345] s ago", "3 s ago", text)
    return re.sub(r"about \d\d:\d\d", "about HH:MM", text)


def test_status_as_a_whole(run: Any, fake: Any) -> None:
    ended = run("status", cwd=fake.folder)

    assert (ended.code, ended.err) == (0, "")
    assert shown(ended.out) == STATUS


def test_status_fits_80_columns(run: Any, fake: Any) -> None:
    assert max(map(len, run("status", cwd=fake.folder).out.splitlines())) <= 80


@pytest.mark.parametrize("argument", ["asha", "runs/asha"])
def test_the_study_may_be_named(run: Any, fake: Any, argument: str) -> None:
    assert run("status", argument, cwd=fake.folder).out.startswith("asha   running")


def test_the_study_may_be_named_by_its_spec(run: Any, fake: Any) -> None:
    (fake.folder / "spec.toml").write_text('[study]\nname = "asha"\n')

    assert run("status", "spec.toml", cwd=fake.folder).code == 0


def test_no_study_is_exit_code_4(run: Any, tmp_path: Any) -> None:
    ended = run("status", cwd=tmp_path)

    assert ended.code == 4
    assert ended.err.startswith("error: no study below ")


def test_json_has_the_fields_that_scripts_read(run: Any, fake: Any) -> None:
    data = json.loads(run("status", "--json", cwd=fake.folder).out)

    assert data["schema"] == "slurmtune.status/1"
    assert data["driver"]["alive"] is True
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", data["driver"]["beat"])
    assert data["queue"][0]["start"].endswith("Z")
    assert data["best"]["params"] == {"lr": 0.0021234567, "dropout": 0.11}


def test_a_dead_driver_is_told_with_the_command_to_continue(run: Any, fake: Any) -> None:
    fake.beat(alive=False)
    (fake.folder / "spec.toml").write_text("")

    out = run("status", cwd=fake.folder).out

    assert "driver died 2 h ago (login1, pid 4242)" in out
    assert "continue: slurmtune launch spec.toml" in out


def test_a_driver_that_left_on_purpose_did_not_die(run: Any, fake: Any) -> None:
    fake.beat(alive=False, released=True)

    assert "driver left 2 h ago" in run("status", cwd=fake.folder).out


def test_nothing_has_started_yet(run: Any, fake: Any) -> None:
    rungs = [{**row, "running": 0, "done": 0} for row in fake.overview["rungs"]]
    fake.publish(
        rungs=rungs, slots={"waiting": 32, "running": 0}, gpus_now=0, best=None, failures=[]
    )

    assert (
        "nothing has started yet: 32 jobs wait 2 h 14 min so far"
        in run("status", cwd=fake.folder).out
    )


def test_a_pause_says_why(run: Any, fake: Any) -> None:
    fake.publish(state="paused", reason="3 of 3 trials failed: No module named 'torch'")

    assert (
        "paused 3 of 3 trials failed: No module named 'torch'"
        in run("status", cwd=fake.folder).out
    )


def test_a_rung_that_says_nothing_is_told(run: Any, fake: Any) -> None:
    fake.publish(notes=["the results at rung 0 say little about those at rung 1"])

    assert "note   the results at rung 0 say little" in run("status", cwd=fake.folder).out


def test_what_a_program_printed_cannot_steer_the_terminal(run: Any, fake: Any) -> None:
    failure = {**fake.overview["failures"][0], "cause": "evil \x1b]0;title\x07"}
    fake.publish(failures=[failure])

    assert "\x1b" not in run("status", cwd=fake.folder).out


@pytest.mark.parametrize(
    ("state", "running", "code"),
    [
        ("done", 0, 0),
        ("failed", 0, 1),
        ("running", 3, 10),
        ("running", 0, 11),
        ("paused", 0, 12),
        ("stopped", 0, 12),
    ],
)
def test_exit_codes_for_scripts(run: Any, fake: Any, state: str, running: int, code: int) -> None:
    rungs = [{**row, "running": 0} for row in fake.overview["rungs"]]
    fake.publish(state=state, slots={"waiting": 4, "running": running}, rungs=rungs)

    assert run("status", "--exit-code", cwd=fake.folder).code == code


def test_all_studies_have_a_line_each(run: Any, fake: Any) -> None:
    out = run("status", "--all", cwd=fake.folder).out

    assert out.splitlines()[1].split()[:5] == ["asha", "running", "81/81", "1", "0.2214"]


def test_all_studies_as_json(run: Any, fake: Any) -> None:
    [one] = json.loads(run("status", "--all", "--json", cwd=fake.folder).out)

    assert one["study"] == "asha"


def test_watching_ends_when_nobody_drives(run: Any, fake: Any) -> None:
    fake.beat(alive=False)

    assert run("status", "--watch", cwd=fake.folder).code == 0


def test_a_damaged_overview_is_no_traceback(run: Any, fake: Any) -> None:
    (fake.root / "status.json").write_text("{")

    ended = run("status", cwd=fake.folder)

    # The fake has no journal either.
    assert ended.code == 3
    assert "status.json is damaged" in ended.err


BEST = """\
t00033   val_loss 0.2214 at 3 of 9 epochs
lr       0.002123
dropout  0.11
ckpt     runs/asha/trials/t00033/checkpoints/3.t00033.r1.a1
"""


def test_best_as_a_whole(run: Any, fake: Any) -> None:
    ended = run("best", cwd=fake.folder)

    assert ended.out == BEST
    assert ended.err == "note: nothing has finished 9 epochs yet\n"


def test_best_shows_what_comes_next_and_how_far_the_best_agree(run: Any, fake: Any) -> None:
    others = [
        {
            "trial": "t00058",
            "values": {"val_loss": 0.2311},
            "params": {"lr": 0.0016, "dropout": 0.2},
        },
        {"trial": "t00012", "values": {"val_loss": 0.2402}, "params": {"lr": 0.0034}},
    ]
    fake.publish(best={**fake.overview["best"], "next": others})

    lines = run("best", cwd=fake.folder).out.splitlines()

    assert lines[1] == "lr       0.002123   within the best 3: 0.0016 .. 0.0034"
    assert lines[2] == "dropout  0.11"  # a conditional one is not in every config
    assert lines[3] == "next     t00058 0.2311, t00012 0.2402"


def test_best_as_arguments(run: Any, fake: Any) -> None:
    assert run("best", "--args", cwd=fake.folder).out == "--lr=0.0021234567 --dropout=0.11\n"


def test_best_as_hydra_takes_them(run: Any, fake: Any) -> None:
    (fake.root / "study.json").write_text(json.dumps({"spec": {"run": {"args": "hydra"}}}))

    assert run("best", "--args", cwd=fake.folder).out == "lr=0.0021234567 dropout=0.11\n"


def test_best_as_json(run: Any, fake: Any) -> None:
    assert json.loads(run("best", "--json", cwd=fake.folder).out)["params"]["dropout"] == 0.11


def test_no_result_yet_is_exit_code_4(run: Any, fake: Any) -> None:
    fake.publish(best=None)

    ended = run("best", cwd=fake.folder)

    assert ended.code == 4
    assert "asha has no result yet: 1 trial failed" in ended.err


def test_colour_only_when_it_is_forced(
    run: Any, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run("best", cwd=fake.folder).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = run("best", cwd=fake.folder).out

    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_no_color_wins(run: Any, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b" not in run("best", cwd=fake.folder).out


def test_a_total_that_is_only_a_bound_is_called_so(run: Any, fake: Any) -> None:
    fake.publish(trials={**fake.overview["trials"], "started": 7, "total": 18, "at_most": True})

    assert "(7 of at most 18 trials started)" in run("status", cwd=fake.folder).out


def many_rungs(fake: Any, count: int) -> list[dict[str, Any]]:
    """The three rungs of the study, and more that nobody has reached."""
    none = {**fake.overview["rungs"][2], "running": 0}
    more = [{**none, "rung": number, "resource": number + 7} for number in range(3, count)]
    return [*fake.overview["rungs"], *more]


def test_of_many_rungs_those_that_nobody_reached_are_only_counted(run: Any, fake: Any) -> None:
    fake.publish(rungs=many_rungs(fake, 9))

    out = run("status", cwd=fake.folder).out

    assert "\n  ... 6 more rungs not reached\n" in out
    assert out.split("best val_loss\n")[1].index("...") > out.split("best val_loss\n")[1].index(
        "9"
    )


def test_a_few_rungs_are_all_listed(run: Any, fake: Any) -> None:
    fake.publish(rungs=many_rungs(fake, 8))

    out = run("status", cwd=fake.folder).out

    assert "not reached" not in out
    assert "\n     7      14 " in out


def test_a_better_value_at_a_lower_rung_is_a_note(run: Any, fake: Any) -> None:
    lower = {"trial": "t00003", "values": {"val_loss": 0.2}, "rung": 0, "resource": 1}
    fake.publish(best={**fake.overview["best"], "lower": lower})

    assert "note: t00003 had 0.2000 at 1 epoch\n" in run("best", cwd=fake.folder).err


@pytest.mark.parametrize(
    "lower", [None, 3, {}, {"values": 1}, {"values": {"val_loss": "x"}, "resource": 1}]
)
def test_without_one_there_is_no_such_note(run: Any, fake: Any, lower: Any) -> None:
    fake.publish(best={**fake.overview["best"], "lower": lower})

    ended = run("best", cwd=fake.folder)

    assert ended.code == 0
    assert " had " not in ended.err


# ------------------------------------------------------------------ how a study ended


def ended(fake: Any, **changes: Any) -> None:
    """Publish a study that is over, driver and all."""
    opened = fake.overview["opened"]
    fake.beat(alive=False, released=True)
    fake.publish(**{"state": "done", "queue": [], "ended": opened + 60.0, **changes})


def test_a_study_lasted_until_its_end_and_not_until_it_was_opened_last(
    run: Any, fake: Any
) -> None:
    ended(fake)

    assert run("status", cwd=fake.folder).out.startswith("asha   done 1:00 ")


def test_an_overview_without_an_end_lasts_until_it_was_written(run: Any, fake: Any) -> None:
    ended(fake, ended=None)

    assert run("status", cwd=fake.folder).out.startswith("asha   done 2:14:0")


def test_the_limit_that_ended_a_study_is_told(run: Any, fake: Any) -> None:
    ended(fake, limit="target")

    assert "ended  stop.target is reached: 81 of 81 trials" in run("status", cwd=fake.folder).out


def test_all_ends_of_trials_are_counted(run: Any, fake: Any) -> None:
    trials = {
        "total": 12,
        "started": 12,
        "finished": 12,
        "good": 8,
        "failed": 1,
        "without_result": 3,
        "stopped": 2,
    }
    ended(fake, trials=trials)

    assert (
        "ended  12 of 12 trials, 8 good, 3 without a finite val_loss, 1 failed; 2 stopped\n"
        "       early\n" in run("status", cwd=fake.folder).out
    )


def test_trials_that_were_stopped_on_their_way_have_a_column(run: Any, fake: Any) -> None:
    first, *others = fake.overview["rungs"]
    fake.publish(rungs=[{**first, "stopped": 5}, *others])

    lines = run("status", cwd=fake.folder).out.splitlines()
    assert lines[2].split()[-4:] == ["failed", "stopped", "best", "val_loss"]
    assert lines[3].split()[-2:] == ["5", "0.4121"]
    assert lines[4].split()[-2:] == ["0", "0.2214"]


def test_likely_trials_are_told_before_the_bound(run: Any, fake: Any) -> None:
    trials = {**fake.overview["trials"], "total": 24, "started": 8}
    fake.publish(trials={**trials, "at_most": True, "expected": 12})

    out = run("status", cwd=fake.folder).out
    assert "(8 of about 12 trials (at most 24) started)" in out


def test_more_trials_than_were_likely_leave_the_bound(run: Any, fake: Any) -> None:
    trials = {**fake.overview["trials"], "total": 24, "started": 13}
    fake.publish(trials={**trials, "at_most": True, "expected": 12})

    assert "(13 of at most 24 trials started)" in run("status", cwd=fake.folder).out


def test_a_best_that_was_reported_below_its_rung_says_where(run: Any, fake: Any) -> None:
    fake.publish(best={**fake.overview["best"], "resource": 2, "level": 3})

    assert "best   t00033  val_loss 0.2214 at 2 of 3 epochs" in run("status", cwd=fake.folder).out


def test_slots_that_are_queued_ahead_wait_for_no_limit_of_the_user(run: Any, fake: Any) -> None:
    group = {"reason": "JobArrayTaskLimit", "jobs": 2, "start": None}
    fake.publish(queue=[group], parallel=2, array_limit=None)

    assert (
        'queue  2 wait for "JobArrayTaskLimit": queued ahead; at most 2 run at once\n'
        in run("status", cwd=fake.folder).out
    )


def test_when_it_ended_is_told_whatever_drivers_looked_at_it_since(run: Any, fake: Any) -> None:
    fake.publish(state="done", ended=fake.overview["time"] - 7200)
    fake.beat(alive=False)

    assert "ended 2 h ago" in run("status", cwd=fake.folder).out
    told = json.loads(run("status", "--json", cwd=fake.folder).out)["ended"]
    assert datetime.fromisoformat(told).timestamp() == pytest.approx(
        fake.overview["time"] - 7200, abs=1.0
    )

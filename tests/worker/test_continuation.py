"""Programs that go on with their trial in the same process, and slots that wait with them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from slurmtune.store import event_log, frame, fs
from slurmtune.worker.attempt import SlotIdentity
from slurmtune.worker.held import Held, Process, release
from slurmtune.worker.program import Program
from slurmtune.worker.signals import SignalInbox
from slurmtune.worker.slot import Slot
from slurmtune.worker.task import Task

pytestmark = pytest.mark.slow

TOKEN = "st-0123abcd-1-1"
ME = f"{TOKEN}.0.0"
OTHER = f"{TOKEN}.7.0"

LOOP = """
import os, slurmtune
with open("loads", "a") as file:
    file.write(os.environ["SLURMTUNE_ATTEMPT"] + "\\n")
trial = slurmtune.trial()
for epoch in trial.steps():
    print(trial.attempt, epoch, flush=True)
    trial.report(val_loss=1 / epoch, pid=os.getpid())
    with trial.save() as folder:
        (folder / "state").write_text(str(epoch))
"""


def loads(study: Any) -> list[str]:
    """Attempts for which a process was started."""
    text: str = (study.workdir / "loads").read_text()
    return text.split()


def held(study: Any, text: str = LOOP, **manifest: Any) -> tuple[Any, str]:
    """Start a slot, and return it with its first attempt when the program waits for more."""
    study.program(text, **{"linger_seconds": 20, **manifest})
    first = study.offer(end=2)
    slot = study.start_slot()
    study.wait_for(first, "end")
    return slot, first


def next_offer(study: Any, rung: int, saved: int, **content: Any) -> str:
    """Offer more of trial 0, from what its attempt at the rung below saved."""
    before = f"t00000.r{rung - 1}.a1"
    offer = {"start": saved, "end": saved + 2, "checkpoint": f"{saved}.{before}", "holder": ME}
    made: str = study.offer(**{**offer, "rung": rung, **content})
    return made


def settle(study: Any, *attempts: str) -> None:
    """Do what the driver does when it has answered these ends."""
    fs.publish_file(study.layout.settled, json.dumps({"attempts": attempts}).encode())


def leave(study: Any, slot: Any, expect: int = 0) -> str:
    """End the study, and return what the slot printed."""
    fs.publish_file(study.layout.finished, b"")
    output, _ = slot.communicate(timeout=15)
    assert slot.returncode == expect, output
    return str(output)


def pids(study: Any, attempt: str) -> set[float]:
    return {metrics["pid"] for _, metrics in study.reports(attempt)}


def is_running(pid: float) -> bool:
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# ------------------------------------------------------------------ going on


def test_one_process_serves_three_attempts(study: Any) -> None:
    slot, first = held(study)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    third = next_offer(study, 2, 4)
    study.wait_for(third, "end")
    leave(study, slot)

    assert loads(study) == [first]
    assert len(pids(study, first) | pids(study, second) | pids(study, third)) == 1
    assert [[at for at, _ in study.reports(a)] for a in (first, second, third)] == [
        [1, 2],
        [3, 4],
        [5, 6],
    ]


def test_each_attempt_has_a_whole_log_of_its_own(study: Any) -> None:
    slot, first = held(study)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    kinds = ["start", "report", "checkpoint", "report", "checkpoint", "end"]
    for attempt in (first, second):
        events = study.events(attempt)
        assert sorted(event["k"] for event in events) == sorted(kinds)
        assert [event["n"] for event in events] == list(range(6))
        end = events[-1]
        assert (end["k"], end["outcome"], end["exit_code"]) == ("end", "SUCCEEDED", None)
        assert end["holds"] is True


def test_the_start_of_what_goes_on_says_so(study: Any) -> None:
    slot, first = held(study)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    start = study.events(second)[0]
    assert (start["start"], start["checkpoint"]) == (2, f"2.{first}")
    assert start["continued"] is True
    assert "continued" not in study.events(first)[0]


def test_what_goes_on_saves_as_its_own_attempt(study: Any) -> None:
    slot, _ = held(study)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    assert study.checkpoints(second) == [f"3.{second}", f"4.{second}"]
    state = Path(study.layout.checkpoint(0, f"4.{second}")) / "state"
    assert state.read_text() == "4"


def test_output_goes_on_where_the_program_began(study: Any) -> None:
    slot, first = held(study)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    assert study.output(first).splitlines()[-1] == f"{second} 4"
    assert study.output(second) == (
        "slurmtune: the program goes on in the same process; "
        f"its output is in {study.layout.output(first)}\n"
    )


def test_variables_are_those_of_the_attempt(study: Any) -> None:
    text = LOOP.replace(
        "print(trial.attempt, epoch, flush=True)",
        "print(*(os.environ['SLURMTUNE_' + n] for n in ('ATTEMPT', 'RUNG', 'START', 'END')), "
        "trial.rung, trial.start, trial.end, os.path.basename(trial.checkpoint or ''), flush=True)",
    )
    slot, first = held(study, text)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    assert study.output(first).splitlines()[0] == f"{first} 0 0 2 0 0 2 "
    assert study.output(first).splitlines()[-1] == f"{second} 1 2 4 1 2 4 2.{first}"


def test_a_crash_after_going_on_is_of_that_attempt(study: Any) -> None:
    text = LOOP.replace("    print", "    if epoch == 4: raise ValueError('lost it')\n    print")
    slot, first = held(study, text)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    assert study.end(first)["outcome"] == "SUCCEEDED"
    end = study.end(second)
    assert (end["outcome"], end["exit_code"]) == ("FAILED", 1)
    assert "lost it" in end["cause"]
    assert "t00000.r0.a1 1" not in end["tail"]


def test_a_program_of_another_language_goes_on(study: Any) -> None:
    """What `slurmtune.worker.environment` promises, without the session."""
    (study.workdir / "train.py").write_text(
        "import json, os, time\n"
        "open('loads', 'a').write(os.environ['SLURMTUNE_ATTEMPT'] + '\\n')\n"
        "at = {k[10:].lower(): v for k, v in os.environ.items() if k.startswith('SLURMTUNE_')}\n"
        "while at.get('end') is not None:\n"
        "    with open(at['metrics'], 'a') as file:\n"
        "        file.write(json.dumps({'epoch': int(at['end']), 'val_loss': 1}) + '\\n')\n"
        "    open(at['save'] + '/state', 'w').write(str(at['end']))\n"
        "    with open(at['metrics'], 'a') as file:\n"
        "        file.write('{\"_more\": true}\\n')\n"
        "    while not os.path.exists(at['more']):\n"
        "        time.sleep(0.02)\n"
        "    path = at['more']\n"
        "    at = json.load(open(path))\n"
        "    if at['end'] is not None: os.unlink(path)\n"
    )
    study.publish(command=[sys.executable, "train.py"], linger_seconds=20)
    first = study.offer(end=2)
    slot = study.start_slot()
    study.wait_for(first, "end")
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    assert loads(study) == [first]
    assert study.checkpoints(first) == [f"2.{first}"]
    assert study.checkpoints(second) == [f"4.{second}"]
    assert os.listdir(study.layout.checkpoints(0)) != []
    assert not [n for n in os.listdir(study.layout.checkpoints(0)) if n.endswith(".tmp")]


def test_a_program_that_asks_is_heard_at_once(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It rings: nobody waits for the next look at its file."""
    monkeypatch.setattr("slurmtune.worker.attempt._FIRST_LOOK_SECONDS", 600.0)
    study.program(LOOP, linger_seconds=20)
    study.offer(end=2)

    with SignalInbox() as inbox:
        identity = SlotIdentity(TOKEN, 0, 0, "1", "here", os.getpid())
        slot = Slot(study.layout, study.manifest, identity, started=0.0, inbox=inbox)
        offered = slot._claim_next(time.monotonic()).task
        assert offered is not None
        waits = slot._run(offered, None).held
        assert waits is not None
        end = release(waits, inbox, grace_seconds=10, deadline=None)

    assert end.exit_code == 0


# ------------------------------------------------------------------ letting go


@pytest.mark.parametrize(
    "content", [{"start": 0, "checkpoint": None}, {"start": 1, "checkpoint": "1.t00000.r0.a1"}]
)
def test_what_starts_from_something_else_gets_its_own_process(study: Any, content: Any) -> None:
    slot, first = held(study)
    second = next_offer(study, 1, 2, **{"end": 4, **content})
    study.wait_for(second, "end")
    leave(study, slot)

    assert loads(study) == [first, second]
    assert study.reports(second)[-1][0] == 4
    assert len(study.reports(second)) == 4 - content["start"]


def test_a_settled_slot_takes_other_work(study: Any) -> None:
    slot, first = held(study)
    other = study.offer(trial=1, end=1)
    time.sleep(1.0)
    assert os.listdir(study.layout.claims) == [first]

    settle(study, first)
    study.wait_for(other, "end")
    leave(study, slot)

    assert loads(study) == [first, other]
    assert not any(is_running(pid) for pid in pids(study, first))
    assert study.end(first)["holds"] is True


def test_its_own_trial_comes_before_better_offers(study: Any) -> None:
    slot, first = held(study)
    other = study.offer(trial=1, end=1, priority=1)
    second = next_offer(study, 1, 2, priority=9)
    settle(study, first)
    study.wait_for(second, "end")
    settle(study, first, second)
    study.wait_for(other, "end")
    leave(study, slot)

    assert loads(study) == [first, other]


def test_a_slot_waits_no_longer_than_it_lingers(study: Any) -> None:
    slot, first = held(study, linger_seconds=0.5)
    output, _ = slot.communicate(timeout=15)

    assert slot.returncode == 0
    assert "nothing on offer for 0.5 s" in output
    assert not any(is_running(pid) for pid in pids(study, first))


def test_after_its_patience_a_slot_takes_what_there_is(study: Any) -> None:
    study.program(LOOP, linger_seconds=0.5)
    first, other = study.offer(end=2), study.offer(trial=1, end=2)

    study.run_slot()

    assert loads(study) == [first, other]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_waiting(study: Any, number: signal.Signals) -> None:
    slot, first = held(study)

    slot.send_signal(number)
    slot.communicate(timeout=10)

    assert slot.returncode == 85
    assert study.end(first)["outcome"] == "SUCCEEDED"
    assert not any(is_running(pid) for pid in pids(study, first))


def test_a_signal_after_going_on_preempts_the_attempt(study: Any) -> None:
    slot, _ = held(study, LOOP.replace("    print", "    if epoch > 2: time.sleep(0.1)\n    print")
                   .replace("import os,", "import os, time,"))  # fmt: skip
    second = next_offer(study, 1, 2, end=1000)
    study.wait_for(second, "report")

    slot.send_signal(signal.SIGTERM)
    slot.communicate(timeout=10)

    assert slot.returncode == 85
    assert study.end(second)["outcome"] == "PREEMPTED"


LATE = """
if epoch < 9:
    time.sleep(0.1)
    trial.report(test_acc=0.9, val_loss=-99)
"""


def late(study: Any, attempt: str) -> list[tuple[Any, dict[str, Any]]]:
    return [
        (event["resource"], event["metrics"])
        for event in study.events(attempt)
        if event.get("late") is True
    ]


def test_what_is_reported_after_the_loop_is_kept_behind_the_end(study: Any) -> None:
    slot, first = held(study, LOOP.replace("os,", "os, time,") + LATE)
    leave(study, slot)

    events = study.events(first)
    assert [event["k"] for event in events][-2:] == ["end", "report"]
    assert [event["n"] for event in events] == list(range(len(events)))
    assert late(study, first) == [(2, {"test_acc": 0.9, "val_loss": -99.0})]


def test_it_is_kept_with_the_attempt_that_ended_last(study: Any) -> None:
    slot, first = held(study, LOOP.replace("os,", "os, time,") + LATE)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    assert late(study, first) == []
    assert late(study, second) == [(4, {"test_acc": 0.9, "val_loss": -99.0})]


def test_a_signal_while_it_tests_loses_nothing_that_it_reported(study: Any) -> None:
    text = LOOP + "trial.report(test_acc=0.9)\nopen('tested', 'w').close()\n"
    slot, first = held(study, text + "import time; time.sleep(60)\n", kill_wait_seconds=1)
    settle(study, first)
    slot.send_signal(signal.SIGTERM)
    slot.communicate(timeout=10)

    assert (study.workdir / "tested").exists()
    assert late(study, first) == [(2, {"test_acc": 0.9})]


def test_a_program_may_test_for_as_long_as_it_trained(study: Any) -> None:
    text = LOOP.replace("    print", "    time.sleep(0.75)\n    print").replace("os,", "os, time,")
    text += "time.sleep(1.2)\ntrial.report(test_acc=0.9)\n"
    slot, first = held(study, text, kill_wait_seconds=0.2)
    leave(study, slot)

    assert late(study, first) == [(2, {"test_acc": 0.9})]


def test_what_it_reports_when_it_gave_up_waiting_is_kept_with_its_attempt(study: Any) -> None:
    """It left as the next attempt was handed to it: what it says is not of that attempt."""
    text = LOOP.replace(
        "trial = slurmtune",
        "import slurmtune.worker.session as s\ns._read_answer = lambda path: "
        "{} if __import__('os.path').path.exists(path) else None\ntrial = slurmtune",
    )
    slot, first = held(study, text + "trial.report(test_acc=0.9)\n")
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    assert study.end(second)["outcome"] == "PREEMPTED"
    assert late(study, first) == [(2, {"test_acc": 0.9})]
    assert study.reports(second) == []


def test_a_program_that_does_not_leave_is_killed(study: Any) -> None:
    text = LOOP + "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    slot, first = held(study, text + "time.sleep(60)\n", linger_seconds=0.5, kill_wait_seconds=1)

    slot.communicate(timeout=10)

    assert slot.returncode == 0
    assert not any(is_running(pid) for pid in pids(study, first))


def test_a_program_that_dies_while_it_waits_costs_nothing(study: Any) -> None:
    slot, first = held(study)
    for pid in pids(study, first):
        os.kill(int(pid), signal.SIGKILL)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    assert loads(study) == [first, second]
    assert study.end(first)["outcome"] == study.end(second)["outcome"] == "SUCCEEDED"
    assert study.events(second)[0]["start"] == 2


def test_a_program_that_dies_before_it_hears_is_no_failure(study: Any) -> None:
    """Nothing is wrong with the trial: the attempt is repeated."""
    text = LOOP.replace(
        "trial = slurmtune",
        "import slurmtune.worker.session as s\ns._read_answer = lambda path: "
        "__import__('os.path').path.exists(path) and os._exit(3) or None\ntrial = slurmtune",
    )
    slot, _ = held(study, text)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    end = study.end(second)
    assert (end["outcome"], end["exit_code"]) == ("PREEMPTED", 3)
    assert end["cause"] == "the program ended while it waited for more work"


def test_a_slot_that_dies_while_it_waits_loses_nothing(study: Any) -> None:
    slot, first = held(study, holder_seconds=0.5)
    slot.kill()
    slot.communicate()
    for pid in pids(study, first):
        os.kill(int(pid), signal.SIGKILL)
    second = next_offer(study, 1, 2, holder=ME)

    study.start_slot(1)
    study.wait_for(second, "end")

    assert study.end(second)["outcome"] == "SUCCEEDED"
    assert loads(study) == [first, second]


def test_what_the_driver_takes_back_is_waited_for_no_more(study: Any) -> None:
    slot, first = held(study)
    fs.publish_once(study.layout.claim("t00000.r1.a1"), b'{"token":"driver"}')
    next_offer(study, 1, 2)

    other = study.offer(trial=1, end=2)
    study.wait_for(other, "end")
    leave(study, slot)

    assert loads(study) == [first, other]


def test_what_needs_longer_than_the_slot_has_is_not_begun(study: Any) -> None:
    text = LOOP.replace("    print", "    time.sleep(0.2)\n    print").replace("os,", "os, time,")
    slot, first = held(study, text, time_limit_seconds=30)
    second = next_offer(study, 1, 2, end=1000)
    output, _ = slot.communicate(timeout=15)

    assert "no offer fits into the time left" in output
    assert os.listdir(study.layout.claims) == [first]
    assert os.listdir(study.layout.offers("c0")) == [f"000000-{second}.json"]


# ------------------------------------------------------------------ who may wait


def without_waiting(study: Any, text: str = LOOP, **manifest: Any) -> dict[str, Any]:
    """Run a slot that would wait for very long, with two trials; return the end of the first."""
    study.program(text, **{"linger_seconds": 60, **manifest})
    first, other = study.offer(end=2), study.offer(trial=1, end=2)
    slot = study.start_slot()
    study.wait_for(other, "end")
    fs.publish_file(study.layout.finished, b"")
    slot.communicate(timeout=15)
    end: dict[str, Any] = study.end(first)
    return end


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(LOOP.replace("    with trial.save()", "    if epoch < 2:\n     with trial.save()")
                     .replace("        (folder", "         (folder"), id="not-saved"),
        pytest.param(LOOP.replace("steps()", "steps(stay=False)"), id="stay-false"),
        pytest.param(LOOP.replace("import os,", "import os; os.environ['RANK'] = '0'\nimport os,"),
                     id="ranks"),
        pytest.param(LOOP.replace("import os,", "import os; os.environ['WORLD_SIZE'] = '2'\nimport os,"),
                     id="world-size"),
    ],
)  # fmt: skip
def test_who_may_not_wait_leaves(study: Any, text: str) -> None:
    end = without_waiting(study, text)

    assert (end["outcome"], end["exit_code"]) == ("SUCCEEDED", 0)
    assert "holds" not in end


@pytest.mark.parametrize(
    "manifest",
    [{"resume": False}, {"top": 2}, {"parse": {"other": "other=(.*)"}}],
    ids=lambda manifest: next(iter(manifest)),
)
def test_nobody_waits_where_nothing_can_follow(study: Any, manifest: dict[str, Any]) -> None:
    assert "holds" not in without_waiting(study, **manifest)


@pytest.mark.parametrize("manifest", [{"linger_seconds": 0}, {"reuse": False}])
def test_nobody_waits_without_patience(study: Any, manifest: dict[str, Any]) -> None:
    study.program(LOOP, **{"linger_seconds": 60, **manifest})
    first = study.offer(end=2)

    study.run_slot()

    assert study.end(first)["exit_code"] == 0


def test_who_asks_without_having_saved_is_told_to_leave(study: Any) -> None:
    text = LOOP.replace("    with trial.save()", "    trial._saved.append(f'{epoch}.{trial.attempt}')\n"
                        "    if False:\n     with trial.save()").replace("        (folder", "         (folder")  # fmt: skip

    end = without_waiting(study, text)

    assert (end["outcome"], end["exit_code"]) == ("SUCCEEDED", 0)


def test_a_stopped_attempt_is_not_held(study: Any) -> None:
    text = LOOP.replace("    print", "    time.sleep(0.2)\n    print").replace("os,", "os, time,")
    study.program(text, linger_seconds=60)
    first = study.offer(end=1000)
    slot = study.start_slot()
    study.wait_for(first, "report")

    fs.publish_file(study.layout.stop_file(first), b"stop\n")
    study.wait_for(first, "end")
    leave(study, slot)

    assert study.end(first)["outcome"] == "CANCELLED"


# ------------------------------------------------------------------ offers of other slots


def test_an_offer_is_left_to_its_holder_for_a_while(study: Any) -> None:
    study.program(LOOP, linger_seconds=0, holder_seconds=1.5)
    mine = study.offer(trial=1, end=1)
    theirs = study.offer(end=1, holder=OTHER)

    study.run_slot()

    assert loads(study) == [mine, theirs]
    waited = study.events(theirs)[0]["time"] - study.events(mine)[0]["time"]
    assert waited > 1.0


def test_who_holds_nothing_takes_its_own_offer_at_once(study: Any) -> None:
    study.program(LOOP, linger_seconds=0)
    attempt = study.offer(end=1, holder=ME)

    started = time.monotonic()
    study.run_slot()

    assert study.end(attempt)["outcome"] == "SUCCEEDED"
    assert time.monotonic() - started < 4


def test_a_test_leaves_the_time_that_what_was_claimed_needs(tmp_path: Path) -> None:
    read, write = os.pipe()
    program = Program(
        ["sleep", "60"], environment={}, folder=str(tmp_path), output=write, capture=False
    )
    process = Process(program, (), write, "")
    one = waiting()._replace(process=process, more=str(tmp_path / "more"), seconds=60.0)
    began = time.monotonic()

    with SignalInbox() as inbox:
        end = release(one, inbox, grace_seconds=0.1, deadline=began + 30, needed_seconds=29.5)
    os.close(read)

    assert end.signal == signal.SIGTERM
    assert time.monotonic() - began < 15


def test_what_was_claimed_while_a_program_waited_needs_its_time(
    study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.publish(time_limit_seconds=1000)
    told: list[float] = []
    monkeypatch.setattr(
        "slurmtune.worker.slot.release",
        lambda *_, needed_seconds, **__: told.append(needed_seconds),
    )
    slot = Slot(
        study.layout,
        study.manifest,
        SlotIdentity(TOKEN, 0, 0, "1", "here", 1),
        started=time.monotonic(),
        inbox=SignalInbox(),
    )
    other = task(attempt="t00008.r0.a1", trial=8, rung=0)

    monkeypatch.setattr(slot, "_task_while_held", lambda held: other)
    slot._hold(waiting())
    slot._durations[0] = [300.0]
    slot._hold(waiting())
    monkeypatch.setattr(slot, "_task_while_held", lambda held: None)
    slot._hold(waiting())

    assert told == [60.0, 300.0, 0.0]


# ------------------------------------------------------------------ what a program that waits can do


def waiting() -> Held:
    process = Process(program=None, argv=(), output=-1, output_path="")  # type: ignore[arg-type]
    return Held(
        process=process,
        attempt="t00007.r0.a1",
        end=3,
        checkpoint="3.t00007.r0.a1",
        more="",
        unit_seconds=2.0,
    )


def task(**changes: Any) -> Task:
    fields: dict[str, Any] = {
        "attempt": "t00007.r1.a1", "trial": 7, "rung": 1, "config": {}, "start": 3, "end": 9,
        "checkpoint": "3.t00007.r0.a1", "seed": 0, "nonce": "",
    }  # fmt: skip
    return Task(**{**fields, **changes})


def test_what_starts_from_what_it_has_can_go_on() -> None:
    assert waiting().can_go_on(task())


@pytest.mark.parametrize(
    "changes",
    [
        {"trial": 8},
        {"start": 0},
        {"end": None},
        {"end": 3},
        {"checkpoint": None},
        {"checkpoint": "3.t00007.r0.a2"},
    ],
)
def test_what_starts_from_something_else_cannot_go_on(changes: Any) -> None:
    assert not waiting().can_go_on(task(**changes))


def test_what_is_offered_while_a_slot_looks_is_not_passed_by(
    study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver offers more, and says so, after the slot listed the offers."""
    first, second = "t00000.r0.a1", "t00000.r1.a1"
    study.offer(trial=1)

    slot = Slot(
        study.layout,
        study.manifest,
        SlotIdentity(TOKEN, 0, 0, "1", "here", 1),
        started=time.monotonic(),
        inbox=SignalInbox(),
    )
    listed = fs.list_dir

    def answer_after_listing(path: str) -> list[str]:
        names = listed(path)
        if path == study.layout.offers("c0") and not os.path.exists(study.layout.settled):
            study.offer(rung=1, start=3, end=9, checkpoint=f"3.{first}", holder=ME)
            settle(study, first)
        return names

    monkeypatch.setattr(fs, "list_dir", answer_after_listing)
    held_one = waiting()._replace(attempt=first, checkpoint=f"3.{first}")
    found = slot._claim_next(time.monotonic(), held_one)

    assert found.task is not None
    assert found.task.attempt == second


def test_time_is_measured_by_the_unit() -> None:
    assert waiting().seconds_for(task()) == 12.0


def test_going_on_is_quick(study: Any) -> None:
    """From the offer to the first report there are no imports, no start, and nothing to load."""
    slot, _ = held(study)
    second = next_offer(study, 1, 2)
    offered = time.time()
    study.wait_for(second, "end")
    leave(study, slot)

    start = event_log.read(study.layout.events(second))[0]
    assert start["time"] - offered < 2.0


def test_the_log_of_the_slot_tells_of_the_release(study: Any) -> None:
    slot, first = held(study)
    second = next_offer(study, 1, 2)
    study.wait_for(second, "end")
    leave(study, slot)

    records = frame.parse(Path(study.layout.slot_log(TOKEN, 0, 0)).read_bytes()).records
    assert [(record["k"], record.get("attempt", "")) for record in records] == [
        ("slot_start", ""),
        ("claim", first),
        ("attempt_end", first),
        ("claim", second),
        ("attempt_end", second),
        ("release", second),
        ("slot_exit", ""),
    ]

"""Slots as real processes, on a study's directory made by hand."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from slurmtune.store import frame, fs
from slurmtune.store.lib import publish_library

pytestmark = pytest.mark.slow

REPORT_ONCE = """
import slurmtune
trial = slurmtune.trial()
trial.report(trial.end, val_loss=trial.params["lr"])
"""

LOOP = """
import json
import slurmtune
trial = slurmtune.trial()
losses = json.loads((trial.checkpoint / "state.json").read_text()) if trial.resumed else []
for epoch in trial.steps():
    losses.append(epoch)
    trial.report(val_loss=1 / epoch)
    with trial.save() as folder:
        (folder / "state.json").write_text(json.dumps(losses))
"""

ENDLESS = """
import time
import slurmtune
trial = slurmtune.trial(epoch=1000000)
for epoch in trial.steps():
    time.sleep(0.05)
    trial.report(val_loss=1 / epoch)
    with trial.save() as folder:
        (folder / "state").write_text(str(epoch))
"""


def test_two_slots_run_each_of_ten_offers_once(study: Any) -> None:
    study.program(
        "import os\n"
        "with open('ran', 'a') as f: f.write(os.environ['SLURMTUNE_ATTEMPT'] + '\\n')\n"
        "with open(os.environ['SLURMTUNE_METRICS'], 'a') as f: f.write('{\"val_loss\": 1}\\n')\n"
    )
    attempts = [study.offer(trial) for trial in range(10)]

    slots = [study.start_slot(0), study.start_slot(1)]
    for slot in slots:
        output, _ = slot.communicate(timeout=30)
        assert slot.returncode == 0, output

    assert sorted((study.workdir / "ran").read_text().split()) == attempts
    assert {study.end(attempt)["outcome"] for attempt in attempts} == {"SUCCEEDED"}
    assert os.listdir(study.layout.offers("c0")) == []
    assert sorted(os.listdir(study.layout.claims)) == attempts


def test_event_log_of_a_good_attempt(study: Any) -> None:
    study.program(LOOP)
    attempt = study.offer(config={"lr": 0.5})

    study.run_slot(2)

    events = study.events(attempt)
    assert [event["n"] for event in events] == list(range(len(events)))
    assert events[0]["k"] == "start"
    assert (events[0]["index"], events[0]["restart"], events[0]["start"]) == (2, 0, 0)
    assert study.reports(attempt) == [
        (1, {"val_loss": 1.0}),
        (2, {"val_loss": 0.5}),
        (3, {"val_loss": 1 / 3}),
    ]
    assert study.checkpoints(attempt) == [f"{epoch}.{attempt}" for epoch in (1, 2, 3)]
    assert (events[-1]["outcome"], events[-1]["exit_code"], events[-1]["signal"]) == (
        "SUCCEEDED",
        0,
        None,
    )


def test_last_two_checkpoints_are_kept(study: Any) -> None:
    study.program(LOOP)
    attempt = study.offer()

    study.run_slot()

    assert sorted(os.listdir(study.layout.checkpoints(0))) == [f"2.{attempt}", f"3.{attempt}"]


def test_attempt_goes_on_from_its_checkpoint(study: Any) -> None:
    study.program(LOOP)
    name = study.checkpoint(0, 0, 3, **{"state.json": "[1, 2, 3]"})
    attempt = study.offer(rung=1, start=3, end=5, checkpoint=name)

    study.run_slot()

    assert study.events(attempt)[0]["start"] == 3
    assert study.events(attempt)[0]["checkpoint"] == name
    assert [resource for resource, _ in study.reports(attempt)] == [4, 5]
    state = Path(study.layout.checkpoint(0, f"5.{attempt}")) / "state.json"
    assert json.loads(state.read_text()) == [1, 2, 3, 4, 5]


def test_damaged_checkpoint_is_not_loaded(study: Any) -> None:
    study.program(LOOP)
    name = study.checkpoint(0, 0, 3, **{"state.json": "[1, 2, 3]"})
    (Path(study.layout.checkpoint(0, name)) / "state.json").write_text("[9, 9, 9]")
    attempt = study.offer(rung=1, start=3, end=5, checkpoint=name)

    study.run_slot()

    start = study.events(attempt)[0]
    assert (start["start"], start["checkpoint"]) == (0, None)
    assert "damaged" in start["note"]
    assert [resource for resource, _ in study.reports(attempt)] == [1, 2, 3, 4, 5]


def test_sigterm_saves_and_leaves_with_85(study: Any) -> None:
    study.program(ENDLESS)
    attempt = study.offer(end=1000000)
    slot = study.start_slot()
    study.wait_for(attempt, "checkpoint")

    slot.send_signal(signal.SIGTERM)
    slot.communicate(timeout=10)

    assert slot.returncode == 85
    assert (study.end(attempt)["outcome"], study.end(attempt)["exit_code"]) == ("PREEMPTED", 0)
    last = study.checkpoints(attempt)[-1]
    assert (Path(study.layout.checkpoint(0, last)) / "state").read_text() == last.partition(".")[0]
    assert last.partition(".")[0] == str(study.reports(attempt)[-1][0])


def test_program_that_does_not_leave_is_killed(study: Any) -> None:
    study.program(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "import slurmtune\nopen(__import__('os').environ['SLURMTUNE_METRICS'], 'a').write('{\"val_loss\": 1}\\n')\ntime.sleep(60)\n",
        kill_wait_seconds=1,
    )
    attempt = study.offer(end=9)
    slot = study.start_slot()
    study.wait_for(attempt, "report")

    slot.send_signal(signal.SIGUSR1)
    slot.communicate(timeout=10)

    assert (study.end(attempt)["outcome"], study.end(attempt)["signal"]) == (
        "PREEMPTED",
        signal.SIGKILL,
    )


def test_interruption_near_the_deadline_is_a_timeout(study: Any) -> None:
    study.program(ENDLESS, time_limit_seconds=40)
    attempt = study.offer(end=1000000)
    slot = study.start_slot()
    study.wait_for(attempt, "report")
    slot.send_signal(signal.SIGCONT)
    slot.send_signal(signal.SIGTERM)
    slot.communicate(timeout=10)

    # 40 s of limit, less a quarter: the deadline is 30 s away, and "near" are 20 s.
    assert study.end(attempt)["outcome"] == "PREEMPTED"

    study.publish(time_limit_seconds=4)
    late = study.offer(trial=1, end=1000000)
    study.run_slot(expect=0)
    assert study.end(late)["outcome"] == "TIMEOUT"


def test_stop_file_cancels_the_attempt_and_the_slot_goes_on(study: Any) -> None:
    study.program(ENDLESS)
    attempt = study.offer(end=1000000)
    after = study.offer(trial=1, end=2)
    slot = study.start_slot()
    study.wait_for(attempt, "report")

    fs.publish_file(study.layout.stop_file(attempt), b"{}")
    slot.communicate(timeout=15)

    assert slot.returncode == 0
    assert study.end(attempt)["outcome"] == "CANCELLED"
    assert study.end(after)["outcome"] == "SUCCEEDED"


def test_unmodified_script_is_read_from_its_output(study: Any) -> None:
    study.program(
        "import sys\n"
        "for e in (1, 2):\n    print(f'epoch {e}')\n    print(f'train acc=0.1 val_loss={1 / e:.2f}')\n"
        "print('done', file=sys.stderr)\n",
        parse={"val_loss": r"val_loss=([0-9.e+-]+)", "epoch": r"epoch (\d+)"},
    )
    attempt = study.offer(end=2)

    study.run_slot()

    assert study.reports(attempt) == [(1, {"val_loss": 1.0}), (2, {"val_loss": 0.5})]
    assert study.end(attempt)["outcome"] == "SUCCEEDED"
    assert "train acc=0.1 val_loss=0.50" in study.output(attempt)
    assert "done" in study.output(attempt)


def test_expression_that_matches_nothing_is_named(study: Any) -> None:
    study.program("print('loss 3')", parse={"val_loss": "val_loss=(.*)"})
    attempt = study.offer()

    study.run_slot()

    assert study.end(attempt)["outcome"] == "FAILED"
    assert study.end(attempt)["cause"] == (
        "ended well but reported no 'val_loss'; it reported: nothing; "
        "no line of its output matches 'val_loss=(.*)'"
    )
    assert study.end(attempt)["tail"] == ["loss 3"]


def test_bash_script_sources_its_values(study: Any) -> None:
    (study.workdir / "train.sh").write_text(
        'source "$SLURMTUNE_SH"\n'
        "for ((e = SLURMTUNE_START + 1; e <= SLURMTUNE_END; e++)); do\n"
        '  echo "$e $lr $opt" > "$SLURMTUNE_SAVE/state"\n'
        '  echo "{\\"epoch\\": $e, \\"val_loss\\": $lr}" >> "$SLURMTUNE_METRICS"\n'
        "done\n"
    )
    study.publish(command=["bash", "train.sh"])
    attempt = study.offer(config={"lr": 0.25, "opt": "a 'b' $(touch PWNED)"}, end=2)

    study.run_slot()

    assert study.reports(attempt) == [(1, {"val_loss": 0.25}), (2, {"val_loss": 0.25})]
    assert study.checkpoints(attempt) == [f"2.{attempt}"]
    saved = Path(study.layout.checkpoint(0, f"2.{attempt}")) / "state"
    assert saved.read_text() == "2 0.25 a 'b' $(touch PWNED)\n"
    assert not (study.workdir / "PWNED").exists()


def test_saved_folder_with_done_survives_an_interruption(study: Any) -> None:
    (study.workdir / "train.sh").write_text(
        'echo half > "$SLURMTUNE_SAVE/state"; touch "$SLURMTUNE_SAVE/done"\n'
        'echo "{\\"epoch\\": 1, \\"val_loss\\": 1}" >> "$SLURMTUNE_METRICS"\n'
        "sleep 60\n"
    )
    study.publish(command=["bash", "train.sh"])
    attempt = study.offer()
    slot = study.start_slot()
    study.wait_for(attempt, "report")

    slot.send_signal(signal.SIGUSR2)
    slot.communicate(timeout=10)

    assert study.checkpoints(attempt) == [f"1.{attempt}"]
    assert study.end(attempt)["outcome"] == "PREEMPTED"


def test_saved_folder_without_done_is_dropped_after_an_interruption(study: Any) -> None:
    (study.workdir / "train.sh").write_text(
        'echo half > "$SLURMTUNE_SAVE/state"\n'
        'echo "{\\"epoch\\": 1, \\"val_loss\\": 1}" >> "$SLURMTUNE_METRICS"\n'
        "sleep 60\n"
    )
    study.publish(command=["bash", "train.sh"])
    attempt = study.offer()
    slot = study.start_slot()
    study.wait_for(attempt, "report")

    slot.send_signal(signal.SIGTERM)
    slot.communicate(timeout=10)

    assert study.checkpoints(attempt) == []
    assert os.listdir(study.layout.checkpoints(0)) == []


def test_strict_argument_parser_gets_gnu_options(study: Any) -> None:
    study.program(
        "import argparse, json, os\n"
        "p = argparse.ArgumentParser()\n"
        "p.add_argument('--lr', type=float)\np.add_argument('--opt')\np.add_argument('--nesterov')\n"
        "a = p.parse_args()\n"
        "assert (a.opt, a.nesterov) == ('-rf', 'true'), a\n"
        "open(os.environ['SLURMTUNE_METRICS'], 'a').write(json.dumps({'val_loss': a.lr}) + '\\n')\n",
        args="gnu",
    )
    attempt = study.offer(config={"lr": -1e-05, "opt": "-rf", "nesterov": True})

    study.run_slot()

    assert study.reports(attempt) == [(1, {"val_loss": -1e-05})]


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("hydra", ["opt.lr=0.5", "name='a b'"]),
        ("json", ["CONFIG"]),
        ({"template": "--lr {opt.lr} {end}"}, ["--lr", "0.5", "3"]),
    ],
)
def test_styles_of_arguments(study: Any, style: Any, expected: Any) -> None:
    study.program(
        "import json, os, sys\n"
        "print(json.dumps([a.replace(os.environ['SLURMTUNE_CONFIG'], 'CONFIG') for a in sys.argv[1:]]))\n",
        args=style,
        objectives=[],
    )
    attempt = study.offer(config={"opt.lr": 0.5, "name": "a b"})

    study.run_slot()

    assert json.loads(study.output(attempt)) == expected
    assert study.end(attempt)["outcome"] == "SUCCEEDED"


def test_shell_text_runs_in_a_shell(study: Any) -> None:
    study.publish(
        command=['echo "{opt}" | cat > out && echo "val_loss=1"'],
        shell=True,
        parse={"val_loss": "val_loss=(.*)"},
    )
    attempt = study.offer(config={"opt": "$(touch PWNED)"})

    study.run_slot()

    assert (study.workdir / "out").read_text() == "$(touch PWNED)\n"
    assert study.end(attempt)["outcome"] == "SUCCEEDED"


def test_shell_reports_by_command(study: Any) -> None:
    study.publish(
        command=[f"{sys.executable} -m slurmtune.worker.report val_loss=0.5 --step 2"], shell=True
    )
    attempt = study.offer()

    study.run_slot()

    assert study.reports(attempt) == [(2, {"val_loss": 0.5})]


def test_toy_of_init_resumes_as_if_it_had_never_stopped(study: Any) -> None:
    template = Path(study.manifest["lib"]) / "templates" / "train.py"
    study.program(template.read_text())
    config = {"lr": 0.003, "dropout": 0.2}
    whole = study.offer(0, config=config, end=4)
    first = study.offer(1, config=config, end=2)
    study.run_slot()
    second = study.offer(
        1, 1, config=config, start=2, end=4, checkpoint=study.checkpoints(first)[-1]
    )
    study.run_slot()

    assert study.reports(second) == study.reports(whole)[2:]
    assert study.end(second)["outcome"] == "SUCCEEDED"


def test_offer_that_cannot_be_read_is_told_once(study: Any) -> None:
    study.publish(linger_seconds=0.5)
    fs.publish_file(study.layout.offer("c0", 0, "t00000.r0.a1"), b"nonsense")

    output = study.run_slot()

    assert output.count("000000-t00000.r0.a1.json") == 1
    assert os.listdir(study.layout.claims) == []


def test_slot_begins_nothing_when_the_usual_time_is_longer_than_what_is_left(study: Any) -> None:
    study.program(
        "import time, slurmtune\ntime.sleep(2)\nslurmtune.trial().report(3, val_loss=1)\n",
        time_limit_seconds=5,
    )
    first, second = study.offer(0), study.offer(1)

    output = study.run_slot()

    assert study.end(first)["outcome"] == "SUCCEEDED"
    assert "time left" in output
    assert os.listdir(study.layout.claims) == [first]
    assert [second in name for name in os.listdir(study.layout.offers("c0"))] == [True]


def test_wrong_command_line_tells_the_right_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slurmtune.worker"],
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m slurmtune.worker STUDY_DIR")


def test_unknown_argument_is_explained(study: Any) -> None:
    study.program("import argparse\nargparse.ArgumentParser().parse_args()\n", args="gnu")
    attempt = study.offer()

    study.run_slot()

    end = study.end(attempt)
    assert (end["outcome"], end["exit_code"]) == ("FAILED", 2)
    assert (
        end["cause"]
        == "the program does not know its arguments (unrecognized arguments: --lr=0.1): see run.args"
    )


def test_function_gets_values_by_name_and_its_number_is_reported(study: Any) -> None:
    (study.workdir / "mine.py").write_text(
        "def main(lr, trial, unused=3):\n    print('seed', trial.seed)\n    return lr * 2\n"
    )
    study.publish(function="mine:main", command=[])
    attempt = study.offer(config={"lr": 0.25}, end=9)

    study.run_slot()

    assert study.reports(attempt) == [(9, {"val_loss": 0.5})]
    assert "seed 7" in study.output(attempt)


def test_function_with_an_unknown_parameter_fails_without_a_traceback(study: Any) -> None:
    (study.workdir / "mine.py").write_text("def main(momentum): return 1\n")
    study.publish(function="mine:main", command=[])
    attempt = study.offer()

    study.run_slot()

    assert study.output(attempt) == (
        "error: mine:main wants 'momentum', which is no hyperparameter; known: lr\n"
    )


def test_missing_command_is_named(study: Any) -> None:
    study.publish(command=["no-such-program"])
    attempt = study.offer()

    study.run_slot()

    assert [event["k"] for event in study.events(attempt)] == ["start", "end"]
    assert study.end(attempt)["cause"] == "command not found: no-such-program"


def test_value_that_no_program_can_get_fails_the_attempt(study: Any) -> None:
    study.publish(command=["true"], args="gnu")
    attempt = study.offer(config={"x": "a\0b"})

    study.run_slot()

    assert study.end(attempt)["outcome"] == "FAILED"
    assert "null byte" in study.end(attempt)["cause"]


def test_trial_that_gives_up_is_failed_with_its_own_words(study: Any) -> None:
    study.program("import slurmtune\nslurmtune.trial().fail('model too large')")
    attempt = study.offer()

    study.run_slot()

    end = study.end(attempt)
    assert (end["outcome"], end["exit_code"], end["cause"]) == ("FAILED", 0, "model too large")


def test_slot_lingers_for_an_offer(study: Any) -> None:
    study.program(REPORT_ONCE, linger_seconds=5)
    slot = study.start_slot()
    time.sleep(0.5)
    attempt = study.offer()
    study.wait_for(attempt, "end")

    fs.publish_file(study.layout.finished, b"{}")
    output, _ = slot.communicate(timeout=5)

    assert slot.returncode == 0
    assert "the study is finished" in output


def test_idle_slot_makes_room_for_another_class(study: Any) -> None:
    study.program(REPORT_ONCE, linger_seconds=60)
    mine, other = study.manifest["class"], "c9"
    fs.publish_file(study.layout.idle_file(other), b"")
    slot = study.start_slot()
    attempt = study.offer()
    study.wait_for(attempt, "end")

    fs.publish_file(study.layout.idle_file(mine), b"")
    output, _ = slot.communicate(timeout=10)

    assert slot.returncode == 0
    assert "other work needs the room" in output


def test_slot_without_work_leaves_after_lingering(study: Any) -> None:
    study.publish(linger_seconds=0.3)

    started = time.monotonic()
    output = study.run_slot()

    assert "nothing on offer for 0.3 s" in output
    assert 0.3 < time.monotonic() - started < 3


def test_slot_without_reuse_serves_one_attempt(study: Any) -> None:
    study.program(REPORT_ONCE, reuse=False)
    study.offer(0)
    study.offer(1)

    study.run_slot()

    assert os.listdir(study.layout.claims) == ["t00000.r0.a1"]


def test_changed_manifest_runs_nothing(study: Any) -> None:
    study.program(REPORT_ONCE)
    study.offer()
    path = Path(study.layout.manifest("st-0123abcd-1-1"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    output = study.run_slot(expect=78)

    assert "nothing was run" in output
    assert os.listdir(study.layout.claims) == []


def test_offer_that_is_claimed_by_another_is_removed_and_not_run(study: Any) -> None:
    study.program(REPORT_ONCE)
    attempt = study.offer()
    assert fs.publish_once(study.layout.claim(attempt), b'{"token":"driver"}')

    study.run_slot()

    assert os.listdir(study.layout.offers("c0")) == []
    assert not os.path.exists(study.layout.attempt(attempt))


def test_idle_slot_leaves_at_a_signal(study: Any) -> None:
    study.publish(linger_seconds=30)
    slot = study.start_slot()
    log = Path(study.layout.slot_log("st-0123abcd-1-1", 0, 0))
    while not log.exists():
        time.sleep(0.01)

    slot.send_signal(signal.SIGUSR1)
    slot.communicate(timeout=5)

    assert slot.returncode == 0


def test_incarnations_have_logs_of_their_own(study: Any) -> None:
    study.program(REPORT_ONCE)
    attempt = study.offer()
    study.run_slot(3, SLURM_RESTART_COUNT="2", SLURM_ARRAY_JOB_ID="47", SLURM_ARRAY_TASK_ID="3")
    study.run_slot(3, SLURM_RESTART_COUNT="2")

    logs = sorted(
        name for name in os.listdir(study.layout.array("st-0123abcd-1-1")) if name.endswith(".log")
    )
    assert len(logs) == 2
    assert "3.2.log" in logs
    kinds = [
        record["k"]
        for record in frame.parse(
            Path(study.layout.array("st-0123abcd-1-1"), "3.2.log").read_bytes()
        ).records
    ]
    assert kinds == ["slot_start", "claim", "attempt_end", "slot_exit"]
    assert study.events(attempt)[0]["job"] == "47_3"
    assert study.events(attempt)[0]["restart"] == 2


def test_processes_left_behind_are_ended(study: Any) -> None:
    study.program(
        "import subprocess, slurmtune\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "print(child.pid)\n"
        "slurmtune.trial().report(3, val_loss=1)\n"
    )
    attempt = study.offer()

    study.run_slot()

    child = int(study.output(attempt))
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _runs(child):
        time.sleep(0.02)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_templates_are_written_for_the_trial(study: Any) -> None:
    (study.workdir / "trial.yaml.in").write_text("lr: {lr}\nend: {end}\nkeep: {this}\n")
    (study.workdir / "train.sh").write_text(
        'cat "$SLURMTUNE_FILES/conf/trial.yaml"; echo "{\\"val_loss\\": 1}" >> "$SLURMTUNE_METRICS"\n'
    )
    study.publish(
        command=["bash", "train.sh"],
        files={"conf/trial.yaml": str(study.workdir / "trial.yaml.in")},
    )
    attempt = study.offer()

    study.run_slot()

    assert study.output(attempt).startswith("lr: 0.1\nend: 3\nkeep: {this}\n")


def test_gap_between_programs_is_short(study: Any) -> None:
    study.publish(command=["true"], objectives=[])
    attempts = [study.offer(trial) for trial in range(10)]

    study.run_slot()

    times = [(events[0]["time"], events[-1]["time"]) for events in map(study.events, attempts)]
    gaps = sorted(later[0] - earlier[1] for earlier, later in pairwise(times))
    assert gaps[len(gaps) // 2] < 0.15


def test_python_3_8_runs_the_program_and_the_slot(study: Any, tmp_path: Any) -> None:
    found = sorted(Path.home().glob(".pyenv/versions/3.8*/bin/python"))
    if not found:
        pytest.skip("no Python 3.8 here")
    study.program(LOOP)
    study.publish(command=[str(found[0]), "train.py"])
    attempt = study.offer()
    done = subprocess.run(
        [
            found[0],
            "-W",
            "error",
            "-m",
            "slurmtune.worker",
            study.layout.root,
            "st-0123abcd-1-1",
            study.sha256,
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": study.manifest["lib"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert study.end(attempt)["outcome"] == "SUCCEEDED"


@pytest.mark.parametrize("package", ["worker", "store"])
def test_modules_of_the_job_are_python_3_8(package: Any) -> None:
    folder = Path(__file__).resolve().parents[2] / "slurmtune" / package
    for path in sorted(folder.glob("*.py")):
        if path.name in ("lease.py", "journal.py", "codec.py"):
            continue  # the driver's
        assert ast.parse(path.read_text(), str(path), feature_version=(3, 8)).body


def test_function_runs_from_the_library_of_the_study(study: Any) -> None:
    (study.workdir / "mine.py").write_text(
        "import slurmtune\ndef main(lr):\n    print(slurmtune.__file__)\n    return lr\n"
    )
    library = Path(publish_library(study.layout))
    found = sorted(Path.home().glob(".pyenv/versions/3.8*/bin/python"))
    study.publish(
        function="mine:main",
        command=[],
        python=str(found[0]) if found else sys.executable,
        lib=str(library),
        vars={"PYTHONPATH": ""},
    )
    attempt = study.offer()

    study.run_slot()

    assert study.output(attempt) == f"{library}/slurmtune/__init__.py\n"
    assert study.reports(attempt) == [(3, {"val_loss": 0.1})]


def test_import_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import slurmtune; print(time.perf_counter() - t)"
    seconds = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(5)
    ]

    assert min(seconds) < 0.1

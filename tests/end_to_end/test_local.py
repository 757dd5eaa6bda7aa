"""Whole studies on local processes: real drivers, real programs, real signals.

What the program did is read from the files that it wrote itself.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurmtune.core.trial import Outcome, TrialState
from slurmtune.spec import build
from slurmtune.spec.load import load_spec
from slurmtune.testing.live_study import LiveStudy
from slurmtune.testing.study_rig import StudyRig

pytestmark = pytest.mark.slow

MakeStudy = Callable[..., LiveStudy]

RUN = """
[run]
command = ["sh", "train.sh"]
args = "none"
[objective]
metric = "loss"
goal = "minimize"
"""
SPACE = """
[space]
q = { int = [1, 1000000] }
"""
LADDER = """
[fidelity]
resource = "epoch"
max = 9
"""
ASHA = f"{RUN}{SPACE}{LADDER}[search]\nscheduler = 'asha'\ntrials = 9\nparallel = 4\n"
# Successive halving promotes the same trials whatever the order of results: what is left after an interruption can be
# compared with what a study gives that nobody disturbed.
HALVING = f"{RUN}{SPACE}{LADDER}[search]\nscheduler = 'sha'\ntrials = 9\nparallel = 4\n"
# Without a fidelity there is no resource to train up to.
ONE_SHOT = """\
. "$SLURMTUNE_SH"
echo "$SLURMTUNE_ATTEMPT - - -" >> "$STARTS"
echo "{\\"loss\\": $q}" >> "$SLURMTUNE_METRICS"
"""


def single_spec(trials: int = 4) -> str:
    """A spec without rungs."""
    return f"{RUN}{SPACE}[search]\nsampler = 'sobol'\ntrials = {trials}\nparallel = 4\n"


def single(make_study: MakeStudy, program: str = ONE_SHOT, *, trials: int = 4) -> LiveStudy:
    """A study of that spec."""
    return make_study(single_spec(trials), programs={"train.sh": program})


def attempts_of(live: LiveStudy) -> Counter[str]:
    return Counter(start.attempt for start in live.starts)


# ---------------------------------------------------------------- a study that nobody disturbs


def test_promoted_trials_go_on_from_what_they_saved(make_study: MakeStudy) -> None:
    live = make_study(ASHA)
    assert live.run("--local=2").code == 0
    loaded = {(start.attempt[7:9], start.start, start.loaded) for start in live.starts}
    assert loaded == {("r0", "0", "-"), ("r1", "1", "1"), ("r2", "3", "3")}


def test_a_study_without_resume_starts_every_rung_from_nothing(make_study: MakeStudy) -> None:
    live = make_study(ASHA.replace("max = 9", "max = 9\nresume = false"))
    assert live.run("--local=2").code == 0
    loaded = {(start.attempt[7:9], start.start, start.loaded) for start in live.starts}
    assert loaded == {("r0", "0", "-"), ("r1", "0", "-"), ("r2", "0", "-")}


def test_the_best_trial_is_that_with_the_least_loss(make_study: MakeStudy) -> None:
    live = make_study(HALVING)
    assert live.run("--local=2").code == 0
    best = live.overview()["best"]
    least = min(config["q"] for config, _, _ in live.results())
    assert (best["params"]["q"], best["values"]["loss"]) == (least, least // 9)


def test_every_trial_of_a_grid_runs_once(make_study: MakeStudy) -> None:
    spec = f"{RUN}[space]\nq = {{ range = [1, 7, 2] }}\n[search]\nsampler = 'grid'\n"
    live = make_study(spec, programs={"train.sh": ONE_SHOT})
    assert live.run("--local=2").code == 0
    assert sorted(config["q"] for config, _, _ in live.results()) == [1, 3, 5]
    assert not live.started_twice


def test_the_same_seed_gives_the_same_configs_under_every_hash_seed(
    make_study: MakeStudy,
) -> None:
    studies = [single(make_study) for _ in range(3)]
    drivers = [
        live.launch("--local=2", PYTHONHASHSEED=str(number)) for number, live in enumerate(studies)
    ]
    assert [driver.wait().code for driver in drivers] == [0, 0, 0]
    assert studies[0].proposals() == studies[1].proposals() == studies[2].proposals()


def test_the_simulator_proposes_the_same_configs(make_study: MakeStudy) -> None:
    live = make_study(ASHA.replace("asha", "sha"))
    assert live.run("--local=2").code == 0
    spec = load_spec(str(live.spec)).spec
    rig = StudyRig(
        trials=9,
        slots=2,
        levels=(1, 3, 9),
        sampler=build.build_sampler(spec, build.build_space(spec), 9),
        seed=spec.study.seed,
        program=_Quotient(),
    )
    assert rig.run() == "done"
    proposed = [(event["trial"], event["config"]) for event in rig.recorded("ConfigProposed")]
    assert proposed == live.proposals()


class _Quotient:
    """What `live_study.PROGRAM` computes, for the simulator."""

    def startup_seconds(self, config: Any) -> float:
        return 1.0

    def seconds_per_unit(self, config: Any) -> float:
        return 60.0

    def metrics(self, config: Any, resource: Any, seed: int) -> dict[str, float]:
        return {"val_loss": config["q"] / resource}


# ---------------------------------------------------------------- drivers that die

UNDISTURBED: dict[str, Any] = {}
"""What the study gives when nobody disturbs it; run once."""


@pytest.fixture
def undisturbed(make_study: MakeStudy) -> Any:
    if not UNDISTURBED:
        live = make_study(HALVING)
        assert live.run("--local=2").code == 0
        UNDISTURBED["results"] = live.results()
        UNDISTURBED["attempts"] = attempts_of(live)
    return UNDISTURBED


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2, 0.5, 0.8, 1.1])
def test_a_study_survives_the_sudden_death_of_its_driver(
    make_study: MakeStudy, undisturbed: Any, seconds: float
) -> None:
    """No config is drawn twice, no attempt runs twice, no result is lost: the end is the same."""
    live = make_study(HALVING)
    driver = live.launch("--local=2")
    live.wait_until(live.has_begun, what="the study begins")
    time.sleep(seconds)
    assert driver.kill().code == -signal.SIGKILL
    assert live.run("--local=2").code == 0
    trials = [trial for trial, _ in live.proposals()]
    assert trials == list(range(9))
    assert attempts_of(live) == undisturbed["attempts"]
    assert live.results() == undisturbed["results"]


def test_a_study_survives_one_death_after_the_other(
    make_study: MakeStudy, undisturbed: Any
) -> None:
    live = make_study(HALVING)
    for seconds in (0.0, 0.1, 0.3, 0.2):
        driver = live.launch("--local=2")
        live.wait_until(live.has_begun, what="the study begins")
        time.sleep(0.4 + seconds)
        driver.kill()
    assert live.run("--local=2").code == 0
    assert attempts_of(live) == undisturbed["attempts"]
    assert live.results() == undisturbed["results"]


def test_what_runs_goes_on_while_there_is_no_driver(make_study: MakeStudy) -> None:
    live = single(make_study, f"sleep 0.5\n{ONE_SHOT}")
    driver = live.launch("--local=2")
    live.wait_until(live.has_claims, what="an offer is claimed")
    driver.kill()
    live.wait_until(lambda: len(live.starts) == 2, what="all offers are served")
    assert live.run("--local=2").code == 0
    assert len(live.starts) == 4
    assert len(live.overview()["failures"]) == 0


def test_a_second_driver_is_refused(make_study: MakeStudy) -> None:
    live = single(make_study, "sleep 30")
    first = live.launch("--local=2")
    live.wait_until(live.overview, what="the first driver looks at its study")
    second = live.run("--local=2")
    assert second.code == 5
    assert f"already driven by pid {first.process.pid}" in second.err
    assert first.process.poll() is None


def test_takeover_replaces_a_driver_that_is_alive(make_study: MakeStudy) -> None:
    live = single(make_study, f"sleep 1\n{ONE_SHOT}")
    first = live.launch("--local=2")
    live.wait_until(live.has_claims, what="an offer is claimed")
    assert live.run("--local=2", "--takeover", "--yes").code == 0
    assert first.wait().code == 5
    assert not live.started_twice
    assert len(live.starts) == 4


# ---------------------------------------------------------------- drivers that are told to leave


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_driver_leaves_at_a_signal_and_what_runs_goes_on(
    make_study: MakeStudy, number: signal.Signals, code: int
) -> None:
    live = single(make_study, f"sleep 0.7\n{ONE_SHOT}")
    driver = live.launch("--local=2")
    live.wait_until(live.has_claims, what="an offer is claimed")
    driver.signal(number)
    done = driver.wait()
    assert done.code == code
    assert "Stopped watching. 2 slots stay on this machine" in done.text
    assert "continue   slurmtune launch spec.toml --local=2" in done.text
    assert "cancel     slurmtune stop live" in done.text
    live.wait_until(lambda: len(live.starts) == 2, what="what was claimed runs")
    assert live.run("--local=2").code == 0
    assert set(live.outcomes().values()) == {Outcome.SUCCEEDED}
    assert len(live.starts) == 4


def test_a_second_signal_ends_what_runs(make_study: MakeStudy) -> None:
    live = single(make_study, f"{ONE_SHOT}\nsleep 30")
    driver = live.launch("--local=2")
    live.wait_until(lambda: len(live.starts) == 2, what="two programs run")
    driver.signal(signal.SIGINT)
    time.sleep(0.05)
    driver.signal(signal.SIGINT)
    done = driver.wait()
    assert done.code == 130
    assert "Cancelled 2 slots. Results and checkpoints stay." in done.text
    ends = [live.layout.events(start.attempt) for start in live.starts]
    live.wait_until(
        lambda: all(b'"k":"end"' in Path(path).read_bytes() for path in ends),
        what="the programs have ended",
        seconds=10,
    )


def test_stop_ends_a_study_and_launch_continues_it(make_study: MakeStudy) -> None:
    patient = f"[ -e go ] || sleep 30\n{ONE_SHOT}"
    live = single(make_study, patient)
    driver = live.launch("--local=2")
    live.wait_until(lambda: len(live.overview().get("rungs", ())), what="a first look")
    live.wait_until(live.has_claims, what="an offer is claimed")
    assert live.call("stop", "live", "--yes").code == 0
    done = driver.wait(20)
    assert live.study().finished == "stopped"
    assert TrialState.FAILED not in {trial.state for trial in live.study().trials}, done.text
    (live.folder / "go").touch()
    assert live.run("--local=2").code == 0
    assert [trial.state for trial in live.study().trials] == [TrialState.COMPLETED] * 4


# ---------------------------------------------------------------- programs that do not work


def test_a_program_that_never_reports_the_metric_pauses_the_study(make_study: MakeStudy) -> None:
    live = single(make_study, 'echo \'{"accuracy": 0.5}\' >> "$SLURMTUNE_METRICS"')
    done = live.run("--local=1")
    assert done.code == 1
    cause = "ended well but reported no 'loss'; it reported: accuracy"
    assert cause in " ".join(done.text.split())
    assert live.overview()["state"] == "paused"
    assert len([o for o in live.outcomes().values() if o is Outcome.FAILED]) == 1


def test_a_command_that_does_not_exist_pauses_the_study_after_three(
    make_study: MakeStudy,
) -> None:
    live = make_study(single_spec(9).replace('"sh", "train.sh"', '"no-such-program"'))
    done = live.run("--local=1")
    assert done.code == 1
    assert "command not found: no-such-program" in done.text
    failed = [name for name, outcome in live.outcomes().items() if outcome is Outcome.FAILED]
    assert len(failed) == 3


def test_a_study_of_which_everything_fails_ends_badly(make_study: MakeStudy) -> None:
    live = single(make_study, "echo 'RuntimeError: no luck' >&2; exit 1", trials=2)
    done = live.run("--local=2")
    assert done.code == 1
    assert "no luck" in done.text
    assert live.overview()["trials"]["good"] == 0


def test_the_failed_attempt_keeps_its_last_words(make_study: MakeStudy) -> None:
    live = single(make_study, "echo 'RuntimeError: no luck' >&2; exit 1", trials=2)
    live.run("--local=2")
    attempt = live.study().trials[0].attempts[0]
    assert (attempt.exit_code, attempt.cause) == (1, "RuntimeError: no luck")
    assert attempt.tail == ("RuntimeError: no luck",)


def test_a_loss_that_is_no_number_is_the_worst(make_study: MakeStudy) -> None:
    program = ONE_SHOT.replace('$q}\\"', "").replace(
        "$q", "$([ $q -gt 500000 ] && echo NaN || echo $q)"
    )
    live = single(make_study, program, trials=8)
    done = live.run("--local=2")
    assert done.code == 0
    states = {trial.state for trial in live.study().trials}
    assert states == {TrialState.COMPLETED}
    worst = [t for t in live.study().trials if int(t.config["q"]) > 500000]
    assert worst
    assert live.overview()["best"]["params"]["q"] <= 500000


def test_a_crash_is_repeated_as_often_as_the_spec_says(make_study: MakeStudy) -> None:
    flaky = f'if [ ! -e "once-$SLURMTUNE_TRIAL" ]; then touch "once-$SLURMTUNE_TRIAL"; exit 3; fi\n{ONE_SHOT}'
    live = make_study(single_spec(2) + "[retry]\ncrash = 1\n", programs={"train.sh": flaky})
    assert live.run("--local=1").code == 0
    assert list(live.outcomes().values()) == [Outcome.FAILED, Outcome.SUCCEEDED] * 2


# ---------------------------------------------------------------- programs as they are


ARGPARSE = """
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--layers", type=int, required=True)
parser.add_argument("--activation", choices=["relu", "tanh"], required=True)
parser.add_argument("--nesterov", action="store_true")
args = parser.parse_args()
print("some noise")
print(f"val_loss={args.lr * args.layers:.6f}")
"""


def test_an_argparse_script_is_tuned_as_it_is(make_study: MakeStudy) -> None:
    live = make_study(
        """
[run]
command = "python train.py"
parse = { val_loss = "val_loss=([0-9.]+)" }
[objective]
metric = "val_loss"
goal = "minimize"
[space]
lr = { loguniform = [1e-4, 1e-1] }
layers = { int = [1, 3] }
activation = { values = ["relu", "tanh"] }
[search]
trials = 4
""",
        programs={"train.py": ARGPARSE},
    )
    done = live.run("--local=2")
    assert done.code == 0, done.text
    for config, state, values in live.results():
        assert state == "COMPLETED"
        assert values[0] == pytest.approx(config["lr"] * config["layers"], abs=1e-6)


# ---------------------------------------------------------------- the second launch


def test_a_finished_study_is_not_run_again(make_study: MakeStudy) -> None:
    live = single(make_study)
    assert live.run("--local=2").code == 0
    assert live.run("--local=2").code == 0
    assert len(live.starts) == 4


def test_a_second_launch_may_ask_for_more_trials(make_study: MakeStudy) -> None:
    live = single(make_study)
    assert live.run("--local=2").code == 0
    first = live.proposals()
    live.write_spec(single_spec(6))
    assert live.run("--local=2", "--yes").code == 0
    assert live.proposals()[:4] == first
    assert len(live.starts) == 6


def test_a_changed_space_is_refused(make_study: MakeStudy) -> None:
    live = single(make_study)
    assert live.run("--local=2").code == 0
    live.write_spec(single_spec(4).replace("1000000", "2000000"))
    done = live.run("--local=2", "--yes")
    assert done.code == 2
    assert "space.q" in done.err
    assert "study.name" in done.err
    assert len(live.starts) == 4


def test_what_a_driver_publishes_tells_how_it_ended(make_study: MakeStudy) -> None:
    live = single(make_study)
    assert live.run("--local=2").code == 0
    overview = json.loads(Path(live.layout.status).read_text())
    assert (overview["state"], overview["driver"]["alive"]) == ("done", False)
    assert overview["trials"] == {
        "total": 4,
        "at_most": False,
        "expected": None,
        "started": 4,
        "finished": 4,
        "ended": 4,
        "good": 4,
        "failed": 0,
        "without_result": 0,
        "stopped": 0,
    }

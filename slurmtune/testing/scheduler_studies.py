"""A small study under each scheduler, the same on every backend, and what must hold at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slurmtune.core.trial import TrialState
from slurmtune.testing.live_study import LiveStudy

_RUN = """
[run]
command = ["sh", "train.sh"]
args = "none"
[objective]
metric = "loss"
goal = "minimize"
[space]
q = { int = [1, 1000000] }
noise = { uniform = [0.0, 1.0] }
[slurm]
time = "10:00"
cpus_per_task = 1
linger = "2s"
"""
_FRACTIONS = """\
. "$SLURMTUNE_SH"
echo "$SLURMTUNE_ATTEMPT $SLURMTUNE_START - -" >> "$STARTS"
echo "{\\"epoch\\": $SLURMTUNE_END, \\"loss\\": $noise}" >> "$SLURMTUNE_METRICS"
echo "$SLURMTUNE_END" > "$SLURMTUNE_SAVE/epoch"
"""
"""A program whose resource is a number with a fraction."""
_LADDER = """
[fidelity]
resource = "epoch"
min = 1
max = 4
eta = 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStudy:
    """One study."""

    search: str
    """Lines of ``[search]`` and of what lies below it."""
    fidelity: str = _LADDER
    programs: Mapping[str, str] = field(default_factory=dict)
    """In place of the usual program."""
    top: int = 2
    """Rung that some trial reaches: the last one; in a race the one of the first test."""

    @property
    def spec(self) -> str:
        """The spec without ``[study]``."""
        return f"{_RUN}{self.fidelity}[search]\nparallel = 3\n{self.search}"


STUDIES: Mapping[str, SchedulerStudy] = {
    "none": SchedulerStudy(search='scheduler = "none"\ntrials = 3\n', top=0),
    "sha": SchedulerStudy(search='scheduler = "sha"\ntrials = 8\n'),
    "asha": SchedulerStudy(search='scheduler = "asha"\ntrials = 8\n'),
    "asha-stopping": SchedulerStudy(
        search='scheduler = "asha"\nvariant = "stopping"\ntrials = 8\n'
    ),
    "asha-rungs": SchedulerStudy(
        search='scheduler = "asha"\ntrials = 8\n',
        fidelity='[fidelity]\nresource = "epoch"\nrungs = [1, 3, 4]\neta = 2\nresume = false\n',
    ),
    "asha-fractions": SchedulerStudy(
        search='scheduler = "asha"\ntrials = 8\n',
        fidelity='[fidelity]\nresource = "epoch"\nmin = 0.1\nmax = 0.5\neta = 2\n',
        programs={"train.sh": _FRACTIONS},
    ),
    "hyperband": SchedulerStudy(search='scheduler = "hyperband"\n'),
    "async_hyperband": SchedulerStudy(search='scheduler = "async_hyperband"\n'),
    "pasha": SchedulerStudy(search='scheduler = "pasha"\ntrials = 8\n'),
    "median": SchedulerStudy(
        search='scheduler = "median"\ntrials = 8\nmedian = { min_trials = 2 }\n', top=0
    ),
    "pbt": SchedulerStudy(search='scheduler = "pbt"\ntrials = 4\n'),
    "irace": SchedulerStudy(
        search='scheduler = "irace"\nirace = { budget = 60, first_test = 3 }\n',
        fidelity='[fidelity]\nresource = "fold"\nmax = 5\n',
    ),
    "dehb": SchedulerStudy(search='scheduler = "dehb"\ntrials = 14\n'),
    "bohb": SchedulerStudy(search='scheduler = "bohb"\n'),
    "hedge": SchedulerStudy(
        search='scheduler = "asha"\ntrials = 8\n',
        fidelity=f"{_LADDER}hedge = 0.25\nguard = true\n",
    ),
}


def check_done(live: LiveStudy, name: str) -> None:
    """Check a study that has ended.

    Raises:
        AssertionError: it is not done, an attempt ran twice, some trial is left on its way, no
            trial was trained to the end, or its decisions cannot be recomputed.
    """
    study = live.study()
    assert study.finished == "done", study.halt_text
    assert live.started_twice == []
    left = [t.number for t in study.trials if t.state in {TrialState.WAITING, TrialState.RUNNING}]
    assert left == [], f"trials {left} are left on their way"
    assert STUDIES[name].top in study.results.rungs, sorted(study.results.rungs)
    assert study.failed_trials == 0, [a.cause for a in study.recent_failures]
    assert study.results.best_loss is not None
    heirs = [f"t{trial.number:05d}" for trial in study.trials if trial.source is not None]
    lines = Path(live.layout.lineage).read_text().splitlines() if heirs else []
    assert [json.loads(line)["trial"] for line in lines] == heirs
    replayed = live.call("replay", "--check", "live")
    assert replayed.code == 0, replayed.text
    drawn = f"  {len(study.trials)}  configs drawn again\n"
    assert drawn.lstrip() in replayed.text, replayed.text

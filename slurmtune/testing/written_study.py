"""The directory of a study that ran on the simulated cluster: for what only reads studies.

Identity, journal and event logs are as a driver and its slots leave them; nothing else is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slurmtune.core.events import (
    AttemptEnded,
    AttemptReported,
    AttemptStarted,
    CheckpointSaved,
    Event,
)
from slurmtune.spec import build
from slurmtune.spec.difference import effective
from slurmtune.spec.load import load_spec
from slurmtune.store import event_log, frame, fs, sealed
from slurmtune.store.codec import decode_event, encode_event
from slurmtune.store.journal import Journal
from slurmtune.store.layout import StudyLayout
from slurmtune.testing.study_rig import StudyRig

_NAME = "rig"


def spec_text(scheduler: str, *, trials: int, top: int = 9) -> str:
    """Return the spec of a small study with rungs, for `rig_of`."""
    return f"""
[study]
name = "{_NAME}"
[run]
command = "python train.py"
[space]
lr = {{ loguniform = [1e-4, 1e-1] }}
[objective]
metric = "val_loss"
goal = "minimize"
[search]
scheduler = "{scheduler}"
trials = {trials}
parallel = 3
[fidelity]
resource = "epoch"
max = {top}
"""


def simulate_into(folder: Path, spec: str, **options: Any) -> Path:
    """Make a folder with this spec and the study that it gives on the simulated cluster."""
    folder.mkdir()
    (folder / "spec.toml").write_text(spec)
    rig = rig_of(folder / "spec.toml", **options)
    rig.run()
    write_study(folder / "spec.toml", rig.stored_records())
    return folder


def rig_of(spec: Path, **options: Any) -> StudyRig:
    """Return a rig with the scheduler of a spec, whose metric must be that of the rig."""
    loaded = load_spec(str(spec), ())
    trials = build.count_trials(loaded.spec)
    core = build.core_settings(loaded.spec, trials)
    return StudyRig(
        trials=trials,
        slots=loaded.spec.search.parallel,
        scheduler=lambda: build.build_scheduler(core),
        **{"guard": core["guard"], **options},
    )


def write_study(spec: Path, records: Iterable[dict[str, Any]]) -> StudyLayout:
    """Write the study of a spec with this journal below ``runs`` beside it."""
    loaded = load_spec(str(spec), ())
    layout = StudyLayout(str(spec.parent / "runs" / loaded.spec.study.name))
    layout.create()
    identity = {
        "format": 1,
        "study_id": "ab" * 16,
        "name": loaded.spec.study.name,
        "sha256": loaded.sha256,
        "overrides": [],
        "core": build.core_settings(loaded.spec, build.count_trials(loaded.spec)),
        "spec": effective(loaded.spec),
    }
    fs.publish_file(layout.study, sealed.seal(identity))
    fs.publish_file(layout.spec, loaded.text.encode())
    written = list(records)
    write_journal(layout, written)
    write_logs(layout, written)
    return layout


def write_journal(layout: StudyLayout, records: Iterable[dict[str, Any]]) -> None:
    """Write a journal of one segment in place of the one that is there."""
    fs.remove_tree(layout.journal)
    fs.make_dir(layout.journal)
    journal, _ = Journal.open(layout, {"id": "ab" * 16, "host": "rig", "pid": 1})
    journal.append([dict(record) for record in records])
    journal.close()


def write_logs(layout: StudyLayout, records: Iterable[dict[str, Any]]) -> None:
    """Write the event logs that the records of a journal were read from."""
    logs: dict[str, bytes] = {}
    for record in records:
        event = decode_event(record["e"])
        raw = raw_record(event)
        if raw is not None:
            attempt = record["e"]["attempt"]
            logs[attempt] = logs.get(attempt, b"") + frame.encode(raw)
    for attempt, data in logs.items():
        fs.make_dir(layout.attempt(attempt))
        fs.publish_file(layout.events(attempt), data)


def raw_record(event: Event) -> dict[str, Any] | None:
    """Return what a slot wrote into its log; None if no slot told this event."""
    kinds: dict[type[Event], str] = {
        AttemptStarted: event_log.START,
        AttemptReported: event_log.REPORT,
        CheckpointSaved: event_log.CHECKPOINT,
        AttemptEnded: event_log.END,
    }
    kind = kinds.get(type(event))
    fields = encode_event(event)
    if kind is None or fields.get("seq") is None:
        return None
    raw = {"n": fields["seq"], "k": kind, **fields}
    if isinstance(event, AttemptStarted):
        token, index, restart = event.slot.split(".")
        raw.update(token=token, index=int(index), restart=int(restart))
    raw["holds"] = raw.pop("holding", False)
    return {key: value for key, value in raw.items() if key not in {"t", "seq", "slot", "attempt"}}

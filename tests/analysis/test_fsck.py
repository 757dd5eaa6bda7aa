"""Every kind of finding: a study is damaged in one way, and exactly that is found, and mended where it can be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from slurmtune.analysis.fsck import folder
from slurmtune.analysis.fsck.examine import Examination, Sources, examine
from slurmtune.analysis.fsck.finding import Finding, Severity, mend_all
from slurmtune.core.trial import AttemptState
from slurmtune.spec import launching
from slurmtune.store import frame, fs, journal
from slurmtune.store.layout import StudyLayout
from slurmtune.store.offer import Claim, encode_claim

pytestmark = pytest.mark.slow

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
HEX = "0123456789abcdef" * 2
ENDED = "t00000.r0.a1"
RUNNING, OFFERED, TRIAL = "RUNNING", "OFFERED", "TRIAL"
"""In paths, in place of an attempt of the study whose machine died, and of the trial of the one that runs."""


def look(layout: StudyLayout, **options: Any) -> Examination:
    return examine(
        layout,
        Sources(
            identity=lambda: launching.read_identity(layout),
            study=lambda: launching.read_study(layout),
        ),
        **{"is_driven": False, **options},
    )


def told(found: Examination) -> set[tuple[str, str]]:
    """Code and path of everything that is more than a trace of the death of the driver."""
    return {(f.code, f.path) for f in found.findings if f.code != "driver-died"}


def mend(found: Examination) -> list[str]:
    return [one.problem for one in mend_all(found.findings, lambda: None)]


# ---------------------------------------------------------------- ways to damage a study


def write(path: str, data: bytes) -> None:
    """Write as slurmtune does: nobody else may look in."""
    Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    Path(path).write_bytes(data)
    os.chmod(path, 0o600)


def append(path: str, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def flip(path: str, offset: int) -> None:
    data = bytearray(Path(path).read_bytes())
    data[offset] ^= 1
    Path(path).write_bytes(data)


def running(layout: StudyLayout) -> str:
    return _first(layout, AttemptState.RUNNING)


def offered(layout: StudyLayout) -> str:
    return _first(layout, AttemptState.PENDING)


def _first(layout: StudyLayout, state: AttemptState) -> str:
    live = launching.read_study(layout).live.values()
    return min((attempt.id for attempt in live if attempt.state is state), default="")


def offer_class(layout: StudyLayout) -> str:
    (name,) = fs.list_dir(layout.offer_classes)
    return name


def offer_of(layout: StudyLayout, attempt: str, data: bytes = b"{}") -> None:
    write(layout.offer(offer_class(layout), 1000, attempt), data)


def claim_of(layout: StudyLayout, attempt: str, token: str = "driver") -> None:
    claim = encode_claim(Claim(token, 0, 0), attempt=attempt, job="", host="", pid=1)
    write(layout.claim(attempt), claim)


def segment(layout: StudyLayout) -> str:
    return journal.segments(layout)[-1].path


def open_epoch(layout: StudyLayout, name: str = "b" * 32) -> None:
    opened, _ = journal.Journal.open(layout, {"id": name})
    opened.close()


def token(layout: StudyLayout) -> str:
    (name,) = fs.list_dir(layout.arrays)
    return name


def log_record(number: int, kind: str = "report") -> bytes:
    return frame.encode({"n": number, "k": kind, "time": 0.0})


def cut_log(layout: StudyLayout, attempt: str, count: int) -> None:
    path = layout.events(attempt)
    records = frame.parse(Path(path).read_bytes()).records
    Path(path).write_bytes(b"".join(map(frame.encode, records[:count])))


def claim_log_as_newer(layout: StudyLayout) -> None:
    identity = json.loads(Path(layout.study).read_text())
    identity["format"] = 99
    del identity["digest"]
    Path(layout.study).write_text(json.dumps(identity))


def cut_journal(layout: StudyLayout) -> None:
    """Take the end off the journal, at the end of a record."""
    path = segment(layout)
    records = frame.parse(Path(path).read_bytes()).records
    Path(path).write_bytes(b"".join(map(frame.encode, records[:8])))


def change_decision(layout: StudyLayout) -> None:
    path = segment(layout)
    records = frame.parse(Path(path).read_bytes()).records
    changed = next(r for r in records if any("Offer" in line for line in r.get("a", ())))
    changed["a"] = ["Offer t00099.r0.a1 0 -> 1 from nothing"]
    Path(path).write_bytes(b"".join(map(frame.encode, records)))


def damage_sealed(layout: StudyLayout) -> None:
    path = segment(layout)
    open_epoch(layout)
    flip(path, 300)


def make_hole(layout: StudyLayout) -> None:
    path = segment(layout)
    data = Path(path).read_bytes()
    flip(path, data.rindex(b"\n", 0, len(data) // 2) + 30)


def lose_claim_of_epoch(layout: StudyLayout) -> None:
    open_epoch(layout)
    os.unlink(os.path.join(layout.journal, "00000001.claim"))


def write_behind_the_seal(layout: StudyLayout) -> None:
    path = segment(layout)
    open_epoch(layout)
    append(path, frame.encode({"e": {"t": "SpaceExhausted", "time": 0.0, "trial": 1}}))


def die_while_opening(layout: StudyLayout) -> None:
    write(os.path.join(layout.journal, "00000002.claim"), b'{"id": "cccccccc"}')
    write(os.path.join(layout.journal, "00000002-cccccccc.log"), b"1234")


def checkpoint_of(layout: StudyLayout, attempt: str = ENDED) -> str:
    return layout.checkpoint(int(attempt[1:6]), f"1.{attempt}")


class Case(NamedTuple):
    """A way to damage a study and what is found then."""

    code: str
    severity: Severity
    kind: str
    damage: Callable[[StudyLayout], object]
    path: str
    """With TOKEN and CLASS in place of what differs from study to study."""
    repairable: bool = False


CASES = [
    # identity and journal
    Case("identity", ERROR, "finished", lambda s: write(s.study, b"{"), "study.json"),
    Case("identity", ERROR, "finished", lambda s: flip(s.study, 30), "study.json"),
    Case("identity", ERROR, "finished", lambda s: os.unlink(s.study), "study.json"),
    Case("newer", ERROR, "finished", claim_log_as_newer, "study.json"),
    Case("spec-copy", WARNING, "finished", lambda s: os.unlink(s.spec), "spec.toml"),
    Case("spec-copy", WARNING, "finished", lambda s: write(s.spec, b"]"), "spec.toml"),
    Case("journal", ERROR, "finished", lambda s: shutil.rmtree(s.journal), "journal"),
    Case("journal", ERROR, "finished", damage_sealed, "journal"),
    Case("journal-claim", ERROR, "finished", lose_claim_of_epoch, "journal/00000001.claim"),
    Case("journal-hole", ERROR, "finished", make_hole, "SEGMENT"),
    Case("journal-tail", NOTE, "finished", lambda s: append(segment(s), b"1234"), "SEGMENT"),
    Case("journal-behind", NOTE, "finished", write_behind_the_seal, "SEGMENT"),
    Case("journal-unused", NOTE, "finished", die_while_opening, "journal/00000002-cccccccc.log"),
    Case(
        "journal-stray",
        WARNING,
        "finished",
        lambda s: write(os.path.join(s.journal, "00000007-dddddddd.log"), b""),
        "journal/00000007-dddddddd.log",
    ),
    Case("journal-short", ERROR, "finished", cut_journal, "journal"),
    Case("replay", ERROR, "finished", change_decision, "journal"),
    # offers
    Case(
        "offer-unknown",
        ERROR,
        "died",
        lambda s: offer_of(s, "t00088.r0.a1"),
        "offers/CLASS/001000-t00088.r0.a1.json",
        True,
    ),
    Case(
        "offer-ended",
        WARNING,
        "died",
        lambda s: offer_of(s, ENDED),
        f"offers/CLASS/001000-{ENDED}.json",
        True,
    ),
    Case(
        "offer-claimed",
        WARNING,
        "died",
        lambda s: offer_of(s, running(s)),
        f"offers/CLASS/001000-{RUNNING}.json",
        True,
    ),
    Case(
        "offer-damaged",
        ERROR,
        "died",
        lambda s: offer_of(s, offered(s)),
        f"offers/CLASS/001000-{OFFERED}.json",
        True,
    ),
    Case(
        "offer-stray",
        WARNING,
        "died",
        lambda s: write(os.path.join(s.offers(offer_class(s)), "notes"), b""),
        "offers/CLASS/notes",
    ),
    # claims
    Case(
        "claim-unknown",
        ERROR,
        "died",
        lambda s: claim_of(s, "t00088.r0.a1"),
        "claims/t00088.r0.a1",
    ),
    Case(
        "claim-damaged", WARNING, "died", lambda s: write(s.claim(ENDED), b"?"), f"claims/{ENDED}"
    ),
    Case(
        "claim-damaged",
        WARNING,
        "died",
        lambda s: write(s.claim(running(s)), b"?"),
        f"claims/{RUNNING}",
    ),
    Case("claim-differs", ERROR, "died", lambda s: claim_of(s, ENDED, "st-x"), f"claims/{ENDED}"),
    Case("claim-differs", ERROR, "died", lambda s: claim_of(s, running(s)), f"claims/{RUNNING}"),
    Case("claim-missing", WARNING, "died", lambda s: os.unlink(s.claim(ENDED)), f"claims/{ENDED}"),
    Case(
        "claim-stray",
        WARNING,
        "died",
        lambda s: write(os.path.join(s.claims, "notes"), b""),
        "claims/notes",
    ),
    # arrays
    Case(
        "array-unknown",
        WARNING,
        "finished",
        lambda s: os.mkdir(s.array("st-0-0-0"), 0o700),
        "arrays/st-0-0-0",
    ),
    Case(
        "manifest-missing",
        WARNING,
        "finished",
        lambda s: os.unlink(s.manifest(token(s))),
        "arrays/TOKEN/manifest.json",
    ),
    Case(
        "manifest-missing",
        ERROR,
        "died",
        lambda s: os.unlink(s.manifest(token(s))),
        "arrays/TOKEN/manifest.json",
    ),
    Case(
        "manifest-damaged",
        ERROR,
        "died",
        lambda s: write(s.manifest(token(s)), b"{"),
        "arrays/TOKEN/manifest.json",
    ),
    Case(
        "manifest-changed",
        ERROR,
        "died",
        lambda s: write(f"{s.array(token(s))}/7_submission.sh", b"worker %s" % (b"0" * 64)),
        "arrays/TOKEN/manifest.json",
    ),
    # logs
    Case(
        "log-damaged",
        ERROR,
        "finished",
        lambda s: flip(s.events(ENDED), 30),
        f"trials/t00000/{ENDED}/events.log",
        True,
    ),
    Case(
        "log-damaged",
        ERROR,
        "died",
        lambda s: flip(s.events(running(s)), 30),
        f"trials/{TRIAL}/{RUNNING}/events.log",
    ),
    Case(
        "log-torn",
        NOTE,
        "finished",
        lambda s: append(s.events(ENDED), b"1234"),
        f"trials/t00000/{ENDED}/events.log",
        True,
    ),
    Case(
        "log-after-end",
        WARNING,
        "finished",
        lambda s: append(s.events(ENDED), log_record(99)),
        f"trials/t00000/{ENDED}/events.log",
    ),
    Case(
        "log-ahead",
        NOTE,
        "died",
        lambda s: append(s.events(running(s)), log_record(1)),
        f"trials/{TRIAL}/{RUNNING}/events.log",
    ),
    Case(
        "log-short",
        WARNING,
        "finished",
        lambda s: cut_log(s, ENDED, 2),
        f"trials/t00000/{ENDED}/events.log",
    ),
    Case(
        "log-missing",
        WARNING,
        "finished",
        lambda s: os.unlink(s.events(ENDED)),
        f"trials/t00000/{ENDED}/events.log",
    ),
    Case(
        "attempt-unknown",
        WARNING,
        "finished",
        lambda s: os.mkdir(s.attempt("t00000.r2.a7"), 0o700),
        "trials/t00000/t00000.r2.a7",
    ),
    Case(
        "output-missing",
        WARNING,
        "finished",
        lambda s: os.unlink(s.output(ENDED)),
        f"trials/t00000/{ENDED}/output.log",
    ),
    # checkpoints
    Case(
        "checkpoint-missing",
        WARNING,
        "died",
        lambda s: shutil.rmtree(checkpoint_of(s)),
        f"trials/t00000/checkpoints/1.{ENDED}",
    ),
    Case(
        "checkpoint-damaged",
        ERROR,
        "died",
        lambda s: flip(f"{checkpoint_of(s)}/epoch", 0),
        f"trials/t00000/checkpoints/1.{ENDED}",
        True,
    ),
    Case(
        "checkpoint-stray",
        NOTE,
        "died",
        lambda s: os.mkdir(f"{s.checkpoints(0)}/mine", 0o700),
        "trials/t00000/checkpoints/mine",
    ),
    # the directory
    Case("mode", WARNING, "finished", lambda s: os.chmod(s.claims, 0o750), "claims", True),
    Case("mode", ERROR, "finished", lambda s: os.chmod(s.lib, 0o770), "lib", True),
    Case(
        "mode", ERROR, "finished", lambda s: os.chmod(s.library, 0o666), "lib/slurmtune.zip", True
    ),
    Case("mode", WARNING, "finished", lambda s: os.chmod(s.root, 0o755), ".", True),
    Case("link", ERROR, "finished", lambda s: os.symlink("/etc", f"{s.lib}/x"), "lib/x"),
    Case(
        "status-damaged", WARNING, "finished", lambda s: write(s.status, b"{"), "status.json", True
    ),
    Case("status-missing", NOTE, "finished", lambda s: os.unlink(s.status), "status.json", True),
    Case(
        "lease-damaged",
        WARNING,
        "finished",
        lambda s: write(s.lease, b"{"),
        "journal/lease.json",
        True,
    ),
]
LEFT_OVER = [
    (f".status.json.{HEX}.tmp", "finished"),
    (f"journal/.lease.json.{HEX}.tmp", "died"),
    (f"claims/.{ENDED}.{HEX}.tmp", "died"),
    (f"arrays/TOKEN/.manifest.json.{HEX}.tmp", "finished"),
    (f"trials/t00000/{ENDED}/.config.json.{HEX}.tmp", "died"),
    (f"trials/t00000/checkpoints/.1.{ENDED}.{HEX}.tmp/model", "died"),
    (f"trials/t00000/checkpoints/.trash-1.{ENDED}-{HEX}/model", "died"),
]
IN_USE = [
    (f"control/.1-2.json.{HEX}.tmp", "finished"),
    (f"claims/.{RUNNING}.{HEX}.tmp", "died"),
    (f"arrays/TOKEN/.local-0.slot.{HEX}.tmp", "died"),
    (f"trials/{TRIAL}/{RUNNING}/.config.json.{HEX}.tmp", "died"),
    (f"trials/{TRIAL}/checkpoints/.1.{RUNNING}.{HEX}.tmp/model", "died"),
    (f"trials/t00000/{ENDED}/.hidden", "died"),
]
MENDED_BY_DRIVER = {"status-damaged", "status-missing", "lease-damaged"}
"""Mended by whoever becomes the driver, which is the business of the command line."""

FOLLOWS = {
    "journal-short": {"attempt-unknown", "claim-unknown", "log-ahead"},
    "log-damaged": {"log-short", "output-missing"},
}
"""What one damage makes of others."""


@pytest.fixture
def study(request: pytest.FixtureRequest) -> StudyLayout:
    layout: StudyLayout = request.getfixturevalue(request.param)
    return layout


def path_in(layout: StudyLayout, path: str) -> str:
    first = next(name for name in fs.list_dir(layout.journal) if name.startswith("00000001-"))
    path = path.replace("TOKEN", token(layout)).replace("SEGMENT", f"journal/{first}")
    path = path.replace("CLASS", offer_class(layout)).replace(OFFERED, offered(layout))
    return path.replace(RUNNING, running(layout)).replace(TRIAL, running(layout)[:6])


# ---------------------------------------------------------------- studies that nothing is wrong with


def test_what_was_reported_after_the_end_is_no_finding(finished: StudyLayout) -> None:
    count = len(frame.parse(Path(finished.events(ENDED)).read_bytes()).records)
    late = {"n": count, "k": "report", "time": 0.0, "late": True, "resource": 1, "metrics": {}}

    append(finished.events(ENDED), frame.encode(late))

    assert look(finished).findings == ()


def test_a_finished_study_is_sound(finished: StudyLayout) -> None:
    assert look(finished).findings == ()


def test_a_study_whose_machine_died_is_sound_apart_from_its_driver(died: StudyLayout) -> None:
    found = look(died)
    assert told(found) == set()
    assert [f.severity for f in found.findings] == [NOTE]


def test_looking_changes_nothing(died: StudyLayout) -> None:
    append(died.events(ENDED), b"torn")
    before = fingerprint(died.root)
    look(died)
    assert fingerprint(died.root) == before


def fingerprint(root: str) -> Mapping[str, tuple[int, int, str]]:
    """Mode, time of change and content of every file."""
    found = {}
    for parent, folders, files in os.walk(root):
        for name in [".", *folders, *files]:
            path = os.path.join(parent, name)
            data = Path(path).read_bytes() if os.path.isfile(path) else b""
            status = os.lstat(path)
            found[path] = (status.st_mode, status.st_mtime_ns, hashlib.sha256(data).hexdigest())
    return found


# ---------------------------------------------------------------- one damage, one finding


@pytest.mark.parametrize(
    ("study", "case"),
    [(case.kind, case) for case in CASES],
    indirect=["study"],
    ids=[f"{case.code}-{number}" for number, case in enumerate(CASES)],
)
def test_a_damage_is_found_and_nothing_else(study: StudyLayout, case: Case) -> None:
    path = "" if case.path == "journal" else path_in(study, case.path)
    case.damage(study)
    found = look(study)
    first = [f for f in found.findings if f.code == case.code]
    assert [(f.severity, f.is_repairable) for f in first] == [(case.severity, case.repairable)]
    assert first[0].path == (path or "journal")
    others = {code for code, _ in told(found)} - {case.code}
    assert others <= FOLLOWS.get(case.code, set())


@pytest.mark.parametrize(
    ("study", "case"),
    [(c.kind, c) for c in CASES if c.repairable and c.code not in MENDED_BY_DRIVER],
    indirect=["study"],
    ids=[
        f"{c.code}-{n}"
        for n, c in enumerate(CASES)
        if c.repairable and c.code not in MENDED_BY_DRIVER
    ],
)
def test_what_was_mended_is_found_no_more(study: StudyLayout, case: Case) -> None:
    case.damage(study)
    assert set(mend(look(study))) == {""}
    again = look(study)
    assert case.code not in {code for code, _ in told(again)}
    assert again.count(ERROR) == 0
    assert again.repairable == 0


@pytest.mark.parametrize(("path", "study"), LEFT_OVER, indirect=["study"])
def test_what_a_death_left_over_is_removed(study: StudyLayout, path: str) -> None:
    path = path_in(study, path)
    write(os.path.join(study.root, path), b"x")
    found = look(study)
    assert [
        (f.code, f.severity, f.is_repairable) for f in found.findings if f.code != "driver-died"
    ] == [("left-over", WARNING, True)]
    assert mend(found) == [""]
    assert told(look(study)) == set()


@pytest.mark.parametrize(("path", "study"), IN_USE, indirect=["study"])
def test_what_somebody_may_be_writing_is_left_alone(study: StudyLayout, path: str) -> None:
    write(os.path.join(study.root, path_in(study, path)), b"x")
    assert told(look(study)) == set()


# ---------------------------------------------------------------- details


def test_a_damaged_log_keeps_its_whole_records_and_every_byte(finished: StudyLayout) -> None:
    path = Path(finished.events(ENDED))
    whole = path.read_bytes()
    append(str(path), b"torn")
    mend(look(finished))
    assert path.read_bytes() == whole
    (aside,) = path.parent.glob(".damaged-events.log-*")
    assert aside.read_bytes() == whole + b"torn"


def test_a_damaged_checkpoint_is_set_aside_and_not_deleted(died: StudyLayout) -> None:
    flip(f"{checkpoint_of(died)}/epoch", 0)
    mend(look(died))
    (aside,) = Path(died.checkpoints(0)).glob(f".damaged-1.{ENDED}-*")
    assert (aside / "epoch").exists()
    assert told(look(died)) == {("checkpoint-missing", f"trials/t00000/checkpoints/1.{ENDED}")}


def test_a_checkpoint_that_nobody_needs_is_checked_by_its_sizes(finished: StudyLayout) -> None:
    trial = next(t for t in launching.read_study(finished).trials if len(t.values) == 3)
    assert trial.checkpoint is not None
    newest = finished.checkpoint(trial.number, trial.checkpoint)
    another = finished.checkpoint(trial.number, f"2.{trial.attempts[0].id}")
    shutil.copytree(newest, another)
    append(f"{another}/epoch", b"more")
    (found,) = look(finished).findings
    assert (found.code, found.severity, found.is_repairable) == (
        "checkpoint-damaged",
        WARNING,
        True,
    )


def test_a_missing_checkpoint_of_a_trial_that_goes_on_says_so(died: StudyLayout) -> None:
    shutil.rmtree(checkpoint_of(died))
    assert "starts from 0" in only(look(died), "checkpoint-missing").words


def test_the_offer_that_a_driver_took_back_before_it_died_is_a_note(died: StudyLayout) -> None:
    claim_of(died, offered(died))
    os.unlink(died.offer(offer_class(died), 1000, offered(died)))
    assert only(look(died), "claim-driver").severity is NOTE


def test_a_claimed_attempt_that_has_not_started_is_a_note(died: StudyLayout) -> None:
    claim_of(died, offered(died), token(died))
    os.unlink(died.offer(offer_class(died), 1000, offered(died)))
    assert told(look(died)) == set()


def test_records_of_an_attempt_that_was_given_up_are_a_note(died: StudyLayout) -> None:
    attempt = running(died)
    opened, _ = journal.Journal.open(died, {"id": "e" * 32})
    lost = {"t": "AttemptEnded", "time": 1.0, "attempt": attempt, "seq": None}
    opened.append([_record(died, {**lost, "outcome": "LOST", "seconds": 1.0})])
    opened.close()
    append(died.events(attempt), log_record(1))
    assert only(look(died), "log-late").severity is NOTE


def _record(layout: StudyLayout, event: Mapping[str, Any]) -> Mapping[str, Any]:
    from slurmtune.driver.recovery import record_of
    from slurmtune.store.codec import decode_event

    study = launching.read_study(layout)
    decoded = decode_event(event)
    actions = study.handle(decoded)
    assert actions is not None
    return record_of(decoded, actions)


@pytest.mark.parametrize(
    ("jobs", "code", "severity"),
    [
        ({"st-00000000-9-9": "4711"}, "job-unknown", ERROR),
        ({"TOKEN": "4711"}, "job-double", WARNING),
    ],
)
def test_a_job_that_the_journal_does_not_know_is_found(
    died: StudyLayout, jobs: Mapping[str, str], code: str, severity: Severity
) -> None:
    known = {name.replace("TOKEN", token(died)): job for name, job in jobs.items()}
    found = only(look(died, jobs=known), code)
    assert found.severity is severity
    assert "scancel 4711" in found.words


def test_a_job_whose_slots_have_all_ended_is_found(finished: StudyLayout) -> None:
    name = token(finished)
    assert only(look(finished, jobs={name: name}), "job-left").severity is WARNING


def test_a_job_that_slurm_refused_is_found(died: StudyLayout) -> None:
    opened, _ = journal.Journal.open(died, {"id": "e" * 32})
    name = "st-11111111-2-1"
    intended = {"t": "ArrayIntended", "time": 1.0, "token": name, "resource_class": "c", "size": 1}
    opened.append([_record(died, intended)])
    refused = {"t": "ArrayRefused", "time": 1.0, "token": name, "message": "no"}
    opened.append([_record(died, refused)])
    opened.close()
    assert only(look(died, jobs={name: "4711"}), "job-refused").severity is WARNING


def test_a_job_that_the_journal_knows_is_no_finding(died: StudyLayout) -> None:
    assert told(look(died, jobs={token(died): token(died)})) == set()


def test_too_many_files_are_a_warning(finished: StudyLayout) -> None:
    assert only(look(finished, most_files=50), "too-many-files").severity is WARNING
    assert folder.MOST_FILES == 100_000


def test_a_folder_that_cannot_be_listed_is_an_error(
    finished: StudyLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: str) -> Any:
        if path == finished.logs:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert only(look(finished), "unreadable").path == "logs"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_an_error(finished: StudyLayout) -> None:
    os.chown(finished.library, 12345, -1)
    assert only(look(finished), "owner").path == "lib/slurmtune.zip"


def test_a_program_may_give_its_own_files_any_mode(finished: StudyLayout) -> None:
    own = Path(finished.attempt(ENDED), "plots")
    own.mkdir()
    own.chmod(0o777)
    (own / "loss.png").write_text("")
    (own / "loss.png").chmod(0o666)
    os.symlink("loss.png", own / "latest.png")
    assert told(look(finished)) == set()


def test_files_that_come_and_go_while_a_driver_is_alive_are_no_findings(died: StudyLayout) -> None:
    write(os.path.join(died.journal, f".lease.json.{HEX}.tmp"), b"")
    append(died.events(running(died)), log_record(1))
    append(died.events(running(died)), b"12345678 17 {half a rec")
    os.unlink(died.status)
    assert look(died, is_driven=True).findings == ()


def test_what_happens_between_the_snapshot_and_the_journal_is_no_finding(
    died: StudyLayout,
) -> None:
    """A slot claims an offer and a driver journals it while we look."""

    def read() -> Any:
        claim_of(died, offered(died), token(died))
        os.unlink(died.offer(offer_class(died), 1000, offered(died)))
        claimed = {"t": "AttemptClaimed", "time": 1.0, "attempt": offered(died)}
        opened, _ = journal.Journal.open(died, {"id": "e" * 32})
        opened.append([_record(died, {**claimed, "slot": f"{token(died)}.0.0"})])
        opened.close()
        return launching.read_study(died)

    sources = Sources(identity=lambda: launching.read_identity(died), study=read)
    found = examine(died, sources, is_driven=True)
    assert {f.code for f in found.findings} <= {"journal-behind"}


def test_nothing_is_mended_by_one_who_was_replaced(died: StudyLayout) -> None:
    offer_of(died, ENDED)

    def guard() -> None:
        raise RuntimeError("replaced")

    with pytest.raises(RuntimeError, match="replaced"):
        list(mend_all(look(died).findings, guard))
    assert "offer-ended" in {f.code for f in look(died).findings}


def test_what_cannot_be_mended_says_why() -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    finding = Finding(severity=ERROR, code="x", path="x", words="x", mend=fail)
    (one,) = mend_all([finding], lambda: None)
    assert "No space left" in one.problem


def only(found: Examination, code: str) -> Finding:
    (finding,) = [f for f in found.findings if f.code == code]
    return finding

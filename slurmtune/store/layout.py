"""Where everything in a study's directory is: the only place that knows names of files.

Every method returns a path and does nothing else, except `StudyLayout.create`. Names that come
from outside are checked: none of them can lead out of the study's directory.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Tuple

from slurmtune.core import ids
from slurmtune.store import fs
from slurmtune.store.offer import offer_name

PRIVATE_FOLDER, SHOWN_FOLDER = 0o700, 0o750
PRIVATE_FILE, SHOWN_FILE = 0o600, 0o640
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class StudyLayout:
    """The paths of one study."""

    def __init__(self, root: str) -> None:
        self.root = root
        """The study's directory."""
        self.spec = os.path.join(root, "spec.toml")
        """Copy of the spec."""
        self.scheduler = os.path.join(root, "scheduler.py")
        """The user's own scheduler, if the spec names one: a copy."""
        self.study = os.path.join(root, "study.json")
        """Identity of the study: id, hash of the spec, version of the format."""
        self.status = os.path.join(root, "status.json")
        """Overview, replaced by the driver every few seconds."""
        self.lineage = os.path.join(root, "lineage.jsonl")
        """Where the trials come from that go on from others: for people, one line each."""
        self.report = os.path.join(root, "report.html")
        self.driver_log = os.path.join(root, "driver.log")
        self.journal = os.path.join(root, "journal")
        """Folder of the journal's segments."""
        self.lease = os.path.join(self.journal, "lease.json")
        self.claims = os.path.join(root, "claims")
        """Folder of the claims, one file for each claimed attempt."""
        self.logs = os.path.join(root, "logs")
        """Folder of what the slots print."""
        self.control = os.path.join(root, "control")
        """Folder of the commands to the driver."""
        self.finished = os.path.join(self.control, "finished")
        """Published when the study is done: slots leave."""
        self.settled = os.path.join(self.control, "settled.json")
        """Attempts of programs that wait for more, whose end the driver has seen and answered."""
        self.lib = os.path.join(root, "lib")
        """Folder of the library for the user's program."""
        self.library = os.path.join(self.lib, "slurmtune.zip")
        """What the user's program imports."""
        self.commands = os.path.join(self.lib, "bin")
        """What the user's program finds on its PATH."""
        self._offers = os.path.join(root, "offers")
        self._arrays = os.path.join(root, "arrays")
        self._trials = os.path.join(root, "trials")

    def idle_file(self, resource_class: str) -> str:
        """Return the path of the request to idle slots of a class: leave, others need the room."""
        return os.path.join(self.control, f"idle.{_safe(resource_class)}")

    @property
    def shown(self) -> Tuple[str, ...]:
        """The files that members of the group may read when the study is shown to them."""
        return (self.study, self.status, self.lease)

    def show_to_group(self, is_shown: bool) -> None:
        """Let the members of the group look at `shown`, and at nothing else; or take that back."""
        for folder in (self.root, self.journal):
            os.chmod(folder, SHOWN_FOLDER if is_shown else PRIVATE_FOLDER)
        for path in self.shown:
            # What is not written yet gets its mode when it is.
            with contextlib.suppress(FileNotFoundError):
                os.chmod(path, SHOWN_FILE if is_shown else PRIVATE_FILE)

    def create(self) -> None:
        """Make the folders of a study, with mode 0700; those that are there are left alone."""
        fs.make_dir(self.root)
        for folder in (
            self.journal,
            self._offers,
            self.claims,
            self._arrays,
            self._trials,
            self.logs,
            self.control,
            self.lib,
        ):
            fs.make_dir(folder)

    @property
    def offer_classes(self) -> str:
        """The folder with one folder of offers for each resource class."""
        return self._offers

    def offers(self, resource_class: str) -> str:
        """Return the folder of the offers of a resource class."""
        return os.path.join(self._offers, _safe(resource_class))

    def offer(self, resource_class: str, priority: int, attempt: str) -> str:
        """Return the path of an offer."""
        return os.path.join(self.offers(resource_class), offer_name(priority, attempt))

    def claim(self, attempt: str) -> str:
        """Return the path of the claim of an attempt."""
        ids.parse_attempt_id(attempt)
        return os.path.join(self.claims, attempt)

    @property
    def arrays(self) -> str:
        """The folder with one folder for each array."""
        return self._arrays

    def array(self, token: str) -> str:
        """Return the folder of an array."""
        return os.path.join(self._arrays, _safe(token))

    def manifest(self, token: str) -> str:
        """Return the path of what the slots of an array are to do."""
        return os.path.join(self.array(token), "manifest.json")

    def slot_log(self, token: str, index: int, incarnation: int) -> str:
        """Return the path of the framed log of one slot; each restart has its own."""
        return os.path.join(self.array(token), f"{index}.{incarnation}.log")

    def slot_output(self, token: str, index: int) -> str:
        """Return the path of what one slot of an array prints."""
        return os.path.join(self.logs, f"{_safe(token)}_{index}.log")

    @property
    def trials(self) -> str:
        """The folder with one folder for each trial."""
        return self._trials

    def trial(self, number: int) -> str:
        """Return the folder of a trial."""
        return os.path.join(self._trials, ids.trial_id(number))

    def attempt(self, attempt: str) -> str:
        """Return the folder of an attempt."""
        return os.path.join(self.trial(ids.parse_attempt_id(attempt).trial), attempt)

    def events(self, attempt: str) -> str:
        """Return the path of the event log of an attempt."""
        return os.path.join(self.attempt(attempt), "events.log")

    def output(self, attempt: str) -> str:
        """Return the path of what the user's program printed."""
        return os.path.join(self.attempt(attempt), "output.log")

    def metrics(self, attempt: str) -> str:
        """Return the path of the lines that the user's program reports by."""
        return os.path.join(self.attempt(attempt), "metrics.jsonl")

    def config(self, attempt: str) -> str:
        """Return the path of the config as JSON, for the user's program."""
        return os.path.join(self.attempt(attempt), "config.json")

    def params(self, attempt: str) -> str:
        """Return the path of the config as shell assignments, for the user's program."""
        return os.path.join(self.attempt(attempt), "params.sh")

    def stop_file(self, attempt: str) -> str:
        """Return the path of the request to save and leave."""
        return os.path.join(self.attempt(attempt), "stop")

    def more(self, attempt: str) -> str:
        """Return the path of the answer to a program that ended this attempt and asks for more."""
        return os.path.join(self.attempt(attempt), "more.json")

    def checkpoints(self, trial: int) -> str:
        """Return the folder of a trial's checkpoints."""
        return os.path.join(self.trial(trial), "checkpoints")

    def checkpoint(self, trial: int, name: str) -> str:
        """Return the folder of one checkpoint."""
        return os.path.join(self.checkpoints(trial), _safe(name))


def _safe(name: str) -> str:
    """Return ``name`` if it can be one part of a path.

    Raises:
        ValueError: it cannot.
    """
    if _SAFE_NAME.fullmatch(name) is None:
        raise ValueError(f"cannot be the name of a file: {name!r}")
    return name

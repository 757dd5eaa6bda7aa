"""What is checked: a snapshot of the files, and the study as its journal tells it.

The snapshot is made before the journal is read, and a driver writes its journal before its files:
a file that the journal does not know is unknown, whoever is at work meanwhile. What the journal
knows and the snapshot lacks is looked for again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from slurmtune.analysis.fsck.finding import Finding, Severity
from slurmtune.core.record import AttemptRecord
from slurmtune.core.study import Study
from slurmtune.core.trial import AttemptState
from slurmtune.errors import TransitionError
from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout


class Tree:
    """Names and kinds of all files below a folder, read once; nothing is opened."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._folders: dict[str, dict[str, os.stat_result]] = {}
        self.unreadable: dict[str, str] = {}
        """Folders that could not be listed, and why."""
        self._read(root)

    @property
    def count(self) -> int:
        """How many files and folders there are, the root included."""
        return 1 + sum(map(len, self._folders.values()))

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none when there is no such folder."""
        return sorted(self._folders.get(folder, ()))

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, hidden ones left out."""
        entries = self._folders.get(folder, {})
        return sorted(
            name
            for name, entry in entries.items()
            if stat.S_ISDIR(entry.st_mode) and not name.startswith(".")
        )

    def entry(self, path: str) -> os.stat_result | None:
        """Return what ``lstat`` said about a path; None when it was not there."""
        folder, name = os.path.split(path)
        return self._folders.get(folder, {}).get(name)

    def walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield every path below the root, without the inside of checkpoints."""
        for folder, entries in self._folders.items():
            for name, entry in entries.items():
                yield os.path.join(folder, name), entry

    def _read(self, folder: str) -> None:
        waiting = [folder]
        while waiting:
            folder = waiting.pop()
            entries: dict[str, os.stat_result] = {}
            try:
                with os.scandir(folder) as found:
                    for entry in found:
                        # What vanished while we looked was never there.
                        try:
                            entries[entry.name] = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
            except FileNotFoundError:
                continue
            except OSError as error:
                self.unreadable[folder] = error.strerror or str(error)
            self._folders[folder] = entries
            waiting += [
                os.path.join(folder, name)
                for name, entry in entries.items()
                if stat.S_ISDIR(entry.st_mode)
            ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A study's directory and what it should hold."""

    layout: StudyLayout
    tree: Tree
    study: Study
    is_driven: bool
    """Whether a driver is alive: then files come and go while we look."""
    jobs: Mapping[str, str] | None = None
    """Live jobs of the backend by token, when it could be asked."""
    dropped: frozenset[str] = frozenset()
    """Checkpoints that the journal says were removed."""
    attempts: Mapping[str, AttemptRecord] = field(init=False)
    """All attempts by name."""

    def __post_init__(self) -> None:
        attempts = {
            attempt.id: attempt for trial in self.study.trials for attempt in trial.attempts
        }
        object.__setattr__(self, "attempts", attempts)

    def finding(
        self,
        severity: Severity,
        code: str,
        path: str,
        words: str,
        mend: Callable[[], None] | None = None,
    ) -> Finding:
        """Return a finding about an absolute path."""
        relative = os.path.relpath(path, self.layout.root)
        return Finding(severity=severity, code=code, path=relative, words=words, mend=mend)

    def is_ended(self, attempt: str) -> bool:
        """Tell whether nothing of an attempt runs any more, as far as the journal knows."""
        try:
            return self.study.attempt(attempt).state is AttemptState.ENDED
        except (TransitionError, ValueError):
            return False

    def is_still_there(self, path: str) -> bool:
        """Look again whether there is such a name."""
        folder, name = os.path.split(path)
        try:
            return name in fs.list_dir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return False

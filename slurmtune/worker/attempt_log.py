"""The slot's end of an attempt's event log: records wait in memory while the disk is full.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from typing import Any, Deque, Dict, List, Mapping, Sequence

from slurmtune.store import fs

_MAX_PENDING = 1000
_RETRY_SECONDS = 5.0


class AttemptLog:
    """Appends records to ``events.log``; the position ``n`` and the time are added here.

    Raises:
        OSError: the log cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._appender = fs.Appender(path)
        self._pending: Deque[Dict[str, Any]] = deque(maxlen=_MAX_PENDING)
        self._retry_at = 0.0

    def add(self, kind: str, **fields: Any) -> None:
        """Record something that happened now; it is on the disk, or waits for the next call."""
        self._pending.append({"k": kind, "time": time.time(), **fields})
        if time.monotonic() >= self._retry_at:
            self._flush()

    def add_all(self, kind: str, several: Sequence[Mapping[str, Any]]) -> None:
        """Record what happened now, with one sync for very many: each may take a while."""
        now = time.time()
        for first in range(0, len(several), _MAX_PENDING):
            chunk = several[first : first + _MAX_PENDING]
            self._pending.extend({"k": kind, "time": now, **fields} for fields in chunk)
            if time.monotonic() >= self._retry_at:
                self._flush()

    def finish(self, patience_seconds: float) -> None:
        """Bring everything to the disk and close the log.

        Raises:
            OSError: it could not be done within ``patience_seconds``.
        """
        deadline = time.monotonic() + patience_seconds
        try:
            while not self._flush():
                if time.monotonic() >= deadline:
                    raise OSError("the event log cannot be written")
                time.sleep(1.0)
        finally:
            self._appender.close()

    def _flush(self) -> bool:
        size = len(self._pending)
        while self._pending:
            count = self._appender.count
            several = itertools.islice(self._pending, size)
            try:
                self._appender.append_all([{"n": count + i, **r} for i, r in enumerate(several)])
            except OSError:
                self._retry_at = time.monotonic() + _RETRY_SECONDS
                return False
            except ValueError:
                if size > 1:
                    size = 1
                    continue
                # It is over the size of a frame, and always will be.
            for _ in range(size):
                self._pending.popleft()
        return True


def fitting(words: Sequence[str], *, length: int, total: int, from_end: bool) -> List[str]:
    """Return the words, each cut to ``length``, as many as make ``total`` characters of JSON."""
    result: List[str] = []
    used = 0
    for word in reversed(words) if from_end else words:
        cut = word if len(word) <= length else word[: length - 3] + "..."
        used += len(json.dumps(cut)) + 1
        if used > total:
            break
        result.append(cut)
    return result[::-1] if from_end else result

"""What a program still reports when its attempt is over: a last test, once nothing follows.

It comes too late to be a result: the driver has read the end, and others were promoted or not. So
it goes into the attempt's log behind the end, marked as late, where people find it and no decision
ever does.

Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import contextlib
import sys

from slurmtune.store import event_log, frame
from slurmtune.worker.attempt_log import AttemptLog
from slurmtune.worker.metrics import MetricReader, Report, merged

_PATIENCE_SECONDS = 5.0
# A program that prints each batch of its test must not fill the memory of its job.
_MOST_BYTES = 4 << 20


class Aftermath:
    """Keeps the late reports of one attempt."""

    def __init__(self, reader: MetricReader, log_path: str, *, most: int) -> None:
        """Go on where ``reader`` is; of more than ``most`` reports only the newest are kept."""
        self._reader = reader
        self._log_path = log_path
        self._most = max(1, most)

    def keep(self) -> None:
        """Bring what was reported since to the log, once the program reports no more.

        A program that said nothing costs one read. What cannot be written now is left where the
        program wrote it, and told.
        """
        try:
            self._reader.skip_to_last(_MOST_BYTES)
            items = merged(self._reader.read(final=True))
            reports = [item for item in items if isinstance(item, Report)][-self._most :]
            if reports:
                self._append(reports)
        except OSError as error:
            # What is printed may go to the same full disk.
            with contextlib.suppress(OSError):
                sys.stdout.write(
                    f"slurmtune: {self._log_path}: late reports are not in it: {error}\n"
                )
                sys.stdout.flush()

    def _append(self, reports: "list[Report]") -> None:
        log = AttemptLog(self._log_path)
        log.add_all(
            event_log.REPORT,
            [
                {
                    "late": True,
                    "resource": report.resource,
                    "metrics": {k: frame.encode_number(v) for k, v in report.metrics.items()},
                }
                for report in reports
            ],
        )
        log.finish(_PATIENCE_SECONDS)

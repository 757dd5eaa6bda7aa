"""Every error that slurmtune raises on purpose, as one tree.

::

    SlurmtuneError
    ├── SpecError                 the spec is wrong (exit code 2); carries every problem found
    ├── UsageError                the command line is wrong (2)
    ├── StudyNotFoundError        no such study or trial (4)
    ├── StudyStateError           the study's directory cannot be used
    │   ├── CorruptJournalError   a sealed part of the journal is damaged
    │   ├── ReplayError           the recorded decisions do not follow from the records
    │   └── NewerFormatError      written by a newer slurmtune
    ├── DriverBusyError           another driver is alive (5)
    ├── DriverFencedError         another driver took over; this one must not act any more (5)
    ├── BackendError              where attempts run is out of order (3)
    │   ├── BackendUnavailableError   no answer: nothing is known, everything is kept
    │   └── SubmissionRefusedError    a clear no: carries the reason
    ├── TransitionError           an event that cannot happen in this state
    └── TrialError                misuse of the API inside a training script
        └── MissingMetricError    a report lacks the metric that the study wants

The exit codes are those of the command line (README, "Exit codes").
"""

from __future__ import annotations


class SlurmtuneError(Exception):
    """Root of the tree; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class SpecError(SlurmtuneError, ValueError):
    """The spec is wrong; the message holds every problem that was found."""

    exit_code = 2


class UsageError(SlurmtuneError, ValueError):
    """The command line asks for something that does not exist or does not go together."""

    exit_code = 2


class StudyNotFoundError(SlurmtuneError, LookupError):
    """There is no such study, or no such trial in it."""

    exit_code = 4


class StudyStateError(SlurmtuneError, RuntimeError):
    """The study's directory cannot be used as it is."""

    exit_code = 3


class CorruptJournalError(StudyStateError):
    """A part of the journal that was complete before is damaged now."""


class ReplayError(StudyStateError):
    """A decision derived from the records differs from the recorded one."""


class NewerFormatError(StudyStateError):
    """The study was written by a newer slurmtune."""


class DriverBusyError(SlurmtuneError, RuntimeError):
    """Another driver is alive and drives this study."""

    exit_code = 5


class DriverFencedError(SlurmtuneError, RuntimeError):
    """Another driver took this study over; this one may not act any more."""

    exit_code = 5


class BackendError(SlurmtuneError, RuntimeError):
    """Where attempts run is out of order."""

    exit_code = 3


class BackendUnavailableError(BackendError):
    """No answer, or an ambiguous one: nothing is known and every state is kept."""


class SubmissionRefusedError(BackendError):
    """A submission was refused for good or for now.

    ``retryable`` tells whether waiting can help (a submit limit) or not (an unknown partition).
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class TransitionError(SlurmtuneError, RuntimeError):
    """An event that cannot happen in this state."""


class TrialError(SlurmtuneError, RuntimeError):
    """The API inside a training script was used wrongly."""


class MissingMetricError(TrialError, KeyError):
    """A report lacks the metric that the study wants."""

    def __str__(self) -> str:
        return str(self.args[0])

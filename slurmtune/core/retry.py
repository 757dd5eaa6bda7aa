"""When an attempt that did not succeed is repeated: the rules of ``[retry]``."""

from __future__ import annotations

from slurmtune.core.events import Limits
from slurmtune.core.record import AttemptRecord, TrialRecord
from slurmtune.core.trial import Outcome


def allowed_repeats(limits: Limits, outcome: Outcome) -> int:
    """Return how often a trial may be repeated after ``outcome``."""
    return {
        Outcome.FAILED: limits.retry_crash,
        Outcome.TIMEOUT: limits.retry_timeout,
        Outcome.PREEMPTED: limits.retry_preempted,
        Outcome.OUT_OF_MEMORY: limits.retry_out_of_memory,
        Outcome.NODE_FAILED: limits.retry_node_fail,
        Outcome.LOST: limits.retry_node_fail,
    }.get(outcome, 0)


def made_progress(attempt: AttemptRecord) -> bool:
    """Tell whether the attempt saved a checkpoint beyond where it started."""
    return attempt.saved is not None and attempt.saved > attempt.start


def is_repeated(
    limits: Limits, trial: TrialRecord, attempt: AttemptRecord, outcome: Outcome
) -> bool:
    """Tell whether the attempt is repeated, and count the repetition.

    After its time limit an attempt gets a longer one, as often as ``retry.timeout`` says, and
    after that it is repeated for free as long as each slot saves a newer checkpoint: a long
    training simply needs several slots. Two in a row without progress would never end.
    """
    used = trial.retries.get(outcome, 0)
    if used >= allowed_repeats(limits, outcome):
        return outcome is Outcome.TIMEOUT and made_progress(attempt)
    trial.retries[outcome] = used + 1
    trial.longer += outcome is Outcome.TIMEOUT
    trial.larger += outcome is Outcome.OUT_OF_MEMORY
    return True

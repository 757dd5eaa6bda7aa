"""Why a program failed, in words: from its exit code and the last lines of its output.

The first rule that matches decides. A rule says what to do where something can be done.
Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import re
from typing import List, NamedTuple, Optional, Sequence

TAIL_LINES = 200
"""Last lines of the output that are looked at."""
RECORDED_LINES = 20
"""Last lines that go into the record of the end."""
RECORDED_LINE_LENGTH = 400

_SHOWN_NAMES = 20

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_EXCEPTION = re.compile(
    r"(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?::.*)?"
)
_MEMORY_EVIDENCE = re.compile(
    r"oom[-_ ]?kill|out[- ]of[- ]memory handler|exceeded (?:job |step )?memory limit"
    r"|Out Of Memory|is killed by signal: Killed|std::bad_alloc",
    re.IGNORECASE,
)
_GPU_MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"
    r"|torch\.cuda\.OutOfMemoryError|HIP out of memory"
    r"|RESOURCE_EXHAUSTED: (?:Out of memory|OOM)"
)


class _Rule(NamedTuple):
    expression: "re.Pattern[str]"
    cause: str
    """``{0}`` is the text that was found, ``{1}`` its first group."""


def _rule(expression: str, cause: str) -> _Rule:
    return _Rule(re.compile(expression), cause)


_RULES = (
    _Rule(_GPU_MEMORY, "CUDA out of memory: lower the batch size, or ask for a larger GPU"),
    _rule(r"slurmtune\.errors\.[A-Za-z]+: (.*)", "{1}"),
    _rule(r"ModuleNotFoundError: (No module named .*)", "{1}: is [env] right?"),
    _rule(r"ImportError: (.*)", "cannot import: {1}"),
    _rule(
        r"CUDA driver version is insufficient.*|forward compatibility was attempted.*",
        "the node's GPU driver is too old for this CUDA: {0}",
    ),
    _rule(r"version [`'\"]?(GLIBC[\w.]*)[`'\"]? not found", "built for another system: {0}"),
    _rule(
        r"[Aa]ddress already in use",
        "a port was in use: several trials share a node; take the port from the job id",
    ),
    _rule(
        r"NCCL.*(?:[Tt]imed? ?out|timeout)|[Ww]atchdog caught collective operation timeout",
        "NCCL timed out: a process was gone, or the network is blocked",
    ),
    _rule(r"NCCL error.*", "{0}"),
    _rule(
        r"(unrecognized arguments: .*|no such option:? .*)",
        "the program does not know its arguments ({1}): see run.args",
    ),
    _rule(r"the following arguments are required: .*", "{0}: see run.args"),
    _rule(r"[Nn]o space left on device", "No space left on device"),
    _rule(r"[Dd]isk quota exceeded", "Disk quota exceeded"),
    _rule(
        r"HF_HUB_OFFLINE|LocalEntryNotFoundError|OfflineModeIsEnabled",
        "no internet on the node: download models and data before (HF_HUB_OFFLINE)",
    ),
    _rule(
        r"Connection refused|Temporary failure in name resolution|Network is unreachable"
        r"|ProxyError|Max retries exceeded with url",
        "no connection ({0}): nodes often have no internet; download before, or set the proxy",
    ),
    _rule(r"CUDA error: .*", "{0}"),
    _rule(r"No CUDA GPUs are available|no CUDA-capable device is detected", "the job saw no GPU"),
    _rule(r"DUE TO TIME LIMIT", "the time limit of the job was reached"),
    _rule(r"FileNotFoundError: (?:\[Errno 2\] )?(.*)", "{1}"),
    _rule(r"(?:\S+: )?(\S+): command not found", "command not found: {1}"),
    _rule(r"PermissionError: (?:\[Errno 13\] )?(.*)", "{1}"),
    _rule(r"Segmentation fault", "Segmentation fault"),
    _rule(r"AssertionError.*", "{0}"),
    _rule(r".*No such file or directory", "{0}"),
    _rule(r".*Permission denied", "{0}"),
)

_EXIT_CODES = {
    126: "Permission denied: the command cannot be executed (exit code 126)",
    127: "command not found (exit code 127)",
    132: "illegal instruction: built for another processor (exit code 132)",
    134: "aborted (exit code 134)",
    135: "bus error: often a full /dev/shm or a file that was cut (exit code 135)",
    137: "Killed (exit code 137): most likely out of memory",
    139: "Segmentation fault (exit code 139)",
    143: "terminated by a signal (exit code 143)",
}
_SIGNALS = {4: 132, 6: 134, 7: 135, 9: 137, 11: 139, 15: 143}


def likely_cause(exit_code: Optional[int], signal: Optional[int], lines: Sequence[str]) -> str:
    """Return the likely cause of a failure; at least what the exit code says."""
    tail = [clean(line) for line in lines[-TAIL_LINES:]]
    for rule in _RULES:
        # The last line that matches: earlier ones may have been survived.
        for line in reversed(tail):
            found = rule.expression.search(line)
            if found is not None:
                groups = (found.group(0), *found.groups(""))
                return _shortened(rule.cause.format(*(str(group).strip() for group in groups)))
    code = _SIGNALS.get(signal, 0) if signal else exit_code
    if code in _EXIT_CODES:
        return _EXIT_CODES[code]
    for line in reversed(tail):
        if _EXCEPTION.fullmatch(line.strip()):
            return _shortened(line.strip())
    return f"ended by signal {signal}" if signal else f"exit code {exit_code}"


def is_memory_evidence(lines: Sequence[str]) -> bool:
    """Tell whether the output says that the node's memory limit was hit."""
    return any(
        _MEMORY_EVIDENCE.search(line) and not _GPU_MEMORY.search(line)
        for line in lines[-TAIL_LINES:]
    )


def missing_metric(
    missing: Sequence[str], reported: Sequence[str], unmatched: Sequence[str] = ()
) -> str:
    """Return the cause of an attempt that ended well and lacks a metric.

    Args:
        missing: Metrics that the study wants and nobody reported.
        reported: Names of what was reported.
        unmatched: Expressions of ``parse`` for ``missing``, which matched nothing.
    """
    wanted = " and ".join(f"'{name}'" for name in missing)
    shown = ", ".join(reported[:_SHOWN_NAMES]) or "nothing"
    text = f"ended well but reported no {wanted}; it reported: {shown}"
    if len(reported) > _SHOWN_NAMES:
        text += ", ..."
    if unmatched:
        text += "; no line of its output matches " + ", ".join(repr(one) for one in unmatched)
    return text


def recorded_tail(lines: Sequence[str]) -> List[str]:
    """Return the last lines, cleaned and cut, for the record of the end."""
    return [clean(line)[:RECORDED_LINE_LENGTH] for line in lines[-RECORDED_LINES:]]


def clean(line: str) -> str:
    """Return a line without control characters, so that it cannot play with a terminal."""
    return _CONTROL.sub("", line.rsplit("\r", 1)[-1] if not line.endswith("\r") else line[:-1])


def _shortened(text: str) -> str:
    return text if len(text) <= RECORDED_LINE_LENGTH else text[: RECORDED_LINE_LENGTH - 3] + "..."

"""``logs`` of attempts that went on in the process of an earlier one: the output is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurmtune.store import event_log, frame
from slurmtune.store.layout import StudyLayout

FIRST, SECOND, THIRD = (f"t00003.r{rung}.a1" for rung in range(3))
Write = Callable[..., None]


@pytest.fixture
def write(fake: Any) -> Write:
    """Return the function that writes what an attempt leaves behind."""
    layout = StudyLayout(str(fake.root))

    def go(attempt: str, printed: str, *, continued: bool = False) -> None:
        start = {"k": event_log.START, "n": 0, "job": "4711_3", "host": "node3"}
        records = [
            {**start, "continued": True} if continued else start,
            {"k": event_log.END, "n": 1, "outcome": "SUCCEEDED"},
        ]
        Path(layout.attempt(attempt)).mkdir(parents=True)
        Path(layout.events(attempt)).write_bytes(b"".join(map(frame.encode, records)))
        Path(layout.output(attempt)).write_text(printed)

    return go


def test_the_output_is_that_of_the_attempt_in_which_the_process_began(
    run: Any, fake: Any, write: Write
) -> None:
    write(FIRST, "epoch 1\nepoch 2\nepoch 3\n")
    write(SECOND, "a note\n", continued=True)
    write(THIRD, "a note\n", continued=True)

    assert run("logs", "3", cwd=fake.folder).out.splitlines() == [
        "== t00003 rung 2, job 4711_3, node3, ok ==",
        "(it went on in the process of t00003 rung 0, whose output this is)",
        "epoch 1",
        "epoch 2",
        "epoch 3",
    ]


def test_a_process_of_its_own_ends_the_search(run: Any, fake: Any, write: Write) -> None:
    write(FIRST, "epoch 1\n")
    write(SECOND, "epoch 2\n")
    write(THIRD, "a note\n", continued=True)

    out = run("logs", "3", cwd=fake.folder).out

    assert "process of t00003 rung 1," in out
    assert out.endswith("\nepoch 2\n")


def test_all_attempts_show_the_output_of_a_process_once(run: Any, fake: Any, write: Write) -> None:
    write(FIRST, "epoch 1\nepoch 2\n")
    write(SECOND, "a note\n", continued=True)

    out = run("logs", "3", "--all", cwd=fake.folder).out

    assert out.count("epoch 1") == 1
    assert out.endswith("(it went on in the process of t00003 rung 0, whose output is above)\n")


def test_following_goes_on_where_the_process_prints(run: Any, fake: Any, write: Write) -> None:
    write(FIRST, "epoch 1\n")
    write(SECOND, "a note\n", continued=True)

    out = run("logs", "3", "-f", cwd=fake.folder).out

    assert out.count("epoch 1") == 1
    assert "a note" not in out

"""The command line of ``scripts/simulate-faults``: one study and its story, or many in figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from slurmtune.testing.fault_study import Result, Totals, simulate, simulate_many
from slurmtune.testing.faults.planted import PLANTED, Parts

_STUDIES = 2000
_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the studies that the arguments name; return 0 when no invariant was broken.

    With a planted fault it is the other way round: 0 when the fault was found.
    """
    parser = argparse.ArgumentParser(
        prog="scripts/simulate-faults",
        description="Live through studies in which everything goes wrong.",
    )
    parser.add_argument("--seed", type=int, help="the study to live through, or the first one")
    parser.add_argument("--studies", type=int, help=f"how many; {_STUDIES} without --seed")
    parser.add_argument("--planted", choices=sorted(PLANTED), help="put this fault in on purpose")
    parser.add_argument("--story", action="store_true", help="tell the story in any case")
    given = parser.parse_args(arguments)
    parts = PLANTED[given.planted] if given.planted else Parts()
    if given.seed is not None and given.studies is None:
        result = simulate(given.seed, parts)
        _say(_one(result, with_story=given.story))
        is_broken = bool(result.broken)
    else:
        first = given.seed or 0
        count = _STUDIES if given.studies is None else given.studies
        totals = simulate_many(range(first, first + count), parts)
        _say(_many(totals))
        is_broken = bool(totals.broken)
    return int(is_broken != bool(given.planted))


def _one(result: Result, *, with_story: bool) -> str:
    head = (
        f"seed {result.plan.seed}: {result.events} events, {result.drivers} drivers, "
        f"{result.virtual_seconds / 3600:.1f} virtual hours, {result.faults.total()} faults; "
        f"{result.broken or f'ended as {result.reason!r}, nothing broken'}"
    )
    return f"{result.story()}\n{head}" if result.broken or with_story else head


def _many(totals: Totals) -> str:
    head = (
        f"{totals.studies} studies, {totals.events} events, {totals.drivers} drivers, "
        f"{totals.virtual_hours:.0f} virtual hours, {totals.faults.total()} faults"
    )
    lines = [
        head,
        *(f"  {count:7}  {kind}" for kind, count in totals.faults.most_common()),
        "ended as " + ", ".join(f"{why} ({n})" for why, n in totals.reasons.most_common()),
        f"{len(totals.broken)} with a broken invariant",
    ]
    lines += [
        f"  scripts/simulate-faults --seed {result.plan.seed}: {result.broken}"
        for result in totals.broken[:_SHOWN]
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())

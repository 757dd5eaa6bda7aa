"""Which keys and values of a spec have no function yet: one table, read by `check` and `launch`.

Ignoring one of them in silence would be a lie, so each is told. Where ignoring it would change
which configs are tried, or with which resources, `launch` refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from slurmtune.spec.model import Spec
from slurmtune.spec.problem import Problem, Severity
from slurmtune.spec.source import Path, Tree, dotted

SAMPLERS = frozenset({"random", "grid", "sobol", "halton", "hammersley", "lhs", "tpe"})
INITIAL = frozenset({"random", "sobol", "halton", "hammersley", "lhs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something that can be written in a spec and does nothing yet."""

    key: str
    """Dotted path that must be given for the gap to matter."""
    applies: Callable[[Spec], bool]
    message: Callable[[Spec], str]
    blocks: bool = False
    """Whether ignoring it would change what is tried, or with which resources."""


def _always(_: Spec) -> bool:
    return True


def _told(text: str) -> Callable[[Spec], str]:
    return lambda _: text


GAPS: tuple[Gap, ...] = (
    Gap(
        key="search.sampler",
        applies=lambda spec: spec.search.sampler not in SAMPLERS,
        message=lambda spec: f'sampler = "{spec.search.sampler}"',
        blocks=True,
    ),
    Gap(
        key="search.initial",
        applies=lambda spec: spec.search.initial not in INITIAL,
        message=lambda spec: f'initial = "{spec.search.initial}"',
        blocks=True,
    ),
    Gap(
        key="search.gp",
        applies=lambda spec: spec.search.sampler != "gp",
        message=_told("options of the Gaussian process"),
    ),
    Gap(
        key="objective",
        applies=lambda spec: len(spec.objective) > 1,
        message=_told("several objectives"),
        blocks=True,
    ),
    Gap(
        key="objective",
        applies=lambda spec: any(o.limit is not None for o in spec.objective),
        message=_told("a limit on an objective"),
        blocks=True,
    ),
    Gap(key="run.copy", applies=lambda spec: bool(spec.run.snapshot), message=_told("copy")),
    Gap(
        key="env.container",
        applies=lambda spec: bool(spec.env.container),
        message=_told("container"),
        blocks=True,
    ),
    Gap(
        key="report.html",
        applies=lambda spec: spec.report.html,
        message=_told("a report that is rewritten while the study runs"),
    ),
    Gap(key="report.every", applies=_always, message=_told("every")),
    Gap(key="report.watch", applies=lambda s: bool(s.report.watch), message=_told("watch")),
    Gap(key="report.notify", applies=lambda s: bool(s.report.notify), message=_told("notify")),
    Gap(key="report.export", applies=lambda s: bool(s.report.export), message=_told("export")),
)


def unavailable(
    spec: Spec, given_keys: Collection[str], tree: Tree | None = None
) -> list[Problem]:
    """Return a note for everything that the user set and that does nothing yet.

    ``given_keys`` are the dotted paths that stand in the sources; ``tree`` tells where.
    """
    problems = [
        _problem(tree, _place(gap.key, tree), gap.message(spec), blocks=gap.blocks)
        for gap in GAPS
        if _is_given(gap.key, given_keys) and gap.applies(spec)
    ]
    problems += [
        _problem(tree, ("space", name, "prior"), "prior", blocks=False)
        for name, parameter in spec.space.items()
        if parameter.prior is not None
    ]
    return problems


def _is_given(key: str, given: Collection[str]) -> bool:
    return key in given


def _place(key: str, tree: Tree | None) -> Path:
    """Return where to point: for several objectives to the second."""
    path: Path = tuple(key.split("."))
    objectives = tree.get(("objective",)) if tree and key == "objective" else None
    return (*path, 1) if isinstance(objectives, list) and len(objectives) > 1 else path


def _problem(tree: Tree | None, path: Path, what: str, *, blocks: bool) -> Problem:
    message = f"not available yet: {what}"
    fix = "leave it out to launch" if blocks else ""
    if tree is None:
        return Problem(
            code="U1",
            message=message,
            severity=Severity.NOTE,
            path=dotted(path),
            fix=fix,
            blocks_launch=blocks,
        )
    return tree.problem("U1", message, path, fix=fix, severity=Severity.NOTE, blocks_launch=blocks)

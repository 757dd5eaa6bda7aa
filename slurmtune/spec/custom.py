"""A scheduler of the user's own: its file is read once, kept with the study, and watched.

What it does wrong is told as a mistake in that file, with the line, and never as a traceback: when
it is loaded, when it is made, and when it is asked. `rehearsal` asks it before a study does.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from operator import index
from types import ModuleType, TracebackType
from typing import Any, NoReturn, cast

from slurmtune.core.events import Resource
from slurmtune.core.ports import Decision, Leaders, Promote, Scheduler, Standing, StartTrial
from slurmtune.errors import SpecError, StudyStateError
from slurmtune.spec.field import own_scheduler, scheduler_path
from slurmtune.spec.problem import SpecErrors
from slurmtune.spec.source import MAX_BYTES, Document, Mark
from slurmtune.spec.words import did_you_mean
from slurmtune.store import fs
from slurmtune.store.layout import StudyLayout

_MEMBERS = tuple(name for name in vars(Scheduler) if not name.startswith("_"))
"""What the study asks of a scheduler."""
_MOST_CHARS = 500
"""Of a text in a standing: it is recorded with every verdict."""
_BASE = "slurmtune.schedulers.base.BaseScheduler"


class SchedulerMistake(SpecError):
    """A scheduler raised an error, or answered what no study can carry out."""

    def __init__(self, message: str, *, member: str, what: str, line: int | None = None) -> None:
        super().__init__(message)
        self.member = member
        """What was asked of it, such as ``decide``."""
        self.what = what
        """What it did wrong."""
        self.line = line
        """Of its file, if the error came up there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerCode:
    """The file of a scheduler, as it was read."""

    file: str
    """As the spec names it."""
    name: str
    """Of the class."""
    text: bytes
    path: str
    """Where it was read."""
    study: str = ""
    """Name of the study that keeps this copy; empty: it is the user's own file."""

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return hashlib.sha256(self.text).hexdigest()

    def make(
        self, levels: Sequence[Resource], reduction_factor: int, arguments: Mapping[str, Any]
    ) -> Scheduler:
        """Return a fresh scheduler, watched.

        Raises:
            SpecErrors: the file cannot be loaded, or the class not be made; with the line.
        """
        maker = getattr(self._module(), self.name, None)
        if not isinstance(maker, type):
            self._no_class()
        try:
            made = maker(levels=tuple(levels), reduction_factor=reduction_factor, **arguments)
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            self._fail(error, f"{self.name} cannot be made")
        missing = [member for member in _MEMBERS if not hasattr(made, member)]
        if missing:
            self.refuse(
                f"{self.name} has no {missing[0]}", f"derive it from {_BASE}, which has the rest"
            )
        return _Watched(self, cast("Scheduler", made))

    def where(self, error: BaseException) -> int | None:
        """Return the line of this file at which ``error`` came up, the innermost one."""
        if isinstance(error, SyntaxError) and error.filename == self.path:
            return error.lineno
        line = None
        trace: TracebackType | None = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self.path:
                line = trace.tb_lineno
            trace = trace.tb_next
        return line

    def line_of(self, member: str) -> int | None:
        """Return the line of this file where ``member`` is defined; None: it is not there."""
        found = inspect.getattr_static(getattr(self._module(), self.name), member, None)
        code = getattr(found.fget if isinstance(found, property) else found, "__code__", None)
        return code.co_firstlineno if code and code.co_filename == self.path else None

    def refuse(self, message: str, fix: str, line: int | None = None) -> NoReturn:
        """Tell a mistake in this file, with a picture of the line.

        Raises:
            SpecErrors: always.
        """
        document = Document(self.file, self.text.decode("utf-8", errors="replace"))
        mark = None
        if line is not None:
            shown = document.line(line)
            start = len(shown) - len(shown.lstrip())
            mark = Mark(line, start + 1, len(shown.strip()))
        problem = document.problem("M12", message, mark, path="search.scheduler", fix=fix)
        raise SpecErrors([problem]) from None

    def _module(self) -> ModuleType:
        """Return the file as a module, under a name that is its digest."""
        name = f"_slurmtune_scheduler_{self.sha256[:16]}"
        known = sys.modules.get(name)
        if known is not None and known.__file__ == self.path:
            return known
        spec = importlib.util.spec_from_loader(name, _Loader(self), origin=self.path)
        assert spec is not None
        assert spec.loader is not None
        spec.has_location = True
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up while they are made.
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
            del sys.modules[name]
            self._fail(error, f"{self.file} cannot be loaded")
        return module

    def _no_class(self) -> NoReturn:
        module = self._module()
        classes = [
            name
            for name, item in vars(module).items()
            if isinstance(item, type) and item.__module__ == module.__name__
        ]
        fix = did_you_mean(self.name, classes) or (
            f"classes there: {', '.join(classes)}" if classes else "it holds no class"
        )
        self.refuse(f"{self.file} has no class {self.name}", fix)

    def _fail(self, error: BaseException, what: str) -> NoReturn:
        message = f"{what}: {_told(error)}"
        if isinstance(error, TypeError) and self.where(error) is None:
            # The call itself was wrong, so no line of the file was reached.
            fix = "it is called with levels=, reduction_factor= and what [search] options hold"
            self.refuse(message, fix)
        self.refuse(message, "", self.where(error))


class _Loader(importlib.abc.SourceLoader):
    """Loads what was read, so that what runs is what the digest is of; writes no cache."""

    def __init__(self, code: SchedulerCode) -> None:
        self._code = code

    def get_data(self, path: str | bytes) -> bytes:
        del path
        return self._code.text

    def get_filename(self, fullname: str) -> str:
        del fullname
        return self._code.path


class _Watched:
    """A scheduler whose errors are told as mistakes in its file.

    Of what it answers only plain numbers and short texts come through: all of it is recorded.
    """

    def __init__(self, code: SchedulerCode, scheduler: Scheduler) -> None:
        self._code = code
        self._scheduler = scheduler
        self._brackets: list[int] = []
        """By trial."""
        self._promoted: set[Promote] = set()

    def ladder(self, bracket: int) -> Sequence[Resource | None]:
        found = self._call("ladder", bracket)
        try:
            levels = tuple(None if level is None else _number(level) for level in found)
        except (TypeError, ValueError):
            self._fail("ladder", f"it returned {found!r}, not a sequence of numbers")
        rungs = [level for level in levels if level is not None]
        if not all(before < after for before, after in pairwise([0, *rungs])):
            self._fail("ladder", f"it returned {found!r}, which does not increase from above 0")
        return levels

    def decide(self, *, may_start: bool) -> Decision | None:
        found = self._call("decide", may_start=may_start)
        if found is not None and not isinstance(found, (StartTrial, Promote)):
            self._fail("decide", f"it returned {found!r}, not StartTrial, Promote or None")
        try:
            plain = None if found is None else _plain_decision(found)
        except TypeError:
            self._fail("decide", f"it returned {found!r}, which needs whole numbers")
        if isinstance(plain, Promote):
            self._check_promotion(plain)
        elif plain is not None:
            self._check_start(plain)
        return plain

    def _check_promotion(self, found: Promote) -> None:
        if not 0 <= found.trial < len(self._brackets):
            self._fail("decide", f"it returned {found!r}, but there is no such trial")
        if not 0 <= found.rung < len(self.ladder(self._brackets[found.trial])):
            self._fail("decide", f"it returned {found!r}, but the ladder has no such rung")
        if found in self._promoted:
            # The study would ask for ever.
            self._fail("decide", f"it returned {found!r} a second time")
        self._promoted.add(found)

    def _check_start(self, found: StartTrial) -> None:
        trials = (*found.parents, *(() if found.source is None else (found.source,)))
        if not all(0 <= trial < len(self._brackets) for trial in trials):
            self._fail("decide", f"it returned {found!r}, but there is no such trial")
        if not 0 <= found.rung < len(self.ladder(found.bracket)):
            self._fail("decide", f"it returned {found!r}, but the ladder has no such rung")

    def started(self, trial: int, bracket: int) -> None:
        self._brackets.append(bracket)
        self._call("started", trial, bracket)

    def finished(self, trial: int, rung: int, loss: float | None) -> None:
        self._call("finished", trial, rung, loss)

    def stops(self, trial: int, rung: int, loss: float | None) -> bool:
        return bool(self._call("stops", trial, rung, loss))

    @property
    def runs_through(self) -> bool:
        return bool(self._read("runs_through"))

    @property
    def watches(self) -> bool:
        return bool(self._read("watches"))

    def reported(self, trial: int, resource: Resource, loss: float | None) -> bool:
        return bool(self._call("reported", trial, resource, loss))

    @property
    def separate_rungs(self) -> bool:
        return bool(self._read("separate_rungs"))

    def standing(self, trial: int, rung: int) -> Standing | None:
        found = self._call("standing", trial, rung)
        if found is not None and not isinstance(found, Standing):
            self._fail("standing", f"it returned {found!r}, not Standing or None")
        try:
            return None if found is None else _plain_standing(found)
        except (TypeError, ValueError):
            self._fail("standing", f"it returned {found!r}, with something that is no number")

    def compared(self, trial: int, rung: int) -> Sequence[tuple[int, float | None]]:
        found = self._call("compared", trial, rung)
        try:
            return tuple(
                (index(other), None if loss is None else float(loss)) for other, loss in found
            )
        except (TypeError, ValueError):
            self._fail("compared", f"it returned {found!r}, not pairs of trial and loss")

    def leaders(self) -> Leaders | None:
        found = self._call("leaders")
        if found is not None and not isinstance(found, Leaders):
            self._fail("leaders", f"it returned {found!r}, not Leaders or None")
        try:
            plain = None if found is None else _plain_leaders(found)
        except TypeError:
            self._fail("leaders", f"it returned {found!r}, which needs whole numbers")
        trials = () if plain is None else plain.trials
        if not all(0 <= trial < len(self._brackets) for trial in trials):
            self._fail("leaders", f"it returned {found!r}, but there is no such trial")
        return plain

    def spare(self, trials: int) -> Sequence[tuple[int, int]]:
        found = self._call("spare", trials)
        try:
            pairs = [(index(trial), index(rung)) for trial, rung in found]
        except (TypeError, ValueError):
            self._fail("spare", f"it returned {found!r}, not pairs of trial and rung")
        if not all(0 <= trial < len(self._brackets) for trial, _ in pairs):
            self._fail("spare", f"it returned {found!r}, but there is no such trial")
        return pairs

    @property
    def copies(self) -> bool:
        return bool(self._read("copies"))

    def is_control(self, trial: int) -> bool:
        return bool(self._call("is_control", trial))

    def drop(self, rung: int) -> bool:
        return bool(self._call("drop", rung))

    def _call(self, method: str, *args: Any, **named: Any) -> Any:
        try:
            return getattr(self._scheduler, method)(*args, **named)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
            self._fail(method, _told(error), self._code.where(error))

    def _read(self, member: str) -> Any:
        try:
            return getattr(self._scheduler, member)
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            self._fail(member, _told(error), self._code.where(error))

    def _fail(self, member: str, what: str, line: int | None = None) -> NoReturn:
        code = self._code
        shown = code.line_of(member) if line is None else line
        place = code.file + ("" if shown is None else f":{shown}")
        raise SchedulerMistake(
            f"{place}: {code.name}.{member} failed: {what}\n{_advice(code)}",
            member=member,
            what=what,
            line=shown,
        ) from None


def _advice(code: SchedulerCode) -> str:
    if not code.study:
        return f"Nothing was decided. Mend {code.file}"
    return (
        "Nothing was decided. The study goes on with its own copy of the file, so a mended one "
        f'needs a new study: mend {code.file}, change study.name = "{code.study}" in the spec to '
        "another name, and launch it"
    )


def read_code(scheduler: str, base_dir: str) -> SchedulerCode | None:
    """Return the file of a scheduler of the user's own; None for one of ours.

    Raises:
        SpecError: it cannot be read.
    """
    own = own_scheduler(scheduler)
    if own is None:
        return None
    file, name = own
    path = scheduler_path(file, base_dir)
    try:
        with open(path, "rb") as opened:
            text = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"search.scheduler: cannot read {file}: {error.strerror or error}; its path is "
            "relative to the spec"
        ) from error
    if len(text) > MAX_BYTES:
        raise SpecError(f"search.scheduler: {file} has more than {MAX_BYTES} bytes")
    return SchedulerCode(file=file, name=name, text=text, path=path)


def stored_code(layout: StudyLayout, core: Mapping[str, Any]) -> SchedulerCode | None:
    """Return the scheduler that a study keeps; None when it has one of ours.

    Raises:
        StudyStateError: it is gone or was changed, or others could have changed it.
    """
    told = core.get("code")
    if told is None:
        return None
    try:
        fs.check_private(layout.root)
    except StudyStateError as error:
        raise StudyStateError(
            f"this study can only be read by running its own scheduler, which is not done: {error}"
        ) from error
    try:
        text = fs.read_file(layout.scheduler)
    except OSError as error:
        raise StudyStateError(f"{layout.scheduler} cannot be read: {error}") from error
    code = SchedulerCode(
        file=str(told["file"]),
        name=str(told["class"]),
        text=text,
        path=layout.scheduler,
        study=os.path.basename(layout.root),
    )
    if code.sha256 != told["sha256"]:
        raise StudyStateError(
            f"{layout.scheduler} was changed: it is not the scheduler that the study began with"
        )
    return code


def _number(value: Any) -> Resource:
    """Return the plain number in what may be one of NumPy's.

    Raises:
        TypeError, ValueError: it is none.
    """
    return index(value) if hasattr(value, "__index__") else float(value)


def _plain_decision(decision: Decision) -> Decision:
    """Return a decision with plain numbers.

    Raises:
        TypeError: it holds something that is no whole number.
    """
    if isinstance(decision, Promote):
        return Promote(trial=index(decision.trial), rung=index(decision.rung))
    return StartTrial(
        bracket=index(decision.bracket),
        rung=index(decision.rung),
        parents=tuple(map(index, decision.parents)),
        source=None if decision.source is None else index(decision.source),
    )


def _plain_standing(standing: Standing) -> Standing:
    """Return a standing as it can be recorded; losses that are not finite are none.

    Raises:
        TypeError, ValueError: it holds something that is no number.
    """
    cutoff = None if standing.cutoff is None else float(standing.cutoff)
    best = None if standing.best is None else float(standing.best)
    return Standing(
        rule=str(standing.rule)[:_MOST_CHARS],
        size=index(standing.size),
        place=None if standing.place is None else index(standing.place),
        places=index(standing.places),
        cutoff=cutoff if cutoff is not None and isfinite(cutoff) else None,
        best=best if best is not None and isfinite(best) else None,
        outlook=str(standing.outlook)[:_MOST_CHARS],
    )


def _plain_leaders(leaders: Leaders) -> Leaders:
    """Return leaders as they can be told.

    Raises:
        TypeError: something is no whole number.
    """
    return Leaders(
        trials=tuple(index(trial) for trial in leaders.trials),
        rung=index(leaders.rung),
        rule=str(leaders.rule)[:_MOST_CHARS],
    )


def _told(error: BaseException) -> str:
    words = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__

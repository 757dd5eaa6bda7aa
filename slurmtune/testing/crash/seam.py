"""The seam between slurmtune and the file system: every operation has a number and can go wrong.

While it is open, the functions of ``os`` that slurmtune uses are counted when they touch something
below one folder, by the actor (driver, slot, program) that runs. One operation can be given a
fault: the actor dies there, or the operation fails, or it is done and told as failed.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Self

DRIVER = "driver"

_MASKS = tuple(
    (re.compile(expression), mask)
    for expression, mask in (
        (r"\d+(\.\d+)?\.t\d{5}\.r\d+\.a\d+", "CHECKPOINT"),
        (r"\d{6}-t\d{5}\.r\d+\.a\d+\.json", "OFFER"),
        (r"t\d{5}\.r\d+\.a\d+", "ATTEMPT"),
        (r"t\d{5}", "TRIAL"),
        (r"\d{8}-[0-9a-f]{8}\.log", "SEGMENT"),
        (r"\d{8}\.claim", "EPOCH"),
        (r"\d{19,20}-[0-9a-f]{8}\.json", "COMMAND"),
        (r"st-[0-9a-f]{8}-\d+-\d+", "TOKEN"),
        (r"/\d+\.\d+(\.[0-9a-f]{8})?\.log", "/SLOT.log"),
        (r"offers/[A-Za-z0-9._-]+", "offers/CLASS"),
        (r"[0-9a-f]{32}", "ID"),
    )
)


class Death(BaseException):
    """The actor's process is gone; nothing catches this."""


class Kind(Enum):
    """What goes wrong at an operation."""

    DIE = "die before it"
    DIE_AFTER = "die after it"
    TORN = "die after a part of its bytes"
    LOST = "done, and told as failed"
    FAIL = "not done, and told as failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, once."""

    at: int
    """Number of the operation, counted from 0 since the seam was armed."""
    kind: Kind
    error: int = 0
    """What an operation that fails says."""
    part: int = 0
    """Bytes that are written before a death."""

    def __str__(self) -> str:
        error = errno.errorcode.get(self.error, "")
        return f"{self.at} {self.kind.value} {error or self.part or ''}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation that was asked for."""

    verb: str
    path: str
    """Relative to the folder."""
    actor: str
    size: int
    """Bytes to be written."""
    state: int
    """Changes of the world before it: a death at two operations of one state is the same."""

    @property
    def name(self) -> str:
        """Verb and path, with what differs from run to run masked."""
        return f"{self.verb} {masked(self.path)}"


CREATE, OPEN, OPEN_FOLDER = "create", "open", "open-folder"
WRITE, READ, SYNC, CLOSE, LIST, STAT = "write", "read", "sync", "close", "list", "stat"
RENAME, LINK, UNLINK, MKDIR = "rename", "link", "unlink", "mkdir"
RMDIR, TRUNCATE, TOUCH = "rmdir", "truncate", "touch"
CHANGES = frozenset({CREATE, WRITE, RENAME, LINK, UNLINK, MKDIR, RMDIR, TRUNCATE})
"""Operations after which the files are not what they were."""
_UNKNOWN = ("replace", "symlink", "truncate", "chmod", "access")
"""Nobody uses these on the files of a study; whoever begins to must teach them to the seam."""


def masked(path: str) -> str:
    """Return the path with ids, tokens and numbers replaced by what they are."""
    for expression, mask in _MASKS:
        path = expression.sub(mask, path)
    return path


class Seam:
    """Counts the operations below ``root`` while it is open; one of them can go wrong."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.actor = DRIVER
        """Who runs now."""
        self.operations: list[Operation] = []
        """Everything that was asked for since the seam was opened, by anybody alive."""
        self.state = 0
        """Grows with every change of the world; see `Operation.state`."""
        self.fired: list[str] = []
        """Names of the operations that met a fault."""
        self._fault: Fault | None = None
        self._victims: Callable[[str], bool] = DRIVER.__eq__
        self._count = 0
        self._dead: set[str] = set()
        self._files: dict[int, tuple[str, str]] = {}
        self._real: dict[str, Any] = {}

    # ------------------------------------------------------------------ faults

    def arm(self, fault: Fault | None, victims: Callable[[str], bool] = DRIVER.__eq__) -> None:
        """Count anew the operations of these actors, and give one of them this fault."""
        self._fault, self._victims, self._count = fault, victims, 0

    def bury(self, actor: str) -> None:
        """Close what a dead actor had open, as the kernel does; the name may live again."""
        self._dead.discard(actor)
        for descriptor in [d for d, (_, owner) in self._files.items() if owner == actor]:
            del self._files[descriptor]
            self._real["close"](descriptor)

    def kill(self, actor: str) -> None:
        """Let the actor do nothing any more."""
        self._dead.add(actor)

    def is_dead(self, actor: str) -> bool:
        """Tell whether the actor died and was not buried."""
        return actor in self._dead

    def change(self, verb: str, path: str, call: Callable[[], Any]) -> Any:
        """Count an operation that is none of a file, such as a submission."""
        return self._perform(verb, path, call, changes=True)

    @property
    def open_files(self) -> list[str]:
        """Paths of the files that are open."""
        return sorted(path for path, _ in self._files.values())

    # ------------------------------------------------------------------ the operations

    def _perform(
        self,
        verb: str,
        path: str,
        call: Callable[[], Any],
        *,
        size: int = 0,
        tear: Callable[[int], Any] | None = None,
        changes: bool | None = None,
    ) -> Any:
        actor = self.actor
        if actor in self._dead:
            raise Death
        changes = verb in CHANGES if changes is None else changes
        operation = Operation(verb=verb, path=path, actor=actor, size=size, state=self.state)
        self.operations.append(operation)
        fault = None
        if self._victims(actor):
            if self._fault is not None and self._fault.at == self._count:
                fault, self._fault = self._fault, None
                self.fired.append(operation.name)
            self._count += 1
        if changes:
            self.state += 1
        if fault is None:
            return call()
        return self._go_wrong(fault, path, call, tear, actor)

    def _go_wrong(
        self,
        fault: Fault,
        path: str,
        call: Callable[[], Any],
        tear: Callable[[int], Any] | None,
        actor: str,
    ) -> Any:
        if fault.kind is Kind.FAIL:
            raise OSError(fault.error, os.strerror(fault.error), path)
        if fault.kind is Kind.LOST:
            found = call()
            if type(found) is int:
                self._forget(found)
            raise OSError(fault.error, os.strerror(fault.error), path)
        if fault.kind is Kind.TORN:
            assert tear is not None, "only what writes can be torn"
            tear(fault.part)
        elif fault.kind is Kind.DIE_AFTER:
            call()
        self._dead.add(actor)
        raise Death

    def _forget(self, descriptor: int) -> None:
        """Close the result of an ``open`` that nobody got."""
        if self._files.pop(descriptor, None) is not None:
            self._real["close"](descriptor)

    # ------------------------------------------------------------------ the functions of os

    def __enter__(self) -> Self:
        for name in ("open", "close", "read", "write", "pread", "pwrite", "fsync", "ftruncate"):
            self._patch(name, getattr(self, f"_{name}"))
        for name, verb in (("unlink", UNLINK), ("rmdir", RMDIR), ("mkdir", MKDIR)):
            self._patch(name, self._on_path(name, verb))
        for name, verb in (("listdir", LIST), ("scandir", LIST), ("stat", STAT), ("lstat", STAT)):
            self._patch(name, self._on_path(name, verb))
        self._patch("utime", self._on_path("utime", TOUCH))
        for name, verb in (("rename", RENAME), ("link", LINK)):
            self._patch(name, self._on_two_paths(name, verb))
        for name in _UNKNOWN:
            self._patch(name, self._refused(name))
        self._real["io.open"] = io.open
        builtins.open = self._open_file
        io.open = self._open_file
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        builtins.open = io.open = self._real.pop("io.open")
        for descriptor in self._files:
            self._real["close"](descriptor)
        self._files.clear()
        for name, function in self._real.items():
            setattr(os, name, function)

    def _patch(self, name: str, replacement: Callable[..., Any]) -> None:
        self._real[name] = getattr(os, name)
        setattr(os, name, replacement)

    def _inside(self, path: Any, folder: int | None = None) -> str | None:
        """Return the path relative to the root, or None when it is elsewhere."""
        if isinstance(path, int):
            found = self._files.get(path)
            return None if found is None else found[0]
        text = os.fsdecode(path)
        if folder is not None:
            found = self._files.get(folder)
            return None if found is None else os.path.join(found[0], text)
        if text.startswith(self.root):
            return text[len(self.root) :].strip("/") or "."
        return None

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> Any:
        name = self._inside(path, dir_fd)
        if name is None:
            return self._real["open"](path, flags, mode, dir_fd=dir_fd)

        def call() -> int:
            descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
            self._files[descriptor] = (name, self.actor)
            return descriptor

        verb = CREATE if flags & os.O_CREAT else OPEN_FOLDER if flags & os.O_DIRECTORY else OPEN
        return self._perform(verb, name, call)

    def _open_file(self, file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        name = None if isinstance(file, int) else self._inside(file)

        def call() -> Any:
            return self._real["io.open"](file, mode, *rest, **named)

        if name is None:
            return call()
        assert set(mode) <= set("rbt"), f"{name} is written in a way that the seam cannot tear"
        return self._perform(OPEN, name, call)

    def _close(self, descriptor: int) -> None:
        found = self._files.get(descriptor)
        if found is None:
            self._real["close"](descriptor)
            return

        def call() -> None:
            del self._files[descriptor]
            self._real["close"](descriptor)

        try:
            self._perform(CLOSE, found[0], call)
        except OSError:
            # Linux gives the descriptor back whatever close says.
            if descriptor in self._files:
                call()
            raise

    def _on_descriptor(self, name: str, verb: str, descriptor: int, *rest: Any) -> Any:
        found = self._files.get(descriptor)
        real = self._real[name]
        if found is None:
            return real(descriptor, *rest)
        return self._perform(verb, found[0], lambda: real(descriptor, *rest))

    def _read(self, descriptor: int, size: int) -> Any:
        return self._on_descriptor("read", READ, descriptor, size)

    def _pread(self, descriptor: int, size: int, offset: int) -> Any:
        return self._on_descriptor("pread", READ, descriptor, size, offset)

    def _fsync(self, descriptor: int) -> Any:
        found = self._files.get(descriptor)
        if found is None:
            return self._real["fsync"](descriptor)
        # Not carried out: processes die here, and the machine does not.
        return self._perform(SYNC, found[0], lambda: None)

    def _ftruncate(self, descriptor: int, size: int) -> Any:
        return self._on_descriptor("ftruncate", TRUNCATE, descriptor, size)

    def _write(self, descriptor: int, data: Any) -> Any:
        return self._on_data("write", descriptor, data)

    def _pwrite(self, descriptor: int, data: Any, offset: int) -> Any:
        return self._on_data("pwrite", descriptor, data, offset)

    def _on_data(self, name: str, descriptor: int, data: Any, *rest: int) -> Any:
        found = self._files.get(descriptor)
        real = self._real[name]
        if found is None:
            return real(descriptor, data, *rest)
        return self._perform(
            WRITE,
            found[0],
            lambda: real(descriptor, data, *rest),
            size=len(data),
            tear=lambda part: real(descriptor, data[:part], *rest),
        )

    def _on_path(self, name: str, verb: str) -> Callable[..., Any]:
        def replacement(path: Any = ".", *rest: Any, **named: Any) -> Any:
            real = self._real[name]
            inside = self._inside(path, named.get("dir_fd"))
            if inside is None:
                return real(path, *rest, **named)
            return self._perform(verb, inside, lambda: real(path, *rest, **named))

        return replacement

    def _on_two_paths(self, name: str, verb: str) -> Callable[..., Any]:
        def replacement(source: Any, target: Any, **named: Any) -> Any:
            real = self._real[name]
            inside = self._inside(target)
            if inside is None:
                return real(source, target, **named)
            return self._perform(verb, inside, lambda: real(source, target, **named))

        return replacement

    def _refused(self, name: str) -> Callable[..., Any]:
        def replacement(path: Any, *rest: Any, **named: Any) -> Any:
            inside = self._inside(path)
            assert inside is None, f"the seam knows no os.{name}, of {inside}"
            return self._real[name](path, *rest, **named)

        return replacement

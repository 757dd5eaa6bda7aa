"""TOML text and command-line overrides as one tree of data in which every value knows its place.

``tomllib`` parses and judges the syntax; the scanner here only finds out where the keys and values
of a text stand that ``tomllib`` has accepted, and must therefore not judge anything.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from slurmtune.spec.problem import Problem, Severity

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1

Path = tuple[str | int, ...]
"""Keys and list positions from the root to a value."""

_BARE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SKIP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_TEXT = re.compile(
    r'"""(?:[^"\\]+|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']+|'{1,2}(?!'))*'{3,5}"
    r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_VALUE = re.compile(r"[^\s,\]}#]+(?: \d\d:\d\d[^\s,\]}#]*)?")
_LONG_KEY = re.compile(
    r"""(?<![A-Za-z0-9_-])(?:(?:[A-Za-z0-9_-]+|"[^"\\\n]*"|'[^'\n]*')[ \t]*\.[ \t]*)"""
    rf"{{{MAX_DEPTH}}}"
)
_HUGE_NUMBER = re.compile(r"[0-9_]{4000,}")
_SYNTAX_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of one line; line and column count from 1."""

    line: int
    column: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a key and its value stand, and in which document."""

    document: Document
    key: Mark
    value: Mark


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One text: a file, or one override of the command line."""

    name: str
    """As the user knows it."""
    text: str
    first_line: int = 1
    """Number of the first line, for overrides, which count together."""

    def line(self, number: int) -> str:
        """Return a line by its number, without its end."""
        lines = self.text.split("\n")
        index = number - self.first_line
        return lines[index].rstrip("\r") if 0 <= index < len(lines) else ""

    def problem(
        self,
        code: str,
        message: str,
        mark: Mark | None = None,
        *,
        path: str = "",
        fix: str = "",
        severity: Severity = Severity.ERROR,
        blocks_launch: bool = False,
    ) -> Problem:
        """Return a problem of this document; without ``mark`` of the document as a whole."""
        return Problem(
            code=code,
            message=message,
            severity=severity,
            file=self.name,
            line=mark.line if mark else self.first_line,
            column=mark.column if mark else 1,
            length=max(1, mark.length) if mark else 0,
            path=path,
            fix=fix,
            source=self.line(mark.line) if mark else "",
            blocks_launch=blocks_launch,
        )


@dataclass(slots=True)
class Tree:
    """Data with the place of everything in it."""

    document: Document
    """What problems without a place are said to be in."""
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place | None:
        """Return the place of the value at ``path``, or of the nearest thing around it."""
        for length in range(len(path), 0, -1):
            found = self.places.get(path[:length])
            if found is not None:
                return found
        return None

    def problem(
        self,
        code: str,
        message: str,
        path: Path,
        *,
        fix: str = "",
        at_key: bool = False,
        severity: Severity = Severity.ERROR,
        blocks_launch: bool = False,
    ) -> Problem:
        """Return a problem with the value, or the key, at ``path``."""
        place = self.place(path)
        return (place.document if place else self.document).problem(
            code,
            message,
            (place.key if at_key else place.value) if place else None,
            path=dotted(path),
            fix=fix,
            severity=severity,
            blocks_launch=blocks_launch,
        )

    def get(self, path: Path) -> Any:
        """Return the value at ``path``, or None."""
        value: Any = self.data
        for step in path:
            try:
                value = value[step]
            except (LookupError, TypeError):
                return None
        return value

    def merge(self, upper: Tree) -> None:
        """Lay ``upper`` over this tree: tables are joined, everything else is replaced."""
        replaced: set[Path] = set()
        _merge_tables(self.data, upper.data, (), replaced)
        kept = {p: q for p, q in self.places.items() if not _is_below(p, replaced)}
        self.places = {**kept, **upper.places}

    def given(self) -> frozenset[str]:
        """Return the dotted paths of all tables and values that stand in the sources."""
        return frozenset(dotted(path) for path, _ in walk(self.data))


def _merge_tables(
    base: dict[str, Any], over: Mapping[str, Any], path: Path, replaced: set[Path]
) -> None:
    for key, value in over.items():
        here = (*path, key)
        # A hyperparameter is one thing: half of one and half of another would be none.
        is_whole = len(here) == 2 and here[0] == "space"
        if isinstance(value, dict) and isinstance(base.get(key), dict) and not is_whole:
            _merge_tables(base[key], value, here, replaced)
        else:
            base[key] = value
            replaced.add(here)


def _is_below(path: Path, tops: set[Path]) -> bool:
    return any(path[:length] in tops for length in range(1, len(path) + 1))


def dotted(path: Path) -> str:
    """Return ``path`` as people write it: ``objective[1].metric``, ``space."sched.power"``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if _BARE_NAME.fullmatch(step) else f'"{step}"'
            text += f".{name}" if text else name
    return text


def walk(data: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value below ``data`` with its path, tables and lists before their parts."""
    stack: list[tuple[Path, Any]] = [(path, data)]
    while stack:
        here, value = stack.pop()
        if here != path:
            yield here, value
        if isinstance(value, dict):
            stack += [((*here, key), item) for key, item in reversed(value.items())]
        elif isinstance(value, list):
            stack += [((*here, i), value[i]) for i in reversed(range(len(value)))]


def decode(raw: bytes, name: str) -> tuple[Document, Problem | None]:
    """Return the document in ``raw``, and what is wrong with it as a text."""
    if len(raw) > MAX_BYTES:
        problem = Document(name, "").problem(
            "T9", f"the file is too large: {len(raw)} bytes, at most {MAX_BYTES}"
        )
        return Document(name, ""), problem
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", errors="replace")
        document = Document(name, raw.decode("utf-8", errors="replace"))
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"), 1)
        fix = "save the file as UTF-8"
        return document, document.problem("T8", "the file is not UTF-8 text", mark, fix=fix)
    document = Document(name, text.replace("\r\n", "\n"))
    if "\0" in text:
        mark = _mark_at(document.text, document.text.index("\0"), 1)
        fix = "save the file as UTF-8"
        return document, document.problem("T8", "the file holds a NUL byte", mark, fix=fix)
    return document, None


def parse(document: Document) -> tuple[Tree, list[Problem]]:
    """Parse a document; with problems, the tree is empty."""
    tree = Tree(document)
    problem = _too_deep(document) or _parse_into(tree)
    if problem is None:
        problems = list(_unfit_values(tree))
        if problems:
            return Tree(document), problems
        return tree, []
    return Tree(document), [problem]


def parse_override(text: str, number: int) -> tuple[Path, Tree, list[Problem]]:
    """Parse one ``KEY=VALUE`` of the command line; ``number`` counts them from 1.

    The value is TOML; what is not TOML (or would be a date) is taken as text.
    """
    prefix = "-s "
    document = Document("command line", prefix + text.replace("\n", "\\n"), number)
    tree = Tree(document)
    key, equals, value = text.partition("=")
    place = Mark(number, len(prefix) + 1, max(1, len(key)))
    parts = _override_key(key) if equals else None
    if parts is None:
        fix = "write KEY=VALUE, such as search.trials=81"
        message = f"'{text}' does not set a key of the spec"
        return (), tree, [document.problem("T12", message, place, fix=fix)]
    value_mark = Mark(number, len(prefix) + len(key) + 2, max(1, len(value)))
    outer: dict[str, Any] = tree.data
    for part in parts[:-1]:
        outer = outer.setdefault(part, {})
    outer[parts[-1]] = _override_value(value)
    path: Path = tuple(parts)
    for length in range(1, len(parts)):
        tree.places[path[:length]] = Place(document=document, key=place, value=place)
    inside = [here for here, _ in walk(tree.get(path), path)]
    for here in [path, *inside]:
        tree.places[here] = Place(document=document, key=place, value=value_mark)
    return path, tree, list(_unfit_values(tree))


def _override_key(key: str) -> list[str] | None:
    if len(key) > 1000 or "\n" in key or _LONG_KEY.search(key):
        return None
    try:
        inner: Any = tomllib.loads(f"{key} = 0")
    except (ValueError, RecursionError):
        return None
    parts: list[str] = []
    while isinstance(inner, dict):
        if len(inner) != 1:
            return None
        part, inner = next(iter(inner.items()))
        parts.append(part)
    return parts


def _override_value(text: str) -> Any:
    document = Document("", f"value = {text}")
    try:
        if _too_deep(document) is not None:
            return text
        parsed = tomllib.loads(document.text)
    except (ValueError, RecursionError):
        return text
    value = parsed["value"]
    is_date = isinstance(value, (dt.date, dt.time))
    return text if is_date or len(parsed) != 1 else value


def _parse_into(tree: Tree) -> Problem | None:
    document = tree.document
    try:
        tree.data = tomllib.loads(document.text)
    except tomllib.TOMLDecodeError as error:
        return _syntax_problem(document, str(error))
    except RecursionError:
        return _depth_problem(document, None)
    except ValueError:
        # int() refuses thousands of digits with an error of its own.
        found = _HUGE_NUMBER.search(document.text)
        mark = _mark_at(document.text, found.start() if found else 0, 1)
        return document.problem("T11", "the number is too large", mark)
    for path, value in walk(tree.data):
        if len(path) > MAX_DEPTH:
            return _depth_problem(document, None)
        del value
    tree.places = {
        path: Place(document=document, key=key, value=value)
        for path, (key, value) in _Scanner(document.text).scan().items()
    }
    return None


def _too_deep(document: Document) -> Problem | None:
    """Refuse what would make the parser recurse or slow down before it is asked."""
    found = _LONG_KEY.search(document.text)
    return _depth_problem(document, found.start()) if found else None


def _depth_problem(document: Document, position: int | None) -> Problem:
    mark = None if position is None else _mark_at(document.text, position, 1)
    return document.problem("T10", f"tables are nested more than {MAX_DEPTH} deep", mark)


def _unfit_values(tree: Tree) -> Iterator[Problem]:
    for path, value in walk(tree.data):
        if isinstance(value, dict):
            for key in value:
                if not _is_clean(key):
                    message = "a key may not hold control characters"
                    yield tree.problem("T8", message, (*path, key), at_key=True)
        elif isinstance(value, str) and not _is_clean(value, but="\t\n\r\x1b"):
            yield tree.problem("T8", f"{path[-1]} holds a character that is no text", path)
        elif isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
            message = "the number is too large: whole numbers end at 9223372036854775807"
            yield tree.problem("T11", message, path)


def _is_clean(text: str, but: str = "") -> bool:
    return not any(
        (c < " " and c not in but) or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff"
        for c in text
    )


def _syntax_problem(document: Document, error: str) -> Problem:
    found = _SYNTAX_PLACE.fullmatch(error)
    message, line, column = found.groups() if found else (error, None, None)
    if line is None or column is None:
        stripped = document.text.rstrip()
        mark = _mark_at(document.text, max(0, len(stripped) - 1), 1)
    else:
        mark = Mark(int(line), int(column), 1)
    code, words, fix = _explain_syntax(message, document.line(mark.line), mark)
    if code != "T4":
        mark = Mark(mark.line, mark.column, _token_length(document.line(mark.line), mark.column))
    return document.problem(code, f"not valid TOML: {words}", mark, fix=fix)


def _token_length(line: str, column: int) -> int:
    found = _BARE_VALUE.match(line, column - 1)
    return len(found.group().rstrip(",]}")) or 1 if found else 1


def _explain_syntax(message: str, line: str, mark: Mark) -> tuple[str, str, str]:
    """Return code, words and remedy for what ``tomllib`` says."""
    words = message[:1].lower() + message[1:]
    rest = line[mark.column - 1 :]
    if message.startswith(("Cannot overwrite", "Cannot declare", "Duplicate", "Cannot mutate")):
        return "T4", "this key or table was already given above", "join the two"
    if message.startswith("Cannot"):
        return "T4", "this key or table was already given above", "join the two"
    if message.startswith("Unclosed") or (
        message == "Invalid value"
        and re.match(r"\[?\[?[A-Za-z_.]+\]?\]?\s*$", rest)
        and "=" not in line
    ):
        return "T7", "unclosed array", "a [ or { in a line above has no partner"
    if message == "Invalid value":
        if re.match(r"(?i)(true|false|none|null)\b", rest):
            return "T2", words, "TOML writes true and false in lower case"
        if re.match(r"[+-]?\.\d", rest):
            return "T5", words, "write a 0 before the point: 0.0"
        if re.match(r"0\d", rest):
            return "T5", words, "a number does not start with 0; quote it if it is text"
        token = re.match(r"[^\s,\]}#]+", rest)
        if token and not rest.startswith(("[", "{", "=")):
            return "T1", words, f'text needs quotes: "{token.group()}"'
        return "T1", words, "a value is missing after the ="
    if message.startswith("Expected newline"):
        value = line.partition("=")[2].partition("#")[0].strip()
        quotable = value and '"' not in value and not value.startswith(("[", "{", "'"))
        return "T3", words, f'quote it: "{value}"' if quotable else "one key = value per line"
    if message.startswith(("Invalid initial character", "Unclosed inline")) and not rest.strip():
        fix = "a { } table must stand on one line; or open a [table]"
        return "T6", "invalid initial character for a key part", fix
    if message.startswith(("Illegal character '\\n'", "Unterminated", 'Expected "\'"')):
        return "T13", "a text does not end on its line", "close the quotes"
    if message.startswith("Unescaped"):
        return "T13", words, "use single quotes for text with \\ in it: '...'"
    if message.startswith("Illegal character"):
        return "T13", "a control character stands in the text", "remove it"
    return "T13", words, "one key = value per line; tables open with [name]"


def _mark_at(text: str, position: int, length: int) -> Mark:
    start = text.rfind("\n", 0, position) + 1
    return Mark(text.count("\n", 0, position) + 1, position - start + 1, length)


class _Scanner:
    """Finds the places of all keys and values in valid TOML."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._lists: dict[Path, int] = {}
        self._marks: dict[Path, tuple[Mark, Mark]] = {}

    def scan(self) -> dict[Path, tuple[Mark, Mark]]:
        """Return the marks of key and value by path."""
        table: Path = ()
        while True:
            self._skip(_SKIP)
            if self._at >= len(self._text):
                return self._marks
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)

    def _header(self, brackets: int) -> Path:
        self._at += brackets
        parts, mark = self._key()
        self._at += brackets
        path: Path = ()
        for index, part in enumerate(parts):
            path = (*path, part)
            is_last = index == len(parts) - 1
            self._put(path, mark, mark, keep=not (is_last and brackets == 1))
            if is_last and brackets == 2:
                self._lists[path] = self._lists.get(path, 0) + 1
            if path in self._lists:
                path = (*path, self._lists[path] - 1)
                self._put(path, mark, mark, keep=True)
        return path

    def _pair(self, table: Path) -> None:
        parts, mark = self._key()
        self._skip(_BLANK)
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        path = table
        for part in parts[:-1]:
            path = (*path, part)
            self._put(path, mark, mark, keep=True)
        path = (*path, parts[-1])
        self._put(path, mark, self._value(path))

    def _key(self) -> tuple[list[str], Mark]:
        self._skip(_BLANK)
        first = self._at
        parts: list[str] = []
        while True:
            found = _KEY_PART.match(self._text, self._at)
            raw = found.group() if found else ""
            parts.append(_name(raw))
            self._at += len(raw)
            end = self._at
            self._skip(_BLANK)
            if not self._text.startswith(".", self._at):
                return parts, self._mark(first, end)
            self._at += 1
            self._skip(_BLANK)

    def _value(self, path: Path) -> Mark:
        first = self._at
        opening = self._text[first : first + 1]
        if opening == "[":
            self._items(path)
        elif opening == "{":
            self._inline(path)
        else:
            pattern = _TEXT if opening in {'"', "'"} else _BARE_VALUE
            found = pattern.match(self._text, first)
            self._at = found.end() if found else first + 1
        return self._mark(first, self._at)

    def _items(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_SKIP)
            if self._text[self._at] == "]":
                self._at += 1
                return
            here = (*path, index)
            mark = self._value(here)
            self._put(here, mark, mark)
            index += 1
            self._skip(_SKIP)
            if self._text[self._at] == ",":
                self._at += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_SKIP)
            if self._text[self._at] == "}":
                self._at += 1
                return
            self._pair(path)
            self._skip(_SKIP)
            if self._text[self._at] == ",":
                self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()

    def _put(self, path: Path, key: Mark, value: Mark, *, keep: bool = False) -> None:
        if not (keep and path in self._marks):
            self._marks[path] = (key, value)

    def _mark(self, first: int, end: int) -> Mark:
        line = bisect_right(self._starts, first)
        start = self._starts[line - 1]
        newline = self._text.find("\n", first, end)
        return Mark(line, first - start + 1, (end if newline < 0 else newline) - first)


def _name(raw: str) -> str:
    if not raw or raw[0] not in "\"'":
        return raw
    return str(tomllib.loads(f"k = {raw}")["k"])

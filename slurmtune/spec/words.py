"""What a user may have meant: near names, other tools' words, and values written as TOML."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_BARE_NAME = re.compile(r"[A-Za-z0-9_-]+")


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that ``word`` most likely stands for, or None."""
    known = list(choices)
    folded = {choice.lower().replace("-", "_"): choice for choice in known}
    plain = word.lower().replace("-", "_")[:100]
    if plain in folded:
        return folded[plain]
    close = difflib.get_close_matches(plain, folded, n=1, cutoff=0.6)
    if close:
        return folded[close[0]]
    longer = [c for c in folded if len(plain) > 1 and (c.startswith(plain) or plain.startswith(c))]
    return folded[longer[0]] if longer else None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``did you mean 'x'?``, or an empty text."""
    guess = nearest(word, choices)
    return f"did you mean '{guess}'?" if guess else ""


def number_text(value: float) -> str:
    """Return a number for people: short when nothing is lost."""
    if isinstance(value, int):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def quoted(value: Any) -> str:
    """Return a value for a message, text within single quotes."""
    if isinstance(value, str):
        return f"'{shortened(value)}'"
    return shortened(toml_text(value))


def shortened(text: str, size: int = 80) -> str:
    """Return ``text`` cut to ``size`` characters."""
    return text if len(text) <= size else f"{text[: size - 3]}..."


def toml_text(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{toml_key(key)} = {toml_text(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(toml_text(item) for item in value)}]"
    return str(value)


def toml_key(name: str) -> str:
    """Return a key as TOML writes it."""
    return name if _BARE_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def kind(value: Any) -> str:
    """Return what a value is, in TOML's words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")

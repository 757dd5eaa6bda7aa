"""The argument list of a program: the command with the values of one attempt, without a shell.

A command is a list of words; placeholders ``{name}`` in them are replaced by values and nothing
else is interpreted. Only a text that cannot work without a shell (pipes, variables, ``&&``) is
given to ``bash -c``. There a value that is more than letters, digits and ``._/:=,+-@%`` is never
part of the text: it is assigned to a variable first, and the text names the variable. So it is not
read as shell wherever it stands, be it a comment, a here-document or ``"$(...)"``.

Rules for a value that is absent (the config of a conditional hyperparameter, the checkpoint of a
fresh start): ``--name {x}`` and ``--name={x}`` are left out, a lone ``{x}`` becomes an empty word.

This module is pure. Runs in the job: Python 3.8, standard library only.
"""

from __future__ import annotations

import re
import shlex
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple, Union

from slurmtune.errors import SpecError

Scalar = Union[str, int, float, bool]
"""A value of a hyperparameter."""
Args = Union[str, Mapping[str, str]]
"""How hyperparameters are appended: gnu, hydra, json, none, or ``{"template": TEXT}``."""

ARGS_STYLES = ("gnu", "hydra", "json", "none")
CONTEXT_NAMES = (
    "start",
    "end",
    "resource",
    "config",
    "trial",
    "rung",
    "seed",
    "checkpoint",
    "save",
)
"""Placeholders that are no hyperparameters."""

# ${name} belongs to a shell.
_PLACEHOLDER = re.compile(r"(?<!\$)\{([A-Za-z_][A-Za-z0-9_./-]*)\}")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh"})
_SHELL_SCRIPT_FLAG = re.compile(r"-[a-z]*c")
# Builtins and assignments mean nothing to exec(2).
_SHELL_FIRST_WORDS = frozenset(
    {"source", ".", "cd", "export", "ulimit", "module", "set", "unset", "eval", "exec", "umask"}
    | {"if", "for", "while", "case", "{", "[[", "!", "trap", "alias"}
)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
# By the quote that they stand in; single quotes switch everything off.
_ACTIVE_IN = {"": frozenset("|&;<>()$`\n*?[~#"), '"': frozenset("$`")}
_HYDRA_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./:@+-]*")
_HYDRA_WORDS = frozenset({"true", "false", "null", "nan", "inf"})


class Words(NamedTuple):
    """A command as the manifest holds it."""

    command: Tuple[str, ...]
    """Words of the argument list; one text when ``shell``."""
    shell: bool
    """Whether the text is run as ``bash -c TEXT``."""


def split_command(text: str) -> Words:
    """Return the words of a command given as text; one that needs a shell stays one text.

    Raises:
        SpecError: a quote is not closed, or there is no word.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SpecError(f"cannot split the command {text!r}: {error}") from None
    if not words:
        raise SpecError("no command")
    if _needs_shell(text.strip(), words[0]):
        return Words((text.strip(),), True)
    return Words(tuple(words), False)


def format_value(value: Scalar) -> str:
    """Return a value as one word: shortest exact floats, plain integers, true and false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, int):
        return str(int(value))
    return str(value)


def placeholders(text: str) -> List[str]:
    """Return the names in braces in ``text``, in order, with repetitions."""
    return _PLACEHOLDER.findall(text)


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Return ``text`` with the placeholders that ``values`` knows replaced; others stay."""
    return _PLACEHOLDER.sub(lambda found: values.get(found.group(1), found.group(0)), text)


def build_argv(
    command: Union[str, Sequence[str]],
    *,
    shell: bool,
    args: Args,
    config: Mapping[str, Scalar],
    context: Mapping[str, str],
    absent: Sequence[str] = (),
) -> List[str]:
    """Return the argument list of the program.

    Args:
        command: Words, or a text.
        shell: Whether the text is for ``bash -c``; a text without it is split first.
        args: How the hyperparameters that the command does not name itself are appended.
        config: The values of the hyperparameters.
        context: The values of `CONTEXT_NAMES`; an empty one counts as absent.
        absent: Names of hyperparameters that this config does not have.

    Raises:
        SpecError: the command cannot be split, or ``args`` is unknown.
    """
    if isinstance(command, str) and not shell:
        command, shell = split_command(command)
    words = [command] if isinstance(command, str) else list(command)
    values = {name: value for name, value in context.items() if value != ""}
    values.update((name, format_value(value)) for name, value in config.items())
    missing = set(absent) | {name for name in CONTEXT_NAMES if name not in values}
    missing -= set(config)
    used = {name for word in words for name in placeholders(word)}
    unused = {name: value for name, value in config.items() if name not in used}
    appended = _appended(args, unused, values, missing, context.get("config", ""))
    if shell:
        text = _substitute_in_shell(" ".join(words), _with_empty(values, missing))
        if all(map(_is_plain, appended)):
            return ["bash", "-c", " ".join([text, *appended])]
        return ["bash", "-c", f'{text} "$@"', "bash", *appended]
    return _substitute_words(words, values, missing) + appended


def _appended(
    args: Args,
    unused: Mapping[str, Scalar],
    values: Mapping[str, str],
    missing: Set[str],
    config_path: str,
) -> List[str]:
    if not isinstance(args, str):
        return _substitute_words(split_template(args["template"]), values, missing)
    if args == "gnu":
        return [f"--{name}={format_value(value)}" for name, value in unused.items()]
    if args == "hydra":
        return [f"{name}={_hydra_value(value)}" for name, value in unused.items()]
    if args == "json":
        return [config_path]
    if args == "none":
        return []
    raise SpecError(f"args cannot be {args!r}; one of: {', '.join(ARGS_STYLES)}, or a template")


def split_template(text: str) -> List[str]:
    """Return the words of an ``args`` template.

    Raises:
        SpecError: a quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise SpecError(f"cannot split args {text!r}: {error}") from None


def _substitute_words(
    words: Sequence[str], values: Mapping[str, str], missing: Set[str]
) -> List[str]:
    script = _script_position(words)
    complete = _with_empty(values, missing)
    result: List[str] = []
    for position, word in enumerate(words):
        if position == script:
            result.append(_substitute_in_shell(word, complete))
            continue
        names = placeholders(word)
        whole = len(names) == 1 and word == "{" + names[0] + "}"
        after_option = bool(result) and words[position - 1].startswith("-") and len(result) > 1
        value = substitute(word, complete)
        if missing.intersection(names):
            if whole and after_option and "=" not in words[position - 1]:
                result.pop()
                continue
            if word.startswith("-"):
                continue
        elif whole and value.startswith("-") and _is_long_option(words[position - 1 : position]):
            # A parser would take the value for an option.
            result[-1] += "=" + value
            continue
        result.append(value)
    return result


def _with_empty(values: Mapping[str, str], missing: Set[str]) -> Dict[str, str]:
    complete = dict.fromkeys(missing, "")
    complete.update(values)
    return complete


def _is_long_option(words: Sequence[str]) -> bool:
    return bool(words) and words[0].startswith("--") and len(words[0]) > 2 and "=" not in words[0]


def _script_position(words: Sequence[str]) -> int:
    """Return the index of the script in ``bash -c SCRIPT``; -1 when there is none."""
    if words and words[0].rsplit("/", 1)[-1] in _SHELLS:
        for position, word in enumerate(words[1:-1], start=1):
            if _SHELL_SCRIPT_FLAG.fullmatch(word):
                return position + 1
            if not word.startswith("-"):
                break
    return -1


def _needs_shell(text: str, first_word: str) -> bool:
    if first_word in _SHELL_FIRST_WORDS or _ASSIGNMENT.fullmatch(first_word):
        return True
    active = False

    def look(character: str, quote: str) -> None:
        nonlocal active
        active = active or character in _ACTIVE_IN.get(quote, ())

    _scan(text, look)
    return active


def _scan(text: str, look: Callable[[str, str], None]) -> str:
    """Call ``look`` for each unescaped character with the quote it stands in; return the last."""
    quote = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'":
            position += 2
            continue
        if quote == "" and character in "'\"":
            quote = character
        elif character == quote:
            quote = ""
        else:
            look(character, quote)
        position += 1
    return quote


def _substitute_in_shell(text: str, values: Mapping[str, str]) -> str:
    """Return a shell text with placeholders replaced so that the shell sees each value as it is.

    Inside quotes the quotes are closed before the quoted variable and opened again after it:
    adjacent strings are one word.
    """
    found = [one for one in _PLACEHOLDER.finditer(text) if one.group(1) in values]
    quotes = _quotes_at(text, [one.start() for one in found])
    variables: Dict[str, str] = {}
    result: List[str] = []
    end = 0
    for one in found:
        value = values[one.group(1)]
        quote = quotes[one.start()]
        result.append(text[end : one.start()])
        end = one.end()
        if _is_plain(value):
            result.append(value)
        else:
            name = variables.setdefault(value, f"slurmtune_{len(variables) + 1}")
            result.append(f'{quote}"${{{name}}}"{quote}')
    result.append(text[end:])
    assignments = "; ".join(f"{name}={shlex.quote(value)}" for value, name in variables.items())
    return f"{assignments}; {''.join(result)}" if assignments else "".join(result)


def _is_plain(word: str) -> bool:
    """Tell whether a shell takes the word for nothing else, wherever it stands."""
    return shlex.quote(word) == word


def _quotes_at(text: str, places: Sequence[int]) -> Dict[int, str]:
    """Return the quote, or nothing, that each of these places of a shell text stands in.

    A mistake here (a here-document) can split a value into words; it cannot run it.
    """
    wanted = set(places)
    found: Dict[int, str] = {}
    stack = [""]
    position = 0
    while position < len(text):
        inner = stack[-1]
        step = 1
        character = text[position]
        if inner == "'":
            if character == "'":
                stack.pop()
        elif character == "\\":
            step = 2
        elif character == '"':
            if inner == '"':
                stack.pop()
            else:
                stack.append('"')
        elif character == "`":
            if "`" in stack:
                del stack[stack.index("`") :]
            else:
                stack.append("`")
        elif inner == '"':
            if text.startswith("$(", position):
                stack.append("(")
                step = 2
        elif character == "'":
            stack.append("'")
        elif character == "(":
            stack.append("(")
        elif character == ")" and inner == "(":
            stack.pop()
        elif character == "#" and (position == 0 or text[position - 1] in " \t\n;&|("):
            step = len(text[position:].partition("\n")[0])
        for place in wanted.intersection(range(position, position + step)):
            found[place] = inner if inner in "'\"" else ""
        position += step
    return found


def _hydra_value(value: Scalar) -> str:
    """Return a value in Hydra's override grammar; strings that would mean something are quoted."""
    if not isinstance(value, str):
        return format_value(value)
    if _HYDRA_PLAIN.fullmatch(value) and value.lower() not in _HYDRA_WORDS:
        return value
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)\Z", r"\1\1", escaped)
    return f"'{escaped}'"

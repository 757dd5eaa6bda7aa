"""Whatever stands in a spec: it loads, or every problem points at a line that exists."""

from __future__ import annotations

import copy
import os
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurmtune.spec.domain import build_domain
from slurmtune.spec.hyperparameter import SIGNATURES
from slurmtune.spec.load import LoadedSpec, load_spec, loads_spec
from slurmtune.spec.problem import SpecErrors
from slurmtune.spec.source import Path, walk
from slurmtune.spec.words import toml_key, toml_text

DATA = os.path.join(os.path.dirname(__file__), "..", "data", "spec")
FORBIDDEN = ("Traceback", "pydantic", "dict[", "NoneType", "PosixPath", "\0")

with open(os.path.join(DATA, "reference.toml"), encoding="utf-8") as _file:
    REFERENCE = _file.read()
LINES = REFERENCE.split("\n")

BAD_TEXTS = [
    "", " ", ".", "..", "../../etc/passwd", "/etc/passwd", "a/../../b", "a\\..\\b", "-rf", "--help",
    "-", "~", "~root", "*", "?", "[a]", "{}", "{0}", "{p.__class__}", "%s", "%j", "%A_%a", "%%",
    "$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "| touch PWNED", "&& x", "> PWNED", "$HOME",
    "${IFS}", "a b", "a\tb", "a'b", 'a"b', "a\\", "!!", "#x", "=1+1", "+1", "@SUM(1)", "a\nb",
    "a\rb", "x\n#SBATCH --uid=0", "x\ntouch PWNED #", "a\0b", "\x1b[2J", "\x1b]0;t\x07", "\x9b31m",
    "[red]x[/red]", "\u202eabc", "\u2028", "\ufeff", "é", "e\u0301", "💥", "A" * 256, "A" * 5000,
    "<script>alert(1)</script>", "<!--", '"><img src=x onerror=alert(1)>', "__proto__",
    "constructor", "__class__", "null", "true", "NaN", "1e999", "0x10", "1_000", "१२",
]  # fmt: skip
BAD_VALUES = [
    "0", "-1", "1", "1e999", "nan", "inf", "-inf", "true", "[]", "{}", "[[]]", "[{}]", '""',
    "2026-01-01", "2026-01-01T00:00:00Z", "07:32:00", "9223372036854775807",
    "9223372036854775808", "[1, 'a']", "{ a = 1 }", "{ a = { b = [1, { c = 2 }] } }", "-0.0",
    "1e300", "-1e300", "5e-324", "[nan]", "'a'", "[0, 0]", "[1, 0]", "[0, 1, 0]", "[[1, 2]]",
]  # fmt: skip


def outcome(text: str, overrides: tuple[str, ...] = ()) -> LoadedSpec | SpecErrors:
    """Load, and check every problem for what must never happen."""
    try:
        result: LoadedSpec | SpecErrors = loads_spec(text, overrides)
    except SpecErrors as errors:
        result = errors

    assert result.problems or isinstance(result, LoadedSpec)
    told = "\n".join(str(problem) for problem in result.problems)
    lines = text.count("\n") + 1
    for problem in result.problems:
        if problem.file == "spec.toml":
            assert 1 <= problem.line <= lines
        else:
            assert problem.file == "command line"
            assert 1 <= problem.line <= len(overrides)
        assert problem.column >= 1
        assert problem.message
    for word in FORBIDDEN:
        assert word not in re.sub(r"(?m)^ *\d+ \| .*$", "", told)
    assert not any(c in told for c in "\x1b\x9b\r\u202e\u2028")
    return result


def as_toml(data: dict[str, Any]) -> str:
    """Write a spec with every top-level value on its own line."""
    return "".join(f"{toml_key(key)} = {toml_text(value)}\n" for key, value in data.items())


def reference_data() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(REFERENCE)


PATHS = [path for path, _ in walk(reference_data())]
KEY_PATHS = [path for path in PATHS if isinstance(path[-1], str)]


def holder_of(data: Any, path: Path) -> Any:
    for step in path[:-1]:
        data = data[step]
    return data


ANY_VALUE = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
    | st.sampled_from([text for text in BAD_TEXTS if text.isprintable()]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    ),
    max_leaves=4,
)

quick = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(path=st.sampled_from(PATHS))
def test_spec_with_something_deleted_never_crashes(path: Path) -> None:
    data = copy.deepcopy(reference_data())
    del holder_of(data, path)[path[-1]]
    outcome(as_toml(data))


@quick
@given(
    path=st.sampled_from(KEY_PATHS),
    name=st.sampled_from(BAD_TEXTS) | st.text("abcdefgh_-", min_size=1),
)
def test_spec_with_a_renamed_key_never_crashes(path: Path, name: str) -> None:
    data = copy.deepcopy(reference_data())
    holder = holder_of(data, path)
    holder[name.encode("ascii", "ignore").decode().replace("\x7f", "")] = holder.pop(path[-1])
    outcome(as_toml(data))


@quick
@given(path=st.sampled_from(PATHS), value=ANY_VALUE)
def test_spec_with_a_retyped_value_never_crashes(path: Path, value: Any) -> None:
    data = copy.deepcopy(reference_data())
    holder_of(data, path)[path[-1]] = value
    outcome(as_toml(data))


@quick
@given(number=st.integers(0, len(LINES) - 1), value=st.sampled_from(BAD_VALUES))
def test_line_with_a_bad_value_never_crashes(number: int, value: str) -> None:
    key, equals, _ = LINES[number].partition("=")
    if equals:
        outcome("\n".join([*LINES[:number], f"{key}= {value}", *LINES[number + 1 :]]))


@quick
@given(
    start=st.integers(0, len(REFERENCE)),
    size=st.integers(1, 40),
    new=st.text("[]{}\"'=.,#\n a0", max_size=3),
)
def test_cut_text_never_crashes(start: int, size: int, new: str) -> None:
    outcome(REFERENCE[:start] + new + REFERENCE[start + size :])


@quick
@given(text=st.text(max_size=60))
def test_any_text_never_crashes(text: str) -> None:
    outcome(text.encode("utf-8", "ignore").decode().replace("\r\n", "\n"))


@quick
@given(
    name=st.sampled_from(list(SIGNATURES)),
    values=st.lists(
        st.integers(-5, 5) | st.floats() | st.sampled_from([1e308, -1e308, "1", True, 0.0]),
        max_size=4,
    ),
)
def test_any_numbers_of_any_distribution_never_crash(name: str, values: list[Any]) -> None:
    outcome(SMALL.replace("uniform = [0, 1]", f"{name} = {toml_text(values)}"))


NUMBERS = [-5, -1, 0, 1, 2, 3, 0.1, 0.5, -0.1, 1e-5, 1e308, -1e308, 5e-324, 100, 1e17, 2**62]


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from([name for name, signature in SIGNATURES.items() if signature.labels]),
    numbers=st.lists(st.sampled_from(NUMBERS), min_size=3, max_size=3),
    default=st.sampled_from(NUMBERS),
    clip=st.lists(st.sampled_from(NUMBERS), min_size=2, max_size=2),
    kind=st.sampled_from(["int", "float", None]),
)
def test_distribution_that_loads_has_a_domain(
    name: str, numbers: list[Any], default: Any, clip: list[Any], kind: str | None
) -> None:
    options = {"default": default, "clip": clip, "type": kind}
    signature = SIGNATURES[name]
    if not signature.is_normal:
        del options["clip"]
    if kind is None or not (signature.is_normal or signature.is_bounded):
        del options["type"]
    chosen = numbers[: len(signature.labels)]
    parameter = {name: chosen, **options}
    result = outcome(SMALL.replace("{ uniform = [0, 1] }", toml_text(parameter)))
    if isinstance(result, LoadedSpec):
        assert build_domain(result.spec.space["x"]).contains(default)


SMALL = """[study]
name = "a"
[run]
command = "true"
[objective]
metric = "loss"
goal = "minimize"
[space]
x = { uniform = [0, 1] }
"""


@pytest.mark.parametrize("bad", BAD_TEXTS)
@pytest.mark.parametrize(
    "place",
    [
        'name = "a"',
        'command = "true"',
        'metric = "loss"',
        'goal = "minimize"',
        "x = {",
        "uniform",
        "[0, 1]",
        "[study]",
    ],
)
def test_bad_text_never_crashes(bad: str, place: str) -> None:
    quoted = toml_text(bad).replace("\x7f", "")
    if place == "x = {":
        text = SMALL.replace(place, f"{quoted} = {{")
    elif place == "uniform":
        text = SMALL.replace(place, quoted)
    elif place == "[0, 1]":
        text = SMALL.replace("uniform = [0, 1]", f"values = [{quoted}, 'other']")
    elif place == "[study]":
        text = SMALL.replace(place, f"[{quoted}]")
    else:
        key = place.partition(" =")[0]
        text = SMALL.replace(place, f"{key} = {quoted}")
    outcome(text)


@pytest.mark.parametrize("bad", [text for text in BAD_TEXTS if "\n" in text or "\r" in text])
@pytest.mark.parametrize(
    "key", ["partition", "comment", "constraint", "gres", "exclude", "account", "qos"]
)
def test_line_breaks_never_reach_a_batch_script(bad: str, key: str) -> None:
    result = outcome(f"{SMALL}[slurm]\n{key} = {toml_text(bad)}\n")
    assert isinstance(result, SpecErrors)


@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_bad_override_never_crashes(bad: str) -> None:
    for override in (
        bad,
        f"{bad}=1",
        f"study.name={bad}",
        f"slurm.{bad}={bad}",
        f"space.x.default={bad}",
    ):
        outcome(SMALL, (override,))


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 3000 + "]" * 3000,
        "x = " + "[" * 100 + "]" * 100,
        "x = " + "{a = " * 3000 + "1" + "}" * 3000,
        "a." * 200_000 + "b = 1",
        "[" + "a." * 200_000 + "b]",
        "x = " + "9" * 5000,
        "x" * 500_000,
        '"' * 500_000,
        "'" * 500_000,
        "[" * 500_000,
        "x = [" + "1," * 200_000 + "]",
        "#" * (1 << 20),
        "a" * ((1 << 20) + 1),
        "\ufeff" + SMALL,
        SMALL.replace("\n", "\r\n"),
    ],
    ids=range(15),
)
def test_hostile_text_is_answered(text: str) -> None:
    assert outcome(text) is not None


def test_many_hyperparameters_load() -> None:
    many = "".join(f"p{i} = {{ uniform = [0, 1] }}\n" for i in range(1000))
    result = outcome(SMALL + many)
    assert isinstance(result, LoadedSpec)
    assert len(result.spec.space) == 1001


@pytest.mark.parametrize("raw", [b"\xff\xfe[\0s\0", b'a = 1\nb = "\xff"', b"\0", b"\x80"])
def test_bytes_that_are_no_text_are_told(raw: bytes, tmp_path: Any) -> None:
    file = tmp_path / "spec.toml"
    file.write_bytes(raw)
    with pytest.raises(SpecErrors) as caught:
        load_spec(str(file))
    assert [problem.code for problem in caught.value.problems] == ["T8"]

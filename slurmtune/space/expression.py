"""Rules over values of a config, such as ``batch_size * width <= 65536``.

The text looks like Python and is parsed by ``ast``, but only what stands in this file is
understood and nothing of it is ever executed. Dotted names (``sched.power``) are hyperparameters.
Arithmetic is for numbers only, and bounded, so that no rule can hang the driver.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from slurmtune.space.scalar import Config, Scalar

_MAX_LENGTH = 2000
_MAX_DEPTH = 50
_SHOWN = 30
"""Characters of the text that a message repeats."""
_MAX_BITS = 4096
"""Largest whole number that ``**`` may make; floats end at 1024 bits."""

_Value = Scalar | tuple[Scalar, ...]


def _power(base: float, exponent: float) -> float:
    """Return the power, refusing what is no real number or would take long."""
    if isinstance(base, int) and isinstance(exponent, int):
        if base.bit_length() * abs(exponent) > _MAX_BITS:
            raise OverflowError("the power is too large")
    elif base < 0 and not float(exponent).is_integer():
        raise ArithmeticError("the power is not a real number")
    power: float = base**exponent
    return power


_ARITHMETIC: Mapping[type[ast.operator], tuple[str, Callable[[float, float], float]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", _power),
}
_ORDER: Mapping[type[ast.cmpop], tuple[str, Callable[[float, float], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs}
_ALLOWED = (
    "numbers, quoted text, names, + - * / // % **, comparisons, in, and, or, not, min, max, abs"
)


@dataclass(frozen=True, slots=True)
class Expression:
    """A rule that a config keeps or breaks."""

    text: str
    names: frozenset[str] = field(init=False, compare=False)
    """Hyperparameters that the rule is about."""
    _tree: ast.expr = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # One line without blanks around it, so that a column means something.
        object.__setattr__(self, "text", " ".join(self.text.split()))
        tree = _parsed(self.text)
        names: set[str] = set()
        _check(tree, self.text, names, 1)
        _check_is_question(tree, self.text)
        object.__setattr__(self, "names", frozenset(names))
        object.__setattr__(self, "_tree", tree)

    def holds(self, config: Config) -> bool:
        """Tell whether ``config`` keeps the rule.

        A rule about a hyperparameter that is not in ``config`` does not apply and is kept. A rule
        that cannot be computed (a division by 0, a number too large) is broken.

        Raises:
            ValueError: text and numbers are mixed up; the message holds the column.
        """
        if not self.names <= config.keys():
            return True
        try:
            return bool(_value(self._tree, self.text, config))
        except ArithmeticError:
            return False


def _parsed(text: str) -> ast.expr:
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"the rule is longer than {_MAX_LENGTH} characters")
    if not text:
        raise ValueError("the rule is empty")
    try:
        with warnings.catch_warnings():
            # Python warns of doubtful spellings, such as "1if": they are refused below anyway.
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        # Python gives no column for a text that stops too early.
        column = min(error.offset or len(text), len(text))
        raise ValueError(f"column {column}: not understood ({error.msg})") from None
    except (ValueError, MemoryError, RecursionError):
        raise ValueError(
            "column 1: not understood: nested too deeply, or odd characters"
        ) from None


def _column(node: ast.expr, text: str) -> int:
    """Return where ``node`` begins, from 1; ``ast`` counts bytes from 0."""
    return len(text.encode()[: node.col_offset].decode(errors="ignore")) + 1


def _refusal(node: ast.expr, text: str, what: str) -> ValueError:
    return ValueError(f"column {_column(node, text)}: {what}")


def _dotted(node: ast.expr) -> str | None:
    """Return the name that ``a.b.c`` spells, or None when it is something else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def _check(node: ast.expr, text: str, names: set[str], depth: int) -> None:
    """Raise for anything outside the white list; collect the names."""
    if depth > _MAX_DEPTH:
        raise _refusal(node, text, f"nested more than {_MAX_DEPTH} deep")
    for child in _children(node, text, names):
        _check(child, text, names, depth + 1)


def _children(node: ast.expr, text: str, names: set[str]) -> list[ast.expr]:
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            return []
        case ast.Name() | ast.Attribute() if (name := _dotted(node)) is not None:
            names.add(name)
            return []
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not(), operand=operand):
            return [operand]
        case ast.BoolOp(values=values):
            return values
        case ast.Compare(left=left, ops=ops, comparators=others):
            return [left, *_compared(ops, others, text)]
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]) if (
            function in _FUNCTIONS
        ):
            wanted = len(arguments) == 1 if function == "abs" else len(arguments) >= 2
            if not wanted:
                number = "one value" if function == "abs" else "two values or more"
                raise _refusal(node, text, f"{function} needs {number}")
            return arguments
    rest = text[_column(node, text) - 1 :]
    start = rest if len(rest) <= _SHOWN else f"{rest[:_SHOWN]}..."
    raise _refusal(node, text, f"{start!r} is not allowed here; allowed: {_ALLOWED}")


def _compared(ops: list[ast.cmpop], others: list[ast.expr], text: str) -> list[ast.expr]:
    """Return what is compared with; ``in`` needs a list, and nothing else may have one."""
    found: list[ast.expr] = []
    for op, other in zip(ops, others, strict=True):
        match op, other:
            case (ast.In() | ast.NotIn(), ast.List(elts=items) | ast.Tuple(elts=items)):
                found += items
            case (ast.In() | ast.NotIn(), _):
                raise _refusal(other, text, "'in' needs a list, such as [64, 128]")
            case (ast.Is() | ast.IsNot(), _):
                raise _refusal(other, text, "write == or !=, not 'is'")
            case _:
                found.append(other)
    return found


def _check_is_question(tree: ast.expr, text: str) -> None:
    match tree:
        case ast.BinOp() | ast.Call() | ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            raise _refusal(tree, text, "a rule says yes or no: compare this with something")
        case ast.Constant(value=value) if not isinstance(value, bool):
            raise _refusal(tree, text, "a rule says yes or no: compare this with something")


def _value(node: ast.expr, text: str, config: Config) -> _Value:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            return constant
        case ast.BinOp(left=left, op=op, right=right):
            sign, compute = _ARITHMETIC[type(op)]
            return compute(_number(left, text, config, sign), _number(right, text, config, sign))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, text, config)
        case ast.UnaryOp(op=op, operand=operand):
            number = _number(operand, text, config, "-")
            return -number if isinstance(op, ast.USub) else number
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value, text, config) for value in values)
        case ast.BoolOp(values=values):
            return any(_value(value, text, config) for value in values)
        case ast.Compare():
            return _comparison(node, text, config)
        case ast.Call(func=ast.Name(id=function), args=arguments):
            return _FUNCTIONS[function](
                *(_number(argument, text, config, function) for argument in arguments)
            )
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return tuple(_scalar(item, text, config) for item in items)
    return config[_dotted(node) or ""]


def _comparison(node: ast.Compare, text: str, config: Config) -> bool:
    left = node.left
    for op, right in zip(node.ops, node.comparators, strict=True):
        if not _compare(left, op, right, text, config):
            return False
        left = right
    return True


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, text: str, config: Config) -> bool:
    if type(op) in _ORDER:
        sign, compare = _ORDER[type(op)]
        return compare(_number(left, text, config, sign), _number(right, text, config, sign))
    one, other = _value(left, text, config), _value(right, text, config)
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(other, tuple)
        return (one in other) == isinstance(op, ast.In)
    return (one == other) == isinstance(op, ast.Eq)


def _scalar(node: ast.expr, text: str, config: Config) -> Scalar:
    value = _value(node, text, config)
    assert not isinstance(value, tuple)
    return value


def _number(node: ast.expr, text: str, config: Config, sign: str) -> float:
    value = _scalar(node, text, config)
    if isinstance(value, str):
        raise _refusal(node, text, f"{sign!r} needs a number, found the text {value!r}")
    return value

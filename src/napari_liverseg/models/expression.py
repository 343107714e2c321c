"""The few `$` expressions of a bundle that say a value, read without running code."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Plain = None | bool | int | float | str | list[Any] | dict[str, Any]
"""What JSON can say."""

REFERENCE = re.compile(r"@\w+(?:(?:::|#)\w+)*")
"""`@id`, `@id#key` and `@id::key`, as MONAI writes them."""

MAX_LENGTH = 1_000
"""A longer expression says more than a value."""


class NotPlainError(ValueError):
    """An expression that only running it could answer."""


def evaluate(text: str, value_of: Callable[[str], Plain]) -> Plain:
    """Return the value of an expression of literals and references.

    Known are numbers, strings, lists, dictionaries, references, ``a if b else
    c``, ``not``, a minus, and ``+`` between two strings.

    Parameters
    ----------
    text : str
        Without the leading ``$``.
    value_of : callable
        Returns the plain value of a reference such as ``@spacing#0``.

    Raises
    ------
    NotPlainError
        When it holds anything else, such as a call or an attribute.
    """
    if len(text) > MAX_LENGTH:
        msg = "it is longer than a value needs"
        raise NotPlainError(msg)
    names: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        name = f"reference_{len(names)}"
        names[name] = match.group()
        return name

    try:
        tree = ast.parse(REFERENCE.sub(named, text).strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        msg = "it is no expression"
        raise NotPlainError(msg) from error
    return _value(tree.body, names, value_of)


def _value(
    node: ast.expr, names: dict[str, str], value_of: Callable[[str], Plain]
) -> Plain:
    def inner(part: ast.expr) -> Plain:
        return _value(part, names, value_of)

    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as constant):
            return constant
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [inner(part) for part in parts]
        case ast.Dict(keys=keys, values=values) if all(keys):
            pairs = zip(keys, values, strict=True)
            return {str(inner(k)): inner(v) for k, v in pairs if k is not None}
        case ast.Name(id=name) if name in names:
            return value_of(names[name])
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return inner(body) if inner(test) else inner(orelse)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not inner(operand)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _minus(inner(operand))
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _joined(inner(left), inner(right))
    msg = f"it holds more than a value ({type(node).__name__})"
    raise NotPlainError(msg)


def _minus(value: Plain) -> Plain:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return -value
    msg = "it takes a minus of what is no number"
    raise NotPlainError(msg)


def _joined(left: Plain, right: Plain) -> Plain:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    msg = "it adds what are no strings"
    raise NotPlainError(msg)

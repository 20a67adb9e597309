"""How many workers an application has: a number, `auto`, or an expression of what the host has."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rackhand.errors import UserError
from rackhand.inventory import got
from rackhand.settings.values import whole

if TYPE_CHECKING:
    from rackhand.settings.app import App


#: More workers or threads than this are a slip of the pen.
MANY = 1024
_FACTS = ("cores", "memory_mb")
_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def resolve_workers(app: App, facts: Mapping[str, Any]) -> int:
    """How many workers an application has on a host with these facts: at least 1. `auto` is one more than the
    cores, as long as the memory holds them. Raises UserError when the expression has no usable value
    there."""
    if isinstance(app.workers, int):
        return app.workers
    if app.workers == "auto":
        return max(1, min(int(facts["cores"]) + 1, int(facts["memory_mb"]) // app.worker_memory))
    try:
        number = _evaluate(_parse(app.workers), facts)
        if not math.isfinite(number) or number > MANY:
            raise ValueError(f"it is no number up to {MANY}")
    except (ArithmeticError, ValueError) as error:
        given = ", ".join(f"{name} {facts[name]}" for name in _FACTS)
        raise UserError(f"{app.where('workers')}: {app.workers!r} has no usable value for {given}: {error}") from None
    return max(1, int(number))


def workers_of(value: object) -> int | str:
    """A number, `auto`, or an expression that could be one with the facts of a host."""
    try:
        number = whole(value)
    except ValueError:
        pass
    else:
        if not 1 <= number <= MANY:
            raise ValueError(f"should be from 1 to {MANY}, got {number}")
        return number
    if isinstance(value, str):
        if value == "auto":
            return value
        try:
            _evaluate(_parse(value), dict.fromkeys(_FACTS, 1))
            return value
        except ArithmeticError:  # With these facts, but perhaps not with a host's.
            return value
        except ValueError:
            pass
    raise ValueError(f'should be a whole number, "auto" or an expression, got {got(value)}')


def _parse(expression: str) -> ast.expr:
    """Raises ValueError when it is not an expression."""
    if len(expression) > 200:
        raise ValueError("is too long")
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError("is not an expression") from None


def _evaluate(node: ast.expr, facts: Mapping[str, Any]) -> float:
    """Raises ValueError for anything but numbers, facts, arithmetic, min and max."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name) if name in _FACTS:
            return float(facts[name])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left, facts), _evaluate(right, facts))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, facts)
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[_, *_] as arguments, keywords=[]):
            return (min if name == "min" else max)(_evaluate(argument, facts) for argument in arguments)
    raise ValueError("is not an expression")

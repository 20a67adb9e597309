"""Which names in a source stand for what: modules that it imports, and clients that it makes of them."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from rackhand.protocol import full_name

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

#: Whose names are their own.
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def known_in(
    scope: ast.Module | Function, around: Mapping[str, str], is_client: Callable[[str], bool]
) -> dict[str, str]:
    """The full names of what is known in a module or function: what is known around it, but for names that a function
    uses for something else; and each client by what makes it, as `redis.Redis`, wherever in the scope that stands."""
    known = dict(around)
    own = list(_own(scope))
    if not isinstance(scope, ast.Module):  # where the name of what is imported may be set for when it is not there
        for node in own:
            known.pop(_bound(node), None)
    for node in own:
        for name, call in _made(node):
            if is_client(full := full_name(call.func, known)):
                known[name] = full
    return known


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a scope in their order, without what is in scopes within it."""
    left = deque(ast.iter_child_nodes(scope))
    while left:
        node = left.popleft()
        yield node
        if not isinstance(node, _SCOPES):
            left.extendleft(reversed(list(ast.iter_child_nodes(node))))


def _bound(node: ast.AST) -> str:
    match node:
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
            return name
    return ""


def _made(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    match node:
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call)
            | ast.AnnAssign(target=ast.Name(id=name), value=ast.Call() as call)
            | ast.NamedExpr(target=ast.Name(id=name), value=ast.Call() as call)
            | ast.withitem(context_expr=ast.Call() as call, optional_vars=ast.Name(id=name))
        ):
            yield name, call

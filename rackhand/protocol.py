"""Which protocol an application speaks, as far as its source tells: nothing of it is imported.

What it cannot tell, the instance finds out before it gets traffic (templates/application.py).
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Literal

Protocol = Literal["asgi", "wsgi"]

#: By the beginning of a full name: what is made by that.
FRAMEWORKS: dict[str, Protocol] = {
    **dict.fromkeys(("fastapi", "starlette", "litestar", "quart", "sanic", "blacksheep", "channels"), "asgi"),
    **dict.fromkeys(("flask", "bottle", "pyramid", "falcon", "django.core.wsgi"), "wsgi"),
    **dict.fromkeys(("falcon.asgi", "django.core.asgi", "asgiref.wsgi", "a2wsgi.WSGIMiddleware"), "asgi"),
    "a2wsgi.ASGIMiddleware": "wsgi",
}

#: How many names are followed to where the object is made; they may lead in a circle.
_STEPS = 9

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def protocol(folder: Path, app: str) -> Protocol | None:
    """What `module:object` of an application's folder speaks; None when its source does not tell."""
    module, _, name = app.removesuffix("()").partition(":")
    return _named(folder, module, name, _STEPS)


def imports(tree: ast.AST, module: str = "") -> dict[str, str]:
    """The full name of each name that a module imports; relative ones start at the application's folder."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            found |= {alias.asname or alias.name: f"{start}.{alias.name}" for alias in node.names}
    return found


def full_name(expression: ast.expr, imported: dict[str, str]) -> str:
    """What an expression names, in full, as `requests.get`; nothing for what is no name of something imported."""
    parts = []
    while isinstance(expression, ast.Attribute):
        parts.append(expression.attr)
        expression = expression.value
    if not isinstance(expression, ast.Name) or expression.id not in imported:
        return ""
    return ".".join([imported[expression.id], *reversed(parts)])


def _named(folder: Path, module: str, name: str, steps: int) -> Protocol | None:
    tree, package = _parsed(folder, module)
    return None if tree is None else _Module(folder, tree, imports(tree, package), steps).object(name)


def _parsed(folder: Path, module: str) -> tuple[ast.Module | None, str]:
    """A module of the folder, and the name by which what it imports relatively is found."""
    path = folder.joinpath(*module.split("."))
    for file, package in ((path.with_suffix(".py"), module), (path / "__init__.py", f"{module}.__init__")):
        try:
            return ast.parse(file.read_bytes()), package
        except (OSError, SyntaxError, ValueError):
            continue
    return None, module


class _Module:
    def __init__(self, folder: Path, tree: ast.Module, imported: dict[str, str], steps: int) -> None:
        self._folder = folder
        self._body = tree.body
        self._imported = imported
        self._steps = steps

    def object(self, name: str) -> Protocol | None:
        """What the object of this name speaks, by what defines it last."""
        if not self._steps:
            return None
        self._steps -= 1
        for node in reversed(self._body):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                    return self._called(node, self._needed(node))
                case ast.ClassDef() if node.name == name:
                    needed = [self._needed(own)[1:] for own in node.body if _is_method(own, "__init__")]
                    return _by_arguments(needed[0]) if needed else None
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    return self._value(value)
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                    return self._value(value)
        if name not in self._imported:
            return None
        module, _, original = self._imported[name].rpartition(".")
        return _named(self._folder, module, original, self._steps)

    def _value(self, value: ast.expr) -> Protocol | None:
        if not isinstance(value, ast.Call):
            return self.object(value.id) if isinstance(value, ast.Name) else None
        full = full_name(value.func, self._imported)
        beginnings = [known for known in FRAMEWORKS if f"{full}.".startswith(f"{known}.")]
        if beginnings:
            return FRAMEWORKS[max(beginnings, key=len)]
        if not isinstance(value.func, ast.Name):
            return None
        for node in self._body:
            if isinstance(node, ast.ClassDef) and node.name == value.func.id:
                return self._instance(node)
        return self.object(value.func.id)  # a factory

    def _instance(self, node: ast.ClassDef) -> Protocol | None:
        for base in node.bases:
            found = self._value(ast.Call(func=base, args=[], keywords=[]))
            if found is not None:
                return found
        calls = [own for own in node.body if _is_method(own, "__call__")]
        return _by_arguments(self._needed(calls[0])[1:]) if calls else None

    def _called(self, function: _Function, needed: list[str]) -> Protocol | None:
        """What a function speaks, or what a factory returns."""
        if needed:
            return _by_arguments(needed)
        if isinstance(function, ast.AsyncFunctionDef):
            return None
        inside = _Module(self._folder, ast.Module([*self._body, *function.body], []), self._imported, self._steps)
        returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]
        return inside._value(returned[-1]) if returned else None

    @staticmethod
    def _needed(node: ast.stmt) -> list[str]:
        assert isinstance(node, _Function)
        given = [*node.args.posonlyargs, *node.args.args]
        return [argument.arg for argument in given[: len(given) - len(node.args.defaults)]]


def _is_method(node: ast.stmt, name: str) -> bool:
    return isinstance(node, _Function) and node.name == name


def _by_arguments(needed: list[str]) -> Protocol | None:
    if len(needed) == 3 or needed == ["scope"]:
        return "asgi"
    return "wsgi" if len(needed) == 2 else None

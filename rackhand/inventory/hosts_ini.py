"""Reads an inventory written in INI: sections of hosts, of the groups below a group, and of a group's variables."""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from dataclasses import dataclass, field
from typing import Any

from rackhand.errors import UserError
from rackhand.inventory.documents import HOST, Definition, Document, Origin, Unsafe
from rackhand.inventory.graph import Graph, GroupNode
from rackhand.inventory.names import did_you_mean, expand

_KINDS = ("hosts", "children", "vars")
_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?")
_GROUP = re.compile(r"([^:\]\s]+)\s*(?:#.*)?")
# What can be nothing but text, and what needs no shell's rules to be split: most of any inventory, and much faster.
_WORD = re.compile(r"(?!(?:True|False|None)$)[A-Za-z_/][\w./@:~%+-]*", re.ASCII)
_PLAIN_LINE = re.compile(r"[^'\"\\#]*")
_BLANKS = re.compile(r"[ \t]+")


def add(text: str, file: str, graph: Graph, *, encrypted: bool = False) -> None:
    """Adds the groups and hosts of an inventory to the graph, which stand in a file that is `encrypted` or not. Raises
    UserError with file and line."""
    reader = _Reader(file, graph, encrypted)
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and line[0] not in "#;":
            reader.read(line, Origin(file=file, line=number))
    reader.finish()


@dataclass(frozen=True, kw_only=True)
class _Awaited:
    """A group that was mentioned before it was declared: where, and the groups that it is to be below."""

    origin: Origin
    section: str
    parents: list[tuple[GroupNode, Origin]] = field(default_factory=list)


class _Reader:
    """Reads line by line, as if the first were [ungrouped]."""

    def __init__(self, file: str, graph: Graph, encrypted: bool) -> None:
        self._file = file
        self._encrypted = encrypted
        self._graph = graph
        self._group = graph.groups["ungrouped"]
        self._kind = "hosts"
        self._awaited: dict[str, _Awaited] = {}

    def read(self, line: str, origin: Origin) -> None:
        if section := _SECTION.fullmatch(line):
            self._begin(section[1], section[2] or "hosts", origin)
        elif line[0] == "[" and line[-1] == "]":
            raise UserError(f"{origin}: {line}: a section is [group], [group:children] or [group:vars], without spaces")
        elif self._kind == "hosts":
            self._add_hosts(line, origin)
        elif self._kind == "children":
            self._add_child(line, origin)
        else:
            name, equals, value = line.partition("=")
            if not equals:
                raise UserError(f"{origin}: a line of [{self._group.name}:vars] is name=value, got {line!r}")
            self._group.define({name.strip(): self._definition(value.strip(), origin, f"group {self._group.name}")})

    def finish(self) -> None:
        """Refuses what was mentioned and never declared."""
        for name, awaited in self._awaited.items():
            hint = did_you_mean(name, self._graph.groups.keys() - self._awaited.keys())
            raise UserError(f"{awaited.origin}: [{awaited.section}]: no section declares the group {name!r}{hint}")

    def _begin(self, name: str, kind: str, origin: Origin) -> None:
        if kind not in _KINDS:
            hint = did_you_mean(kind, _KINDS) or ": a section is [group], [group:children] or [group:vars]"
            raise UserError(f"{origin}: [{name}:{kind}]: unknown kind of section{hint}")
        if name not in self._graph.groups and name not in self._awaited and kind == "vars":
            self._awaited[name] = _Awaited(origin=origin, section=f"{name}:vars")
        self._group = self._graph.add_group(name)
        self._kind = kind
        if kind != "vars" and (awaited := self._awaited.pop(name, None)):
            for parent, mentioned in awaited.parents:
                self._graph.add_child(parent, self._group, mentioned)

    def _add_hosts(self, line: str, origin: Origin) -> None:
        try:
            words = _BLANKS.split(line) if _PLAIN_LINE.fullmatch(line) else shlex.split(line, comments=True)
        except ValueError as error:
            raise UserError(f"{origin}: {str(error).lower()}") from None
        if words[0] == "---":
            raise UserError(f"{origin}: this is YAML: give the file a name that ends with .yml")
        try:
            names, port = expand(words[0])
        except ValueError as error:
            raise UserError(f"{origin}: {words[0]}: {error}") from None
        variables = {}
        for word in words[1:]:
            name, equals, value = word.partition("=")
            if not equals:
                raise UserError(f"{origin}: what follows a host is name=value, got {word!r}")
            variables[name] = self._definition(value, origin, HOST)
        document = Document(file=self._file, value=None, line=origin.line)
        for host in names:
            self._graph.add_host(host, self._group, document, (), port).define(variables)

    def _add_child(self, line: str, origin: Origin) -> None:
        found = _GROUP.fullmatch(line)
        if found is None:
            raise UserError(f"{origin}: a line of [{self._group.name}:children] is the name of a group, got {line!r}")
        name = found[1]
        if name in self._graph.groups:
            self._graph.add_child(self._group, self._graph.groups[name], origin)
        else:
            awaited = _Awaited(origin=origin, section=f"{self._group.name}:children")
            self._awaited.setdefault(name, awaited).parents.append((self._group, origin))

    def _definition(self, written: str, origin: Origin, scope: str) -> Definition:
        value = written if _WORD.fullmatch(written) else _literal(written)
        document = Document(file=self._file, value=value, line=origin.line, written=written, encrypted=self._encrypted)
        return Definition(value=value, document=document, path=(), scope=scope)


def _literal(written: str) -> Any:
    """A number, list and so on if it is one of Python's, else text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _plain(ast.literal_eval(written))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return written


def _plain(value: Any) -> Any:
    """Of Python's types those that variables may have."""
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return Unsafe(value.decode(errors="replace"))  # Ansible trusts text alone as a template.
    return "..." if value is ... else str(value) if isinstance(value, complex) else value

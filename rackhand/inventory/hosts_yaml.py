"""Reads an inventory written in YAML: groups of `hosts`, `children` and `vars`."""

from __future__ import annotations

from typing import Any

from rackhand.errors import UserError
from rackhand.inventory.documents import HOST, Document, dotted, got, layer
from rackhand.inventory.graph import Graph, GroupNode
from rackhand.inventory.names import did_you_mean, expand

_SECTIONS = ("hosts", "children", "vars")

Path = tuple[str | int, ...]


def add(document: Document, graph: Graph) -> None:
    """Adds the groups and hosts of a document to the graph. Raises UserError with file and line."""
    if document.value is None:
        raise UserError(f"{document.file}: is empty: an inventory has groups, such as all")
    groups = _mapping(document, (), document.value, "groups")
    if "plugin" in groups:
        raise UserError(f"{document.origin('plugin')}: inventory plugins are not supported")
    for name, content in groups.items():
        _add_group(document, (name,), content, graph)


def _add_group(document: Document, path: Path, content: object, graph: Graph) -> GroupNode:
    name = path[-1]
    if not isinstance(name, str) or not name:
        raise UserError(f"{document.origin(*path)}: {dotted(path)}: a group's name is text: quote it")
    group = graph.add_group(name)
    # In the order of the file: for what is set twice, the later one holds.
    for section, entries in _mapping(document, path, content, "hosts, children and vars").items():
        here = (*path, section)
        if section not in _SECTIONS:
            hint = did_you_mean(str(section), _SECTIONS) or ": a group has hosts, children and vars"
            raise UserError(f"{document.origin(*here)}: {dotted(here)}: unknown key{hint}")
        # Ansible takes `hosts: web1` for `hosts: {web1: }`.
        entries = _mapping(document, here, {entries: None} if isinstance(entries, str) else entries, section)
        if section == "vars":
            group.define(layer(document, *here, variables=entries, scope=f"group {name}"))
        for key, value in entries.items():
            if section == "children":
                child = _add_group(document, (*here, key), value, graph)
                graph.add_child(group, child, document.origin(*here, key))
            elif section == "hosts":
                _add_hosts(document, (*here, key), value, group, graph)
    return group


def _add_hosts(document: Document, path: Path, content: object, group: GroupNode, graph: Graph) -> None:
    origin = document.origin(*path)
    if not isinstance(path[-1], str):
        raise UserError(f"{origin}: {dotted(path)}: a host's name is text: quote it")
    try:
        names, port = expand(path[-1])
    except ValueError as error:
        raise UserError(f"{origin}: {dotted(path)}: {error}") from None
    variables = layer(document, *path, variables=_mapping(document, path, content, "variables"), scope=HOST)
    for name in names:
        graph.add_host(name, group, document, path, port).define(variables)


def _mapping(document: Document, path: Path, value: object, what: str) -> dict[Any, Any]:
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    hint = ' (write "name:", not "- name")' if isinstance(value, list) else ""
    place = f"{document.origin(*path)}: {dotted(path)}" if path else str(document.origin())
    raise UserError(f"{place}: should be a mapping of {what}, got {got(value)}{hint}")

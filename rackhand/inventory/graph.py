"""Builds the groups and hosts of an inventory from whatever its sources say, by Ansible's rules.

A source (a YAML or INI file, a script, a list of hosts) calls `add_group`, `add_host`, `add_child` and `define` in the
order of its text: that order is what patterns, `--list` and repeated variables keep.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from rackhand.errors import UserError
from rackhand.inventory.documents import HOST, Definition, Document, Layer, Origin, dotted


def _define(layers: list[dict[str, Definition]], variables: Layer) -> None:
    """Sets variables over those that were set before, of which none is forgotten."""
    if layers and layers[-1].keys().isdisjoint(variables):
        layers[-1].update(variables)
    elif variables:
        layers.append(dict(variables))


@dataclass(kw_only=True, eq=False)
class GroupNode:
    name: str
    layers: list[dict[str, Definition]] = field(default_factory=list)
    priority: int = 1
    hosts: dict[str, HostNode] = field(default_factory=dict)
    children: dict[str, GroupNode] = field(default_factory=dict)
    parents: dict[str, GroupNode] = field(default_factory=dict)

    def ancestors(self) -> list[GroupNode]:
        return _reachable(list(self.parents.values()), lambda group: group.parents)

    def descendants(self) -> list[GroupNode]:
        """The group and all below it, level by level."""
        return _reachable([self], lambda group: group.children)

    def members(self) -> list[str]:
        """The names of the hosts in the group and below it."""
        return list(dict.fromkeys(host for group in self.descendants() for host in group.hosts))

    def define(self, variables: Layer) -> None:
        if priority := variables.get("ansible_group_priority"):
            variables = {name: found for name, found in variables.items() if found is not priority}
            try:
                self.priority = int(priority.value)
            except (TypeError, ValueError):
                message = f"should be a whole number, got {priority.value!r}"
                place = dotted(priority.path) or "ansible_group_priority"
                raise UserError(f"{priority.origin()}: {place}: {message}") from None
        _define(self.layers, variables)

    @cached_property
    def depth(self) -> int:
        """The length of the longest way from `all`, once all sources are read."""
        return 1 + max((parent.depth for parent in self.parents.values()), default=-1)

    def precedence(self) -> tuple[int, int, str]:
        """Of two groups of one host, the one for which this is greater wins."""
        return self.depth, self.priority, self.name


@dataclass(kw_only=True, eq=False)
class HostNode:
    name: str
    origin: Origin
    layers: list[dict[str, Definition]] = field(default_factory=list)
    groups: dict[str, GroupNode] = field(default_factory=dict)

    def define(self, variables: Layer) -> None:
        _define(self.layers, variables)

    def all_groups(self) -> list[GroupNode]:
        """Those that list the host and those above them, in order of precedence."""
        direct = list(self.groups.values())
        return sorted(_reachable(direct, lambda group: group.parents), key=GroupNode.precedence)


class Graph:
    def __init__(self) -> None:
        self.groups: dict[str, GroupNode] = {}
        self.hosts: dict[str, HostNode] = {}
        #: What sources say that the user should see.
        self.warnings: list[str] = []
        self.add_child(self.add_group("all"), self.add_group("ungrouped"), Origin(file=""))

    def add_group(self, name: str) -> GroupNode:
        return self.groups.setdefault(name, GroupNode(name=name))

    def add_host(
        self, name: str, group: GroupNode, document: Document, path: tuple[str | int, ...], port: int | None
    ) -> HostNode:
        """Puts a host, which `path` in the document names, into a group."""
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = HostNode(name=name, origin=document.origin(*path))
            if port is not None:
                host.define({"ansible_port": Definition(value=port, document=document, path=path, scope=HOST)})
        group.hosts[name] = host
        host.groups[group.name] = group
        return host

    def add_child(self, parent: GroupNode, child: GroupNode, origin: Origin) -> None:
        if child is parent or child in parent.ancestors():
            raise UserError(f"{origin}: the group {child.name!r} contains itself")
        parent.children[child.name] = child
        child.parents[parent.name] = parent

    def finish(self) -> None:
        """What holds once all sources are read: everything is below `all`, and `ungrouped` has the hosts that
        no other group has."""
        everything, ungrouped = self.groups["all"], self.groups["ungrouped"]
        if everything.parents:
            raise UserError(f"the group {next(iter(everything.parents))!r} has the group 'all' as a child")
        if len(ungrouped.parents) > 1:
            raise UserError(f"the group {list(ungrouped.parents)[1]!r} has the group 'ungrouped' as a child")
        for group in self.groups.values():
            if group is not everything and not group.parents:
                everything.children[group.name] = group
                group.parents["all"] = everything
        spellings: dict[str, HostNode] = {}
        for host in self.hosts.values():
            other = spellings.setdefault(host.name.lower(), host)
            if other is not host:
                message = f"{host.name!r} is {other.name!r} of {other.origin} spelt differently"
                raise UserError(f"{host.origin}: {message}")
            grouped = any(group not in (everything, ungrouped) for group in host.all_groups())
            if grouped and host.name in ungrouped.hosts:
                del ungrouped.hosts[host.name], host.groups["ungrouped"]
            elif not grouped:
                ungrouped.hosts[host.name] = host
                host.groups["ungrouped"] = ungrouped


def _reachable(start: list[GroupNode], step: Callable[[GroupNode], dict[str, GroupNode]]) -> list[GroupNode]:
    """Breadth first, each group once."""
    found = dict.fromkeys(start)
    level = list(found)
    while level:
        level = [other for group in level for other in step(group).values() if other not in found]
        found.update(dict.fromkeys(level))
    return list(found)

"""The inventory: hosts in groups with their variables, and the patterns that select them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rackhand.errors import UserError
from rackhand.inventory import hosts_yaml, patterns
from rackhand.inventory.documents import Layer, Origin, read, shown
from rackhand.inventory.graph import Graph, GroupNode, HostNode
from rackhand.inventory.names import did_you_mean
from rackhand.inventory.variables import Variables
from rackhand.inventory.vars_files import VarsFolder

#: What Ansible passes over in a folder of inventories.
_NOT_INVENTORIES = (
    *(".pyc", ".pyo", ".swp", ".bak", "~", ".rpm"),
    *(".md", ".txt", ".rst", ".orig", ".cfg", ".retry"),
)


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group. `hosts` and `children` are what the inventory lists in it, `members` the hosts of both;
    `depth` is the longest way from `all`."""

    name: str
    hosts: tuple[str, ...]
    children: tuple[str, ...]
    members: tuple[str, ...]
    depth: int
    priority: int


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host. `groups` has `all` first; of two that set the same variable the later wins. `origin` is where
    the inventory names the host first."""

    name: str
    groups: tuple[str, ...]
    origin: Origin
    vars: Variables = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What the files of one or more inventories say. `warnings` are for the user to see."""

    hosts: Mapping[str, Host]
    groups: Mapping[str, Group]
    warnings: tuple[str, ...]

    def host(self, name: str) -> Host:
        """The host of that very name. Raises UserError."""
        try:
            return self.hosts[name]
        except KeyError:
            hint = did_you_mean(name, self.hosts)
            raise UserError(f"{name!r}: no host of the inventory has this name{hint}") from None

    def select(self, pattern: str, limit: str | None = None) -> tuple[Host, ...]:
        """The hosts that an Ansible pattern selects, of them only those that `limit` selects too. Raises
        UserError for an unknown name, and when no host is left."""
        names = self._names(pattern)
        if limit is not None:
            limited = set(self._names(limit))
            names = tuple(name for name in names if name in limited)
        if not names:
            within = "" if limit is None else f" within the limit {limit!r}"
            raise UserError(f"{pattern!r}: selects no host{within}")
        return tuple(self.hosts[name] for name in names)

    def _names(self, pattern: str) -> tuple[str, ...]:
        members = {name: group.members for name, group in self.groups.items()}
        return patterns.select(pattern, tuple(self.hosts), members)


def load_inventory(path: Path | list[Path]) -> Inventory:
    """Reads inventories: files, or folders of them, with the group_vars/ and host_vars/ beside. Of several
    that set the same variable the last wins. Raises UserError naming file and line of the first mistake."""
    sources = path if isinstance(path, list) else [path]
    graph = Graph()
    for source in sources:
        files = _inventory_files(source)
        if not files:
            raise UserError(f"{shown(source)}: holds no inventory: add a hosts.yml")
        for file in files:
            if not file.exists():
                raise UserError(f"{shown(file)}: does not exist")
            if file.suffix not in (".yml", ".yaml", ".json"):
                raise UserError(f"{shown(file)}: only YAML inventories (.yml, .yaml, .json) are supported yet")
            hosts_yaml.add(read(file), graph)
    graph.finish()

    # A folder that two sources share counts where the last of them stands.
    places = [source if source.is_dir() else source.parent for source in reversed(sources)]
    folders = list(reversed(dict.fromkeys(places)))
    group_vars = [VarsFolder(folder / "group_vars", "group") for folder in folders]
    host_vars = [VarsFolder(folder / "host_vars", "host") for folder in folders]

    of_groups = {name: [folder.layers(name) for folder in group_vars] for name in graph.groups}
    groups = {node.name: _group(node) for node in graph.groups.values()}
    members = {name: list(group.members) for name, group in groups.items()}
    hosts: dict[str, Host] = {}
    for node in graph.hosts.values():
        of_host = [layer for folder in host_vars for layer in folder.layers(node.name)]
        layers = (*_group_layers(node.all_groups(), of_groups), node.variables, *of_host)
        magic = _magic(node) | {"groups": members, "hostvars": _HostVars(hosts)}
        names = tuple(group.name for group in node.all_groups())
        hosts[node.name] = Host(name=node.name, groups=names, origin=node.origin, vars=Variables(layers, magic))

    warnings = [warning for folder in group_vars for warning in folder.warnings(groups)]
    warnings += [warning for folder in host_vars for warning in folder.warnings(hosts)]
    warnings += [f"{hosts[name].origin}: {name!r} is the name of a group too" for name in groups if name in hosts]
    return Inventory(hosts=hosts, groups=groups, warnings=tuple(warnings))


def _inventory_files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    return [
        file
        for entry in sorted(source.iterdir())
        if not entry.name.startswith(".") and entry.name not in ("group_vars", "host_vars")
        if not entry.name.endswith(_NOT_INVENTORIES)
        for file in _inventory_files(entry)
    ]


def _group_layers(groups: list[GroupNode], files: Mapping[str, list[tuple[Layer, ...]]]) -> Iterator[Layer]:
    """What groups set, in Ansible's order: first all that the inventory's own files say, then the group_vars/
    files of `all`, then those of the other groups, one group_vars/ folder after the other."""
    everything, *others = groups
    yield from (group.variables for group in groups)
    for layers in files[everything.name]:
        yield from layers
    for one_folder in zip(*(files[group.name] for group in others), strict=True):
        for layers in one_folder:
            yield from layers


def _group(node: GroupNode) -> Group:
    return Group(
        name=node.name,
        hosts=tuple(node.hosts),
        children=tuple(node.children),
        members=tuple(node.members()),
        depth=node.depth,
        priority=node.priority,
    )


def _magic(host: HostNode) -> dict[str, Any]:
    file = Path.cwd() / host.origin.file
    address = re.fullmatch(r"[0-9.]+|.*:.*", host.name)
    return {
        "inventory_hostname": host.name,
        "inventory_hostname_short": host.name if address else host.name.partition(".")[0],
        "group_names": sorted(group.name for group in host.all_groups() if group.name != "all"),
        "inventory_file": str(file),
        "inventory_dir": str(file.parent),
    }


class _HostVars(Mapping[str, Any]):
    """What templates see as `hostvars`: the variables of every host, each filled in for its own host."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self._hosts[name].vars.namespace()

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)

"""The inventory: hosts in groups with their variables, and the patterns that select them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rackhand.errors import UserError
from rackhand.inventory import hosts_ini, hosts_list, hosts_script, hosts_yaml, patterns
from rackhand.inventory.documents import Document, Layer, Origin, decrypted, parse, shown, text_of
from rackhand.inventory.extra_vars import extra_layer
from rackhand.inventory.graph import Graph, GroupNode, HostNode
from rackhand.inventory.names import did_you_mean
from rackhand.inventory.variables import Variables
from rackhand.inventory.vars_files import VarsFolder
from rackhand.inventory.vault import Vault, is_encrypted

#: What Ansible passes over in a folder of inventories.
_NOT_INVENTORIES = (
    *(".pyc", ".pyo", ".swp", ".bak", "~", ".rpm"),
    *(".md", ".txt", ".rst", ".orig", ".cfg", ".retry"),
)
_NO_INVENTORY_FOLDERS = ("group_vars", "host_vars", "vars_plugins")

# Text that is meant as YAML, though it has a mistake.
_LIKE_YAML = re.compile(r"(?:\s*(?:#.*)?\n)*(?:---|[\w.-]+:\s*(?:#.*)?$)", re.MULTILINE)

# What cannot be part of a text, in INI.
_BETWEEN_WORDS = re.compile(r"[\s=\"',]+")


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

    def select(
        self, pattern: str, limit: str | None = None, lists: patterns.Lists = MappingProxyType({})
    ) -> tuple[Host, ...]:
        """The hosts that an Ansible pattern selects, of them only those that `limit` selects too; in both `@name` may
        stand for a list. Raises UserError for an unknown name, and when no host is left."""
        names = self._names(pattern, lists)
        if limit is not None:
            limited = set(self._names(limit, lists))
            names = tuple(name for name in names if name in limited)
        if not names:
            within = "" if limit is None else f" within the limit {limit!r}"
            raise UserError(f"{pattern!r}: selects no host{within}")
        return tuple(self.hosts[name] for name in names)

    def closed(self) -> Inventory:
        """The same, in which nothing is decrypted that has not been by now."""
        hosts: dict[str, Host] = {}
        for name, host in self.hosts.items():
            hosts[name] = replace(host, vars=host.vars.closed(_HostVars(hosts)))
        return replace(self, hosts=hosts)

    def _names(self, pattern: str, lists: patterns.Lists) -> tuple[str, ...]:
        members = {name: group.members for name, group in self.groups.items()}
        return patterns.select(pattern, tuple(self.hosts), members, lists)


def load_inventory(
    sources: str | Path | Sequence[str | Path],
    project: Path | None = None,
    extra_vars: Iterable[str] = (),
    vault: Vault | None = None,
) -> Inventory:
    """Reads inventories with the group_vars/ and host_vars/ beside them, and those in the folder of the project. Each
    is a file, a folder of files or, as text with a comma, a list of hosts. Of several that set the same variable the
    last wins, the project over all of them, and over that `extra_vars`, which are options like Ansible's `-e`. `vault`
    decrypts what is encrypted, once it is needed. Raises UserError naming file and line of the first mistake."""
    vault = vault or Vault()
    on_top = extra_layer(extra_vars, vault)
    graph = Graph()
    places: list[Path] = []
    for source in [sources] if isinstance(sources, (str, Path)) else sources:
        if isinstance(source, str) and "," in source and not os.path.exists(source):
            hosts_list.add(source, graph)
            continue
        path = Path(source)
        files = _inventory_files(path)
        if not files:
            raise UserError(f"{shown(path)}: holds no inventory: add a hosts.yml")
        for file in files:
            try:
                _add(file, graph, vault)
            except UserError as error:
                raise type(error)(vault.hide(str(error))) from None
        places.append(path if path.is_dir() else path.parent)
    graph.finish()

    # A folder that two sources share counts where the last of them stands.
    if project is not None:
        places.append(project)
    folders = list(reversed({place.resolve(): place for place in reversed(places)}.values()))
    group_vars = [VarsFolder(folder / "group_vars", "group", vault) for folder in folders]
    host_vars = [VarsFolder(folder / "host_vars", "host", vault) for folder in folders]

    of_groups = {name: [folder.layers(name) for folder in group_vars] for name in graph.groups}
    groups = {node.name: _group(node) for node in graph.groups.values()}
    members = {name: list(group.members) for name, group in groups.items()}
    hosts: dict[str, Host] = {}
    for node in graph.hosts.values():
        of_host = [layer for folder in host_vars for layer in folder.layers(node.name)]
        layers = (*_group_layers(node.all_groups(), of_groups), *node.layers, *of_host, on_top)
        magic = _magic(node) | {"groups": members, "hostvars": _HostVars(hosts)}
        if project is not None:
            magic["playbook_dir"] = str(project)
        names = tuple(group.name for group in node.all_groups())
        variables = Variables(layers, magic, vault)
        hosts[node.name] = Host(name=node.name, groups=names, origin=node.origin, vars=variables)

    warnings = [*graph.warnings, *(warning for folder in group_vars for warning in folder.warnings(groups))]
    warnings += [warning for folder in host_vars for warning in folder.warnings(hosts)]
    warnings += [f"{hosts[name].origin}: {name!r} is the name of a group too" for name in groups if name in hosts]
    return Inventory(hosts=hosts, groups=groups, warnings=tuple(warnings))


def _inventory_files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    return [
        file
        for entry in sorted(source.iterdir())
        if not entry.name.startswith(".") and entry.name not in _NO_INVENTORY_FOLDERS
        if not entry.name.endswith(_NOT_INVENTORIES)
        for file in _inventory_files(entry)
    ]


def _add(file: Path, graph: Graph, vault: Vault) -> None:
    """Adds what one file says, of whichever kind it is, to the graph."""
    if not file.exists():
        raise UserError(f"{shown(file)}: does not exist")
    if file.suffix == ".toml":
        raise UserError(f"{shown(file)}: inventories in TOML are not supported: write YAML or INI")
    if os.access(file, os.X_OK) and hosts_script.add(file, graph):
        return
    text = text_of(file)
    if file.suffix in (".yml", ".yaml", ".json"):
        hosts_yaml.add(parse(text, shown(file), vault), graph)
    elif not file.suffix and (document := _yaml_in(text, shown(file), vault)) is not None:
        hosts_yaml.add(document, graph)
    else:
        encrypted = is_encrypted(text)
        text = decrypted(text, shown(file), vault)
        if encrypted:
            vault.note(_BETWEEN_WORDS.split(text))
        hosts_ini.add(text, shown(file), graph, encrypted=encrypted)


def _yaml_in(text: str, file: str, vault: Vault) -> Document | None:
    """The YAML in a file whose name does not say what it is; None when it is none."""
    try:
        document = parse(text, file, vault)
    except UserError:
        if _LIKE_YAML.match(text):
            raise
        return None
    return document if isinstance(document.value, dict) else None


def _group_layers(groups: list[GroupNode], files: Mapping[str, list[tuple[Layer, ...]]]) -> Iterator[Layer]:
    """What groups set, in Ansible's order: first all that the inventory's own files say, then the group_vars/
    files of `all`, then those of the other groups, one group_vars/ folder after the other."""
    everything, *others = groups
    for group in groups:
        yield from group.layers
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

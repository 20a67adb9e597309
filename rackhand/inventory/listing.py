"""What `ansible-inventory --list`, `--host` and `--graph` print, of an inventory."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rackhand.inventory.documents import Unsafe
from rackhand.inventory.inventory import Host, Inventory
from rackhand.inventory.variables import Variables
from rackhand.inventory.vault import Vaulted

Masked = Callable[[Variables], Mapping[str, Any]]


def listed(inventory: Inventory, masked: Masked) -> str:
    """All groups, and the variables of all hosts, templates not filled in. `masked` takes out what must not be
    shown."""
    of_hosts = {name: variables for name, host in inventory.hosts.items() if (variables := _variables(host, masked))}
    groups: dict[str, Any] = {}
    for name, group in inventory.groups.items():
        sections = {"hosts": [] if name == "all" else group.hosts, "children": group.children}
        groups[name] = {section: names for section, names in sections.items() if names}
    meta = {"hostvars": of_hosts, "profile": "inventory_legacy"}
    return _json({name: content for name, content in groups.items() if content} | {"_meta": meta})


def listed_host(host: Host, masked: Masked) -> str:
    """The variables of one host, templates not filled in. As in Ansible, what is unsafe is plain text here."""
    return _json(_variables(host, masked, unsafe=False))


def graph(inventory: Inventory) -> str:
    """All groups, the groups below them and their hosts, as a tree."""
    return "\n".join(_branches(inventory, "all", 0))


def _branches(inventory: Inventory, name: str, depth: int) -> Iterator[str]:
    group = inventory.groups[name]
    yield _leaf(f"@{name}:", depth)
    for child in group.children:
        yield from _branches(inventory, child, depth + 1)
    yield from (_leaf(host, depth + 1) for host in group.hosts if name != "all")


def _leaf(name: str, depth: int) -> str:
    return f"{'  |' * depth}--{name}" if depth else name


def _variables(host: Host, masked: Masked, *, unsafe: bool = True) -> dict[str, Any]:
    return {name: _plain(value, unsafe) for name, value in masked(host.vars).items()}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=4, sort_keys=True)


def _plain(value: Any, unsafe: bool) -> Any:
    """What JSON can say, in Ansible's words; with `unsafe`, also that a text is no template."""
    if isinstance(value, Unsafe):
        return {"__ansible_unsafe": str(value)} if unsafe else str(value)
    if isinstance(value, Vaulted):
        return {"__ansible_vault": value.envelope}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, unsafe) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, unsafe) for item in value]
    if isinstance(value, set):
        return sorted(_plain(item, unsafe) for item in value)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    return value

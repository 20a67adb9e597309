"""Edges: hosts that pass requests on to those of a group. Who is whose edge follows from the inventory as a whole."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Edge:
    """What an edge passes requests on to: the hosts of the group `to`, as (name, address)."""

    to: str
    hosts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Behind:
    """Who passes requests on to a host: the addresses of its `edges`; and the `others` that these may pass them on to,
    as (name, address)."""

    edges: tuple[str, ...]
    others: tuple[tuple[str, str], ...]

    def drain(self, batch: tuple[str, ...]) -> dict[str, Any] | None:
        """What the agent is told of the edges when the hosts of a batch are changed: requests can be kept away from the
        host as long as there are others, which are not changed at the same time."""
        others = [address for name, address in self.others if name not in batch]
        return {"edges": self.edges, "others": others} if others else None


def edge(to: str, namespace: Mapping[str, Any]) -> Edge:
    """The edge to a group, from the variables that templates of its host see. Raises ValueError."""
    members = namespace["groups"].get(to)
    if members is None:
        raise ValueError(f"no group of the inventory has the name {to!r}")
    if not members:
        raise ValueError(f"the group {to} has no hosts")
    if namespace["inventory_hostname"] in members:
        raise ValueError(f"the host is in the group {to} itself: it would pass requests on to itself")
    return Edge(to=to, hosts=tuple((name, address(name, namespace["hostvars"])) for name in members))


def behind(name: str, namespace: Mapping[str, Any]) -> Behind | None:
    """The edges of a host, if it has any. Raises ValueError."""
    groups, hostvars = namespace["groups"], namespace["hostvars"]
    found = [(host, to) for host, to in _edges(hostvars) if name in groups.get(to, ())]
    if not found:
        return None
    others = dict.fromkeys(host for _, to in found for host in groups[to] if host != name)
    return Behind(
        edges=tuple(dict.fromkeys(address(host, hostvars) for host, _ in found)),
        others=tuple((host, address(host, hostvars)) for host in others),
    )


def _edges(hostvars: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """All edges of the inventory, with the names of their groups. What is wrong with one is told of that host."""
    for host in hostvars:
        variables = hostvars[host]
        settings = variables.get("rackhand_edge")
        if isinstance(settings, Mapping) and isinstance(settings.get("to"), str):
            yield host, settings["to"]


def address(name: str, hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    """The address by which edges and the hosts behind them know each other. Names would be looked up once, when nginx
    starts, and one that is not found would keep it from starting. Raises ValueError."""
    variables = hostvars[name]
    said = variables.get("rackhand_address", variables.get("ansible_host", name))
    try:
        return str(ipaddress.ip_address(said if isinstance(said, str) else ""))
    except ValueError:
        raise ValueError(f"{name} has no IP address: set its rackhand_address") from None

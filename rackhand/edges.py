"""Edges: hosts that pass requests on to those of a group. Who is whose edge follows from the inventory as a whole."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rackhand.errors import UserError
from rackhand.inventory import Inventory, UndecryptableError


@dataclass(frozen=True, kw_only=True)
class Edge:
    """What an edge passes requests on to: the hosts of the group `to`, as (name, address). Of connections to them, each
    worker of its nginx keeps up to `keepalive` that are idle."""

    to: str
    hosts: tuple[tuple[str, str], ...]
    keepalive: int = 0


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
    return Edge(to=to, hosts=tuple((name, address(namespace["hostvars"][name], name)) for name in members))


def behind(names: Iterable[str], inventory: Inventory) -> dict[str, Behind]:
    """The edges of these hosts, of those that have any: of all at once, since the whole inventory is looked through for
    them. What is encrypted of other hosts stays so, as far as it need not be read; what is of these has been decrypted
    with their settings. Raises UserError."""
    closed = inventory.closed()
    edges = dict(_edges(closed))
    groups = {to: inventory.groups[to].members for to in edges.values() if to in inventory.groups}

    @functools.cache
    def known(name: str) -> str:
        try:
            return address(closed.hosts[name].vars, name)
        except (UndecryptableError, ValueError):  # Then it is needed.
            return address(inventory.hosts[name].vars, name)

    found: dict[str, Behind] = {}
    for name in names:
        mine = [edge for edge, to in edges.items() if name in groups.get(to, ())]
        if mine:
            others = dict.fromkeys(host for edge in mine for host in groups[edges[edge]] if host != name)
            try:
                found[name] = Behind(
                    edges=tuple(dict.fromkeys(known(edge) for edge in mine)),
                    others=tuple((host, known(host)) for host in others),
                )
            except ValueError as error:
                raise UserError(f"{inventory.hosts[name].origin}: {name} is behind an edge: {error}") from None
    return found


def _edges(inventory: Inventory) -> Iterator[tuple[str, str]]:
    """All edges of the inventory, with the names of their groups. What is wrong with one is told of that host, when a
    run is about it."""
    for host in inventory.hosts.values():
        with contextlib.suppress(UserError):
            settings = host.vars.lazy.get("rackhand_edge")
            if isinstance(settings, Mapping) and isinstance(to := settings.get("to"), str):
                yield host.name, to


def address(variables: Mapping[str, Any], name: str) -> str:
    """The address by which edges and the hosts behind them know a host. Names would be looked up once, when nginx
    starts, and one that is not found would keep it from starting. Raises ValueError."""
    key = next((key for key in ("rackhand_address", "ansible_host") if key in variables), None)
    said = name if key is None else variables[key]
    try:
        return str(ipaddress.ip_address(said if isinstance(said, str) else ""))
    except ValueError:
        raise ValueError(f"{name} has no IP address: set its rackhand_address") from None

"""What in an inventory does nothing, or not what was meant: for `inventory --lint`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rackhand.inventory import Definition, Host, Inventory, Origin
from rackhand.inventory.documents import COMMAND_LINE
from rackhand.inventory.variables import is_template
from rackhand.settings import Read

_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`wrong` is what keeps a deploy from starting, or has most likely a slip of the pen in it."""

    text: str
    wrong: bool = False


def lint(inventory: Inventory, read: Callable[[Host], Read]) -> list[Finding]:
    """Mistakes first, then what is unused, misspelt or shadowed, by file and line."""
    hosts = list(inventory.hosts.values())
    reads = [read(host) for host in hosts]
    mistakes = dict.fromkeys(mistake for one in reads for mistake in one.mistakes)
    known = frozenset[str]().union(*(one.names for one in reads))
    found = [*_unread(hosts, known), *_shadowed(hosts)]
    return [
        *(Finding(text=mistake, wrong=True) for mistake in mistakes),
        *(finding for _, finding in sorted(found, key=lambda one: (one[0].file, one[0].line or 0))),
        *_empty(inventory),
    ]


_Placed = tuple[Origin, Finding]


def _unread(hosts: Iterable[Host], known: frozenset[str]) -> Iterator[_Placed]:
    """Variables that neither Rackhand nor a template asks for."""
    definitions = {_key(name, one): (name, one) for host in hosts for name, one in _definitions(host)}
    words = {word for _, one in definitions.values() for word in _words(one.value)}
    for name, one in definitions.values():
        origin = one.origin()
        # A script says what it knows, whoever asks.
        said = origin.line is None and one.scope != COMMAND_LINE
        if name in known or name in words or said:
            continue
        meant = _slip(name, known)
        hint = f' (did you mean "{meant}"?)' if meant else ""
        yield origin, Finding(text=f"{origin}: {name}: nothing reads it{hint}", wrong=bool(meant))


def _shadowed(hosts: Iterable[Host]) -> Iterator[_Placed]:
    """Places that set a variable for hosts, all of which get it from elsewhere."""
    wins: set[tuple[Any, ...]] = set()
    places: dict[tuple[Any, ...], tuple[str, Definition]] = {}
    winners: dict[tuple[Any, ...], dict[str, None]] = {}
    for host in hosts:
        for name in host.vars:
            definitions = host.vars.definitions(name)
            winner = definitions[-1]
            wins.add(_key(name, winner))
            for one in definitions:
                key = _key(name, one)
                places[key] = name, one
                winners.setdefault(key, {})[str(winner.origin())] = None
    for key, (name, one) in places.items():
        if key not in wins:
            origin = one.origin()
            others = list(winners[key])
            by = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
            verb = "overrides" if len(others) == 1 else "override"
            yield origin, Finding(text=f"{origin}: {name}: counts for no host: {by} {verb} it")


def _empty(inventory: Inventory) -> Iterator[Finding]:
    for group in inventory.groups.values():
        if not group.members and group.name not in ("all", "ungrouped"):
            yield Finding(text=f"the group {group.name!r} has no hosts: what is set for it counts for nobody")


def _definitions(host: Host) -> Iterator[tuple[str, Definition]]:
    for name in host.vars:
        for one in host.vars.definitions(name):
            yield name, one


def _key(name: str, one: Definition) -> tuple[Any, ...]:
    return name, id(one.document), one.path


def _words(value: object) -> Iterator[str]:
    """Names that templates in a value may use."""
    if isinstance(value, str):
        yield from _WORD.findall(value) if is_template(value) else ()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _words(item)
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)


def _slip(name: str, known: Iterable[str]) -> str | None:
    """The known name from which this one differs by a letter, or by two that have changed places."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=max(0.7, 1 - 1.1 / len(name)))
    return close[0] if close else None

"""Selects hosts by Ansible's patterns: `web`, `a:b`, `a,b`, `web:&prod:!db1`, `db*`, `~regex`, `web[0:2]`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rackhand.errors import UserError
from rackhand.inventory.names import did_you_mean, split_port

_SUBSCRIPT = re.compile(r"(.+)\[(?:(-?[0-9]+)|([0-9]+)[:-]([0-9]*))\]")
_TERM = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")

#: What `@name` stands for besides a file of this name, once it is asked for: terms.
Lists = Mapping[str, Callable[[], Sequence[str]]]


def select(pattern: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]], lists: Lists) -> tuple[str, ...]:
    """The names that a pattern selects, in the order that it names them; `groups` maps names to members.

    Raises UserError for a name that is neither a host nor a group, also after `!`: a host that was to be left
    out would otherwise be touched.
    """
    terms = split(pattern, lists)
    if not terms or not {"!", "&"}.isdisjoint(terms):
        raise UserError(f"{pattern!r}: is not a pattern of hosts")
    chosen = [term for term in terms if term[0] not in "&!"] or ["all"]
    # As in Ansible a bare host name is that host, though a group be named like it.
    matches = ([term] if term in hosts else _match(term, hosts, groups) for term in chosen)
    selected = list(dict.fromkeys(name for match in matches for name in match))
    for term in terms:
        if term[0] == "&":
            matching = set(_match(term[1:], hosts, groups))
            selected = [name for name in selected if name in matching]
    for term in terms:
        if term[0] == "!":
            matching = set(_match(term[1:], hosts, groups))
            selected = [name for name in selected if name not in matching]
    return tuple(selected)


def split(pattern: str, lists: Lists) -> list[str]:
    """The terms of a pattern, each with its `&` or `!`; `@name` stands for a list, or for the lines of a file."""
    if "," in pattern:
        terms = pattern.split(",")
    elif split_port(pattern):  # An IPv6 address or a range has colons of its own.
        terms = [pattern]
    else:
        terms = _TERM.findall(pattern)
    terms = [term.strip() for term in terms if term.strip()]
    return [one for term in terms for one in (_listed(term[1:], lists) if term[0] == "@" else [term])]


def _listed(name: str, lists: Lists) -> Sequence[str]:
    return lists[name]() if name in lists else _lines(Path(name))


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [line.strip() for line in lines if line.strip()]
    except OSError as error:
        raise UserError(f"@{file}: cannot be read: {error.strerror}") from None


def _match(term: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Sequence[str]:
    subscript = None if term.startswith("~") else _SUBSCRIPT.fullmatch(term)
    matching = _named(subscript[1] if subscript else term, hosts, groups)
    return _subscripted(term, matching, subscript) if subscript and matching else matching


def _named(term: str, hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> Sequence[str]:
    try:
        expression = re.compile(term[1:] if term.startswith("~") else fnmatch.translate(term))
    except re.error as error:
        raise UserError(f"{term!r}: is not a regular expression: {error}") from None
    matching_groups = [name for name in groups if expression.match(name)]
    found = [host for name in matching_groups for host in groups[name]]
    wild = term.startswith("~") or any(character in term for character in "?*[")
    # Ansible's rule: a name with a dot may be a host besides being a group.
    if not matching_groups or wild or "." in term:
        found += [host for host in hosts if expression.match(host)]
    if not found and not matching_groups and not wild:
        known = did_you_mean(term, [*groups, *hosts])
        raise UserError(f"{term!r}: no host or group of the inventory has this name{known}")
    return found


def _subscripted(term: str, names: Sequence[str], subscript: re.Match[str]) -> Sequence[str]:
    _, index, first, last = subscript.groups()
    try:
        if index or last == "0":
            return [names[int(index or first)]]
        return names[int(first) : int(last) + 1 if last else None]
    except IndexError:
        raise UserError(f"{term!r}: there are only {len(names)} hosts to choose from") from None

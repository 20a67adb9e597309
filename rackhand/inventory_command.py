"""The command `inventory`: what ansible-inventory prints, and every place that sets a variable."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rackhand import PROJECT
from rackhand.agent.redaction import MASK, Redaction
from rackhand.commands import Options, read_inventory, sites_of
from rackhand.errors import UserError
from rackhand.inventory import Host, Inventory, Variables, Vault, did_you_mean
from rackhand.inventory.listing import graph, listed, listed_host
from rackhand.tables import table

# Names of what is secret wherever it stands.
_SECRET = re.compile(r"(^|_)(pass|password|passwd|passphrase|secret|token)$", re.IGNORECASE)


#: The exit code where something is wrong, as of a command that would not start for it.
WRONG = 5


def show(options: Options, *, all_of_it: bool, tree: bool, check: bool, blame: str | None) -> int:
    """Prints what the options ask for, but for what is secret or stands in an encrypted file. Returns the exit
    code."""
    host, vault = options.host, options.vault()
    if sum((all_of_it, tree, check, host is not None)) != 1:
        raise UserError("give one of --list, --graph, --lint and --host H; --blame VAR goes with --host H")
    if blame is not None and host is None:
        raise UserError("--blame needs --host H: a variable has a value for a host")
    inventory = read_inventory(options.inventory, options.extra_vars, vault)

    def hidden(variables: Variables) -> dict[str, Any]:
        found: dict[str, Any] = Redaction(vault.texts)(masked(variables))
        return found

    if check:
        return linted(inventory, vault, sites_of(options.inventory))
    if all_of_it:
        print(listed(inventory, hidden))
    elif tree:
        print(graph(inventory))
    else:
        asked = inventory.host(host or "")
        print(listed_host(asked, hidden) if blame is None else vault.hide(blamed(asked, blame)))
    return 0


def linted(inventory: Inventory, vault: Vault, sites: Sequence[Path]) -> int:
    """Prints what is amiss in an inventory. Returns the exit code."""
    from rackhand.lint import lint
    from rackhand.settings import read

    findings = lint(inventory, lambda host: read(host, PROJECT, sites=sites))
    for finding in findings:
        print(vault.hide(finding.text))
    wrong = sum(finding.wrong for finding in findings)
    hosts = "1 host" if len(inventory.hosts) == 1 else f"{len(inventory.hosts)} hosts"
    print(f"{hosts}: {wrong} wrong, {len(findings) - wrong} without effect" if findings else f"{hosts}: nothing amiss")
    return WRONG if wrong else 0


def masked(variables: Variables) -> dict[str, Any]:
    """Variables without secrets: passwords, the environment of applications, and what stands in an encrypted file."""
    return {name: _masked(value, (name,), variables.encrypted(name)) for name, value in variables.raw().items()}


def _masked(value: Any, path: tuple[Any, ...], encrypted: bool) -> Any:
    """With all that is no mapping or list masked, if it was encrypted."""
    of_app = len(path) == 4 and path[0] == "apps" and path[2] == "env"
    if of_app or _SECRET.search(str(path[-1])):
        return MASK
    if isinstance(value, Mapping):
        return {key: _masked(item, (*path, key), encrypted) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, (*path, index), encrypted) for index, item in enumerate(value)]
    return MASK if encrypted else value


def blamed(host: Host, variable: str) -> str:
    """Every place that sets a variable of a host, or a part of it (`apps.shop.workers`), in order; the last one wins.
    Raises UserError when nothing sets it."""
    name, *parts = variable.split(".")
    found = host.vars.definitions(name)
    if not found:
        raise UserError(f"--blame {variable}: nothing sets {name!r} for {host.name}{did_you_mean(name, host.vars)}")
    rows = []
    for definition in found:
        value: Any = _masked(definition.value, (name,), definition.document.encrypted)
        for part in parts:
            value = value.get(part, _NOTHING) if isinstance(value, Mapping) else _NOTHING
        said = "(not set there)" if value is _NOTHING else repr(value)
        rows.append((str(definition.origin(*parts)), definition.scope, said, "wins" if definition is found[-1] else ""))
    return table(("WHERE", "FOR", "VALUE", ""), rows)


_NOTHING = object()

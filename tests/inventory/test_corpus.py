"""A corpus of inventories, each of which means here what it means to Ansible: its own commands are asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rackhand.errors import UserError
from rackhand.inventory import Inventory, Variables, load_inventory
from rackhand.inventory.listing import graph, listed, listed_host
from tests.inventory.cases import CASES, Case
from tests.inventory.oracle import Ansible


def whole(variables: Variables) -> Mapping[str, Any]:
    """Nothing is masked: what is compared is all that files say."""
    return variables.raw()


def templated(inventory: Inventory) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for host in inventory.hosts.values():
        for name in host.vars:
            try:
                value = json.loads(json.dumps(host.vars[name], default=str))
            except UserError:
                value = None
            found.setdefault(host.name, {})[name] = value
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_inventory_means_what_it_means_to_ansible(
    case: Case, ansible: Ansible, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups, hosts, their order, every variable before and after its templates are filled in, and patterns."""
    case.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    about: dict[str, Any] = {"sources": case.sources, "cwd": tmp_path, "extra_vars": case.extra_vars}
    if case.project is not None:
        about["project"] = str(tmp_path / case.project)
    project = None if case.project is None else tmp_path / case.project
    inventory = load_inventory(case.sources, project, case.extra_vars)
    assert listed(inventory, whole).splitlines() == ansible.inventory("--list", **about).splitlines()
    assert graph(inventory).splitlines() == ansible.inventory("--graph", **about).splitlines()
    for name, host in inventory.hosts.items():
        assert listed_host(host, whole).splitlines() == ansible.inventory("--host", name, **about).splitlines(), name
    assert templated(inventory) == ansible.templated(**about)
    # Of groups that are not just below `all` Ansible takes the hosts in any order, that of a set.
    order = list if all(group.depth < 2 for group in inventory.groups.values()) else sorted
    for pattern in case.patterns:
        selected = [host.name for host in inventory.select(pattern)]
        assert order(selected) == order(ansible.hosts(pattern, **about)), pattern


def test_the_corpus_is_large() -> None:
    """Forty inventories or more, each of which says what it is about."""
    assert len(CASES) >= 40
    assert len({case.about for case in CASES}) == len(CASES)
    assert all(case.about.endswith(".") for case in CASES)

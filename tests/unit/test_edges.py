"""Who is whose edge, and what nginx makes of it on either side."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rackhand.commands import Options, hosts
from rackhand.edges import Behind, Edge, behind
from rackhand.errors import UserError
from rackhand.inventory import load_inventory
from rackhand.inventory.vault import encrypt
from rackhand.settings import HostSettings, host_settings, passed_on
from roles.nginx import site
from tests.unit.test_roles import ASYNC_API, check, target

HOSTS = """\
all:
  children:
    edge:
      hosts:
        edge1: {ansible_host: 192.0.2.1}
        edge2: {ansible_host: edge2.example.net, rackhand_address: "2001:db8::2"}
      vars:
        rackhand_edge: {to: web}
    web:
      hosts:
        web1: {ansible_host: 192.0.2.11}
        192.0.2.12:
        web3: {ansible_host: 192.0.2.13, rackhand_address: 10.0.0.3}
    db:
      hosts:
        db1:
"""


def settings(folder: Path, text: str, name: str) -> HostSettings:
    (folder / "hosts.yml").write_text(text)
    inventory = load_inventory(folder)
    return passed_on(host_settings(inventory.host(name), folder), behind([name], inventory).get(name))


def test_an_edge_has_the_addresses_of_its_group(tmp_path: Path) -> None:
    """The address for edges, else that for SSH, else the host's name."""
    expected = Edge(to="web", hosts=(("web1", "192.0.2.11"), ("192.0.2.12", "192.0.2.12"), ("web3", "10.0.0.3")))
    assert settings(tmp_path, HOSTS, "edge1").edge == expected
    assert settings(tmp_path, HOSTS, "edge1").behind is None


def test_a_host_knows_its_edges_and_who_else_they_have(tmp_path: Path) -> None:
    """Also when the run is about this host alone."""
    assert settings(tmp_path, HOSTS, "web1").behind == Behind(
        edges=("192.0.2.1", "2001:db8::2"), others=(("192.0.2.12", "192.0.2.12"), ("web3", "10.0.0.3"))
    )
    assert settings(tmp_path, HOSTS, "db1").behind is None


def test_requests_are_kept_away_as_long_as_others_take_them() -> None:
    """Not when all hosts of the group are changed at the same time."""
    behind = Behind(edges=("192.0.2.1",), others=(("web2", "192.0.2.12"), ("web3", "192.0.2.13")))
    assert behind.drain(("web1",)) == {"edges": ("192.0.2.1",), "others": ["192.0.2.12", "192.0.2.13"]}
    assert behind.drain(("web1", "web3")) == {"edges": ("192.0.2.1",), "others": ["192.0.2.12"]}
    assert behind.drain(("web1", "web2", "web3")) is None


@pytest.mark.parametrize(
    ("old", "new", "name", "message"),
    [
        ("to: web", "to: wep", "edge1", "hosts.yml:8: rackhand_edge.to: no group of the inventory has the name 'wep'"),
        ("{to: web}", "web", "edge1", "hosts.yml:8: rackhand_edge: should be a mapping, got 'web'"),
        ("{to: web}", "{}", "edge1", "hosts.yml:8: rackhand_edge: to is missing"),
        (
            "to: web",
            "to: web, port: 80",
            "edge1",
            "hosts.yml:8: rackhand_edge.port: unknown key: there are keepalive, to",
        ),
        (
            "to: web",
            "to: web, keepalive: true",
            "edge1",
            "hosts.yml:8: rackhand_edge.keepalive: should be a whole number, got true",
        ),
        ("to: web", "to: edge", "edge1", "the host is in the group edge itself: it would pass requests on to itself"),
        ("ansible_host: 192.0.2.11", "", "edge1", "rackhand_edge.to: web1 has no IP address: set its rackhand_address"),
        (
            "ansible_host: 192.0.2.1}",
            "}",
            "web1",
            "hosts.yml:11: web1 is behind an edge: edge1 has no IP address: set its rackhand_address",
        ),
        ("10.0.0.3", "web3.lan", "web3", "hosts.yml:13: rackhand_address: should be an IP address, got 'web3.lan'"),
        (
            "rackhand_edge: {to: web}",
            "{rackhand_edge: {to: web}, apps: {one: {path: ., app: 'a:b', route: /}}}",
            "edge1",
            "rackhand_edge: an edge passes all requests on, and this host has apps of its own",
        ),
        (
            "ansible_host: 192.0.2.11",
            "ansible_host: 192.0.2.11, apps: {one: {path: ., app: 'a:b', direct: 80}}",
            "web1",
            "hosts.yml:11: apps.one.direct: web1 is behind an edge, whose word on its clients only nginx takes: "
            "leave this out",
        ),
    ],
)
def test_mistakes_are_told_before_any_host_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert old in HOSTS
    with pytest.raises(UserError) as raised:
        settings(tmp_path, HOSTS.replace(old, new), name)
    assert message in str(raised.value)


@pytest.mark.parametrize("broken", ['{to: "{{ nobody }}"}', '"{{ nobody }}"', "{to: [web]}", "7"])
def test_an_edge_that_is_broken_stops_no_other_host(tmp_path: Path, broken: str) -> None:
    """Only a run that is about it tells of it."""
    text = HOSTS.replace("{ansible_host: 192.0.2.1}", f"{{ansible_host: 192.0.2.1, rackhand_edge: {broken}}}")
    assert settings(tmp_path, text, "db1").behind is None
    found = settings(tmp_path, text, "web1").behind
    assert found is not None
    assert found.edges == ("2001:db8::2",)
    with pytest.raises(UserError, match="rackhand_edge"):
        settings(tmp_path, text, "edge1")


def test_of_a_broken_edge_it_counts_whose_it_is(tmp_path: Path) -> None:
    """What else is wrong with it takes no host from behind it."""
    text = HOSTS.replace("to: web", 'to: web, keepalive: "{{ nobody }}"')
    found = settings(tmp_path, text, "web1").behind
    assert found is not None
    assert found.edges == ("192.0.2.1", "2001:db8::2")


# Edges, and what is encrypted

WORD = "the word"


class Passwords:
    """A program that prints the password, and keeps count of how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self._count = folder / "count"
        self.program = folder / "password"
        self.program.write_text(f"#!/bin/sh\necho asked >> {self._count}\necho '{WORD}'\n")
        self.program.chmod(0o755)

    @property
    def asked(self) -> int:
        return len(self._count.read_text().splitlines()) if self._count.exists() else 0


@pytest.fixture
def passwords(tmp_path_factory: pytest.TempPathFactory) -> Passwords:
    return Passwords(tmp_path_factory.mktemp("passwords"))


Chosen = Callable[..., dict[str, HostSettings]]


@pytest.fixture
def chosen(tmp_path: Path, passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> Chosen:
    """What a run on these hosts of an inventory goes by; the files of variables are encrypted."""
    monkeypatch.chdir(tmp_path)

    def chosen(host: str, text: str = HOSTS, given: bool = True, **encrypted: str) -> dict[str, HostSettings]:
        (tmp_path / "hosts.yml").write_text(text)
        for name, variables in encrypted.items():
            path = tmp_path / f"{name}.yml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(encrypt(variables, WORD, "prod"))
        ids = (f"prod@{passwords.program}",) if given else ()
        return {found.name: found for found in hosts(Options(host=host, inventory=("hosts.yml",), vault_id=ids))}

    return chosen


@pytest.mark.parametrize("given", [True, False])
def test_for_other_hosts_nothing_is_decrypted(chosen: Chosen, passwords: Passwords, given: bool) -> None:
    """Whether there is a password or not, nobody is asked for it."""
    files = {f"group_vars/{name}": "x: 1" for name in ("edge", "web")} | {"host_vars/web3": "x: 1"}
    assert chosen("db1", given=given, **files)["db1"].behind is None
    assert passwords.asked == 0


def test_of_a_host_that_is_chosen_everything_counts(chosen: Chosen, passwords: Passwords) -> None:
    """What is encrypted too, for others as well as for itself."""
    text = HOSTS.replace("        rackhand_edge: {to: web}", "        x: 1")
    found = chosen("edge1:web1", text, **{"group_vars/edge": "rackhand_edge: {to: web}"})
    assert found["edge1"].edge is not None
    assert found["web1"].behind == Behind(
        edges=("192.0.2.1", "2001:db8::2"), others=(("192.0.2.12", "192.0.2.12"), ("web3", "10.0.0.3"))
    )
    assert passwords.asked == 1
    assert chosen("web1", text, given=False)["web1"].behind is None
    with pytest.raises(UserError, match=r"^group_vars/edge\.yml:1: is encrypted \(vault id prod\), and no password"):
        chosen("edge1", text, given=False)


def test_an_edge_in_plain_text_is_found_beside_what_is_encrypted(chosen: Chosen, passwords: Passwords) -> None:
    found = chosen("web1", **{"group_vars/edge": "x: 1", "host_vars/web3": "x: 1"})["web1"].behind
    assert found == Behind(
        edges=("192.0.2.1", "2001:db8::2"), others=(("192.0.2.12", "192.0.2.12"), ("web3", "10.0.0.3"))
    )
    assert passwords.asked == 0


@pytest.mark.parametrize(
    "edge",
    ["\n          to: VALUE", "{to: '{{ word }}'}\n        word: VALUE", '{to: "{{ hostvars.db1.to }}"}'],
    ids=["a value", "in a template", "of another host"],
)
def test_no_value_is_decrypted_to_find_an_edge(chosen: Chosen, passwords: Passwords, edge: str) -> None:
    """Nor what a template takes from another host."""
    value = "!vault |\n" + textwrap.indent(encrypt("web", WORD, "prod"), " " * 16)
    text = HOSTS.replace("{to: web}", edge.replace("VALUE", value))
    assert chosen("web1", text, **{"host_vars/db1": "to: web"})["web1"].behind is None
    assert passwords.asked == 0
    assert chosen("web1:edge:db1", text)["web1"].behind is not None


def test_an_address_of_its_own_is_enough(chosen: Chosen, passwords: Passwords) -> None:
    """What SSH is to use is not looked at then, and may be encrypted."""
    value = "!vault |\n" + textwrap.indent(encrypt("192.0.2.1", WORD, "prod"), " " * 12)
    own = f"\n          rackhand_address: 192.0.2.8\n          ansible_host: {value}"
    found = chosen("web1", HOSTS.replace(" {ansible_host: 192.0.2.1}", own))["web1"].behind
    assert found is not None
    assert found.edges == ("192.0.2.8", "2001:db8::2")
    assert passwords.asked == 0


def test_an_address_that_is_encrypted_is_decrypted(chosen: Chosen, passwords: Passwords) -> None:
    """Where there is no other: it is needed."""
    text = HOSTS.replace("ansible_host: 192.0.2.1}", "x: 1}")
    found = chosen("web1", text, **{"host_vars/edge1": "rackhand_address: 192.0.2.7"})["web1"].behind
    assert found is not None
    assert found.edges == ("192.0.2.7", "2001:db8::2")
    assert passwords.asked == 1


def test_the_site_of_an_edge() -> None:
    of = target()
    edge = Edge(to="web", hosts=(("web1", "192.0.2.11"), ("web2", "2001:db8::12")))
    check("nginx.conf.edge", site(replace(of, settings=replace(of.settings, edge=edge))))


def test_the_site_of_an_edge_that_keeps_connections(tmp_path: Path) -> None:
    of = target()
    found = settings(tmp_path, HOSTS.replace("to: web", "to: web, keepalive: 16"), "edge1").edge
    check("nginx.conf.edge_kept", site(replace(of, settings=replace(of.settings, edge=found))))


def test_the_site_of_a_host_behind_edges() -> None:
    of = target(ASYNC_API)
    behind = Behind(edges=("192.0.2.1", "2001:db8::2"), others=())
    check("nginx.conf.behind", site(replace(of, settings=replace(of.settings, behind=behind))))

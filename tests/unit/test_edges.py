"""Who is whose edge, and what nginx makes of it on either side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rackhand.edges import Behind, Edge, behind
from rackhand.errors import UserError
from rackhand.inventory import load_inventory
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

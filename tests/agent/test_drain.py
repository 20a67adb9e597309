"""Keeping edges away: what is read of the kernel. That nothing is lost is shown on hosts, in tests/lab/test_edge.py."""

import json
import socket
from pathlib import Path

import pytest

from rackhand.agent import drain
from rackhand.agent.events import Emitter
from rackhand.agent.system import System


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_connections_of_a_peer(monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, address: str) -> None:
    """Those that are established, and those that have ended a moment ago, by the peer's address and port."""
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        monkeypatch.setattr(drain, "PORT", listener.getsockname()[1])
        assert list(drain._connections([address])) == []
        client = socket.create_connection(listener.getsockname()[:2])
        server, _ = listener.accept()
        peer = client.getsockname()[:2]
        assert list(drain._connections([address])) == [(True, peer)]
        assert list(drain._connections(["192.0.2.1"])) == []
        server.close()
        client.close()
        assert (True, peer) not in drain._connections([address])


def test_an_ipv4_address_in_an_ipv6_socket_is_one() -> None:
    assert drain._address("0000000000000000FFFF00000B0200C0", socket.AF_INET6) == "192.0.2.11"


def test_the_rules_name_each_edge_in_its_family() -> None:
    rules = drain._rules(["192.0.2.1", "2001:db8::2"])
    assert "edges_ip { 192.0.2.1 timeout 300s }" in rules
    assert "edges_ip6 { 2001:db8::2 timeout 300s }" in rules


def test_a_host_that_is_the_only_one_goes_on_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When none of the others answers, requests are not kept away, and that is told once."""
    with socket.socket() as bound:  # a port that nobody listens on
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(drain, "PORT", bound.getsockname()[1])
        with (tmp_path / "events").open("w+b") as file:
            wanted = {"edges": ["192.0.2.1"], "others": ["127.0.0.1"]}
            away = drain.Drain(wanted, System(str(tmp_path)), Emitter(file.fileno()))
            away.begin()
            away.begin()
            away.end(sound=True)
            file.seek(0)
            (told,) = (json.loads(line) for line in file)
    assert told["text"] == "not drained: none of the other hosts answers"

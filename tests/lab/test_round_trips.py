"""How often a run waits for an answer of its host, which is what it takes over a far network; and how many programs it
starts there."""

import contextlib
import select
import socket
import threading
from typing import Self

import pytest

from rackhand.lab import LabHost
from tests.lab.site import Site

#: Seconds of silence after which neither side has more to say before it hears the other.
QUIET = 0.2

#: What a run that changes nothing takes, connecting included.
ROUND_TRIPS = 8


class Far:
    """A network between the controller and a host, on a port of its own, of which one way takes longer than anything
    else: what is said is delivered once both sides wait. `trips` counts those of all connections, there or back."""

    def __init__(self, host: LabHost) -> None:
        self.trips = 0
        self._host = host
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection((self._host.address, 22))
                with here, there, contextlib.suppress(OSError):
                    self._pass_on(here, there)

    def _pass_on(self, here: socket.socket, there: socket.socket) -> None:
        said: dict[socket.socket, bytes] = {here: b"", there: b""}
        last: socket.socket | None = None
        while True:
            # The host greets whoever dials, who may still be loading what it speaks with.
            waiting = any(said.values()) if last else said[here]
            speaking, _, _ = select.select(said, [], [], QUIET if waiting else None)
            for side in speaking:
                heard = side.recv(2**16)
                if not heard:
                    return
                said[side] += heard
            if speaking:
                continue
            # Who goes on speaking does not wait for the other; only an answer is a trip of its own.
            answering = [side for side in said if said[side] and side is not last]
            if answering:
                self.trips += 1
                last = answering[0]
            for side, other in ((here, there), (there, here)):
                other.sendall(said[side])
                said[side] = b""


def round_trips(site: Site, host: LabHost) -> float:
    """Of a run that finds all as wanted. The fewest of some: a busy machine can tear apart what was said in one go."""
    site.variables["ansible_ssh_common_args"] += f" -o HostKeyAlias={host.address}"
    found = []
    for _ in range(3):
        with Far(host) as network:
            site.hosts[host.name] = {"ansible_host": "127.0.0.1", "ansible_port": network.port}
            site.write()
            result = site.deploy(host.name)
            assert not result.resources("changed")
            found.append(network.trips / 2)
    return min(found)


def with_applications(site: Site, count: int) -> int:
    """Deploys so many applications and returns how many resources the host then has."""
    app = next(iter(site.variables["apps"].values()))
    site.variables["apps"] = {f"app{n}": {**app, "route": f"/app{n}", "workers": 1} for n in range(count)}
    site.write()
    result = site.deploy(next(iter(site.hosts)))
    return len([event for event in result.events if event["event"] == "resource"])


@pytest.mark.parametrize("count", [1, 6])
def test_a_run_makes_so_many_round_trips_whatever_it_looks_at(site: Site, host: LabHost, count: int) -> None:
    resources = with_applications(site, count)
    assert resources >= 10 + 6 * count
    assert round_trips(site, host) == ROUND_TRIPS


def programs(site: Site, host: LabHost) -> int:
    """How many processes and threads the host has begun from before a run that finds all as wanted until after it. The
    fewest of some: the host does things of its own."""

    def last() -> int:
        return int(host.run(["cat", "/proc/loadavg"]).stdout.split()[-1])

    found = []
    for _ in range(4):
        before = last()
        assert not site.deploy(host.name).resources("changed")
        found.append(last() - before)
    return min(found)


def test_a_run_starts_so_many_programs_whatever_it_looks_at(site: Site, host: LabHost) -> None:
    """Packages and units are asked for once for all."""
    few = with_applications(site, 1)
    started = programs(site, host)
    assert with_applications(site, 6) >= few + 20
    assert programs(site, host) == started

"""Keeps the requests of edges away from this host while it changes, as long as there are others to take them.

The kernel refuses new connections of the edges to the web server. Nothing of a request was sent on a connection that is
refused, so the edge may send it elsewhere, whatever it is. Nobody else has to be told. While a run is at work, it tells
the kernel again and again; what a killed one leaves behind the next one takes back, or else the kernel, which forgets
each edge after a while.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rackhand.agent import layout
from rackhand.agent.events import Emitter
from rackhand.agent.files import remove
from rackhand.agent.system import CommandError, System

PORT = 80
#: Seconds after which the kernel lets an edge in again by itself, and between two times that it is told not to.
FORGOTTEN, RENEWED = 300, 60
#: Seconds for the requests that are on their way. WebSockets and streams may go on for as long as what serves them.
QUIET = 10.0
#: Seconds within which an edge that has requests sends some here again: its nginx leaves a host that has refused one
#: alone for `fail_timeout`, of 2 whole seconds.
RETURN = 4.0

_TABLE = "inet rackhand_drain"


class Drain:
    """Of one run. `wanted` has the addresses of the `edges`, and of the `others` that they can send requests to; None
    asks for nothing."""

    def __init__(self, wanted: dict[str, Any] | None, system: System, emit: Emitter) -> None:
        self._edges: Sequence[str] = wanted["edges"] if wanted else ()
        self._others: Sequence[str] = wanted["others"] if wanted else ()
        self._system = system
        self._emit = emit
        self._begun = not wanted
        self._mark = system.path(layout.DRAINED)
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None

    def begin(self) -> None:
        """To be called before each change; the first time, returns once what the edges have sent is answered."""
        if self._begun:
            return
        self._begun = True
        if not any(map(_answers, self._others)):
            self._tell("not drained: none of the other hosts answers")
            return
        with open(self._mark, "w", encoding="ascii"):  # first, so that there are no rules without it
            pass
        try:
            self._system.run("nft", _rules(self._edges))
        except CommandError as error:
            remove(self._mark)
            self._tell(f"not drained: nft: {(error.output.strip().splitlines() or [str(error)])[0]}")
            return
        self._renewing = threading.Thread(target=self._renew, daemon=True)
        self._renewing.start()
        deadline = time.monotonic() + QUIET
        while any(established for established, _ in _connections(self._edges)) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._tell(f"drained: {', '.join(self._edges)} may send nothing here until this is done")

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED):
            with contextlib.suppress(CommandError):
                self._system.run("nft", _rules(self._edges))

    def end(self, *, sound: bool) -> None:
        """Lets the edges in again, if this run or an earlier one keeps them away, and returns once they come, or would
        if they had requests. A host that is not `sound`, which may answer with errors, is left to the kernel."""
        self._ended.set()
        if self._renewing is not None:
            self._renewing.join()
        if not os.path.exists(self._mark):
            return
        if not sound:
            self._tell(f"not put back, since it does not answer as it should: the next deploy does, or {FORGOTTEN} s")
            return
        before = {connection for _, connection in _connections(self._edges)}
        with contextlib.suppress(CommandError):
            self._system.run("nft", f"delete table {_TABLE}")
        remove(self._mark)
        missing = set(self._edges)
        deadline = time.monotonic() + RETURN
        while missing and time.monotonic() < deadline:
            time.sleep(0.05)
            missing -= {edge for _, (edge, port) in _connections(self._edges) if (edge, port) not in before}
        self._tell(f"put back: {', '.join(self._edges) or 'edges'} may send requests here again")

    def _tell(self, text: str) -> None:
        self._emit("notice", level="info", text=text)


def _answers(address: str) -> bool:
    try:
        socket.create_connection((address, PORT), timeout=1).close()
    except OSError:
        return False
    return True


def _rules(edges: Sequence[str]) -> str:
    """A table that refuses new connections of these addresses, in place of one that an earlier run may have left."""
    script = [f"add table {_TABLE}", f"delete table {_TABLE}", f"add table {_TABLE}"]
    script.append(f"add chain {_TABLE} input {{ type filter hook input priority -10; }}")
    for family, kind, separator in (("ip", "ipv4_addr", "."), ("ip6", "ipv6_addr", ":")):
        members = [f"{edge} timeout {FORGOTTEN}s" for edge in edges if separator in edge]
        script.append(f"add set {_TABLE} edges_{family} {{ type {kind}; flags timeout; }}")
        script.append(
            f"add rule {_TABLE} input tcp dport {PORT} tcp flags & (fin|syn|rst|ack) == syn "
            f"{family} saddr @edges_{family} reject with tcp reset"
        )
        if members:
            script.append(f"add element {_TABLE} edges_{family} {{ {', '.join(members)} }}")
    return "; ".join(script)


def _connections(peers: Sequence[str]) -> Iterator[tuple[bool, tuple[str, int]]]:
    """The connections of these addresses to the web server, and whether each is established: one that has ended is
    remembered by the kernel for a minute."""
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        try:
            with open(f"/proc/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except OSError:
            continue
        for row in rows:
            remote, _, port = row[2].partition(":")
            if int(row[1].rpartition(":")[2], 16) == PORT and row[3] != "0A":
                peer = _address(remote, family)
                if peer in peers:
                    yield row[3] == "01", (peer, int(port, 16))


def _address(text: str, family: socket.AddressFamily) -> str:
    """As the kernel writes it: in words of four bytes, each in the order of the machine."""
    raw = bytes.fromhex(text)
    words = (raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    return socket.inet_ntop(family, b"".join(words)).removeprefix("::ffff:")

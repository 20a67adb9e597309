"""A far network: a TCP proxy on the loopback address that holds back what passes, as the way there would."""

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

_CHUNK = 2**16
#: What is on the way in one direction, at most: 16 MiB each 25 ms is faster than any network that far.
_ON_THE_WAY = 256


@contextmanager
def far(address: str, port: int, *, delay: float) -> Iterator[int]:
    """The local port of a proxy to there, in which everything takes `delay` seconds each way, a new connection's
    handshake included."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        ending = threading.Event()
        threading.Thread(target=_serve, args=(server, (address, port), delay, ending), daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            ending.set()
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts


def _serve(server: socket.socket, there: tuple[str, int], delay: float, ending: threading.Event) -> None:
    while not ending.is_set():
        with suppress(OSError):
            near, _ = server.accept()
            threading.Thread(target=_connect, args=(near, there, delay), daemon=True).start()


def _connect(near: socket.socket, there: tuple[str, int], delay: float) -> None:
    """The client's end is open at once, since the kernel has shaken hands: what it sends counts as sent when a far
    host's answer would have been back. The host accepts when the client's next packet would have come."""
    opened = time.monotonic() + 2 * delay
    outward = _read(near, delay, opened)
    time.sleep(3 * delay)
    try:
        distant = socket.create_connection(there)
    except OSError:
        near.close()
        return
    for end in (near, distant):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    homeward = _read(distant, delay, opened)
    delivering = threading.Thread(target=_deliver, args=(outward, distant), daemon=True)
    delivering.start()
    _deliver(homeward, near)
    delivering.join()
    near.close()
    distant.close()


#: What is on the way: when it is due, and the data; empty at the end.
Way: TypeAlias = "queue.Queue[tuple[float, bytes]]"


def _read(source: socket.socket, delay: float, opened: float) -> Way:
    """Reads one direction to its end. It never waits for writing, or the delays would add up."""
    way: Way = queue.Queue(_ON_THE_WAY)

    def read() -> None:
        data = b"more"
        while data:
            try:
                data = source.recv(_CHUNK)
            except OSError:
                data = b""
            way.put((max(time.monotonic(), opened) + delay, data))

    threading.Thread(target=read, daemon=True).start()
    return way


def _deliver(way: Way, target: socket.socket) -> None:
    data = b"more"
    while data:
        due, data = way.get()
        time.sleep(max(0.0, due - time.monotonic()))
        with suppress(OSError):  # nobody is there any more: who sends will hear of it when we close
            if data:
                target.sendall(data)
            else:
                target.shutdown(socket.SHUT_WR)

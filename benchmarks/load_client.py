"""Load that wrk cannot make: WebSockets, and unix sockets. Runs on lab hosts, with the standard library alone.

    python3 load_client.py echo|http ADDRESS PATH SECONDS CONNECTIONS

ADDRESS is HOST:PORT, or the path of a unix socket. Prints one line of JSON, times in seconds.
"""

import json
import select
import socket
import sys
import threading
import time

TEXT = b"0123456789abcdef" * 4
#: A text frame as clients send it, masked with zeros; and as it comes back.
SENT = bytes([0x81, 0x80 | len(TEXT), 0, 0, 0, 0]) + TEXT
ECHOED = bytes([0x81, len(TEXT)]) + TEXT
#: Seconds after which a silent server counts as an error.
PATIENCE = 20


def connect(address: str) -> socket.socket:
    if address.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(address)
        return connection
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def opened(address: str, path: str) -> socket.socket:
    """A WebSocket after its handshake. Raises OSError."""
    connection = connect(address)
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        part = connection.recv(1)
        if not part:
            break
        answer += part
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise OSError(f"no WebSocket: {answer[:100]!r}")
    return connection


def echo(address: str, path: str, seconds: float, connections: int) -> tuple[list[float], int]:
    """Latencies, and the number of errors. Every connection has one message on its way."""
    sockets = {each.fileno(): each for each in (opened(address, path) for _ in range(connections))}
    poll = select.epoll()
    received = dict.fromkeys(sockets, b"")
    latencies: list[float] = []
    errors = 0
    sent: dict[int, float] = {}
    end = time.monotonic() + seconds
    for number, each in sockets.items():
        poll.register(number, select.EPOLLIN)
        sent[number] = time.monotonic()
        each.sendall(SENT)
    while sockets and time.monotonic() < end:
        ready = poll.poll(PATIENCE)
        errors += not ready
        for number, _ in ready:
            part = sockets[number].recv(4096)
            received[number] += part
            if part and len(received[number]) < len(ECHOED):
                continue
            now = time.monotonic()
            if received[number] != ECHOED:
                errors += 1
                poll.unregister(number)
                sockets.pop(number).close()
                continue
            latencies.append(now - sent[number])
            received[number], sent[number] = b"", now
            sockets[number].sendall(SENT)
    return latencies, errors


def http(address: str, path: str, seconds: float, connections: int) -> tuple[list[float], int]:
    """The same for GETs, each with a connection of its own."""
    request = f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode()
    latencies: list[float] = []
    errors: list[str] = []
    end = time.monotonic() + seconds

    def ask() -> None:
        while (started := time.monotonic()) < end:
            try:
                with connect(address) as connection:
                    connection.sendall(request)
                    answer = b"".join(iter(lambda: connection.recv(65536), b""))
            except OSError as error:
                answer = str(error).encode()
            if answer.startswith(b"HTTP/1.1 200 "):
                latencies.append(time.monotonic() - started)
            else:
                errors.append(answer[:100].decode(errors="replace"))

    threads = [threading.Thread(target=ask) for _ in range(connections)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return latencies, len(errors)


def main(kind: str, address: str, path: str, seconds: str, connections: str) -> None:
    started = time.monotonic()
    latencies, errors = {"echo": echo, "http": http}[kind](address, path, float(seconds), int(connections))
    took = time.monotonic() - started
    ordered = sorted(latencies) or [0.0]
    found = {
        "requests": len(latencies),
        "seconds": took,
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[len(ordered) * 99 // 100],
        "errors": errors,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

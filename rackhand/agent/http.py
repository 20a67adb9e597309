"""One HTTP request to a unix socket or to a port of this host.

Not with http.client, which brings modules for mail and TLS along: a tenth of the agent's start.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping

#: How much of a body is read.
_BODY = 2000
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})\b")
_LENGTH = re.compile(rb"\r\nContent-Length: *([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\nTransfer-Encoding: *chunked", re.IGNORECASE)


def healthy(status: int) -> bool:
    """Whether an answer with this status means that all is well."""
    return 200 <= status < 300


def get(
    where: str | int,
    path: str,
    *,
    host: str = "localhost",
    timeout: float = 5,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """The status and the beginning of the body of a GET: `where` is a socket's path or a port on the loopback address.
    Raises OSError when there is no answer."""
    fields = {"Host": host, "User-Agent": "rackhand", "Connection": "close", **(headers or {})}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as connection:
        connection.settimeout(timeout)
        connection.connect(where if isinstance(where, str) else ("127.0.0.1", where))
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while not _whole(answer) and (chunk := connection.recv(2**16)):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    if status is None:
        raise OSError(f"no HTTP answer: {answer[:40]!r}")
    if _CHUNKED.search(head):
        body = b"".join(_chunks(body))
    return int(status[1]), body[:_BODY].decode(errors="replace")


def _whole(answer: bytes) -> bool:
    """Whether so much has come of an answer that no more needs to be read, though the server may not end it."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return len(head) > 2**16
    length = _LENGTH.search(head)
    if length:
        return len(body) >= min(int(length[1]), _BODY)
    return len(body) > 2 * _BODY or bool(_CHUNKED.search(head)) and body.endswith(b"0\r\n\r\n")


def _chunks(body: bytes) -> list[bytes]:
    """What is in a body that comes in chunks, or in the beginning of one."""
    chunks = []
    while body:
        size, _, body = body.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16)
        except ValueError:
            break
        chunks.append(body[:length])
        body = body[length + 2 :]
    return chunks

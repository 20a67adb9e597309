"""One HTTP request to a unix socket or to a port of this host."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


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
    connection = (
        _UnixConnection(where, timeout)
        if isinstance(where, str)
        else http.client.HTTPConnection("127.0.0.1", where, timeout=timeout)
    )
    try:
        own = {"Host": host, "User-Agent": "rackhand", "Connection": "close"}
        connection.request("GET", path, headers={**own, **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read(2000).decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()

"""Connections that a program makes: SSH's ProxyCommand."""

from __future__ import annotations

import socket
import subprocess

from rackhand.transport.endpoint import Endpoint


class _Proxy(socket.socket):
    """A connection whose other end is a program. It is run as OpenSSH would run it, and in a session of its own: Ctrl-C
    reaches the controller alone, which then asks the agent to stop."""

    def __init__(self, command: str) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(fileno=ours.detach())
        with theirs:
            self.program = _started(command, stdin=theirs.fileno(), stdout=theirs.fileno())

    def close(self) -> None:
        self.program.terminate()
        super().close()


def proxied(where: Endpoint) -> socket.socket:
    """What the program of an endpoint is, or with ProxyUseFdpass hands over. Raises OSError, also when it hands over
    nothing."""
    assert where.proxy_command is not None
    if not where.proxy_hands_over:
        return _Proxy(where.proxy_command)
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            program = _started(where.proxy_command, stdin=subprocess.DEVNULL, stdout=theirs.fileno())
        ours.settimeout(where.timeout)
        try:
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        finally:
            program.terminate()
            program.wait()
    if not descriptors:
        raise OSError(None, "the ProxyCommand has handed over no connection, as ProxyUseFdpass asks of it")
    return socket.socket(fileno=descriptors[0])


def _started(command: str, *, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(("sh", "-c", f"exec {command}"), stdin=stdin, stdout=stdout, start_new_session=True)

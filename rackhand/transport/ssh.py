"""Starts the agent on one channel of a connection."""

import contextlib
import socket
import time
from collections.abc import Callable

import rackhand.transport.quick_start  # noqa: F401  # before paramiko

# isort: split
import paramiko
from fabric import Connection

from rackhand import payload
from rackhand.settings import ConnectionSettings
from rackhand.transport import FAREWELL, START, Greeted, Lost, Stream, Unreachable
from rackhand.transport.connection import close, connect
from rackhand.transport.endpoint import Endpoint
from rackhand.transport.sudo import Sudo


class SshStream:
    """A program on one channel of a connection."""

    def __init__(self, connection: Connection, command: str) -> None:
        self._connection = connection
        try:
            self._channel: paramiko.Channel = connection.create_session()
            self._channel.settimeout(START)
            self._channel.exec_command(command)
        except (OSError, EOFError, paramiko.SSHException) as error:
            close(connection)
            raise Unreachable(f"the host refused to start a program: {error}") from error
        self._error = b""

    def send(self, data: bytes) -> None:
        try:
            self._channel.sendall(data)
        except OSError as error:
            raise Lost(f"the connection broke: {error}") from error

    def patience(self, seconds: float) -> None:
        self._channel.settimeout(seconds)

    def receive(self) -> bytes:
        data = self._read(self._channel.recv)
        if not data and not self._channel.get_transport().is_active():
            raise Lost("the connection broke")
        self._drain()
        return data

    def receive_error(self) -> bytes:
        data = self._read(self._channel.recv_stderr)
        self._error += data
        return data

    def _read(self, read: Callable[[int], bytes]) -> bytes:
        try:
            return read(2**16)
        except TimeoutError as error:
            raise Lost(f"the host said nothing for {self._channel.gettimeout():.0f} s") from error
        except OSError as error:
            raise Lost(f"the connection broke: {error}") from error

    def _drain(self) -> None:
        """An error stream that nobody reads would block the program."""
        while self._channel.recv_stderr_ready():
            self._error = (self._error + self._channel.recv_stderr(2**16))[-(2**16) :]

    def finish(self) -> tuple[int, str]:
        with contextlib.suppress(OSError):
            self._channel.shutdown_write()  # or a program that waits for more would never end
        deadline = time.monotonic() + FAREWELL
        while not (self._channel.exit_status_ready() and self._channel.eof_received) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._drain()
        # paramiko answers -1 when the connection ended without an exit code.
        code = self._channel.recv_exit_status() if self._channel.exit_status_ready() else -1
        return code, self._error.decode(errors="replace")

    def close(self) -> None:
        self._channel.close()
        close(self._connection)


def open_ssh(
    settings: ConnectionSettings,
    where: Endpoint,
    dialled: socket.socket | OSError | None,
    greeted: Greeted,
    *,
    install_python: bool,
    terminal: bool,
) -> Stream:
    """Connects over what was dialled already and starts the agent. Raises Unreachable."""
    connection = connect(where, dialled, greeted)
    command = payload.command(install_python=install_python, interpreter=settings.python_interpreter)
    if where.user == "root" or not settings.become:
        return SshStream(connection, command)
    sudo = Sudo(settings)
    stream = SshStream(connection, sudo.wrap(command, terminal=terminal))
    sudo.authenticate(stream)
    return stream

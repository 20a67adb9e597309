"""Connects with Fabric, with host keys checked on every hop, and starts the agent on one channel."""

import contextlib
import errno
import logging
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import paramiko
from fabric import Config, Connection

from rackhand import payload
from rackhand.settings import ConnectionSettings
from rackhand.transport import FAREWELL, START, KeyRefused, Lost, Stream, Unreachable, algorithms
from rackhand.transport.authentication import Authentication
from rackhand.transport.endpoint import Endpoint, dial
from rackhand.transport.known_hosts import KnownHosts, fingerprint
from rackhand.transport.marked_keys import doubt
from rackhand.transport.sudo import Sudo

# What paramiko logs of its failures reaches us as exceptions; without a handler it would print them as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class _Check(paramiko.MissingHostKeyPolicy):
    """paramiko is told of no host key, and so has each one checked here. A key is believed if it is known, or if an
    authority that is known vouches for it."""

    def __init__(self, hosts: KnownHosts) -> None:
        self._hosts = hosts

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        lines = self._hosts.known(key)
        own = [line for line in lines if not line.mark]
        if any(line.blob == key.asbytes() for line in own):
            return
        why = doubt(self._hosts, key) if any(line.mark == "@cert-authority" for line in lines) else ""
        if why is None:
            return
        shown = fingerprint(key.asbytes())
        if own:
            expected = next((line for line in own if line.kind == key.get_name()), own[0])
            raise KeyRefused(
                f"THE HOST KEY HAS CHANGED: {shown} instead of {fingerprint(expected.blob)}. "
                "Someone may be in between. Only if you know why it changed:",
                changed=True,
            )
        kind = key.get_name().removeprefix("ssh-").partition("-")[0]
        raise KeyRefused(
            f"the host key is not known{why and f' ({why})'}: {key.get_name()} {shown}. "
            f"Compare it with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub), then:",
            changed=False,
        )


class _Transport(paramiko.Transport):
    """Asks the host first for a key of a kind that is known of it; else, where an authority is, for a certificate."""

    def __init__(self, sock: Any, hosts: KnownHosts, **options: Any) -> None:
        super().__init__(sock, **options)
        lines = hosts.known()
        self._own = {name for line in lines if not line.mark for name in algorithms.of_key(line.kind)}
        self._authority = any(line.mark == "@cert-authority" for line in lines)

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        return tuple(sorted(super().preferred_keys, key=lambda name: not self._is_first(name)))

    def _is_first(self, name: str) -> bool:
        return name in self._own if self._own else self._authority and "-cert-" in name


def connect(where: Endpoint, dialled: socket.socket | OSError | None) -> Connection:
    """An open connection, through the jump hosts if there are any. Raises Unreachable."""
    gateway = None
    for hop in where.gateways:
        gateway = open_one(hop, gateway, None) if gateway else connect(hop, dial(hop))
    return open_one(where, gateway, dialled)


def open_one(where: Endpoint, gateway: Connection | None, dialled: socket.socket | OSError | None) -> Connection:
    """A connection, through this jump host or over what was dialled. Raises Unreachable."""
    hosts = KnownHosts(where)
    # Fabric reads no configuration of its own: `ssh -G` has resolved it, with what Fabric does not know.
    connection = Connection(
        where.host,
        user=where.user,
        port=where.port,
        gateway=gateway,
        connect_timeout=where.timeout,
        config=Config(overrides={"load_ssh_configs": False}, lazy=True),
        connect_kwargs={
            "auth_strategy": Authentication(hosts),
            "transport_factory": partial(_Transport, hosts=hosts),
            "compress": where.compress,
            "banner_timeout": where.timeout + 5,  # longer, so that of silence the first one speaks
            "auth_timeout": where.timeout + 20,
            "channel_timeout": where.timeout,
        },
    )
    client: paramiko.SSHClient = connection.client
    client.set_missing_host_key_policy(_Check(hosts))
    try:
        connection.connect_kwargs["disabled_algorithms"] = algorithms.disabled(where)
        if isinstance(dialled, OSError):
            raise dialled
        if where.proxy_command and not gateway:
            dialled = _proxy(where)
        if dialled is not None:
            connection.connect_kwargs["sock"] = dialled
        connection.open()
    except (Unreachable, OSError, EOFError, paramiko.SSHException) as error:
        close(connection)
        reason = f"{where.user}@{where.host}:{where.port}: {_reason(error, where)}"
        if isinstance(error, KeyRefused):
            raise KeyRefused(reason, changed=error.changed) from error
        raise Unreachable(reason) from error
    transport = client.get_transport()
    assert transport is not None
    every, unanswered = where.alive
    transport.set_keepalive(every)
    if isinstance(transport.sock, socket.socket) and transport.sock.family != socket.AF_UNIX:
        # Without it, a peer that vanished is noticed only after a quarter of an hour. It counts from when something is
        # sent that nobody confirms; a sign of life is, when nothing else is.
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(unanswered - 1, 1) * every * 1000)
    return connection


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


def _proxy(where: Endpoint) -> socket.socket:
    """Raises OSError, also when a program that is to hand over a connection does not."""
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


@contextlib.contextmanager
def way_to(where: Endpoint, gateway: Connection | None) -> Iterator[Any]:
    """A connection to a host's port, before any SSH. What fails on it is Unreachable."""
    way: Any = None
    try:
        if gateway is not None:
            way = gateway.transport.open_channel(
                "direct-tcpip", (where.host, where.port), ("", 0), timeout=where.timeout
            )
        else:
            way = _proxy(where) if where.proxy_command else dial(where)
        if isinstance(way, OSError):
            raise way
        yield way
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise Unreachable(f"{where.user}@{where.host}:{where.port}: {_reason(error, where)}") from error
    finally:
        if way is not None and not isinstance(way, OSError):
            way.close()


def _reason(error: Exception, where: Endpoint) -> str:
    """Why there is no connection, and what to do."""
    silent = f"no answer within {where.timeout} s: is the host up, and is this its address and port?"
    match error:
        case TimeoutError():
            return silent
        case OSError(errno=errno.ECONNREFUSED | errno.EHOSTUNREACH):
            return f"{str(error.strerror).lower()}: is the host up, and is this its address and port?"
        case paramiko.ChannelException():
            return f"the jump host cannot reach it: {error.text}"
        case paramiko.SSHException() if str(error).startswith(("No existing session", "Timeout opening channel")):
            return silent
        case paramiko.SSHException() if str(error).startswith("Error reading SSH protocol banner"):
            return "what listens there does not greet as SSH does"
        case EOFError():
            return "the other end hung up before it had greeted"
        case OSError() if error.strerror:
            return error.strerror
    return str(error) or type(error).__name__


def close(connection: Any) -> None:
    """With its jump hosts, if there is one."""
    while connection is not None:
        connection.client.close()
        connection = connection.gateway


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
    *,
    install_python: bool,
    terminal: bool,
) -> Stream:
    """Connects over what was dialled already and starts the agent. Raises Unreachable."""
    connection = connect(where, dialled)
    command = payload.command(install_python=install_python, interpreter=settings.python_interpreter)
    if where.user == "root" or not settings.become:
        return SshStream(connection, command)
    sudo = Sudo(settings)
    stream = SshStream(connection, sudo.wrap(command, terminal=terminal))
    sudo.authenticate(stream)
    return stream

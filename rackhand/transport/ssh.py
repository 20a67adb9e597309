"""Connects with Fabric, with host keys checked on every hop, and starts the agent on one channel."""

import base64
import hashlib
import shlex
import socket
import threading
import time
from functools import cache
from typing import Any

import paramiko
from fabric import Config, Connection

from rackhand import payload
from rackhand.settings import ConnectionSettings
from rackhand.transport import Lost, Stream, Unreachable
from rackhand.transport.endpoint import Endpoint, endpoint
from rackhand.transport.sudo import Sudo

#: Seconds between two signs of life, and after which a silent peer counts as gone.
KEEPALIVE, DEAD_AFTER = 10, 30

#: Seconds that the agent may be silent: longer than any command that it runs.
SILENCE = 2400


class _Refuse(paramiko.MissingHostKeyPolicy):
    """An unknown host is refused, with the command that would add its key."""

    def __init__(self, known_hosts: str) -> None:
        self._known_hosts = known_hosts

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        host, _, port = hostname.lstrip("[").partition("]:")
        port_option = f"-p {port} " if port else ""
        raise Unreachable(
            f"the host key is not known: {key.get_name()} {_fingerprint(key)}. Compare it with the host's own "
            f"(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then: "
            f"ssh-keyscan {port_option}{shlex.quote(host)} >> {shlex.quote(self._known_hosts)}"
        )


def _fingerprint(key: paramiko.PKey) -> str:
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


_reading = threading.Lock()


def _host_keys(files: tuple[str, ...]) -> paramiko.HostKeys:
    with _reading:
        return _read_host_keys(files)


@cache
def _read_host_keys(files: tuple[str, ...]) -> paramiko.HostKeys:
    """Read once, and shared by all hosts: paramiko takes long over large files."""
    keys = paramiko.HostKeys()
    for file in files:
        try:
            keys.load(file)
        except FileNotFoundError:
            continue
    return keys


def connect(where: Endpoint) -> Connection:
    """An open connection, through the jump hosts if there are any. Raises Unreachable."""
    gateway: Any = where.proxy_command
    for hop in where.gateways:
        gateway = _open(hop, gateway)
    return _open(where, gateway)


def _open(where: Endpoint, gateway: Any) -> Connection:
    # Fabric reads no configuration of its own: `ssh -G` has resolved it, with what Fabric does not know.
    connection = Connection(
        where.host,
        user=where.user,
        port=where.port,
        gateway=gateway,
        connect_timeout=where.timeout,
        config=Config(overrides={"load_ssh_configs": False}, lazy=True),
        connect_kwargs={
            "key_filename": list(where.identity_files),
            "allow_agent": not where.identities_only,
            "look_for_keys": False,
            "banner_timeout": where.timeout,
            "auth_timeout": where.timeout + 20,
            "channel_timeout": where.timeout,
        },
    )
    client: paramiko.SSHClient = connection.client
    known_as = where.host if where.port == 22 else f"[{where.host}]:{where.port}"
    for key_type, key in (_host_keys(where.known_hosts).lookup(known_as) or {}).items():
        client.get_host_keys().add(known_as, key_type, key)
    known_hosts = where.known_hosts[0] if where.known_hosts else "~/.ssh/known_hosts"
    client.set_missing_host_key_policy(_Refuse(known_hosts))
    who = f"{where.user}@{where.host}:{where.port}"
    try:
        connection.open()
    except Unreachable as error:
        raise Unreachable(f"{who}: {error}") from error
    except paramiko.BadHostKeyException as error:
        raise Unreachable(
            f"{who}: THE HOST KEY HAS CHANGED: {_fingerprint(error.key)} instead of {_fingerprint(error.expected_key)}. "
            "Someone may be in between. Only if you know why it changed: "
            f"ssh-keygen -f {shlex.quote(known_hosts)} -R {shlex.quote(known_as)}, then add the new one with ssh-keyscan"
        ) from error
    except paramiko.PasswordRequiredException as error:
        raise Unreachable(f"{who}: the private key has a passphrase: load it into the agent (ssh-add)") from error
    except paramiko.AuthenticationException as error:
        tried = ", ".join(where.identity_files) or "none"
        raise Unreachable(
            f"{who}: the host accepts none of the keys (files: {tried}; and those of the SSH agent)"
        ) from error
    except (TimeoutError, paramiko.ssh_exception.NoValidConnectionsError) as error:
        reason = (
            "no answer within {} s".format(where.timeout) if isinstance(error, TimeoutError) else "connection refused"
        )
        raise Unreachable(f"{who}: {reason}: is the host up, and is this its address and port?") from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise Unreachable(f"{who}: {str(error) or type(error).__name__}") from error
    transport = client.get_transport()
    assert transport is not None
    transport.set_keepalive(KEEPALIVE)
    if isinstance(transport.sock, socket.socket):
        # Without it, a peer that vanished is noticed only after a quarter of an hour.
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER * 1000)
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class SshStream:
    """A program on one channel of a connection."""

    def __init__(self, connection: Connection, command: str) -> None:
        self._connection = connection
        try:
            self._channel: paramiko.Channel = connection.create_session()
            self._channel.settimeout(SILENCE)
            self._channel.exec_command(command)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise Unreachable(f"the host refused to start a program: {error}") from error
        self._error = b""

    def send(self, data: bytes) -> None:
        try:
            self._channel.sendall(data)
        except OSError as error:
            raise Lost(f"the connection broke: {error}") from error

    def receive(self) -> bytes:
        try:
            data = self._channel.recv(2**16)
        except TimeoutError as error:
            raise Lost(f"the agent said nothing for {SILENCE} s") from error
        except OSError as error:
            raise Lost(f"the connection broke: {error}") from error
        self._drain()
        return data

    def receive_error(self) -> bytes:
        data = self._channel.recv_stderr(2**16)
        self._error += data
        return data

    def _drain(self) -> None:
        """An error stream that nobody reads would block the program."""
        while self._channel.recv_stderr_ready():
            self._error = (self._error + self._channel.recv_stderr(2**16))[-(2**16) :]

    def finish(self) -> tuple[int, str]:
        # paramiko answers -1 when the connection ended without an exit code.
        code = self._channel.recv_exit_status()
        deadline = time.monotonic() + 1
        while not self._channel.eof_received and time.monotonic() < deadline:
            time.sleep(0.01)
        self._drain()
        return code, self._error.decode(errors="replace")

    def close(self) -> None:
        self._channel.close()
        connection: Any = self._connection
        while isinstance(connection, Connection):
            gateway = connection.gateway
            connection.close()
            connection = gateway


def open_ssh(settings: ConnectionSettings, *, install_python: bool) -> Stream:
    where = endpoint(settings)
    connection = connect(where)
    command = payload.command(install_python=install_python)
    if where.user == "root" or not settings.become:
        stream = SshStream(connection, command)
    else:
        sudo = Sudo(settings)
        stream = SshStream(connection, sudo.wrap(command))
        sudo.authenticate(stream)
    stream.send(payload.archive())
    return stream

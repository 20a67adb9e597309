"""Connects with Fabric, with host keys checked on every hop."""

import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import paramiko
from fabric import Config, Connection

from rackhand.transport import Greeted, KeyRefused, Unreachable, algorithms
from rackhand.transport.authentication import Authentication
from rackhand.transport.endpoint import Endpoint, dial
from rackhand.transport.host_key_check import HostKeyCheck, KnownFirst
from rackhand.transport.known_hosts import KnownHosts
from rackhand.transport.proxy import proxied
from rackhand.transport.silence import Listener, end_when_silent

# What paramiko logs of its failures reaches us as exceptions; without a handler it would print them as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def connect(where: Endpoint, dialled: socket.socket | OSError | None, greeted: Greeted = lambda: None) -> Connection:
    """An open connection, through the jump hosts if there are any. Raises Unreachable."""
    gateway = None
    for hop in where.gateways:
        gateway = open_one(hop, gateway, None) if gateway else connect(hop, dial(hop))
    return open_one(where, gateway, dialled, greeted)


def open_one(
    where: Endpoint,
    gateway: Connection | None,
    dialled: socket.socket | OSError | None,
    greeted: Greeted = lambda: None,
) -> Connection:
    """A connection, through this jump host or over what was dialled. Raises Unreachable."""
    known_hosts = KnownHosts(where)
    # Fabric reads no configuration of its own: `ssh -G` has resolved it, with what Fabric does not know.
    connection = Connection(
        where.host,
        user=where.user,
        port=where.port,
        gateway=gateway,
        connect_timeout=where.timeout,
        config=Config(overrides={"load_ssh_configs": False}, lazy=True),
        connect_kwargs={
            "auth_strategy": Authentication(known_hosts),
            "transport_factory": partial(
                KnownFirst, known_hosts=known_hosts, packetizer_class=partial(Listener, greeted=greeted)
            ),
            "compress": where.compress,
            "banner_timeout": where.timeout + 5,  # longer, so that of silence the first one speaks
            "auth_timeout": where.timeout + 20,
            "channel_timeout": where.timeout,
        },
    )
    client: paramiko.SSHClient = connection.client
    client.set_missing_host_key_policy(HostKeyCheck(known_hosts))
    try:
        connection.connect_kwargs["disabled_algorithms"] = algorithms.disabled(where)
        if isinstance(dialled, OSError):
            raise dialled
        if where.proxy_command and not gateway:
            dialled = proxied(where)
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
    end_when_silent(transport, *where.alive)
    return connection


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
            way = proxied(where) if where.proxy_command else dial(where)
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

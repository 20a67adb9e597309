"""Asks hosts for their keys, and writes keys to the files of known hosts."""

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import paramiko
from fabric import Connection

from rackhand.transport import Unreachable, algorithms
from rackhand.transport.connection import way_to
from rackhand.transport.endpoint import Endpoint
from rackhand.transport.known_hosts import KnownHosts, same_name
from rackhand.transport.marked_keys import refuse_revoked

#: What sshd has a key of by default; and one kind of key that nearly each client takes.
_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512")


def offered(where: Endpoint, gateway: Connection | None) -> tuple[paramiko.PKey, ...]:
    """The keys that a host shows to anybody, before anybody has logged in. Raises Unreachable."""
    disabled = algorithms.disabled(where)
    kinds = [kind for kind in _KINDS if kind not in disabled["keys"]]
    found = [key for kind in kinds if (key := _offered(where, gateway, kind, disabled)) is not None]
    if not found:
        raise Unreachable(f"{where.user}@{where.host}:{where.port}: has no key of the kinds {', '.join(kinds)}")
    return tuple(found)


def _offered(
    where: Endpoint, gateway: Connection | None, kind: str, disabled: dict[str, list[str]]
) -> paramiko.PKey | None:
    with way_to(where, gateway) as way:
        transport = paramiko.Transport(way, disabled_algorithms=disabled)
        try:
            transport.get_security_options().key_types = [kind]
            transport.banner_timeout = where.timeout + 5
            transport.start_client(timeout=where.timeout)
            key = transport.get_remote_server_key()
            refuse_revoked(KnownHosts(where), key)
            return key
        except paramiko.SSHException as error:
            if "no acceptable host key" in str(error):
                return None
            raise
        finally:
            transport.close()


def write(where: Endpoint, keys: Iterable[paramiko.PKey]) -> Path:
    """Makes these the known keys of a host, in the place of those that its file has, in one step; the file's other
    lines stay. Returns the file."""
    assert where.own_known_hosts is not None
    file = Path(os.path.realpath(where.own_known_hosts))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = file.read_text(errors="surrogateescape") if file.exists() else ""
    name = paramiko.HostKeys.hash_host(where.known_as) if where.hashed else where.known_as
    lines = [kept for line in text.splitlines() if (kept := _without(line, where.known_as)) is not None]
    lines += [f"{name} {key.get_name()} {key.get_base64()}" for key in keys]
    descriptor, coming = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with open(descriptor, "w", errors="surrogateescape") as output:
            output.writelines(f"{line}\n" for line in lines)
            output.flush()
            if file.exists():
                status = file.stat()
                os.fchmod(output.fileno(), status.st_mode & 0o777)
                with contextlib.suppress(PermissionError):
                    os.fchown(output.fileno(), status.st_uid, status.st_gid)
            os.fsync(output.fileno())
        os.replace(coming, file)
    except BaseException:
        os.unlink(coming)
        raise
    return file


def _without(line: str, name: str) -> str | None:
    """A line of the file without a host's name; None when there is nobody else's on it."""
    names, rest = (*line.split(None, 1), "", "")[:2]
    if not rest or names.startswith(("#", "@")):
        return line
    kept = [other for other in names.split(",") if not same_name(other, name)]
    return f"{','.join(kept)} {rest}" if kept else None

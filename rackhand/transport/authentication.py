"""Logs in with what OpenSSH would: certificates, keys in files and in the SSH agent, a password, in this order."""

from __future__ import annotations

import contextlib
import itertools
import socket
from base64 import b64decode
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from paramiko.agent import AgentKey, AgentSSH
from paramiko.pkey import PublicBlob

from rackhand.transport import algorithms
from rackhand.transport.known_hosts import KnownHosts
from rackhand.transport.marked_keys import refuse_revoked

_BEGINS = "-----BEGIN OPENSSH PRIVATE KEY-----"
_KEYS, _PASSWORD, _ASKED = "publickey", "password", "keyboard-interactive"

#: One try: it returns the methods with which to go on, none when the user has been let in.
_Try = Callable[[paramiko.Transport], list[str]]


class _HeldKey(AgentKey):
    """A key that the agent holds, of whichever type, as the agent names it. paramiko's would take an RSA certificate
    for the key in it."""

    def asbytes(self) -> bytes:
        return self.blob


class Authentication:
    """Offers all that there is until the host is content. It is given to paramiko, which calls `authenticate`."""

    def __init__(self, known_hosts: KnownHosts) -> None:
        self._known_hosts = known_hosts
        self._where = where = known_hosts.where
        #: Keys that could not be used, and what to do about each.
        self._unusable: list[str] = []
        if where.token:
            self._unusable.append(f"the keys of {where.token} are used through the SSH agent (ssh-add -s)")
        self._takes: Collection[str] = where.methods

    def authenticate(self, transport: paramiko.Transport) -> None:
        """Raises paramiko.AuthenticationException, which says what was tried; and Unreachable for a revoked key."""
        refuse_revoked(self._known_hosts, transport.get_remote_server_key())
        for method, attempt in self._tries():
            if method not in self._takes:
                continue
            try:
                left = attempt(transport)
                if not left:
                    return
                self._takes = left
            except paramiko.BadAuthenticationType as error:
                self._takes = error.allowed_types
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    break
                # Where a password was wrong, it would be wrong once more.
                if method == _PASSWORD:
                    break
        raise paramiko.AuthenticationException(self._refusal())

    def _tries(self) -> Iterator[tuple[str, _Try]]:
        where = self._where
        if _KEYS in where.methods:
            held = {key.blob: key for key in _held(where.agent)}
            others = () if where.identities_only else held.values()  # once the listed ones are out of it
            for key in itertools.chain(self._listed(held), others):
                kind = key.public_blob.key_type if key.public_blob else key.get_name()
                if not algorithms.accepted(where, kind):
                    self._unusable.append(f"PubkeyAcceptedAlgorithms leaves out {kind}")
                    continue
                yield _KEYS, partial(paramiko.Transport.auth_publickey, username=where.user, key=key)
        if where.password is not None:
            password = where.password
            yield _PASSWORD, lambda transport: transport.auth_password(where.user, password, fallback=False)
            yield _ASKED, lambda transport: transport.auth_interactive(where.user, _answers(password))

    def _listed(self, held: dict[bytes, _HeldKey]) -> Iterator[paramiko.PKey]:
        """The keys of the configuration, from the agent if it has them, else from their files; each with its
        certificates first."""
        for file in map(Path, self._where.identity_files):
            public = _public(file)
            key: paramiko.PKey | None = held.pop(public, None) if public else None
            if key is None and (key := self._load(file)) is None:
                continue
            blob = public or key.asbytes()
            for certificate in (Path(f"{file}-cert.pub"), *map(Path, self._where.certificate_files)):
                if _certified(certificate) == blob:
                    key.public_blob = PublicBlob.from_file(str(certificate))
                    held.pop(key.public_blob.key_blob, None)
                    yield key
            key.public_blob = None
            yield key

    def _load(self, file: Path) -> paramiko.PKey | None:
        try:
            return paramiko.PKey.from_path(file)
        except (paramiko.PasswordRequiredException, TypeError):
            self._unusable.append(f"{file} has a passphrase: load it into the agent (ssh-add)")
        except (paramiko.SSHException, UnsupportedAlgorithm, ValueError, OSError):
            why = "a security key" if _public(file)[4:7] == b"sk-" else "no private key"
            self._unusable.append(f"{file} is {why}, and the SSH agent does not hold it: load it (ssh-add)")
        return None

    def _refusal(self) -> str:
        where = self._where
        tried = ", ".join(where.identity_files) or "none"
        agent = "" if where.identities_only else "; and those of the SSH agent"
        password = "; and ansible_password" if where.password is not None else ""
        takes = ", ".join(sorted(self._takes))
        unusable = "".join(f"; {why}" for why in self._unusable)
        return f"the host accepts none of the keys (files: {tried}{agent}{password}; it takes {takes}){unusable}"


def _answers(password: str) -> Callable[[str, str, list[tuple[str, bool]]], list[str]]:
    """What is not shown while it is typed is a password."""
    return lambda title, instructions, prompts: ["" if shown else password for _, shown in prompts]


def _held(path: str | None) -> Iterator[_HeldKey]:
    """The keys of the SSH agent behind this socket."""
    if not path:
        return
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
        agent = AgentSSH()
        agent._connect(connection)  # type: ignore[attr-defined]  # paramiko itself knows SSH_AUTH_SOCK alone
        for key in agent.get_keys():
            yield _HeldKey(agent, key.blob)
    except (OSError, paramiko.SSHException):  # as OpenSSH does, without a word
        connection.close()


def _public(file: Path) -> bytes:
    """The public part of a key: of its file, if it is a public or an OpenSSH one; else of the file beside it."""
    for path in (file, Path(f"{file}.pub")):
        with contextlib.suppress(OSError, ValueError):
            text = path.read_text()
            if text.startswith(_BEGINS):
                return _public_part(b64decode("".join(text.split("-----")[2].split())))
            return PublicBlob.from_string(text).key_blob
    return b""


def _public_part(private: bytes) -> bytes:
    """It stands before what is encrypted: see PROTOCOL.key of OpenSSH."""
    message = paramiko.Message(private.removeprefix(b"openssh-key-v1\0"))
    for _ in ("cipher", "key derivation", "its options"):
        message.get_binary()
    return message.get_binary() if message.get_int() else b""


def _certified(certificate: Path) -> bytes:
    """The public key that a certificate is for."""
    try:
        found = serialization.load_ssh_public_identity(certificate.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        return b""
    if not isinstance(found, serialization.SSHCertificate):
        return b""
    form = found.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return PublicBlob.from_string(form.decode()).key_blob

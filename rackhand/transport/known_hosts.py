"""What is known of the keys of hosts: from the files of known hosts, and from the program that SSH's configuration has
asked besides them (KnownHostsCommand). Read as OpenSSH reads it: what makes no sense is passed over."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import paramiko
from paramiko.pkey import PublicBlob

from rackhand.transport import Unreachable
from rackhand.transport.endpoint import Endpoint, expanded
from rackhand.transport.programs import ask

#: Whose key it is: the host's, that of an authority whose certificates are believed, or one that nobody is to believe.
Mark = Literal["", "@cert-authority", "@revoked"]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A key that is known of a host, with the file that has it, or the name of the option whose program has said it."""

    origin: str
    mark: Mark
    kind: str
    blob: bytes


@dataclass(frozen=True, kw_only=True)
class _Line:
    mark: Mark
    names: str
    kind: str
    blob: bytes


class KnownHosts:
    """What is known of a host, for one connection to it."""

    def __init__(self, where: Endpoint) -> None:
        self.where = where
        self._said: dict[bytes | None, tuple[Known, ...]] = {}

    def known(self, shown: paramiko.PKey | None = None) -> tuple[Known, ...]:
        """All lines that are meant for the host: once it has shown a key, or, without one, before. Raises
        Unreachable."""
        if not self.where.known_hosts_command:
            return self._in_files
        key = None if shown is None else shown.asbytes()
        if key not in self._said:
            lines = _parsed(_answer(_asked(self.where, shown)))
            self._said[key] = tuple(_of(self.where.known_as, "KnownHostsCommand", lines))
        return self._in_files + self._said[key]

    @cached_property
    def _in_files(self) -> tuple[Known, ...]:
        """Looked for once: whose a hashed name is takes time to tell, and a file may have thousands."""
        found: list[Known] = []
        for file in self.where.known_hosts:
            with _reading:  # once for all hosts
                lines = _lines(file, _writing(file))
            found += _of(self.where.known_as, file, lines)
        return tuple(found)


def fingerprint(blob: bytes) -> str:
    """Of a key, as ssh-keygen shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def public_blob(key: str) -> PublicBlob | None:
    """The key on a line; None where there is none."""
    try:
        return PublicBlob.from_string(key)
    except ValueError:
        return None


_reading = threading.Lock()


@cache
def _lines(file: str, writing: object) -> tuple[_Line, ...]:
    """Of a file as it was written, since a process may outlive that."""
    try:
        return tuple(_parsed(Path(file).read_text(errors="replace")))
    except OSError:  # as OpenSSH does
        return ()


def _writing(file: str) -> object:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _of(name: str, origin: str, lines: Iterable[_Line]) -> Iterator[Known]:
    for line in lines:
        if _meant(name, line.names):
            yield Known(origin=origin, mark=line.mark, kind=line.kind, blob=line.blob)


def _parsed(text: str) -> Iterator[_Line]:
    marks: dict[str, Mark] = {"@cert-authority": "@cert-authority", "@revoked": "@revoked"}
    for line in text.splitlines():
        first, *rest = line.split(None, 1) or [""]
        mark = marks.get(first, "")
        names, *key = ("".join(rest) if mark else line).split(None, 1) or [""]
        if not names.startswith(("#", "@")) and (blob := public_blob("".join(key))):
            yield _Line(mark=mark, names=names, kind=blob.key_type, blob=blob.key_blob)


def _meant(name: str, names: str) -> bool:
    """As OpenSSH reads names: with wildcards, hashed, or excluded with an exclamation mark."""
    meant = False
    for pattern in names.split(","):
        if _fits(pattern.removeprefix("!"), name):
            if pattern.startswith("!"):
                return False
            meant = True
    return meant


def _fits(pattern: str, name: str) -> bool:
    if "*" in pattern or "?" in pattern:
        return fnmatch.fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))
    return same_name(pattern, name)


def same_name(written: str, name: str) -> bool:
    """Whether a name on a line, which may be hashed, is this one."""
    if not written.startswith("|1|"):
        return written.lower() == name.lower()
    try:
        return paramiko.HostKeys.hash_host(name, written) == written
    except (ValueError, IndexError, AssertionError):  # no hash
        return False


def _asked(where: Endpoint, shown: paramiko.PKey | None) -> tuple[str, ...]:
    """The command: before the host has shown a key, it is asked which kind to prefer."""
    tokens = {"H": where.known_as, "I": "ORDER", "t": "NONE", "K": "NONE", "f": "NONE"}
    if shown is not None:
        key = {"t": shown.get_name(), "K": shown.get_base64(), "f": fingerprint(shown.asbytes())}
        tokens |= {"I": "HOSTNAME", **key}
    return tuple(expanded(word, tokens) for word in where.known_hosts_command)


def _answer(command: tuple[str, ...]) -> str:
    try:
        done = ask(command)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"KnownHostsCommand: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Unreachable(f"KnownHostsCommand: {command[0]} ended with {done.returncode}: {said}")
    return done.stdout

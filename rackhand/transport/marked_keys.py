"""Keys that are known as something else than a host's own: those of authorities, whose certificates are believed, and
revoked ones, also in the file that SSH's configuration names for them (RevokedHostKeys)."""

from __future__ import annotations

import fnmatch
import tempfile
import time
from base64 import b64encode
from collections.abc import Collection
from pathlib import Path

import paramiko
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import SSHCertificate, SSHCertificateType
from paramiko.pkey import PublicBlob

from rackhand.transport import Unreachable
from rackhand.transport.known_hosts import KnownHosts, Mark, public_blob
from rackhand.transport.programs import ask

# How a list of revoked keys that ssh-keygen has made begins: see PROTOCOL.krl of OpenSSH.
_KRL = b"SSHKRL\n"


def _marked(known_hosts: KnownHosts, mark: Mark, shown: paramiko.PKey) -> frozenset[bytes]:
    return frozenset(line.blob for line in known_hosts.known(shown) if line.mark == mark)


def refuse_revoked(known_hosts: KnownHosts, key: paramiko.PKey) -> None:
    """Raises Unreachable, before anybody has logged in, for a key that is revoked, or whose authority is."""
    revoked = _marked(known_hosts, "@revoked", key)
    certificate = _certificate(key)
    shown = {key.asbytes()} if certificate is None else {key.asbytes(), _authority(certificate)}
    if shown & revoked:
        raise Unreachable("THE HOST KEY IS REVOKED, by a line of the known hosts: ask whoever has written that")
    file = known_hosts.where.revoked_keys
    if file is not None and _listed(file, shown, key):
        raise Unreachable(f"THE HOST KEY IS REVOKED, by {file}: ask whoever has written that")


def _listed(file: str, shown: Collection[bytes], key: paramiko.PKey) -> bool:
    """Whether a file of revoked keys has a key: as a list of keys, or as ssh-keygen makes it (`ssh-keygen -k`). Raises
    Unreachable when that cannot be told, since OpenSSH then believes no key at all."""
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise Unreachable(f"{file}, of revoked host keys, cannot be read: {error.strerror}") from error
    if not data.startswith(_KRL):
        listed = map(public_blob, data.decode(errors="replace").splitlines())
        return any(blob is not None and blob.key_blob in shown for blob in listed)
    blob = key.public_blob.key_blob if key.public_blob else key.asbytes()
    with tempfile.NamedTemporaryFile("w", prefix="rackhand-") as asked:
        asked.write(f"{paramiko.Message(blob).get_text()} {b64encode(blob).decode()}\n")
        asked.flush()
        done = ask(("ssh-keygen", "-Qf", file, asked.name))
    return done.returncode != 0


def doubt(known_hosts: KnownHosts, key: paramiko.PKey) -> str | None:
    """Why the certificate that a host has shown for its key does not prove that it is the host; None when it does."""
    certificate = _certificate(key)
    if certificate is None:
        return "the host has shown no certificate"
    try:
        certificate.verify_cert_signature()
    except InvalidSignature:
        return "the host's certificate is forged"
    where = known_hosts.where
    name = where.host if where.known_as.startswith("[") else where.known_as
    names = [principal.decode(errors="replace") for principal in certificate.valid_principals]
    if _authority(certificate) not in _marked(known_hosts, "@cert-authority", key):
        return "the host's certificate is of another authority than the known one"
    if certificate.type != SSHCertificateType.HOST or certificate.critical_options:
        return "the host's certificate is not one for hosts"
    if not certificate.valid_after <= time.time() < certificate.valid_before:
        return "the host's certificate has expired, or is not valid yet"
    if names and not any(fnmatch.fnmatchcase(name.lower(), pattern.lower()) for pattern in names):
        return f"the host's certificate is for {', '.join(names)}, and not for {name}"
    return None


def _certificate(key: paramiko.PKey) -> SSHCertificate | None:
    blob = key.public_blob
    if blob is None:
        return None
    message = paramiko.Message(blob.key_blob)
    found = serialization.load_ssh_public_identity(f"{message.get_text()} {b64encode(blob.key_blob).decode()}".encode())
    return found if isinstance(found, SSHCertificate) else None


def _authority(certificate: SSHCertificate) -> bytes:
    form = certificate.signature_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return PublicBlob.from_string(form.decode()).key_blob

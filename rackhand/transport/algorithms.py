"""Of the algorithms that paramiko knows, those that SSH's configuration allows: its own, or OpenSSH's defaults."""

from __future__ import annotations

from collections.abc import Collection

import paramiko

from rackhand.transport import Unreachable
from rackhand.transport.endpoint import ALGORITHMS, Endpoint

# Other names of the same.
_ALIASES = {"curve25519-sha256@libssh.org": "curve25519-sha256"}
# An RSA key is one of these, as far as it is for signing.
_RSA = ("rsa-sha2-512", "rsa-sha2-256")


def disabled(where: Endpoint) -> dict[str, list[str]]:
    """By paramiko's names of what algorithms are for, those that are not to be used. Raises Unreachable when none is
    left."""
    found = {}
    for kind, option in ALGORITHMS.items():
        known: tuple[str, ...] = getattr(paramiko.Transport, f"_preferred_{kind}")
        found[kind] = [name for name in known if not _allowed(name, dict(where.algorithms)[option])]
        if len(found[kind]) == len(known):
            raise Unreachable(
                f"{where.host}: SSH's configuration allows no {option} that Rackhand knows: it needs one of "
                f"{', '.join(known)}"
            )
    return found


def accepted(where: Endpoint, kind: str) -> bool:
    """Whether a key of this kind may be offered to log in."""
    allowed = dict(where.algorithms)["PubkeyAcceptedAlgorithms"]
    return any(name in allowed for name in of_key(kind))


def of_key(kind: str) -> tuple[str, ...]:
    """The algorithms by which a key of this kind, or its certificate, signs."""
    if kind.startswith("ssh-rsa"):
        return tuple(kind.replace("ssh-rsa", name) for name in _RSA)
    return (kind,)


def _allowed(name: str, allowed: Collection[str]) -> bool:
    return bool({name, _ALIASES.get(name, name), f"{name}-cert-v01@openssh.com"} & {*allowed})

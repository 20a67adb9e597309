"""Of the algorithms that paramiko knows, those that SSH's configuration allows: its own, or OpenSSH's defaults."""

from __future__ import annotations

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
        allowed = where.algorithms[option]
        known: tuple[str, ...] = getattr(paramiko.Transport, f"_preferred_{kind}")
        found[kind] = [name for name in known if allowed.isdisjoint(_names(name))]
        if len(found[kind]) == len(known):
            raise Unreachable(
                f"{where.host}: SSH's configuration allows no {option} that Rackhand knows: it needs one of "
                f"{', '.join(known)}"
            )
    return found


def accepted(where: Endpoint, kind: str) -> bool:
    """Whether a key of this kind may be offered to log in."""
    return not where.algorithms["PubkeyAcceptedAlgorithms"].isdisjoint(of_key(kind))


def of_key(kind: str) -> tuple[str, ...]:
    """The algorithms by which a key of this kind, or its certificate, signs."""
    if kind.startswith("ssh-rsa"):
        return tuple(kind.replace("ssh-rsa", name) for name in _RSA)
    return (kind,)


def _names(name: str) -> tuple[str, ...]:
    """By which OpenSSH allows an algorithm; that of a key is one with that of its certificate."""
    return (name, _ALIASES.get(name, name), f"{name}-cert-v01@openssh.com")

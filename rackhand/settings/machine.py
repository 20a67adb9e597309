"""The host as a whole: its SSH server and its firewall."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from rackhand.inventory import got
from rackhand.settings.connection import ConnectionSettings
from rackhand.settings.fields import Fields
from rackhand.settings.values import flag, whole


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """The host's SSH server. None leaves an option as it is; `root_login` is what PermitRootLogin is to say."""

    passwords: bool | None = None
    root_login: str | None = None


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """A TCP port that is open, to everybody or to a network only."""

    port: int
    source: str | None = None

    @property
    def family(self) -> str:
        """As nftables calls the protocol of the network."""
        return "ip6" if ":" in (self.source or "") else "ip"


@dataclass(frozen=True, kw_only=True)
class FirewallSettings:
    """What is open besides SSH, HTTP and HTTPS."""

    allow: tuple[Allowed, ...] = ()


def ssh_of(fields: Fields | None, connection: ConnectionSettings) -> SshSettings | None:
    """From the mapping `rackhand_ssh`, if there is one. What would lock Rackhand out itself is a mistake."""
    if fields is None:
        return None
    settings = SshSettings(
        passwords=fields.convert("passwords", flag, None), root_login=fields.convert("root_login", _root_login, None)
    )
    fields.refuse_unknown()
    if connection.kind == "ssh":
        root = connection.user == "root"
        if root and settings.root_login == "no":
            fields.problem(("root_login",), "would lock Rackhand out, which connects as root: set another ansible_user")
        if root and settings.root_login == "prohibit-password" and connection.password is not None:
            fields.problem(("root_login",), "would lock Rackhand out, which connects as root with ansible_password")
        if settings.passwords is False and connection.password is not None:
            fields.problem(("passwords",), "would lock Rackhand out, which connects with ansible_password: use a key")
    return settings


def _root_login(value: object) -> str:
    if value == "prohibit-password":
        return value
    try:
        return "yes" if flag(value) else "no"
    except ValueError:
        raise ValueError(f"should be true, false or prohibit-password, got {got(value)}") from None


def firewall_of(fields: Fields | None) -> FirewallSettings | None:
    """From the mapping `rackhand_firewall`, if there is one."""
    if fields is None:
        return None
    settings = FirewallSettings(allow=fields.convert("allow", _allowed, ()))
    fields.refuse_unknown()
    return settings


def _allowed(value: object) -> tuple[Allowed, ...]:
    if not isinstance(value, list):
        raise ValueError(f"should be a list of ports, got {got(value)}")
    return tuple(map(_allowed_one, value))


def _allowed_one(value: object) -> Allowed:
    try:
        source, _, port = str(value).rpartition(":") if isinstance(value, str) else ("", "", value)
        number = whole(port)
        if not 1 <= number <= 65535 or (":" in source and "/" not in source):
            raise ValueError
        return Allowed(port=number, source=str(ipaddress.ip_network(source)) if source else None)
    except ValueError:
        raise ValueError(
            f'each should be a port, or a network and a port ("10.0.0.0/8:5432"), got {got(value)}'
        ) from None

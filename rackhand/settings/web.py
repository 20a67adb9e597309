"""What nginx does on a host beside its applications: the site that they are in, and passing requests on."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from rackhand import edges
from rackhand.edges import Edge
from rackhand.inventory import Host, got
from rackhand.settings.fields import Fields
from rackhand.settings.values import matching, text

_SERVER_NAME = re.compile(r"_|[A-Za-z0-9*.-]+")


@dataclass(frozen=True, kw_only=True)
class NginxSettings:
    """The site on port 80. `read_timeout` is how many seconds an application may be silent within one request
    or WebSocket; `max_body_mb` the largest request body in MiB."""

    server_name: str = "_"
    max_body_mb: int = 16
    read_timeout: int = 3600


def nginx_of(fields: Fields) -> NginxSettings:
    """From the mapping `rackhand_nginx`."""
    settings = NginxSettings(
        server_name=fields.convert("server_name", matching(_SERVER_NAME, "a host name"), "_"),
        max_body_mb=fields.whole("max_body_mb", 16, least=1),
        read_timeout=fields.whole("read_timeout", 3600, least=1),
    )
    fields.refuse_unknown()
    return settings


def edge_of(fields: Fields | None, host: Host) -> Edge | None:
    """From the mapping `rackhand_edge`, if there is one, and the hosts of the group that it names."""
    if fields is None:
        return None
    found = fields.required("to", lambda value: edges.edge(text(value), host.vars.namespace()), None)
    keepalive = fields.whole("keepalive", 0, least=0, most=10_000)
    fields.refuse_unknown()
    return found and replace(found, keepalive=keepalive)


def address_of(value: object) -> str:
    """An IP address, as it is written most shortly."""
    try:
        return str(ipaddress.ip_address(text(value)))
    except ValueError:
        raise ValueError(f"should be an IP address, got {got(value)}") from None

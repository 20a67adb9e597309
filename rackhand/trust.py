"""The command hosts.trust: shows the keys of hosts, and makes them known when somebody says that they are right."""

import sys
from collections.abc import Sequence

import paramiko

from rackhand.commands import Options, hosts
from rackhand.errors import UserError
from rackhand.exit_codes import FAILED, UNREACHABLE
from rackhand.output.printable import printable
from rackhand.settings import ConnectionSettings
from rackhand.transport import Unreachable
from rackhand.transport.endpoint import Endpoint, dial, endpoint

_FILES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}


def trust(options: Options, *, fingerprints: Sequence[str], replace: bool) -> int:
    """Goes through the hosts, one after the other. Returns the exit code."""
    targets = hosts(options)
    if not fingerprints and not sys.stdin.isatty():
        raise UserError("somebody has to compare the keys: run this at a terminal, or give --fingerprint SHA256:…")
    code = 0
    for host in targets:
        if host.connection.kind == "local":
            print(f"{host.name}: is this machine: there is no key")
            continue
        try:
            trusted = _trust(host.name, host.connection, fingerprints, replace)
        except Unreachable as error:
            print(f"{host.name}: {printable(str(error))}", file=sys.stderr)
            code |= UNREACHABLE
        else:
            code |= 0 if trusted else FAILED
    return code


def _trust(name: str, settings: ConnectionSettings, fingerprints: Sequence[str], replace: bool) -> bool:
    """Has the keys of a host known, and before it those of the jump hosts on the way. Raises Unreachable."""
    from rackhand.transport import connection, host_keys

    gateway = None
    *gateways, last = _way(endpoint(settings))
    try:
        for hop in (*gateways, last):
            who = name if hop is last else f"{name}: jump host {hop.host}"
            if not _pin(who, hop, host_keys.offered(hop, gateway), fingerprints, replace):
                return False
            if hop is not last:
                gateway = connection.open_one(hop, gateway, None if gateway else dial(hop))
    finally:
        connection.close(gateway)
    return True


def _way(where: Endpoint) -> list[Endpoint]:
    """The hosts on the way, the nearest first, and the one meant."""
    first, *others = where.gateways or (None,)
    return [*(_way(first) if first else ()), *others, where]


def _pin(who: str, where: Endpoint, keys: Sequence[paramiko.PKey], fingerprints: Sequence[str], replace: bool) -> bool:
    """Returns whether the host's key is known afterwards."""
    from rackhand.transport import host_keys
    from rackhand.transport.known_hosts import KnownHosts

    address = where.known_as
    shown = {key.get_name(): key.asbytes() for key in keys}
    mine = [line for line in KnownHosts(where).known() if not line.mark]
    different = [line for line in mine if shown.get(line.kind) != line.blob]
    if len(different) < len(mine):  # any of those that are known will do, as when one connects
        same = ", ".join(dict.fromkeys(_shown(line.kind, line.blob) for line in mine if line not in different))
        print(f"{who} ({address}): is known: {same}")
        return True
    print(f"{who} ({address}):")
    for line in different:
        print(f"  known   {_shown(line.kind, line.blob)}  in {line.origin}")
    for kind, blob in shown.items():
        print(f"  shows   {_shown(kind, blob)}")
    if different and not replace:
        print(f"{who}: another key is known. If you know why it has changed, run this again with --replace")
        return False
    elsewhere = sorted({line.origin for line in different} - {where.own_known_hosts})
    if where.own_known_hosts in (None, "/dev/null") or elsewhere:
        print(f"{who}: the key has to be changed in {', '.join(elsewhere) or 'a file: SSH is configured to have none'}")
        return False
    chosen = _chosen(keys, fingerprints)
    if not chosen:
        print(f"{who}: not trusted, and nothing was changed")
        return False
    written = host_keys.write(where, chosen)
    trusted = ", ".join(_shown(key.get_name(), key.asbytes()) for key in chosen)
    print(f"{who}: trusted: {trusted}, written to {written}")
    return True


def _chosen(keys: Sequence[paramiko.PKey], fingerprints: Sequence[str]) -> list[paramiko.PKey]:
    """The keys that somebody has compared."""
    from rackhand.transport.known_hosts import fingerprint

    if not fingerprints:
        names = [_FILES.get(key.get_name(), "ecdsa") for key in keys]
        print("  Compare with what the host itself says, at its console or in its provider's log of the first boot:")
        print(f"    ssh-keygen -lf /etc/ssh/ssh_host_{names[0]}_key.pub")
        try:
            answer = input("  Are they the same? Type yes, or the fingerprint that you see there: ").strip()
        except EOFError:
            answer = ""
        if answer == "yes":
            return list(keys)
        fingerprints = [answer]
    return [key for key in keys if fingerprint(key.asbytes()) in [given.strip().rstrip("=") for given in fingerprints]]


def _shown(kind: str, blob: bytes) -> str:
    from rackhand.transport.known_hosts import fingerprint

    return f"{kind} {fingerprint(blob)}"

"""Whether a host is who it should be, by the key that it shows; and which of its keys it is asked for."""

from __future__ import annotations

from typing import Any

import paramiko

from rackhand.transport import KeyRefused, algorithms
from rackhand.transport.known_hosts import KnownHosts, fingerprint
from rackhand.transport.marked_keys import doubt


class HostKeyCheck(paramiko.MissingHostKeyPolicy):
    """paramiko is told of no host key, and so has each one checked here. A key is believed if it is known, or if an
    authority that is known vouches for it."""

    def __init__(self, known_hosts: KnownHosts) -> None:
        self._known_hosts = known_hosts

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        lines = self._known_hosts.known(key)
        own = [line for line in lines if not line.mark]
        if any(line.blob == key.asbytes() for line in own):
            return
        why = doubt(self._known_hosts, key) if any(line.mark == "@cert-authority" for line in lines) else ""
        if why is None:
            return
        shown = fingerprint(key.asbytes())
        if own:
            expected = next((line for line in own if line.kind == key.get_name()), own[0])
            raise KeyRefused(
                f"THE HOST KEY HAS CHANGED: {shown} instead of {fingerprint(expected.blob)}. "
                "Someone may be in between. Only if you know why it changed:",
                changed=True,
            )
        kind = key.get_name().removeprefix("ssh-").partition("-")[0]
        raise KeyRefused(
            f"the host key is not known{why and f' ({why})'}: {key.get_name()} {shown}. "
            f"Compare it with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub), then:",
            changed=False,
        )


class KnownFirst(paramiko.Transport):
    """Asks the host first for a key of a kind that is known of it; else, where an authority is, for a certificate."""

    def __init__(self, sock: Any, known_hosts: KnownHosts, **options: Any) -> None:
        super().__init__(sock, **options)
        lines = known_hosts.known()
        self._own = {name for line in lines if not line.mark for name in algorithms.of_key(line.kind)}
        self._authority = any(line.mark == "@cert-authority" for line in lines)

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        return tuple(sorted(super().preferred_keys, key=lambda name: not self._is_first(name)))

    def _is_first(self, name: str) -> bool:
        return name in self._own if self._own else self._authority and "-cert-" in name

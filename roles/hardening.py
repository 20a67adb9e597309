"""What keeps others out: options of the SSH server and a firewall. Both are off until the inventory asks for them."""

from collections.abc import Iterator

from rackhand.agent import layout
from rackhand.agent.resource import Resource
from rackhand.agent.resources import Directory, Firewall, Link, Packages, Sshd, SystemdUnit
from rackhand.agent.resources.firewall import REMOVE, UNIT
from rackhand.settings import SshSettings
from rackhand.target import Target
from rackhand.templates import render


def hardening(target: Target) -> Iterator[Resource]:
    """The resources that can cut the controller off come last, together, and are confirmed together."""
    settings = target.settings
    if settings.ssh is None and settings.firewall is None:
        return
    yield from _at_boot(layout.GUARD_UNIT, render("guard.service.j2", guard=layout.GUARD))
    if settings.firewall is not None:
        yield Packages(packages=("nftables",))
        yield Directory(path=layout.FIREWALL.rpartition("/")[0])
        unit = render("firewall.service.j2", guard=layout.GUARD_UNIT, firewall=layout.FIREWALL)
        yield from _at_boot(UNIT, unit)
        yield Firewall(content=rules(target))
    if settings.ssh is not None:
        yield Sshd(options=tuple(_options(settings.ssh)))


def _at_boot(unit: str, content: str) -> Iterator[Resource]:
    yield SystemdUnit(path=f"{layout.SYSTEMD}/{unit}", content=content)
    yield Link(path=f"{layout.SYSTEMD}/sysinit.target.wants/{unit}", target=f"../{unit}")


def rules(target: Target) -> str:
    """The text of the firewall. Where no SSH server was seen listening, its usual port is open."""
    assert target.settings.firewall is not None
    ports = {*(target.facts["ssh_ports"] or (22,)), 80, 443}
    if direct := target.settings.direct:
        ports.add(direct.direct or 80)
    allowed = target.settings.firewall.allow
    return render(
        "firewall.nft.j2",
        remove=REMOVE,
        ports=sorted(ports | {one.port for one in allowed if one.source is None}),
        sources=[one for one in allowed if one.source is not None],
    )


def _options(ssh: SshSettings) -> Iterator[tuple[str, str]]:
    if ssh.passwords is not None:
        answer = "yes" if ssh.passwords else "no"
        yield "PasswordAuthentication", answer
        if not ssh.passwords:  # PAM may ask for a password by this way
            yield "KbdInteractiveAuthentication", answer
    if ssh.root_login is not None:
        yield "PermitRootLogin", ssh.root_login

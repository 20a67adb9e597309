"""What every host has: Rackhand's folders, and what starts at boot the instances that are current."""

from collections.abc import Iterator

from rackhand.agent import layout
from rackhand.agent.resource import Resource
from rackhand.agent.resources import Directory, File, Link, SystemdUnit
from rackhand.target import Target
from rackhand.templates import render


def baseline(target: Target) -> Iterator[Resource]:
    for path in (layout.BASE, layout.APPS, layout.CURRENT, layout.VENVS):
        yield Directory(path=path)
    yield Directory(path=layout.STATE, mode="0700")
    yield File(
        path=layout.BOOT,
        content=render(
            "boot.sh.j2",
            current=layout.CURRENT,
            volatile=layout.VOLATILE,
            unit=layout.UNIT,
            socket=layout.SOCKET,
            holder=layout.HOLDER,
        ),
        mode="0755",
        validate=("sh", "-n", "{}"),
    )
    unit = f"{layout.SYSTEMD}/rackhand.service"
    yield SystemdUnit(path=unit, content=render("boot.service.j2", base=layout.BASE, boot=layout.BOOT))
    yield Link(path=f"{layout.SYSTEMD}/multi-user.target.wants/rackhand.service", target=unit)

"""What every host has: Rackhand's folders, and what starts the current releases at boot."""

from collections.abc import Iterator

from rackhand.agent import layout
from rackhand.agent.resource import Resource
from rackhand.agent.resources import Directory, File
from rackhand.target import Target
from rackhand.templates import render


def baseline(target: Target) -> Iterator[Resource]:
    for path in (layout.BASE, layout.APPS, layout.VENVS):
        yield Directory(path=path)
    yield Directory(path=layout.STATE, mode="0700")
    yield Directory(path="/etc/systemd/system-generators")
    yield File(
        path="/etc/systemd/system-generators/rackhand",
        content=render("generator.sh.j2", apps=layout.APPS, systemd=layout.SYSTEMD),
        mode="0755",
        validate=("sh", "-n", "{}"),
    )

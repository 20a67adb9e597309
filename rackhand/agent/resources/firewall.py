"""Rackhand's own nftables table, on disk for the next boot and in the kernel now."""

from __future__ import annotations

import os
from typing import ClassVar

from rackhand.agent import files, layout
from rackhand.agent.resource import Before, Resource, ResourceError, State
from rackhand.agent.system import CommandError, System

TABLE = "inet rackhand"
UNIT = "rackhand-firewall.service"

_LIST = f"nft --stateless list table {TABLE}"
#: Makes sure that there is a table, so that it can be removed: older versions of nft have no word for "if there".
REMOVE = f"table {TABLE}\ndelete table {TABLE}\n"


class Firewall(Resource):
    """`content` replaces the table as a whole, in one transaction of the kernel; other tables are left alone."""

    kind: ClassVar[str] = "firewall"
    cuts_off: ClassVar[bool] = True

    content: str

    @property
    def name(self) -> str:
        return os.path.basename(layout.FIREWALL)

    def references(self) -> tuple[str, ...]:
        return (f"systemd_unit:{layout.GUARD_UNIT}", f"systemd_unit:{UNIT}")

    def wanted(self) -> State:
        return {"content": self.content, "owner": "root:root", "mode": "0644", "in the kernel": True}

    def actual(self, system: System) -> State:
        path = system.path(layout.FIREWALL)
        content = files.read_text(path)
        if content is None:
            return {"content": None, "in the kernel": False}
        status = os.lstat(path)
        table = _table(system)
        return {
            "content": content,
            "owner": files.owner(status),
            "mode": files.mode(status),
            "in the kernel": table is not None and table == _as_listed(system, path),
        }

    def before(self, system: System) -> Before:
        return Before(files=(layout.FIREWALL,), commands=((("nft", "--file", "-"), REMOVE + (_table(system) or "")),))

    def apply(self, system: System, actual: State) -> None:
        path = system.path(layout.FIREWALL)
        coming = files.prepare(path, self.content, "root:root", "0644")
        try:
            if _as_listed(system, coming) is None:
                system.run("nft", "--check", "--file", coming)
                raise ResourceError("nft does not load the rules in a namespace of their own, and nothing was replaced")
            os.replace(coming, path)
        except CommandError as error:
            said = tuple(error.output.strip().splitlines()[:10])
            raise ResourceError("nft refuses the rules, and nothing was replaced", said) from error
        finally:
            files.remove(coming)
        files.sync_folder(path)
        system.run("nft", "--file", path)


def _as_listed(system: System, path: str) -> str | None:
    """The rules of a file as nft lists them once a kernel has them, or None when it does not take them: loaded in a
    network namespace that nobody else is in."""
    try:
        return system.run("unshare", "--net", "sh", "-c", f'nft --file "$1" && {_LIST}', "sh", path)
    except CommandError:
        return None


def _table(system: System) -> str | None:
    """The table as the kernel has it now."""
    try:
        return system.run(*_LIST.split())
    except CommandError:  # there is none, or there is no nft
        return None

"""The lab's commands."""

import os
import shlex

from rackhand import PROJECT
from rackhand.errors import UserError
from rackhand.lab.host import LabHost
from rackhand.lab.lab import Lab
from rackhand.tables import table

#: The lab that the commands mean when they are not told another.
DEFAULT = "demo"


def start(lab: Lab, names: list[str], image: str = "bookworm") -> list[LabHost]:
    """Has these hosts run, with the project's own group variables in the lab's inventory: the example applications."""
    hosts = lab.up(names, image)
    link = lab.inventory / "group_vars"
    if not link.is_symlink():
        link.symlink_to(PROJECT / "inventory" / "group_vars")
    return hosts


def up(name: str, count: int, image: str) -> int:
    if count < 1:
        raise UserError(f"--count should be 1 or more, got {count}")
    lab = Lab(name)
    start(lab, [f"lab{number}" for number in range(1, count + 1)], image)
    status(name)
    print(
        f"\nDeploy to them:\n  export RACKHAND_INVENTORY={shlex.quote(str(lab.inventory))}\n"
        "  ./invoke deploy --host lab1"
    )
    return 0


def down(name: str) -> int:
    Lab(name).down()
    return 0


def status(name: str) -> int:
    hosts = Lab(name).hosts()
    if hosts:
        print(table(("HOST", "ADDRESS", "IMAGE"), [(host.name, host.address, host.image) for host in hosts]))
    else:
        which = "" if name == DEFAULT else f" --name {name}"
        print(f"the lab {name} has no running hosts: ./invoke lab.up{which} starts some")
    return 0


def ssh(name: str, host: str) -> int:
    """Becomes OpenSSH's client."""
    lab = Lab(name)
    found = next((running for running in lab.hosts() if running.name == host), None)
    if found is None:
        raise UserError(f"--host {host}: the lab {name} has no such running host (see: ./invoke lab.status)")
    command = (
        "ssh",
        "-i",
        str(lab.private_key),
        "-o",
        f"UserKnownHostsFile={lab.known_hosts}",
        f"root@{found.address}",
    )
    os.execvp(command[0], command)

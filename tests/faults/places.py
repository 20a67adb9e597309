"""What the harness knows of how Rackhand lays things out on a host: all of it is here, nothing elsewhere."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.faults import halt

#: How many releases the subjects keep, and their applications.
KEEP, APPS = 3, ("one", "two")

#: File systems of their own for a host whose disk is to fill up, with the mode of the folder.
DISKS = {"/opt/rackhand": "755", "/var/lib/rackhand": "700"}

#: The site that a change of nginx's settings replaces, and the folder that it is in.
SITE = "/etc/nginx/conf.d/rackhand.conf"

#: Points of a code-only deploy: the new instances run and nothing is switched; and everything is.
BEFORE_SWITCH, BEHIND_SWITCH = "before current:applications", "before retired:earlier releases"
#: A point of a fresh deploy: of two instances one has been started.
HALF_STARTED = "before instance:two/ID"

#: Where the journals of runs are, newest last by name.
RUNS = "/var/lib/rackhand/runs"

#: What stands in the command line of every process of the agent.
AGENT = b"from rackhand.agent.main import main"

#: Looked through for what is left over: folder, how deep, and what must be in the path (any of these).
ROOTS = (
    ("/opt/rackhand", 9, ()),
    ("/etc/systemd", 9, ()),
    ("/etc/nginx", 9, ()),
    ("/run", 3, ("rackhand", "/run/systemd/system/", "/run/systemd/generator", "/run/systemd/transient/")),
    ("/var/lib/rackhand", 2, ()),
    ("/var/cache/rackhand", 2, (".tmp",)),
    ("/tmp", 1, ()),
    ("/var/tmp", 1, ()),
    ("/dev/shm", 1, ()),
    ("/root", 1, ()),
)
#: Not looked into: what Rackhand lists and compares itself at every run.
CLOSED = re.compile(r"/releases/[^/]+/code$|/venvs/[^/]+$|/run/rackhand-fault$")
#: Not counted: the empty folder that systemd leaves behind when a service is stopped in the very moment in which its
#: /dev is prepared (seen once in some hundred cases; the next boot removes it).
NOT_OURS = re.compile(r"/tmp/namespace-dev-\w{6}$")

#: However long the history, there may be so many of these, by their plain path.
AT_MOST: Mapping[str, int] = {
    "/var/lib/rackhand/runs/RUN.jsonl": 20,
    "/opt/rackhand/venvs/ID": KEEP * len(APPS),
    **{f"/opt/rackhand/apps/{app}/releases/ID": KEEP for app in APPS},
    **{f"/opt/rackhand/apps/{app}/releases/ID/{name}": KEEP for app in APPS for name in (
        "activated", "code", "env", "gunicorn.conf.py", "venv", "unit.service",
    )},
}  # fmt: skip

_NAMES = (
    (re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}"), "RUN"),
    (re.compile(r"systemd-private-[0-9a-f]{32}-(.*)-\w{6}$"), r"systemd-private-\1"),
)


def plain(text: str) -> str:
    """A path, unit or command line without what differs from one history to another."""
    for pattern, name in _NAMES:
        text = pattern.sub(name, text)
    return halt.plain(text)


def venvs_in_use(root: Path) -> set[str]:
    """The environments that some release on the host uses; `root` is the host's file system."""
    links = (release / "venv" for release in root.glob("opt/rackhand/apps/*/releases/*"))
    return {link.readlink().name for link in links if link.is_symlink()}


def venvs(root: Path) -> set[str]:
    """The environments on the host."""
    return {path.name for path in root.glob("opt/rackhand/venvs/*")}

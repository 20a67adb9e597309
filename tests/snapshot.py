"""An eye that is not Rackhand's: everything below a folder, and on a host what serves. Its text runs on hosts, too."""

import hashlib
import json
import os
import re
import stat
import sys

#: What a running host changes by itself, below `/`: the kernel's own, logs, and what a login leaves; and what is not of
#: a plan but of its run: the journal and the lock.
ALIVE = (
    *("proc", "sys", "dev", "var/log", "var/lib/rackhand/runs", "run/rackhand.lock"),
    *("run/log", "run/systemd", "run/udev", "run/user", "run/utmp", "run/motd.dynamic", "var/lib/systemd"),
)

#: Type and mode, owner and group, content; times when it was changed, in ns.
Entry = list[object]


def snapshot(root: str, *, contents: bool) -> dict[str, Entry]:
    """Every path below `root` with all that can be seen of it. Without `contents`, the times tell that one changed."""
    found: dict[str, Entry] = {}
    around = {os.path.dirname(path) for path in ALIVE}
    pending = [""]
    while pending:
        folder = pending.pop()
        for entry in os.scandir(os.path.join(root, folder)):
            path = os.path.join(folder, entry.name)
            if path in ALIVE:
                continue
            status = os.lstat(entry.path)
            times = () if path in around else (status.st_mtime_ns, status.st_ctime_ns)
            owner = f"{status.st_uid}:{status.st_gid}"
            content = _content(entry.path, status) if contents else ""
            found[path] = [f"{status.st_mode:o}", owner, content, *times]
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
    return found


def _content(path: str, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    return ""


def processes() -> dict[str, Entry]:
    """The processes of nginx and of applications, each with when it was started: a restart gives others."""
    found: dict[str, Entry] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
                groups = file.read()
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                started = file.read().rpartition(")")[2].split()[19]
        except OSError:
            continue
        if re.search(r"/(nginx|rackhand-\w+@\w+)\.service$", groups, re.MULTILINE):
            found[f"process {pid}"] = [started]
    return found


if __name__ == "__main__":
    json.dump(snapshot("/", contents=False) | processes(), sys.stdout)

"""Facts: what a host is, read without changing it."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, AF_NETLINK, IPPROTO_TCP, SOCK_RAW, socket
from typing import Any

Facts = dict[str, Any]

#: Of netlink(7) and sock_diag(7): the protocol, its request and answers, the end of these, "all of them, please".
_SOCK_DIAG, _BY_FAMILY, _DONE, _DUMP = 4, 20, 3, 0x301
#: Of a socket that listens, as a bit among the states that are asked for.
_LISTEN = 1 << 10
#: Where in an answer, behind its header, the port and the inode are.
_PORT, _INODE = 20, 84


def facts(root: str = "/") -> Facts:
    """Cores that services may really use, memory in MiB, operating system, architecture, Python, init."""
    release = _os_release(os.path.join(root, "etc/os-release"))
    count = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0))
    quota = cpu_quota(root)
    limits = [count, affinity] + ([max(1, int(quota))] if quota is not None else [])
    memory = _meminfo(root)
    limit = memory_limit(root)
    kernel = os.uname()
    return {
        "hostname": kernel.nodename,
        "os": release.get("ID", "unknown"),
        "os_version": release.get("VERSION_ID", ""),
        "os_name": release.get("PRETTY_NAME", "unknown"),
        "kernel": kernel.release,
        "architecture": kernel.machine,
        "python": ".".join(map(str, sys.version_info[:3])),
        "cores": min(limits),
        "cores_online": count,
        "cores_affinity": affinity,
        "cores_quota": quota,
        "memory_mb": min(memory["MemTotal"], limit or memory["MemTotal"]) // 2**20,
        "memory_available_mb": memory_available(root) // 2**20,
        "init": "systemd" if os.path.isdir(os.path.join(root, "run/systemd/system")) else "other",
        "apt": any(os.access(os.path.join(folder, "apt-get"), os.X_OK) for folder in os.get_exec_path()),
        "ipv6": os.path.exists(os.path.join(root, "proc/net/if_inet6")),
        "ssh_ports": ssh_ports(root),
    }


def refusal(found: Facts) -> str | None:
    """Why Rackhand cannot manage this host, or None when it can."""
    if not found["apt"]:
        return f"{found['os_name']} has no apt: Rackhand manages Debian and Ubuntu hosts"
    if found["init"] != "systemd":
        return "systemd is not running as init: Rackhand manages services through it"
    if os.geteuid() != 0:
        return "not root on the host: set ansible_become: true, or connect as root"
    return None


def _os_release(path: str) -> dict[str, str]:
    try:
        with open(path, encoding="utf-8") as file:
            pairs = (line.strip().partition("=") for line in file if "=" in line)
            return {key: value.strip("\"'") for key, _, value in pairs}
    except OSError:
        return {}


def _meminfo(root: str) -> dict[str, int]:
    """In bytes."""
    with open(os.path.join(root, "proc/meminfo"), encoding="ascii") as file:
        pairs = (line.split() for line in file)
        return {pair[0].rstrip(":"): int(pair[1]) * 1024 for pair in pairs if len(pair) == 3}


def ssh_ports(root: str = "/") -> list[int]:
    """The TCP ports that SSH servers listen on, whatever their configuration says. Not those of containers, which have
    a network of their own, nor what sessions forward. Only root sees them."""
    proc = os.path.join(root, "proc")
    ports_of = listening(root)
    ports = set()
    for pid in filter(str.isdigit, os.listdir(proc)):
        name, _, rest = _read(os.path.join(proc, pid, "stat")).partition("(")[2].rpartition(")")
        if name == "sshd" and rest.split()[1] == "1":  # a session's parent is a server
            ports |= {ports_of[end] for end in _links(os.path.join(proc, pid, "fd")) if end in ports_of}
    return sorted(ports)


def listening(root: str) -> dict[str, int]:
    """The ports that programs listen on, by what leads to their sockets."""
    if root == "/":
        with contextlib.suppress(OSError, struct.error):
            return {end: port for family in (AF_INET, AF_INET6) for end, port in diagnosed(family)}
    # Of a host with much memory the kernel takes some ms for each: it looks for connections in a large table.
    tables = (_read(os.path.join(root, "proc/net", table)) for table in ("tcp", "tcp6"))
    rows = [row.split() for table in tables for row in table.splitlines()[1:]]
    return {f"socket:[{row[9]}]": int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


def diagnosed(family: int) -> Iterator[tuple[str, int]]:
    """The same of one family, as the kernel's sock_diag(7) answers. Raises OSError."""
    form = "=IHHIIBBHI48x"
    size = struct.calcsize(form)
    with socket(AF_NETLINK, SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.send(struct.pack(form, size, _BY_FAMILY, _DUMP, 0, 0, family, IPPROTO_TCP, 0, _LISTEN))
        while True:
            answer = kernel.recv(2**16)
            while answer:
                size, kind = struct.unpack_from("=IH", answer)
                if kind == _DONE:
                    return
                if kind != _BY_FAMILY:
                    raise OSError("sock_diag")
                (port,), (inode,) = struct.unpack_from(">H", answer, _PORT), struct.unpack_from("=I", answer, _INODE)
                yield f"socket:[{inode}]", port
                answer = answer[(size + 3) & ~3 :]


def _links(folder: str) -> Iterator[str]:
    """Where the links in a folder lead, as far as they may be read."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                yield os.readlink(os.path.join(folder, name))


def _ancestors(base: str) -> Iterator[str]:
    """The cgroups that bound every service: the slice of system services and what lies above it."""
    for path in ("system.slice", ""):
        folder = os.path.join(base, path)
        if os.path.isdir(folder):
            yield folder


def cpu_quota(root: str = "/") -> float | None:
    """The cores that the CPU quota above all services allows, or None without one (cgroup v2, then v1)."""
    base = os.path.join(root, "sys/fs/cgroup")
    quotas = []
    for folder in _ancestors(base):
        quota, _, period = _read(os.path.join(folder, "cpu.max")).partition(" ")
        if quota.isdigit() and period.isdigit():
            quotas.append(int(quota) / int(period))
    for folder in _ancestors(os.path.join(base, "cpu")):
        quota = _read(os.path.join(folder, "cpu.cfs_quota_us"))
        period = _read(os.path.join(folder, "cpu.cfs_period_us"))
        if quota.isdigit() and period.isdigit():
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def memory_limit(root: str = "/") -> int | None:
    """Bytes that the memory limit above all services allows, or None without one."""
    base = os.path.join(root, "sys/fs/cgroup")
    files = [os.path.join(folder, "memory.max") for folder in _ancestors(base)]
    files += [os.path.join(folder, "memory.limit_in_bytes") for folder in _ancestors(os.path.join(base, "memory"))]
    return min((int(text) for text in map(_read, files) if text.isdigit()), default=None)


def memory_available(root: str = "/") -> int:
    """Bytes that further processes can use: what the kernel says, within the limits above all services."""
    base = os.path.join(root, "sys/fs/cgroup")
    free = [_meminfo(root)["MemAvailable"]]
    for folder in _ancestors(base):
        free += _room(folder, "memory.max", "memory.current", "inactive_file")
    for folder in _ancestors(os.path.join(base, "memory")):
        free += _room(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return max(0, min(free))


def _room(folder: str, limit: str, usage: str, reclaimable: str) -> list[int]:
    """What a control group leaves, in bytes, if it has a limit. Its page cache that nothing uses can be had at once."""
    most, used = (_read(os.path.join(folder, name)) for name in (limit, usage))
    if not (most.isdigit() and used.isdigit()):
        return []
    counts = dict(line.split() for line in _read(os.path.join(folder, "memory.stat")).splitlines())
    return [int(most) - int(used) + int(counts.get(reclaimable, 0))]


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""

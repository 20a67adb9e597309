"""Facts: what services on a host may really use, whichever way it is limited."""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rackhand.agent.facts import cpu_quota, diagnosed, facts, listening, memory_limit, refusal

GIB = 2**30
ONLINE = os.cpu_count() or 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The files of a Debian host with 8 GiB, of which 6 are available, and no limits."""
    write(
        tmp_path,
        {
            "proc/meminfo": f"MemTotal: {8 * 2**20} kB\nMemAvailable: {6 * 2**20} kB\nHugePages_Total: 0\n",
            "etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\n',
            "run/systemd/system/x": "",
        },
    )
    return tmp_path


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def one_core() -> Iterator[None]:
    """This process may use one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


QUOTAS: dict[str, tuple[dict[str, str], float | None]] = {
    "no control groups": ({}, None),
    "v2, no limit": ({"cpu.max": "max 100000\n"}, None),
    "v2, whole host": ({"cpu.max": "150000 100000\n"}, 1.5),
    "v2, services": ({"system.slice/cpu.max": "50000 100000\n", "cpu.max": "max 100000\n"}, 0.5),
    "v2, the smaller one": ({"system.slice/cpu.max": "400000 100000\n", "cpu.max": "300000 100000\n"}, 3.0),
    "v2, another slice": ({"user.slice/cpu.max": "50000 100000\n"}, None),
    "v1, no limit": ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    "v1, whole host": ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.5),
    "v1, services": (
        {
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "cpu/system.slice/cpu.cfs_quota_us": "20000\n",
            "cpu/system.slice/cpu.cfs_period_us": "10000\n",
        },
        2.0,
    ),
    "nonsense": ({"cpu.max": "garbage", "cpu/cpu.cfs_quota_us": ""}, None),
}


@pytest.mark.parametrize(("files", "quota"), QUOTAS.values(), ids=QUOTAS)
def test_cpu_quota(root: Path, files: dict[str, str], quota: float | None) -> None:
    """The quota above all services, in cores, with either version of control groups."""
    write(root / "sys/fs/cgroup", files)
    assert cpu_quota(str(root)) == quota


LIMITS: dict[str, tuple[dict[str, str], int | None]] = {
    "no control groups": ({}, None),
    "v2, no limit": ({"memory.max": "max\n"}, None),
    "v2, whole host": ({"memory.max": f"{GIB}\n"}, GIB),
    "v2, services": ({"memory.max": f"{4 * GIB}\n", "system.slice/memory.max": f"{2 * GIB}\n"}, 2 * GIB),
    "v1, whole host": ({"memory/memory.limit_in_bytes": f"{3 * GIB}\n"}, 3 * GIB),
    "v1, services": (
        {
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/system.slice/memory.limit_in_bytes": f"{GIB}\n",
        },
        GIB,
    ),
}


@pytest.mark.parametrize(("files", "limit"), LIMITS.values(), ids=LIMITS)
def test_memory_limit(root: Path, files: dict[str, str], limit: int | None) -> None:
    """The limit above all services, in bytes, with either version of control groups."""
    write(root / "sys/fs/cgroup", files)
    assert memory_limit(str(root)) == limit


def test_cores_without_limits(root: Path) -> None:
    found = facts(str(root))
    usable = len(os.sched_getaffinity(0))
    assert (found["cores"], found["cores_online"], found["cores_quota"]) == (min(ONLINE, usable), ONLINE, None)


@pytest.mark.usefixtures("one_core")
def test_cores_follow_the_affinity(root: Path) -> None:
    """A process that may use one core has one, however many there are."""
    found = facts(str(root))
    assert (found["cores"], found["cores_affinity"], found["cores_online"]) == (1, 1, ONLINE)


@pytest.mark.parametrize(("quota", "cores"), [("10000", 1), ("100000", 1), ("190000", 1), ("99900000", None)])
def test_cores_follow_the_quota(root: Path, quota: str, cores: int | None) -> None:
    """Whole cores of the quota, at least one, and never more than the host has (None)."""
    write(root, {"sys/fs/cgroup/cpu.max": f"{quota} 100000"})
    found = facts(str(root))
    assert found["cores"] == (len(os.sched_getaffinity(0)) if cores is None else cores)
    assert found["cores_quota"] == int(quota) / 100000


@pytest.mark.parametrize(("limit", "memory"), [("max", 8192), (str(GIB), 1024), (str(99 * GIB), 8192)])
def test_memory(root: Path, limit: str, memory: int) -> None:
    """MiB: the limit, unless the host has less."""
    write(root, {"sys/fs/cgroup/memory.max": limit})
    found = facts(str(root))
    assert (found["memory_mb"], found["memory_available_mb"]) == (memory, 6144)


def test_what_the_host_is(root: Path) -> None:
    """System, init and IPv6 come from the files that say so."""
    found = facts(str(root))
    names = ("os", "os_version", "os_name", "init", "ipv6")
    assert [found[name] for name in names] == ["debian", "12", "Debian GNU/Linux 12 (bookworm)", "systemd", False]
    write(root, {"proc/net/if_inet6": ""})
    assert facts(str(root))["ipv6"]


def test_ports_of_ssh(root: Path) -> None:
    """Those that servers listen on: neither what sessions forward nor what a container's server has."""
    row = "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 10 0\n"
    rows = [
        row.format(local="00000000:0016", state="0A", inode=1),
        row.format(local="0200A8C0:0016", state="01", inode=2),
        row.format(local="0100007F:177A", state="0A", inode=3),
        row.format(local="00000000:0050", state="0A", inode=4),
    ]
    servers = {7: ("sshd", 1, [1]), 8: ("sshd", 7, [2, 3]), 9: ("nginx", 1, [4]), 10: ("sshd", 1, [5, 99])}
    write(root, {"proc/net/tcp": "head\n" + "".join(rows)})
    write(root, {"proc/net/tcp6": "head\n" + row.format(local="0" * 32 + ":08AE", state="0A", inode=5)})
    for pid, (name, parent, sockets) in servers.items():
        write(root, {f"proc/{pid}/stat": f"{pid} ({name}) S {parent} 0 0\n", f"proc/{pid}/fd/none": ""})
        for number, inode in enumerate(sockets):
            (root / f"proc/{pid}/fd/{number}").symlink_to(f"socket:[{inode}]")
    assert facts(str(root))["ssh_ports"] == [22, 2222]


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_what_listens_is_asked_of_the_kernel(family: socket.AddressFamily, address: str) -> None:
    """And nothing else: neither a connection, nor what is only bound."""
    with socket.create_server((address, 0), family=family) as server, socket.socket(family) as bound:
        bound.bind((address, 0))
        with socket.create_connection(server.getsockname()[:2]) as client, server.accept()[0] as accepted:
            found = dict(diagnosed(family))
            ours = {_link(one) for one in (server, bound, client, accepted)} & found.keys()
            assert {each: found[each] for each in ours} == {_link(server): server.getsockname()[1]}


def test_a_kernel_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then what listens is read from its tables."""
    monkeypatch.setattr("rackhand.agent.facts.AF_NETLINK", socket.AF_UNIX)
    with pytest.raises(OSError, match=r"."):
        list(diagnosed(socket.AF_INET))
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert listening("/")[_link(server)] == server.getsockname()[1]


def _link(one: socket.socket) -> str:
    return os.readlink(f"/proc/self/fd/{one.fileno()}")


def test_a_host_that_says_little(tmp_path: Path) -> None:
    """Without os-release and systemd the facts say so; they do not fail."""
    write(tmp_path, {"proc/meminfo": "MemTotal: 1024 kB\nMemAvailable: 512 kB\n"})
    found = facts(str(tmp_path))
    assert (found["os"], found["os_name"], found["init"]) == ("unknown", "unknown", "other")


GOOD: dict[str, Any] = {"apt": True, "init": "systemd", "os_name": "Debian GNU/Linux 12 (bookworm)"}


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({}, None),
        (
            {"apt": False, "init": "other", "os_name": "Alpine Linux v3.20"},
            "Alpine Linux v3.20 has no apt: Rackhand manages Debian and Ubuntu hosts",
        ),
        ({"init": "other"}, "systemd is not running as init: Rackhand manages services through it"),
    ],
    ids=["good", "no apt", "no systemd"],
)
def test_refusal(found: dict[str, Any], line: str | None) -> None:
    """A host that cannot be managed is refused with one line, for what matters most."""
    assert refusal(GOOD | found) == line


@pytest.fixture
def not_root() -> Iterator[None]:
    """This process runs as nobody."""
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("not_root")
def test_refusal_of_a_user_who_is_not_root() -> None:
    assert refusal(GOOD) == "not root on the host: set ansible_become: true, or connect as root"

"""One look at /proc: the kernel's counters as they are, nothing computed."""

import platform
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CpuTime:
    """Clock ticks since boot."""

    busy: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes since the interface came up."""

    received: int
    sent: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The counters of one moment. `clock` is in seconds and only good for differences; memory is in bytes."""

    at: datetime
    clock: float
    host: str
    uptime: float
    cpu: CpuTime
    cores: tuple[CpuTime, ...]
    load: tuple[float, float, float]
    memory: dict[str, int]
    interfaces: dict[str, Traffic]


def read_host(proc: Path = Path("/proc")) -> Reading:
    """Raises OSError when `proc` cannot be read, as in a sandbox that hides all of it but the processes."""
    total, *cores = _cpu_times((proc / "stat").read_text())
    one, five, fifteen = (proc / "loadavg").read_text().split()[:3]
    return Reading(
        at=datetime.now(timezone.utc),
        clock=time.monotonic(),
        host=platform.node(),
        uptime=float((proc / "uptime").read_text().split()[0]),
        cpu=total,
        cores=tuple(cores),
        load=(float(one), float(five), float(fifteen)),
        memory=_memory((proc / "meminfo").read_text()),
        interfaces=_interfaces((proc / "net" / "dev").read_text()),
    )


def _cpu_times(stat: str) -> list[CpuTime]:
    """The sum of all cores, then each core."""
    times = []
    for line in stat.splitlines():
        name, *fields = line.split()
        if not name.startswith("cpu"):
            break
        # The ninth and tenth field, the time of guests, are part of the first two already.
        ticks = [int(field) for field in fields[:8]]
        idle_and_iowait = ticks[3] + ticks[4]
        times.append(CpuTime(busy=sum(ticks) - idle_and_iowait, total=sum(ticks)))
    return times


def _memory(meminfo: str) -> dict[str, int]:
    sizes = {}
    for line in meminfo.splitlines():
        name, _, size = line.partition(":")
        number, _, unit = size.strip().partition(" ")
        sizes[name] = int(number) * (1024 if unit == "kB" else 1)
    return sizes


def _interfaces(net_dev: str) -> dict[str, Traffic]:
    """All interfaces but the loopback, whose traffic never leaves the host."""
    interfaces = {}
    for line in net_dev.splitlines()[2:]:
        name, _, counters = line.partition(":")
        fields = counters.split()
        if name.strip() != "lo":
            interfaces[name.strip()] = Traffic(received=int(fields[0]), sent=int(fields[8]))
    return interfaces

"""A host's control group, in whichever layout this machine has: it holds the host's processes and their limits."""

import contextlib
import itertools
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from rackhand.errors import UserError
from rackhand.lab.machine import mounts

PARENT = "rackhand-lab"
PERIOD = 100_000  # microseconds: the kernel's own default


@dataclass(frozen=True, kw_only=True)
class Cgroup:
    """The control group `rackhand-lab/NAME` in every hierarchy of this machine."""

    name: str

    @property
    def folders(self) -> list[Path]:
        """Its folder in each hierarchy. Not cpuset of the first version: there a new group takes no process."""
        return [
            mount.point / PARENT / self.name
            for mount in mounts()
            if mount.type in ("cgroup", "cgroup2") and "cpuset" not in mount.options
            if mount.point.is_relative_to("/sys/fs/cgroup")
        ]

    def create(self, *, cpu_quota: float | None, memory: int | None) -> None:
        """Make it anew; cpu_quota in cores, memory in bytes, None for no limit."""
        self.remove()
        for folder in self.folders:
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                raise UserError(
                    f"this machine lets root make no control groups, as an unprivileged container: {error}"
                ) from error
            _delegate(folder.parent.parent)
            _delegate(folder.parent)
        self.limit(cpu_quota=cpu_quota, memory=memory)

    def limit(self, *, cpu_quota: float | None, memory: int | None) -> None:
        """Set the limits where the host itself sees them: the top of what it sees is our group in the first version
        of control groups, and in the second the group `payload` that systemd-nspawn makes in it."""
        for folder in self.folders:
            for top in (folder, folder / "payload"):
                if cpu_quota is not None:
                    quota = str(int(cpu_quota * PERIOD))
                    _write(top / "cpu.cfs_quota_us", quota)
                    _write(top / "cpu.max", f"{quota} {PERIOD}")
                if memory is not None:
                    _write(top / "memory.limit_in_bytes", str(memory))
                    _write(top / "memory.max", str(memory))

    def processes(self) -> list[int]:
        """The ids of the processes in it, the container's supervisor included."""
        tree = os.walk(self.folders[0])  # ignores what vanishes under it
        return [int(pid) for folder, _, _ in tree for pid in _read(Path(folder, "cgroup.procs")).split()]

    def init(self) -> int | None:
        """The process that is number 1 inside the container."""
        # A list that is made while others come has room for as many as there were before, in the first version of
        # control groups, and may lack any (`pidlist_array_load` in the kernel's kernel/cgroup/cgroup-v1.c).
        for pid in itertools.chain.from_iterable(self.processes() for _ in range(3)):
            status = _read(Path("/proc", str(pid), "status"))
            numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
            if len(numbers) == 2 and numbers[1] == "1":
                return pid
        return None

    def of(self, pid: int) -> list[Path]:
        """The group that a process of it is in, in each hierarchy."""
        return [
            Path(group)
            for folder in self.folders
            for group, _, _ in os.walk(folder)
            if str(pid) in _read(Path(group, "cgroup.procs")).split()
        ]

    def kill(self) -> None:
        """Cut the power: with its init the whole container dies. Then the supervisor tidies up after it and ends."""
        if init := self.init():
            _kill(init)
        if not self.empties(within=5):
            for pid in self.processes():
                _kill(pid)
            if not self.empties(within=5):
                raise UserError(f"processes of {self.name} survive SIGKILL: {self.processes()}")

    def empties(self, within: float) -> bool:
        """Wait until no process is left in it, for at most so many seconds."""
        deadline = time.monotonic() + within
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def remove(self) -> None:
        """Remove it, and the parent if this was the last; it must hold no process."""
        for folder in self.folders:
            for below, _, _ in os.walk(folder, topdown=False):
                Path(below).rmdir()
            # Whoever else comes or goes at this moment has made another one in it, or has removed it already.
            with contextlib.suppress(OSError):
                folder.parent.rmdir()


def _delegate(folder: Path) -> None:
    """In the second version a group may limit only what its parents hand down."""
    offered = _read(folder / "cgroup.controllers").split()
    for controller in {"cpu", "memory", "pids"}.intersection(offered):
        _write(folder / "cgroup.subtree_control", f"+{controller}")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process or the group is gone
        return ""


def _write(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

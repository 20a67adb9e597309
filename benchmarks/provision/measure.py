"""Runs a command and says what it took: time, and the processor and memory of its whole process tree."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rackhand.lab.cgroup import Cgroup

#: Seconds after which a command is taken to hang.
TIMEOUT = 7200


class FailedError(Exception):
    """A measured command has failed: nothing that was measured counts."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command as a user types it, with the variables that it needs beside those of the environment."""

    arguments: Sequence[str | Path]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: Path = Path(os.devnull)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a command took on the controller: wall seconds and CPU seconds, to the millisecond, which is how they are
    kept, so that what is kept makes the same page; bytes of memory at the peak."""

    seconds: float
    cpu: float
    memory: int
    output: str = field(repr=False, default="")


def taken(command: Command) -> Taken:
    """Runs a command to its end, in a control group of its own, and whatever it leaves running. Raises FailedError."""
    group = Cgroup(name=f"bench-{os.getpid()}")
    group.create(cpu_quota=None, memory=None)
    try:
        with tempfile.TemporaryFile() as output, command.stdin.open("rb") as stdin:
            started = time.monotonic()
            process = subprocess.Popen(
                command.arguments,
                cwd=command.folder,
                env={**os.environ, "LC_ALL": "C.UTF-8", **command.environment},
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C comes to us alone
                preexec_fn=lambda: _join(group.folders),
            )
            hangs = threading.Timer(TIMEOUT, process.kill)
            hangs.start()
            try:
                _, status = os.waitpid(process.pid, 0)
            finally:
                hangs.cancel()
            seconds = time.monotonic() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            said = output.read().decode(errors="replace")
            if process.returncode != 0:
                shown = " ".join(map(str, command.arguments))
                raise FailedError(f"`{shown}` failed (exit {process.returncode}):\n{said[-6000:]}")
            cpu, memory = _cpu(group.folders), _peak(group.folders)
            return Taken(seconds=round(seconds, 3), cpu=round(cpu, 3), memory=memory, output=said)
    finally:
        _clear(group)


def _join(folders: Sequence[Path]) -> None:
    """In the child, before it becomes the command."""
    for folder in folders:
        (folder / "cgroup.procs").write_text("0")


def _cpu(folders: Sequence[Path]) -> float:
    """Seconds, in whichever layout of control groups this machine has."""
    for folder in folders:
        for line in _read(folder / "cpu.stat").splitlines():
            key, _, value = line.partition(" ")
            if key == "usage_usec":
                return int(value) / 1e6
    return max(int(_read(folder / "cpuacct.usage") or 0) for folder in folders) / 1e9


def _peak(folders: Sequence[Path]) -> int:
    """Bytes; 0 where the kernel keeps no account."""
    files = (folder / name for folder in folders for name in ("memory.peak", "memory.max_usage_in_bytes"))
    return max(int(_read(file) or 0) for file in files)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _clear(group: Cgroup) -> None:
    """Ends whatever is left of the command, such as connections that it keeps open for a next time."""
    while not group.empties(within=0.2):
        for pid in group.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    group.remove()

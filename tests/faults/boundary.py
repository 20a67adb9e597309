"""Boundaries: where an agent can be stopped, which of these differ, and an agent that is being held at one."""

import contextlib
import os
import signal
import time
from pathlib import Path

from rackhand.lab import LabHost
from tests.faults import halt, places
from tests.faults.invariants import inside

#: Seconds between two looks.
POLL = 0.01


def boundaries(passed: str, *, within: bool) -> list[str]:
    """The points at which the host differs from the point before, from what an agent noted of a whole run: the point
    before each step that changes something (which is the one after the last such step: nothing happens between), the
    points `within` those steps if asked for, and the one behind the last."""
    chosen: list[str] = []
    step: list[str] = []
    behind: str | None = None
    for line in passed.splitlines():
        word, _, name = line.partition(" ")
        if word == "changed":
            chosen += step if within else step[:1]
            step, behind = [], None
        elif "data" in name.partition(">")[0]:
            chosen.append(name)  # what arrives changes the host without a step
        elif name.startswith("before "):
            step, behind = [name], behind or name
        else:
            step.append(name)
    return [*chosen, *([behind] if behind else [])]


class Agents:
    """The agents that run on a host, seen and killed from outside."""

    def __init__(self, host: LabHost) -> None:
        self._host = host

    def processes(self) -> list[int]:
        """All their processes."""
        return [pid for pid in self._host.cgroup.processes() if places.AGENT in _command_line(pid)]

    def kill(self) -> None:
        """SIGKILL to all of them at once: none sees another die."""
        found = self.processes()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def gone(self, within: float) -> bool:
        """Waits for all of them to end, at most so many seconds."""
        deadline = time.monotonic() + within
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def reached(host: LabHost) -> bool:
    """Whether the agent waits at its point."""
    return _file(host, halt.REACHED).exists()


def release(host: LabHost) -> None:
    """Lets the agent go on."""
    _file(host, halt.GO).touch()


def passed(host: LabHost) -> str:
    """What the agent has noted."""
    return _file(host, halt.PASSED).read_text()


def clear(host: LabHost) -> None:
    """Makes ready for the next agent, and leaves nothing of the harness on the host."""
    folder = _file(host, halt.FOLDER)
    for name in (halt.PASSED, halt.REACHED, halt.GO):
        (folder / Path(name).name).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def _file(host: LabHost, path: str) -> Path:
    return inside(host) / path.lstrip("/")

"""Put into the agent by the harness, and run on the host: it stops the agent exactly between two steps.

A point has a name, the same in every run of the same scenario: `before KIND:NAME`, `before end`, and inside of a
resource `KIND:NAME > OPERATION NAME`, before that operation. Ids of releases, environments and starts differ from run
to run and are replaced by `ID`; a name that comes again gets a number.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from rackhand.agent import files
from rackhand.agent.system import System

FOLDER = "/run/rackhand-fault"
#: The points passed so far, and which resources changed; where the agent waits; what lets it go on.
PASSED, REACHED, GO = f"{FOLDER}/passed", f"{FOLDER}/reached", f"{FOLDER}/go"

#: Instead of a point: the agent stops nowhere, and its clock is a year ahead.
AHEAD = "clock ahead"
_YEAR = 365 * 24 * 3600.0

_ID = re.compile(r"(?<![0-9a-f])([0-9a-f]{8}\.[0-9a-f]{6}|[0-9a-f]{12,64})(-\d+)?(?![0-9a-f])")
_CHANGING = ("start", "stop", "restart", "reload", "reload-or-restart", "enable", "daemon-reload")


class Halt:
    """Passes one point after the other, and stops at the one it was made for."""

    def __init__(self, point: str) -> None:
        self._point = point
        self._inside: str | None = None
        self._process = 0
        self._seen: Counter[str] = Counter()

    def event(self, event: str, fields: dict[str, Any]) -> None:
        """Before the agent tells of something."""
        self._process = os.getpid()
        if event == "begin":
            self._inside = None
            self._pass(f"before {fields['id']}")
            self._inside = fields["id"]
        elif event == "resource":
            self._inside = None
            self._note(f"changed {plain(fields['id'])}" if fields["status"] == "changed" else "")
        elif event == "need":
            self._pass("before the data is asked for")
            self._inside = "data"
        elif event == "end":
            self._inside = None
            self._pass("before end")

    def operation(self, name: str, target: object) -> None:
        """Before something that changes the host is done, by the process that tells of it: what another one does beside
        it has no place among the points."""
        if self._inside is not None and os.getpid() == self._process:
            self._pass(f"{self._inside} > {name} {os.path.basename(str(target))}")

    def _pass(self, point: str) -> None:
        point = plain(point)
        self._seen[point] += 1
        if self._seen[point] > 1:
            point = f"{point} #{self._seen[point]}"
        self._note(f"point {point}")
        if point != self._point:
            return
        with open(f"{REACHED}.new", "w", encoding="utf-8") as file:
            file.write(point)
        os.rename(f"{REACHED}.new", REACHED)
        while not os.path.exists(GO):
            time.sleep(0.01)

    def _note(self, line: str) -> None:
        if line:
            with open(PASSED, "a", encoding="utf-8") as file:
                file.write(line + "\n")


def plain(text: str) -> str:
    """A name without the ids that differ from run to run."""
    return _ID.sub("ID", text)


def install(point: str, emitter: type, channel: type) -> None:
    """Has all events and all operations that change a host pass by."""
    os.makedirs(FOLDER, exist_ok=True)
    if point == AHEAD:
        clock = time.time
        time.time = lambda: clock() + _YEAR
        return
    halt = Halt(point)
    _before(emitter, "__call__", lambda _, event, **fields: halt.event(event, fields))
    _before(channel, "copy", lambda _, size, path: halt.operation("receive", path))
    _before(os, "rename", lambda old, new, *_, **__: halt.operation("rename", new))
    _before(os, "replace", lambda old, new, *_, **__: halt.operation("replace", new))
    _before(shutil, "rmtree", lambda path, *_, **__: halt.operation("remove", path))
    _before(files, "_exchange", lambda new, path: halt.operation("exchange", path))
    _before(System, "run", lambda _, *argv, **__: _command(halt, argv))


def _command(halt: Halt, argv: tuple[str, ...]) -> None:
    words = [word for word in argv if not word.startswith("-")]
    if words[0] == "systemctl" and words[1] in _CHANGING:
        halt.operation(f"systemctl {words[1]}", words[-1])
    elif words[0] == "sh":
        halt.operation("sh", words[-1])
    elif words[0] == "apt-get":
        halt.operation("apt-get", words[1])
    elif os.path.dirname(words[0]).endswith("/uv"):
        halt.operation("uv", words[1])


def _before(owner: Any, name: str, look: Callable[..., None]) -> None:
    original = getattr(owner, name)

    def looked_at(*arguments: Any, **options: Any) -> Any:
        look(*arguments, **options)
        return original(*arguments, **options)

    setattr(owner, name, looked_at)

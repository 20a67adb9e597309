"""An instance: one release, running under systemd and answering on its own socket."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import ClassVar

from rackhand.agent import files, http, layout
from rackhand.agent.resource import Resource, ResourceError, State
from rackhand.agent.system import CommandError, System

#: Seconds between two looks at an instance that is starting.
POLL = 0.05
#: Seconds after which an answer that is an error, and not 503, is taken as final.
PATIENCE = 1.5
#: How much of an application's log is told when it fails.
LOG_LINES = 40


@dataclass(frozen=True, kw_only=True)
class Instance(Resource):
    """`health` is the path that must answer with a status of 200 to 299, within `timeout` seconds of the start."""

    kind: ClassVar[str] = "instance"

    app: str
    release: str
    health: str
    timeout: int

    @property
    def name(self) -> str:
        return f"{self.app}/{self.release}"

    @property
    def unit(self) -> str:
        return layout.unit(self.app, self.release)

    @property
    def socket(self) -> str:
        return f"{layout.runtime(self.app, self.release)}/app.sock"

    def follows(self) -> tuple[str, ...]:
        return (f"release:{self.name}",)

    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def wanted(self) -> State:
        return {"service": "active", "running": "its release", "health": "ok"}

    def actual(self, system: System) -> State:
        service = "masked" if self._masked(system) else system.unit(self.unit)["ActiveState"]
        if service != "active":
            return {"service": service, "running": None, "health": None}
        return {"service": service, "running": self._running(system), "health": self._health(system)}

    def _masked(self, system: System) -> bool:
        """By its own name: a mask of the template is damage to the unit's file."""
        paths = (system.path(f"{folder}/{self.unit}") for folder in (layout.SYSTEMD, "/run/systemd/system"))
        return any(os.path.islink(path) and os.readlink(path) == "/dev/null" for path in paths)

    def _running(self, system: System) -> str:
        """A release that was repaired by replacing its folder has left the process in the old one."""
        unit = system.unit(self.unit)
        try:
            folder = os.stat(f"/proc/{unit['MainPID']}/cwd")
            code = os.stat(system.path(f"{layout.release(self.app, self.release)}/code"))
        except OSError as error:
            return f"unknown: {error}"
        return "its release" if os.path.samestat(folder, code) else "a folder that was replaced"

    def _health(self, system: System) -> str:
        try:
            status, _ = http.get(system.path(self.socket), self.health)
        except OSError as error:
            return f"no answer: {error}"
        return "ok" if 200 <= status < 300 else f"status {status}"

    def apply(self, system: System, actual: State) -> None:
        release = layout.release(self.app, self.release)
        failed = system.path(f"{release}/{layout.FAILED}")
        if actual["service"] == "masked":
            system.systemctl("unmask", self.unit)
            system.systemctl("unmask", "--runtime", self.unit)
        if actual["service"] == "failed":
            system.systemctl("reset-failed", self.unit)
        since = time.time()
        try:
            system.systemctl("start" if actual["service"] != "active" else "restart", self.unit)
            self._wait(system)
        except (ResourceError, CommandError, OSError) as error:
            log = self._log(system, since)
            self._stop(system)
            if not os.path.exists(system.path(f"{release}/{layout.ACTIVATED}")):
                files.write(failed, f"{error}\n", "root:root", "0644")
            raise ResourceError(str(error), log) from error
        files.remove(failed)

    def _stop(self, system: System) -> None:
        system.systemctl("stop", self.unit)
        if system.unit(self.unit)["ActiveState"] == "failed":
            system.systemctl("reset-failed", self.unit)

    def _wait(self, system: System) -> None:
        deadline = time.monotonic() + self.timeout
        erring_since: float | None = None
        while True:
            health = self._health(system)
            now = time.monotonic()
            if health == "ok":
                return
            if not health.startswith("status") or health == "status 503":
                erring_since = None
            elif erring_since is None:
                erring_since = now
            if now > deadline or erring_since is not None and now > erring_since + PATIENCE:
                raise ResourceError(f"{self.health} on its own socket: {health}")
            system.forget_units()
            unit = system.unit(self.unit)
            if unit["ActiveState"] in ("failed", "inactive") or unit["NRestarts"] != "0":
                raise ResourceError("the application ended instead of starting")
            time.sleep(POLL)

    def _log(self, system: System, since: float) -> tuple[str, ...]:
        """What the application and systemd said since it was started: the first traceback, or else the last lines."""
        output = system.run(
            *("journalctl", "--unit", self.unit, "--since", f"@{int(since)}"),
            *("--output", "json", "--output-fields", "MESSAGE,_PID", "--no-pager", "--quiet"),
        )
        entries = [json.loads(line) for line in output.splitlines()]
        # A message that is not text is given as a list of bytes.
        said = [(entry.get("_PID"), str(entry.get("MESSAGE"))) for entry in entries]
        for position, (process, message) in enumerate(said):
            if message.startswith("Traceback "):
                told = _traceback([text for other, text in said[position:] if other == process])
                # Gunicorn's own, which says that a worker has failed, but not why.
                if not told[-1].startswith("gunicorn.errors.HaltServer"):
                    return tuple(told[-LOG_LINES:])
        return tuple(message for _, message in said[-LOG_LINES:])

    def undo(self, system: System, before: State) -> None:
        if before["service"] != "active":
            system.systemctl("stop", "--no-block", self.unit)


_CHAIN = ("During handling of the above exception", "The above exception was the direct cause")


def _traceback(lines: list[str]) -> list[str]:
    """The lines up to the error that a traceback ends with; one that was raised in handling another follows it. The
    journal keeps no empty lines."""
    for end, line in enumerate(lines[1:], start=2):
        inside = line.startswith((" ", "Traceback ", *_CHAIN))
        if not inside and not "".join(lines[end : end + 1]).startswith(_CHAIN):
            return lines[:end]
    return lines

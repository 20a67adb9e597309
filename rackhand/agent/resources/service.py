"""A systemd service that runs from the files that are there now, and starts at boot."""

from __future__ import annotations

import os
import time
from typing import ClassVar

from rackhand.agent import files, layout, serving
from rackhand.agent.resource import Resource, ResourceError, State
from rackhand.agent.system import CommandError, System

#: Seconds that a service must stay up after it was started: systemd calls most of them active before they have read
#: their configuration.
SETTLE = 1.0
#: States of a unit file that nothing can or need enable.
_BY_ITSELF = ("static", "indirect", "generated", "alias", "transient")


class Service(Resource):
    """`files` are the files and folders that the service reads when it starts; its unit and what is in UNIT.d need not
    be named. It is restarted when one of them was touched, by whomever, since Rackhand last started it."""

    kind: ClassVar[str] = "service"

    unit: str
    files: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.unit

    def follows(self, system: System) -> tuple[str, ...]:
        named = tuple(f"{kind}:{path}" for path in self.files for kind in ("file", "link", "directory"))
        return (*named, f"systemd_unit:{self.unit}")

    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def wanted(self) -> State:
        return {"boot": "enabled", "service": "active", "running": "as its files say"}

    def actual(self, system: System) -> State:
        unit = system.unit(self.unit)
        boot = unit.get("UnitFileState") or None
        noted = files.read_text(system.path(self._note))
        running = "from files that have changed" if noted else None
        if noted == self._read(system) and unit.get("NeedDaemonReload") != "yes":
            running = "as its files say"
        return {
            "boot": "enabled" if boot in _BY_ITSELF else boot,
            "service": unit["ActiveState"],
            "running": running,
        }

    @property
    def _note(self) -> str:
        return f"{layout.SERVICES}/{self.unit}"

    def _read(self, system: System) -> str:
        """A digest of the inodes and change times of all that the service reads, noted for a start: while it is the
        same, every later start has read the same files, after a boot too."""
        import hashlib

        own = f"{layout.SYSTEMD}/{self.unit}"
        lines = []
        for path in (*self.files, own, f"{own}.d"):
            full = system.path(path)
            below = [f"{path}/{name}" for name, _ in files.walk(full)] if os.path.isdir(full) else []
            for each in (path, *below):
                if os.path.lexists(system.path(each)):
                    lines.append(serving.identity(each, os.lstat(system.path(each))))
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()

    def apply(self, system: System, actual: State) -> None:
        read = self._read(system)
        try:
            if system.unit(self.unit).get("NeedDaemonReload") == "yes":
                system.systemctl("daemon-reload")
            if str(actual["boot"]).startswith("masked"):
                system.systemctl("unmask", self.unit)
                system.systemctl("unmask", "--runtime", self.unit)
            if actual["boot"] != "enabled":
                system.systemctl("enable", self.unit)
            if system.unit(self.unit)["ActiveState"] == "failed":
                system.systemctl("reset-failed", self.unit)
            same = actual["running"] == self.wanted()["running"]
            system.systemctl("start" if same else "restart", self.unit)
            self._settle(system)
        except CommandError as error:
            raise ResourceError(str(error), self._log(system)) from error
        os.makedirs(system.path(layout.SERVICES), mode=0o700, exist_ok=True)
        files.write(system.path(self._note), read, "root:root", "0600")

    def _settle(self, system: System) -> None:
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline:
            time.sleep(0.1)
            system.forget_units()
            unit = system.unit(self.unit)
            if unit["ActiveState"] not in ("active", "reloading") or unit.get("NRestarts", "0") != "0":
                raise ResourceError(f"{self.unit} did not stay up", self._log(system))

    def _log(self, system: System) -> tuple[str, ...]:
        output = system.run("journalctl", "--unit", self.unit, "--lines=15", "--output=cat", "--no-pager", "--quiet")
        return tuple(output.splitlines())

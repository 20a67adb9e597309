"""A systemd unit file, known to systemd."""

from __future__ import annotations

import os
from typing import ClassVar

from rackhand.agent.resource import State
from rackhand.agent.resources.file import File
from rackhand.agent.system import System


class SystemdUnit(File):
    """A file and what systemd has read of it: of a template, that is what its loaded instances were made from."""

    kind: ClassVar[str] = "systemd_unit"

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    def units(self) -> tuple[str, ...]:
        return (self.name.replace("@.", "@*."),)

    def wanted(self) -> State:
        return {**super().wanted(), "read by systemd": True}

    def actual(self, system: System) -> State:
        loaded = (unit for pattern in self.units() for unit in system.units(pattern))
        return {**super().actual(system), "read by systemd": all(unit["NeedDaemonReload"] == "no" for unit in loaded)}

    def apply(self, system: System, actual: State) -> None:
        super().apply(system, actual)
        # Of a template without instances systemd knows nothing, and reads the file when it first needs it.
        if any(system.units(pattern) for pattern in self.units()):
            system.systemctl("daemon-reload")

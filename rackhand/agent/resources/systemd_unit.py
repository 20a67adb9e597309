"""A systemd unit file, known to systemd."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from rackhand.agent.resource import State
from rackhand.agent.resources.file import File
from rackhand.agent.system import System


@dataclass(frozen=True, kw_only=True)
class SystemdUnit(File):
    """A file that systemd reads again before it next starts something. A template is only known to systemd through its instances, so
    whether it was read is asked there: see Instance."""

    kind: ClassVar[str] = "systemd_unit"

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    def apply(self, system: System, actual: State) -> None:
        super().apply(system, actual)
        system.unit_files_changed()

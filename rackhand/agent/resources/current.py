"""Which release of an application is current: one link, the only record of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from rackhand.agent import files, layout
from rackhand.agent.resource import Resource, ResourceError, Stage, State
from rackhand.agent.system import System


@dataclass(frozen=True, kw_only=True)
class Current(Resource):
    """Nginx reaches the application's socket through the link, and at boot systemd's generator reads which instance to
    start from it: moving it is the switch."""

    kind: ClassVar[str] = "current"

    app: str
    release: str
    stage: Stage = "switch"

    @property
    def name(self) -> str:
        return self.app

    def references(self) -> tuple[str, ...]:
        return (f"instance:{self.app}/{self.release}",)

    def wanted(self) -> State:
        return {"release": self.release, "recorded": True}

    def actual(self, system: System) -> State:
        try:
            target = os.readlink(system.path(layout.current(self.app)))
        except OSError:
            return {"release": None, "recorded": False}
        release = target.removeprefix("releases/")
        return {"release": release, "recorded": os.path.exists(self._stamp(system))}

    def _stamp(self, system: System) -> str:
        return system.path(f"{layout.release(self.app, self.release)}/{layout.ACTIVATED}")

    def apply(self, system: System, actual: State) -> None:
        path = system.path(layout.current(self.app))
        if os.path.isdir(path) and not os.path.islink(path):
            raise ResourceError(f"{layout.current(self.app)} is a directory: move it away, then run this again")
        if actual["release"] != self.release:
            # The release must survive a power cut that comes after the link names it.
            files.sync_filesystem(os.path.dirname(path))
            files.link(path, f"releases/{self.release}")
        files.write(self._stamp(system), "", "root:root", "0644")

    def undo(self, system: System, before: State) -> None:
        path = system.path(layout.current(self.app))
        if before["release"] is None:
            files.remove(path)
        else:
            files.link(path, f"releases/{before['release']}")
        if before["release"] != self.release:
            files.remove(self._stamp(system))

"""A directory with its owner and mode."""

from __future__ import annotations

import os
import stat
from typing import ClassVar

from rackhand.agent import files
from rackhand.agent.resource import Resource, ResourceError, State
from rackhand.agent.system import System


class Directory(Resource):
    kind: ClassVar[str] = "directory"

    path: str
    owner: str = "root:root"
    mode: str = "0755"

    @property
    def name(self) -> str:
        return self.path

    def wanted(self) -> State:
        return {"type": "directory", "owner": self.owner, "mode": self.mode}

    def actual(self, system: System) -> State:
        try:
            status = os.lstat(system.path(self.path))
        except FileNotFoundError:
            return {"type": None}
        kind = "directory" if stat.S_ISDIR(status.st_mode) else "other"
        return {"type": kind, "owner": files.owner(status), "mode": files.mode(status)}

    def apply(self, system: System, actual: State) -> None:
        path = system.path(self.path)
        if actual["type"] == "other":
            raise ResourceError(f"{self.path} is there, and is not a directory: move it away, then run this again")
        os.makedirs(path, exist_ok=True)
        os.chown(path, *files.ids(self.owner))
        os.chmod(path, int(self.mode, 8))

"""A symbolic link."""

from __future__ import annotations

import os
from typing import ClassVar

from rackhand.agent import files
from rackhand.agent.resource import Resource, ResourceError, State
from rackhand.agent.system import System


class Link(Resource):
    """Makes the folders that lead to it."""

    kind: ClassVar[str] = "link"

    path: str
    target: str

    @property
    def name(self) -> str:
        return self.path

    def wanted(self) -> State:
        return {"target": self.target}

    def actual(self, system: System) -> State:
        try:
            return {"target": os.readlink(system.path(self.path))}
        except OSError:
            return {"target": None}

    def apply(self, system: System, actual: State) -> None:
        path = system.path(self.path)
        if os.path.isdir(path) and not os.path.islink(path):
            raise ResourceError(f"{self.path} is a directory: move it away, then run this again")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        files.link(path, self.target)

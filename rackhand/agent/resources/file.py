"""A file with its content, owner and mode."""

from __future__ import annotations

import os
from typing import ClassVar

from rackhand.agent import files
from rackhand.agent.resource import Resource, ResourceError, State
from rackhand.agent.system import CommandError, System


class File(Resource):
    """Replaced in one step. `validate` is a command that must accept the new content, at the path put in place of the
    argument `{}`, before it replaces anything."""

    kind: ClassVar[str] = "file"

    path: str
    content: str
    owner: str = "root:root"
    mode: str = "0644"
    validate: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path

    def wanted(self) -> State:
        return {"content": self.content, "owner": self.owner, "mode": self.mode}

    def actual(self, system: System) -> State:
        path = system.path(self.path)
        content = files.read_text(path)
        if content is None:
            return {"content": None}
        status = os.lstat(path)
        return {"content": content, "owner": files.owner(status), "mode": files.mode(status)}

    def apply(self, system: System, actual: State) -> None:
        path = system.path(self.path)
        if os.path.isdir(path) and not os.path.islink(path):
            raise ResourceError(f"{self.path} is a directory: move it away, then run this again")
        coming = files.prepare(path, self.content, self.owner, self.mode)
        try:
            if self.validate:
                system.run(*(coming if argument == "{}" else argument for argument in self.validate))
            os.replace(coming, path)
        except CommandError as error:
            raise ResourceError(f"the new content is not valid, and {self.path} was left as it was: {error}") from error
        finally:
            files.remove(coming)
        files.sync_folder(path)

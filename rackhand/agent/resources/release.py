"""A release: everything that an instance is made of, in one folder that never changes."""

from __future__ import annotations

import os
import stat
from typing import ClassVar

from rackhand.agent import files, layout
from rackhand.agent.resource import Resource, ResourceError, State
from rackhand.agent.system import System


class Release(Resource):
    """Named by a digest of all that is in it. `code` lists the code's files and `archive` is the digest of the tar file
    that carries them; `files` are (name, content, mode), readable by `group` where the mode says so; `links` are (name,
    target). `public` are folders of the code that anybody on the host may read, as nginx does."""

    kind: ClassVar[str] = "release"
    secret: ClassVar[frozenset[str]] = frozenset({"env"})

    app: str
    release: str
    group: str
    code: str
    archive: str
    files: tuple[tuple[str, str, str], ...]
    links: tuple[tuple[str, str], ...]
    public: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.app}/{self.release}"

    @property
    def path(self) -> str:
        return layout.release(self.app, self.release)

    def references(self) -> tuple[str, ...]:
        return (f"user:{self.group}",)

    def blobs(self, system: System) -> tuple[str, ...]:
        return (self.archive,)

    def wanted(self) -> State:
        return {
            "release": self.release,
            "code": self.code,
            **{name: content for name, content, _ in self.files},
            **{name: f"-> {target}" for name, target in self.links},
            "access": f"root:{self.group}, read-only",
        }

    def actual(self, system: System) -> State:
        path = system.path(self.path)
        if os.path.isdir(path):
            return {"release": self.release, **self._contents(path)}
        # What changes is told against the release that serves now.
        current = system.path(f"{layout.current(self.app)}/release")
        return {"release": None, **(self._contents(current) if os.path.isdir(current) else {})}

    def _contents(self, path: str) -> State:
        code = os.path.join(path, "code")
        if not os.path.isdir(code):
            return {}
        state: dict[str, object] = {"code": files.listing(files.entries(code)), "access": self._access(path)}
        for name, _, _ in self.files:
            state[name] = files.read_text(os.path.join(path, name))
        for name, _ in self.links:
            full = os.path.join(path, name)
            state[name] = f"-> {os.readlink(full)}" if os.path.islink(full) else None
        return state

    def _access(self, path: str) -> str:
        """The expected words, or the first path with another owner or mode."""
        modes = {name: mode for name, _, mode in self.files}
        own = os.lstat(path)
        if (files.owner(own), files.mode(own)) != ("root:root", "0755"):
            return f"{self.release} is {files.owner(own)} {files.mode(own)}"
        for name, status in [("code", os.lstat(os.path.join(path, "code"))), *files.walk(path)]:
            if stat.S_ISLNK(status.st_mode) or name not in modes and not name.startswith("code"):
                continue
            group = "root" if modes.get(name) == "0600" else self.group
            mode = modes.get(name) or f"{self._mode(name[5:], status):04o}"
            if files.owner(status) != f"root:{group}" or files.mode(status) != mode:
                return f"{name} is {files.owner(status)} {files.mode(status)}"
        return f"root:{self.group}, read-only"

    def _mode(self, path: str, status: os.stat_result) -> int:
        """Of a folder or file of the code, by its path there."""
        folder = stat.S_ISDIR(status.st_mode)
        mode = 0o750 if folder or status.st_mode & 0o100 else 0o640
        if any(f"{path}/".startswith(f"{public}/") for public in self.public):
            return mode | (mode & 0o050) >> 3
        on_the_way = folder and any(f"{public}/".startswith(f"{path}/") or not path for public in self.public)
        return mode | 0o001 if on_the_way else mode

    def apply(self, system: System, actual: State) -> None:
        import tarfile

        path = system.path(self.path)
        parent, release = os.path.split(path)
        partial = os.path.join(parent, f".{release}.partial")
        files.remove(partial)
        os.makedirs(os.path.join(partial, "code"))
        code = os.path.join(partial, "code")
        with tarfile.open(system.blob(self.archive)) as archive:
            archive.extractall(code)  # noqa: S202  # made by the controller; its files are listed and compared below
        uid, gid = files.ids(f"root:{self.group}")
        for name, status in [("", os.lstat(code)), *files.walk(code)]:
            full = os.path.join(code, name)
            os.lchown(full, uid, gid)
            # Not the time in the archive, which is always the same: web servers take it for the file's version.
            os.utime(full, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                os.chmod(full, self._mode(name, status))
        if files.listing(files.entries(code)) != self.code:
            raise ResourceError("the code that arrived is not the code that was sent: run this again")
        for name, content, mode in self.files:
            group = "root" if mode == "0600" else self.group
            files.write(os.path.join(partial, name), content, f"root:{group}", mode)
        for name, target in self.links:
            os.symlink(target, os.path.join(partial, name))
        os.chmod(partial, 0o755)
        # A repaired release keeps its place in the history.
        stamp = os.path.join(path, layout.ACTIVATED)
        if os.path.exists(stamp):
            os.link(stamp, os.path.join(partial, layout.ACTIVATED))
        files.put_folder(partial, path)

"""A virtual environment, made whole beside its place and then moved there."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import ClassVar

from rackhand.agent import files, layout
from rackhand.agent.resource import Resource, ResourceError, State
from rackhand.agent.system import CommandError, System

PYTHON = "/usr/bin/python3"
MANIFEST = ".rackhand"
_COMPLETE = "complete"
#: Seconds for all packages of an environment.
INSTALL_TIMEOUT = 1800
#: Debian's package ca-certificates makes it.
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True, kw_only=True)
class Virtualenv(Resource):
    """`key` is a digest of the requirements and of the interpreter, so that releases with the same dependencies share
    it; `uv` is the digest of the gzipped uv program."""

    kind: ClassVar[str] = "virtualenv"
    begins_early: ClassVar[bool] = True

    key: str
    requirements: str
    uv: str

    @property
    def name(self) -> str:
        return self.key

    @property
    def deadline(self) -> int:
        return INSTALL_TIMEOUT + 300

    def blobs(self, system: System) -> tuple[str, ...]:
        return () if os.path.exists(self._uv(system)) else (self.uv,)

    def _uv(self, system: System) -> str:
        return system.path(f"{layout.UV}/{self.uv[:16]}")

    def wanted(self) -> State:
        return {"packages": _COMPLETE}

    def actual(self, system: System) -> State:
        return {"packages": _state(system.path(layout.venv(self.key)))}

    def begin(self, system: System) -> None:
        # Without a network and certificates there is nothing to begin with.
        if os.path.exists(_CERTIFICATES) and self.actual(system) != self.wanted():
            # What has to be built may find in apt's packages what to build with: it has its turn after them. In an
            # environment that has nothing yet, no build succeeds.
            self._make(system, "--no-build-isolation")

    def apply(self, system: System, actual: State) -> None:
        if _state(self._partial(system)) != _COMPLETE:
            self._make(system)
        files.put_folder(self._partial(system), system.path(layout.venv(self.key)))

    def _partial(self, system: System) -> str:
        return system.path(f"{layout.VENVS}/.{self.key}.partial")

    def _make(self, system: System, *options: str) -> None:
        """Beside its place, and whole when the manifest is there."""
        partial = self._partial(system)
        requirements = f"{partial}.txt"
        files.remove(partial)
        uv = self._install_uv(system)
        environment = {
            "UV_CACHE_DIR": system.path("/var/cache/rackhand/uv"),
            "UV_LINK_MODE": "copy",
            "UV_SYSTEM_CERTS": "1",
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
        }
        try:
            files.write(requirements, self.requirements, "root:root", "0600")
            system.run(uv, "venv", "--quiet", "--relocatable", "--python", PYTHON, partial, env=environment, tied=True)
            system.run(
                *(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", f"{partial}/bin/python"),
                *("--requirements", requirements, *options),
                timeout=INSTALL_TIMEOUT,
                env=environment,
                tied=True,
            )
        except CommandError as error:
            files.remove(partial)
            lines = tuple(error.output.strip().splitlines()[-40:])
            raise ResourceError("the dependencies could not be installed", lines) from error
        finally:
            files.remove(requirements)
        with open(os.path.join(partial, MANIFEST), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(_manifest(partial))

    def _install_uv(self, system: System) -> str:
        path = self._uv(system)
        if not os.path.exists(path):
            import gzip
            import shutil

            os.makedirs(os.path.dirname(path), exist_ok=True)
            for other in os.scandir(os.path.dirname(path)):
                files.remove(other.path)
            temporary = files.beside(path)
            with gzip.open(system.blob(self.uv)) as packed, open(temporary, "wb") as file:
                shutil.copyfileobj(packed, file, 2**20)
                os.fchmod(file.fileno(), 0o755)
            os.replace(temporary, path)
        return path


def _state(path: str) -> str | None:
    """Whether an environment is there, and as it was made."""
    manifest = files.read_text(os.path.join(path, MANIFEST))
    if manifest is None:
        return None
    found = _manifest(path)
    if found == manifest:
        return _COMPLETE
    differing = set(found.splitlines()) ^ set(manifest.splitlines())
    return f"damaged: {min(line.rpartition(' ')[2] for line in differing)}"


def _manifest(path: str) -> str:
    """A line for everything in the environment: what a change of a file by hand would change."""
    lines = []
    for name, status in files.walk(path):
        if name != MANIFEST:
            # A folder's size and time tell nothing that its entries do not.
            size, time = (0, 0) if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
            lines.append(f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {size} {time} {name}")
    return "\n".join(lines)

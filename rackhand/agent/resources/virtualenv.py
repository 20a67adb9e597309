"""A virtual environment, made whole beside its place and then moved there."""

from __future__ import annotations

import os
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

    def questions(self, system: System) -> tuple[tuple[str, ...], ...]:
        path = self._path(system)
        return (_entries(path),) if os.path.isdir(path) else ()

    def wanted(self) -> State:
        return {"packages": _COMPLETE}

    def actual(self, system: System) -> State:
        path = self._path(system)
        manifest = files.read_text(os.path.join(path, MANIFEST))
        if manifest is None:
            return {"packages": None}
        found = _manifest(system, path)
        if found == manifest:
            return {"packages": _COMPLETE}
        differing = set(found.split("\n")) ^ set(manifest.split("\n"))
        return {"packages": f"damaged: {min(line.rpartition(' ')[2] for line in differing)}"}

    def _path(self, system: System) -> str:
        return system.path(layout.venv(self.key))

    def begin(self, system: System) -> None:
        if os.path.exists(_CERTIFICATES) and self.actual(system) != self.wanted():
            # What is built with tools may need some that apt installs: without isolation it looks for them in the
            # environment, which has nothing yet, and fails. To forbid builds would have other versions chosen.
            self._make(system, "--no-build-isolation")

    def abandon(self, system: System) -> None:
        partial = self._partial(system)
        for path in (partial, f"{partial}.txt"):
            files.remove(path)

    def apply(self, system: System, actual: State) -> None:
        partial = self._partial(system)
        if not os.path.exists(self._made(system)):
            self._make(system)
        os.rename(self._made(system), os.path.join(partial, MANIFEST))
        files.put_folder(partial, self._path(system))

    def _partial(self, system: System) -> str:
        return system.path(f"{layout.VENVS}/.{self.key}.partial")

    def _made(self, system: System) -> str:
        """Where its manifest is before it is moved, when this run has made it whole."""
        return os.path.join(self._partial(system), f"{MANIFEST}.{system.run_id}")

    def _make(self, system: System, *options: str) -> None:
        self.abandon(system)
        partial = self._partial(system)
        requirements = f"{partial}.txt"
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
        manifest = _manifest(system, partial)
        with open(self._made(system), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(manifest)

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


def _manifest(system: System, path: str) -> str:
    """A line for everything in the environment: what a change of a file by hand would change."""
    lines = system.run(*_entries(path)).split("\n")
    return "\n".join(sorted(line for line in lines if line and line.rpartition(" ")[2] != MANIFEST))


def _entries(path: str) -> tuple[str, ...]:
    """Of a folder, its size and time tell nothing that its entries do not."""
    folder, other = "%y %m %U:%G %P\\n", "%y %m %U:%G %s %T@ %P\\n"
    return ("find", path, "-mindepth", "1", "-type", "d", "-printf", folder, "-o", "-printf", other)

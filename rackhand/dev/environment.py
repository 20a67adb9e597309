"""The environment that an application runs in while it is written: as on a host, in the cache folder."""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rackhand.bundle import ASGI_WORKERS, read_requirements, uv_program, with_server
from rackhand.errors import UserError
from rackhand.protocol import protocol
from rackhand.settings import App
from rackhand.uv import cache_folder
from roles.serving import worker_for

#: What reloads besides. Of an ASGI application: Uvicorn's own look at the files misses an edit that follows another one
#: within a quarter of a second. Of a WSGI application, whose server it is too: Flask brings it along, and says which
#: versions will do.
_RELOADERS = {True: "watchfiles", False: "werkzeug"}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an application needs: the protocol that it speaks, and the text of all requirements."""

    asgi: bool
    requirements: str

    @property
    def folder(self) -> Path:
        """Shared, as on hosts, by all that need the same packages for the same interpreter."""
        interpreter = f"{platform.python_version()} {platform.machine()}"
        key = hashlib.sha256(f"{interpreter}\n{self.requirements}".encode()).hexdigest()[:16]
        return cache_folder() / "dev" / key


def needs(app: App) -> Needs:
    """Raises UserError."""
    own = read_requirements(app.name, app.path)
    worker = worker_for(app, own, protocol(app.path, app.app))
    asgi = worker in ASGI_WORKERS
    return Needs(asgi=asgi, requirements=f"{with_server(own, worker)}{_RELOADERS[asgi]}\n")


def make(app: App, needed: Needs) -> None:
    """Makes the environment whole beside its place, and moves it there. Raises UserError when it cannot be."""
    folder = needed.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        listed = Path(temporary) / "requirements.txt"
        listed.write_text(needed.requirements, encoding="utf-8")
        python = made / "bin" / "python"
        for command in (
            ("venv", "--quiet", "--relocatable", "--python", sys.executable, str(made)),
            ("pip", "install", "--quiet", "--python", str(python), "--requirements", str(listed)),
        ):
            done = subprocess.run(
                # In the application's folder, where what its requirements refer to lies.
                (uv_program(), *command),
                cwd=app.path,
                env={**os.environ, "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise UserError(
                    f"{app.path}: the dependencies of {app.name} could not be installed:\n{done.stderr.strip()}"
                )
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # somebody else has made the same meanwhile
                raise

"""What of an application is sent to hosts: its code as one archive, and its requirements."""

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rackhand.agent import files
from rackhand.errors import UserError
from rackhand.protocol import Protocol, protocol

#: Never part of a release: what tools leave behind, and what must not leave the controller.
IGNORED = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".venv", "venv", ".env", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
    | {".tox", ".idea", ".vscode", ".DS_Store", "node_modules"}
)

#: What Rackhand adds to an application's requirements, by what serves it; a package that the application's own
#: requirements name is left to them.
SERVER_REQUIREMENTS = {
    "gunicorn": ("gunicorn==27.0.1", "packaging==26.3"),
    "uvicorn": (
        *("uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", "websockets==17.4"),
        *("h11==0.16.0", "click==8.5.1"),
    ),
    "uvicorn worker": ("uvicorn-worker==0.4.0",),
    "adapter": ("a2wsgi==1.10.10",),
}


#: The kinds of workers that speak ASGI; the others speak WSGI.
ASGI_WORKERS = frozenset({"uvicorn", "asgi"})


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """`code` lists the code's files with their digests; `archive` is the digest of the tar file in `data`."""

    code: str
    archive: str
    requirements: str
    data: bytes = field(repr=False)
    #: What objects of the code speak, as far as its source tells.
    protocols: Mapping[str, Protocol] = field(default_factory=dict)


def bundle(name: str, folder: Path, objects: Iterable[str] = ()) -> Bundle:
    """Packs the folder of an application. The same content gives the same bytes. Of these objects it is to say what
    they speak. Raises UserError."""
    buffer = io.BytesIO()
    entries: list[files.Entry] = []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, full in _walk(folder):
            info = tarfile.TarInfo(path)
            if full.is_symlink():
                target = os.readlink(full)
                if target.startswith("/") or not full.resolve().is_relative_to(folder.resolve()):
                    raise UserError(
                        f"{full}: a link that leads out of the application {name}, to {target}: copy the file there"
                    )
                info.type, info.linkname = tarfile.SYMTYPE, target
                archive.addfile(info)
                entries.append((path, "link", target))
            elif full.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
                entries.append((path, "folder", ""))
            elif full.is_file():
                data = full.read_bytes()
                program = bool(full.stat().st_mode & 0o100)
                info.size, info.mode = len(data), 0o755 if program else 0o644
                archive.addfile(info, io.BytesIO(data))
                entries.append((path, "program" if program else "file", hashlib.sha256(data).hexdigest()))
            else:
                raise UserError(f"{full}: neither a file, a folder nor a link: it cannot be deployed")
    data = buffer.getvalue()
    return Bundle(
        code=files.listing(entries),
        archive=hashlib.sha256(data).hexdigest(),
        requirements=read_requirements(name, folder),
        data=data,
        protocols={app: speaks for app in objects if (speaks := protocol(folder, app)) is not None},
    )


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.iterdir()):
        if path.name in IGNORED or path.suffix == ".pyc":
            continue
        yield path.name, path
        if path.is_dir() and not path.is_symlink():
            for inner, full in _walk(path):
                yield f"{path.name}/{inner}", full


def read_requirements(name: str, folder: Path) -> str:
    """The application's requirements as one text: of requirements.txt, or of pyproject.toml and its lock file. Raises
    UserError."""
    listed = folder / "requirements.txt"
    if listed.is_file():
        return listed.read_text(encoding="utf-8")
    if (folder / "pyproject.toml").is_file():
        if not (folder / "uv.lock").is_file():
            raise UserError(f"{folder}/pyproject.toml: has no lock file beside it: run `uv lock` there")
        command = (
            uv_program(),
            "export",
            "--frozen",
            "--quiet",
            "--no-dev",
            "--no-emit-project",
            "--project",
            str(folder),
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise UserError(f"{folder}/uv.lock: {done.stderr.strip()}")
        return done.stdout
    raise UserError(f"{folder}: the application {name} has neither requirements.txt nor pyproject.toml with uv.lock")


def uv_program() -> str:
    """The uv of Rackhand's own environment."""
    return os.path.join(os.path.dirname(sys.executable), "uv")


def names(requirements: str) -> frozenset[str]:
    """The packages that a requirements text names, in their normal form."""
    found = re.findall(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirements, re.MULTILINE)
    return frozenset(re.sub(r"[-_.]+", "-", name).lower() for name in found)


def with_server(requirements: str, worker: str, server: str = "gunicorn") -> str:
    """The requirements with those of the application server added."""
    asgi = worker in ASGI_WORKERS
    kinds: tuple[str, ...]
    if server == "uvicorn":
        kinds = ("uvicorn",) if asgi else ("uvicorn", "adapter")
    else:
        kinds = ("gunicorn", "uvicorn", "uvicorn worker") if asgi else ("gunicorn",)
    own = names(requirements)
    added = [pin for kind in kinds for pin in SERVER_REQUIREMENTS[kind] if pin.partition("==")[0] not in own]
    return requirements.rstrip("\n") + "\n" + "".join(f"{pin}\n" for pin in added)

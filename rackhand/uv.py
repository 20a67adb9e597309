"""The uv that the controller brings along to hosts, packed once and kept in the cache folder."""

import gzip
import hashlib
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from rackhand.bundle import uv_program
from rackhand.errors import UserError

#: What the package index calls the platform of an architecture.
_PLATFORMS = {"x86_64": "manylinux_2_17_x86_64", "aarch64": "manylinux_2_28_aarch64"}


@dataclass(frozen=True, kw_only=True)
class PackedUv:
    """A gzipped uv program and its digest."""

    digest: str
    path: Path

    def mapped(self) -> mmap.mmap:
        """It, in memory once, however many hosts it is sent to at the same time."""
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rackhand"


@cache
def packed(architecture: str) -> PackedUv:
    """The uv for hosts of this architecture, of the version in Rackhand's own environment. Raises UserError."""
    folder = cache_folder() / "uv"
    stem = f"{version('uv')}-{architecture}"
    digest_file = folder / f"{stem}.sha256"
    path = folder / f"{stem}.gz"
    if not (digest_file.exists() and path.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            program = _program(architecture, Path(temporary))
            packing = Path(temporary) / "uv.gz"
            # No name and no time in it, so that every controller packs the same bytes.
            with (
                open(program, "rb") as source,
                open(packing, "wb") as raw,
                gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as file,
            ):
                shutil.copyfileobj(source, file, 2**20)
            digest = hashlib.sha256(packing.read_bytes()).hexdigest()
            packing.replace(path)
            (Path(temporary) / "digest").write_text(digest, encoding="ascii")
            (Path(temporary) / "digest").replace(digest_file)
    return PackedUv(digest=digest_file.read_text(encoding="ascii"), path=path)


def _program(architecture: str, temporary: Path) -> Path:
    """Rackhand's own uv, or one downloaded for hosts of another architecture than the controller's."""
    if architecture == os.uname().machine:
        return Path(uv_program())
    if architecture not in _PLATFORMS:
        raise UserError(f"there is no uv for {architecture} hosts: Rackhand knows {', '.join(_PLATFORMS)}")
    command = (
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
        *("--platform", _PLATFORMS[architecture], "--dest", str(temporary), f"uv=={version('uv')}"),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise UserError(f"uv for {architecture} could not be downloaded: {done.stderr.strip()}")
    (wheel,) = temporary.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith("/scripts/uv"))
        return Path(archive.extract(member, temporary))

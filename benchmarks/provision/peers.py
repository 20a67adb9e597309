"""The peers' environments: each from a lock file of its own, in a cache folder, made when it is missing or outdated."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rackhand.bundle import uv_program
from rackhand.errors import UserError
from rackhand.lab.machine import cache, locked

HERE = Path(__file__).parent


def lock_file(peer: str) -> Path:
    """What is installed for `ansible` or `pyinfra`."""
    return HERE / f"requirements-{peer}.lock"


def environment(peer: str) -> Path:
    """The folder of the peer's environment. PYTHON names its interpreter, else it is Rackhand's own: peers may support
    only newer ones in their newest version. Raises UserError."""
    python = os.environ.get("PYTHON") or sys.executable
    folder = cache().parent / "peers" / peer
    wanted = f"{_version(python)}\n{lock_file(peer).read_text()}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent):
        made = folder / "made-from"
        if not made.exists() or made.read_text() != wanted:
            print(f"making the environment of {peer}, once", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--quiet", "--python", python, str(folder))
            _uv(
                *("pip", "install", "--quiet", "--require-hashes", "--compile-bytecode"),
                *("--python", str(folder / "bin" / "python"), "--requirements", str(lock_file(peer))),
            )
            made.write_text(wanted)  # last: an environment without it is half-made
    return folder


def version(peer: str, package: str) -> str:
    """Which version of a package the peer's environment has, and of Python."""
    (info,) = environment(peer).glob(f"lib/python*/site-packages/{package.replace('-', '_')}-*.dist-info")
    found = re.search(r"-([^-]+)\.dist-info$", info.name)
    assert found is not None
    return f"{package} {found[1]} on Python {info.parent.parent.name.removeprefix('python')}"


def _version(python: str) -> str:
    done = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"PYTHON={python}: does not run: {done.stderr.strip()}")
    return done.stdout.strip()


def _uv(*arguments: str) -> None:
    done = subprocess.run([uv_program(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"`uv {' '.join(arguments)}` failed: {done.stderr.strip()}")

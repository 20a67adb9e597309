"""`./invoke` before there is an environment: one clear line for what it cannot do by itself."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from rackhand import PROJECT


@pytest.fixture
def clone() -> Iterator[Path]:
    """A folder with what the bootstrap needs, which another user may enter."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for file in ("invoke", "requirements.lock"):
            shutil.copy(PROJECT / file, folder / file)
        yield folder


def python(clone: Path, script: str) -> str:
    """A stand-in for an interpreter of another age or make."""
    path = clone / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def bootstrap(clone: Path, interpreter: str, user: int | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [clone / "invoke", "--list"],
        env={**os.environ, "PYTHON": interpreter},
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=user,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_no_python(clone: Path) -> None:
    """What is missing and the command that installs it."""
    code, said = bootstrap(clone, "no-such-python")
    assert (code, said.count("\n")) == (5, 1)
    assert "no-such-python is missing: install Python 3.11 or later" in said


def test_old_python(clone: Path) -> None:
    """Which version is needed and which is there."""
    old = python(clone, 'case "$*" in *platform*) echo 3.9.2;; *version_info*) exit 1;; esac')
    code, said = bootstrap(clone, old)
    assert (code, said.count("\n")) == (5, 1)
    assert "needs Python 3.11 or later" in said
    assert "is 3.9.2" in said


def test_without_root_nothing_is_installed(clone: Path) -> None:
    """A missing system package is named, and apt is not called."""
    bare = python(clone, 'case "$*" in *ensurepip*) exit 1;; *version_info*) exit 0;; *) touch "$0.called";; esac')
    code, said = bootstrap(clone, bare, user=65534)
    assert (code, said.count("\n")) == (5, 1)
    assert "the package python3-venv is missing: install it as root (apt-get install python3-venv)" in said
    assert not (clone / ".venv").exists()

"""Everything that CI checks."""

import shutil
import subprocess
import sys
from pathlib import Path

from rackhand import PROJECT
from rackhand.bundle import uv_program

#: Files of tests run two at once, each with a lab of its own: much of a test on a host is waiting.
SIDE_BY_SIDE = ("--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder")

_LOCK = PROJECT / "requirements-dev.lock"


def run(only: str | None) -> int:
    """Format, lint, types and tests, up to the first that fails; with `only`, the tests of that folder or expression
    alone. Returns the exit code."""
    _install_tools()
    python = (sys.executable, "-m")
    tests = (*python, "pytest", *([only] if only else SIDE_BY_SIDE))
    checks = [
        (*python, "ruff", "format", "--check", "--quiet", "."),
        (*python, "ruff", "check", "--quiet", "."),
        (*python, "mypy"),
    ]
    for check in [tests] if only else [*checks, tests]:
        print("+", *check[2:], flush=True)
        code = subprocess.run(check, cwd=PROJECT, check=False).returncode
        if code:
            return code
    return 0


def _install_tools() -> None:
    """The tools' own lock file is installed when it has changed."""
    installed = Path(sys.prefix) / _LOCK.name
    if installed.exists() and installed.read_bytes() == _LOCK.read_bytes():
        return
    subprocess.run(
        (uv_program(), "pip", "install", "--quiet", "--require-hashes", "--python", sys.executable, "-r", str(_LOCK)),
        check=True,
    )
    shutil.copy(_LOCK, installed)

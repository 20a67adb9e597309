"""Everything that CI checks."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
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
        code = _to_its_end(check)
        if code:
            return code
    return 0


def _to_its_end(check: Sequence[str]) -> int:
    """The exit code of a check. An interrupt is passed on, once, and waited for: tests have hosts to remove."""
    # In a group of its own, or the terminal would interrupt it as well, in the middle of its removing them.
    with subprocess.Popen(check, cwd=PROJECT, stdin=subprocess.DEVNULL, process_group=0) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.terminate()
            while child.poll() is None:
                with contextlib.suppress(KeyboardInterrupt):
                    child.wait()
            raise


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

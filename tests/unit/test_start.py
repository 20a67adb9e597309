"""How a command starts and ends, whatever it does between."""

import subprocess
import sys

import pytest

from rackhand import PROJECT

_INTERRUPTED = """
import os, signal
{before}
from rackhand import start
os.kill(os.getpid(), signal.SIGINT)
print("goes on", flush=True)
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("before", "outcome"),
    [("", (99, "", "interrupted\n")), ("signal.signal(signal.SIGINT, signal.SIG_IGN)", (0, "goes on\n", ""))],
)
def test_ctrl_c_before_anything_has_begun(before: str, outcome: tuple[int, str, str]) -> None:
    """One line and the exit code, and no traceback; nothing where it is ignored."""
    done = python(_INTERRUPTED.format(before=before))
    assert (done.returncode, done.stdout, done.stderr) == outcome


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["no-such-command"], 5)])
def test_nothing_runs_after_the_end(arguments: list[str], code: int) -> None:
    """Python would end threads one by one, and one that loads a library in Rust then takes the process down."""
    done = python(
        "import atexit, sys; from rackhand import start\n"
        f"atexit.register(print, 'late'); sys.argv = ['invoke', *{arguments}]; start.main()"
    )
    assert done.returncode == code, done
    assert "late" not in done.stdout
    assert done.stdout if code == 0 else done.stderr

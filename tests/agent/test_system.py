"""The commands that the agent runs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CODE = """
import sys
from rackhand.agent.system import System
System().run("sh", "-c", "echo $$ > " + sys.argv[1] + "; exec sleep 60", tied=sys.argv[2] == "tied")
"""


@pytest.mark.parametrize("tied", ["tied", ""])
def test_a_tied_command_ends_with_the_agent(tmp_path: Path, tied: str) -> None:
    """However that ends. Others go on."""
    noted = tmp_path / "pid"
    agent = subprocess.Popen([sys.executable, "-c", CODE, noted, tied])
    deadline = time.monotonic() + 30
    while not noted.exists() or not noted.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    command = int(noted.read_text())
    agent.kill()
    agent.wait()
    try:
        assert ends(command, within=10 if tied else 0.5) == bool(tied)
    finally:
        if not tied:
            os.kill(command, signal.SIGKILL)


def ends(pid: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":  # who has adopted it has not heard of it yet
            return True
        time.sleep(0.02)
    return False

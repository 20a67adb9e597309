"""The commands that the agent runs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rackhand.agent.system import CommandError, System
from tests.agent.waiting import until

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
    until(lambda: noted.exists() and noted.read_text().endswith("\n"))
    command = int(noted.read_text())
    agent.kill()
    agent.wait()
    try:
        assert ends(command, within=10 if tied else 0.5) == bool(tied)
    finally:
        if not tied:
            os.kill(command, signal.SIGKILL)


def test_what_was_begun_is_not_run_again(tmp_path: Path) -> None:
    """And what comes of it is told to whoever asks for it, once."""
    command = ("sh", "-c", f"echo run >> {tmp_path}/runs; wc -l < {tmp_path}/runs; exit 3")
    system = System()
    system.begin(*command)
    for count in ("1", "2"):
        with pytest.raises(CommandError) as failure:
            system.run(*command)
        assert (failure.value.code, failure.value.output.strip()) == (3, count)


def test_what_was_begun_goes_on_though_nobody_hears_it(tmp_path: Path) -> None:
    """As far as a listing of a large environment, say, is long."""
    system, ended = System(), tmp_path / "ended"
    command = ("sh", "-c", f"head --bytes 900000 /dev/zero; touch {ended}")
    system.begin(*command)
    until(ended.exists)
    assert len(system.run(*command)) == 900000


def test_what_was_begun_and_is_left_ends() -> None:
    """It leaves no process behind."""
    system = System()
    system.begin("sleep", "60")
    (child,) = children()
    system.leave()
    assert children() == []
    assert not Path(f"/proc/{child}").exists()


def test_a_program_that_is_missing_is_told_when_it_is_needed() -> None:
    """Whether or not it was begun with before."""
    system = System()
    system.begin("no-such-program")
    with pytest.raises(CommandError, match="no-such-program is not installed"):
        system.run("no-such-program")


def test_a_command_that_takes_too_long_is_ended() -> None:
    """What it has said until then is kept."""
    with pytest.raises(CommandError, match="took too long: begun") as failure:
        System().run("sh", "-c", "echo begun; exec sleep 60", timeout=0.5)
    assert failure.value.code is None
    assert children() == []


def children() -> list[str]:
    return Path("/proc/thread-self/children").read_text().split()


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

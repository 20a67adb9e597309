"""A command of a test that is watched while it runs."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

import pytest

from rackhand import PROJECT
from tests.lab.site import TIMEOUT, Result, Site


class Running:
    """A command in a process group of its own, as a terminal makes it, whose events are read as they come."""

    def __init__(
        self,
        site: Site,
        host: str,
        *options: str,
        command: str = "deploy",
        program: Sequence[str] = (str(PROJECT / "invoke"),),
    ) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*program, command, "--host", host, "--json", *options],
            env={**os.environ, "RACKHAND_INVENTORY": str(site.inventory)},
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._guard = threading.Timer(TIMEOUT, self.process.kill)
        self._guard.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.cancel()
        self.process.kill()
        self.process.communicate()

    def until(self, name: str, fits: Callable[[dict[str, Any]], bool] = lambda event: True) -> dict[str, Any]:
        """The next event that fits."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            (event,) = Result(0, line, "").events
            if event["event"] == name and fits(event):
                return event
        pytest.fail(f"the run ended without {name}: {''.join(self.lines)} {self.end().err}")

    def interrupt(self, by: signal.Signals = signal.SIGINT) -> None:
        """Ctrl-C: the signal goes to the whole group."""
        os.killpg(self.process.pid, by)

    def end(self) -> Result:
        # Not communicate(): lines that were read ahead, behind the last event that was waited for, would be lost.
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.lines += self.process.stdout
        err = self.process.stderr.read()
        return Result(self.process.wait(), "".join(self.lines), err)

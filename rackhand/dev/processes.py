"""The processes of applications under development: what they print, and their end."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: Seconds for a program to end after an interrupt.
_GRACE = 5.0
#: Seconds for what it has printed last to arrive.
_LAST_WORDS = 1.0


class Process:
    """A program with all that it starts, in a session of its own, so that a terminal's Ctrl-C does not reach it past
    us. `say` is given each line that any of them prints. To be made while an event loop runs."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._say = say
        self._popen = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    async def run(self) -> int:
        """Until the program has ended, or this is cancelled: then it is interrupted, and has a few seconds; cancelled
        once more, none. What it leaves behind is killed. Returns its exit code."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        handle = os.pidfd_open(self._popen.pid)
        loop.add_reader(handle, ended.set)
        printing = asyncio.create_task(self._print())
        try:
            await ended.wait()
        except asyncio.CancelledError:
            self._signal(signal.SIGINT)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _GRACE)
            raise
        finally:
            # Its number is nobody else's yet: it is waited for after this.
            self._signal(signal.SIGKILL)
            code = self._popen.wait()
            loop.remove_reader(handle)
            os.close(handle)
            # Who has left the session may hold the other end for as long as he likes.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(printing, _LAST_WORDS)
        return code

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)

    async def _print(self) -> None:
        reader = asyncio.StreamReader()
        assert self._popen.stdout is not None
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._popen.stdout
        )
        rest = b""
        while piece := await reader.read(2**16):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._say(line.decode(errors="replace"))
        if rest:
            self._say(rest.decode(errors="replace"))

"""The agent on this machine (`ansible_connection: local`)."""

import os
import select
import subprocess
from typing import IO

from rackhand import payload
from rackhand.settings import ConnectionSettings
from rackhand.transport import FAREWELL, START, Lost, Stream
from rackhand.transport.sudo import Sudo


class LocalStream:
    """A program on this machine."""

    def __init__(self, command: str) -> None:
        # In a session of its own, so that Ctrl-C reaches the controller alone, which then asks the agent to stop.
        self._process = subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._patience = START

    def patience(self, seconds: float) -> None:
        self._patience = seconds

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            view = memoryview(data)
            while view:
                view = view[self._process.stdin.write(view) or 0 :]
        except BrokenPipeError as error:
            raise Lost("the agent ended early") from error

    def receive(self) -> bytes:
        assert self._process.stdout is not None
        return self._read(self._process.stdout)

    def receive_error(self) -> bytes:
        assert self._process.stderr is not None
        return self._read(self._process.stderr)

    def _read(self, pipe: IO[bytes]) -> bytes:
        if not select.select([pipe], [], [], self._patience)[0]:
            raise Lost(f"the agent said nothing for {self._patience:.0f} s")
        return os.read(pipe.fileno(), 2**16)

    def finish(self) -> tuple[int, str]:
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        said = b""
        while select.select([self._process.stderr], [], [], FAREWELL)[0] and (more := self._process.stderr.read(2**16)):
            said += more
        try:
            code = self._process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            code = -1
        return code, said.decode(errors="replace")

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def open_local(settings: ConnectionSettings, *, install_python: bool, terminal: bool) -> Stream:
    command = payload.command(install_python=install_python, interpreter=settings.python_interpreter)
    if os.geteuid() == 0 or not settings.become:
        return LocalStream(command)
    sudo = Sudo(settings)
    stream = LocalStream(sudo.wrap(command, terminal=terminal))
    sudo.authenticate(stream)
    return stream

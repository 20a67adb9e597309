"""The agent on this machine (`ansible_connection: local`)."""

import os
import subprocess

from rackhand import payload
from rackhand.settings import ConnectionSettings
from rackhand.transport import Lost, Stream
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
        return os.read(self._process.stdout.fileno(), 2**16)

    def receive_error(self) -> bytes:
        assert self._process.stderr is not None
        return os.read(self._process.stderr.fileno(), 2**16)

    def finish(self) -> tuple[int, str]:
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        said = self._process.stderr.read().decode(errors="replace")
        return self._process.wait(), said

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

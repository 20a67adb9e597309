"""The one part that knows SSH: opens a channel to the agent on a host."""

import importlib
import threading
from collections.abc import Callable
from typing import Protocol

from rackhand import payload
from rackhand.settings import ConnectionSettings

#: Called, from any thread, once the host itself has greeted, and no mere jump host: it is up, and at work from then on.
Greeted = Callable[[], object]

#: Seconds that a program, or sudo before it, may take for its first word.
START = 60.0

#: Seconds that a program may take to end once nothing more is sent to it and its output has ended.
FAREWELL = 10


class Unreachable(Exception):
    """No channel to the host's agent: one line that says why and what to do."""


class KeyRefused(Unreachable):
    """The host's key, or that of a jump host, is not known, or is another one than is known."""

    def __init__(self, message: str, *, changed: bool) -> None:
        super().__init__(message)
        self.changed = changed


class NoTerminal(Unreachable):
    """The host's sudo wants a terminal."""


class Lost(Exception):
    """The channel broke while the agent was at work."""


class Stream(Protocol):
    """A running program's input and output."""

    def send(self, data: bytes) -> None:
        """Raises Lost."""

    def receive(self) -> bytes:
        """The next output, b"" at its end. Raises Lost."""

    def patience(self, seconds: float) -> None:
        """From now on it is Lost when it has been silent for so long. At first these are START seconds."""

    def finish(self) -> tuple[int, str]:
        """The exit code and what was written to the error stream, once the output has ended."""

    def close(self) -> None: ...


def open_agent(
    settings: ConnectionSettings, greeted: Greeted, *, install_python: bool, terminal: bool = False
) -> Stream:
    """Connects and starts the agent, with a terminal for sudo if it must be. Raises Unreachable."""
    if settings.kind == "local":
        from rackhand.transport.local import open_local

        greeted()
        return open_local(settings, install_python=install_python, terminal=terminal)
    # Fabric takes longer to import than a host to be dialled.
    threading.Thread(target=_load, daemon=True).start()
    from rackhand.transport.endpoint import dial, endpoint

    where = endpoint(settings)
    dialled = dial(where)
    from rackhand.transport.ssh import open_ssh

    return open_ssh(settings, where, dialled, greeted, install_python=install_python, terminal=terminal)


def _load() -> None:
    importlib.import_module("rackhand.transport.ssh")
    payload.packed()

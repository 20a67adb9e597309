"""The channel to the controller, both directions of which may break, or fall silent for ever."""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

#: Seconds without a byte after which a controller that owes data counts as gone.
SILENCE = 60.0
#: Seconds after which a controller that takes no more events counts as gone.
PATIENCE = 5.0


class Channel:
    """Lines and data from the controller, read without buffering past what is asked for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self._cancelled = False
        #: Whether the controller has closed the channel.
        self.closed = False

    def line(self, within: float | None = None) -> Any:
        """The next message but for those that ask to stop, or None when the controller has closed the channel. Raises
        ConnectionError when nothing comes within so many seconds."""
        while True:
            while b"\n" not in self._buffer:
                chunk = self._read(2**16, within)
                if not chunk:
                    return None
                self._buffer += chunk
            line, _, self._buffer = self._buffer.partition(b"\n")
            message = json.loads(line)
            if "cancel" not in message:
                return message
            self._cancelled = True

    def copy(self, size: int, path: str) -> None:
        """Writes the next `size` bytes to a file. Raises ConnectionError."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            while size:
                chunk = self._buffer[:size] or self._read(min(size, 2**20), SILENCE)
                if not chunk:
                    raise ConnectionError("the controller went away before all data had arrived")
                self._buffer = self._buffer[len(chunk) :] if self._buffer else b""
                file.write(chunk)
                size -= len(chunk)

    def cancelled(self, within: float = 0) -> bool:
        """Whether the controller has asked to stop, or does so within so many seconds. One that went away has not: the
        run goes on without it."""
        deadline = time.monotonic() + within
        while not self.closed and not self._asks_to_stop():
            if not self._ready(max(deadline - time.monotonic(), 0)):
                break
            self._buffer += self._read(2**16, None)
        return self._asks_to_stop()

    def heard(self, within: float) -> bool:
        """Whether the controller says within so many seconds that it knows how the run ended."""
        try:
            while (message := self.line(within)) is not None:
                if "heard" in message:
                    return True
        except ConnectionError:
            pass
        return False

    def unconfirmed(self) -> str | None:
        """Why the controller could not confirm what was changed, if it has said so."""
        self.cancelled()
        while b"\n" in self._buffer:
            message = self.line()
            if "unconfirmed" in message:
                return str(message["unconfirmed"])
        return None

    def _asks_to_stop(self) -> bool:
        return self._cancelled or b'"cancel"' in self._buffer

    def _ready(self, within: float | None) -> bool:
        return bool(select.select([self._descriptor], [], [], within)[0])

    def _read(self, size: int, within: float | None) -> bytes:
        """What has come, or b"" once the channel is closed."""
        if not self._ready(within):
            raise ConnectionError(f"the controller went away: it has sent nothing for {within:.0f} s")
        try:
            chunk = os.read(self._descriptor, size)
        except OSError:
            chunk = b""
        self.closed = not chunk
        return chunk


def write(descriptor: int, data: bytes) -> None:
    """Writes all of it. Raises OSError when the channel is broken, or takes nothing for so long that whoever should
    read it must be gone: a dead connection that nobody has noticed yet must not hold up the run."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    view = memoryview(data)
    while view:
        if not poll.poll(PATIENCE * 1000):
            raise TimeoutError("the controller takes no more")
        # Where there is room at all there is room for so much: this never blocks.
        view = view[os.write(descriptor, view[: select.PIPE_BUF]) :]

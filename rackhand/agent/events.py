"""Events: what a run reports, one JSON object a line. The one place where secrets are taken out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from typing import IO, Any

MASK = "********"


class Emitter:
    """Writes events to the channel and, once there is a run, to its journal on the host. A broken channel does not
    stop the run: the journal goes on."""

    def __init__(self, channel: int) -> None:
        self._channel: int | None = channel
        self._journal: IO[bytes] | None = None
        self._secrets: tuple[str, ...] = ()
        self._started = time.monotonic()

    def hide(self, secrets: Iterable[str]) -> None:
        """Values that must appear in no event, the longest first, so that none shows a part of another."""
        self._secrets = tuple(sorted((secret for secret in secrets if secret), key=len, reverse=True))

    def journal(self, path: str) -> None:
        self._journal = open(  # noqa: SIM115  # stays open as long as the process
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0
        )

    def __call__(self, event: str, **fields: Any) -> None:
        message = {"event": event, "t": round(time.monotonic() - self._started, 4), **self._hidden(fields)}
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if self._journal is not None:
            self._journal.write(line)
        if self._channel is not None:
            try:
                _write(self._channel, line)
            except OSError:
                self._channel = None

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, MASK)
            return value
        if isinstance(value, dict):
            return {key: self._hidden(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._hidden(item) for item in value]
        return value


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

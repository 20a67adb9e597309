"""Events: what a run reports, one JSON object a line. The one place where secrets are taken out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
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
        """Values that must appear in no event."""
        self._secrets = tuple(secret for secret in secrets if secret)

    def journal(self, path: str) -> None:
        self._journal = open(  # noqa: SIM115  # stays open as long as the process
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0
        )

    def __call__(self, event: str, **fields: Any) -> None:
        message = {"event": event, "t": round(time.monotonic() - self._started, 4), **self._hidden(fields)}
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if self._journal is not None:
            try:
                self._journal.write(line)
            except OSError:  # a full disk
                self._journal = None
        if self._channel is not None:
            try:
                _write(self._channel, line)
            except OSError:
                self._channel = None

    def _masked(self, text: str) -> str:
        """Secrets may overlap: what any of them covers is hidden."""
        parts, shown = [], 0
        for start, end in sorted(span for secret in self._secrets for span in _occurrences(text, secret)):
            if start >= shown:
                parts += [text[shown:start], MASK]
            shown = max(shown, end)
        return "".join([*parts, text[shown:]])

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._masked(value)
        if isinstance(value, dict):
            return {key: self._hidden(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._hidden(item) for item in value]
        return value


def _occurrences(text: str, secret: str) -> Iterator[tuple[int, int]]:
    start = text.find(secret)
    while start >= 0:
        yield start, start + len(secret)
        start = text.find(secret, start + 1)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

"""Events: what a run reports, one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

from rackhand.agent.channel import write
from rackhand.agent.redaction import OWN_WORDS, Redaction


class Emitter:
    """Writes events to the channel and, once there is a run that may change the host, to its journal there. A broken
    channel does not stop the run: the journal goes on."""

    def __init__(self, channel: int) -> None:
        self._channel: int | None = channel
        self._journal: IO[bytes] | None = None
        self._hidden = Redaction()
        self._started = time.monotonic()
        self._run: dict[str, str] = {}
        self._log: Callable[[Mapping[str, Any]], None] | None = None

    def name(self, run: str) -> None:
        """From now on every event says which run it belongs to."""
        self._run = {"run": run}

    def log(self, tell: Callable[[Mapping[str, Any]], None]) -> None:
        """Hands every event from now on, without its secrets, to the host's own log too."""
        self._log = tell

    def hide(self, secrets: Iterable[str]) -> None:
        """Values that must appear in no event."""
        self._hidden = Redaction(secrets, OWN_WORDS)

    def journal(self, path: str) -> None:
        self._journal = open(  # noqa: SIM115  # stays open as long as the process
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0
        )

    def __call__(self, event: str, **fields: Any) -> None:
        t = round(time.monotonic() - self._started, 4)
        message = {"event": event, **self._run, "t": t, **self._hidden(fields)}
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if self._journal is not None:
            try:
                if self._journal.write(line) != len(line):
                    self._journal = None
            except OSError:  # a full disk
                self._journal = None
        if self._log is not None:
            self._log(message)
        if self._channel is not None:
            try:
                write(self._channel, line)
            except OSError:
                self._channel = None

    @property
    def alone(self) -> bool:
        """Whether nobody takes the events any more."""
        return self._channel is None

    def sync(self) -> None:
        """Has the journal on disk when it returns."""
        if self._journal is not None:
            with contextlib.suppress(OSError):
                os.fdatasync(self._journal.fileno())

"""Every event as one line of JSON, and nothing else; the last line is the recap."""

from __future__ import annotations

import json
from typing import TextIO

from rackhand.output.stream import write_line
from rackhand.report import Event, Report


class JsonLines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._report = Report()

    def handle(self, event: Event) -> None:
        self._report = self._report.after(event)
        self._write(event)
        if event["event"] == "done":
            self._write(self._recap())

    def _recap(self) -> Event:
        hosts = {
            name: {
                **host.counts(),
                "outcome": host.outcome,
                "reason": host.reason,
                "state": self._report.standing(name),
                "seconds": host.seconds,
            }
            for name, host in self._report.hosts.items()
        }
        return {"event": "recap", "run": self._report.run, "hosts": hosts, "exit_code": self._report.exit_code}

    def _write(self, event: Event) -> None:
        write_line(self._stream, json.dumps(event, separators=(",", ":")))

    def close(self) -> None:
        """There is nothing to put back."""

"""Plain lines, for files, pipes and CI."""

from __future__ import annotations

from typing import TextIO

from rackhand.output.printable import printable
from rackhand.output.stream import write_line
from rackhand.output.words import Line, told
from rackhand.report import Event, Report


class Plain:
    def __init__(self, stream: TextIO, *, diff: bool) -> None:
        self._stream = stream
        self._diff = diff
        self._report = Report()

    def handle(self, event: Event) -> None:
        event = {key: printable(value) for key, value in event.items()}
        self._report = self._report.after(event)
        for line in told(event, self._report, diff=self._diff, width=self._width()):
            self._show(line)

    def _width(self) -> int | None:
        """Columns to make do with; lines in a file may be of any length."""
        return None

    def _show(self, line: Line) -> None:
        write_line(self._stream, "".join(text for text, _ in line))

    def close(self) -> None:
        """There is nothing to put back."""

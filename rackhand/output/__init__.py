"""Output: shows the events of a run as moving rows on a terminal, as plain lines elsewhere, or as JSON."""

from __future__ import annotations

import io
import os
import sys
from typing import Protocol, TextIO

from rackhand.report import Event

__all__ = ["Renderer", "choose"]


class Renderer(Protocol):
    """Is handed the events of one run, in order and from one thread."""

    def handle(self, event: Event) -> None: ...

    def close(self) -> None:
        """Leaves the terminal as it was. Safe to call at any time, and twice."""


def choose(*, json: bool, diff: bool, stream: TextIO | None = None) -> Renderer:
    """The renderer that suits the stream, standard output unless said. `diff` shows changes key by key."""
    stream = stream or sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        # What a terminal's encoding lacks must not end a run.
        stream.reconfigure(errors="backslashreplace")
    if json:
        from rackhand.output.json_lines import JsonLines

        return JsonLines(stream)
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("CI"):
        # The only place that imports rich: a run that ends in half a second notices.
        from rackhand.output.live import Live

        return Live(stream, diff=diff)
    from rackhand.output.plain import Plain

    return Plain(stream, diff=diff)

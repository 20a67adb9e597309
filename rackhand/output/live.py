"""A terminal: one moving row for each host, and above the rows what changed and what failed."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TextIO

from rich import live
from rich.console import Console
from rich.text import Text
from rich.theme import Theme

from rackhand.output.plain import Plain
from rackhand.output.stream import may_be_gone
from rackhand.output.words import Line, Tone, duration
from rackhand.report import IDLE, Event, HostReport

_THEME = Theme(
    {
        "ok": "green",
        "changed": "yellow",
        "failed": "bold red",
        "quiet": "dim",
        "added": "green",
        "removed": "red",
    }
)
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
#: Seconds between two pictures.
_TICK = 0.12
#: Columns below which a row leaves out what can be read elsewhere.
_NARROW = 75


class Live(Plain):
    """Plain's lines in colour, above the rows. Text from hosts is never read as markup."""

    def __init__(self, stream: TextIO, *, diff: bool) -> None:
        super().__init__(stream, diff=diff)
        self._console = Console(file=stream, theme=_THEME)
        self._heard = time.monotonic()
        self._live = live.Live(get_renderable=self._rows, console=self._console, auto_refresh=False, transient=True)
        # Drawing costs milliseconds. A thread does it a few times a second, however fast events come in.
        self._drawing = threading.Thread(target=self._draw, daemon=True)
        self._pending: deque[Line] = deque()
        self._closed = threading.Event()

    def handle(self, event: Event) -> None:
        if event["event"] == "still":  # the rows say that all the time
            return
        if event["event"] == "done":
            self.close()
        super().handle(event)
        self._heard = time.monotonic()
        if event["event"] == "run":
            with may_be_gone(self._stream):
                self._live.start()
            self._drawing.start()
        if event["event"] == "done":
            self._print(at_words=True)

    def _width(self) -> int:
        return self._console.width

    def _show(self, line: Line) -> None:
        self._pending.append(line)

    def close(self) -> None:
        if self._drawing.is_alive():
            self._closed.set()
            self._drawing.join()
            self._print()
        with may_be_gone(self._stream):
            self._live.stop()

    def _draw(self) -> None:
        while not self._closed.wait(_TICK):
            if self._pending:
                self._print()
            else:
                with may_be_gone(self._stream):
                    self._live.refresh()

    def _print(self, *, at_words: bool = False) -> None:
        """Prints the lines that have come in; the rows below them are drawn anew with that. Long lines are broken
        by the terminal, so that they can be copied, or between words, so that they can be read."""
        lines = [self._pending.popleft() for _ in range(len(self._pending))]
        if lines:
            text = Text("\n").join(Text.assemble(*line) for line in lines)
            with may_be_gone(self._stream):
                self._console.print(text, soft_wrap=not at_words)

    def _rows(self) -> Text:
        """Half of the terminal at most is rows; hosts at work come first, then those in trouble."""
        hosts = list(self._report.hosts.items())
        room = max(self._console.height // 2 - 1, 1)
        if len(hosts) > room:
            hosts.sort(key=lambda item: _urgency(item[1]))
        shown, hidden = hosts[:room], hosts[room:]
        # A terminal shows Ctrl-C as ^C behind the last row: where that does not fit, the rows go astray.
        width = self._console.width - len("^C^C") - 1
        names = min(max((len(name) for name, _ in shown), default=0), width // 4)
        now = self._report.seconds + time.monotonic() - self._heard
        rows = [_row(name, host, now, names, width) for name, host in shown]
        if hidden:
            ended = sum(host.outcome is not None for _, host in hidden)
            more = f"   +{len(hidden)} more, {ended} of them ended"
            rows.append(_cell(more, width, "quiet"))
        return Text("\n", no_wrap=True).join(rows)


def _row(name: str, host: HostReport, now: float, names: int, width: int) -> Text:
    """Mark, name, phase or outcome, what the host is at or why it failed, how far it is, how long it took."""
    at_work = _at_work(host)
    tone: Tone = "" if host.outcome is None else "ok" if host.outcome == "ok" else "failed"
    mark = _SPINNER[int(now / _TICK) % len(_SPINNER)] if at_work else {"ok": "✓", "failed": "✗"}.get(tone, "")
    doing = (host.step or host.behind) if host.outcome is None else host.reason
    took = (now if host.ended is None else host.ended) - host.began
    left = [_cell(mark, 1, tone), _cell(name, names), _cell(host.outcome or host.phase, 11, tone)]
    right = [_cell(f"{host.done}/{host.resources}" if host.resources else "", 7)]
    if width >= _NARROW:
        right.append(_cell(f"{host.changed} changed" if host.changed else "", 11, "changed"))
    right.append(_cell(duration(took) if at_work or host.outcome else "", 8, "quiet"))
    gaps = 2 * (len(left) + len(right))
    rest = width - gaps - sum(cell.cell_len for cell in (*left, *right))
    return Text("  ").join([*left, _cell(doing or "", max(rest, 0), "quiet"), *right])


def _cell(text: str, width: int, tone: Tone = "") -> Text:
    cell = Text(text.replace("\n", " ").replace("\t", " "), tone)
    cell.truncate(width, overflow="ellipsis", pad=True)
    return cell


def _at_work(host: HostReport) -> bool:
    return host.outcome is None and host.phase not in IDLE


def _urgency(host: HostReport) -> int:
    if _at_work(host):
        return 0
    return 2 if host.outcome in (None, "ok") else 1

"""A terminal: one moving row for each host, and above them what changed and what failed."""

from __future__ import annotations

import time
from typing import TextIO

from rich import live
from rich.console import Console, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from rackhand.output.plain import Plain
from rackhand.output.words import Line, duration
from rackhand.report import Event, HostReport

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
#: Columns below which a row leaves out what can be read elsewhere.
_NARROW = 80


class Live(Plain):
    """Plain's lines in colour, above the rows. Text from hosts is never read as markup."""

    def __init__(self, stream: TextIO, *, diff: bool) -> None:
        super().__init__(stream, diff=diff)
        self._console = Console(file=stream, theme=_THEME, markup=False, emoji=False, highlight=False)
        self._spinner = Spinner("dots")
        self._heard = time.monotonic()
        self._live = live.Live(
            get_renderable=self._rows, console=self._console, refresh_per_second=8, transient=True
        )

    def handle(self, event: Event) -> None:
        if event["event"] == "done":
            self.close()
        super().handle(event)
        self._heard = time.monotonic()
        if event["event"] == "run":
            self._live.start()

    def _show(self, line: Line) -> None:
        self._console.print(Text.assemble(*line), soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _rows(self) -> Table:
        """Not more rows than the terminal has: hosts at work come first, then those in trouble."""
        wide = self._console.width >= _NARROW
        table = Table.grid(expand=True, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(width=1)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=self._console.width // 4)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(no_wrap=True, justify="right")
        if wide:
            table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, justify="right", min_width=6)
        hosts = list(self._report.hosts.items())
        room = max(self._console.height - 2, 1)
        if len(hosts) > room:
            hosts.sort(key=lambda item: _urgency(item[1]))
        now = self._report.seconds + time.monotonic() - self._heard
        for name, host in hosts[:room]:
            cells = self._cells(name, host, now)
            table.add_row(*(cells if wide else (*cells[:5], cells[6])))
        if hosts[room:]:
            ended = sum(host.outcome is not None for _, host in hosts[room:])
            table.add_row("", Text(f"+{len(hosts) - room} more", "quiet"), Text(f"{ended} ended", "quiet"))
        return table

    def _cells(self, name: str, host: HostReport, now: float) -> tuple[RenderableType, ...]:
        at_work = host.outcome is None and host.phase != "waiting"
        tone = "" if host.outcome is None else "ok" if host.outcome == "ok" else "failed"
        took = duration((now if at_work else host.ended or 0) - host.began) if host.phase != "waiting" else ""
        mark = Text({"": " ", "ok": "✓", "failed": "✗"}[tone], tone)
        doing = host.step if host.outcome is None else host.reason
        return (
            self._spinner if at_work else mark,
            Text(name),
            Text(host.outcome or host.phase, tone),
            Text((doing or "").partition("\n")[0], "quiet"),
            Text(f"{host.done}/{host.resources}" if host.resources else ""),
            Text(f"{host.changed} changed" if host.changed else "", "changed"),
            Text(took, "quiet"),
        )


def _urgency(host: HostReport) -> tuple[int, float]:
    if host.outcome is None and host.phase != "waiting":
        return 0, host.began
    if host.outcome not in (None, "ok"):
        return 1, host.began
    return 2, host.began

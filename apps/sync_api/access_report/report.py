"""From a log to a report, in memory that does not grow with the log."""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Generic, TypeVar

from access_report.filters import Filters
from access_report.log import Entry, blocks, files, is_newest_first, parse

MOST_KEYS = 10_000
"""Routes, and paths, that are counted each by itself. Someone who asks for ever new paths shall not fill the memory."""
OTHERS = "(others)"
NO_PATH = "(no valid request)"

SWITCHING_PROTOCOLS = 101

Row = TypeVar("Row")


class Rows(dict[str, Row], Generic[Row]):
    """Makes a row for each new key; once there are MOST_KEYS, all new keys share one."""

    def __init__(self, make: Callable[[], Row]) -> None:
        self._make = make

    def __missing__(self, key: str) -> Row:
        if len(self) >= MOST_KEYS:
            return self.setdefault(OTHERS, self._make())
        row = self[key] = self._make()
        return row


@dataclass(kw_only=True)
class Traffic:
    """Requests by status, and the bytes of their answers' bodies."""

    statuses: Counter[int] = field(default_factory=Counter)
    bytes: int = 0

    @property
    def requests(self) -> int:
        return self.statuses.total()

    @property
    def server_errors(self) -> int:
        return sum(number for status, number in self.statuses.items() if status >= 500)


@dataclass(kw_only=True)
class Timing:
    """How long the requests of a path took, in seconds."""

    requests: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    @property
    def mean(self) -> float:
        return self.seconds / self.requests


@dataclass(kw_only=True)
class Report:
    """All that is known, neither sorted nor cut."""

    filters: Filters
    complete: bool = True
    """False when there was no time to read all of it: what is older than `first` is missing."""
    skipped: list[str] = field(default_factory=list)
    """Rotated files that could not be read to their end, and why."""
    lines: int = 0
    broken_lines: int = 0
    first: int | None = None
    last: int | None = None
    """Seconds since 1970, as all times in here."""
    routes: Rows[Traffic] = field(default_factory=lambda: Rows(Traffic))
    hours: dict[int, Traffic] = field(default_factory=dict)
    """By the second that the hour begins with."""
    paths: Rows[Timing] = field(default_factory=lambda: Rows(Timing))

    def add_lines(self, lines: list[bytes], since: float) -> int | None:
        """Counts those that the filters let through. Returns the time of the first that could be understood."""
        first = None
        for line in filter(None, lines):
            self.lines += 1
            entry = parse(line)
            if entry is None:
                self.broken_lines += 1
                continue
            if first is None:
                first = entry.at
            if entry.at >= since and self.filters.covers(entry.path):
                self._add(entry)
        return first

    def _add(self, entry: Entry) -> None:
        at, path, status, size, seconds = entry
        hour = at - at % 3600
        if hour not in self.hours:
            self.hours[hour] = Traffic()
        for traffic in (self.hours[hour], self.routes[NO_PATH if path is None else self._route_of(path)]):
            traffic.statuses[status] += 1
            traffic.bytes += size
        if self.first is None or at < self.first:
            self.first = at
        if self.last is None or at > self.last:
            self.last = at
        # How long a WebSocket was open says nothing about how fast it is.
        if path is not None and seconds is not None and status != SWITCHING_PROTOCOLS:
            timing = self.paths[path]
            timing.requests += 1
            timing.seconds += seconds
            if seconds > timing.slowest:
                timing.slowest = seconds

    def _route_of(self, path: str) -> str:
        """The first segment, which is what nginx routes by; below the route that was asked for, one segment more."""
        depth = 1 if self.filters.route is None else self.filters.route.rstrip("/").count("/") + 1
        return "/".join(path.split("/", depth + 1)[: depth + 1])

    def total(self) -> Traffic:
        total = Traffic()
        for traffic in self.hours.values():
            total.statuses.update(traffic.statuses)
            total.bytes += traffic.bytes
        return total

    def busiest_routes(self) -> list[tuple[str, Traffic]]:
        return sorted(self.routes.items(), key=lambda row: (-row[1].requests, row[0]))[: self.filters.top]

    def slowest_paths(self) -> list[tuple[str, Timing]]:
        """By the mean, so that one slow answer among thousands does not lead. Empty when the log has no times."""
        return sorted(self.paths.items(), key=lambda row: (-row[1].mean, row[0]))[: self.filters.top]

    def hours_in_order(self) -> list[tuple[datetime, Traffic]]:
        return [(moment(at), traffic) for at, traffic in sorted(self.hours.items())]

    def last_hours(self, number: int) -> list[tuple[datetime, Traffic]]:
        """The end of the report hour by hour, with those in which nothing happened."""
        if not self.hours:
            return []
        last = max(self.hours)
        first = max(min(self.hours), last - (number - 1) * 3600)
        return [(moment(at), self.hours.get(at, Traffic())) for at in range(first, last + 1, 3600)]


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def make_report(log: Path, filters: Filters, *, seconds: float) -> Report:
    """Reads the newest first, for at most `seconds`, and stops where the log gets older than `filters.since`.

    Raises OSError when the log itself cannot be read; what is wrong with rotated files is in the report.
    """
    report = Report(filters=filters)
    since = -math.inf if filters.since is None else filters.since.timestamp()
    deadline = time.monotonic() + seconds
    for file in files(log, include_rotated=filters.include_rotated):
        try:
            if file.stat().st_mtime < since:
                continue
            for lines in blocks(file):
                oldest = report.add_lines(lines, since)
                if oldest is not None and oldest < since and is_newest_first(file):
                    break
                if time.monotonic() > deadline:
                    report.complete = False
                    return report
        except OSError as error:
            if file == log:
                raise
            report.skipped.append(f"{file.name}: {error.strerror or error}")
    return report

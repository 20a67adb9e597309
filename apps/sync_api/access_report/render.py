"""A report as JSON and as CSV."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from access_report.filters import Table
from access_report.report import Report, Timing, Traffic, moment


def as_json(report: Report) -> dict[str, Any]:
    total = report.total()
    return {
        "filters": {
            "since": report.filters.since.isoformat() if report.filters.since else None,
            "route": report.filters.route,
            "top": report.filters.top,
            "include_rotated": report.filters.include_rotated,
        },
        "log": {
            "complete": report.complete,
            "lines": report.lines,
            "broken_lines": report.broken_lines,
            "skipped_files": report.skipped,
        },
        "first": None if report.first is None else moment(report.first).isoformat(),
        "last": None if report.last is None else moment(report.last).isoformat(),
        "total": _traffic(total),
        "routes": [{"route": route, **_traffic(traffic)} for route, traffic in report.busiest_routes()],
        "slowest_paths": [{"path": path, **_timing(timing)} for path, timing in report.slowest_paths()],
        "hours": [{"hour": hour.isoformat(), **_traffic(traffic)} for hour, traffic in report.hours_in_order()],
    }


def _traffic(traffic: Traffic) -> dict[str, Any]:
    return {
        "requests": traffic.requests,
        "bytes": traffic.bytes,
        "statuses": {str(status): number for status, number in sorted(traffic.statuses.items())},
    }


def _timing(timing: Timing) -> dict[str, Any]:
    return {
        "requests": timing.requests,
        "mean_seconds": round(timing.mean, 4),
        "slowest_seconds": timing.slowest,
    }


def as_csv(report: Report, table: Table) -> str:
    """One table, with a heading.

    What comes from the log starts with a slash, and our own names with a bracket: no spreadsheet takes them for a
    formula.
    """
    text = io.StringIO()
    csv.writer(text).writerows(_ROWS[table](report))
    return text.getvalue()


def _route_rows(report: Report) -> Iterator[Iterable[object]]:
    yield "route", "status", "requests"
    for route, traffic in report.busiest_routes():
        for status, number in sorted(traffic.statuses.items()):
            yield route, status, number


def _path_rows(report: Report) -> Iterator[Iterable[object]]:
    yield "path", "requests", "mean_seconds", "slowest_seconds"
    for path, timing in report.slowest_paths():
        yield path, *_timing(timing).values()


def _hour_rows(report: Report) -> Iterator[Iterable[object]]:
    yield "hour", "requests", "server_errors", "bytes"
    for hour, traffic in report.hours_in_order():
        yield hour.isoformat(), traffic.requests, traffic.server_errors, traffic.bytes


_ROWS = {"routes": _route_rows, "paths": _path_rows, "hours": _hour_rows}

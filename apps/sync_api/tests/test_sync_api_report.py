import gzip
import os
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from access_report import log, report
from access_report.filters import Filters
from access_report.report import Report, make_report

Line = Callable[..., bytes]


def made_from(path: Path, filters: Filters | None = None) -> Report:
    return make_report(path, filters or Filters(), seconds=60)


@pytest.fixture
def access_log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def test_requests_are_counted_by_route_status_and_hour(access_log: Path, line: Line) -> None:
    access_log.write_bytes(
        line("/sync-api/report?a=1", size=10)
        + line("/sync-api/", status=500, size=20, at="23/Nov/2024:21:59:59 +0000")
        + line("/async-api/metrics", size=30)
        + line(request="", status=400, size=40)
        + b"junk\n"
    )
    made = made_from(access_log)
    assert {route: dict(traffic.statuses) for route, traffic in made.routes.items()} == {
        "/sync-api": {200: 1, 500: 1},
        "/async-api": {200: 1},
        "(no valid request)": {400: 1},
    }
    assert [(hour.hour, traffic.requests, traffic.server_errors) for hour, traffic in made.hours_in_order()] == [
        (19, 3, 0),
        (21, 1, 1),
    ]
    assert [traffic.requests for _, traffic in made.last_hours(3)] == [3, 0, 1]
    assert [traffic.requests for _, traffic in made.last_hours(2)] == [0, 1]
    assert (made.total().requests, made.total().bytes) == (4, 100)
    assert (made.lines, made.broken_lines) == (5, 1)
    assert made.busiest_routes()[0][0] == "/sync-api"


def test_the_slowest_paths_come_first_by_their_mean_and_web_sockets_do_not_count(access_log: Path, line: Line) -> None:
    access_log.write_bytes(
        line("/a", seconds=0.1) * 9
        + line("/a", seconds=1.1)
        + line("/b?x=1", seconds=0.4)
        + line("/b?x=2", seconds=0.6)
        + line("/ws", seconds=3600, status=101)
        + line("/untimed", seconds=None)
    )
    slowest = made_from(access_log).slowest_paths()
    assert [(path, round(timing.mean, 3), timing.slowest) for path, timing in slowest] == [
        ("/b", 0.5, 0.6),
        ("/a", 0.2, 1.1),
    ]


def test_a_route_is_broken_down_one_segment_further(access_log: Path, line: Line) -> None:
    access_log.write_bytes(
        line("/a/b/c") + line("/a/b/d") + line("/a/e") + line("/a") + line("/ab") + line(request="-")
    )
    made = made_from(access_log, Filters(route="/a"))
    assert {route: traffic.requests for route, traffic in made.routes.items()} == {"/a/b": 2, "/a/e": 1, "/a": 1}


def test_since_counts_later_requests_and_stops_reading_at_earlier_ones(
    access_log: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "BLOCK", 4096)
    old, new = (line(at=f"23/Nov/2024:{hour}:00:00 +0000") for hour in (18, 20))
    access_log.write_bytes(old * 10_000 + new * 100)
    made = made_from(access_log, Filters(since=datetime(2024, 11, 23, 20, tzinfo=timezone.utc)))
    assert made.total().requests == 100
    assert made.lines < 500


def test_since_reads_a_compressed_log_to_its_end_where_the_later_requests_are(
    access_log: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "BLOCK", 4096)
    old, new = (line(at=f"23/Nov/2024:{hour}:00:00 +0000") for hour in (18, 20))
    access_log.touch()
    access_log.with_name("access.log.1.gz").write_bytes(gzip.compress(old * 1000 + new * 100))
    filters = Filters(include_rotated=True, since=datetime(2024, 11, 23, 20, tzinfo=timezone.utc))
    assert made_from(access_log, filters).total().requests == 100


def test_rotated_logs_are_read_too_but_for_those_older_than_since(access_log: Path, line: Line) -> None:
    access_log.write_bytes(line())
    access_log.with_name("access.log.1").write_bytes(line())
    access_log.with_name("access.log.2.gz").write_bytes(gzip.compress(line() * 2))
    assert made_from(access_log).total().requests == 1
    assert made_from(access_log, Filters(include_rotated=True)).total().requests == 4

    os.utime(access_log.with_name("access.log.2.gz"), (0, 0))
    filters = Filters(include_rotated=True, since=datetime(2024, 11, 1, tzinfo=timezone.utc))
    assert made_from(access_log, filters).total().requests == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [(gzip.compress(b"x" * 100)[:-12], "is damaged"), (b"no gzip", "Not a gzipped file")],
    ids=["cut off", "no gzip"],
)
def test_a_damaged_rotated_log_is_named_and_the_rest_is_reported(
    content: bytes, reason: str, access_log: Path, line: Line
) -> None:
    access_log.write_bytes(line())
    access_log.with_name("access.log.1.gz").write_bytes(content)
    made = made_from(access_log, Filters(include_rotated=True))
    assert made.total().requests == 1
    assert len(made.skipped) == 1
    assert made.skipped[0].startswith("access.log.1.gz: ")
    assert reason in made.skipped[0]


def test_when_time_runs_out_the_newest_is_reported_and_the_report_says_so(
    access_log: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "BLOCK", 4096)
    access_log.write_bytes(line("/old") * 1000 + line("/new") * 10)
    made = make_report(access_log, Filters(), seconds=0)
    assert not made.complete
    assert made.lines < 100
    assert made.routes["/new"].requests == 10


def test_memory_does_not_grow_with_the_log(access_log: Path, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither with its length nor with the number of different paths and queries in it."""
    monkeypatch.setattr(report, "MOST_KEYS", 100)
    monkeypatch.setattr(log, "BLOCK", 1 << 16)
    peaks = []
    for requests in (10_000, 40_000):
        access_log.write_bytes(b"".join(line(f"/{number}/{number}?{number}") for number in range(requests)))
        tracemalloc.start()
        made = made_from(access_log)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert made.total().requests == requests
        assert made.routes["(others)"].requests == requests - 100
        assert len(made.paths) == 101
    assert peaks[1] < 1.2 * peaks[0]

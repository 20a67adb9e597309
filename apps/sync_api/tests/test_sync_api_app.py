import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from flask.testing import FlaskClient

APP_FOLDER = Path(__file__).parents[1]
Line = Callable[..., bytes]
REPORTS = ["/report", "/report.csv", "/report.html"]


@pytest.fixture
def access_log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@contextmanager
def without_roots_rights() -> Iterator[None]:
    """Root can read everything; as anyone else there is nothing to give up."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_the_json_report(client: FlaskClient, access_log: Path, line: Line) -> None:
    access_log.write_bytes(line("/a/b", size=10) + line("/a/c", status=503, seconds=1.5, size=5) + b"junk\n")
    assert client.get("/report?top=1").json == {
        "filters": {"since": None, "route": None, "top": 1, "include_rotated": False},
        "log": {"complete": True, "lines": 3, "broken_lines": 1, "skipped_files": []},
        "first": "2024-11-23T19:30:47+00:00",
        "last": "2024-11-23T19:30:47+00:00",
        "total": {"requests": 2, "bytes": 15, "statuses": {"200": 1, "503": 1}},
        "routes": [{"route": "/a", "requests": 2, "bytes": 15, "statuses": {"200": 1, "503": 1}}],
        "slowest_paths": [{"path": "/a/c", "requests": 1, "mean_seconds": 1.5, "slowest_seconds": 1.5}],
        "hours": [{"hour": "2024-11-23T19:00:00+00:00", "requests": 2, "bytes": 15, "statuses": {"200": 1, "503": 1}}],
    }


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("routes", [["route", "status", "requests"], ["/a", "200", "1"], ["/a", "503", "1"]]),
        (
            "paths",
            [
                ["path", "requests", "mean_seconds", "slowest_seconds"],
                ["/a/c", "1", "1.5", "1.5"],
                ["/a/b,c", "1", "0.25", "0.25"],
            ],
        ),
        (
            "hours",
            [["hour", "requests", "server_errors", "bytes"], ["2024-11-23T19:00:00+00:00", "2", "1", "200"]],
        ),
    ],
)
def test_the_csv_report_is_one_table(
    table: str, rows: list[list[str]], client: FlaskClient, access_log: Path, line: Line
) -> None:
    access_log.write_bytes(line("/a/b,c") + line("/a/c", status=503, seconds=1.5))
    answer = client.get(f"/report.csv?table={table}")
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{table}.csv"'
    assert list(csv.reader(answer.text.splitlines())) == rows


@pytest.mark.parametrize("path", REPORTS)
def test_an_empty_log_is_a_report_of_nothing(path: str, client: FlaskClient, access_log: Path) -> None:
    access_log.write_bytes(b"")
    assert client.get(path).status_code == 200


HOSTILE = [
    {"path": "/<script>alert(1)</script>"},
    {"path": "/'onmouseover='alert(1)"},
    {"agent": "<script>alert(1)</script>"},
    {"request": "GET =cmd|'/c_calc'!A0 HTTP/1.1"},
    {"request": "@SUM(1) /x HTTP/1.1"},
    {"request": "+1+1"},
    {"path": "/a?token=s3cret"},
]


@pytest.mark.parametrize("path", [*REPORTS, "/report.csv?table=paths"])
def test_nothing_in_the_log_becomes_markup_a_formula_or_a_leak(
    path: str, client: FlaskClient, access_log: Path, line: Line
) -> None:
    access_log.write_bytes(b"".join(line(**hostile) for hostile in HOSTILE))
    answer = client.get(path)
    assert "s3cret" not in answer.text
    if answer.mimetype == "text/html":
        assert "/&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
        assert "<script" not in answer.text
        assert "'onmouseover" not in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    if answer.mimetype == "text/csv":
        cells = [cell for row in csv.reader(answer.text.splitlines()) for cell in row]
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]


@pytest.mark.parametrize("path", REPORTS)
def test_a_bad_filter_is_a_400_that_says_what_is_allowed(path: str, client: FlaskClient, access_log: Path) -> None:
    access_log.write_bytes(b"")
    answer = client.get(f"{path}?top=many")
    assert (answer.status_code, answer.json) == (
        400,
        {"error": "top: should be a whole number from 1 to 1000, got 'many'"},
    )


def test_filters_reach_the_report(client: FlaskClient, access_log: Path, line: Line) -> None:
    access_log.write_bytes(line("/b", at="22/Nov/2024:19:30:47 +0000") + line("/a"))
    access_log.with_name("access.log.1").write_bytes(line("/a") * 2)
    routes = [
        [row["route"] for row in client.get(f"/report?{query}").get_json()["routes"]]
        for query in ("", "since=2024-11-23", "route=/b")
    ]
    assert routes == [["/a", "/b"], ["/a"], ["/b"]]
    assert client.get("/report?include_rotated=1").get_json()["total"]["requests"] == 4


@pytest.mark.parametrize("path", REPORTS)
def test_a_missing_log_is_a_503_that_says_so(path: str, client: FlaskClient, access_log: Path) -> None:
    answer = client.get(path)
    assert answer.status_code == 503
    assert answer.json == {"error": f"The access log {access_log} cannot be read: No such file or directory."}


def test_a_log_that_is_no_file_is_a_503_that_says_so(client: FlaskClient, access_log: Path) -> None:
    """A device or a pipe, as in containers that log to standard output, has no beginning and perhaps no end."""
    access_log.symlink_to("/dev/null")
    answer = client.get("/report")
    assert answer.status_code == 503
    assert "is not a regular file" in answer.get_json()["error"]


def test_a_log_that_others_may_not_read_is_a_503_that_says_what_to_do(client: FlaskClient, access_log: Path) -> None:
    client.get("/report")  # Whatever is imported on first use might not be readable to others either.
    access_log.touch(mode=0)
    with without_roots_rights():
        answer = client.get("/report")
    assert answer.status_code == 503
    assert "Permission denied. The user that runs this app must be in the group" in answer.get_json()["error"]


def test_health_names_the_release_and_needs_no_log(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/health").json == {"status": "ok", "release": "development", "pid": os.getpid()}
    monkeypatch.setenv("RACKHAND_RELEASE", "20261123-abc")
    assert client.get("/health").get_json()["release"] == "20261123-abc"


def test_unknown_addresses_are_told_so_in_json(client: FlaskClient) -> None:
    answer = client.get("/nothing")
    assert answer.status_code == 404
    assert "not found" in answer.get_json()["error"]


def test_behind_a_prefix_that_only_the_server_knows(tmp_path: Path, access_log: Path, line: Line) -> None:
    """Under Gunicorn with SCRIPT_NAME, and nginx that keeps the prefix: redirects and all links have it."""
    access_log.write_bytes(line("/sync-api/report?x"))
    # Not tmp_path: the path of a Unix socket has room for a hundred characters only.
    folder = Path(tempfile.mkdtemp(prefix="sync-api-"))
    socket, output = folder / "sock", tmp_path / "gunicorn.log"
    with output.open("wb") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "app:app", f"--bind=unix:{socket}", "--no-control-socket"],
            cwd=APP_FOLDER,
            env=os.environ | {"SCRIPT_NAME": "/sync-api", "ACCESS_LOG": str(access_log)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 30
        while not socket.exists():
            assert server.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://host", timeout=30) as http:
            assert http.get("/sync-api/health").json()["status"] == "ok"
            index = http.get("/sync-api/")
            assert index.headers["location"] == "/sync-api/report.html"
            page = http.get(index.headers["location"]).text
        links = [part.split('"')[0] for part in page.split('href="')[1:] if not part.startswith("data:")]
        assert len(links) == 5
        assert [link for link in links if not link.startswith("/sync-api/report")] == []
        assert 'action="/sync-api/report.html"' in page
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder)

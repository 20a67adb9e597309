import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from access_report import log
from access_report.log import Entry, blocks, files, parse

AT = 1732390247
"""23 November 2024, 19:30:47 UTC."""


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        (
            '10.0.0.7 - - [23/Nov/2024:19:30:47 +0000] "GET /a/b HTTP/1.1" 200 512 "-" "curl/8.0"',
            Entry(at=AT, path="/a/b", status=200, size=512, seconds=None),
        ),
        (
            '2001:db8::1 - Jane [x] Doe [23/Nov/2024:20:30:47 +0100] "POST / HTTP/2.0" 201 0 "http://h/?q" "-" '
            '0.125 0.124 "h"',
            Entry(at=AT, path="/", status=201, size=0, seconds=0.125),
        ),
        (
            r'unix: - - [23/Nov/2024:15:00:47 -0430] "GET /\x22 HTTP/1.0" 502 - "\x22" "a\\" '
            '1.500 0.500, 1.000 : - "h"',
            Entry(at=AT, path=r"/\x22", status=502, size=0, seconds=1.5),
        ),
        (
            '1.2.3.4 - - [23/Nov/2024:19:30:47 +0000] "GET /ä HTTP/1.1" 404 1 "-" "-" - - "h"',
            Entry(at=AT, path=r"/\xc3\xa4", status=404, size=1, seconds=None),
        ),
    ],
    ids=["combined", "rackhand", "several upstreams", "no request time"],
)
def test_both_formats_are_understood(text: str, entry: Entry) -> None:
    assert parse(text.encode()) == entry


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"junk",
        b"\x00\xff\xfe" * 100,
        b'1.2.3.4 - - [23/Nov/2024:19:30:47 +0000] "GET / HTTP/1.1" 200 1 "-"',
        b'1.2.3.4 - - [23/Nov/2024:19:30:47 +0000] "GET / HTTP/1.1" 200 1 "-" "-" 0.1 0.1',
        b'1.2.3.4 - - [31/Feb/2024:19:30:47 +0000] "GET / HTTP/1.1" 200 1 "-" "-"',
        b'1.2.3.4 - - [23/Foo/2024:19:30:47 +0000] "GET / HTTP/1.1" 200 1 "-" "-"',
        b'1.2.3.4 - - [23/Nov/2024:19:30:47 +9999] "GET / HTTP/1.1" 200 1 "-" "-"',
        b'1.2.3.4 - - [23/Nov/2024:19:30:47 +0000] "GET /' + b"x" * 70000 + b' HTTP/1.1" 200 1 "-" "-"',
    ],
)
def test_what_is_in_no_known_format_is_none(text: bytes) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("request_line", "path"),
    [
        ("GET /a?token=s3cret HTTP/1.1", "/a"),
        ("GET /a;jsessionid=s3cret HTTP/1.1", "/a"),
        ("GET /a#s3cret HTTP/1.1", "/a"),
        ("GET /a%3Ftoken=s3cret HTTP/1.1", "/a"),
        ("GET http://user:s3cret@host/a?s3cret HTTP/1.1", "/a"),
        ("GET /a", "/a"),
        ("GET /" + "x" * 400 + " HTTP/1.1", "/" + "x" * 299 + "..."),
        ("GET /" + "x" * 3000 + " HTTP/1.1", "/" + "x" * 299 + "..."),
        ("GET http://host?s3cret HTTP/1.1", None),
        ("GET =1+1 HTTP/1.1", None),
        ("GET /a s3cret HTTP/1.1", None),
        ("GET /a\x1b[31m HTTP/1.1", None),
        ("CONNECT host:443 HTTP/1.1", None),
        (r"\x16\x03\x01", None),
        ("", None),
    ],
)
def test_paths_have_no_query_and_only_harmless_characters(
    request_line: str, path: str | None, line: Callable[..., bytes]
) -> None:
    entry = parse(line(request=request_line).rstrip())
    assert entry
    assert entry.path == path


@pytest.mark.parametrize("suffix", ["", ".1.gz"])
@pytest.mark.parametrize("block", [1, 7, 64, 4096])
@pytest.mark.parametrize("content", [b"", b"one\n", b"one\ntwo\nthree\n", b"\n\none\n\ntwo", b"x" * 300 + b"\nend\n"])
def test_blocks_hold_every_line_once_whatever_their_size(
    suffix: str, block: int, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "BLOCK", block)
    path = tmp_path / f"access.log{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    lines = [line for lines in blocks(path) for line in lines if line]
    assert sorted(lines) == sorted(filter(None, content.split(b"\n")))


@pytest.mark.parametrize("suffix", ["", ".1.gz"])
def test_a_line_without_an_end_is_cut_and_the_next_one_is_whole(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "BLOCK", 100)
    monkeypatch.setattr(log, "LONGEST_LINE", 1000)
    path = tmp_path / f"access.log{suffix}"
    content = b"first\n" + b"x" * 1_000_000 + b"\nlast\n"
    path.write_bytes(gzip.compress(content) if suffix else content)
    lines = [line for lines in blocks(path) for line in lines if line]
    longest = max(lines, key=len)
    assert sorted(lines, key=len) == [b"last", b"first", longest]
    assert 1000 < len(longest) < 1300


def test_a_plain_log_is_read_from_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "BLOCK", 10)
    path = tmp_path / "access.log"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(100)))
    assert b"line 99" in next(blocks(path)) + next(blocks(path))


def test_rotated_logs_are_found_newest_first_and_nothing_else(tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    names = ["access.log", "access.log.1", "access.log.2.gz", "access.log-20241101.gz", "access.log.bak", "error.log.1"]
    for age, name in enumerate(names):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (AT - age, AT - age))
    assert files(access, include_rotated=False) == [access]
    assert [path.name for path in files(access, include_rotated=True)] == names[:4]

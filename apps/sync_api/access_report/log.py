"""Reading an access log that others write: nothing in it is trusted, and its size is of no concern."""

import gzip
import io
import re
import stat
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

LONGEST_LINE = 65536
"""Bytes. nginx writes up to 8 KiB each for the request, the referrer and the user agent, escaped fourfold at worst."""
BLOCK = 1 << 20
"""Bytes that are read at a time."""
LONGEST_PATH = 300
"""Characters. What is longer is cut."""

_QUOTED = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
# nginx's `combined`, and what Rackhand's format adds: request time, upstream response times, host.
_LINE = re.compile(
    rb"\S+ - .*? \[(\d\d/[A-Z][a-z]{2}/\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})\] "
    rb"%(quoted)s (\d{3}) (\d+|-) %(quoted)s %(quoted)s"
    rb"(?: (\d+\.\d+|-) [\d.,: -]+ %(quoted)s)?" % {b"quoted": _QUOTED}
)
_REQUEST = re.compile(
    rb"[A-Z]+ (?:https?://[^/?#\s]*)?(?P<path>/[^\x00-\x20\x7f?#;]*)[^\x00-\x20\x7f]*(?: HTTP/[\d.]+)?", re.I
)
_ENCODED_QUERY = re.compile("%3f", re.I)
_MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_ROTATED = re.compile(r"[.-]\d+(\.gz)?")


class Entry(NamedTuple):
    """One request. A tuple because a report makes millions of them.

    `path` has no query, matrix parameters or fragment, which may hold secrets. It starts with a slash and is printable
    ASCII without blanks; it is None when the request was no HTTP.
    """

    at: int
    """Seconds since 1970."""
    path: str | None
    status: int
    size: int
    """Bytes of the answer's body."""
    seconds: float | None
    """None when the log's format has no request time."""


def parse(line: bytes) -> Entry | None:
    """None when the line, without its end, is not in one of the known formats."""
    match = _LINE.fullmatch(line) if len(line) <= LONGEST_LINE else None
    if match is None:
        return None
    day, hour, minute, second, zone, request, status, size, _referrer, _agent, seconds, _host = match.groups()
    try:
        midnight = _midnight(day, zone)
    except (KeyError, ValueError, OverflowError):
        return None
    return Entry(
        at=midnight + int(hour) * 3600 + int(minute) * 60 + int(second),
        path=_path(request[:2000]),
        status=int(status),
        size=0 if size == b"-" else int(size),
        seconds=None if seconds is None or seconds == b"-" else float(seconds),
    )


@lru_cache(maxsize=64)
def _midnight(day: bytes, zone: bytes) -> int:
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
    local = timezone(-offset if zone.startswith(b"-") else offset)
    return int(datetime(int(day[7:11]), _MONTHS[day[3:6]], int(day[:2]), tzinfo=local).timestamp())


@lru_cache(maxsize=4096)
def _path(request: bytes) -> str | None:
    match = _REQUEST.fullmatch(request)
    if match is None:
        return None
    path = _ENCODED_QUERY.split(match["path"].decode("ascii", "backslashreplace"), maxsplit=1)[0]
    return path if len(path) <= LONGEST_PATH else path[:LONGEST_PATH] + "..."


def files(log: Path, *, include_rotated: bool) -> list[Path]:
    """The log and, newest first behind it, what logrotate has made of earlier ones."""
    if not include_rotated:
        return [log]
    rotated = [path for path in log.parent.iterdir() if _is_rotation_of(log, path)]
    return [log, *sorted(rotated, key=lambda path: path.stat().st_mtime, reverse=True)]


def _is_rotation_of(log: Path, path: Path) -> bool:
    return path.name.startswith(log.name) and _ROTATED.fullmatch(path.name[len(log.name) :]) is not None


def is_newest_first(log: Path) -> bool:
    """A compressed log can only be read from its beginning."""
    return log.suffix != ".gz"


def blocks(log: Path) -> Iterator[list[bytes]]:
    """All lines, some thousands at a time. Within a block they are in the file's order.

    Whoever is only interested in the end of a plain log can stop early: its last block comes first.
    Raises OSError, also for what is no file or was damaged in compression.
    """
    if not stat.S_ISREG(log.stat().st_mode):
        raise OSError(f"{log} is not a regular file")
    if is_newest_first(log):
        with log.open("rb") as stream:
            yield from _backwards(stream)
    else:
        try:
            with gzip.open(log) as stream:
                yield from _forwards(stream)
        except (EOFError, zlib.error) as error:
            raise OSError(f"{log} is damaged: {error}") from error


# Both cut what is carried over, so that a line without an end does not fill the memory. It stays too long for parse().


def _backwards(stream: io.BufferedIOBase) -> Iterator[list[bytes]]:
    position = stream.seek(0, io.SEEK_END)
    begun = b""
    while position > 0:
        size = min(BLOCK, position)
        position -= size
        stream.seek(position)
        begun, *lines = (stream.read(size) + begun).split(b"\n")
        begun = begun[: LONGEST_LINE + 1]
        yield lines
    yield [begun]


def _forwards(stream: io.BufferedIOBase) -> Iterator[list[bytes]]:
    begun = b""
    while block := stream.read(BLOCK):
        *lines, begun = (begun + block).split(b"\n")
        begun = begun[: LONGEST_LINE + 1]
        yield lines
    yield [begun]

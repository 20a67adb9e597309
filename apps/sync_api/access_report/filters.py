"""What a report is about, from a query string."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import Literal

MOST_ROWS = 1000
DEFAULT_ROWS = 20

Table = Literal["routes", "paths", "hours"]
TABLES: tuple[Table, ...] = ("routes", "paths", "hours")

_AGO = re.compile(r"(\d{1,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SWITCH = {"1": True, "true": True, "0": False, "false": False}


class BadFilterError(ValueError):
    """One sentence that tells the client which parameter is wrong and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which requests count, and how many rows to show."""

    since: datetime | None = None
    route: str | None = None
    """The path itself, and all below it."""
    top: int = DEFAULT_ROWS
    include_rotated: bool = False
    table: Table = "routes"
    """Which part of the report to show where only one fits: in CSV."""

    def covers(self, path: str | None) -> bool:
        """Whether a path is the route or below it; /sync-apis is not below /sync-api."""
        if self.route is None:
            return True
        return path is not None and (path == self.route or path.startswith(self.route.rstrip("/") + "/"))


PARAMETERS = tuple(field.name for field in fields(Filters))


def parse_filters(arguments: Mapping[str, str], now: datetime) -> Filters:
    """Raises BadFilterError. Empty values count as not given: that is what an HTML form sends."""
    for name in arguments:
        if name not in PARAMETERS:
            raise BadFilterError(f"{name}: no such parameter; there are {', '.join(PARAMETERS)}")
    given = {name: text for name, text in arguments.items() if text}
    return Filters(
        since=_since(given["since"], now) if "since" in given else None,
        route=_route(given["route"]) if "route" in given else None,
        top=_top(given["top"]) if "top" in given else DEFAULT_ROWS,
        include_rotated=_include_rotated(given["include_rotated"]) if "include_rotated" in given else False,
        table=_table(given["table"]) if "table" in given else "routes",
    )


def _since(text: str, now: datetime) -> datetime:
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError:
        raise BadFilterError(
            f"since: should be a time such as 2026-11-23T18:00:00Z (a plus sign is written %2B), "
            f"or an age such as 90m, 24h or 7d, got {text!r}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _route(text: str) -> str:
    if not text.startswith("/") or "?" in text:
        raise BadFilterError(f"route: should be a path that starts with a slash and has no query, got {text!r}")
    return text


def _top(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MOST_ROWS:
        raise BadFilterError(f"top: should be a whole number from 1 to {MOST_ROWS}, got {text!r}")
    return int(text)


def _include_rotated(text: str) -> bool:
    if text not in _SWITCH:
        raise BadFilterError(f"include_rotated: should be 1 or 0, got {text!r}")
    return _SWITCH[text]


def _table(text: str) -> Table:
    for table in TABLES:
        if text == table:
            return table
    raise BadFilterError(f"table: should be one of {', '.join(TABLES)}, got {text!r}")

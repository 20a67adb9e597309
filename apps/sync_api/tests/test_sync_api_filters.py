from datetime import datetime, timedelta, timezone

import pytest

from access_report.filters import BadFilterError, Filters, parse_filters

NOW = datetime(2024, 11, 23, 19, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("arguments", "filters"),
    [
        ({}, Filters()),
        ({"since": "", "route": "", "top": ""}, Filters()),
        ({"since": "90m"}, Filters(since=NOW - timedelta(minutes=90))),
        ({"since": "7d"}, Filters(since=NOW - timedelta(days=7))),
        ({"since": "2024-11-23T18:00:00Z"}, Filters(since=NOW.replace(hour=18, minute=0))),
        ({"since": "2024-11-23T19:00+01:00"}, Filters(since=NOW.replace(hour=18, minute=0))),
        ({"since": "2024-11-23"}, Filters(since=NOW.replace(hour=0, minute=0))),
        (
            {"route": "/a", "top": "1000", "include_rotated": "1", "table": "hours"},
            Filters(route="/a", top=1000, include_rotated=True, table="hours"),
        ),
    ],
)
def test_good_filters(arguments: dict[str, str], filters: Filters) -> None:
    assert parse_filters(arguments, NOW) == filters


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "since",
            "yesterday",
            "since: should be a time such as 2026-11-23T18:00:00Z (a plus sign is written %2B), "
            "or an age such as 90m, 24h or 7d, got 'yesterday'",
        ),
        ("since", "2024-13-01", "since: should be a time such as"),
        ("since", "999999d", "since: should be a time such as"),
        ("route", "a", "route: should be a path that starts with a slash and has no query, got 'a'"),
        ("route", "/a?b", "route: should be a path that starts with a slash and has no query, got '/a?b'"),
        ("top", "0", "top: should be a whole number from 1 to 1000, got '0'"),
        ("top", "1001", "top: should be a whole number from 1 to 1000, got '1001'"),
        ("top", "٣", "top: should be a whole number from 1 to 1000, got '٣'"),
        ("include_rotated", "yes", "include_rotated: should be 1 or 0, got 'yes'"),
        ("table", "all", "table: should be one of routes, paths, hours, got 'all'"),
        ("topp", "1", "topp: no such parameter; there are since, route, top, include_rotated, table"),
    ],
)
def test_bad_filters_are_refused_with_what_is_allowed(name: str, text: str, message: str) -> None:
    with pytest.raises(BadFilterError) as error:
        parse_filters({name: text}, NOW)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("route", "path", "covered"),
    [
        ("/a", "/a", True),
        ("/a", "/a/b", True),
        ("/a", "/ab", False),
        ("/a/", "/a/b", True),
        ("/", "/a", True),
        ("/", None, False),
        (None, None, True),
    ],
)
def test_a_route_covers_itself_and_what_is_below_it(route: str | None, path: str | None, covered: bool) -> None:
    assert Filters(route=route).covers(path) is covered

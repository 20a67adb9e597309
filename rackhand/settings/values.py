"""What a value may be, whatever it is for: each function takes one as YAML, a template or a command line gives it, and
raises ValueError with what it should be."""

from __future__ import annotations

import re
from collections.abc import Callable

from rackhand.inventory import got

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def text(value: object) -> str:
    """Of one line, since all of it ends in files of lines; a number as it is written in decimals."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"should be text, got {got(value)}")
    if _CONTROL.search(str(value)):
        raise ValueError("may not contain line breaks or control characters")
    return str(value)


def word(value: object) -> str:
    """For what becomes an argument of a command: it must not look like an option, nor like several words."""
    found = text(value)
    if not found or found.startswith("-") or re.search(r"\s", found):
        raise ValueError(f"should be one word that does not begin with a dash, got {found!r}")
    return found


def secret(written: str | None, value: object) -> str:
    """For what no message may show, given as it was written, too."""
    if value is None:
        raise ValueError('has no value: write "" for an empty one')
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("should be text: quote it")
    if not isinstance(value, str) and written is not None and str(value) != written:
        raise ValueError("is a number that YAML would write differently: quote it")
    if _CONTROL.search(str(value)):
        raise ValueError("may not contain line breaks or control characters")
    return str(value)


def matching(pattern: re.Pattern[str], what: str) -> Callable[[object], str]:
    """For text of a form, and what that is in words."""

    def convert(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"should be {what}, got {got(value)}")
        return value

    return convert


def whole(value: object) -> int:
    """A whole number; also as text, because that is what templates and --extra-vars give."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"should be a whole number, got {got(value)}")
    return value


def flag(value: object) -> bool:
    """As Ansible reads a boolean."""
    for answer, words in (
        (True, ("yes", "on", "1", "true", "t", "y")),
        (False, ("no", "off", "0", "false", "f", "n")),
    ):
        if value is answer or str(value).lower() in words:
            return answer
    raise ValueError(f"should be true or false, got {got(value)}")

"""How hosts are written: names, ranges of names, ports; and what an unknown name may have meant."""

from __future__ import annotations

import re
import socket
import string
from collections.abc import Iterable

# A host name or an IPv4 address, each label of it perhaps with ranges.
_RANGE = r"\[(?:[a-z]:[a-z]|[0-9]+:[0-9]+)(?::[0-9]+)?\]"
_LABEL = rf"(?:\w|{_RANGE})(?:[\w-]|{_RANGE})*(?<![_-])"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)
_BRACKETED_PORT = re.compile(r"\[(.+)\]:([0-9]+)")
_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])*):([0-9]+)")


def split_port(text: str) -> tuple[str, int | None] | None:
    """A host name or address, which may hold ranges, and the port after it; None for what is neither."""
    port = None
    for pattern in (_BRACKETED_PORT, _PORT):
        if found := pattern.fullmatch(text):
            text, port = found[1], int(found[2])
    return (text, port) if _NAME.fullmatch(text) or _is_ipv6(text) else None


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, re.sub(rf"(?<![^:]){_RANGE}(?![^:])", "1", text))
    except OSError:
        return False
    return True


def expand(text: str) -> tuple[list[str], int | None]:
    """The names that `web[01:20].example.com:2222` stands for, and the port. Raises ValueError saying what is
    wrong."""
    parts = split_port(text)
    if parts is None and text.endswith(":"):
        raise ValueError("ends with a colon, and no port behind it")
    name, port = parts or (text, None)
    return [checked(one) for one in _expand(name)], port


def checked(name: str) -> str:
    """The name of one host, as it is. Raises ValueError when it cannot be one."""
    if not re.fullmatch(r"[^\s/\x00-\x1f\x7f]+", name) or name[0] in "-.":
        raise ValueError("is not a host name")
    return name


def _expand(name: str) -> list[str]:
    head, bracket, rest = name.partition("[")
    if not bracket:
        return [name]
    bounds, bracket, tail = rest.partition("]")
    first, _, last = bounds.partition(":")
    last, _, step = last.partition(":")
    if not bracket or not last:
        raise ValueError("should have a range like [1:9], [01:20:2] or [a:f]")
    return [head + middle + end for middle in _range(first or "0", last, step or "1") for end in _expand(tail)]


def _range(first: str, last: str, step: str) -> list[str]:
    letters = string.ascii_letters
    if not step.isdecimal() or int(step) == 0:
        raise ValueError(f"has a range with the step {step!r}: it should be a number above 0")
    if len(first) == len(last) == 1 and first in letters and last in letters:
        names = list(letters[letters.index(first) : letters.index(last) + 1 : int(step)])
    elif first.isdecimal() and last.isdecimal():
        padded = first.startswith("0") and len(first) > 1
        if padded and len(first) != len(last):
            raise ValueError(f"has a range whose ends differ in length: {first} and {last}")
        width = len(first) if padded else 0
        names = [str(number).zfill(width) for number in range(int(first), int(last) + 1, int(step))]
    else:
        raise ValueError(f"has a range from {first!r} to {last!r}: both should be numbers, or both single letters")
    if not names:
        raise ValueError(f"has a range that ends before it begins: {first} to {last}")
    return names


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: ` (did you mean "web"?)`, or nothing when none is close."""
    import difflib  # needed when something is wrong

    close = difflib.get_close_matches(name, list(known), n=1)
    return f' (did you mean "{close[0]}"?)' if close else ""

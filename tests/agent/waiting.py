"""Waits for what comes soon, or else fails."""

import time
from collections.abc import Callable

#: Seconds after which it is taken never to come.
PATIENCE = 30


def until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.01)

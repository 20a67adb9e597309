"""A test run gives the machine back as it was, however it is ended."""

import signal
from collections.abc import Iterator

import pytest

from rackhand.lab import Lab


def pytest_configure(config: pytest.Config) -> None:
    """A polite request to end is an interrupt, for the run and for its workers alike. Whoever runs the tests may ignore
    signals, as shells do for what they start in the background; the commands of tests would inherit that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Workers that were ended in the middle have left their labs behind; none runs any more."""
    if not hasattr(config, "workerinput"):
        Lab.sweep()


@pytest.fixture(autouse=True)
def signals_are_given_back() -> Iterator[None]:
    """What a test makes its process ignore, the commands of later tests would inherit."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    assert before == {number: signal.getsignal(number) for number in numbers}

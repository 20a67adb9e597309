"""A test run gives the machine back as it was, however it is ended."""

import signal

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

"""What is told of an application that does not start."""

from rackhand.agent.resources.instance import _traceback

FIRST = ["Traceback (most recent call last):", '  File "a.py", line 1, in <module>', "    x()", "KeyError: 'x'"]
SECOND = ["Traceback (most recent call last):", '  File "b.py", line 2, in <module>', "ValueError: no x"]


def test_a_traceback_ends_with_its_error() -> None:
    """What the program says after it is left out."""
    assert _traceback([*FIRST, "[INFO] Worker exiting", "  indented"]) == FIRST


def test_a_traceback_in_another_is_told_with_it() -> None:
    """The last one says what went wrong."""
    chain = [*FIRST, "During handling of the above exception, another exception occurred:", *SECOND]
    assert _traceback([*chain, "[INFO] Worker exiting"]) == chain


def test_a_traceback_that_is_cut_off() -> None:
    """All there is."""
    assert _traceback(FIRST[:3]) == FIRST[:3]

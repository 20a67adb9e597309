"""Programs that the transport asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackhand.transport.programs import ask


@pytest.mark.parametrize("signal", ["INT", "TERM", "HUP"])
def test_one_that_is_ended_with_the_controllers_terminal_is_asked_again(tmp_path: Path, signal: str) -> None:
    """Ctrl-C comes to it as well until its own session has begun."""
    again = tmp_path / "again"
    done = ask(("sh", "-c", f'[ -e "$0" ] && echo answer || {{ touch "$0"; kill -{signal} $$; }}', str(again)))
    assert (done.returncode, done.stdout) == (0, "answer\n")


def test_one_that_always_ends_so_is_not_asked_for_ever(tmp_path: Path) -> None:
    times = tmp_path / "times"
    done = ask(("sh", "-c", 'echo >> "$0"; kill -TERM $$', str(times)))
    assert done.returncode == -15
    assert times.read_text().count("\n") < 10

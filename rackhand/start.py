"""Where a command starts: Ctrl-C counts from here on, before what takes longer to load."""

import os
import signal

from rackhand.exit_codes import INTERRUPTED


def _interrupted(*_: object) -> None:
    """Nothing has begun that would have to be put in order."""
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


# Where Ctrl-C is ignored, as in the background of a shell, it stays so.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _interrupted)


def main() -> None:
    """Runs the command line, and ends this process with its exit code."""
    from rackhand import cli

    cli.main()

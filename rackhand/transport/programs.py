"""Programs beside this one that are asked something: OpenSSH's own, and those that its configuration names."""

import signal
import subprocess
from collections.abc import Sequence

#: Seconds that an answer may take.
PATIENCE = 30

#: What ends the controller in good order. They come to all programs of its terminal.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: How often a program is asked that one of them has ended.
_TRIES = 3


def ask(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What a program prints that is given no input, and how it ends. Raises OSError and subprocess.TimeoutExpired.
    Ctrl-C reaches the controller alone: a program that it ends before its own session has begun is asked again."""
    for _ in range(_TRIES):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
            start_new_session=True,
        )
        if -done.returncode not in _ENDING:
            break
    return done

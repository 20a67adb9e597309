"""Programs beside this one that are asked something: OpenSSH's own, and those that its configuration names."""

import subprocess
from collections.abc import Sequence

#: Seconds that an answer may take.
PATIENCE = 30


def ask(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """What a program prints that is given no input, and how it ends. Raises OSError and subprocess.TimeoutExpired."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE,
        check=False,
        start_new_session=True,  # so that Ctrl-C reaches the controller alone
    )

"""Becoming root: with the password on sudo's standard input only, never on a command line."""

import secrets
from typing import Protocol

from rackhand.settings import ConnectionSettings
from rackhand.transport import Unreachable

_STARTED = "rackhand: sudo has started"


class ErrorStream(Protocol):
    def send(self, data: bytes) -> None: ...

    def receive_error(self) -> bytes: ...

    def finish(self) -> tuple[int, str]: ...


class Sudo:
    """Wraps a command in sudo and answers its question for the password, if it has one."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._password = settings.become_password
        self._prompt = f"[rackhand {secrets.token_hex(8)}]"

    def wrap(self, command: str) -> str:
        if self._password is None:
            return f"sudo -n -H -- {command}"
        # The line on the error stream says that the program has begun: whatever is sent from there on is its own.
        started = f'sh -c \'echo "{_STARTED}" >&2; exec "$@"\' sh'
        return f"sudo -S -p '{self._prompt}' -H -- {started} {command}"

    def authenticate(self, stream: ErrorStream) -> None:
        """Raises Unreachable when sudo wants another password."""
        if self._password is None:
            return
        said = b""
        asked = 0
        while _STARTED.encode() not in said:
            chunk = stream.receive_error()
            if not chunk:
                _, rest = stream.finish()
                text = (said.decode(errors="replace") + rest).replace(self._prompt, "").strip()
                raise Unreachable(f"sudo refused: {' '.join(text.split()) or 'it ended'}")
            said += chunk
            if said.count(self._prompt.encode()) > asked:
                asked += 1
                if asked > 1:
                    stream.finish()
                    raise Unreachable("sudo refused the password: check ansible_become_password")
                stream.send(self._password.encode() + b"\n")

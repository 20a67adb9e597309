"""Becoming root: with the password on sudo's standard input only, never on a command line."""

import secrets
import shlex
from typing import Protocol

from rackhand.payload import REFUSED
from rackhand.settings import ConnectionSettings
from rackhand.transport import Lost, NoTerminal, Unreachable

_STARTED = "rackhand: sudo has started"

#: What sudo says when it does not start a program, and what to do about it.
_ADVICE = {
    "a password is required": "set ansible_become_password",
    "you must have a tty": "allow it without one in the host's /etc/sudoers.d: Defaults:USER !requiretty",
}

# Who has become somebody else than root becomes root from there.
_ROOT = """\
[ "$(id -u)" = 0 ] && exec "$@"
sudo -n -H true 2>/dev/null && exec sudo -n -H -- "$@"
echo "rackhand: $(id -un), whom ansible_become_user names, may not become root with sudo without a password" >&2
exit {refused}
"""


def wants_terminal(said: str) -> bool:
    """Whether this is what sudo says with `requiretty`."""
    return "you must have a tty" in said


class ErrorStream(Protocol):
    def send(self, data: bytes) -> None: ...

    def receive_error(self) -> bytes: ...

    def finish(self) -> tuple[int, str]: ...

    def close(self) -> None: ...


def advised(said: str) -> str:
    """What was said, on one line, with what to do if it was sudo that said it."""
    line = "; ".join(line.strip() for line in said.splitlines() if line.strip())
    return next((f"{line}: {advice}" for words, advice in _ADVICE.items() if words in line), line)


class Sudo:
    """Wraps a command in sudo and answers its question for the password, if it has one."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._user = settings.become_user
        self._password = settings.become_password
        self._prompt = f"[rackhand {secrets.token_hex(8)}]"

    def wrap(self, command: str, *, terminal: bool) -> str:
        sudo = "sudo"
        if self._user != "root":
            sudo = f"sudo -u {shlex.quote(self._user)}"
            command = f"{shlex.join(('sh', '-c', _ROOT.format(refused=REFUSED), 'sh'))} {command}"
        if self._password is None:
            wrapped = f"{sudo} -n -H -- {command}"
        else:
            # The line on the error stream says that the program has begun: whatever is sent from there on is its own.
            started = shlex.join(("sh", "-c", f'echo "{_STARTED}" >&2; exec "$@"', "sh"))
            wrapped = f"{sudo} -S -p '{self._prompt}' -H -- {started} {command}"
        if not terminal:
            return wrapped
        # sudo is content when it has one. What is sent goes past it, since a terminal would mangle it.
        inside = shlex.quote(f"exec {wrapped} <&3 >&4 2>&5 3<&- 4>&- 5>&-")
        return f"script -qec {inside} /dev/null 3<&0 4>&1 5>&2 </dev/null >/dev/null 2>&1"

    def authenticate(self, stream: ErrorStream) -> None:
        """Raises Unreachable, with the stream closed, when sudo does not start the program."""
        if self._password is None:
            return
        try:
            self._answer(stream, self._password)
        except Unreachable:
            stream.close()
            raise
        except Lost as error:
            stream.close()
            raise Unreachable(str(error)) from error

    def _answer(self, stream: ErrorStream, password: str) -> None:
        said = b""
        asked = 0
        while _STARTED.encode() not in said:
            chunk = stream.receive_error()
            if not chunk:
                stream.finish()
                text = said.decode(errors="replace").replace(self._prompt, "")
                refusal = NoTerminal if wants_terminal(text) else Unreachable
                raise refusal(f"sudo refused: {advised(text) or 'it ended'}")
            said += chunk
            if said.count(self._prompt.encode()) > asked:
                asked += 1
                if asked > 1:
                    stream.finish()
                    raise Unreachable("sudo refused the password: check ansible_become_password")
                stream.send(password.encode() + b"\n")

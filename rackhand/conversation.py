"""One conversation with one host: connect, hear its facts, ask a question or send a plan, pass its events on."""

import contextlib
import getpass
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from mmap import mmap
from typing import TYPE_CHECKING, Any

from rackhand import payload
from rackhand.settings import ConnectionSettings
from rackhand.transport import START, Greeted, Lost, NoTerminal, Stream, Unreachable, open_agent
from rackhand.transport.sudo import advised, wants_terminal

if TYPE_CHECKING:
    from rackhand.agent.plan import Plan

Event = dict[str, Any]

#: Data for a host: in memory, or in a file that is read as it is sent.
Data = bytes | mmap

#: Bytes sent at once: small enough to show progress, large enough not to cost round trips.
CHUNK = 2**18

#: Seconds that an agent may be silent: until its facts, also where Python is installed first; until its answer; and
#: between two events of a run. While a resource is worked on it has that one's deadline, and so many seconds more.
FACTS, INSTALL, ANSWER, SILENCE, MORE = START, 1200, 300, 2400, 60

#: How every event of the agent begins.
_EVENT = b'{"event":'


def who() -> str:
    """Who runs this, and where, for the host's records."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user that the machine has no name for
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class Refused(Exception):
    """A host that Rackhand cannot manage, as its agent says."""


class Conversation:
    """An open channel to a host's agent, with the facts that it has reported."""

    def __init__(
        self, settings: ConnectionSettings, *, install_python: bool = False, greeted: Greeted = lambda: None
    ) -> None:
        """Raises Unreachable and Refused."""
        self._settings = settings
        try:
            self._begin(greeted, install_python, terminal=False)
        except NoTerminal:
            self._begin(lambda: None, install_python, terminal=True)

    def _begin(self, greeted: Greeted, install_python: bool, *, terminal: bool) -> None:
        started = time.monotonic()
        self._stream: Stream = open_agent(self._settings, greeted, install_python=install_python, terminal=terminal)
        connected = time.monotonic()
        self._buffer = b""
        self._sending = threading.Lock()
        try:
            self._stream.patience(INSTALL if install_python else FACTS)
            self._stream.send(payload.packed())
            first = json.loads(self._first())
        except Lost as error:
            raise self._ended(str(error)) from error
        if first["event"] == "refused":
            self._stream.finish()
            self._stream.close()
            raise Refused(first["reason"])
        self.facts: dict[str, Any] = first["facts"]
        #: How long each step up to here took, in seconds.
        self.seconds = {
            "connecting": round(connected - started, 4),
            "starting the agent": round(time.monotonic() - connected - first["t"], 4),
            "facts": first["t"],
        }

    def _first(self) -> bytes:
        """The agent's first event. What a login shell prints before it is passed over. Raises Lost."""
        for line in self._lines():
            _, event, rest = line.partition(_EVENT)
            if event:
                return event + rest
        raise Lost("it ended")

    def _ended(self, reason: str) -> Exception:
        """Why there is no agent: as its program says, or for this reason."""
        code, said = self._stream.finish()
        self._stream.close()
        lines = [line.removeprefix("rackhand: ") for line in said.strip().splitlines() if line.strip()]
        if code in (payload.REFUSED, payload.NO_PYTHON) and lines:
            return Refused(lines[-1])
        said = advised("\n".join(lines[-3:])) or f"{reason}, exit code {code}"
        return (NoTerminal if wants_terminal(said) else Unreachable)(f"the agent did not start: {said}")

    def events(self) -> Iterator[Event]:
        """What the agent says, until it ends. Raises Lost."""
        return map(json.loads, self._lines())

    def _lines(self) -> Iterator[bytes]:
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                yield line
                continue
            chunk = self._stream.receive()
            if not chunk:
                return
            self._buffer += chunk

    def _send(self, message: Mapping[str, Any], data: Data = b"") -> None:
        with self._sending:
            self._stream.send(json.dumps(message, separators=(",", ":")).encode() + b"\n")
            for start in range(0, len(data), CHUNK):
                self._stream.send(data[start : start + CHUNK])

    def ask(self, question: str, **details: Any) -> Event:
        """The answer to a question, as one event. Raises Lost."""
        return self._answered(next(self.answers(question, **details), None))

    def last_answer(self, question: str, *, within: float = 0, **details: Any) -> Event:
        """The last event of the answer to a question that may take so many seconds. Raises Lost."""
        return self._answered([None, *self.answers(question, within=within, **details)][-1])

    def answers(self, question: str, *, within: float = 0, **details: Any) -> Iterator[Event]:
        """The events of the answer to a question, each of which may take so many seconds. Raises Lost."""
        self._stream.patience(within + ANSWER)
        self._send({"ask": question, **details})
        return self.events()

    def told(self, question: str, *, last: str, within: float, **details: Any) -> Iterator[Event]:
        """The same, the last one of this name."""
        for event in self.answers(question, within=within, **details):
            yield event
            if event["event"] == last:
                return
        raise Lost(f"the agent ended early{self._said()}")

    def _answered(self, answer: Event | None) -> Event:
        if answer is None:
            raise Lost(f"the agent ended without an answer{self._said()}")
        return answer

    def run(
        self,
        plan: "Plan",
        *,
        run: str,
        command: str,
        who: str,
        apply: bool,
        secrets: tuple[str, ...],
        blob: Callable[[str], Data],
        confirm_within: int = 30,
        drain: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        """Sends the plan and yields the events of its run, the last one `end`. Raises Lost."""
        self._stream.patience(SILENCE)
        told = {"run": run, "command": command, "who": who, "confirm_within": confirm_within, "drain": drain}
        self._send({**told, "plan": plan.to_wire(), "apply": apply, "secrets": secrets})
        for event in self.events():
            self._stream.patience(_patience(event))
            if event["event"] == "need":
                for digest in event["blobs"]:
                    data = blob(digest)
                    yield {"event": "upload", "bytes": len(data)}
                    self._send({"blob": digest, "size": len(data)}, data)
                continue
            if event["event"] == "confirm":
                yield event
                reason = _confirm(self._settings, run, event["within"])
                if reason is not None:
                    self._send({"unconfirmed": reason})
                continue
            if event["event"] == "end":
                # Else the next run would tell how this one has ended.
                with contextlib.suppress(Lost):
                    self._send({"heard": True})
                yield event
                return
            yield event
        raise Lost(f"the agent ended early{self._said()}")

    def cancel(self) -> None:
        """Asks the agent to stop before the switch. Safe to call from another thread."""
        with contextlib.suppress(Lost):
            self._send({"cancel": True})

    def _said(self) -> str:
        _, said = self._stream.finish()
        lines = said.strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def close(self) -> None:
        self._stream.close()


def _patience(event: Event) -> float:
    """For how many seconds an agent may be silent after an event."""
    begun: Event = event["said"] if event["event"] == "other" else event
    return begun["within"] + MORE if "within" in begun and begun["event"] == "begin" else SILENCE


def _confirm(settings: ConnectionSettings, run: str, within: float) -> str | None:
    """Confirms, over a connection of its own, that the host can be reached. Returns why not. A second try is for the
    network's sake; after some more, an sshd that takes no key would refuse to talk at all (PerSourcePenalties)."""
    quick = replace(settings, timeout=max(1, min(settings.timeout, int(within / 2) - 1)))
    with contextlib.suppress(Unreachable, Refused, Lost):
        return _confirmed(quick, run)
    time.sleep(1)
    try:
        return _confirmed(quick, run)
    except (Unreachable, Refused, Lost) as error:
        return str(error)


def _confirmed(settings: ConnectionSettings, run: str) -> str | None:
    """One try. Returns why the host does not take the confirmation. Raises Unreachable, Refused and Lost."""
    conversation = Conversation(settings)
    try:
        reason: str | None = conversation.ask("confirm", run=run)["reason"]
        return reason
    finally:
        conversation.close()

"""What is done on one host, as a value, so that it can be done anywhere; and the place where it is done."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rackhand.agent.redaction import OWN_WORDS, Redaction
from rackhand.conversation import Conversation, Event, Refused
from rackhand.errors import UserError
from rackhand.settings import HostSettings
from rackhand.transport import KeyRefused, Lost, Unreachable

#: The data of a digest, which a host has asked for. It may take a while, and raise Lost.
Blob = Callable[[str], bytes]

#: What is done on a host once its facts are known: it yields the events. It may be sent to another machine, so it is a
#: function of a module, or a partial of one.
Work = Callable[[HostSettings, Conversation, Blob], Iterator[Event]]

#: Takes an event, from any thread, without waiting.
Tell = Callable[[Event], object]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One host, and what is done there. With `hold`, a host whose code would change is left alone, and told to be held.
    Its settings hold secrets, so nothing but its name is ever shown of it."""

    host: HostSettings = field(repr=False)
    work: Work = field(repr=False)
    install_python: bool = False
    hold: bool = False


class Station:
    """Where jobs are done: one in each process that does any. It knows the conversations that are open there."""

    def __init__(self, tell: Tell, blob: Blob) -> None:
        self._tell = tell
        self._blob = blob
        self._open: dict[str, Conversation] = {}
        self._guard = threading.Lock()
        self._cancelled = False

    def do(self, job: Job) -> None:
        """Returns when the host is done with, and everything has been told. What it raises is a defect."""

        redacted = Redaction(job.host.secrets, OWN_WORDS)

        def tell(event: Event) -> None:
            # The agent has done so with what it says. What is said here, of a connection that fails, say, comes to it.
            self._tell({**redacted(event), "host": job.host.name})

        if self._cancelled:
            return
        tell({"event": "connecting"})
        try:
            conversation = Conversation(
                job.host.connection,
                install_python=job.install_python,
                greeted=lambda: tell({"event": "greeted"}),
            )
        except KeyRefused as error:
            remedy = f"./invoke hosts.trust --host {job.host.name}{' --replace' if error.changed else ''}"
            tell({"event": "unreachable", "reason": f"{error} {remedy}"})
            return
        except Unreachable as error:
            tell({"event": "unreachable", "reason": str(error)})
            return
        except (Refused, UserError) as error:
            tell({"event": "error", "reason": str(error)})
            return
        try:
            with self._guard:
                if self._cancelled:  # while it was connecting
                    return
                self._open[job.host.name] = conversation
            tell({"event": "facts", "facts": conversation.facts, "seconds": conversation.seconds})
            for event in job.work(job.host, conversation, self._blob):
                tell(event)
                if job.hold and event.get("code"):
                    tell({"event": "held"})
                    return
        except UserError as error:
            tell({"event": "error", "reason": str(error)})
        except Lost as error:
            tell({"event": "lost", "reason": str(error)})
        finally:
            with self._guard:
                self._open.pop(job.host.name, None)
            conversation.close()

    def cancel(self) -> set[str]:
        """Asks all agents that have not begun the switch to stop; from now on no conversation is begun. Returns the
        hosts with which there is one."""
        with self._guard:
            self._cancelled = True
            for conversation in self._open.values():
                # Not here: it waits for data that is being sent.
                threading.Thread(target=conversation.cancel, daemon=True).start()
            return set(self._open)

"""Does a piece of work on many hosts at once and hands what happens to one thread, in order of arrival."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from rackhand.conversation import Conversation, Event, Refused
from rackhand.errors import UserError
from rackhand.settings import HostSettings
from rackhand.transport import Lost, Unreachable

#: What is done on a host once its facts are known: it yields the events.
Work = Callable[[HostSettings, Conversation], Iterator[Event]]

#: Seconds between two looks at signals: one that comes just as a wait begins does not end that.
_LOOK = 0.5


class Fleet:
    """The hosts of one run. Iterating over it starts the work and gives every event of every host, each with its host's
    name, until all hosts are done."""

    def __init__(self, hosts: Iterable[HostSettings], work: Work, *, forks: int, install_python: bool = False) -> None:
        self._hosts = tuple(hosts)
        self._work = work
        self._forks = forks
        self._install_python = install_python
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._open: dict[str, Conversation] = {}
        self._guard = threading.Lock()
        self._cancelled = threading.Event()

    def __iter__(self) -> Iterator[Event]:
        waiting = iter(self._hosts)
        for _ in range(min(self._forks, len(self._hosts))):
            # Daemons: whoever ends this process does not wait for a host that does not answer.
            threading.Thread(target=self._take_from, args=(waiting,), daemon=True).start()
        failure: Exception | None = None
        left = len(self._hosts)
        while left and not self._given_up():
            try:
                event = self._events.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if event["event"] == "left":
                left -= 1
                failure = failure or event["failure"]
            else:
                yield event
        if failure is not None:
            raise failure

    def _given_up(self) -> bool:
        """After an interrupt, hosts that are still being connected to are not waited for: nothing has been asked of
        them. Those with a conversation are."""
        with self._guard:
            return self._cancelled.is_set() and not self._open and self._events.empty()

    def tell(self, event: Event) -> None:
        """Adds an event of the controller's own. Safe to call from a signal handler."""
        self._events.put(event)

    def _take_from(self, waiting: Iterator[HostSettings]) -> None:
        for host in waiting:
            failure: Exception | None = None
            try:
                if not self._cancelled.is_set():
                    self._converse(host)
            except Exception as error:  # of the program itself: told once the other hosts are done
                failure = error
            self._events.put({"event": "left", "failure": failure})

    def _converse(self, host: HostSettings) -> None:
        def tell(event: Mapping[str, Any]) -> None:
            self._events.put({**event, "host": host.name})

        tell({"event": "connecting"})
        try:
            conversation = Conversation(host.connection, install_python=self._install_python)
        except Unreachable as error:
            tell({"event": "unreachable", "reason": str(error)})
            return
        except (Refused, UserError) as error:
            tell({"event": "error", "reason": str(error)})
            return
        with self._guard:
            if not self._cancelled.is_set():
                self._open[host.name] = conversation
        try:
            if host.name not in self._open:  # interrupted while it was connecting
                return
            tell({"event": "facts", "facts": conversation.facts, "seconds": conversation.seconds})
            for event in self._work(host, conversation):
                tell(event)
        except UserError as error:
            tell({"event": "error", "reason": str(error)})
        except Lost as error:
            tell({"event": "lost", "reason": str(error)})
        finally:
            with self._guard:
                self._open.pop(host.name, None)
            conversation.close()

    def cancel(self) -> None:
        """Asks all agents that have not begun the switch to stop, and begins on no further host."""
        with self._guard:
            self._cancelled.set()
            for conversation in self._open.values():
                # Not here: it waits for data that is being sent, and a second Ctrl-C must not.
                threading.Thread(target=conversation.cancel, daemon=True).start()

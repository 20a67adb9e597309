"""Several processes of this machine, each with many threads: what is done on hosts is not bound to one core."""

import contextlib
import itertools
import os
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, Pipe
from typing import Any, ParamSpec, TypeVar

import rackhand.transport.ssh  # noqa: F401  # before the processes are forked: they share the memory of it
from rackhand.fleet import ThreadEach
from rackhand.job import Blob, Job, Station, Tell
from rackhand.transport import Lost

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

#: Seconds that a process may take to end.
_FAREWELL = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class _Member:
    """A process as its parent knows it: the pipe to it, and the calls that have not returned, by their numbers."""

    pid: int
    pipe: Connection
    calls: dict[int, Future[Any]] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)


class Pool(Executor):
    """Forked processes that call functions, each call in a thread of its own, and tell of events meanwhile. They end
    with this process, however it ends. A call whose process has ended raises Lost."""

    def __init__(self, count: int, begin: Callable[[Tell], object], tell: Tell) -> None:
        """`begin` is called first in each process, with what takes its events; `tell` gets them here. To be made while
        this process has one thread."""
        self._tell = tell
        self._numbers = itertools.count()
        self._members: list[_Member] = []
        for _ in range(count):
            ours, theirs = Pipe()
            pid = os.fork()
            if not pid:
                try:
                    # As long as anybody else has the parent's end, nobody hears of the end of the parent.
                    for end in (*(member.pipe for member in self._members), ours):
                        end.close()
                    _serve(theirs, begin)
                finally:
                    os._exit(1)
            theirs.close()
            self._members.append(_Member(pid=pid, pipe=ours))
        self._listeners = [
            threading.Thread(target=self._listen, args=(member,), daemon=True) for member in self._members
        ]
        for listener in self._listeners:
            listener.start()

    def submit(
        self, fn: Callable[_Arguments, _Result], /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> Future[_Result]:
        """To the process that has the fewest calls."""
        alive = [member for member in self._members if not member.pipe.closed]
        return self._send(min(alive or self._members, key=lambda member: len(member.calls)), fn, args, kwargs)

    def everywhere(self, fn: Callable[[], _Result]) -> list[Future[_Result]]:
        """A call in each process."""
        return [self._send(member, fn, (), {}) for member in self._members]

    def _send(
        self, member: _Member, fn: Callable[..., _Result], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[_Result]:
        number = next(self._numbers)
        future: Future[_Result] = Future()
        with member.guard:
            member.calls[number] = future
            if member.pipe.closed:
                self._fail(member)
            else:
                with contextlib.suppress(OSError):  # it has ended, as its listener is about to hear
                    member.pipe.send((number, fn, args, kwargs))
        return future

    def _listen(self, member: _Member) -> None:
        while True:
            try:
                number, result, error = member.pipe.recv()
            except (EOFError, OSError):
                break
            if number is None:
                self._tell(result)
            elif error is None:
                member.calls.pop(number).set_result(result)
            else:
                member.calls.pop(number).set_exception(RuntimeError(error))
        with member.guard:
            member.pipe.close()
            self._fail(member)
        os.waitpid(member.pid, 0)

    def _fail(self, member: _Member) -> None:
        while member.calls:
            _, future = member.calls.popitem()
            future.set_exception(Lost("the process that worked on it has ended"))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """The processes end at once, whatever they are at."""
        for member in self._members:
            with member.guard, contextlib.suppress(OSError):
                member.pipe.send(None)
        for listener in self._listeners if wait else ():
            listener.join(_FAREWELL)


def _serve(pipe: Connection, begin: Callable[[Tell], object]) -> None:
    """The life of a process."""
    # The parent alone hears signals, and asks the agents to stop.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sending = threading.Lock()
    threads = ThreadEach()

    def send(number: int | None, result: object, error: str | None = None) -> None:
        with sending, contextlib.suppress(OSError):  # the parent has ended: so will this process
            pipe.send((number, result, error))

    def answer(number: int, done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            send(number, done.result())
        else:
            send(number, None, "".join(traceback.format_exception(error)))

    begin(lambda event: send(None, event))
    with contextlib.suppress(EOFError, OSError):  # the parent has ended
        while (message := pipe.recv()) is not None:
            number, fn, args, kwargs = message
            threads.submit(fn, *args, **kwargs).add_done_callback(partial(answer, number))
    # Agents that are at work go on alone.
    os._exit(0)


class Processes:
    """A crew of processes, with one station in each."""

    def __init__(self, count: int, tell: Tell, blob: Blob) -> None:
        self._pool = Pool(count, lambda tell: _begin(tell, blob), tell)

    def start(self, job: Job, left: Callable[[BaseException | None], None]) -> None:
        self._pool.submit(_do, job).add_done_callback(lambda done: left(done.exception()))

    def cancel(self) -> set[str]:
        asked, _ = wait(self._pool.everywhere(_cancel))
        return {host for one in asked if one.exception() is None for host in one.result()}

    def close(self) -> None:
        self._pool.shutdown()


#: The station of a process of a pool; there is none in any other.
_here: list[Station] = []


def _begin(tell: Tell, blob: Blob) -> None:
    _here.append(Station(tell, blob))


def _do(job: Job) -> None:
    _here[0].do(job)


def _cancel() -> set[str]:
    return _here[0].cancel()

"""Does jobs on many hosts at once and hands what happens to one thread, in order of arrival."""

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from itertools import islice
from typing import ParamSpec, Protocol, TypeVar

from rackhand.conversation import Event
from rackhand.errors import UserError
from rackhand.job import Blob, Job, Station, Tell
from rackhand.transport import Lost

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

#: Seconds between two looks at signals: one that comes just as a wait begins does not end that.
_LOOK = 0.5

#: Hosts that make another process worth its start: as many as keep a core busy for a second, with handshakes above all.
HOSTS_PER_PROCESS = 20


class Crew(Protocol):
    """Those who do the jobs."""

    def start(self, job: Job, left: Callable[[BaseException | None], None]) -> None:
        """Has the job done. `left` is called, from any thread, when it is: with Lost if whoever did it has gone, with
        UserError if they must not do it."""

    def cancel(self) -> set[str]:
        """Has everybody stop what can be stopped, and begin nothing. Returns the hosts that are at work all the same:
        those with a conversation."""

    def close(self) -> None: ...


class Fleet:
    """The hosts of one run. Iterating over it starts the work and gives every event of every host, each with its host's
    name, until all hosts are done; at most `forks` are worked on at once. With a scheduler, Dask's workers do it."""

    def __init__(
        self, jobs: Iterable[Job], *, forks: int, blobs: Mapping[str, bytes] | None = None, scheduler: str | None = None
    ) -> None:
        """Raises UserError when the scheduler cannot be used."""
        self._jobs = tuple(jobs)
        self._forks = forks
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        # Before anything is shown: processes are forked while there is but one thread.
        self._crew = _crew(self._jobs, forks, scheduler, self._events.put, (blobs or {}).__getitem__)
        self._working: set[str] = set()
        self._cancelled = False
        self._open: set[str] | None = None

    def __iter__(self) -> Iterator[Event]:
        waiting = iter(self._jobs)
        failure: BaseException | None = None
        try:
            for job in islice(waiting, self._forks):
                self._start(job)
            while self._working and not self._given_up():
                try:
                    event = self._events.get(timeout=_LOOK)
                except queue.Empty:
                    continue
                if event["event"] != "left":
                    yield event
                    continue
                self._working.discard(event["host"])
                match event["failure"]:
                    case Lost() as lost:
                        yield {"event": "lost", "host": event["host"], "reason": str(lost)}
                    case UserError() as error:
                        yield {"event": "error", "host": event["host"], "reason": str(error)}
                    case defect:  # told once the other hosts are done
                        failure = failure or defect
                for job in () if self._cancelled else islice(waiting, 1):
                    self._start(job)
        finally:
            self._crew.close()
        if failure is not None:
            raise failure

    def _start(self, job: Job) -> None:
        name = job.host.name
        self._working.add(name)
        self._crew.start(job, lambda failure: self.tell({"event": "left", "host": name, "failure": failure}))

    def _given_up(self) -> bool:
        """After an interrupt, hosts that are still being connected to are not waited for: nothing has been asked of
        them. Those with a conversation are."""
        return self._open is not None and not self._open & self._working and self._events.empty()

    def tell(self, event: Event) -> None:
        """Adds an event of the controller's own. Safe to call from a signal handler."""
        self._events.put(event)

    def cancel(self) -> None:
        """Asks all agents that have not begun the switch to stop, and begins on no further host."""
        self._cancelled = True
        threading.Thread(target=self._stop, daemon=True).start()

    def _stop(self) -> None:
        self._open = self._crew.cancel()


def _crew(jobs: tuple[Job, ...], forks: int, scheduler: str | None, tell: Tell, blob: Blob) -> Crew:
    if scheduler is not None:
        from rackhand.cluster import Cluster

        return Cluster(scheduler, jobs, tell, blob)
    count = min(len(os.sched_getaffinity(0)), len(jobs) // HOSTS_PER_PROCESS, forks)
    if count > 1:
        from rackhand.processes import Processes

        return Processes(count, tell, blob)
    return _Threads(tell, blob)


class ThreadEach(Executor):
    """A thread for each call. They are daemons: whoever ends this process does not wait for a host that does not
    answer, as a ThreadPoolExecutor would."""

    def submit(
        self, fn: Callable[_Arguments, _Result], /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> Future[_Result]:
        future: Future[_Result] = Future()

        def call() -> None:
            try:
                result = fn(*args, **kwargs)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=call, daemon=True).start()
        return future


class _Threads:
    """A crew of threads of this process."""

    def __init__(self, tell: Tell, blob: Blob) -> None:
        self._station = Station(tell, blob)
        self._executor = ThreadEach()
        self.cancel = self._station.cancel

    def start(self, job: Job, left: Callable[[BaseException | None], None]) -> None:
        future = self._executor.submit(self._station.do, job)
        future.add_done_callback(lambda done: left(done.exception()))

    def close(self) -> None:
        """They end with their hosts, or with the process."""

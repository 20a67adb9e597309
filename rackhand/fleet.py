"""Does jobs on many hosts at once and hands what happens to one thread, in order of arrival."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import ParamSpec, Protocol, TypeVar

from rackhand.conversation import Event
from rackhand.errors import UserError
from rackhand.job import Blob, Job, Station, Tell
from rackhand.report import CONNECTING, Report
from rackhand.rollout import Rollout
from rackhand.transport import Lost

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

#: Seconds between two looks at signals: one that comes just as a wait begins does not end that.
_LOOK = 0.5

#: Seconds for which a host must be at the same thing for that to be told; told again when it is twice as long.
_STILL = 10.0

#: Seconds after which a host that has not greeted takes no place from others: it may be down.
_SILENT = 2.0

#: Hosts that make another process worth its start: they keep a core busy for over half a second, above all with
#: handshakes.
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
    name, until all hosts are done. The rollout says who may begin; at most `forks` are worked on at once, not counting
    those that have not greeted for a while. With a scheduler, Dask's workers do the work."""

    def __init__(
        self,
        jobs: Iterable[Job],
        *,
        rollout: Rollout,
        forks: int,
        blobs: Mapping[str, bytes] | None = None,
        scheduler: str | None = None,
    ) -> None:
        """Raises UserError when the scheduler cannot be used."""
        self._jobs = {job.host.name: job for job in jobs}
        self._rollout = rollout
        self._forks = forks
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        # Before anything is shown: processes are forked while there is but one thread.
        self._crew = _crew(tuple(self._jobs.values()), forks, scheduler, self._events.put, (blobs or {}).__getitem__)
        self._report = Report().after({"event": "run", "run": "", "command": "", "check": False, "hosts": self._jobs})
        self._started = time.monotonic()
        self._begun: set[str] = set()
        self._working: set[str] = set()
        self._turn: int | None = None
        self._told: dict[str, tuple[float, float]] = {}
        self._cancelled = False
        self._open: set[str] | None = None

    def __iter__(self) -> Iterator[Event]:
        failure: BaseException | None = None
        looked = self._started
        try:
            yield from self._begin()
            while self._working and not self._given_up():
                if time.monotonic() > looked + _LOOK:
                    looked = time.monotonic()
                    yield from self._still()
                    yield from self._begin()
                try:
                    event = self._events.get(timeout=_LOOK)
                except queue.Empty:
                    continue
                if event["event"] != "left":
                    if not self._left_alone(event):
                        yield self._heard(event)
                    continue
                host = event["host"]
                self._working.discard(host)
                match event["failure"]:
                    case Lost() as lost:
                        yield self._heard({"event": "lost", "host": host, "reason": str(lost)})
                    case UserError() as error:
                        yield self._heard({"event": "error", "host": host, "reason": str(error)})
                    case defect:  # told once the other hosts are done
                        failure = failure or defect
                yield from self._begin()
            reason = self._rollout.stopped(self._report)
            untouched = [name for name, host in self._report.hosts.items() if host.outcome is None]
            if reason is not None and untouched and not self._cancelled:
                yield self._heard({"event": "stopped", "reason": reason, "hosts": untouched})
        finally:
            self._crew.close()
        if failure is not None:
            raise failure

    def _heard(self, event: Event) -> Event:
        if event["event"] != "resource":  # half of all, and who may begin does not depend on them
            self._report = self._report.after({**event, "at": time.monotonic() - self._started})
        return event

    def _begin(self) -> Iterator[Event]:
        """Has those begun who may, as far as there is room. What is told comes after that: it takes the caller time."""
        told = []
        for name in () if self._cancelled else self._rollout.ready(self._report):
            held = self._report.hosts[name].phase == "held"
            if name in self._working or (name in self._begun and not held):
                continue
            if self._full():
                break
            turn, batches = self._rollout.turn(self._report), self._rollout.batches
            if turn != self._turn and len(batches) > 1:
                told.append(
                    self._heard({"event": "batch", "number": turn + 1, "of": len(batches), "hosts": batches[turn]})
                )
            self._turn = turn
            if held and self._report.canary is None:
                told.append(self._heard({"event": "canary", "host": name}))
            self._start(replace(self._jobs[name], hold=not held and self._rollout.holds(self._report)))
        yield from told

    def _full(self) -> bool:
        silent = sum(
            self._report.hosts[name].phase == "connecting" and self._took(name) > _SILENT for name in self._working
        )
        return len(self._working) - silent >= self._forks

    def _took(self, name: str) -> float:
        """For how many seconds a host has been at what it is at."""
        return time.monotonic() - self._started - self._report.hosts[name].since

    def _still(self) -> Iterator[Event]:
        """Tells of hosts that have been at the same thing for long."""
        for name in sorted(self._working):
            host, took = self._report.hosts[name], self._took(name)
            since, told = self._told.get(name, (host.since, 0.0))
            if host.phase != "waiting" and took >= max(_STILL, 2 * told if since == host.since else 0):
                self._told[name] = host.since, took
                yield self._heard({"event": "still", "host": name, "step": host.doing, "seconds": round(took)})

    def _start(self, job: Job) -> None:
        name = job.host.name
        self._begun.add(name)
        self._working.add(name)
        self._crew.start(job, lambda failure: self.tell({"event": "left", "host": name, "failure": failure}))

    def _given_up(self) -> bool:
        """After an interrupt, hosts that are still being connected to are not waited for: nothing has been asked of
        them. Those with a conversation are."""
        return self._open is not None and not self._open & self._working and self._events.empty()

    def _left_alone(self, event: Event) -> bool:
        """Whether this is only how connecting to a host failed after an interrupt: that ends the programs which a
        connection is made with, too."""
        failed = event["event"] in ("unreachable", "error")
        return failed and self._cancelled and self._report.hosts[event["host"]].phase in CONNECTING

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

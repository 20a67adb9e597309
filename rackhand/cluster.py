"""Workers of a Dask cluster, which do jobs in the place of this machine.

What is sent to them is a Parcel, which shows nothing of its job; what comes back are events, under one topic of the
scheduler's. Data that a host needs is asked for the same way, and sent to the worker that asks. No job has a result,
and a worker keeps nothing of a run once it is done with it.
"""

import hashlib
import logging
import pickle
import secrets
import threading
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

from rackhand import PROJECT
from rackhand.conversation import Event
from rackhand.errors import UserError
from rackhand.job import Blob, Job, Station, Tell
from rackhand.transport import Lost

try:
    from distributed import Client, KilledWorker, Security, get_worker
    from distributed.comm.addressing import resolve_address
    from distributed.comm.core import CommClosedError
except ImportError as error:
    raise UserError(
        "--scheduler needs Dask, which is not installed: .venv/bin/uv pip install --require-hashes "
        "--python .venv/bin/python -r requirements-dask.lock"
    ) from error

#: One for all runs: the scheduler keeps the last events of every topic, and so keeps a thousand in all.
_TOPIC = "rackhand"

#: Seconds within which data must come that a worker has asked for: an agent waits as long.
SILENCE = 60.0

#: Seconds in which a scheduler must answer, and in which it is told that this run is over.
_PATIENCE, _FAREWELL = 10, 2

_MORE = "see docs/fleets.md"
_GIVEN_UP = "the cluster has given up on it"


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A job on its way. Dask logs and shows what it calls functions with, so nothing is to be seen of it."""

    version: str
    run: str
    data: bytes = field(repr=False)


class Cluster:
    """A crew of Dask's workers."""

    def __init__(self, address: str, jobs: Collection[Job], tell: Tell, blob: Blob) -> None:
        """Raises UserError when the address does not answer, or its workers cannot do these jobs."""
        for job in jobs:
            if job.host.connection.kind == "local":
                raise UserError(
                    f"{job.host.name}: ansible_connection: local is not for --scheduler: a worker is elsewhere"
                )
        self._run = secrets.token_hex(8)
        self._tell = tell
        self._blob = blob
        self._begun: set[str] = set()
        self._cancelled = False
        self._client = _client(address)
        try:
            _check(self._client, address)
            self._client.subscribe_topic(_TOPIC, self._hear)
        except BaseException:
            self.close()
            raise
        # Not pure: the same job is done anew.
        self._executor = self._client.get_executor(pure=False)

    def start(self, job: Job, left: Callable[[BaseException | None], None]) -> None:
        if self._client.status != "running":
            # Its connection has ended, and every host with it. What it is asked for now may never come to an end.
            left(Lost(_GIVEN_UP))
            return
        self._begun.discard(job.host.name)  # one that was held begins for the second time
        parcel = Parcel(version=version(), run=self._run, data=pickle.dumps(job))
        future: Future[None] = self._executor.submit(rackhand_job, parcel)
        future.add_done_callback(lambda done: left(_failure(done)))

    def _hear(self, message: tuple[float, Any]) -> None:
        """An event of some run's, on the client's own thread: events arrive in order, and before the end of the job."""
        run, event = message[1]
        if run != self._run:
            return
        if event["event"] == "want":
            # Not here: it would wait for this thread.
            threading.Thread(target=self._deliver, args=(event["worker"], event["digest"]), daemon=True).start()
            return
        if event["event"] == "connecting":
            if event["host"] in self._begun:
                text = "the worker that was at this host has gone: another one takes over"
                self._tell({"event": "notice", "host": event["host"], "level": "info", "text": text})
            self._begun.add(event["host"])
            if self._cancelled:  # by a worker that was not there to hear it
                threading.Thread(target=self.cancel, daemon=True).start()
        self._tell(event)

    def _deliver(self, worker: str, digest: str) -> None:
        with suppress(OSError, TimeoutError):  # it has gone: whoever takes over asks again
            self._client.run(deliver, self._run, digest, self._blob(digest), workers=[worker], on_error="ignore")

    def cancel(self) -> set[str]:
        self._cancelled = True
        try:
            found = self._client.run(stop, self._run, on_error="ignore")
        except (OSError, TimeoutError):  # there is nobody to ask
            return set()
        return {host for hosts in found.values() for host in hosts}

    def close(self) -> None:
        with suppress(OSError, TimeoutError):
            self._client.close(timeout=_FAREWELL)


def _client(address: str) -> Any:
    # It would write among our own lines; what matters of it comes as an exception.
    for name in ("distributed", "distributed.client", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    tls = address.startswith("tls:")
    try:
        # First, what a Client that has not begun would not clean up after.
        resolve_address(address)
        configured = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
        if tls and configured["ssl_context"] is None:
            raise UserError(f"--scheduler {address}: needs a certificate, which Dask's configuration names; {_MORE}")
        if not tls and configured["require_encryption"]:
            raise UserError(f"--scheduler {address}: Dask's configuration requires tls://HOST:PORT; {_MORE}")
        return Client(address, timeout=_PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        if tls and isinstance(error, CommClosedError):
            raise UserError(
                f"--scheduler {address}: no connection with TLS: both sides need certificates of the same CA "
                f"({error.__cause__ or error}); {_MORE}"
            ) from error
        raise UserError(f"--scheduler {address}: does not answer as Dask's scheduler: {error}; {_MORE}") from error


def _check(client: Any, address: str) -> None:
    """Has every worker say which Rackhand it has."""
    found = client.run(version, on_error="return")
    if not found:
        raise UserError(f"--scheduler {address}: has no workers; {_MORE}")
    for worker, its in found.items():
        if isinstance(its, Exception):
            raise UserError(f"--scheduler {address}: the worker {worker} has no Rackhand ({its}); {_MORE}")
        if its != version():
            raise UserError(_other_version(worker))


def _other_version(worker: str) -> str:
    return f"the worker {worker} has another version of Rackhand: start it again from the same one; {_MORE}"


def _failure(done: Future[None]) -> BaseException | None:
    """Lost, if Dask has given up on a job because of its workers."""
    try:
        error = done.exception()
    except CancelledError:
        return Lost(_GIVEN_UP)
    if isinstance(error, KilledWorker):
        return Lost(f"{error.allowed_failures + 1} workers ended while they were at it")
    return error


@cache
def version() -> str:
    """A digest of Rackhand's own code and templates, as they were when it was first asked for."""
    digest = hashlib.sha256()
    for folder in ("rackhand", "roles", "templates"):
        for path in sorted((PROJECT / folder).rglob("*")):
            if path.suffix in (".py", ".j2"):
                digest.update(f"{path.relative_to(PROJECT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


# What workers call


class _Post:
    """The data that a worker has been sent for a run."""

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._asked: set[str] = set()
        self._data: dict[str, bytes] = {}
        self._news = threading.Condition()

    def blob(self, digest: str) -> bytes:
        """Asked for once, however many hosts need it. Raises Lost."""
        with self._news:
            if digest not in self._asked:
                self._asked.add(digest)
                self._ask(digest)
            if not self._news.wait_for(lambda: digest in self._data, SILENCE):
                raise Lost(f"the controller has sent nothing for {SILENCE:.0f} s")
            return self._data[digest]

    def put(self, digest: str, data: bytes) -> None:
        with self._news:
            self._data[digest] = data
            self._news.notify_all()


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run at one worker."""

    station: Station
    post: _Post


def _run(name: str, worker: Any) -> _Run:
    def tell(event: Event) -> None:
        worker.log_event(_TOPIC, (name, event))

    post = _Post(lambda digest: tell({"event": "want", "digest": digest, "worker": worker.address}))
    return _Run(station=Station(tell, post.blob), post=post)


#: The runs that this worker is at, for as long as it is.
_runs: WeakValueDictionary[str, _Run] = WeakValueDictionary()
_making = threading.Lock()


def rackhand_job(parcel: Parcel) -> None:
    """Does the job of a parcel, and tells all that happens under the topic. Its name is what a dashboard shows."""
    worker = get_worker()
    if parcel.version != version():
        raise UserError(_other_version(worker.address))
    job: Job = pickle.loads(parcel.data)  # noqa: S301  # whoever can call this function can call any
    with _making:
        run = _runs.get(parcel.run) or _run(parcel.run, worker)
        _runs[parcel.run] = run
    run.station.do(job)


def deliver(name: str, digest: str, data: bytes) -> None:
    """Data that this worker has asked for."""
    if run := _runs.get(name):
        run.post.put(digest, data)


def stop(name: str) -> list[str]:
    """Cancels what this worker is at for a run. Returns the hosts that are at work all the same."""
    run = _runs.get(name)
    return sorted(run.station.cancel()) if run else []

"""Workers of a Dask cluster, which do jobs in the place of this machine.

What is sent to them is a Parcel, which shows nothing of its job; what comes back are events, under one topic of the
scheduler's. No job has a result, and a worker keeps nothing of one once it is done.
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
from rackhand.job import Blobs, Job, Station, Tell
from rackhand.transport import Lost

try:
    from distributed import Client, KilledWorker, get_worker
except ImportError as error:
    raise UserError(
        "--scheduler needs Dask, which is not installed: .venv/bin/uv pip install --require-hashes "
        "--python .venv/bin/python -r requirements-dask.lock"
    ) from error

#: One for all runs: the scheduler keeps the last events of every topic, and so keeps a thousand in all.
_TOPIC = "rackhand"

#: Seconds in which a scheduler must answer, and in which it is told that this run is over.
_PATIENCE, _FAREWELL = 10, 2

_MORE = "see docs/fleets.md"


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A job on its way. Dask logs and shows what it calls functions with, so nothing is to be seen of it."""

    version: str
    run: str
    data: bytes = field(repr=False)


class Cluster:
    """A crew of Dask's workers."""

    def __init__(self, address: str, jobs: Collection[Job], tell: Tell, blobs: Blobs) -> None:
        """Raises UserError when the address does not answer, or its workers cannot do these jobs."""
        for job in jobs:
            if job.host.connection.kind == "local":
                raise UserError(
                    f"{job.host.name}: ansible_connection: local is not for --scheduler: a worker is elsewhere"
                )
        self._run = secrets.token_hex(8)
        self._tell = tell
        self._begun: set[str] = set()
        self._cancelled = False
        self._client = _client(address)
        try:
            _check(self._client, address)
            self._client.subscribe_topic(_TOPIC, self._hear)
            # On every worker: it outlives those that are killed. Sent once, however many hosts get it.
            self._blobs = self._client.scatter(dict(blobs), broadcast=True) if blobs else {}
        except BaseException:
            self.close()
            raise
        # Not pure: the same job is done anew.
        self._executor = self._client.get_executor(pure=False)

    def start(self, job: Job, left: Callable[[BaseException | None], None]) -> None:
        parcel = Parcel(version=version(), run=self._run, data=pickle.dumps(job))
        future: Future[None] = self._executor.submit(rackhand_job, parcel, self._blobs)
        future.add_done_callback(lambda done: left(_failure(done)))

    def _hear(self, message: tuple[float, Any]) -> None:
        """An event of some run's, on the client's own thread: events arrive in order, and before the end of the job."""
        run, event = message[1]
        if run != self._run:
            return
        if event["event"] == "connecting":
            if event["host"] in self._begun:
                text = "the worker that was at this host has gone: another one takes over"
                self._tell({"event": "notice", "host": event["host"], "level": "warning", "text": text})
            self._begun.add(event["host"])
            if self._cancelled:  # by a worker that was not there to hear it
                threading.Thread(target=self.cancel, daemon=True).start()
        self._tell(event)

    def cancel(self) -> None:
        self._cancelled = True
        # A worker that does not answer, and a scheduler that has gone, have nothing to stop.
        with suppress(OSError, TimeoutError):
            self._client.run(stop, self._run, on_error="ignore")

    def close(self) -> None:
        with suppress(OSError, TimeoutError):
            self._client.close(timeout=_FAREWELL)


def _client(address: str) -> Any:
    # It would write among our own lines; what matters of it comes as an exception.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        return Client(address, timeout=_PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError, TypeError) as error:
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
        return Lost("the workers that had its data have gone")
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

#: Those of the runs that this worker is at, for as long as it is.
_stations: WeakValueDictionary[str, Station] = WeakValueDictionary()
_making = threading.Lock()


def rackhand_job(parcel: Parcel, blobs: Blobs) -> None:
    """Does the job of a parcel, and tells all that happens under the topic. Its name is what a dashboard shows."""
    worker = get_worker()
    if parcel.version != version():
        raise UserError(_other_version(worker.address))
    job: Job = pickle.loads(parcel.data)  # noqa: S301  # whoever can call this function can call any

    def tell(event: Event) -> None:
        worker.log_event(_TOPIC, (parcel.run, event))

    with _making:
        station = _stations.get(parcel.run)
        if station is None:
            station = _stations[parcel.run] = Station(tell, blobs)
    station.do(job)


def stop(run: str) -> None:
    """Cancels what this worker is at for a run."""
    station = _stations.get(run)
    if station is not None:
        station.cancel()

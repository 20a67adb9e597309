"""What serves an application is what the inventory says: its processes, the kind of its workers, and whether one of
them answers two requests at once."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from testinfra.host import Host as Eye

from rackhand.lab import Lab, LabHost
from tests.lab.site import Site

APPS = Path(__file__).parent / "gateway_apps"

UVICORN = "uvicorn.server.Server"
UVICORN_WORKER = "uvicorn_worker._workers.UvicornWorker"
NATIVE = "gunicorn.workers.gasgi.ASGIWorker"
SYNC = "gunicorn.workers.sync.SyncWorker"
THREADS = "gunicorn.workers.gthread.ThreadWorker"
ADAPTER = "a2wsgi.wsgi.WSGIMiddleware"
KINDS = {UVICORN, UVICORN_WORKER, NATIVE, SYNC, THREADS, ADAPTER}


@dataclass(frozen=True, kw_only=True)
class Row:
    """Which application is served, what the inventory says, and what there is of KINDS in a worker then. `together` is
    whether one worker answers two requests at once; None where there are more."""

    folder: str
    settings: dict[str, Any]
    kinds: set[str]
    together: bool | None


ROWS = {
    "uvicorn_worker": Row(
        folder="fast", settings={"worker": "uvicorn", "workers": 1}, kinds={UVICORN_WORKER, UVICORN}, together=True
    ),
    "native": Row(folder="fast", settings={"worker": "asgi", "workers": 1}, kinds={NATIVE}, together=True),
    "alone": Row(folder="fast", settings={"server": "uvicorn", "workers": 3}, kinds={UVICORN}, together=None),
    "sync": Row(folder="slow", settings={"worker": "sync", "workers": 1}, kinds={SYNC}, together=False),
    "gthread": Row(
        folder="slow", settings={"worker": "gthread", "workers": 1, "threads": 2}, kinds={THREADS}, together=True
    ),
    "adapted": Row(
        folder="slow", settings={"server": "uvicorn", "workers": 4}, kinds={UVICORN, ADAPTER}, together=None
    ),
}


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    """A host with an application for each row."""
    (host,) = lab.up(["workers1"])
    site = Site(tmp_path_factory.mktemp("workers"), lab, [host], APPS)
    site.variables["apps"] = {
        name: {"path": str(site.apps / row.folder), "app": "app:app", "route": f"/{name}", **row.settings}
        for name, row in ROWS.items()
    }
    site.write()
    site.deploy(host.name)
    return host


@pytest.mark.parametrize("name", ROWS)
def test_the_processes_are_those_that_were_asked_for(host: LabHost, eye: Callable[[LabHost], Eye], name: str) -> None:
    """A master, and as many workers of this kind as there should be, which answer the requests."""
    row = ROWS[name]
    workers = workers_of(host, eye(host), name)
    assert len(workers) == row.settings["workers"]
    for _ in range(20):
        told = httpx.get(f"http://{host.address}/{name}/serving", timeout=20).json()
        assert told["pid"] in workers
        assert KINDS.intersection(told["classes"]) == row.kinds
        assert any("gunicorn" in one for one in told["classes"]) == ("worker" in row.settings)


def workers_of(host: LabHost, seen: Eye, name: str) -> set[int]:
    unit = os.path.basename(os.readlink(host.root / f"opt/rackhand/current/{name}/unit"))
    master = int(seen.check_output(f"systemctl show --property=MainPID --value {unit}"))
    found = [line.split() for line in seen.check_output("ps -eo pid=,unit:200=").splitlines()]
    return {int(pid) for pid, of in found if of == unit} - {master}


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if UVICORN in row.kinds])
def test_an_idle_worker_rests(host: LabHost, eye: Callable[[LabHost], Eye], name: str) -> None:
    """Uvicorn's own server wakes up ten times a second."""
    seen = eye(host)
    workers = workers_of(host, seen, name)

    def woken() -> int:
        found = [seen.check_output(f"grep -r ^voluntary_ctxt_switches /proc/{pid}/task/*/status") for pid in workers]
        return sum(int(line.split()[-1]) for line in "\n".join(found).splitlines())

    before = woken()
    time.sleep(5)
    assert woken() - before < len(workers) * 5 * 5


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.together is not None])
def test_requests_that_wait_for_each_other(host: LabHost, name: str) -> None:
    """They meet where one worker answers both at once, and nowhere else."""
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: httpx.get(f"http://{host.address}/{name}/meet", timeout=60), range(2)))
    assert [answer.json() for answer in answers] == [{"met": ROWS[name].together}] * 2

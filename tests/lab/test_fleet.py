"""Many hosts at once: by threads, by processes, and by the workers of a Dask cluster."""

import gc
import json
import operator
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from distributed import Client

import rackhand.cluster
from rackhand import PROJECT
from rackhand.cluster import Parcel
from rackhand.commands import Options, gather
from rackhand.job import Job
from rackhand.lab import Lab, LabHost
from rackhand.settings import HostSettings
from tests.lab.running import Running
from tests.lab.site import TIMEOUT, Result, Site

APP = Path(__file__).parent / "small_app"
GATE = "/run/rackhand-test-gate"
PROCESSES = (sys.executable, "-m", "tests.lab.in_processes")
NAMES = ("fleet1", "fleet2")

#: In the variables of the application, where it must go to the host; it must stay nowhere else.
SECRET = "a-word-that-is-nowhere-else"


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> list[LabHost]:
    """Two hosts with the small application."""
    hosts = lab.up(NAMES)
    small(tmp_path_factory.mktemp("fleet"), lab, hosts).deploy("all")
    return hosts


def small(folder: Path, lab: Lab, hosts: Sequence[LabHost]) -> Site:
    site = Site(folder, lab, hosts, APP)
    site.variables["apps"] = {"one": {"path": str(site.apps), "app": "app:app", "route": "/one", "workers": 1}}
    site.write()
    return site


@pytest.fixture
def site(lab: Lab, hosts: list[LabHost], tmp_path: Path) -> Site:
    return small(tmp_path, lab, hosts)


@pytest.fixture
def held(site: Site, hosts: list[LabHost], tmp_path: Path) -> Iterator[Site]:
    """A deploy of it stops in the middle of the preparations, on each host until its gate is there."""
    for host in hosts:
        host.run(["rm", "-f", GATE])
    env = {"TEXT": str(tmp_path), "WAIT_FOR": GATE, "WORD": SECRET}
    site.variables["apps"]["one"] |= {"env": env, "health_timeout": TIMEOUT}
    site.write()
    yield site
    release(hosts)
    site.deploy("all")


def release(hosts: Sequence[LabHost]) -> None:
    for host in hosts:
        host.run(["touch", GATE])


def until_held(run: Running, names: Sequence[str] = NAMES) -> None:
    """Returns once all of these hosts wait for their gates."""
    missing = set(names)
    while missing:
        event = run.until("begin", lambda event: event["id"].startswith("instance:one/"))
        missing.discard(event["host"])


def children(pid: int) -> list[int]:
    """The processes that a process has forked."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def connected(address: str) -> int:
    """The process of this machine that has a connection to the SSH server of a host."""
    for _ in range(100):
        said = subprocess.run(
            ["ss", "-Htnp", "dst", f"{address}:22"], capture_output=True, text=True, check=True
        ).stdout
        if "pid=" in said:
            return int(said.partition("pid=")[2].partition(",")[0])
        time.sleep(0.1)
    pytest.fail(f"nobody is connected to {address}")


def told(result: Result) -> dict[str, list[Any]]:
    """What was told of each host, and of all, without what differs from run to run."""
    events: dict[str, list[Any]] = {}
    for event in result.events:
        events.setdefault(event.get("host", ""), []).append(lasting(event))
    return events


def lasting(value: Any) -> Any:
    passing = ("run", "at", "t", "time", "facts", "startup", "inventory", "seconds", "parts")
    if isinstance(value, dict):
        return {key: lasting(inner) for key, inner in value.items() if key not in passing}
    return value


def outcomes(result: Result) -> dict[str, str]:
    return {name: host["outcome"] for name, host in result.events[-1]["hosts"].items()}


def test_hosts_that_are_slow_to_start_keep_their_places(site: Site, hosts: list[LabHost]) -> None:
    """As those without Python, where it is installed first, or those with too much to do."""
    slow = "/usr/local/bin/slow-python"
    hosts[0].run(["sh", "-c", f"cat > {slow} && chmod 755 {slow}"], input='#!/bin/sh\nsleep 5\nexec python3 "$@"\n')
    site.hosts[NAMES[0]]["ansible_python_interpreter"] = slow
    site.write()
    result = site.invoke("plan", "--host", "all", "--forks", "1", "--json")
    assert result.code == 0, result
    order = [(event["event"], event["host"]) for event in result.events if event["event"] in ("connecting", "end")]
    assert order == [(event, name) for name in NAMES for event in ("connecting", "end")]


# Processes


def test_threads_and_processes_tell_the_same(site: Site) -> None:
    """Of a change that both hosts need, and of a host that does not answer."""
    site.edit("app.py", "text/plain", "text/html")
    site.hosts["nobody"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    site.write()
    found = []
    for program in ((str(PROJECT / "invoke"),), PROCESSES):
        with Running(site, "all", "--check", program=program) as run:
            result = run.end()
        assert (result.code, result.err) == (4, "")
        assert any(id.startswith("release:one/") for id in result.resources("changed"))
        found.append(told(result))
    assert found[0].keys() == {"", *NAMES, "nobody"}
    assert found[0] == found[1]


def test_the_views_ask_through_processes_too(site: Site) -> None:
    commands = (["status", "--host", "all", "--json"], ["releases", "--host", "all", "--json"])
    for command in commands:
        environment = {**os.environ, "RACKHAND_INVENTORY": str(site.inventory)}
        done = subprocess.run(
            [*PROCESSES, *command], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
        )
        assert {json.loads(line)["host"] for line in done.stdout.splitlines()} == set(NAMES)


def test_ctrl_c_reaches_the_hosts_of_processes(held: Site, hosts: list[LabHost]) -> None:
    """Each stops before its switch, and its process has gone."""
    with Running(held, "all", program=PROCESSES) as run:
        until_held(run)
        forked = children(run.process.pid)
        run.interrupt()
        run.until("interrupt")
        release(hosts)
        result = run.end()
    assert result.code == 99, result
    assert outcomes(result) == dict.fromkeys(NAMES, "interrupted")
    assert len(forked) == 2
    assert [pid for pid in forked if Path(f"/proc/{pid}").exists()] == []


def test_a_second_ctrl_c_leaves_the_hosts_of_processes_to_themselves(held: Site, hosts: list[LabHost]) -> None:
    """The run ends while they are at work."""
    with Running(held, "all", program=PROCESSES) as run:
        until_held(run)
        run.interrupt()
        run.until("interrupt")
        time.sleep(1)  # what comes sooner is taken for the same Ctrl-C
        run.interrupt()
        result = run.end()
    assert result.code == 99, result
    assert outcomes(result) == dict.fromkeys(NAMES, "lost")


def test_processes_end_with_a_controller_that_is_killed(held: Site, hosts: list[LabHost]) -> None:
    """The hosts go on alone, and the next run tells of it."""
    with Running(held, "all", program=PROCESSES) as run:
        until_held(run)
        forked = children(run.process.pid)
        run.process.kill()
        run.process.wait()
        deadline = time.monotonic() + TIMEOUT
        while any(Path(f"/proc/{pid}").exists() for pid in forked) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert [pid for pid in forked if Path(f"/proc/{pid}").exists()] == []
    release(hosts)
    result = held.deploy("all")
    assert {event["host"] for event in result.events if event["event"] in ("found", "other")} == set(NAMES)


def test_a_process_that_is_killed_takes_its_hosts_alone_with_it(held: Site, hosts: list[LabHost]) -> None:
    """They are called lost, and the others go on."""
    with Running(held, "all", program=PROCESSES) as run:
        until_held(run)
        os.kill(connected(hosts[0].address), signal.SIGKILL)
        lost = run.until("lost")
        release(hosts)
        result = run.end()
    assert result.code == 4, result
    assert lost["host"] == NAMES[0]
    assert outcomes(result) == {NAMES[0]: "lost", NAMES[1]: "ok"}


# Dask


class DaskCluster:
    """A scheduler and workers of Dask's own command line on this machine, each a process in a group of its own. With a
    configuration, they use the certificates that it names."""

    def __init__(self, folder: Path, configuration: Path | None = None) -> None:
        self.folder = folder
        self.environment = {"DASK_CONFIG": str(configuration)} if configuration else {}
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        listen = "tls://127.0.0.1" if configuration else "tcp://127.0.0.1"
        self.address = f"{listen}:{port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "scheduler", "--host", listen, "--port", str(port), "--no-dashboard")

    def _start(self, name: str, *arguments: str, source: Path = PROJECT) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                cwd=source,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def worker(
        self, name: str, *options: str, nthreads: int = 4, nanny: bool = False, source: Path = PROJECT
    ) -> subprocess.Popen[bytes]:
        """Another worker, of the Rackhand in a folder. It is there when this returns."""
        more = ("--nthreads", str(nthreads), "--nanny" if nanny else "--no-nanny", "--no-dashboard", *options)
        where = ("--local-directory", str(self.folder / name))
        process = self._start(name, "worker", self.address, "--name", name, *more, *where, source=source)
        deadline = time.monotonic() + TIMEOUT
        while "Registered to" not in (self.folder / f"{name}.log").read_text():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        return process

    def said(self) -> str:
        """All that its processes have left behind in files."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return "".join(path.read_text(errors="replace") for path in files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            os.killpg(process.pid, signal.SIGKILL)  # a nanny has a worker
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    folder = tmp_path / "dask"
    folder.mkdir()
    with DaskCluster(folder) as cluster:
        yield cluster


@pytest.fixture
def crew(cluster: DaskCluster) -> DaskCluster:
    """A cluster with two workers."""
    for name in ("first", "second"):
        cluster.worker(name)
    return cluster


def test_workers_deploy_and_tell_meanwhile(held: Site, hosts: list[LabHost], crew: DaskCluster) -> None:
    """What is told comes before the end, and is what threads tell; nothing of a host's secrets stays behind."""
    held.hosts[NAMES[0]] |= {"ansible_user": "operator", "ansible_become": True}
    held.hosts[NAMES[0]] |= {"ansible_become_password": "lab-operator"}
    held.write()
    with Running(held, "all", "--scheduler", crew.address) as run:
        until_held(run)
        assert {connected(host.address) for host in hosts} <= {process.pid for process in crew.processes[1:]}
        tasks = shown(crew.address)
        release(hosts)
        result = run.end()
    assert result.code == 0, result.out[-3000:] + result.err
    assert outcomes(result) == dict.fromkeys(NAMES, "ok")
    for host in hosts:
        release_of = result.events[-1]["hosts"][host.name]
        assert release_of["changed"] > 0
        assert httpx.get(f"http://{host.address}/one/", timeout=10).status_code == 200
    assert "rackhand_job" in tasks
    assert "Parcel(" in tasks
    left = shown(crew.address, "rackhand_job")
    assert "rackhand_job" not in left
    for text in (tasks, left, crew.said(), result.out, result.err):
        assert SECRET not in text
        assert "lab-operator" not in text
    again = held.invoke("deploy", "--host", "all", "--json", "--scheduler", crew.address)
    assert told(again) == told(held.deploy("all"))


def shown(address: str, gone: str | None = None) -> str:
    """All that scheduler and workers show of tasks, data and events; without a word that may take a moment to go."""

    def of_scheduler(dask_scheduler: Any) -> str:
        tasks = [
            (key, repr(task), repr(task.run_spec), repr(getattr(task.run_spec, "args", ())))
            for key, task in dask_scheduler.tasks.items()
        ]
        return repr((tasks, dask_scheduler.get_events()))

    def of_worker(dask_worker: Any) -> str:
        tasks = [
            (key, repr(task), repr(task.run_spec), repr(getattr(task.run_spec, "args", ())))
            for key, task in dask_worker.state.tasks.items()
        ]
        return repr((tasks, list(dask_worker.data)))

    with Client(address, timeout=TIMEOUT, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + TIMEOUT
        while True:
            found = repr((client.run_on_scheduler(of_scheduler), client.run(of_worker)))
            if gone is None or gone not in found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


def test_jobs_are_forgotten_however_they_end(held: Site, hosts: list[LabHost], crew: DaskCluster) -> None:
    """Well, with hosts that failed, or with an exception: nothing of them stays in a worker's memory."""
    to_all = ("--host", "all", "--json", "--scheduler", crew.address)
    with Running(held, "all", "--scheduler", crew.address) as run:
        until_held(run)
        # What is not seen now, could not be seen to have gone.
        assert remembered(crew.address) == {"Job", "Parcel", "HostSettings", "run", "word"}
        release(hosts)
        assert run.end().code == 0
    assert remembered(crew.address, gone=True) == set()
    held.edit("app.py", "import os", "import os, no_such_module")
    failed = held.invoke("deploy", *to_all)
    held.edit("app.py", "import os, no_such_module", "import os")
    assert outcomes(failed) == dict.fromkeys(NAMES, "failed")
    assert remembered(crew.address, gone=True) == set()
    with pytest.raises(TypeError, match="unsupported operand"):
        gather(Options(host="all", inventory=[str(held.inventory)], scheduler=crew.address), operator.truediv)
    assert remembered(crew.address, gone=True) == set()


def remembered(address: str, *, gone: bool = False) -> set[str]:
    """What of jobs and runs is in the memory of workers: kinds of objects, and the secret word in any text. If it
    should be gone, it is given time to go."""
    backwards = SECRET[::-1]  # or the question itself would bring the word there

    def look() -> set[str]:
        gc.collect()
        objects = gc.get_objects()
        found = {type(thing).__name__ for thing in objects if type(thing) in (Job, Parcel, HostSettings)}
        if rackhand.cluster._runs:
            found.add("run")
        word = backwards[::-1]
        while objects:
            inside = gc.get_referents(*objects)
            for thing in inside:  # a generator would share the word with this function, in a cell that is found
                sought = word if issubclass(type(thing), str) else word.encode()
                if issubclass(type(thing), (str, bytes, bytearray)) and sought in thing:
                    found.add("word")
            # Python does not keep track of those that hold nothing but texts.
            objects = [thing for thing in inside if type(thing) in (dict, tuple) and not gc.is_tracked(thing)]
        return found

    with Client(address, timeout=TIMEOUT, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + TIMEOUT
        while True:
            found: set[str] = set().union(*client.run(look).values())
            if not gone or not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


def test_the_hosts_of_a_worker_that_is_killed_are_taken_over(
    held: Site, hosts: list[LabHost], crew: DaskCluster
) -> None:
    """By the other worker, which waits for what still runs on the host: no host is done twice at once."""
    with Running(held, "all", "--scheduler", crew.address) as run:
        until_held(run)
        taken = [host for host in hosts if connected(host.address) == connected(hosts[0].address)]
        os.kill(connected(hosts[0].address), signal.SIGKILL)
        for _ in taken:
            event = run.until("notice", lambda event: "another one takes over" in event["text"])
            assert event["host"] in {host.name for host in taken}
        run.until("other", lambda event: event["said"].get("id", "").startswith("instance:one/"))
        release(hosts)
        result = run.end()
    assert result.code == 0, result.out[-3000:] + result.err
    assert outcomes(result) == dict.fromkeys(NAMES, "ok")
    run_name = result.events[0]["run"]
    for host in hosts:
        text = host.run(["cat", f"/var/lib/rackhand/runs/{run_name}.jsonl"]).stdout
        steps = [event["event"] for event in map(json.loads, text.splitlines()) if event["event"] in ("start", "end")]
        assert steps == ["start", "end"] * (2 if host in taken else 1)
        changed = [event for event in map(json.loads, text.splitlines()) if event.get("status") == "changed"]
        assert len({event["id"] for event in changed}) == len(changed)


def test_ctrl_c_reaches_the_hosts_of_workers(held: Site, hosts: list[LabHost], crew: DaskCluster) -> None:
    """Each stops before its switch; the workers live on."""
    with Running(held, "all", "--scheduler", crew.address) as run:
        until_held(run)
        run.interrupt()
        run.until("interrupt")
        release(hosts)
        result = run.end()
    assert result.code == 99, result
    assert outcomes(result) == dict.fromkeys(NAMES, "interrupted")
    assert [process.poll() for process in crew.processes] == [None] * 3


def test_a_second_ctrl_c_leaves_the_hosts_to_the_workers(held: Site, hosts: list[LabHost], crew: DaskCluster) -> None:
    """The run ends while they are at work, and begins no other host. The workers see them through."""
    with Running(held, "all", "--scheduler", crew.address, "--forks", "1") as run:
        until_held(run, NAMES[:1])
        run.interrupt()
        run.until("interrupt")
        time.sleep(1)  # what comes sooner is taken for the same Ctrl-C
        run.interrupt()
        result = run.end()
    assert result.code == 99, result
    assert result.events[-1]["hosts"][NAMES[0]]["outcome"] == "lost"
    assert result.events[-1]["hosts"][NAMES[1]]["state"] == "not started, untouched"
    release(hosts)
    deadline = time.monotonic() + TIMEOUT
    path = f"/var/lib/rackhand/runs/{result.events[0]['run']}.jsonl"
    while '"heard"' not in hosts[0].run(["cat", path]).stdout and time.monotonic() < deadline:
        time.sleep(0.1)
    assert '"interrupted":true' in hosts[0].run(["grep", '"end"', path]).stdout


@pytest.mark.parametrize("forks", ["1", "2"])
def test_a_controller_that_is_killed_leaves_its_hosts_to_the_workers(
    held: Site, hosts: list[LabHost], cluster: DaskCluster, forks: str
) -> None:
    """They see through what is begun, and begin no other: neither what waits with them, nor what waited here."""
    cluster.worker("only", nthreads=1)
    with Running(held, "all", "--scheduler", cluster.address, "--forks", forks) as run:
        begun = run.until("begin", lambda event: event["id"].startswith("instance:one/"))
        run.process.kill()
    release(hosts)
    assert "rackhand_job" not in shown(cluster.address, "rackhand_job")
    journals = {host.name: host.root / f"var/lib/rackhand/runs/{begun['run']}.jsonl" for host in hosts}
    *_, end, last = map(json.loads, journals.pop(begun["host"]).read_text().splitlines())
    assert (end["event"], end["interrupted"], end["failed"], last["event"]) == ("end", False, 0, "heard")
    assert [name for name, journal in journals.items() if journal.exists()] == []


def test_a_scheduler_that_is_killed(held: Site, hosts: list[LabHost], crew: DaskCluster) -> None:
    """The hosts are lost, and go on alone."""
    with Running(held, "all", "--scheduler", crew.address) as run:
        until_held(run)
        crew.processes[0].kill()
        result = run.end()
        release(hosts)
    assert result.code == 4, result
    assert outcomes(result) == dict.fromkeys(NAMES, "lost")
    assert "Traceback" not in result.err


def test_hosts_that_had_not_begun_when_the_scheduler_is_killed(
    held: Site, hosts: list[LabHost], crew: DaskCluster
) -> None:
    """They are lost too, at once and for the same reason. The run ends as any other."""
    waiting = ("waiting1", "waiting2", "waiting3")
    inventories = ("--inventory", str(held.inventory), "--inventory", ",".join(waiting))
    options = (*inventories, "--scheduler", crew.address, "--forks", "1", "--no-canary")
    with Running(held, ",".join((NAMES[0], *waiting)), *options) as run:
        until_held(run, NAMES[:1])
        crew.processes[0].kill()
        result = run.end()
        release(hosts)
    assert (result.code, result.err) == (4, "")
    assert outcomes(result) == dict.fromkeys((NAMES[0], *waiting), "lost")
    reasons = {event["reason"] for event in result.events if event["event"] == "lost"}
    assert reasons == {"the cluster has given up on it"}
    assert result.events[-1]["hosts"][waiting[-1]]["state"] == "connection ended, untouched"


def test_workers_do_no_more_than_forks_hosts_at_once(held: Site, hosts: list[LabHost], crew: DaskCluster) -> None:
    with Running(held, "all", "--scheduler", crew.address, "--forks", "1") as run:
        until_held(run, NAMES[:1])
        release(hosts)
        result = run.end()
    assert result.code == 0, result
    order = [event["host"] for event in result.events if event["event"] in ("connecting", "end")]
    assert order == [NAMES[0], NAMES[0], NAMES[1], NAMES[1]]


def test_a_worker_takes_over_from_the_only_one(held: Site, hosts: list[LabHost], cluster: DaskCluster) -> None:
    """It may join after that one was killed."""
    worker = cluster.worker("only")
    with Running(held, "all", "--scheduler", cluster.address) as run:
        until_held(run)
        worker.kill()
        cluster.worker("another")
        run.until("notice", lambda event: "another one takes over" in event["text"])
        release(hosts)
        result = run.end()
    assert result.code == 0, result.out[-3000:] + result.err


def test_a_job_that_kills_workers_is_given_up(held: Site, hosts: list[LabHost], cluster: DaskCluster) -> None:
    """Its host is lost, and goes on alone."""
    worker = cluster.worker("first")
    with Running(held, NAMES[0], "--scheduler", cluster.address) as run:
        for name in ("second", "third", "fourth", None):
            run.until("facts")
            worker.kill()
            if name is not None:
                worker = cluster.worker(name)
        lost = run.until("lost")
        release(hosts)
        result = run.end()
    assert (result.code, lost["reason"]) == (4, "4 workers ended while they were at it")


def refused(site: Site, address: str, environment: Mapping[str, str] | None = None) -> str:
    result = site.invoke("deploy", "--host", "all", "--scheduler", address, environment=environment)
    assert (result.code, result.out) == (5, ""), result
    assert len(result.err.splitlines()) == 1, result.err
    return result.err


def test_workers_of_another_version_are_refused(site: Site, cluster: DaskCluster, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in ("rackhand", "roles", "templates"):
        shutil.copytree(PROJECT / name, other / name)
    with (other / "templates/unit.service.j2").open("a") as file:
        file.write("# another\n")
    cluster.worker("other", source=other)
    assert "has another version of Rackhand" in refused(site, cluster.address)


def test_workers_without_rackhand_are_refused(site: Site, cluster: DaskCluster, tmp_path: Path) -> None:
    cluster.worker("bare", source=tmp_path)
    said = refused(site, cluster.address)
    assert "has no Rackhand" in said
    assert "No module named 'rackhand'" in said


def test_a_scheduler_without_workers_is_refused(site: Site, cluster: DaskCluster) -> None:
    assert "has no workers" in refused(site, cluster.address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1:port", ""])
def test_an_address_without_a_scheduler_is_refused(site: Site, address: str) -> None:
    assert refused(site, address).startswith(f"--scheduler {address}: does not answer as Dask's scheduler: ")


def test_a_scheduler_with_tls_needs_a_certificate(site: Site) -> None:
    assert "needs a certificate" in refused(site, "tls://127.0.0.1:1")


def configured(folder: Path) -> Path:
    """The configuration that docs/fleets.md shows, with certificates of a new CA."""
    folder.mkdir()
    now, ca = datetime.now(UTC), generate_private_key(SECP256R1())
    for name in ("ca", "scheduler", "worker", "client"):
        key = ca if name == "ca" else generate_private_key(SECP256R1())
        subject, issuer = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, who)]) for who in (name, "ca"))
        certificate = (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .sign(ca, SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    page = (PROJECT / "docs/fleets.md").read_text()
    text = page.partition("## Certificates")[2].partition("```yaml\n")[2].partition("```")[0]
    configuration = folder / "rackhand.yaml"
    configuration.write_text(text.replace("/etc/rackhand", str(folder)))
    return configuration


def test_a_cluster_with_certificates(site: Site, hosts: list[LabHost], tmp_path: Path) -> None:
    """As the page sets it up, it deploys. Certificates of another CA are refused, whoever looks first."""
    own, other = configured(tmp_path / "own"), configured(tmp_path / "other")
    folder = tmp_path / "dask"
    folder.mkdir()
    with DaskCluster(folder, own) as cluster:
        cluster.worker("first", "--memory-limit", "0", nthreads=50, nanny=True)
        site.edit("app.py", "text/plain", "text/html")
        to_one = ("--host", NAMES[0], "--json", "--scheduler", cluster.address)
        result = site.invoke("deploy", *to_one, environment=cluster.environment)
        assert (result.code, result.err) == (0, "")
        served = httpx.get(f"http://{hosts[0].address}/one/", timeout=10)
        assert served.headers["Content-Type"] == "text/html"
        assert "requires tls://" in refused(site, cluster.address.replace("tls:", "tcp:"), cluster.environment)
        assert "certificates of the same CA" in refused(site, cluster.address, {"DASK_CONFIG": str(other)})
        shutil.copy(own.parent / "ca.pem", other.parent / "ca.pem")  # now this side would trust the scheduler
        assert "certificates of the same CA" in refused(site, cluster.address, {"DASK_CONFIG": str(other)})


def test_dask_is_needed(site: Site) -> None:
    """Where it is not installed, the command that does it is told."""
    code = "import sys; sys.modules['distributed'] = None; from rackhand import cli; cli.main()"
    command = [sys.executable, "-c", code, "facts", "--host", "all", "--scheduler", "tcp://127.0.0.1:1"]
    environment = {**os.environ, "RACKHAND_INVENTORY": str(site.inventory)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.endswith(" -r requirements-dask.lock\n")


def test_this_machine_is_not_for_workers(site: Site) -> None:
    site.hosts["here"] = {"ansible_connection": "local"}
    site.write()
    assert refused(site, "tcp://127.0.0.1:1").startswith("here: ansible_connection: local")

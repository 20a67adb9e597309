"""Kinds of hosts: what Rackhand makes of each, and which it refuses."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from testinfra.host import Host as Eye

from rackhand.lab import Lab, LabHost
from tests.lab.logins import logins
from tests.lab.running import Running
from tests.lab.site import Site
from tests.lab.test_runs import at_work

SMALL_APP = Path(__file__).parent / "small_app"
SERVED = {"async_api": "/async-api/health", "sync_api": "/sync-api/health"}


@pytest.fixture(scope="module")
def pair(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[LabHost, LabHost]:
    """Two ways to have one core for services: a Debian 13 that may use one, and a Debian 12 that may use all of them
    for a part of the time. Both example applications were deployed to them in one run."""
    (trixie,) = lab.up(["trixie"], "trixie", cores=1)
    (quota,) = lab.up(["quota"], cpu_quota=1.0)
    Site(tmp_path_factory.mktemp("pair"), lab, [trixie, quota]).deploy("all")
    return trixie, quota


@pytest.fixture(params=[0, 1], ids=["trixie", "quota"])
def host(pair: tuple[LabHost, LabHost], request: pytest.FixtureRequest) -> LabHost:
    """Each of the pair."""
    return pair[request.param]


@pytest.fixture
def site(lab: Lab, pair: tuple[LabHost, LabHost], tmp_path: Path) -> Site:
    return Site(tmp_path, lab, pair)


def small_site(folder: Path, lab: Lab, host: LabHost) -> Site:
    """A site with one application that needs no package."""
    site = Site(folder, lab, [host], SMALL_APP)
    site.variables["apps"] = {"small": {"path": str(site.apps), "app": "app:app", "route": "/small", "workers": 1}}
    site.write()
    return site


def served(host: LabHost, within: float = 0) -> dict[str, str]:
    """By application: the release that answers through port 80, after so many seconds at most."""
    deadline = time.monotonic() + within
    while True:
        try:
            answers = {app: httpx.get(f"http://{host.address}{path}", timeout=10) for app, path in SERVED.items()}
            assert {app: answer.status_code for app, answer in answers.items()} == dict.fromkeys(SERVED, 200)
            return {app: answer.json()["release"] for app, answer in answers.items()}
        except (httpx.HTTPError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def everything(host: LabHost) -> str:
    """What is on the disk, with the times of the last changes. Not what a mere login writes."""
    left_out = " -o ".join(f"-path {path} -prune" for path in ("/run", "/tmp", "/var/log", "/var/lib/systemd"))
    return host.run(["sh", "-c", f"find / -xdev {left_out} -o -printf '%p %C@\\n' | sort"]).stdout


# Served


def test_both_debian_releases_serve(host: LabHost, eye: Callable[[LabHost], Eye]) -> None:
    """Both applications, from a machine that had nothing."""
    seen = eye(host)
    assert seen.system_info.codename == host.image
    assert seen.service("nginx").is_enabled
    for app, release in served(host).items():
        assert seen.service(f"rackhand-{app}@{release}-1").is_running
    assert seen.check_output("systemctl list-units --state=failed --no-legend") == ""


def test_a_second_run_changes_nothing(site: Site, pair: tuple[LabHost, LabHost]) -> None:
    """On either release of Debian."""
    before = [served(host) for host in pair]
    assert site.deploy("all").resources("changed") == []
    assert [served(host) for host in pair] == before


def test_workers_follow_the_cores_that_may_be_used(site: Site, host: LabHost, eye: Callable[[LabHost], Eye]) -> None:
    """One more than these, whatever number the machine has: the processes are counted on the host."""
    (answer,) = site.invoke("facts", "--host", host.name, "--json").events
    facts = answer["facts"]
    assert facts["cores"] == 1
    assert facts["cores_affinity"] == int(eye(host).check_output("nproc"))
    assert facts["cores_quota"] == host.cpu_quota
    for app in SERVED:
        parents = eye(host).check_output(f"pgrep -u rackhand-{app} -f gunicorn | xargs -n 1 ps -o ppid= -p").split()
        (main,) = (parent for parent in set(parents) if parent != "1")
        assert parents.count(main) == facts["cores"] + 1


# A reboot


@pytest.mark.parametrize(("host", "stop"), [(0, LabHost.reboot), (1, LabHost.power_cut)], indirect=["host"])
def test_a_reboot_brings_the_same_releases_back(site: Site, host: LabHost, stop: Callable[[LabHost], None]) -> None:
    """By itself, with no run of Rackhand, whether the host was shut down or lost power; it is what a deploy wants."""
    before, runs = served(host), host.run(["ls", "/var/lib/rackhand/runs"]).stdout
    boot = host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout
    stop(host)
    host.boot()
    assert served(host, within=60) == before
    assert host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout != boot
    assert host.run(["ls", "/var/lib/rackhand/runs"]).stdout == runs
    assert site.deploy(host.name).resources("changed") == []


# Provision


def test_provision_makes_a_new_host_ready(lab: Lab, tmp_path: Path, eye: Callable[[LabHost], Eye]) -> None:
    """It has what every application needs, and none; a second run changes nothing; a deploy then adds the rest."""
    (host,) = lab.up(["ready"])
    site = small_site(tmp_path, lab, host)
    first = site.invoke("provision", "--host", "ready", "--json")
    assert first.code == 0, first.out + first.err
    seen = eye(host)
    assert seen.package("nginx").is_installed
    assert seen.service("nginx").is_running
    assert seen.service("rackhand").is_enabled
    assert seen.file("/var/lib/rackhand").mode == 0o700
    assert seen.file("/opt/rackhand/apps").listdir() == []
    assert not seen.user("rackhand-small").exists
    assert seen.run("ls /etc/systemd/system/rackhand-*").rc != 0
    second = site.invoke("provision", "--host", "ready", "--json")
    assert second.code == 0
    assert second.resources("changed") == []
    changed = site.deploy("ready").resources("changed")
    assert not {resource.partition(":")[0] for resource in changed} & {"packages", "file", "link"}
    assert httpx.get(f"http://{host.address}/small/").status_code == 200


def test_provision_leaves_what_is_deployed_alone(site: Site, pair: tuple[LabHost, LabHost]) -> None:
    """The applications of a host serve on, in the same processes."""
    processes = ["systemctl", "show", "--property=InvocationID", "rackhand-*", "nginx"]
    before = [(served(host), host.run(processes).stdout) for host in pair]
    result = site.invoke("provision", "--host", "all", "--json")
    assert result.code == 0, result.out + result.err
    assert result.resources("changed") == []
    assert [(served(host), host.run(processes).stdout) for host in pair] == before


# While apt installs


#: Holds the lock of dpkg until it is told to let go, and listens where it never answers.
_HOLD = """
import fcntl, os, socket, time
file = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
listener = socket.create_server(("127.0.0.1", 9999))
open("/run/holding", "w").close()
while not os.path.exists("/run/let-go"):
    time.sleep(0.05)
"""
#: Waits for ever while that listens.
_NEVER_COMES = "never @ http://127.0.0.1:9999/never-1.0-py3-none-any.whl"
#: The bracket keeps pgrep from the shell that it is called by.
_UV_INSTALLS = "pgrep -f 'rackhand/[u]v/[0-9a-f]* pip install'"
#: What is there only as a source distribution.
_TO_BE_BUILT = "docopt==0.6.2"


def test_environments_are_made_while_apt_installs(lab: Lab, tmp_path: Path) -> None:
    """But for one of which something has to be built: that may need what apt installs."""
    (host,) = lab.up(["early"])
    site = small_site(tmp_path, lab, host)
    built = tmp_path / "built"
    shutil.copytree(SMALL_APP, built)
    (built / "requirements.txt").write_text(f"{_TO_BE_BUILT}\n")
    small = site.variables["apps"]["small"]
    site.variables["apps"] = {"built": {**small, "path": str(built), "route": "/built"}, "small": small}
    site.write()
    hold(host)
    with Running(site, host.name) as run:
        run.until("begin", lambda event: event["id"] == "packages:apt")
        # They are made in the order of the plan.
        until(host, "[ -e /opt/rackhand/venvs/.*.partial/.rackhand.* ]")
        environments = host.run(["ls", "-A", "/opt/rackhand/venvs"]).stdout.split()
        assert len(environments) == 1, environments
        assert host.run(["sh", "-c", "command -v nginx"], check=False).returncode != 0
        host.run(["touch", "/run/let-go"])
        result = run.end()
    assert result.code == 0, result.out + result.err
    python = "/opt/rackhand/current/built/release/venv/bin/python"
    assert host.run([python, "-c", "import docopt; print(docopt.__version__)"]).stdout == "0.6.2\n"
    for route in ("/built", "/small"):
        assert httpx.get(f"http://{host.address}{route}/health").status_code == 200
    assert "partial" not in host.run(["ls", "-A", "/opt/rackhand/venvs"]).stdout


@pytest.mark.parametrize("killed", ["agent", "apt"])
def test_environments_are_not_made_behind_a_run_that_has_ended(lab: Lab, tmp_path: Path, killed: str) -> None:
    """Whether it was killed itself or has failed."""
    (host,) = lab.up([f"early-{killed}"])
    site = small_site(tmp_path, lab, host)
    requirements = site.apps / "requirements.txt"
    before = requirements.read_text()
    requirements.write_text(f"{before}\n{_NEVER_COMES}\n")
    hold(host)
    with Running(site, host.name) as run:
        run.until("begin", lambda event: event["id"] == "packages:apt")
        until(host, f"{_UV_INSTALLS} && pgrep apt-get")
        if killed == "agent":
            host.run(["kill", "-9", str(at_work(host))])
        else:
            host.run(["pkill", "-9", "apt-get"])
        until(host, f"! {_UV_INSTALLS}", within=10)  # uv itself gives up after half a minute
        assert run.end().code != 0
    if killed == "apt":
        assert host.run(["ls", "-A", "/opt/rackhand/venvs"]).stdout == ""
    host.run(["touch", "/run/let-go"])
    requirements.write_text(before)
    site.deploy(host.name)
    assert httpx.get(f"http://{host.address}/small/health").status_code == 200
    assert "partial" not in host.run(["ls", "-A", "/opt/rackhand/venvs"]).stdout


def hold(host: LabHost) -> None:
    """Has apt wait until there is /run/let-go."""
    host.run(["systemd-run", "--quiet", "--unit=holder", "python3", "-c", _HOLD])
    until(host, "[ -e /run/holding ]")


def until(host: LabHost, test: str, within: int = 60) -> None:
    """Waits until a test of the shell is true, for so many seconds at most."""
    host.run(["timeout", str(within), "sh", "-c", f"until {test}; do sleep 0.05; done"])


# Without Python


def test_a_host_without_python(lab: Lab, tmp_path: Path) -> None:
    """A plan says that it is missing, and changes nothing; a deploy installs it in its one connection."""
    (host,) = lab.up(["nopython"])
    host.run(["sh", "-c", "apt-get -qq -y purge 'python3*' 'libpython3*' && ! command -v python3"])
    site = small_site(tmp_path, lab, host)
    before = everything(host)
    plan = site.invoke("plan", "--host", "nopython")
    assert plan.code == 2
    assert "nopython  failed        the host has no Python 3: a deploy installs it first\n" in plan.out
    assert everything(host) == before

    earlier = logins(host)
    site.deploy("nopython")
    assert logins(host) == earlier + 1
    assert host.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", "python3"]).stdout == "installed"
    assert httpx.get(f"http://{host.address}/small/").status_code == 200


# Refused


@pytest.fixture(scope="module")
def odd(lab: Lab) -> LabHost:
    """A host to which nothing is ever deployed."""
    (host,) = lab.up(["odd"])
    return host


def no_apt(host: LabHost) -> Iterator[None]:
    host.run(["mv", "/usr/bin/apt-get", "/usr/bin/apt-get.away"])
    try:
        yield
    finally:
        host.run(["mv", "/usr/bin/apt-get.away", "/usr/bin/apt-get"])


def no_apt_and_no_python(host: LabHost) -> Iterator[None]:
    host.run(["mv", "/usr/bin/python3", "/usr/bin/python3.away"])
    try:
        yield from no_apt(host)
    finally:
        host.run(["mv", "/usr/bin/python3.away", "/usr/bin/python3"])


def old_python(host: LabHost) -> Iterator[None]:
    """Debian 11's own, unpacked."""
    script = """
    set -eu
    mkdir -p /root/old/lists/partial; cd /root/old
    echo "deb [check-valid-until=no] $(awk '{print $2; exit}' /etc/apt/sources.list) bullseye main" > sources
    apt="apt-get -qq -o Dir::Etc::sourcelist=$PWD/sources -o Dir::Etc::sourceparts=- -o Dir::State::lists=$PWD/lists"
    apt="$apt -o Acquire::Languages=none"
    $apt update
    $apt download python3.9-minimal libpython3.9-minimal
    for package in *.deb; do dpkg-deb -x "$package" /; done
    ln -sf python3.9 /usr/bin/python3
    """
    host.run(["sh", "-c", script])
    try:
        yield
    finally:
        host.run(["ln", "-sf", "python3.11", "/usr/bin/python3"])


def half_a_python(host: LabHost) -> Iterator[None]:
    """What is there when only python3-minimal is installed."""
    host.run(["mv", "/usr/lib/python3.11/tarfile.py", "/usr/lib/python3.11/json", "/root"])
    try:
        yield
    finally:
        host.run(["mv", "/root/tarfile.py", "/root/json", "/usr/lib/python3.11"])


def no_systemd(host: LabHost) -> Iterator[None]:
    """Another init: one that starts sshd, and nothing else."""
    script = f"""#!/bin/sh
    ip link set host0 up
    ip address add {host.address}/24 dev host0
    mkdir -p /run/sshd
    exec /usr/sbin/sshd -D
    """
    host.power_cut()
    init = host.root / "sbin/init"
    systemd = init.readlink()
    init.unlink()
    init.write_text(script)
    init.chmod(0o755)
    host.boot()
    host.wait_ssh()
    try:
        yield
    finally:
        host.power_cut()
        init.unlink()
        init.symlink_to(systemd)
        host.boot()
        host.wait_ssh()


#: How a host is made odd, and what is said of it.
ODD: dict[Callable[[LabHost], Iterator[None]], str] = {
    no_apt: "Debian GNU/Linux 12 (bookworm) has no apt: Rackhand manages Debian and Ubuntu hosts",
    no_apt_and_no_python: "the host has no apt: Rackhand manages Debian and Ubuntu hosts",
    old_python: "Python 3.10 or later is needed, and the host has 3.9.2",
    half_a_python: "the host's Python lacks parts of its library",
    no_systemd: "systemd is not running as init: Rackhand manages services through it",
}


@pytest.mark.parametrize("kind", ODD)
def test_a_host_that_cannot_be_managed_is_refused(
    odd: LabHost, lab: Lab, tmp_path: Path, kind: Callable[[LabHost], Iterator[None]]
) -> None:
    """With one line that says why, before anything is changed."""
    site = small_site(tmp_path, lab, odd)
    with contextmanager(kind)(odd):
        before = everything(odd)
        result = site.invoke("deploy", "--host", "odd")
        assert result.code == 2, result.out + result.err
        assert [line for line in result.out.splitlines() if ODD[kind] in line] != []
        assert "odd: failed, nothing was changed" in result.out
        assert "Traceback" not in result.out + result.err
        assert everything(odd) == before
        assert site.invoke("facts", "--host", "odd").code == 2
    assert site.invoke("facts", "--host", "odd").code == 0

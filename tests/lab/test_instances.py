"""Instances: restarted, beside or after each other, refused for want of memory, watched, and put back."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from rackhand.lab import Lab, LabHost
from tests.lab.site import Result, Site
from tests.lab.test_hosts import small_site

MIB = 2**20


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    """One with little memory: room for one instance of an application that takes its ballast, not for two."""
    (host,) = lab.up(["cramped"], memory=700 * MIB)
    return host


@pytest.fixture
def site(lab: Lab, host: LabHost, tmp_path: Path) -> Site:
    site = small_site(tmp_path, lab, host)
    site.variables["apps"]["small"] |= {"drain": 5}
    site.write()
    site.deploy("cramped")
    return site


def add(site: Site, code: str) -> None:
    """Makes the application another one."""
    with (site.apps / "app.py").open("a") as file:
        file.write(f"\n{code}\n")


def current(host: LabHost) -> str:
    """The instance that is current."""
    unit = host.run(["readlink", "/opt/rackhand/current/small/unit"]).stdout.strip()
    return unit.partition("@")[2].removesuffix(".service")


def running(host: LabHost) -> list[str]:
    """The instances that run, but for those that drain."""
    listed = host.run(["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "rackhand-small@*"])
    return [line.split()[0].partition("@")[2].removesuffix(".service") for line in listed.stdout.splitlines()]


@contextmanager
def asked(host: LabHost) -> Iterator[list[object]]:
    """While it lasts, the application is asked without end, by two clients that do not retry; gives the statuses."""
    statuses: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                statuses.append(httpx.get(f"http://{host.address}/small/", timeout=60).status_code)
            except httpx.HTTPError as error:
                statuses.append(repr(error))
            time.sleep(0.02)

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        yield statuses
    finally:
        done.set()
        for client in clients:
            client.join()


def failed(result: Result, said: str) -> None:
    assert result.code == 2, result.out + result.err
    assert said in result.out


def test_restart_gives_new_processes_of_the_same_release(site: Site, host: LabHost) -> None:
    """Beside the old ones, without a lost request; a deploy then has nothing to do."""
    before = current(host)
    with asked(host) as statuses:
        assert site.invoke("restart", "--host", "cramped").code == 0
    assert set(statuses) == {200}
    after = current(host)
    assert (after.partition("-")[0], after) != (before.partition("-")[0], before)
    assert after.partition("-")[0] == before.partition("-")[0]
    assert running(host) == [after]
    assert site.deploy("cramped").resources("changed") == []


def test_without_room_for_two_a_release_is_refused_before_it_starts(site: Site, host: LabHost) -> None:
    """Unless the application says that its releases run one after the other: then requests wait meanwhile."""
    add(site, f"BALLAST = b'x' * {300 * MIB}")
    site.deploy("cramped")
    before = current(host)
    add(site, "# another")
    failed(
        site.invoke("deploy", "--host", "cramped"), "no room for a second instance beside the running one: that uses 3"
    )
    assert (current(host), running(host)) == (before, [before])
    site.variables["apps"]["small"]["strategy"] = "restart"
    site.write()
    with asked(host) as statuses:
        site.deploy("cramped")  # from one strategy to the other
        add(site, "# a third")
        site.deploy("cramped")
        assert site.invoke("restart", "--host", "cramped").code == 0
    assert set(statuses) == {200}
    assert running(host) == [current(host)]
    assert site.deploy("cramped").resources("changed") == []

    # A bad release has to be tried in the place of the good one, which then comes back; requests wait.
    good = current(host)
    add(site, "raise RuntimeError('broken')")
    with asked(host) as statuses:
        failed(site.invoke("deploy", "--host", "cramped"), "what served before serves again")
    assert set(statuses) == {200}
    assert (current(host), running(host)) == (good, [good])

    host.power_cut()
    host.boot()
    host.wait_ssh()
    served(host)
    assert running(host) == [good]

    # And back: the socket that was held goes.
    site.variables["apps"]["small"]["strategy"] = "beside"
    site.write()
    (site.apps / "app.py").write_text((site.apps / "app.py").read_text().replace("BALLAST", "# ").replace("raise", "#"))
    site.deploy("cramped")
    assert site.deploy("cramped").resources("changed") == []
    served(host)
    assert host.run(["ls", "/run/systemd/system/rackhand-small.socket"], check=False).returncode != 0


def served(host: LabHost) -> None:
    """Waits until the application answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"http://{host.address}/small/", timeout=10).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def test_a_release_that_does_not_stay_up_never_serves(site: Site, host: LabHost) -> None:
    """With `settle` a new instance must stay healthy for so long before it gets traffic."""
    before = current(host)
    site.variables["apps"]["small"]["settle"] = 4
    site.write()
    site.deploy("cramped")
    assert current(host) == before
    add(site, "import os, threading, signal; threading.Timer(2, lambda: os.kill(os.getppid(), signal.SIGKILL)).start()")
    failed(site.invoke("deploy", "--host", "cramped"), "the application ended instead of staying up")
    assert (current(host), running(host)) == (before, [before])


def test_a_release_that_fails_behind_nginx_is_put_back_and_marked(site: Site, host: LabHost) -> None:
    """What serves before serves again, probed; the release is no target of a rollback, and the next run removes it."""
    before = current(host)
    (site.apps / "app.py").write_text(
        "def app(environ, start_response):\n"
        "    behind_nginx = 'HTTP_X_REAL_IP' in environ\n"
        "    start_response('500 No' if behind_nginx else '200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [b'no']\n"
    )
    result = site.invoke("deploy", "--host", "cramped")
    failed(result, "the switch was undone, and http://localhost:80/small/health answers as before")
    assert "rescued=1" in result.out
    assert (current(host), running(host)) == (before, [before])
    rows = site.invoke("releases", "--host", "cramped", "--json").events
    (bad,) = (row for row in rows if row["failed"])
    assert bad["failed"] == "status 500"
    refused = site.invoke("rollback", "--host", "cramped", "--release", bad["id"])
    failed(refused, f"release {bad['id']} of small has failed")
    add(site, "app = lambda environ, start_response: (start_response('200 OK', []), [b'better'])[1]")
    site.deploy("cramped")
    rows = site.invoke("releases", "--host", "cramped", "--json").events
    assert bad["id"] not in [row["id"] for row in rows]
    served(host)


def test_an_application_that_is_declared_no_longer_stops(site: Site, host: LabHost) -> None:
    """A deploy of all applications ends it, a deploy of another alone does not; its files stay: it may come back."""
    other = {**site.variables["apps"]["small"], "route": "/other"}
    site.variables["apps"]["other"] = other
    site.write()
    site.deploy("cramped")
    assert httpx.get(f"http://{host.address}/other/").status_code == 200
    del site.variables["apps"]["other"]
    site.write()
    seen = site.invoke("plan", "--host", "cramped", "--json").resources("changed")
    assert site.deploy("cramped").resources("changed") == seen
    assert httpx.get(f"http://{host.address}/other/").status_code == 404
    assert host.run(["ls", "/opt/rackhand/current"]).stdout.split() == ["small"]
    units = ["systemctl", "list-units", "--no-legend", "--state=active", "rackhand-other@*"]
    assert host.run(units).stdout == ""
    assert host.run(["ls", "/opt/rackhand/apps/other/releases"]).stdout


def test_the_history_does_not_go_by_the_clock(site: Site, host: LabHost) -> None:
    """Which release was current before is known by number, whatever the clock said."""
    add(site, "# one")
    site.deploy("cramped")
    first = current(host).partition("-")[0]
    add(site, "# two")
    site.deploy("cramped")
    noted = f"/opt/rackhand/apps/small/releases/{first}/activated"
    host.run(["sed", "-i", "-E", 's/"at": [0-9.]+/"at": 1.0/', noted])
    assert '"at": 1.0,' in host.run(["cat", noted]).stdout
    assert site.invoke("rollback", "--host", "cramped").code == 0
    assert current(host).partition("-")[0] == first


def test_a_good_release_to_go_back_to_always_stays(site: Site, host: LabHost) -> None:
    """However few are kept, and however many failed since: the current release stays, and the last good one before."""
    site.variables["rackhand_keep_releases"] = 1
    site.write()
    for number in range(2):
        add(site, f"# kept {number}")
        site.deploy("cramped")
    good = current(host).partition("-")[0]
    whole = (site.apps / "app.py").read_text()
    for number in range(2):
        add(site, f"raise RuntimeError('broken {number}')")
        failed(site.invoke("deploy", "--host", "cramped"), "goes on serving")
    (site.apps / "app.py").write_text(f"{whole}\n# better\n")
    site.deploy("cramped")
    rows = site.invoke("releases", "--host", "cramped", "--json").events
    assert [row["id"] for row in rows if row["app"] == "small"] == [current(host).partition("-")[0], good]
    assert site.invoke("rollback", "--host", "cramped").code == 0
    assert current(host).partition("-")[0] == good


def test_the_release_before_is_the_one_that_was_current_last(site: Site, host: LabHost) -> None:
    """Not the one that was started last: an instance that a killed run has left behind may become current again."""
    whole = (site.apps / "app.py").read_text()
    add(site, "# first")
    site.deploy("cramped")
    add(site, "# second")
    site.deploy("cramped")
    second = current(host)
    release = second.partition("-")[0]
    assert site.invoke("rollback", "--host", "cramped").code == 0
    unit = f"/run/systemd/system/rackhand-small@{second}.service"
    host.run(["cp", f"/opt/rackhand/apps/small/releases/{release}/unit.service", unit])
    host.run(["systemctl", "start", f"rackhand-small@{second}.service"])
    served(host)
    site.deploy("cramped")
    assert current(host) == second
    (site.apps / "app.py").write_text(f"{whole}\n# third\n")
    site.deploy("cramped")
    assert site.invoke("rollback", "--host", "cramped").code == 0
    assert current(host).partition("-")[0] == release

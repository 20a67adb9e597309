"""Runs that are cut off in the middle, and what the next one, of other code, makes of what they leave."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rackhand.lab import Lab, LabHost
from tests.lab.running import Running
from tests.lab.site import Site
from tests.lab.test_hosts import small_site
from tests.lab.test_instances import add, current, failed, running, served
from tests.lab.test_runs import at_work

MIB = 2**20

#: While it is there, the applications that look for it are broken.
BROKEN = "/srv/broken"
#: An application that answers on its own socket, and not behind nginx while BROKEN is there.
BAD_BEHIND_NGINX = f"""\
_good = app
def app(environ, start_response):
    if "HTTP_X_REAL_IP" not in environ or not Path("{BROKEN}").exists():
        return _good(environ, start_response)
    start_response("500 No", [("Content-Type", "text/plain")])
    return [b"no"]
"""


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    """One with room for two instances of an application that takes its ballast, not for three."""
    (host,) = lab.up(["cutoff"], memory=700 * MIB)
    return host


@pytest.fixture
def site(lab: Lab, host: LabHost, tmp_path: Path) -> Iterator[Site]:
    site = small_site(tmp_path, lab, host)
    site.variables["apps"]["small"] |= {"drain": 5, "health_timeout": 40}
    site.write()
    site.deploy("cutoff")
    yield site
    host.run(["rm", "-f", BROKEN])


def settings(site: Site, **settings: object) -> None:
    site.variables["apps"]["small"] |= settings
    site.write()


def cut_off(site: Site, host: LabHost, event: str, by: str) -> None:
    """A deploy of which the agent is killed, or the host loses power, at its first step of this kind."""
    with Running(site, host.name) as run:
        run.until("begin", lambda found: found["id"].startswith(event))
        if event == "instance:":
            deadline = time.monotonic() + 30
            while len(running(host)) < 2 and current(host) in running(host):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        if by == "agent":
            host.run(["kill", "-9", str(at_work(host))])
        else:
            host.power_cut()
        run.end()
    if by == "power":
        host.boot()
        host.wait_ssh()


def test_an_instance_that_was_left_behind_takes_no_memory(site: Site, host: LabHost) -> None:
    """Neither the one that serves nor the next one has to do with it."""
    add(site, f"BALLAST = b'x' * {190 * MIB}")
    site.deploy("cutoff")
    settings(site, env={"WAIT_FOR": "/srv/never"})
    cut_off(site, host, "instance:", "agent")
    assert len(running(host)) == 2
    settings(site, env={})
    add(site, "# another")
    site.deploy("cutoff")
    assert running(host) == [current(host)]


@pytest.mark.parametrize("by", ["agent", "power"])
def test_a_release_that_nobody_has_seen_answer(site: Site, host: LabHost, by: str) -> None:
    """It was switched to, and does not serve: the next run goes back to what was known to, although it changes nothing
    itself, and never again to that release."""
    good = current(host)
    whole = (site.apps / "app.py").read_text()
    add(site, BAD_BEHIND_NGINX)
    host.run(["touch", BROKEN])
    cut_off(site, host, "probe:", by)
    bad = current(host)
    assert bad != good
    result = site.invoke("deploy", "--host", "cutoff")
    failed(result, "the switch was undone, and http://localhost:80/small/health answers as before")
    assert current(host) == good
    served(host)
    rows = {row["id"]: row for row in site.invoke("releases", "--host", "cutoff", "--json").events}
    assert rows[bad.rpartition("-")[0]]["failed"] == "status 500"
    (site.apps / "app.py").write_text(f"{whole}\n# better, {by}\n")
    site.deploy("cutoff")
    assert running(host) == [current(host)]
    assert site.deploy("cutoff").resources("changed") == []
    assert site.invoke("rollback", "--host", "cutoff").code == 0
    assert current(host).rpartition("-")[0] == good.rpartition("-")[0]


def test_a_release_that_was_cut_off_and_is_good(site: Site, host: LabHost) -> None:
    """The next run sees it answer, and says so once."""
    add(site, BAD_BEHIND_NGINX)
    host.run(["touch", BROKEN])
    cut_off(site, host, "probe:", "agent")
    host.run(["rm", BROKEN])
    late = current(host)
    assert site.deploy("cutoff").resources("changed") == ["current:applications", "retired:earlier releases"]
    assert site.deploy("cutoff").resources("changed") == []
    add(site, "# the next")
    site.deploy("cutoff")
    assert site.invoke("rollback", "--host", "cutoff").code == 0
    assert current(host).rpartition("-")[0] == late.rpartition("-")[0]


def test_a_release_that_starts_no_more_is_gone_back_to_once(site: Site, host: LabHost) -> None:
    """The next rollback goes to the one before."""
    add(site, "# the oldest")
    site.deploy("cutoff")
    oldest = current(host).rpartition("-")[0]
    whole = (site.apps / "app.py").read_text()
    add(site, f"assert not Path('{BROKEN}').exists()")
    site.deploy("cutoff")
    (site.apps / "app.py").write_text(f"{whole}\n# the newest\n")
    site.deploy("cutoff")
    newest = current(host)
    host.run(["touch", BROKEN])
    failed(site.invoke("rollback", "--host", "cutoff"), "AssertionError")
    assert (current(host), running(host)) == (newest, [newest])
    assert site.invoke("rollback", "--host", "cutoff").code == 0
    assert current(host).rpartition("-")[0] == oldest


def test_from_one_strategy_to_the_other_with_a_release_that_fails_behind_nginx(site: Site, host: LabHost) -> None:
    """What served beside before serves again, on its own socket."""
    good = current(host)
    whole = (site.apps / "app.py").read_text()
    add(site, BAD_BEHIND_NGINX)
    host.run(["touch", BROKEN])
    settings(site, strategy="restart")
    for _ in range(2):  # a second time, nothing is in the way
        failed(site.invoke("deploy", "--host", "cutoff"), "answers as before")
        assert (current(host), running(host)) == (good, [good])
        served(host)
    listening = ["systemctl", "is-active", "rackhand-small.socket"]
    assert host.run(listening, check=False).stdout.strip() == "inactive"
    (site.apps / "app.py").write_text(whole)
    site.deploy("cutoff")
    assert host.run(listening).stdout.strip() == "active"
    assert site.deploy("cutoff").resources("changed") == []
    served(host)


@pytest.mark.parametrize("by", ["agent", "power"])
def test_from_one_strategy_to_the_other_cut_off(site: Site, host: LabHost, by: str) -> None:
    """The old one serves, or the new one; after a boot the old one, which was not made for the socket of systemd."""
    good = current(host)
    settings(site, strategy="restart", env={"WAIT_FOR": "/srv/never"})
    cut_off(site, host, "instance:", by)
    if by == "power":
        served(host)
        assert running(host) == [good]
    assert httpx.get(f"http://{host.address}/small/", timeout=60).status_code == 200
    settings(site, env={})
    site.deploy("cutoff")
    assert site.deploy("cutoff").resources("changed") == []
    assert running(host) == [current(host)]
    served(host)

"""An application that listens itself: no nginx, a port that systemd holds, a server without privileges."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from rackhand.lab import Lab, LabHost
from tests.lab.site import Site
from tests.lab.traffic import APPS
from tests.load import Load, Traffic

#: Longer than a slow response takes.
DRAIN = 4
DIRECT = {"direct": 80, "app": "app:app", "drain": DRAIN}
FAILS_ON_THE_PORT = """
import flask
@app.before_request
def refuse():
    if flask.request.remote_addr and not flask.request.headers.get("X-Rackhand-Prefix"):
        flask.abort(500)
"""
BROKEN = "raise RuntimeError('broken')"


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    (host,) = lab.up(["direct1"])
    return host


@pytest.fixture(scope="module")
def site(lab: Lab, host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """FastAPI on port 80, by Gunicorn with Uvicorn's workers."""
    site = Site(tmp_path_factory.mktemp("direct"), lab, [host], APPS)
    serve(site, "fast", **DIRECT, worker="uvicorn", workers=2)
    site.deploy("direct1")
    return site


def serve(site: Site, name: str, **settings: Any) -> None:
    """Declares this application, and no other."""
    site.variables["apps"] = {name: {"path": str(site.apps / name), **settings}}
    site.write()


def add(site: Site, name: str, code: str) -> None:
    """Makes an application another one."""
    with (site.apps / name / "app.py").open("a") as file:
        file.write(f"\n{code}\n")


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def nginx(host: LabHost) -> str:
    return host.run(["systemctl", "is-active", "nginx.service"], check=False).stdout.strip()


def processes(host: LabHost, name: str) -> list[str]:
    """The process ids of an application's user."""
    return host.run(["ps", "-u", f"rackhand-{name}", "-o", "pid="], check=False).stdout.split()


def assert_served_by(host: LabHost, name: str) -> None:
    """It answers on the port itself, unprivileged, and believes nothing that clients say of themselves."""
    assert nginx(host) != "active"
    listening = host.run(["ss", "-Hltnp", "sport = :80"]).stdout
    assert "0.0.0.0:80 " in listening
    pids = processes(host, name)
    assert len(pids) == 3  # a master and its workers
    assert all(f"pid={pid}," in listening for pid in pids), listening
    privileges = host.run(["grep", "-h", "^CapEff:", *(f"/proc/{pid}/status" for pid in pids)]).stdout.split()[1::2]
    assert {int(each, 16) for each in privileges} == {0}
    lies = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https", "X-Rackhand-Prefix": "/evil"}
    with socket.create_connection((host.address, 80)) as probe:
        me = probe.getsockname()[0]
    answer = httpx.get(f"http://{host.address}/client", headers=lies)
    assert answer.json() == [me, "http", ""]
    assert "nginx" not in answer.headers.get("server", "")
    assert len(answer.headers.get_list("date")) == 1


def health(host: LabHost) -> httpx.Response:
    return httpx.get(f"http://{host.address}/health", timeout=60)


def test_fastapi(site: Site, host: LabHost) -> None:
    """With WebSockets; and there is not even a package of nginx."""
    assert_served_by(host, "fast")
    assert host.run(["dpkg", "-s", "nginx"], check=False).returncode != 0
    with connect(f"ws://{host.address}/ws") as websocket:
        websocket.send("abc")
        assert json.loads(websocket.recv(timeout=10))["body"] == "abc"
    assert site.deploy("direct1").resources("changed") == []


def test_no_request_is_lost_by_a_deploy(site: Site, host: LabHost) -> None:
    """Requests wait between two releases. What a client sends on a connection that it has kept, in the very moment in
    which the old instance closes it, is the one thing that may get no answer."""
    with Load(host.address, [Traffic(app="fast", path="", streams=True)]) as load:
        load.settle()
        site.edit("fast/app.py", 'MARK = "one"', 'MARK = "two"')
        site.deploy("direct1")
        load.settle()
    tally = load.tally()
    print(tally)
    assert [each for each in tally.lost if not each.kind.startswith("kept")] == []
    assert [name.partition("/")[0] for name in tally.instances["fast"]] == ["one", "two"]
    assert {ending.code for ending in tally.websockets} <= {1001, 1012}


def test_a_bad_release_leaves_the_port_to_the_one_before(site: Site, host: LabHost) -> None:
    add(site, "fast", BROKEN)
    with Load(host.address, [Traffic(app="fast", path="", slow=False)]) as load:
        load.settle()
        result = site.invoke("deploy", "--host", "direct1")
        assert result.code == 2, result.out + result.err
        assert "what served before serves again" in result.out
        load.settle()
    assert [each for each in load.tally().lost if not each.kind.startswith("kept")] == []
    assert {name.partition("/")[0] for name in load.tally().instances["fast"]} == {"two"}
    site.edit("fast/app.py", BROKEN, "")


def test_a_port_that_something_else_holds(site: Site, host: LabHost) -> None:
    """Is told, and what served before serves again."""
    host.run(["systemd-run", "--unit=other", "python3", "-m", "http.server", "8080"])
    wait(lambda: "0.0.0.0:8080 " in host.run(["ss", "-Hltn"]).stdout)
    site.variables["apps"]["fast"]["direct"] = 8080
    site.write()
    result = site.invoke("deploy", "--host", "direct1")
    host.run(["systemctl", "stop", "other.service"])
    assert result.code == 2, result.out + result.err
    assert "does something else listen there?" in result.out
    assert_served_by(host, "fast")
    site.deploy("direct1")
    assert httpx.get(f"http://{host.address}:8080/health").status_code == 200
    with pytest.raises(httpx.ConnectError):
        health(host)


def test_flask_takes_the_port_over(site: Site, host: LabHost) -> None:
    """Another application in the place of the first one, of which nothing is left; and both survive a power cut."""
    serve(site, "slow", **DIRECT, worker="gthread", workers=2)
    site.deploy("direct1")
    assert_served_by(host, "slow")
    wait(lambda: processes(host, "fast") == [])
    assert site.deploy("direct1").resources("changed") == []
    host.power_cut()
    host.boot()
    host.wait_ssh()
    wait(lambda: len(processes(host, "slow")) == 3)
    assert_served_by(host, "slow")


def test_nginx_takes_the_port_over_and_gives_it_back(site: Site, host: LabHost) -> None:
    """Only what works keeps it."""
    serve(site, "slow", app="app:app", route="/", worker="gthread", workers=2, drain=DRAIN)
    site.deploy("direct1")
    assert nginx(host) == "active"
    assert "nginx" in health(host).headers["server"]
    wait(lambda: len(processes(host, "slow")) == 3)
    assert site.deploy("direct1").resources("changed") == []

    serve(site, "slow", **DIRECT, worker="gthread", workers=2)
    add(site, "slow", BROKEN)
    result = site.invoke("deploy", "--host", "direct1")
    assert result.code == 2, result.out + result.err
    assert "RuntimeError: broken" in result.out
    assert (nginx(host), health(host).status_code) == ("active", 200)
    assert host.run(["systemctl", "is-enabled", "nginx.service"]).stdout.strip() == "enabled"

    # One that starts, and fails only when it is asked on the port.
    site.edit("slow/app.py", BROKEN, FAILS_ON_THE_PORT)
    result = site.invoke("deploy", "--host", "direct1")
    assert result.code == 2, result.out + result.err
    assert "answers as before" in result.out
    assert (nginx(host), health(host).status_code) == ("active", 200)
    wait(lambda: len(processes(host, "slow")) == 3)

    site.edit("slow/app.py", FAILS_ON_THE_PORT, "")
    site.deploy("direct1")
    assert_served_by(host, "slow")
    assert site.deploy("direct1").resources("changed") == []

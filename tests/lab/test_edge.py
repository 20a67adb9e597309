"""An edge in front of three hosts: it balances, learns by itself who is gone, and loses nothing while they change."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from websockets.asyncio.client import connect

from rackhand.agent import layout
from rackhand.lab import Lab, LabHost
from tests.lab.running import Running
from tests.lab.site import Result, Site
from tests.lab.test_runs import at_work
from tests.load import Load, Tally, Traffic

APPS = Path(__file__).parent / "traffic_apps"
TRAFFIC = [Traffic(app="fast", path="/fast")]
NAMES = ("behind1", "behind2", "behind3")

#: How many requests are sent to count connections.
ASKED = 60

#: Seconds after which the edge takes a host that does not answer for gone, in the middle of a request.
SILENT = 15


class EdgeSite(Site):
    """The first host is the edge of the others, and keeps so many connections to them."""

    keepalive = 0

    def write(self) -> None:
        edge, *others = self.hosts
        members = {"edge": [edge], "web": others}
        groups = {group: {"hosts": {name: self.hosts[name] for name in names}} for group, names in members.items()}
        connection = {key: value for key, value in self.variables.items() if key.startswith("ansible_")}
        edges = {
            "rackhand_edge": {"to": "web", "keepalive": self.keepalive},
            "rackhand_nginx": {"read_timeout": SILENT},
        }
        files = {
            "hosts.yml": {"all": {"children": groups}},
            "group_vars/all.yml": connection,
            "group_vars/web.yml": {"apps": self.variables["apps"]},
            "group_vars/edge.yml": edges,
        }
        for path, content in files.items():
            (self.inventory / path).write_text(yaml.safe_dump(content))


class Served:
    def __init__(self, site: EdgeSite, edge: LabHost, hosts: Sequence[LabHost]) -> None:
        self.site, self.edge, self.hosts = site, edge, {host.name: host for host in hosts}

    def change(self) -> None:
        """Makes the code of the next deploy another one."""
        with (self.site.apps / "fast" / "app.py").open("a") as file:
            file.write("# another\n")

    def answered(self) -> set[str]:
        """The instances that answer through the edge."""
        address = f"http://{self.edge.address}/fast/health"
        return {httpx.get(address, timeout=30).json()["instance"] for _ in range(12)}

    def connections(self) -> int:
        """How many the hosts have been asked for since they were booted."""
        asked = "awk '/^Tcp: [0-9]/ { print $7 }' /proc/net/snmp"
        return sum(int(host.run(["sh", "-c", asked]).stdout) for host in self.hosts.values())

    def asked(self, method: str) -> int:
        """How many connections the hosts are asked for by ASKED requests to the edge."""
        before = self.connections()
        with httpx.Client() as client:
            for _ in range(ASKED):
                assert client.request(method, f"http://{self.edge.address}/fast/echo").status_code == 200
        return self.connections() - before

    def requests(self, name: str) -> int:
        """How many a host has got from elsewhere."""
        log = self.hosts[name].run(["cat", "/var/log/nginx/access.log"]).stdout
        return sum(not line.startswith("127.0.0.1 ") for line in log.splitlines())

    def clients(self, name: str) -> set[str]:
        """Whom a host takes its clients for."""
        log = self.hosts[name].run(["cat", "/var/log/nginx/access.log"]).stdout
        return {line.partition(" ")[0] for line in log.splitlines()} - {"127.0.0.1"}


@pytest.fixture(scope="module")
def served(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Served:
    edge, *hosts = lab.up(["edge1", *NAMES])
    site = EdgeSite(tmp_path_factory.mktemp("edge"), lab, [edge, *hosts], APPS)
    settings = {"path": str(site.apps / "fast"), "app": "app:app", "worker": "uvicorn", "workers": 1, "drain": 5}
    # Hosts have releases of their own, and so their instances are told apart.
    site.variables["apps"] = {"fast": {**settings, "route": "/fast", "env": {"HOST": "{{ inventory_hostname }}"}}}
    site.write()
    site.deploy("all")
    return Served(site, edge, hosts)


def test_an_edge_balances_and_says_who_its_clients_are(served: Served) -> None:
    """All hosts answer. They believe the edge, and nobody else, who a client is; WebSockets pass."""
    assert len(served.answered()) == 3
    forged = {"X-Forwarded-For": "203.0.113.9"}
    httpx.get(f"http://{served.edge.address}/fast/health", headers=forged)
    for host in served.hosts.values():
        httpx.get(f"http://{host.address}/fast/health", headers=forged)
    own = served.edge.network.address(1)
    assert {client for name in NAMES for client in served.clients(name)} == {own}

    async def echo() -> Any:
        async with connect(f"ws://{served.edge.address}/fast/ws") as socket:
            await socket.send("hello")
            return json.loads(await socket.recv())

    assert asyncio.run(echo())["body"] == "hello"


def test_a_run_that_changes_nothing_drains_nobody(served: Served) -> None:
    result = served.site.deploy("all", "--serial", "1")
    assert result.resources("changed") == []
    assert [event for event in result.events if event["event"] == "notice"] == []


def rolled(
    served: Served, load: Load, *options: str, cut: str | None = None, during: str | None = None
) -> tuple[Result, Tally, float]:
    """A deploy of one host after the other under load. The host `cut` loses power while the host `during` is drained;
    when that was, by the monotonic clock."""
    moment = 0.0
    with load:
        load.settle()
        with Running(served.site, "web", "--serial", "1", *options) as run:
            for name in NAMES:
                run.until("notice", lambda event: event["text"].startswith("drained: "))
                before = served.requests(name)
                if cut is not None and name == during:
                    gone = served.hosts[cut]
                    gone.run(["ip", "link", "set", "host0", "down"])  # or its kernel would still close connections
                    moment = time.monotonic()
                    gone.power_cut()
                    if cut == name:
                        run.until("lost")
                        continue
                run.until("resource", lambda event: event["id"] == "probe:http://localhost:80/fast/health")
                assert served.requests(name) == before, "requests came while it was drained"
                run.until("notice", lambda event: event["text"].startswith("put back: "))
                if cut is not None and during != cut and NAMES.index(name) == NAMES.index(cut) - 1:
                    break
            result = run.end()
        load.settle()
    return result, load.tally(), moment


def test_a_rolling_deploy_loses_nothing(served: Served) -> None:
    """Each host gets no request of the edge from before its change until after its verification."""
    before = served.answered()
    served.change()
    result, tally, _ = rolled(served, Load(served.edge.address, TRAFFIC))
    print(tally)
    assert result.code == 0, result
    assert not tally.lost, tally
    assert {kind for kind, count in tally.kinds.items() if count} >= {"get", "post", "kept get", "kept post", "upload"}
    assert len(served.answered()) == 3
    assert not served.answered() & before


def test_connections_that_are_kept(served: Served) -> None:
    """For what may be asked twice alone; and a rolling deploy loses nothing with them either. A host that is drained
    has them closed, so that it gets no request on one."""
    served.site.keepalive = 16
    served.site.write()
    try:
        served.site.deploy("edge1")
        kept, new = served.asked("GET"), served.asked("POST")
        assert kept < ASKED / 2, "most requests should find a connection"
        assert new >= ASKED, "a request that may not be asked twice should have a connection of its own"
        for host in served.hosts.values():
            host.run(["touch", layout.DRAINED])
            direct = httpx.get(f"http://{host.address}/fast/health")
            assert direct.headers.get_list("connection") == ["keep-alive"]
        assert served.asked("GET") > ASKED / 2, "a host that is drained should have its connections closed"
        for host in served.hosts.values():
            host.run(["rm", layout.DRAINED])
        served.change()
        result, tally, _ = rolled(served, Load(served.edge.address, TRAFFIC))
        print(tally)
        assert result.code == 0, result
        assert not tally.lost, tally
    finally:
        served.site.keepalive = 0
        served.site.write()
        served.site.deploy("edge1")


def test_a_host_that_loses_power_while_it_changes(served: Served) -> None:
    """It was drained, so nothing was on its way there, and nothing at all is lost. The hosts after it are changed, and
    so is that one once it is back: its boot has forgotten that it was drained."""
    served.change()
    gone = served.hosts["behind2"]
    load = Load(served.edge.address, TRAFFIC)
    result, tally, _ = rolled(served, load, "--max-fail-percentage", "100", cut=gone.name, during=gone.name)
    print(tally)
    assert result.code == 4, result
    assert not tally.lost, tally
    assert {name: host["outcome"] for name, host in result.events[-1]["hosts"].items()} == {
        "behind1": "ok",
        "behind2": "lost",
        "behind3": "ok",
    }
    assert len(served.answered()) == 2
    gone.boot()
    gone.wait_ssh()
    served.site.deploy(gone.name)
    assert len(served.answered()) == 3


def test_a_host_that_loses_power_while_another_changes(served: Served) -> None:
    """What was on its way there is lost, where it may not be asked twice or the answer had begun; nothing else is, then
    or later. The others are brought to the new release, and so is that one once it is back."""
    served.change()
    gone = served.hosts["behind3"]
    load = Load(served.edge.address, TRAFFIC)
    result, tally, cut = rolled(served, load, "--max-fail-percentage", "100", cut=gone.name, during="behind2")
    print(tally)
    assert result.code == 4, result
    for lost in tally.lost:
        assert lost.start <= cut, lost
        assert "get" not in lost.kind, lost
    assert len(served.answered()) == 2
    gone.boot()
    gone.wait_ssh()
    served.site.deploy(gone.name)
    assert len(served.answered()) == 3


#: Answers on its own socket, and with errors to nginx.
BAD_BEHIND_NGINX = """

@app.middleware("http")
async def refuse(request, call_next):
    from starlette.responses import Response
    return Response(status_code=500) if "x-real-ip" in request.headers else await call_next(request)
"""


def test_a_release_that_fails_is_seen_by_nobody(served: Served) -> None:
    """The host that tried it is put back once what served before answers again, and the others do not try."""
    code = served.site.apps / "fast" / "app.py"
    whole = code.read_text()
    code.write_text(whole + BAD_BEHIND_NGINX)
    with Load(served.edge.address, TRAFFIC) as load:
        load.settle()
        result = served.site.invoke("deploy", "--host", "web", "--serial", "1", "--json")
        load.settle()
    code.write_text(whole)
    assert result.code == 2, result
    said = [event["text"] for event in result.events if event["event"] == "notice"]
    assert [text.partition(":")[0] for text in said if "put back" in text] == ["put back"], said
    assert not load.tally().lost, load.tally()
    assert len(served.answered()) == 3


def test_a_host_that_cannot_go_back_is_not_put_back(served: Served) -> None:
    """It would answer with errors, where others do not. The next deploy that works puts it back."""
    code = served.site.apps / "fast" / "app.py"
    whole = code.read_text()
    code.write_text(whole + BAD_BEHIND_NGINX)
    host = served.hosts["behind1"]
    with Running(served.site, "web", "--serial", "1") as run:
        unit = Path(host.run(["readlink", "/opt/rackhand/current/fast/unit"]).stdout.strip()).name
        run.until("begin", lambda event: event["id"].startswith("probe:"))
        host.run(["systemctl", "stop", unit])
        said = run.until("notice", lambda event: "put back" in event["text"])["text"]
        assert run.end().code == 2
    code.write_text(f"{whole}# better\n")
    assert said.startswith("not put back, since it does not answer as it should")
    assert len(served.answered()) == 2
    served.site.deploy("web", "--serial", "1")
    deadline = time.monotonic() + 10
    while len(served.answered()) < 3:
        assert time.monotonic() < deadline


def test_the_run_after_a_killed_one_lets_the_edges_in_again(served: Served) -> None:
    """Also one that would not drain the host itself."""
    served.change()
    host = served.hosts["behind1"]
    with Running(served.site, "web", "--serial", "1") as run:
        run.until("notice", lambda event: event["text"].startswith("drained: "))
        host.run(["kill", "-9", str(at_work(host))])
        run.end()
    assert host.run(["nft", "list", "tables"]).stdout.split() == ["table", "inet", "rackhand_drain"]
    assert len(served.answered()) == 2
    served.site.deploy("web")
    assert host.run(["nft", "list", "tables"]).stdout == ""
    deadline = time.monotonic() + 10  # it has refused the edge, which leaves it alone for two seconds
    while len(served.answered()) < 3:
        assert time.monotonic() < deadline

"""A fleet on its way from one release to the next, and back: batches, the canary, one release for all hosts."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from rackhand import PROJECT
from rackhand.lab import Lab, LabHost
from tests.lab.running import Running
from tests.lab.site import Result, Site
from tests.lab.test_fleet import PROCESSES, DaskCluster

APP = Path(__file__).parent / "small_app"
NAMES = ("app1", "app2", "app3")


@pytest.fixture(scope="module")
def hosts(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> list[LabHost]:
    """Three hosts with the small application, the first one with more workers than the others."""
    hosts = lab.up(NAMES)
    small(tmp_path_factory.mktemp("rollout"), lab, hosts).deploy("all")
    return hosts


def small(folder: Path, lab: Lab, hosts: Sequence[LabHost]) -> Site:
    """Hosts differ in their settings, as unlike machines do."""
    site = Site(folder, lab, hosts, APP)
    settings = {"path": str(site.apps), "app": "app:app", "route": "/one", "workers": "{{ workers }}"}
    site.variables["apps"] = {"one": {**settings, "env": {"TEXT": "{{ inventory_hostname }}"}}}
    for number, name in enumerate(site.hosts):
        site.hosts[name]["workers"] = 2 if number == 0 else 1
    site.write()
    return site


@pytest.fixture
def site(lab: Lab, hosts: list[LabHost], tmp_path: Path) -> Site:
    """Every host has what the site says."""
    site = small(tmp_path, lab, hosts)
    site.deploy("all")
    return site


def change(site: Site, text: str) -> None:
    with (site.apps / "app.py").open("a") as file:
        file.write(f"\n{text}\n")


def codes(site: Site) -> dict[str, str]:
    """By host, what is the same of a release's id on all hosts, of the one that serves."""
    rows = site.invoke("releases", "--host", "all", "--json").events
    return {row["host"]: row["id"].partition(".")[0] for row in rows if row["current"]}


def outcomes(result: Result) -> dict[str, Any]:
    return {name: host["outcome"] for name, host in result.events[-1]["hosts"].items()}


def served(hosts: Sequence[LabHost]) -> list[int]:
    return [httpx.get(f"http://{host.address}/one/", timeout=10).status_code for host in hosts]


def order(result: Result, *kinds: str) -> list[tuple[str, str]]:
    return [(event["event"], event["host"]) for event in result.events if event["event"] in kinds]


@pytest.mark.parametrize("crew", ["threads", "processes", "workers"])
def test_a_canary_goes_first(site: Site, crew: str, tmp_path: Path) -> None:
    """When code changes, whoever does the work. The others begin once it has ended; a run that changes nothing has
    none."""
    change(site, f"# {crew}")
    options: tuple[str, ...] = ()
    with contextlib.ExitStack() as stack:
        if crew == "workers":
            (tmp_path / "dask").mkdir()
            cluster = stack.enter_context(DaskCluster(tmp_path / "dask"))
            cluster.worker("only")
            options = ("--scheduler", cluster.address)
        program = PROCESSES if crew == "processes" else (str(PROJECT / "invoke"),)
        result = stack.enter_context(Running(site, "all", *options, program=program)).end()
    assert result.code == 0, result
    assert "notice" not in {event["event"] for event in result.events}
    (canary,) = (event["host"] for event in result.events if event["event"] == "canary")
    began = order(result, "start", "end")
    assert began[:2] == [("start", canary), ("end", canary)]
    assert sorted(host for kind, host in began if kind == "end") == list(NAMES)
    again = site.deploy("all")
    assert again.resources("changed") == []
    assert "canary" not in {event["event"] for event in again.events}


def test_a_canary_that_fails_leaves_all_others_as_they_are(site: Site, hosts: list[LabHost]) -> None:
    """Nothing was sent to them. They are told as not started, and are what the next run takes up with @failed."""
    before = codes(site)
    change(site, "raise RuntimeError('broken')")
    result = site.invoke("deploy", "--host", "all", "--json")
    assert result.code == 2, result
    (canary,) = (event["host"] for event in result.events if event["event"] == "canary")
    others = [name for name in NAMES if name != canary]
    assert outcomes(result) == {canary: "failed", **dict.fromkeys(others)}
    assert [result.events[-1]["hosts"][name]["state"] for name in others] == ["not started, untouched"] * 2
    (stopped,) = (event for event in result.events if event["event"] == "stopped")
    assert stopped["hosts"] == others
    assert {host for _, host in order(result, "start", "begin")} == {canary}
    assert codes(site) == before
    assert served(hosts) == [200, 200, 200]


def test_batches(site: Site) -> None:
    """One after the other. With a host that is down in the first, the others go on, unless that is too much."""
    change(site, "# batches")
    site.hosts = {"absent": {**site.hosts["app1"], "ansible_host": "127.0.0.1", "ansible_port": 1}, **site.hosts}
    site.write()
    strict = site.invoke("deploy", "--host", "all", "--serial", "2", "--max-fail-percentage", "49", "--json")
    assert strict.code == 4, strict
    assert outcomes(strict) == {"absent": "unreachable", "app1": "ok", "app2": None, "app3": None}
    result = site.invoke("deploy", "--host", "all", "--serial", "2", "--json")
    assert result.code == 4, result
    assert outcomes(result) == {"absent": "unreachable", **dict.fromkeys(NAMES, "ok")}
    assert [event["hosts"] for event in result.events if event["event"] == "batch"] == [
        ["absent", "app1"],
        ["app2", "app3"],
    ]
    ended = order(result, "connecting", "unreachable", "end")
    assert {host for _, host in ended[:4]} == {"absent", "app1"}


def test_a_fleet_goes_back_to_one_release(site: Site, hosts: list[LabHost]) -> None:
    """The same on all hosts, though these differ. A host that never had it is named, and left as it is."""
    change(site, "# before")
    site.deploy("all")
    (before,) = set(codes(site).values())
    change(site, "# after")
    site.deploy("all")
    back = site.invoke("rollback", "--host", "all", "--json")
    assert back.code == 0, back
    assert set(codes(site).values()) == {before}
    change(site, "# the last")
    site.deploy("app1:app2")
    (last,) = {codes(site)[name] for name in NAMES[:2]}
    named = site.invoke("rollback", "--host", "all", "--release", last, "--json")
    assert named.code == 2, named
    assert outcomes(named) == {"app1": "ok", "app2": "ok", "app3": "failed"}
    assert "app3 never had it" in named.events[-1]["hosts"]["app3"]["reason"]
    assert codes(site) == {"app1": last, "app2": last, "app3": before}
    site.deploy("app3")
    hosts[2].run(["sh", "-c", f"rm -r /opt/rackhand/apps/one/releases/{before}.*"])
    never = site.invoke("rollback", "--host", "all", "--json")
    assert never.code == 2, never
    assert outcomes(never) == {"app1": "ok", "app2": "ok", "app3": "failed"}
    assert f"never had {before} of one" in never.events[-1]["hosts"]["app3"]["reason"]
    assert codes(site) == {"app1": before, "app2": before, "app3": last}
    assert served(hosts) == [200, 200, 200]

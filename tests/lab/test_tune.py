"""Tuning tries candidates beside what serves, leaves nothing behind, and what it writes can be deployed."""

import re
from pathlib import Path

import pytest

from rackhand.lab import Lab, LabHost
from tests.lab.running import Running
from tests.lab.site import Site

_APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})
"""


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    """With one core: there is little to try."""
    (host,) = lab.up(["tuned"], cores=1)
    return host


@pytest.fixture(scope="module")
def site(lab: Lab, host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An application with more workers than are tried, and one of another server."""
    folder = tmp_path_factory.mktemp("tuned")
    site = Site(folder, lab, [host])
    for name in ("app.py", "requirements.txt"):
        path = site.apps / "plain" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(_APP if name == "app.py" else "")
    app = {"path": str(site.apps / "plain"), "app": "app:app", "route": "/plain", "worker": "uvicorn", "workers": 5}
    site.variables["apps"] = {"plain": {**app, "drain": 2, "env": {"KEY": "sentinel"}}}
    site.variables["apps"]["alone"] = {**app, "server": "uvicorn", "workers": 1, "route": "/alone"}
    site.write()
    site.deploy("tuned")
    return site


def processes(host: LabHost) -> list[str]:
    """Of what serves: a restart gives others."""
    return host.run(["pgrep", "--full", "releases/.*/gunicorn.conf.py"]).stdout.split()


def requests(host: LabHost, app: str) -> int:
    """How many nginx has passed on to an application that serves."""
    log = host.root / "var/log/nginx/access.log"
    return sum(f" /{app}/" in line for line in log.read_text().splitlines()) if log.exists() else 0


def left_over(host: LabHost) -> str:
    script = (
        "systemctl list-units --all --plain --no-legend 'rackhand-tune-*'; "
        "ls -d /run/rackhand-tune /run/systemd/system/rackhand-tune-* /run/rackhand-plain/candidate 2>/dev/null; true"
    )
    return host.run(["sh", "-c", script]).stdout


LOAD = ("--seconds", "1", "--concurrency", "4")


def tuning(site: Site) -> Running:
    return Running(site, "tuned", "--app", "plain", *LOAD, "--write", command="tune")


def written(site: Site) -> Path:
    return site.inventory / "host_vars/tuned.yml"


def test_a_killed_and_an_interrupted_tuning(site: Site, host: LabHost) -> None:
    """What the agent leaves when it is killed is removed by the next one, and an interrupted one leaves nothing.
    Neither has found what is best."""
    before = processes(host)
    with tuning(site) as running:
        running.until("candidate")
        host.run(["kill", "-KILL", *host.run(["pgrep", "--full", "import gc,os,sys"]).stdout.split()])
        assert running.end().code == 4
    assert "rackhand-tune-plain@candidate.service" in left_over(host)
    with tuning(site) as running:
        running.until("candidate", lambda event: event["requests"] > 0)
        running.interrupt()
        assert running.end().code == 99
    assert left_over(host) == ""
    assert processes(host) == before
    assert not written(site).exists()


def test_nothing_is_written_and_no_traffic_is_touched_unless_asked_for(site: Site, host: LabHost) -> None:
    """The curve is shown, with what is best in it. Here of Uvicorn alone."""
    before = requests(host, "alone")
    result = site.invoke("tune", "--host", "tuned", "--app", "alone", *LOAD)
    assert result.code == 0, result.out + result.err
    title, header, *rows, best = result.out.splitlines()
    assert title == "tuned: alone, GET /health, 4 at once, 1 s each"
    assert header.split() == ["WORKER", "WORKERS", "THREADS", "REQUESTS/S", "P99", "MEMORY"]
    assert [row.split()[:3] for row in rows] == [["uvicorn", str(count), "-"] for count in (1, 2, 3)]
    assert all("#" in row for row in rows)
    (marked,) = (row.split()[1] for row in rows if row.endswith("best"))
    assert best.startswith(f"tuned: worker: uvicorn, workers: {marked} (")
    assert rows[0].split()[-1 - rows[0].endswith("best")] == "now"
    assert requests(host, "alone") == before
    assert not written(site).exists()
    said = host.run(["journalctl", "-t", "rackhand", "-o", "cat"]).stdout
    assert re.search(r"^run [-0-9a-f]+: tune alone by \S+@\S+$", said, re.MULTILINE), said


def test_the_best_is_written_and_deployed(site: Site, host: LabHost) -> None:
    """Every candidate is measured while what serves goes on as it is; that is measured last. What is written is all
    that is deployed."""
    before, asked = processes(host), requests(host, "plain")
    result = site.invoke("tune", "--host", "tuned", "--app", "plain", *LOAD, "--json", "--live", "--write")
    assert result.code == 0, result.out + result.err
    assert "sentinel" not in result.out + result.err
    candidates = [event for event in result.events if event["event"] == "candidate"]
    assert len(candidates) == 2 * 3 + 1
    assert all(event["requests"] > 0 and event["errors"] == 0 and event["memory"] > 10e6 for event in candidates)
    assert processes(host) == before
    assert left_over(host) == ""
    (live,) = (event for event in result.events if event["event"] == "live")
    assert (live["errors"], live["memory"] > 10e6) == (0, True)
    assert requests(host, "plain") >= asked + live["requests"] > asked
    chosen = result.events[-1]["setting"]
    expected = f"    worker: {chosen['worker']}\n    workers: {chosen['workers']}\n"
    assert written(site).read_text() == f"rackhand_tuning:\n  plain:\n{expected}"
    site.deploy("tuned")
    rows = site.invoke("status", "--host", "tuned", "--app", "plain", "--json").events
    (row,) = (row for row in rows if row["serves"])
    assert row["workers"] == chosen["workers"]


def test_what_does_not_serve_is_not_tuned(site: Site) -> None:
    """Nor with options that make no sense."""
    site.variables["apps"]["other"] = {**site.variables["apps"]["plain"], "route": "/other"}
    site.write()
    result = site.invoke("tune", "--host", "tuned", "--app", "other")
    assert (result.code, result.err) == (2, "tuned: other does not serve on tuned: deploy it first\n")
    assert site.invoke("tune", "--host", "tuned").code == 5
    assert site.invoke("tune", "--host", "tuned", "--app", "plain", "--seconds", "99").code == 5

"""Tuning tries candidates beside what serves, leaves nothing behind, and what it writes can be deployed."""

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
    """An application with more workers than anybody needs."""
    folder = tmp_path_factory.mktemp("tuned")
    site = Site(folder, lab, [host])
    for name in ("app.py", "requirements.txt"):
        path = site.apps / "plain" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(_APP if name == "app.py" else "")
    app = {"path": str(site.apps / "plain"), "app": "app:app", "route": "/plain", "worker": "uvicorn", "workers": 5}
    site.variables["apps"] = {"plain": {**app, "drain": 2, "env": {"KEY": "sentinel"}}}
    site.write()
    site.deploy("tuned")
    return site


def processes(host: LabHost) -> list[str]:
    """Of what serves: a restart gives others."""
    return host.run(["pgrep", "--full", "releases/.*/gunicorn.conf.py"]).stdout.split()


def left_over(host: LabHost) -> str:
    script = (
        "systemctl list-units --all --plain --no-legend 'rackhand-tune-*'; "
        "ls -d /run/rackhand-tune /run/systemd/system/rackhand-tune-* /run/rackhand-plain/candidate 2>/dev/null; true"
    )
    return host.run(["sh", "-c", script]).stdout


def tuning(site: Site) -> Running:
    return Running(site, "tuned", "--app", "plain", "--seconds", "1", "--concurrency", "4", command="tune")


def test_a_killed_and_an_interrupted_tuning(site: Site, host: LabHost) -> None:
    """What the agent leaves when it is killed is removed by the next one, and an interrupted one leaves nothing."""
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


def test_the_best_is_written_and_deployed(site: Site, host: LabHost) -> None:
    """Every candidate is measured while what serves goes on as it is. What is written is all that is deployed."""
    before = processes(host)
    options = ("--app", "plain", "--seconds", "1", "--concurrency", "4", "--json", "--write")
    result = site.invoke("tune", "--host", "tuned", *options)
    assert result.code == 0, result.out + result.err
    assert "sentinel" not in result.out + result.err
    candidates = [event for event in result.events if event["event"] == "candidate"]
    assert len(candidates) == 2 * 3 + 1
    assert all(event["requests"] > 0 and event["errors"] == 0 and event["memory"] > 10e6 for event in candidates)
    assert processes(host) == before
    assert left_over(host) == ""
    chosen = result.events[-1]["setting"]
    assert chosen["workers"] < 5
    written = Path(site.inventory / "host_vars/tuned.yml").read_text()
    expected = f"    worker: {chosen['worker']}\n    workers: {chosen['workers']}\n"
    assert written == f"rackhand_tuning:\n  plain:\n{expected}"
    site.deploy("tuned")
    rows = site.invoke("status", "--host", "tuned", "--json").events
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

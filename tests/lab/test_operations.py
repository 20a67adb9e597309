"""Operations on what runs (commands by hand, logs, maintenance), tags, and own roles as docs/roles.md has them."""

import json
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from rackhand import PROJECT
from rackhand.lab import Lab, LabHost
from tests.lab.running import Running
from tests.lab.site import Result, Site

HOST = "cache1"
FLAG = "/opt/rackhand/maintenance/one"
APP = """
import os, sys

def app(environ, start_response):
    if environ["PATH_INFO"] == "/say":
        print(environ["QUERY_STRING"], "\\x1b[31mred", file=sys.stderr, flush=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["RACKHAND_RELEASE"].encode()]
"""


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    (host,) = lab.up([HOST])
    return host


@pytest.fixture(scope="module")
def site(lab: Lab, host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with one application, deployed."""
    folder = tmp_path_factory.mktemp("operations")
    (folder / "apps").mkdir()
    (folder / "apps" / "app.py").write_text(APP)
    (folder / "apps" / "requirements.txt").touch()
    site = Site(folder, lab, [host])
    site.variables["apps"] = {"one": {"path": str(site.apps), "app": "app:app", "route": "/one", "workers": 1}}
    site.write()
    site.deploy(HOST)
    return site


def rows(result: Result, code: int = 0) -> list[dict[str, Any]]:
    assert result.code == code, result.out + result.err
    return result.events


def execute(site: Site, *argv: str, options: tuple[str, ...] = (), code: int = 0) -> dict[str, Any]:
    """The answer of the host to a command."""
    (row,) = rows(site.invoke("exec", "--host", HOST, "--json", *options, "--", *argv), code)
    return row


# exec


def test_arguments_stay_what_they_are(site: Site) -> None:
    """No shell reads them, and none is split or joined on its way."""
    hostile = ["a b", "$HOME", "; false", "*", "'", '"', "--host", ""]
    row = execute(site, "python3", "-c", "import sys; print(sys.argv[1:])", *hostile)
    assert row["stdout"] == f"{hostile}\n"
    assert execute(site, "echo $((1 + 1))", code=2)["code"] == 127
    (row,) = rows(site.invoke("exec", "--host", HOST, "--json", "--shell", "echo $((1 + 1)) | cat"))
    assert (row["argv"], row["stdout"]) == (["sh", "-c", "echo $((1 + 1)) | cat"], "2\n")


def test_how_a_command_ends(site: Site, host: LabHost) -> None:
    """Its exit code and both streams are told; one that fails, takes too long or is not there ends the run with 2."""
    row = execute(site, "sh", "-c", "echo out; echo err >&2; exit 3", code=2)
    assert (row["code"], row["stdout"], row["stderr"]) == (3, "out\n", "err\n")
    assert execute(site, "no-such-program", code=2)["code"] == 127
    row = execute(site, "sh", "-c", "echo early; sleep 4711", options=("--timeout", "1"), code=2)
    assert (row["code"], row["stdout"]) == (None, "early\n")
    assert host.run(["pgrep", "-fx", "sleep 4711"], check=False).returncode == 1
    row = execute(site, "sh", "-c", "sleep 4712 & echo started")
    assert row["stdout"] == "started\n"
    host.run(["pkill", "-fx", "sleep 4712"])
    row = execute(site, "head", "-c", "3000000", "/dev/zero")
    assert (len(row["stdout"]), row["cut"]) == (2**20, 3000000 - 2**20)


def test_a_command_ends_with_its_controller(site: Site, host: LabHost) -> None:
    """Nothing goes on that nobody waits for."""
    command = [str(PROJECT / "invoke"), "exec", "--host", HOST, "--inventory", str(site.inventory), "--"]
    with subprocess.Popen([*command, "sleep", "4713"], stdout=subprocess.DEVNULL) as running:
        host.run(["sh", "-c", "until pgrep -fx 'sleep 4713'; do sleep 0.1; done"])
        running.send_signal(signal.SIGINT)
        assert running.wait() == 99
    host.run(["timeout", "30", "sh", "-c", "while pgrep -fx 'sleep 4713'; do sleep 0.1; done"])


def test_who_ran_what_is_in_the_hosts_log(site: Site, host: LabHost) -> None:
    """By run and user, without secrets, which are in no answer either."""
    site.variables["ansible_become_password"] = "s3nt1nel"
    site.write()
    row = execute(site, "echo", "s3nt1nel", "4714")
    del site.variables["ansible_become_password"]
    site.write()
    assert (row["argv"], row["stdout"]) == (["echo", "********", "4714"], "******** 4714\n")
    said = host.run(["journalctl", "-t", "rackhand", "-o", "cat"]).stdout
    assert re.search(rf"^run {row['run']}: exec by \S+@\S+: echo \*{{8}} 4714$", said, re.MULTILINE), said
    assert "s3nt1nel" not in said


def test_the_same_answer_is_printed_once(site: Site, host: LabHost) -> None:
    """Hosts that say the same stand together; an unreachable one is told apart, and counts in the exit code."""
    site.hosts["twin1"] = {"ansible_host": host.address}
    site.hosts["gone1"] = {"ansible_host": host.address, "ansible_port": 9}
    site.write()
    result = site.invoke("exec", "--host", "all", "--", "sh", "-c", "printf '\\033[31mred\\n'; exit 1")
    del site.hosts["twin1"], site.hosts["gone1"]
    site.write()
    assert result.out == f"{HOST}, twin1 (2 hosts): exit 1\n  red\n"
    assert result.err.startswith("gone1: ")
    assert result.code == 6


# logs


def said(host: LabHost, text: str) -> None:
    assert httpx.get(f"http://{host.address}/one/say?{text}").status_code == 200


def test_logs(site: Site, host: LabHost) -> None:
    """What the application has said, in its words, with no terminal sequence; what systemd says of it; the last lines
    alone when so few are asked for."""
    said(host, "first")
    said(host, "second")
    found = rows(site.invoke("logs", "--host", HOST, "--app", "one", "--json", "--since", "-10min"))
    messages = [row["message"] for row in found]
    assert "first \x1b[31mred" in messages
    assert any(message.startswith("Started ") for message in messages)
    assert found == sorted(found, key=lambda row: row["time"])
    assert {(row["host"], row["app"]) for row in found} == {(HOST, "one")}
    plain = site.invoke("logs", "--host", HOST, "--lines", "1").out
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}}  {HOST}  one  second red\n", plain), plain
    wrong = site.invoke("logs", "--host", HOST, "--since", "whenever")
    assert wrong.code == 2
    assert "Failed to parse timestamp: whenever" in wrong.err


def test_logs_are_followed_from_one_instance_to_the_next(site: Site, host: LabHost) -> None:
    """Each line is shown as it comes, also of an instance that is started meanwhile. Ctrl-C is the end, here and on
    the host."""
    with Running(site, HOST, "--follow", "--lines", "1", command="logs") as following:
        lines = following.process.stdout
        assert lines is not None
        assert json.loads(lines.readline())["app"] == "one"
        said(host, "third")
        assert json.loads(lines.readline())["message"].startswith("third")
        assert site.invoke("restart", "--host", HOST).code == 0
        said(host, "fourth")
        rest = iter(lines.readline, "")
        new = next(entry for entry in map(json.loads, rest) if entry["message"].startswith("fourth"))
        assert new["instance"].endswith("-2")
        following.interrupt()
        assert following.end().code == 0
    host.run(["timeout", "30", "sh", "-c", "while pgrep -x journalctl; do sleep 0.1; done"])


# maintenance


def public(host: LabHost) -> httpx.Response:
    return httpx.get(f"http://{host.address}/one/")


def test_maintenance(site: Site, host: LabHost) -> None:
    """nginx answers with 503 and says when to come back, at once and without a reload; the application runs on, can be
    deployed and is proven meanwhile, and is closed until it is opened."""
    nginx = host.run(["pgrep", "-x", "nginx"]).stdout
    before = public(host)
    assert before.status_code == 200
    (row,) = rows(site.invoke("maintenance", "--host", HOST, "--app", "one", "--on", "--json"))
    assert (row["app"], row["maintenance"], row["wrong"]) == ("one", True, None)
    try:
        closed = public(host)
        assert (closed.status_code, closed.headers["retry-after"]) == (503, "60")
        assert "maintenance" in closed.text
        assert httpx.post(f"http://{host.address}/one/", content=b"x" * 10000).status_code == 503
        (row,) = rows(site.invoke("status", "--host", HOST, "--json"))
        assert (row["maintenance"], row["health"]) == (True, "ok")
        (site.apps / "note.txt").write_text("new")
        changed = site.deploy(HOST).resources("changed")
        assert [one.partition(":")[0] for one in changed] == ["release", "instance", "current", "retired"]
        assert site.invoke("smoke", "--host", HOST).code == 0
        assert public(host).status_code == 503
        assert host.run(["pgrep", "-x", "nginx"]).stdout == nginx
    finally:
        assert site.invoke("maintenance", "--host", HOST, "--off").code == 0
    after = public(host)
    assert after.status_code == 200
    assert after.text != before.text
    assert host.run(["pgrep", "-x", "nginx"]).stdout == nginx


def test_opening_and_closing_loses_nothing(site: Site, host: LabHost) -> None:
    """Every request gets an answer, the application's or nginx's, over connections that are kept."""
    statuses: list[int] = []
    done = threading.Event()

    def ask() -> None:
        with httpx.Client() as client:
            while not done.is_set():
                statuses.append(client.get(f"http://{host.address}/one/").status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for option in ("--on", "--off"):
            assert site.invoke("maintenance", "--host", HOST, option).code == 0
    finally:
        done.set()
        asking.join()
    assert set(statuses) == {200, 503}


def test_maintenance_that_nginx_does_not_know(site: Site, host: LabHost) -> None:
    """A site from before there was maintenance goes on as it did: that is told."""
    path = "/etc/nginx/conf.d/rackhand.conf"
    host.run(["sh", "-c", f"sed -i s,rackhand_maintenance/one,pid/one, {path}; nginx -s reload"])
    result = site.invoke("maintenance", "--host", HOST, "--on")
    assert result.code == 2
    assert "deploy first" in result.out
    site.deploy(HOST)
    assert public(host).status_code == 503
    assert site.invoke("maintenance", "--host", HOST, "--off").code == 0


# Tags


def test_tags(site: Site, host: LabHost) -> None:
    """What is not meant is not touched and counted as skipped; what is half of a switch is whole, or refused."""
    host.run(["sh", "-c", "echo >> /opt/rackhand/boot; echo >> /etc/systemd/system/rackhand.service"])
    (site.apps / "note.txt").write_text("for tags")
    result = site.deploy(HOST, "--tags", "file:/opt/*")
    assert result.resources("changed") == ["file:/opt/rackhand/boot"]
    counts = result.events[-1]["hosts"][HOST]
    assert (counts["ok"], counts["skipped"]) == (1, len(planned(result)["left_out"]))
    result = site.deploy(HOST, "--tags", "baseline")
    assert result.resources("changed") == ["systemd_unit:rackhand.service"]
    result = site.deploy(HOST, "--tags", "python_app")
    assert [one.partition(":")[0] for one in result.resources("changed")] == ["release"]
    refused = site.invoke("deploy", "--host", HOST, "--skip-tags", "retired")
    assert refused.code == 2
    assert "cannot do without" in refused.out
    result = site.deploy(HOST, "--tags", "current")
    assert [one.partition(":")[0] for one in result.resources("changed")] == ["instance", "current", "retired"]
    assert [one for one in result.resources("ok") if one.startswith("probe:")]
    assert site.deploy(HOST).resources("changed") == []


def planned(result: Result) -> dict[str, Any]:
    return next(event for event in result.events if event["event"] == "planned")


# Own roles, as the documentation tells

DOCS = PROJECT / "docs" / "roles.md"


def blocks(kind: str) -> Iterator[str]:
    return (found[1] for found in re.finditer(rf"^```{kind}\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL))


def spoken(output: str) -> list[str]:
    """The lines without what differs from run to run."""
    output = re.sub(r"\d{8}-\d{6}-[0-9a-f]{6}", "RUN", output)
    output = re.sub(r" +\([\d.]+ (s|min \d+ s)\)", "", output)
    return [line.rstrip() for line in output.splitlines() if line.strip()]


def test_the_documentation_of_own_roles(site: Site, host: LabHost) -> None:
    """Its files and commands are tried as they stand there, and print what stands there, in this order. The password
    is printed by none of them."""
    role, *_ = blocks("python")
    variables, *_ = blocks("yaml")
    (site.folder / "roles").mkdir()
    (site.folder / "roles" / "redis.py").write_text(role)
    site.variables |= yaml.safe_load(variables)
    site.write()
    for block in blocks("console"):
        for command, shown in re.findall(r"^\$ ./invoke (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            result = site.invoke(*shlex.split(command))
            print(f"$ ./invoke {command}\n{result.out}{result.err}")
            assert result.code == 0
            assert spoken(shown), f"{command}: what does it print?"
            assert "correct-horse" not in result.out + result.err
            lines = iter(spoken(result.out + result.err))
            for line in spoken(shown):
                assert line.strip() == "…" or line in lines, f"{command} does not print: {line}"

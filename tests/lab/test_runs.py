"""Runs that meet: one that waits for another, one that outlives its controller, and the next that hears of it."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rackhand import PROJECT, payload
from rackhand.lab import Lab, LabHost
from tests.lab.running import Running
from tests.lab.site import TIMEOUT, Result, Site

APP = Path(__file__).parent / "small_app"
GATE = "/run/rackhand-test-gate"
HOST = "runs1"


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    """A host with the small application."""
    (host,) = lab.up([HOST])
    small(tmp_path_factory.mktemp("runs"), lab, host).deploy(HOST)
    return host


def small(folder: Path, lab: Lab, host: LabHost) -> Site:
    site = Site(folder, lab, [host], APP)
    site.variables["apps"] = {"one": {"path": str(site.apps), "app": "app:app", "route": "/one", "workers": 1}}
    site.write()
    return site


@pytest.fixture
def held(lab: Lab, host: LabHost, tmp_path: Path) -> Iterator[Site]:
    """A deploy of it stops in the middle of the preparations: the new release is not fit to serve until the gate is
    there."""
    site = small(tmp_path, lab, host)
    host.run(["rm", "-f", GATE])
    site.variables["apps"]["one"] |= {"env": {"TEXT": str(tmp_path), "WAIT_FOR": GATE}, "health_timeout": TIMEOUT}
    site.write()
    yield site
    host.run(["touch", GATE])
    site.deploy(HOST)


def holding(run: Running) -> str:
    """The id of the instance that does not become fit to serve, once it is waited for."""
    return str(run.until("begin", lambda event: event["id"].startswith("instance:one/"))["id"])


def named(run: Running) -> str:
    """The id of a run that has begun."""
    (started,) = Result(0, run.lines[0], "").events
    return str(started["run"])


def journal(host: LabHost, run: str) -> list[dict[str, Any]]:
    """What the host has written down of a run."""
    text = host.run(["cat", f"/var/lib/rackhand/runs/{run}.jsonl"]).stdout
    return [json.loads(line) for line in text.splitlines()]


def at_work(host: LabHost) -> int:
    """The agent that holds the lock."""
    inode = host.run(["stat", "-c", "%i", "/run/rackhand.lock"]).stdout.strip()
    (pid,) = (
        line.split()[4]
        for line in host.run(["cat", "/proc/locks"]).stdout.splitlines()
        if f":{inode} " in line and "->" not in line
    )
    return int(pid)


def free(host: LabHost) -> None:
    """Returns once no run changes the host."""
    host.run(["flock", "/run/rackhand.lock", "true"])


def said_of(result: Result, run: str) -> list[dict[str, Any]]:
    """What a run passed on of another one."""
    return [event["said"] for event in result.events if event["event"] == "other" and event["of"] == run]


def found(result: Result) -> list[dict[str, Any]]:
    """What a run told of the one before it."""
    return [event["last"] for event in result.events if event["event"] == "found"]


def served(host: LabHost) -> str:
    answer = httpx.get(f"http://{host.address}/one/", timeout=10)
    assert answer.status_code == 200
    return f"instance:one/{answer.text}"


# Where the time goes


def test_a_profile_has_the_time_of_each_step(lab: Lab, host: LabHost, tmp_path: Path) -> None:
    """After the report, beside what the host did: of the run, of the connection, and of each resource that took any."""
    site = small(tmp_path, lab, host)
    site.variables["apps"]["one"]["env"] = {"TEXT": str(tmp_path)}
    site.write()
    result = site.deploy(HOST, "--profile")
    steps: dict[tuple[str, str], list[float]] = {}
    for line in result.err.splitlines()[1:]:
        name, step, *seconds = re.split(r"\s{2,}", line.strip())
        steps[name, step] = [float(one) for one in seconds]
    begun = ("connecting", "starting the agent", "facts", "planning", "sending the plan", "sending data")
    assert [step for step in steps if step[1] in ("start-up", "inventory", "all hosts", *begun)] == [
        *(("-", step) for step in ("start-up", "inventory")),
        *((HOST, step) for step in begun),
        ("-", "all hosts"),
    ]
    ((_, instance),) = (step for step in steps if step[1].startswith("prepare: instance:one/"))
    whole, check, apply, recheck = steps[HOST, instance]
    assert apply > check + recheck
    assert whole == pytest.approx(check + apply + recheck, abs=0.1)
    assert sum(own[0] for (name, _), own in steps.items() if name == HOST) <= steps["-", "all hosts"][0]


# Runs that wait


def test_runs_that_wait_attach_to_the_one_at_work(held: Site, host: LabHost) -> None:
    """They tell what it does from its first event on, count none of it as their own, and then converge in turn."""
    with Running(held, HOST) as first:
        instance = holding(first)
        with Running(held, HOST) as second, Running(held, HOST) as third:
            for waiting in (second, third):
                waiting.until("other", lambda event: event["said"].get("id") == instance)
            host.run(["touch", GATE])
            results = [run.end() for run in (first, second, third)]
    assert [result.code for result in results] == [0, 0, 0], results
    assert served(host) == instance
    run = named(first)
    events = journal(host, run)
    assert events[0] | {"t": 0} == {
        "event": "start",
        "run": run,
        "t": 0,
        "command": "deploy",
        "who": events[0]["who"],
        "time": events[0]["time"],
    }
    assert socket.gethostname() in events[0]["who"]
    assert instance in results[0].resources("changed")
    upto = events.index(next(event for event in events if event["event"] == "end")) + 1
    for result in results[1:]:
        assert said_of(result, run)[:upto] == events[:upto]
        assert result.resources("changed") == []
        assert result.events[-1]["hosts"][HOST]["changed"] == 0
        assert found(result) == []
        assert {event["run"] for event in result.events} == {result.events[0]["run"]}


def test_a_run_that_waits_says_so_in_plain_words(held: Site, host: LabHost) -> None:
    """Each line of the other run's has its name."""
    with Running(held, HOST) as first:
        holding(first)
        with subprocess.Popen(
            [PROJECT / "invoke", "deploy", "--host", HOST],
            env={**os.environ, "RACKHAND_INVENTORY": str(held.inventory)},
            stdout=subprocess.PIPE,
            text=True,
        ) as second:
            assert second.stdout is not None
            lines = [second.stdout.readline() for _ in range(3)]
            host.run(["touch", GATE])
            rest = second.stdout.read()
    run = named(first)
    assert lines[1] == f"{HOST}  note     run {run} is changing this host: waiting for it to end\n"
    assert lines[2].startswith(f"{HOST}  other    run {run}: deploy by ")
    assert f"{HOST}  other    run {run}: changed current:applications" in rest
    assert f"{HOST}  other    run {run}: changed 4 of " in rest
    assert second.returncode == 0
    assert "changed=0 " in rest


def test_ctrl_c_on_a_run_that_waits(held: Site, host: LabHost) -> None:
    """It ends at once, while the other one still works and is not touched."""
    with Running(held, HOST) as first:
        instance = holding(first)
        with Running(held, HOST) as second:
            second.until("other")
            second.interrupt()
            result = second.end()
        assert result.code == 99, result
        assert result.events[-1]["hosts"][HOST]["state"] == "interrupted before anything was changed"
        assert at_work(host)
        host.run(["touch", GATE])
        assert first.end().code == 0
    assert served(host) == instance


def test_a_run_that_is_killed_while_another_waits(held: Site, host: LabHost) -> None:
    """The kernel frees the lock; the one that waited says where the other was cut off, and does its work."""
    with Running(held, HOST) as first:
        instance = holding(first)
        with Running(held, HOST) as second:
            second.until("other", lambda event: event["said"].get("id") == instance)
            host.run(["kill", "-9", str(at_work(host))])
            host.run(["touch", GATE])
            result = second.end()
        cut = first.end()
    assert cut.code == 4, cut
    assert result.code == 0, result
    (last,) = found(result)
    assert (last["run"], last["at"], last["done"], last["end"]) == (named(first), instance, False, None)
    assert served(host) == instance


# The next run


def test_the_next_run_tells_how_one_ended_that_nobody_watched(held: Site, host: LabHost) -> None:
    """Once: the run after that has nothing to tell. And `status` says how the last one ended."""
    with Running(held, HOST) as run:
        holding(run)
        run.process.kill()
    host.run(["touch", GATE])
    free(host)
    (row,) = held.invoke("status", "--host", HOST, "--json").events
    assert (row["last_run"]["run"], row["last_run"]["end"]["reason"]) == (named(run), None)
    first = held.invoke("deploy", "--host", HOST)
    told = f"{HOST}  found    run {named(run)} (deploy by "
    assert [line for line in first.out.splitlines() if line.startswith(told)], first.out
    assert "went on without its controller: it changed " in first.out
    assert found(held.deploy(HOST)) == []


def test_the_next_run_tells_where_one_was_cut_off_by_a_power_cut(held: Site, host: LabHost) -> None:
    """And goes on from there; `status` tells the same before."""
    with Running(held, HOST) as run:
        instance = holding(run)
        host.power_cut()
        host.boot()
        host.wait_ssh()
    host.run(["touch", GATE])
    told = f"run {named(run)} (deploy by "
    status = held.invoke("status", "--host", HOST).out
    assert told in status
    assert f"was cut off at {instance}\n" in status
    out = held.invoke("deploy", "--host", HOST).out
    assert told in out
    assert f"was cut off at {instance}: going on from what is there\n" in out
    assert served(host) == instance


def test_a_run_that_is_watched_to_its_end_is_not_told_of_again(held: Site, host: LabHost) -> None:
    """Also one that was interrupted, or changed nothing, or went through sudo; and while a run works, `status` says
    so."""
    with Running(held, HOST) as run:
        instance = holding(run)
        assert f"is at work at {instance}\n" in held.invoke("status", "--host", HOST).out
        run.interrupt()
        run.until("interrupt")
        host.run(["touch", GATE])
        assert run.end().code == 99
    users: tuple[dict[str, str], ...] = (
        {},
        {"ansible_user": "operator", "ansible_become_password": "lab-operator"},
        {"ansible_user": "deployer"},
    )
    for user in (*users, *users):
        held.hosts[HOST] |= {"ansible_become": True, "ansible_user": "root", **user}
        held.write()
        assert found(held.deploy(HOST)) == []


def test_the_hosts_own_log_names_the_run(held: Site, host: LabHost) -> None:
    host.run(["touch", GATE])
    result = held.deploy(HOST)
    run = result.events[0]["run"]
    host.run(["journalctl", "--sync"])
    lines = host.run(["journalctl", "-t", "rackhand", "-o", "cat"]).stdout.splitlines()
    own = [line.removeprefix(f"run {run}: ") for line in lines if line.startswith(f"run {run}: ")]
    assert own[0].startswith("deploy by ")
    assert own[1:-1] == [f"changed {changed}" for changed in result.resources("changed")]
    assert own[-1].startswith("ended: ")


def test_a_host_that_can_keep_no_journal(held: Site, host: LabHost) -> None:
    """The run fails with the reason, and nothing else was touched."""
    before = served(host)
    host.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", "/var/lib/rackhand"])
    try:
        result = held.invoke("deploy", "--host", HOST)
    finally:
        host.run(["umount", "/var/lib/rackhand"])
    assert result.code == 2
    assert f"{HOST}  failed   [Errno 28] No space left on device: '/var/lib/rackhand/runs'\n" in result.out
    assert "Traceback" not in result.out + result.err
    assert served(host) == before


@pytest.mark.parametrize("spoil", ["removed", "overwritten", "writable"])
def test_the_host_keeps_the_agent_that_it_has_compiled(held: Site, host: LabHost, spoil: str) -> None:
    """Whatever is in its place: nothing depends on it. A check leaves that alone, and a run writes it once."""
    kept = "/var/lib/rackhand/agent"

    def state() -> str:
        return host.run(["sh", "-c", f"stat -c '%a %U %y' {kept}; head -c 16 {kept}"], check=False).stdout

    def deployed() -> str:
        """What is there once the agent of a run has ended: it writes the file when its controller has left."""
        host.run(["touch", GATE])
        held.deploy(HOST)
        free(host)
        return state()

    def whole(found: str) -> bool:
        return found.startswith("600 root ") and found.endswith(f"\n{payload.digest()}")

    assert whole(deployed())
    host.run(
        ["sh", "-c", {"removed": "rm", "overwritten": "echo no agent >", "writable": "chmod 666"}[spoil] + f" {kept}"]
    )
    spoilt = state()
    assert not whole(spoilt)
    assert held.invoke("plan", "--host", HOST).code == 0
    assert state() == spoilt
    made = deployed()
    assert whole(made)
    assert deployed() == made


# Interrupts


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_polite_request_to_end_is_an_interrupt(held: Site, host: LabHost, by: signal.Signals) -> None:
    """The host stops before its switch."""
    before = served(host)
    with Running(held, HOST) as run:
        holding(run)
        run.interrupt(by)
        run.until("interrupt")
        host.run(["touch", GATE])
        result = run.end()
    assert result.code == 99, result
    assert result.events[-1]["hosts"][HOST]["state"].startswith("interrupted before the switch")
    assert served(host) == before


def test_an_interrupt_that_comes_twice(held: Site, host: LabHost) -> None:
    """A terminal and a wrapper both pass on the same Ctrl-C: the run still waits for its host."""
    with Running(held, HOST) as run:
        holding(run)
        run.interrupt()
        run.interrupt()
        run.until("interrupt")
        host.run(["touch", GATE])
        result = run.end()
    assert result.code == 99, result
    assert result.events[-1]["hosts"][HOST]["outcome"] == "interrupted"
    assert [event["event"] for event in result.events].count("interrupt") == 1


def test_a_terminal_gets_its_cursor_back(held: Site, host: LabHost) -> None:
    """When the run is asked to end, as after Ctrl-C."""
    master, slave = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR")}
    run = subprocess.Popen(
        [PROJECT / "invoke", "deploy", "--host", HOST],
        env={**environment, "RACKHAND_INVENTORY": str(held.inventory), "TERM": "xterm-256color", "COLUMNS": "150"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    said = b""
    try:
        while b"instance:one/" not in said:
            said += os.read(master, 2**16)
        run.terminate()
        while b"interrupted:" not in said:
            said += os.read(master, 2**16)
        host.run(["touch", GATE])
        while chunk := _rest(master):
            said += chunk
        assert run.wait() == 99
    finally:
        run.kill()
        run.wait()
        os.close(master)
    assert said.rindex(b"\x1b[?25h") > said.rindex(b"\x1b[?25l")


def test_a_terminal_that_is_closed(held: Site, host: LabHost) -> None:
    """The run is interrupted, as by Ctrl-C, though it can tell nobody; the host stops before its switch."""
    before = served(host)
    master, slave = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR")}
    run = subprocess.Popen(
        ["setsid", "--ctty", "--wait", PROJECT / "invoke", "deploy", "--host", HOST],
        env={**environment, "RACKHAND_INVENTORY": str(held.inventory), "TERM": "xterm-256color", "COLUMNS": "150"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    said = b""
    while b"instance:one/" not in said:
        said += os.read(master, 2**16)
    os.close(master)
    host.run(["touch", GATE])
    assert run.wait(TIMEOUT) == 99
    free(host)
    assert served(host) == before


def _rest(master: int) -> bytes:
    try:
        return os.read(master, 2**16)
    except OSError:  # the other end is closed
        return b""


def test_an_interrupt_while_connecting_ends_the_run(held: Site) -> None:
    """A host that does not answer is not waited for; none was asked for anything."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(TIMEOUT)
        local = {"ansible_host": "127.0.0.1", "ansible_port": silent.getsockname()[1]}
        own = dict(held.hosts[HOST])
        held.hosts[HOST] |= local | {"ansible_timeout": 10 * TIMEOUT}
        held.write()
        with Running(held, HOST) as run, silent.accept()[0]:
            run.until("connecting")
            run.interrupt()
            result = run.end()
    held.hosts[HOST] = own
    held.write()
    assert result.code == 99, result
    assert result.events[-1]["hosts"][HOST]["state"] == "interrupted before anything was changed"


# The connection


def cut(host: LabHost) -> AbstractContextManager[None]:
    """No packet gets from this machine to the host, nor back."""
    rules = "".join(
        f"chain {hook} {{ type filter hook {hook} priority 0; ip {field} {host.address} drop; }}\n"
        for hook, field in (("input", "saddr"), ("output", "daddr"))
    )
    return host.network.disturbed("cut", rules)


def test_a_connection_that_is_cut_without_a_word(held: Site, host: LabHost) -> None:
    """It is noticed though nobody was about to say anything. The host goes on; the next run tells how it ended."""
    with Running(held, HOST) as run:
        instance = holding(run)
        with cut(host):
            result = run.end()
            assert result.code == 4, result
            assert "run the same command again to see how it ended" in result.events[-1]["hosts"][HOST]["state"]
            host.run(["touch", GATE])
            free(host)
    assert served(host) == instance
    (last,) = found(held.deploy(HOST))
    assert (last["run"], last["end"]["reason"]) == (named(run), None)


def test_a_controller_that_goes_away_while_its_run_waits(held: Site, host: LabHost) -> None:
    """Its run changes nothing when its turn comes; the one that works is not touched."""
    with Running(held, HOST) as first:
        holding(first)
        with Running(held, HOST) as second:
            second.until("other")
            second.process.kill()
        host.run(["touch", GATE])
        assert first.end().code == 0
    free(host)
    assert found(held.deploy(HOST)) == []

"""The table of where the time went, from events alone."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from rackhand import PROJECT
from rackhand.profile import age, profile


def run(host: str, shift: float = 0.0) -> list[dict[str, Any]]:
    """The events of a host: a resource that was as wanted, one that was changed, two that took no time."""

    def event(at: float, name: str, **fields: Any) -> dict[str, Any]:
        return {"event": name, "host": host, "at": at + shift, **fields}

    def resource(at: float, identity: str, seconds: float, **fields: Any) -> list[dict[str, Any]]:
        begin = event(at - seconds, "begin", id=identity, stage="prepare")
        return [begin, event(at, "resource", id=identity, stage="prepare", status="ok", seconds=seconds, **fields)]

    return [
        event(0.0, "connecting"),
        event(0.3, "facts", facts={}, seconds={"connecting": 0.2, "starting the agent": 0.09, "facts": 0.01}),
        event(0.35, "planned", resources=4),
        event(0.4, "start", command="deploy", who="me", time=""),
        event(0.45, "upload", bytes=10),
        event(0.5, "upload", bytes=10),
        *resource(0.7, "packages:apt", 0.1),
        *resource(0.7001, "directory:/a", 0.0001),
        *resource(0.7002, "directory:/b", 0.0001),
        *resource(1.7, "instance:a/1", 0.9, parts={"check": 0.1, "apply": 0.6, "recheck": 0.2}),
        event(1.8, "end", ok=4, changed=0, failed=0, skipped=0, undone=False, interrupted=False, reason=None),
    ]


BEGUN = {"event": "run", "run": "r", "at": 0.0, "startup": 0.25, "inventory": 0.02, "hosts": ["web1", "web2"]}
DONE = {"event": "done", "run": "r", "at": 2.0, "seconds": 2.0, "interrupted": False}


def rows(table: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in table.splitlines()]


def test_each_step_of_a_host_has_its_time() -> None:
    assert rows(profile([BEGUN, *run("web1"), DONE])) == [
        ["HOST", "STEP", "SECONDS", "CHECK", "APPLY", "RECHECK"],
        ["-", "start-up", "0.250"],
        ["-", "inventory", "0.020"],
        ["web1", "connecting", "0.200"],
        ["web1", "starting the agent", "0.090"],
        ["web1", "facts", "0.010"],
        ["web1", "planning", "0.050"],
        ["web1", "sending the plan", "0.050"],
        ["web1", "looking for missing data", "0.050"],
        ["web1", "sending data", "0.150"],
        ["web1", "prepare: packages:apt", "0.100", "0.100"],
        ["web1", "prepare: what took less than 2 ms", "0.000", "0.000"],
        ["web1", "prepare: instance:a/1", "0.900", "0.100", "0.600", "0.200"],
        ["web1", "ending", "0.100"],
        ["-", "all hosts", "2.000"],
    ]


def test_a_host_that_is_held_waits_for_the_canary() -> None:
    """Then it is connected to again."""
    held = [*run("web1")[:3], {"event": "held", "host": "web1", "at": 0.36}]
    told = rows(profile([BEGUN, *held, *run("web1", 1.36), DONE]))
    assert ["web1", "waiting for the canary", "1.000"] in told
    assert ["web1", "connecting", "0.400"] in told


def test_hosts_whose_events_are_mixed_are_told_apart() -> None:
    events = sorted([*run("web1"), *run("web2", 0.01)], key=lambda event: event["at"])
    told = rows(profile([BEGUN, *events, DONE]))
    assert [row[0] for row in told[1:]] == ["-"] * 2 + ["web1"] * 11 + ["web2"] * 11 + ["-"]
    alone = rows(profile([BEGUN, *run("web1"), DONE]))
    for host in ("web1", "web2"):
        assert [row[1:] for row in told if row[0] == host] == [row[1:] for row in alone if row[0] == "web1"]


def test_a_host_that_was_not_reached_and_one_that_only_answered() -> None:
    events = [
        {"event": "connecting", "host": "web1", "at": 0.0},
        {"event": "unreachable", "host": "web1", "at": 0.5, "reason": "silent"},
        *run("web2")[:2],
        {"event": "answered", "host": "web2", "at": 0.4},
    ]
    assert rows(profile([BEGUN, *events]))[3:] == [
        ["web1", "connecting", "0.500"],
        ["web2", "connecting", "0.200"],
        ["web2", "starting the agent", "0.090"],
        ["web2", "facts", "0.010"],
        ["web2", "planning", "0.100"],
    ]


def test_the_record_of_a_past_run_can_be_read(tmp_path: Path) -> None:
    record = tmp_path / "r.jsonl"
    events = [BEGUN, *run("web1"), DONE]
    record.write_text("".join(json.dumps(event) + "\n" for event in events))
    command = [sys.executable, "-m", "rackhand.profile", str(record)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == profile(events) + "\n"


def test_a_process_knows_its_age() -> None:
    """Another one says its own, right after its start: it cannot be older than this one."""
    code = "from rackhand.profile import age; print(age())"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert 0 <= float(done.stdout) < age()

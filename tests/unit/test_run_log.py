"""Records of runs, and what the next one may take from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rackhand import commands
from rackhand.errors import UserError
from rackhand.report import Event
from rackhand.run_log import RunLog, failed_last

END: Event = {"event": "end", "ok": 1, "changed": 0, "failed": 0, "skipped": 0, "undone": False, "interrupted": False}


def record(folder: Path, run: str, *events: Event, command: str = "deploy", check: bool = False, hosts: str) -> None:
    begun = {"event": "run", "run": run, "command": command, "check": check, "hosts": list(hosts)}
    with RunLog(folder, run) as log:
        for event in (begun, *events):
            log.write(dict(event))


def fine(host: str) -> Event:
    return {**END, "host": host, "reason": None}


def test_all_that_did_not_end_well_are_the_failed_ones(tmp_path: Path) -> None:
    """Failed, unreachable, interrupted, and those that were not begun; also where the record breaks off."""
    failed = {**END, "host": "b", "reason": "it broke"}
    gone = {"event": "unreachable", "host": "c", "reason": "no answer"}
    stopped = {**END, "host": "d", "interrupted": True, "reason": "interrupted before the switch"}
    record(tmp_path, "r1", fine("a"), failed, gone, stopped, hosts="abcde")
    with (tmp_path / "r1.jsonl").open("a") as file:
        file.write('{"event":"end","ho')
    assert failed_last(tmp_path) == ("b", "c", "d", "e")


def test_the_last_run_that_could_change_hosts_counts(tmp_path: Path) -> None:
    """Checks and smoke tests in between do not."""
    record(tmp_path, "r1", fine("a"), hosts="ab")
    record(tmp_path, "r2", fine("a"), hosts="a", check=True)
    record(tmp_path, "r3", fine("a"), hosts="a", command="smoke")
    assert failed_last(tmp_path) == ("b",)
    record(tmp_path, "r4", fine("b"), hosts="b")
    with pytest.raises(UserError, match=r"the last run \(deploy, r4\) ended well on all hosts"):
        failed_last(tmp_path)


def test_without_a_record_there_is_nothing_to_limit_to(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^@failed: there is no record of a run$"):
        failed_last(tmp_path)


def test_the_failed_ones_go_together_with_other_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of commands on hosts, in each pattern that these are given."""
    record(tmp_path / ".runs", "r1", fine("a"), hosts="abcd")
    (tmp_path / "hosts.ini").write_text("[web]\na\nb\nc\n[db]\nd\n")
    monkeypatch.setattr(commands, "PROJECT", tmp_path)

    def chosen(host: str, limit: str | None) -> str:
        options = commands.Options(host=host, limit=limit, inventory=[str(tmp_path / "hosts.ini")])
        return "".join(found.name for found in commands.hosts(options))

    assert chosen("all", "@failed") == "bcd"
    assert chosen("all", "@failed:!c") == "bd"
    assert chosen("all", "@failed:&web") == "bc"
    assert chosen("@failed:a", None) == "bcda"


def test_a_record_is_json_lines(tmp_path: Path) -> None:
    record(tmp_path, "r1", fine("a"), hosts="a")
    assert [json.loads(line)["event"] for line in (tmp_path / "r1.jsonl").read_text().splitlines()] == ["run", "end"]

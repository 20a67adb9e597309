"""In which order hosts have their turn, and when no further one begins."""

from __future__ import annotations

import itertools
import random

import pytest

from rackhand.errors import UserError
from rackhand.report import Event, Report
from rackhand.rollout import Pace, Rollout

HOSTS = [f"web{number}" for number in range(1, 11)]


def rollout(count: int = 10, **pace: object) -> Rollout:
    return Rollout.of(HOSTS[:count], Pace(**pace))  # type: ignore[arg-type]


def sizes(count: int, serial: str) -> list[int]:
    return [len(batch) for batch in Rollout.of([f"h{n}" for n in range(count)], Pace(serial=serial)).batches]


def report(*events: Event) -> Report:
    folded = Report().after({"event": "run", "run": "", "command": "deploy", "check": False, "hosts": HOSTS})
    for event in events:
        folded = folded.after(event)
    return folded


def end(host: str, how: str = "ok") -> list[Event]:
    if how in ("unreachable", "lost", "error"):
        return [{"event": how, "host": host, "reason": "why"}]
    counts = {"ok": 1, "changed": 0, "failed": 0, "skipped": 0}
    reason = None if how == "ok" else "why"
    return [{"event": "end", "host": host, **counts, "undone": how == "undone", "interrupted": False, "reason": reason}]


def at(host: str, event: str) -> Event:
    return {"event": event, "host": host}


# Batches


def test_without_batches_all_may_begin() -> None:
    assert rollout().ready(report()) == tuple(HOSTS)


@pytest.mark.parametrize(
    ("count", "serial", "expected"),
    [
        (10, "3", [3, 3, 3, 1]),
        (10, "30%", [3, 3, 3, 1]),
        (10, "1,5,20%", [1, 5, 2, 2]),
        (10, "1, 100%", [1, 9]),
        (3, "10%", [1, 1, 1]),
        (3, "5", [3]),
        (100, "1,10%,50%", [1, 10, 50, 39]),
    ],
)
def test_batches_have_the_sizes_that_ansible_gives_them(count: int, serial: str, expected: list[int]) -> None:
    """Percents are of all hosts, rounded down, one at least; the last size is that of all further batches."""
    assert sizes(count, serial) == expected


@pytest.mark.parametrize("serial", ["", "0", "-1", "x", "5,", "0%", "101%", "1.5", "5%%", "5%x", "٣"])
def test_a_batch_that_is_none_is_refused(serial: str) -> None:
    with pytest.raises(UserError, match="--serial should be like"):
        rollout(serial=serial)


@pytest.mark.parametrize("percentage", ["x", "-1", "101", "nan", "inf", ""])
def test_a_percentage_that_is_none_is_refused(percentage: str) -> None:
    with pytest.raises(UserError, match="--max-fail-percentage should be from 0 to 100"):
        rollout(max_fail_percentage=percentage)


def test_a_batch_begins_when_the_one_before_has_ended() -> None:
    """However its hosts ended, as long as not all went wrong."""
    batches = rollout(serial="2")
    assert batches.ready(report()) == ("web1", "web2")
    assert batches.ready(report(at("web1", "connecting"))) == ("web2",)
    assert batches.ready(report(at("web1", "connecting"), *end("web1"), at("web2", "connecting"))) == ()
    assert batches.ready(report(*end("web1", "unreachable"), *end("web2"))) == ("web3", "web4")


# When it stops


@pytest.mark.parametrize("how", ["failed", "undone", "unreachable", "lost", "error"])
def test_failed_and_unreachable_hosts_count_alike(how: str) -> None:
    tolerant = rollout(serial="4", max_fail_percentage="25")
    assert tolerant.stopped(report(*end("web1", how))) is None
    assert (
        tolerant.stopped(report(*end("web1", how), *end("web2", "unreachable")))
        == "2 of 4 hosts of batch 1 did not end well, which is more than 25 %"
    )


def test_it_stops_as_soon_as_too_many_have_failed() -> None:
    """Not at the end of the batch: those that have not begun never do."""
    tolerant = rollout(max_fail_percentage="10%")
    assert tolerant.ready(report(*end("web1", "failed"))) == tuple(HOSTS[1:])
    assert tolerant.ready(report(*end("web1", "failed"), *end("web2", "unreachable"))) == ()


def test_without_a_percentage_a_batch_that_failed_as_a_whole_stops_it() -> None:
    plain = rollout(serial="2")
    assert plain.ready(report(*end("web1", "failed"), *end("web2"))) == ("web3", "web4")
    broken = report(*end("web1", "failed"), *end("web2", "unreachable"))
    assert plain.ready(broken) == ()
    assert plain.stopped(broken) == "2 of 2 hosts of batch 1 did not end well"


def test_when_all_may_fail_nothing_stops_it() -> None:
    """A host that is down holds up nobody, also where it is a batch of its own."""
    patient = rollout(serial="1", max_fail_percentage="100")
    assert patient.ready(report(*end("web1", "unreachable"), *end("web2", "failed"))) == ("web3",)


def test_what_holds_for_each_batch_holds_for_the_whole_run() -> None:
    """Whatever becomes of hosts, no run ends with more percent of them failed, unless it was stopped."""
    chance = random.Random(1)
    for serial, percentage in itertools.product(["1", "3", "30%", "1,2,4"], ["0", "20", "34", "50"]):
        for _ in range(50):
            events = [event for host in HOSTS for event in end(host, chance.choice(["ok", "ok", "failed", "lost"]))]
            limited = rollout(serial=serial, max_fail_percentage=percentage)
            folded = report(*events)
            bad = sum(host.bad for host in folded.hosts.values())
            assert limited.stopped(folded) is not None or bad * 100 <= float(percentage) * len(HOSTS)


# The canary


@pytest.mark.parametrize(
    ("count", "pace", "canary"),
    [
        (3, {"canary": True}, True),
        (2, {"canary": True}, False),
        (3, {"canary": False}, False),
        (3, {"canary": True, "serial": "1,100%"}, False),
    ],
)
def test_when_there_is_a_canary(count: int, pace: dict[str, object], canary: bool) -> None:
    """On more than two hosts, unless batches say otherwise."""
    assert rollout(count, **pace).canary is canary


def test_hosts_whose_code_changes_wait_for_the_canary() -> None:
    """The first that is held becomes it; whoever has nothing to change is not held up."""
    careful = rollout(3, canary=True)
    held = report(at("web2", "held"), at("web3", "held"))
    assert careful.ready(held) == ("web2", "web1")
    chosen = held.after({"event": "canary", "host": "web2"}).after(at("web2", "connecting"))
    assert careful.ready(chosen) == ("web1",)
    assert careful.holds(chosen)
    done = chosen.after(end("web2")[0])
    assert careful.ready(done) == ("web3", "web1")
    assert not careful.holds(done)


@pytest.mark.parametrize("how", ["failed", "unreachable"])
def test_a_canary_that_fails_ends_the_run(how: str) -> None:
    """Whatever percentage may fail. Nothing was changed where others waited."""
    careful = rollout(3, canary=True, max_fail_percentage="100")
    folded = report(
        at("web1", "held"), at("web2", "held"), {"event": "canary", "host": "web1"}, at("web1", "connecting")
    )
    folded = folded.after(end("web1", how)[0])
    assert careful.ready(folded) == ()
    assert careful.stopped(folded) == "the canary web1 did not end well"
    assert folded.standing("web2") == "not started, untouched"

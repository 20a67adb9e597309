"""Who is begun when, whatever crew does the work. The crews are tested on hosts, in tests/lab/test_fleet.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rackhand import fleet, processes
from rackhand.conversation import Event
from rackhand.fleet import Fleet
from rackhand.job import Job
from rackhand.rollout import Pace, Rollout
from rackhand.settings import ConnectionSettings, HostSettings, NginxSettings

END: Event = {"event": "end", "ok": 1, "changed": 0, "failed": 0, "skipped": 0, "undone": False, "interrupted": False}
FINE: Event = {**END, "reason": None}
BROKEN: Event = {**END, "failed": 1, "reason": "it broke"}
GONE: Event = {"event": "unreachable", "reason": "no answer"}


class Script:
    """A crew that tells of each host what is written for it; of a host that would change code and is held, that."""

    def __init__(self, ends: Mapping[str, Event], changing: str, silent: str, slow: str) -> None:
        self._ends, self._changing, self._silent, self._slow = ends, changing, silent, slow
        self.tell: Callable[[Event], object] = print
        self.waiting: list[Callable[[], None]] = []
        self.begun: list[str] = []

    def start(self, job: Job, left: Callable[[BaseException | None], None]) -> None:
        name = job.host.name
        self.begun.append(name)
        self.tell({"event": "connecting", "host": name})
        if name not in self._silent:
            self.tell({"event": "greeted", "host": name})
        if name in self._silent or name in self._slow:
            self.waiting.append(lambda: self._end(name, left))
        elif job.hold and name in self._changing:
            self.tell({"event": "held", "host": name})
            left(None)
        else:
            self._end(name, left)

    def _end(self, name: str, left: Callable[[BaseException | None], None]) -> None:
        self.tell({**self._ends.get(name, FINE), "host": name})
        left(None)

    def cancel(self) -> set[str]:
        return set()

    def close(self) -> None: ...


def settings(name: str) -> HostSettings:
    connection = ConnectionSettings(host=name)
    return HostSettings(
        name=name, groups=("all",), connection=connection, apps=(), nginx=NginxSettings(), keep_releases=5
    )


def run(
    monkeypatch: pytest.MonkeyPatch,
    names: str,
    *,
    ends: Mapping[str, Event] | None = None,
    changing: str = "",
    silent: str = "",
    slow: str = "",
    interrupt: str | None = None,
    forks: int = 20,
    **pace: Any,
) -> tuple[list[str], list[Event]]:
    """In which order hosts were begun, and what was told. Silent hosts, and slow ones, which greet, end once all others
    have, or it is told that they take long. The interrupt comes once this host is being connected to."""
    script = Script(ends or {}, changing, silent, slow)

    def crew(jobs: object, forks: object, scheduler: object, tell: Callable[[Event], object], blob: object) -> Script:
        script.tell = tell
        return script

    monkeypatch.setattr(fleet, "_crew", crew)
    jobs = [Job(host=settings(name), work=lambda host, conversation, blob: iter(())) for name in names]
    fleet_ = Fleet(jobs, rollout=Rollout.of(list(names), Pace(**pace)), forks=forks)
    told = []
    for event in fleet_:
        told.append(event)
        if event["event"] == "connecting" and event["host"] == interrupt:
            fleet_.cancel()
        others = sum(each["event"] in ("end", "unreachable") for each in told)
        if others == len(names) - len(silent + slow) or event["event"] == "still":
            for end in script.waiting:
                end()
            script.waiting.clear()
    return script.begun, told


def test_one_batch_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, told = run(monkeypatch, "abcde", serial="1,2")
    assert begun == list("abcde")
    batches = [event for event in told if event["event"] == "batch"]
    assert [event["hosts"] for event in batches] == [("a",), ("b", "c"), ("d", "e")]
    assert [event["number"] for event in batches] == [1, 2, 3]
    order = [event.get("host", event["event"]) for event in told if event["event"] in ("batch", "connecting", "end")]
    assert order.index("b") > order.index("a")


def test_a_batch_that_fails_leaves_the_rest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named, with the reason."""
    begun, told = run(monkeypatch, "abcde", ends={"b": BROKEN, "c": GONE}, serial="1,2")
    assert begun == list("abc")
    assert told[-1] == {
        "event": "stopped",
        "reason": "2 of 2 hosts of batch 2 did not end well",
        "hosts": ["d", "e"],
    }


def test_no_further_host_begins_once_too_many_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, told = run(monkeypatch, "abcde", ends={"a": GONE}, max_fail_percentage="10", forks=1)
    assert begun == ["a"]
    assert told[-1]["event"] == "stopped"


def test_a_canary_goes_first_and_the_others_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with nothing to change go at once."""
    begun, told = run(monkeypatch, "abcd", changing="acd", canary=True)
    assert sorted(begun[:4]) == list("abcd")
    assert begun[4:] == ["a", "c", "d"]
    assert [event["host"] for event in told if event["event"] == "canary"] == ["a"]
    ended = [event["host"] for event in told if event["event"] == "end"]
    assert ended.index("a") < ended.index("c")
    assert sorted(ended) == list("abcd")


def test_a_canary_that_fails_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, told = run(monkeypatch, "abcd", changing="acd", ends={"a": BROKEN}, canary=True)
    assert begun[4:] == ["a"]
    assert told[-1] == {"event": "stopped", "reason": "the canary a did not end well", "hosts": ["c", "d"]}


def test_a_canary_and_one_host_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is held takes no place."""
    begun, told = run(monkeypatch, "abc", changing="abc", canary=True, forks=1)
    assert sorted(event["host"] for event in told if event["event"] == "end") == list("abc")
    assert begun[0] == "a"


def test_no_canary_when_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done twice, and nobody waits."""
    begun, told = run(monkeypatch, "abcd", canary=True)
    assert begun == list("abcd")
    assert "canary" not in {event["event"] for event in told}


def test_hosts_that_do_not_answer_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many of them as may be worked on at once, the others begin while they are still dialled."""
    monkeypatch.setattr(fleet, "_SILENT", 0.0)
    monkeypatch.setattr(fleet, "_LOOK", 0.01)
    begun, told = run(monkeypatch, "abcd", silent="ab", ends={"a": GONE, "b": GONE}, forks=2)
    assert begun == list("abcd")
    ends = [event["host"] for event in told if event["event"] in ("end", "unreachable")]
    assert ends == ["c", "d", "a", "b"]


def test_hosts_that_have_greeted_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long they take to log in, to start the agent or to install Python."""
    monkeypatch.setattr(fleet, "_SILENT", 0.0)
    monkeypatch.setattr(fleet, "_LOOK", 0.01)
    monkeypatch.setattr(fleet, "_STILL", 0.1)
    begun, told = run(monkeypatch, "abcd", slow="ab", forks=2)
    assert begun == list("abcd")
    order = [(event["event"], event["host"]) for event in told if event["event"] in ("connecting", "still", "end")]
    assert order[:3] == [("connecting", "a"), ("connecting", "b"), ("still", "a")]
    assert {event["step"] for event in told if event["event"] == "still"} == {"starting"}


def test_what_takes_long_is_told_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the step, each time after twice as long."""
    monkeypatch.setattr(fleet, "_LOOK", 0.01)
    monkeypatch.setattr(fleet, "_STILL", 0.05)
    script = Script({}, "", "a", "")

    def crew(jobs: object, forks: object, scheduler: object, tell: Callable[[Event], object], blob: object) -> Script:
        script.tell = tell
        return script

    monkeypatch.setattr(fleet, "_crew", crew)
    job = Job(host=settings("a"), work=lambda host, conversation, blob: iter(()))
    still = []
    for event in Fleet([job], rollout=Rollout.of(["a"], Pace()), forks=1):
        if event["event"] == "connecting":
            script.tell({"event": "begin", "host": "a", "id": "packages:apt", "stage": "prepare"})
        if event["event"] == "still":
            still.append(event)
        if len(still) == 2:
            script.waiting.pop()()
            script.waiting.append(lambda: None)
            break
    assert [event["step"] for event in still] == ["packages:apt", "packages:apt"]


def test_how_connecting_fails_after_an_interrupt_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupt may have ended a program that it needs. What came before it is told."""
    begun, told = run(monkeypatch, "abc", ends={"a": GONE, "b": GONE}, interrupt="b", forks=1)
    assert begun == list("ab")
    assert [(event["event"], event["host"]) for event in told] == [
        ("connecting", "a"),
        ("greeted", "a"),
        ("unreachable", "a"),
        ("connecting", "b"),
        ("greeted", "b"),
    ]


@pytest.mark.parametrize(
    ("hosts", "cores", "forks", "crew"),
    [
        (39, 8, 20, "threads"),
        (40, 8, 20, "2 processes"),
        (100, 8, 20, "5 processes"),
        (100, 2, 20, "2 processes"),
        (100, 1, 20, "threads"),
        (100, 8, 3, "3 processes"),
        (100, 8, 1, "threads"),
    ],
)
def test_processes_do_the_work_when_it_would_keep_a_core_busy(
    monkeypatch: pytest.MonkeyPatch, hosts: int, cores: int, forks: int, crew: str
) -> None:
    """One for every twenty hosts, and no more than there are cores or may be worked on at once."""
    chosen = ["threads"]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(processes, "Processes", lambda count, tell, blob: chosen.append(f"{count} processes"))
    jobs = [Job(host=settings(f"h{n}"), work=lambda host, conversation, blob: iter(())) for n in range(hosts)]
    Fleet(jobs, rollout=Rollout.of([job.host.name for job in jobs], Pace()), forks=forks)
    assert chosen[-1] == crew

"""The runs of a host: who may change it, what the others see meanwhile, and what is known of the last one."""

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rackhand.agent import answer, channel, host_log, layout, runs
from rackhand.agent.channel import Channel
from rackhand.agent.events import Emitter
from rackhand.agent.plan import Plan
from rackhand.agent.redaction import MASK


class Agent:
    """One agent's ends of its channel, and the controller's."""

    def __init__(self) -> None:
        stdin, self.input = os.pipe()
        self._output, stdout = os.pipe()
        self.channel = Channel(stdin)
        self.emit = Emitter(stdout)
        self._open = [stdin, self.input, self._output, stdout]

    def say(self, text: str) -> None:
        os.write(self.input, text.encode())

    def leave(self) -> None:
        """The controller goes away."""
        self._open.remove(self.input)
        os.close(self.input)

    def said(self) -> list[dict[str, Any]]:
        """The events so far, which are at least one."""
        return [json.loads(line) for line in os.read(self._output, 2**20).splitlines()]

    def close(self) -> None:
        for descriptor in self._open:
            os.close(descriptor)


@pytest.fixture
def agent() -> Iterator[Agent]:
    with closing(Agent()) as agent:
        yield agent


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's folders of runs, and no line in this machine's own log."""
    monkeypatch.setattr(layout, "RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(layout, "LAST_RUN", str(tmp_path / "runs/last"))
    monkeypatch.setattr(layout, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(host_log, "tell", lambda event: None)
    return tmp_path


def write(run: str, *events: dict[str, Any], torn: str = "") -> None:
    """A journal, which is the last one."""
    with Path(runs.begin(run)).open("a") as file:
        file.write("".join(json.dumps(event) + "\n" for event in events) + torn)


START = {"event": "start", "command": "deploy", "who": "me@here", "time": "now"}
BEGIN = {"event": "begin", "id": "file:/a"}
DONE = {"event": "resource", "id": "file:/a", "status": "ok"}
END = {"event": "end", "reason": None}
HEARD = {"event": "heard"}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], {"command": None, "at": None, "done": True, "end": None, "heard": False}),
        ([START], {"command": "deploy", "who": "me@here", "time": "now", "at": None, "end": None}),
        ([START, BEGIN], {"at": "file:/a", "done": False, "end": None}),
        ([START, BEGIN, DONE], {"at": "file:/a", "done": True, "end": None}),
        ([START, BEGIN, DONE, END], {"end": END, "heard": False}),
        ([START, BEGIN, DONE, END, HEARD], {"end": END, "heard": True}),
    ],
    ids=["nothing", "begun", "at work", "between two", "ended", "heard of"],
)
def test_what_is_known_of_the_last_run(events: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    """Half a line that a full disk or a power cut has left is passed over."""
    write("r0", START, END, HEARD)
    write("r1", *events, torn='{"event":"end","rea')
    last = runs.last()
    assert last is not None
    assert last["run"] == "r1"
    assert {key: last[key] for key in expected} == expected


def test_a_host_without_runs() -> None:
    assert runs.last() is None
    assert not runs.at_work()


def test_the_last_run_is_the_one_that_began_last_whatever_the_clock_says(scratch: Path) -> None:
    """A clock that was ahead has left journals with times to come."""
    write("r1", START)
    os.utime(scratch / "runs/r1.jsonl", (time.time() + 10**6,) * 2)
    write("r2", START)
    last = runs.last()
    assert last is not None
    assert last["run"] == "r2"


def test_old_journals_are_forgotten(scratch: Path) -> None:
    for number in range(runs.KEPT + 5):
        write(f"r{number:02}", START)
        os.utime(scratch / f"runs/r{number:02}.jsonl", (number, number))
    kept = sorted(path.name for path in (scratch / "runs").glob("*.jsonl"))
    assert kept == [f"r{number:02}.jsonl" for number in range(5, runs.KEPT + 5)]


def test_a_run_has_its_turn_at_once_when_no_other_works(agent: Agent, scratch: Path) -> None:
    """Whatever an earlier run has left in the file."""
    (scratch / "lock").write_text("a-run-of-a-longer-name-that-was-killed")
    with runs.Lock() as lock:
        assert runs.turn(lock, "r2", agent.channel, agent.emit) is None
        assert lock.holder() == "r2"
        assert runs.at_work()
    assert not runs.at_work()


def test_a_run_that_waits_passes_on_all_of_the_other(agent: Agent) -> None:
    """From its first event to its last, though it has not yet written its name or opened its journal when the wait
    begins, and ends while nobody looks."""
    turned: list[str | None] = []

    def wait() -> None:
        with runs.Lock() as lock:
            turned.append(runs.turn(lock, "r2", agent.channel, agent.emit))

    waiting = threading.Thread(target=wait)
    with runs.Lock() as holder:
        assert holder.take("")
        waiting.start()
        assert agent.said()[0]["text"] == "another run is changing this host: waiting for it to end"
        assert holder.take("r1")
        assert agent.said()[0]["text"] == "run r1 is changing this host: waiting for it to end"
        write("r1", START, torn='{"event":')
        assert [event["said"] for event in agent.said()] == [START]
        with Path(runs.journal("r1")).open("a") as file:
            file.write('"begin","id":"file:/a"}\n' + json.dumps(DONE) + "\n" + json.dumps(END) + "\n")
    waiting.join()
    events = agent.said()
    while events[-1]["said"] != END:
        events += agent.said()
    assert [event["said"] for event in events] == [BEGIN, DONE, END]
    assert {event["of"] for event in events} == {"r1"}
    assert turned == ["r1"]


def test_a_name_that_an_earlier_run_has_left_is_not_taken_for_the_holders(
    agent: Agent, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder has the lock before its name is in the file: here it writes that after the first look."""
    (scratch / "lock").write_text("r0")
    looks = iter((True, False, False))

    def look(channel: Channel, within: float) -> None:
        if (first := next(looks, None)) is None:
            raise runs.Interrupted
        assert not first or holder.take("r1")

    monkeypatch.setattr(runs, "_stop_if_asked", look)
    with runs.Lock() as holder, runs.Lock() as lock:
        fcntl.flock(holder._file, fcntl.LOCK_EX)
        with pytest.raises(runs.Interrupted):
            runs.turn(lock, "r2", agent.channel, agent.emit)
    (event,) = agent.said()
    assert event["text"] == "run r1 is changing this host: waiting for it to end"


@pytest.mark.parametrize("how", ["asked to stop", "left alone"])
def test_a_run_that_waits_can_be_ended(agent: Agent, how: str) -> None:
    """Its turn never comes; the lock stays with the other."""
    with runs.Lock() as holder, runs.Lock() as lock:
        assert holder.take("r1")
        if how == "left alone":
            agent.leave()
        else:
            agent.say('{"cancel":true}\n')
        with pytest.raises(runs.Interrupted):
            runs.turn(lock, "r2", agent.channel, agent.emit)
        assert holder.holder() == "r1"


def apply(agent: Agent, run: str, *said: str) -> list[dict[str, Any]]:
    """A run with nothing to do, whose controller has said this."""
    for line in said:
        agent.say(line)
    agent.emit.name(run)
    answer._apply(
        Plan(()),
        {"run": run, "command": "deploy", "who": "me@here", "confirm_within": 30, "drain": None},
        agent.channel,
        agent.emit,
    )
    return agent.said()


def test_every_event_of_a_run_has_its_name(agent: Agent) -> None:
    events = apply(agent, "r1", '{"heard":true}\n')
    assert [event["event"] for event in events] == ["start", "end", "heard"]
    assert {event["run"] for event in events} == {"r1"}
    assert (events[0]["command"], events[0]["who"]) == ("deploy", "me@here")
    assert [json.loads(line) for line in Path(runs.journal("r1")).read_text().splitlines()] == events


@pytest.mark.parametrize(
    ("events", "told"), [([START, BEGIN], True), ([START, END], True), ([START, END, HEARD], False)]
)
def test_the_next_run_tells_what_nobody_has_heard(agent: Agent, events: list[dict[str, Any]], told: bool) -> None:
    """Once: then there is a newer journal."""
    write("r1", *events)
    first = apply(agent, "r2", '{"heard":true}\n')
    assert [event["last"]["run"] for event in first if event["event"] == "found"] == ["r1"] * told
    assert "found" not in [event["event"] for event in apply(agent, "r3", '{"heard":true}\n')]


def test_a_controller_that_does_not_confirm_the_end_is_not_waited_for(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is over, and its journal does not say that anybody knows."""
    monkeypatch.setattr(answer, "FAREWELL", 0.01)
    apply(agent, "r1")
    last = runs.last()
    assert last is not None
    assert (last["end"]["reason"], last["heard"]) == (None, False)


def test_whatever_goes_wrong_is_told_at_the_end(agent: Agent, scratch: Path) -> None:
    """Here the journals have no place; the run fails with the reason."""
    (scratch / "runs").write_text("")
    (end,) = apply(agent, "r1")
    assert (end["event"], end["failed"]) == ("end", 1)
    assert "File exists" in end["reason"]


def test_a_reader_that_takes_nothing_holds_up_no_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As that of a dead connection: the pipe is full, the channel is given up, and the journal has everything."""
    monkeypatch.setattr(channel, "PATIENCE", 0.05)
    reading, writing = os.pipe()
    emit = Emitter(writing)
    emit.journal(str(tmp_path / "journal"))
    for number in range(100):
        emit("some", number=number, text="x" * 4096)
    assert emit.alone
    assert len((tmp_path / "journal").read_text().splitlines()) == 100
    os.close(reading)
    os.close(writing)


def test_a_slow_reader_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events larger than what the pipe holds arrive whole."""
    reading, writing = os.pipe()
    got: list[bytes] = []

    def read() -> None:
        while chunk := os.read(reading, 1000):
            got.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    emit = Emitter(writing)
    emit("some", text="x" * 10**6)
    os.close(writing)
    reader.join()
    assert len(json.loads(b"".join(got))["text"]) == 10**6
    os.close(reading)


@pytest.mark.parametrize("sent", ["", '{"blob":"d","size":9}\nhalf'])
def test_a_controller_that_falls_silent_is_gone(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: str
) -> None:
    """One that owes data does not keep the host from others."""
    monkeypatch.setattr(channel, "SILENCE", 0.05)
    agent.say(sent)
    with pytest.raises(ConnectionError, match="has sent nothing"):
        agent.channel.copy(agent.channel.line(0.05)["size"], str(tmp_path / "data"))


def test_the_hosts_own_log_gets_no_secret(tmp_path: Path) -> None:
    told: list[str | None] = []
    emit = Emitter(os.open(os.devnull, os.O_WRONLY))
    emit.name("r1")
    emit.hide(["hunter2"])
    emit.log(lambda event: told.append(host_log.line(event)))
    emit("start", command="deploy", who="me@here", time="now")
    emit("begin", id="file:/a")
    emit("resource", id="file:/a", status="ok")
    emit("resource", id="file:/hunter2", status="changed")
    emit("resource", id="file:/b", status="failed", message="no hunter2")
    emit("end", ok=1, changed=1, failed=1, skipped=0, undone=True, reason="file:/b: no hunter2")
    assert [line for line in told if line] == [
        "run r1: deploy by me@here",
        f"run r1: changed file:/{MASK}",
        f"run r1: failed file:/b: no {MASK}",
        f"run r1: ended: 1 ok, 1 changed, 1 failed, 0 skipped, the switch was undone: file:/b: no {MASK}",
    ]

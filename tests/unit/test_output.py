"""Output: what people and programs are shown of a run, and that text from hosts cannot play tricks on a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

import pytest

from rackhand.output import Renderer, choose
from rackhand.output.printable import printable
from rackhand.report import Event

PROJECT = Path(__file__).resolve().parents[2]


def run(*hosts: str, check: bool = False) -> Event:
    return {"event": "run", "run": "r1", "command": "deploy", "check": check, "hosts": list(hosts)}


def resource(name: str, status: str, *, host: str = "lab1", stage: str = "prepare", **more: Any) -> list[Event]:
    step = {"host": host, "id": name, "stage": stage}
    return [{"event": "begin", **step}, {"event": "resource", **step, "status": status, "seconds": 0.031, **more}]


def end(host: str = "lab1", **given: Any) -> Event:
    counts = {"ok": 0, "changed": 0, "failed": 0, "skipped": 0}
    return {"event": "end", "host": host, **counts, "undone": False, "interrupted": False, "reason": None, **given}


def unreachable(host: str) -> list[Event]:
    return [
        {"event": "connecting", "host": host},
        {"event": "unreachable", "host": host, "reason": "no answer within 10 s"},
    ]


def done(*, seconds: float = 0.6, interrupted: bool = False) -> Event:
    return {"event": "done", "seconds": seconds, "interrupted": interrupted}


CONTENT = {"key": "content", "diff": "--- /etc/a (now)\n+++ /etc/a (wanted)\n@@ -1 +1 @@\n-old\n+new"}
CHANGED = resource("file:/etc/a", "changed", changes=[CONTENT, {"key": "mode", "before": None, "after": "0644"}])
LOG = ["Traceback (most recent call last):", "ModuleNotFoundError: \x1b[31mnowhere\x1b[0m [bold]here[/bold]"]
FAILED = resource("instance:api/1f2e", "failed", message="the application ended instead of starting", log=LOG)
FAILING = [run("lab1"), *CHANGED, *FAILED, end(changed=1, failed=1, skipped=6, reason="instance:api/1f2e: it ended")]


def shown(*events: Event, json: bool = False, diff: bool = False) -> list[str]:
    stream = io.StringIO()
    with closing(choose(json=json, diff=diff, stream=stream)) as renderer:
        for event in events:
            renderer.handle(event)
    return stream.getvalue().splitlines()


def test_plain_lines_tell_what_changed_and_nothing_of_what_did_not() -> None:
    lines = shown(run("lab1", "web12"), *resource("packages:apt", "ok"), *CHANGED)
    assert lines == ["deploy on lab1, web12 (run r1)", "lab1   changed  file:/etc/a  (0.03 s)"]


def test_diff_shows_each_change_below_its_resource() -> None:
    assert shown(run("lab1"), *CHANGED, diff=True)[2:] == [
        "      --- /etc/a (now)",
        "      +++ /etc/a (wanted)",
        "      @@ -1 +1 @@",
        "      -old",
        "      +new",
        "      mode: (none) → 0644",
    ]


@pytest.mark.parametrize(("value", "text"), [("", '""'), ("a b", "a b"), (["a", 1], '["a", 1]'), (True, "true")])
def test_values_of_any_kind_are_shown_on_one_line(value: object, text: str) -> None:
    change = {"key": "k", "before": value, "after": None}
    lines = shown(run("lab1"), *resource("file:/a", "changed", changes=[change]), diff=True)
    assert lines[-1] == f"      k: {text} → (none)"


WARNINGS: list[Event] = [
    {"event": "warning", "text": "web.yml:3: better not"},
    {"event": "warning", "host": "lab1", "text": "api: debug mode is on"},
]


def test_a_warning_is_told_and_fails_nothing() -> None:
    """Of the inventory, or of a host; programs get it as its own event."""
    lines = shown(run("lab1"), *WARNINGS, end(ok=3), done())
    assert lines[1:3] == ["warning: web.yml:3: better not", "lab1  warning  api: debug mode is on"]
    assert lines[-1] == "lab1: all 3 as wanted, nothing to change (0.60 s)"
    *_, recap = map(json.loads, shown(run("lab1"), *WARNINGS, end(ok=3), done(), json=True))
    assert recap["exit_code"] == 0


def test_a_check_says_what_would_change() -> None:
    lines = shown(run("lab1", check=True), *CHANGED, end(ok=3, changed=1), done())
    assert lines[:2] == [
        "deploy on lab1, changing nothing (run r1)",
        "lab1  would change  file:/etc/a  (0.03 s)",
    ]
    assert lines[-1] == "lab1: would change 1 of 4 (0.60 s)"


def test_the_recap_line_is_ansibles_to_the_space() -> None:
    assert shown(run("lab1"), end(ok=9, changed=3), done())[2] == (
        "lab1                       : ok=12   changed=3    unreachable=0    failed=0    "
        "skipped=0    rescued=0    ignored=0   "
    )


def test_a_failure_shows_the_message_the_log_and_the_state_of_the_host_once() -> None:
    """The log is that of the application; the agent's reason at the end repeats what was said."""
    assert shown(*FAILING, done())[2:] == [
        "lab1  failed   instance:api/1f2e  (0.03 s)",
        "      the application ended instead of starting",
        "      the application said:",
        "        Traceback (most recent call last):",
        "        ModuleNotFoundError: nowhere [bold]here[/bold]",
        "",
        "lab1                       : ok=1    changed=1    unreachable=0    failed=1    "
        "skipped=6    rescued=0    ignored=0   ",
        "",
        "lab1: failed at instance:api/1f2e, what served before goes on serving (0.60 s)",
    ]


def test_a_failure_that_belongs_to_no_resource_is_told_at_the_end() -> None:
    lines = shown(run("lab1"), end(failed=1, skipped=3, reason="data arrived damaged"))
    assert lines[1:] == ["lab1  failed   data arrived damaged"]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"event": "unreachable", "reason": "no route"}, "lab1  unreachable  no route"),
        ({"event": "refused", "reason": "no systemd"}, "lab1  refused  no systemd"),
        ({"event": "error", "reason": "no such release"}, "lab1  failed   no such release"),
        ({"event": "lost", "reason": "reset"}, "lab1  lost     reset"),
        ({"event": "notice", "level": "info", "text": "waiting"}, "lab1  note     waiting"),
        ({"event": "notice", "level": "error", "text": "not undone"}, "lab1  error    not undone"),
        ({"event": "upload", "bytes": 1234567}, "lab1  upload   1.2 MB"),
        ({"event": "still", "step": "packages:apt", "seconds": 20}, "lab1  still    packages:apt  (20.0 s)"),
        ({"event": "held"}, None),
    ],
)
def test_what_befalls_a_host_takes_one_line(event: Event, line: str | None) -> None:
    assert shown(run("lab1"), {**event, "host": "lab1"})[1:] == ([line] if line else [])


def test_a_rollout_says_whose_turn_it_is_and_why_it_stopped() -> None:
    hosts = [f"web{number}" for number in range(1, 9)]
    events: list[Event] = [
        {"event": "batch", "number": 1, "of": 2, "hosts": ["web1", "web2"]},
        {"event": "canary", "host": "web1"},
        {"event": "stopped", "reason": "the canary web1 did not end well", "hosts": hosts[1:]},
    ]
    assert shown(run(*hosts), *events)[1:] == [
        "batch 1 of 2: web1, web2",
        "web1  canary   goes first: the other hosts whose code changes wait until it has ended well",
        "stopped: the canary web1 did not end well; not started: 7 hosts",
    ]


def test_text_of_several_lines_cannot_pass_for_another_host() -> None:
    """Only the first line of what a host says starts at the left margin."""
    lines = shown(run("lab1"), {"event": "error", "host": "lab1", "reason": "it broke\r\nlab2  failed   file:/x"})
    assert lines[1:] == ["lab1  failed   it broke", "      lab2  failed   file:/x"]


def test_an_unchanged_run_says_so() -> None:
    assert shown(run("lab1"), end(ok=12), done())[-1] == "lab1: all 12 as wanted, nothing to change (0.60 s)"
    assert shown(run("a", "b"), end("a"), end("b"), done())[-1] == "2 hosts: nothing to change (0.60 s)"


def test_hosts_in_trouble_are_named_with_their_state_and_the_others_counted() -> None:
    events = [run("a", "b", "c", "d"), end("a", ok=1, changed=1), *unreachable("b"), *unreachable("d"), end("c", ok=1)]
    assert shown(*events, done(seconds=119.7))[-2:] == [
        "b, d: unreachable, untouched",
        "4 hosts: 1 changed, 2 unreachable, 1 as wanted (2 min 0 s)",
    ]


def test_after_an_interrupt_the_state_of_every_host_is_told() -> None:
    events = [run("a", "b", "c", "d"), *resource("file:/a", "changed", host="a", changes=[]), {"event": "interrupt"}]
    stopped = end("a", changed=1, skipped=3, interrupted=True, reason="interrupted before the switch")
    busy = resource("file:/a", "changed", host="d", changes=[])
    lines = shown(*events, stopped, end("b", ok=4), *busy, done(interrupted=True))
    assert lines[-5:] == [
        "a: interrupted before the switch: what served before goes on serving; run the same command again to go on",
        "b: all 4 as wanted, nothing to change",
        "c: not started, untouched",
        "d: connection ended: the host goes on alone; run the same command again to see how it ended",
        "4 hosts: 1 interrupted, 1 as wanted, 1 not started, 1 lost (0.60 s)",
    ]


def test_json_is_every_event_a_line_and_the_recap_last() -> None:
    """Programs get what was said, not what is fit for a terminal."""
    events = [*FAILING, *unreachable("lab2"), done()]
    lines = [json.loads(line) for line in shown(*events, json=True)]
    assert lines[:-1] == events
    recap = lines[-1]
    assert (recap["event"], recap["exit_code"], list(recap["hosts"])) == ("recap", 6, ["lab1", "lab2"])
    assert recap["hosts"]["lab1"] == {
        "ok": 1,
        "changed": 1,
        "unreachable": 0,
        "failed": 1,
        "skipped": 6,
        "rescued": 0,
        "ignored": 0,
        "outcome": "failed",
        "reason": "instance:api/1f2e: it ended",
        "state": "failed at instance:api/1f2e, what served before goes on serving",
        "seconds": 0.0,
    }


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;ends\nelsewhere\x07", "\\x1b]0;ends\nelsewhere\\x07"),
        ("\x1bcreset", "reset"),
        ("bell\x07 back\x08 null\x00 \x7f", "bell\\x07 back\\x08 null\\x00 \\x7f"),
        ("over\rwritten", "over\\rwritten"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("half \ud83d pair", "half \\ud83d pair"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("Grüße → 🚀", "Grüße → 🚀"),
    ],
)
def test_control_characters_do_not_reach_a_terminal(text: str, safe: str) -> None:
    assert printable({"log": [text, 1, None]}) == {"log": [safe, 1, None]}


def test_a_stream_that_lacks_a_character_does_not_end_the_run() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    renderer = choose(json=False, diff=True, stream=stream)
    for event in (run("lab1"), *CHANGED):
        renderer.handle(event)
    stream.seek(0)
    assert stream.read().endswith("mode: (none) \\u2192 0644\n")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_reader_that_goes_away_does_not_end_the_run(as_json: bool) -> None:
    """As `| head` does."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", encoding="utf-8") as stream:
        renderer = choose(json=as_json, diff=False, stream=stream)
        for event in [*FAILING, done()]:
            renderer.handle(event)


def test_rich_is_imported_for_a_terminal_only() -> None:
    """A run that ends in half a second notices the import."""
    script = (
        "import sys; from rackhand.output import choose; choose(json=False, diff=True); print('rich' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


class Terminal:
    """A real pseudo-terminal, and all that was written to it."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self._said = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._master, 2**16)
            except OSError:  # the other end is closed
                return
            self._said += chunk

    def close(self) -> str:
        self.stream.close()
        self._reader.join()
        os.close(self._master)
        return self._said.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "20"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    yield terminal
    if not terminal.stream.closed:
        terminal.close()


def rows(renderer: Renderer) -> list[str]:
    """The rows as they would be drawn now."""
    from rackhand.output.live import Live

    assert isinstance(renderer, Live)
    return [line.rstrip() for line in renderer._rows().plain.split("\n")]


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("CI", "true")])
def test_a_dumb_terminal_and_ci_get_plain_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    renderer = choose(json=False, diff=False, stream=terminal.stream)
    for event in [*FAILING, done()]:
        renderer.handle(event)
    said = terminal.close()
    assert "\x1b" not in said
    assert "lab1                       : ok=1    changed=1    unreachable=0 " in said


def test_a_terminal_gets_the_lines_above_rows_in_colour_and_its_cursor_back(terminal: Terminal) -> None:
    with closing(choose(json=False, diff=False, stream=terminal.stream)) as renderer:
        for event in [*FAILING, done()]:
            renderer.handle(event)
    said = terminal.close()
    assert "\x1b[33mchanged" in said
    assert said.count("ModuleNotFoundError: nowhere [bold]here[/bold]") == 1
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")
    assert "failed at instance:api/1f2e, what served before" in said[said.rindex("\x1b[?25h") :]


def test_no_color_is_honoured(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with closing(choose(json=False, diff=False, stream=terminal.stream)) as renderer:
        for event in [*FAILING, done()]:
            renderer.handle(event)
    said = terminal.close()
    assert "changed" in said
    assert "\x1b[3" not in said


def test_a_run_that_breaks_off_leaves_the_terminal_sane(terminal: Terminal) -> None:
    """What had been told is there, and the cursor is back, though the run never said that it was done."""
    with closing(choose(json=False, diff=False, stream=terminal.stream)) as renderer:
        renderer.handle(run("lab1"))
        for event in CHANGED:
            renderer.handle(event)
    said = terminal.close()
    assert "file:/etc/a" in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")


def test_what_may_be_copied_is_broken_by_the_terminal_and_what_is_read_between_words(terminal: Terminal) -> None:
    path = "file:/etc/" + "long/" * 30
    broken = resource(path, "failed", message="no space left", log=[])
    with closing(choose(json=False, diff=False, stream=terminal.stream)) as renderer:
        for event in (run("lab1"), *broken, end(failed=1, reason="no space left"), done()):
            renderer.handle(event)
    above, _, summary = str(printable(terminal.close())).rpartition("ignored=0")
    assert path in above
    assert max(map(len, summary.split("\n"))) <= 100


def test_a_row_says_how_far_its_host_is(terminal: Terminal) -> None:
    planned = {"event": "planned", "host": "lab1", "resources": 9}
    with closing(choose(json=False, diff=False, stream=terminal.stream)) as renderer:
        for event in (run("lab1", "lab2", "lab3"), planned, *CHANGED, FAILED[0], *unreachable("lab2")):
            renderer.handle(event)
        first, second, third = rows(renderer)
    assert first.split()[1:7] == ["lab1", "prepare", "instance:api/1f2e", "1/9", "1", "changed"]
    assert second.split()[:5] == ["✗", "lab2", "unreachable", "no", "answer"]
    assert third.split() == ["lab3", "waiting"]


def test_many_hosts_take_half_of_the_terminal_those_at_work_first(terminal: Terminal) -> None:
    hosts = [f"web{number:03}" for number in range(100)]
    with closing(choose(json=False, diff=False, stream=terminal.stream)) as renderer:
        renderer.handle(run(*hosts))
        renderer.handle(end("web001"))
        renderer.handle({"event": "connecting", "host": "web090"})
        renderer.handle({"event": "error", "host": "web050", "reason": "broken"})
        lines = rows(renderer)
    assert len(lines) == 10
    assert [line.split()[1] for line in lines[:2]] == ["web090", "web050"]
    assert lines[-1] == "   +91 more, 0 of them ended"


@pytest.mark.parametrize("width", [60, 100, 200])
def test_a_row_fits_its_terminal_and_leaves_room_for_a_typed_interrupt(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """The terminal itself writes ^C behind the last row; a row that wraps stays behind when the rows are redrawn."""
    monkeypatch.setenv("COLUMNS", str(width))
    name = "a-host-with-a-name-that-is-far-too-long-for-any-column.example.com"
    with closing(choose(json=False, diff=False, stream=terminal.stream)) as renderer:
        renderer.handle(run(name))
        renderer.handle({"event": "error", "host": name, "reason": "a long\n\treason " * 20})
        (line,) = rows(renderer)
    assert width - 10 <= len(line) <= width - 5


def test_a_terminal_too_narrow_for_ansibles_recap_gets_it_without_the_padding(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with closing(choose(json=False, diff=False, stream=terminal.stream)) as renderer:
        for event in (run("lab1"), end(ok=9, changed=3), done()):
            renderer.handle(event)
    recap = "lab1 : ok=12 changed=3 unreachable=0 failed=0 skipped=0 rescued=0 ignored=0\r\n"
    assert recap in terminal.close()


def other(**said: Any) -> Event:
    return {"event": "other", "host": "lab1", "of": "r0", "said": said}


OTHERS = [
    other(event="start", command="deploy", who="me@\x1b[31mhere", time="then"),
    other(event="begin", id="file:/a", stage="prepare"),
    other(event="resource", id="file:/a", status="ok", seconds=0.1),
    other(event="resource", id="file:/b", status="changed", seconds=0.1, changes=[CONTENT]),
    other(event="resource", id="instance:s/1", status="failed", seconds=2, message="it ended", log=["ImportError"]),
    other(event="notice", level="error", text="could not undo"),
    other(**end(changed=1, failed=1, reason="instance:s/1: it ended")),
]


def test_lines_of_another_run_name_it() -> None:
    """What it changed, what failed, how it ended; without its diffs, and none of it in this run's recap."""
    lines = shown(run("lab1"), *OTHERS, end(ok=3), done(), diff=True)
    assert lines[1:-3] == [
        "lab1  other    run r0: deploy by me@here, begun at then",
        "lab1  other    run r0: changed file:/b  (0.10 s)",
        "lab1  other    run r0: failed instance:s/1: it ended  (2.00 s)",
        "      the application said:",
        "        ImportError",
        "lab1  other    run r0: could not undo",
        "lab1  other    run r0: failed: instance:s/1: it ended",
        "",
    ]
    assert "ok=3    changed=0 " in lines[-3]


def test_a_row_says_behind_which_run_its_host_waits(terminal: Terminal) -> None:
    with closing(choose(json=False, diff=False, stream=terminal.stream)) as renderer:
        renderer.handle(run("lab1"))
        for event in OTHERS[:2]:
            renderer.handle(event)
        (line,) = rows(renderer)
    assert line.split()[1:8] == ["lab1", "queued", "behind", "run", "r0", "at", "file:/a"]


RUN = {"run": "r0", "command": "deploy", "who": "me@here", "time": "then"}


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"at": "file:/a", "done": False}, "was cut off at file:/a: going on from what is there"),
        ({"at": "file:/a", "done": True}, "was cut off after file:/a: going on from what is there"),
        ({"at": None}, "was cut off before it had begun with anything: going on from what is there"),
        ({"end": end(ok=3)}, "went on without its controller: it found all 3 as wanted"),
        ({"end": end(ok=3, changed=1)}, "went on without its controller: it changed 1 of 4"),
        ({"end": end(failed=1, reason="file:/a: no")}, "went on without its controller: it failed: file:/a: no"),
        (
            {"end": end(failed=1, undone=True, reason="probe:p: no")},
            "went on without its controller: it failed, and its switch was undone: probe:p: no",
        ),
        (
            {"end": end(interrupted=True, reason="interrupted before the switch")},
            "went on without its controller: it ended: interrupted before the switch",
        ),
    ],
)
def test_what_is_found_of_the_run_before_takes_one_line(last: dict[str, Any], words: str) -> None:
    event = {"event": "found", "host": "lab1", "last": {**RUN, "at": None, "done": True, "end": None, **last}}
    assert shown(run("lab1"), event)[1:] == [f"lab1  found    run r0 (deploy by me@here, then) {words}"]


def test_a_run_that_was_cut_off_before_its_first_word_has_a_name_alone() -> None:
    last = {"run": "r0", "command": None, "who": None, "time": None, "at": None, "done": True, "end": None}
    (line,) = shown(run("lab1"), {"event": "found", "host": "lab1", "last": last})[1:]
    assert line.startswith("lab1  found    run r0 was cut off before")


def test_a_terminal_that_is_closed_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows and lines go nowhere."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("CI", raising=False)
    master, slave = pty.openpty()
    with (
        os.fdopen(slave, "w", encoding="utf-8") as stream,
        closing(choose(json=False, diff=False, stream=stream)) as renderer,
    ):
        renderer.handle(run("lab1"))
        os.close(master)
        for event in [*FAILING[1:], done()]:
            renderer.handle(event)

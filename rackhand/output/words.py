"""What a person is told of an event: lines of text, each in parts with a tone that a renderer may colour."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from rackhand.exit_codes import INTERRUPTED
from rackhand.report import Event, HostReport, Report

Tone = Literal["", "ok", "changed", "failed", "quiet", "added", "removed"]
#: The parts of one line, in order.
Line = tuple[tuple[str, Tone], ...]

_INDENT = " " * 6
#: What Ansible's recap line takes up.
_RECAP_WIDTH = 117
#: More hosts than this are counted, not named.
_NAMED = 5


def told(event: Event, report: Report, *, diff: bool, width: int | None = None) -> Iterator[Line]:
    """The lines for an event, given the report that includes it. `diff` asks for what changes, key by key;
    `width` is that of the terminal, if it is one."""
    name = event.get("host", "")
    match event["event"]:
        case "run":
            yield ((_header(report), "quiet"),)
        case "warning":
            if name:
                yield from _said(report, name, "warning", "changed", event["text"])
            else:
                yield ((f"warning: {event['text']}", "changed"),)
        case "interrupt":
            yield (("interrupted: hosts stop before their switch; Ctrl-C again leaves them to themselves", "failed"),)
        case "batch":
            yield ((f"batch {event['number']} of {event['of']}: {_named(event['hosts'])}", "quiet"),)
        case "canary":
            text = "goes first: the other hosts whose code changes wait until it has ended well"
            yield from _said(report, name, "canary", "quiet", text)
        case "stopped":
            yield ((f"stopped: {event['reason']}; not started: {_named(event['hosts'])}", "failed"),)
        case "still":
            yield from _said(report, name, "still", "quiet", event["step"], event["seconds"])
        case "upload":
            yield from _said(report, name, "upload", "quiet", _size(event["bytes"]))
        case "notice":
            verb, tone = _NOTICES.get(event["level"], ("note", "quiet"))
            yield from _said(report, name, verb, tone, event["text"])
        case "other":
            yield from _of_another(report, name, event["of"], event["said"])
        case "found":
            yield from _said(report, name, "found", "changed", _found(event["last"]))
        case "confirm":
            ids = ", ".join(event["resources"])
            text = f"{ids}: put back unless a new connection comes through within {event['within']:.0f} s"
            yield from _said(report, name, "confirm", "quiet", text)
        case "resource" if event["status"] == "changed":
            verb = "would change" if report.check else "changed"
            yield from _said(report, name, verb, "changed", event["id"], event["seconds"])
            for change in event["changes"] if diff else ():
                yield from _change(change)
        case "resource" if event["status"] == "failed":
            yield from _said(report, name, "failed", "failed", event["id"], event["seconds"])
            yield from _block(event["message"])
            yield from _log(event)
        case "unreachable" | "lost" | "refused" as verb:
            yield from _said(report, name, verb, "failed", event["reason"])
        case "error":
            yield from _said(report, name, "failed", "failed", event["reason"])
        case "end" if report.hosts[name].outcome == "failed" and report.hosts[name].step is None:
            yield from _said(report, name, "failed", "failed", event["reason"])
        case "done":
            yield ()
            compact = width is not None and width < _RECAP_WIDTH
            column = max(map(len, report.hosts), default=0) if compact else 26
            yield from (_recap(f"{n:<{column}}", host, compact) for n, host in report.hosts.items())
            yield ()
            yield from _summary(report)


def _of_another(report: Report, host: str, run: str, event: Event) -> Iterator[Line]:
    """The lines for what a run said that this one waits for: each names that run."""
    match event["event"]:
        case "start":
            text = f"{event['command']} by {event['who']}, begun at {event['time']}"
        case "resource" if event["status"] == "changed":
            text = f"changed {event['id']}"
        case "resource" if event["status"] == "failed":
            text = f"failed {event['id']}: {event['message']}"
        case "notice" | "warning":
            text = event["text"]
        case "end":
            text = how_it_ended({"end": event})
        case _:
            return
    yield from _said(report, host, "other", "quiet", f"run {run}: {text}", event.get("seconds"))
    if event["event"] == "resource" and event["status"] == "failed":
        yield from _log(event)


def run_in_words(last: Mapping[str, Any]) -> str:
    """A run as its host's journal has it: its name, what it was, whose, and when."""
    if last["command"] is None:
        return f"run {last['run']}"
    return f"run {last['run']} ({last['command']} by {last['who']}, {last['time']})"


def how_it_ended(last: Mapping[str, Any]) -> str:
    """How a run ended, from its last event; or how far it came before it was cut off, from its host's journal."""
    end = last["end"]
    if end is None:
        if last.get("at_work"):
            return "is at work" + (f" at {last['at']}" if last["at"] else "")
        if last["at"] is None:
            return "was cut off before it had begun with anything"
        return f"was cut off {'after' if last['done'] else 'at'} {last['at']}"
    if end["undone"]:
        return f"failed, and its switch was undone: {end['reason']}"
    if end["reason"]:
        return f"ended: {end['reason']}" if end["interrupted"] else f"failed: {end['reason']}"
    if end["changed"]:
        return f"changed {end['changed']} of {end['ok'] + end['changed']}"
    return f"found all {end['ok']} as wanted"


def _found(last: Mapping[str, Any]) -> str:
    """What a run tells of the one before it."""
    run, how = run_in_words(last), how_it_ended(last)
    if last["end"] is None:
        return f"{run} {how}: going on from what is there"
    return f"{run} went on without its controller: it {how}"


def _log(event: Event) -> Iterator[Line]:
    if event["log"]:
        speaker = "the application" if event["id"].startswith(("instance:", "probe:")) else "the host"
        yield from _block(f"{speaker} said:")
        yield from _block("\n".join(event["log"]), deeper=2)


_NOTICES: dict[str, tuple[str, Tone]] = {"error": ("error", "failed")}


def duration(seconds: float) -> str:
    """Three figures are enough to compare by."""
    if seconds >= 100:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def _size(count: int) -> str:
    """A number of bytes, in the unit that suits it."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def _header(report: Report) -> str:
    check = ", changing nothing" if report.check else ""
    return f"{report.command} on {_named(list(report.hosts))}{check} (run {report.run})"


def _named(hosts: Sequence[str]) -> str:
    return ", ".join(hosts) if len(hosts) <= _NAMED else f"{len(hosts)} hosts"


def _said(report: Report, host: str, verb: str, tone: Tone, text: str, seconds: float | None = None) -> Iterator[Line]:
    """A host, what happened and to what; further lines of the text are indented, so that they pass for nothing else."""
    width = max(map(len, report.hosts), default=0)
    lead = f"{host:<{width}}  " if host else ""
    padded = f"{verb:<{12 if report.check else 7}}  "
    took = "" if seconds is None or seconds < 0.01 else f"  ({duration(seconds)})"
    first, newline, more = text.partition("\n")
    yield (lead, ""), (padded, tone), (first, ""), (took, "quiet")
    if newline:
        yield from _block(more)


def _block(text: str, *, deeper: int = 0) -> Iterator[Line]:
    for line in text.split("\n"):
        yield ((" " * deeper + _INDENT + line, ""),)


def _change(change: Mapping[str, Any]) -> Iterator[Line]:
    if "diff" not in change:
        yield ((f"{_INDENT}{change['key']}: {_value(change['before'])} → {_value(change['after'])}", ""),)
        return
    for line in change["diff"].split("\n"):
        tone: Tone = "added" if line.startswith("+") else "removed" if line.startswith("-") else ""
        if line.startswith(("+++ ", "--- ", "@@ ")):
            tone = "quiet"
        yield ((_INDENT + line, tone),)


def _value(value: object) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, str) and value and "\n" not in value:
        return value
    return json.dumps(value, ensure_ascii=False)


_COUNTED: dict[str, Tone] = {
    "ok": "ok",
    "changed": "changed",
    "unreachable": "failed",
    "failed": "failed",
    "rescued": "changed",
}


def _recap(name: str, host: HostReport, compact: bool) -> Line:
    """Ansible's line, to the space, for programs read it; `compact` saves spaces on a terminal."""
    counts = host.counts()
    bad = counts["failed"] or counts["unreachable"]
    tone: Tone = "failed" if bad else "changed" if counts["changed"] else "ok"
    parts: list[tuple[str, Tone]] = [(name, tone), (" :", "")]
    for key, count in counts.items():
        parts += [
            (" ", ""),
            (f"{key}={count}" if compact else f"{key}={count:<4}", _COUNTED.get(key, "") if count else ""),
        ]
    return tuple(parts)


def _end(host: HostReport, check: bool) -> str:
    """How a host ended, in the words of the last line."""
    if host.outcome != "ok":
        return host.outcome or "not started"
    if not host.changed:
        return "as wanted"
    return "would change" if check else "changed"


def _summary(report: Report) -> Iterator[Line]:
    """In what state hosts are left: each after an interrupt, else those in trouble; then all, counted."""
    took: tuple[str, Tone] = (f" ({duration(report.seconds)})", "quiet")
    if len(report.hosts) == 1:
        ((name, host),) = report.hosts.items()
        yield (f"{name}: {report.standing(name)}", _tone(host)), took
        return
    groups: dict[str, list[str]] = {}
    for name, host in report.hosts.items():
        if host.outcome != "ok" or report.exit_code == INTERRUPTED:
            groups.setdefault(report.standing(name), []).append(name)
    for standing, names in groups.items():
        yield ((f"{', '.join(names)}: {standing}", _tone(report.hosts[names[0]])),)
    ends = Counter(_end(host, report.check) for host in report.hosts.values())
    if list(ends) == ["as wanted"]:
        words = "nothing to change"
    else:
        words = ", ".join(f"{count} {end}" for end, count in ends.items())
    yield (f"{len(report.hosts)} hosts: {words}", ""), took


def _tone(host: HostReport) -> Tone:
    if host.outcome != "ok":
        return "failed"
    return "changed" if host.changed else "ok"

"""Where the time of a run went: a table folded from its events, which `.runs/` keeps.

.venv/bin/python -m rackhand.profile .runs/RUN.jsonl
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from rackhand.report import Event
from rackhand.tables import table

#: Resources that took less, in seconds, are counted instead of named.
_NAMED = 0.002

#: What a host is at from such an event on, until the next one of these or the first of a resource.
_UNTIL_NEXT = {
    "connecting": "connecting",
    "facts": "planning",
    "planned": "sending the plan",
    "held": "waiting for the canary",
    "start": "looking for missing data",
    "upload": "sending data",
    "other": "another run",
    "confirm": "confirming",
    "resource": "ending",
}
_CLOSING = ("begin", "end", "answered", "unreachable", "error", "lost")
_ALL = "all hosts"
_PARTS = ("check", "apply", "recheck")


def age() -> float:
    """Seconds since this process was started, by a clock with ticks of a hundredth."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK"), 3)


def profile(events: Iterable[Event]) -> str:
    """The table: for the run and for each host what took how many seconds, in the order in which it happened."""
    steps: dict[tuple[str, str], dict[str, float]] = {}
    doing: dict[str, tuple[str, float]] = {}
    for event in events:
        host, at = event.get("host", ""), event.get("at", 0.0)
        if host in doing and event["event"] in (*_UNTIL_NEXT, *_CLOSING):
            name, since = doing.pop(host)
            # The facts say themselves what came before them, and between two resources there is nothing.
            if (name, event["event"]) not in (("connecting", "facts"), ("ending", "begin")):
                _add(steps, host, name, {"": at - since})
        for name, seconds in _told(event):
            _add(steps, host, name, seconds)
        if event["event"] in _UNTIL_NEXT:
            doing[host] = (_UNTIL_NEXT[event["event"]], at)
    # What is not of a host comes first, but for the sum of all.
    hosts = list(dict.fromkeys(host for host, _ in steps))
    ordered = sorted(steps, key=lambda step: (step == ("", _ALL), hosts.index(step[0])))
    rows = [(host or "-", name, *_cells(steps[host, name])) for host, name in ordered]
    return table(("HOST", "STEP", "SECONDS", *(part.upper() for part in _PARTS)), rows)


def _told(event: Event) -> Iterator[tuple[str, dict[str, float]]]:
    """The steps that an event says itself the duration of."""
    match event["event"]:
        case "run":
            yield "start-up", {"": event["startup"]}
            yield "inventory", {"": event["inventory"]}
        case "facts":
            for name, seconds in event["seconds"].items():
                yield name, {"": seconds}
        case "resource":
            seconds = event["seconds"]
            name = f"{event['stage']}: {event['id'] if seconds >= _NAMED else 'what took less than 2 ms'}"
            yield name, {"": seconds, **event.get("parts", {"check": seconds})}
        case "done":
            yield _ALL, {"": event["seconds"]}


def _add(steps: dict[tuple[str, str], dict[str, float]], host: str, name: str, seconds: dict[str, float]) -> None:
    spent = steps.setdefault((host, name), {})
    for part, more in seconds.items():
        spent[part] = spent.get(part, 0.0) + more


def _cells(seconds: dict[str, float]) -> Iterator[str]:
    for part in ("", *_PARTS):
        yield f"{seconds[part]:.3f}" if part in seconds else ""


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(profile(map(json.loads, file)))

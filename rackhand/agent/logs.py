"""What the instances of applications have said, from the journal."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rackhand.agent import layout
from rackhand.agent.channel import Channel
from rackhand.agent.events import Emitter
from rackhand.agent.resource import ResourceError

#: Entries in one event.
_TOGETHER = 200
#: Seconds between two looks at the controller, and between two signs of life.
_LOOK, _ALIVE = 0.2, 60.0

_FIELDS = "MESSAGE,PRIORITY,UNIT,_SYSTEMD_UNIT,_PID"


def tell(apps: Sequence[str], lines: int, since: str | None, follow: bool, channel: Channel, emit: Emitter) -> None:
    """Emits the last entries of each application, all together at most `lines`; then, to follow, `caught up` and those
    that come, until the controller asks to stop or goes away. Raises ResourceError."""
    units = [f"--unit={layout.unit(app, '*')}" for app in apps]
    cursor = None
    for entries in _read([*units, f"--lines={lines}", *([f"--since={since}"] if since else [])], None):
        cursor = entries[-1]["__CURSOR"]
        emit("log", entries=_told(entries, apps))
    if not follow:
        return
    emit("caught up")
    # journalctl finds out at its start which units a pattern means. Instances that are still to come have the slice of
    # their application; what systemd says of them, it says as itself.
    slices = [f"_SYSTEMD_SLICE={layout.slice_of(app)}" for app in apps]
    matches = [word for match in (*slices, "_PID=1") for word in (match, "+")][:-1]
    start = ["--no-tail", f"--after-cursor={cursor}"] if cursor else ["--lines=0"]
    for entries in _read(["--follow", *start, *matches], channel):
        told = _told(entries, apps)
        if told or not entries:
            emit("log", entries=told)
        if emit.alone:
            return


def _read(arguments: Sequence[str], channel: Channel | None) -> Iterator[list[dict[str, Any]]]:
    """What journalctl prints, some entries at a time; with a channel, until that ends, and now and then no entry."""
    command = ["journalctl", "--quiet", "--no-pager", "--output=json", f"--output-fields={_FIELDS}", *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as journal:
        assert journal.stdout is not None
        assert journal.stderr is not None
        part, said = b"", time.monotonic()
        try:
            while channel is None or not (channel.cancelled() or channel.closed):
                if select.select([journal.stdout], [], [], _LOOK)[0]:
                    chunk = os.read(journal.stdout.fileno(), 2**16)
                    if not chunk and journal.wait():
                        raise ResourceError(journal.stderr.read().decode(errors="replace").strip())
                    if not chunk:
                        return
                    *whole, part = (part + chunk).split(b"\n")
                    entries = [json.loads(line) for line in whole]
                    for start in range(0, len(entries), _TOGETHER):
                        yield entries[start : start + _TOGETHER]
                    said = time.monotonic() if entries else said
                elif time.monotonic() > said + _ALIVE:
                    said = time.monotonic()
                    yield []
        finally:
            journal.terminate()


def _told(entries: Sequence[dict[str, Any]], apps: Sequence[str]) -> list[dict[str, Any]]:
    """Those that are of the applications."""
    found = []
    for entry in entries:
        unit = str(entry["UNIT"] if entry.get("_PID") == "1" and "UNIT" in entry else entry.get("_SYSTEMD_UNIT", ""))
        app = unit.removeprefix("rackhand-").partition("@")[0]
        if "@" in unit and unit.startswith("rackhand-") and app in apps:
            at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            message = entry.get("MESSAGE")
            if isinstance(message, list):  # bytes that are not text
                message = bytes(message).decode(errors="replace")
            found.append(
                {"time": at, "app": app, "instance": layout.instance_of(unit), "message": str(message or "")}
                | {"priority": int(entry.get("PRIORITY", 6))}
            )
    return found

"""What the host's own log gets of a run: a line when it begins, for each change, for what fails, and at its end."""

from __future__ import annotations

import syslog
from collections.abc import Mapping
from typing import Any


def tell(event: Mapping[str, Any]) -> None:
    """Logs an event, whose secrets were taken out, if it is one for the log: see `journalctl -t rackhand`."""
    said = line(event)
    if said is None:
        return
    bad = event.get("status") == "failed" or event.get("reason")
    syslog.openlog("rackhand", syslog.LOG_PID)
    first = said.partition("\n")[0].replace("\0", " ").encode(errors="replace").decode()
    syslog.syslog(syslog.LOG_ERR if bad else syslog.LOG_INFO, first)


def line(event: Mapping[str, Any]) -> str | None:
    """The line for an event, or None."""
    run = f"run {event.get('run')}"
    match event["event"]:
        case "start":
            return f"{run}: {event['command']} by {event['who']}"
        case "executing":
            return f"{run}: exec by {event['who']}: {' '.join(event['argv'])}"
        case "maintenance":
            return f"{run}: maintenance {'on' if event['on'] else 'off'} for {event['apps']} by {event['who']}"
        case "tune":
            return f"{run}: tune {event['app']} by {event['who']}"
        case "resource" if event["status"] == "changed":
            return f"{run}: changed {event['id']}"
        case "resource" if event["status"] == "failed":
            return f"{run}: failed {event['id']}: {event['message']}"
        case "end":
            counts = ", ".join(f"{event[name]} {name}" for name in ("ok", "changed", "failed", "skipped"))
            how = ", the switch was undone" if event["undone"] else ""
            return f"{run}: ended: {counts}{how}" + (f": {event['reason']}" if event["reason"] else "")
    return None

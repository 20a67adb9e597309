"""What applications have said, on many hosts, in the order in which they said it."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from rackhand.commands import Options, apps_of, hosts, listen
from rackhand.conversation import Conversation, Event
from rackhand.errors import UserError
from rackhand.job import Blob, Job
from rackhand.output.printable import printable
from rackhand.settings import HostSettings
from rackhand.transport import Lost
from rackhand.views import complain

#: Events after which no earlier entries of a host are to come.
_CAUGHT_UP = ("caught up", "answered", "unreachable", "error", "lost")


def logs(options: Options, *, app: str | None, lines: int, since: str | None, follow: bool) -> int:
    """Prints the last `lines` entries of each host, and with `follow` those that come, until Ctrl-C. Returns the exit
    code."""
    if lines < 0:
        raise UserError(f"--lines should be 0 or more, got {lines}")
    if follow and options.scheduler is not None:
        raise UserError("--follow is not for --scheduler: nobody would tell the workers to end")
    targets = hosts(options)
    if follow:  # all of them at once, or the last ones would never have their turn
        options = replace(options, forks=max(options.forks, len(targets)))
    work = partial(_ask, app=app, lines=lines, since=since, follow=follow)
    for host in targets:
        apps_of(host, app)
    printer = _Printer(targets, as_json=options.json, at_once=follow)
    try:
        report = listen(options, targets, [Job(host=host, work=work) for host in targets], printer.hear)
    except KeyboardInterrupt:
        if follow:  # which is how that ends
            return 0
        raise
    printer.flush()
    return complain(report)


def _ask(
    host: HostSettings,
    conversation: Conversation,
    blob: Blob,
    *,
    app: str | None,
    lines: int,
    since: str | None,
    follow: bool,
) -> Iterator[Event]:
    apps = [one.name for one in apps_of(host, app)]
    if apps:
        details: dict[str, Any] = {
            "apps": apps,
            "lines": lines,
            "since": since,
            "follow": follow,
            "secrets": host.secrets,
        }
        for event in conversation.answers("logs", **details):
            yield event
            if event["event"] == "error":
                return
        if follow:
            raise Lost("the host has ended it")
    yield {"event": "answered", "answer": None}


class _Printer:
    """Prints entries by time: all at the end or, when hosts are followed, what was there first, then each as it
    comes."""

    def __init__(self, targets: tuple[HostSettings, ...], *, as_json: bool, at_once: bool) -> None:
        self._behind = {host.name for host in targets}
        self._width = max(len(host.name) for host in targets)
        self._as_json = as_json
        self._at_once = at_once
        self._waiting: list[dict[str, Any]] = []

    def hear(self, event: Event) -> None:
        if event["event"] == "log":
            self._waiting += [{"host": event["host"], **entry} for entry in event["entries"]]
        if event["event"] in _CAUGHT_UP:
            self._behind.discard(event["host"])
        if self._at_once and not self._behind:
            self.flush()

    def flush(self) -> None:
        for entry in sorted(self._waiting, key=lambda entry: entry["time"]):
            if self._as_json:
                print(json.dumps(entry), flush=True)
                continue
            at = (
                time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry["time"]))
                + f".{int(entry['time'] * 1e3) % 1000:03}"
            )
            for line in str(printable(entry["message"])).split("\n"):
                print(f"{at}  {entry['host']:<{self._width}}  {entry['app']}  {line}", flush=True)
        self._waiting.clear()

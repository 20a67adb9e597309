"""What is shown of a tuning: how candidates did."""

import sys

from rackhand.candidates import Measured, Setting
from rackhand.conversation import Event
from rackhand.output.printable import printable
from rackhand.report import Report
from rackhand.tables import table

#: The longest bar of the curve, in characters.
_BAR = 30


class Found:
    """What hosts have told, by host."""

    def __init__(self) -> None:
        self.report = Report()
        self.interrupted = False
        self.begun: dict[str, Event] = {}
        self.measured: dict[str, list[Measured]] = {}
        self.live: dict[str, Measured] = {}
        self.stopped: dict[str, str] = {}

    def note(self, event: Event) -> None:
        self.report = self.report.after(event)
        name = event.get("host", "")
        match event["event"]:
            case "tuning":
                self.begun[name] = event
            case "candidate":
                setting = Setting(**self.begun[name]["settings"][event["number"]])
                self.measured.setdefault(name, []).append(_measured(setting, event))
            case "live":
                self.live[name] = _measured(Setting(**self.begun[name]["now"]), event)
            case "tuned" if event["stopped"]:
                self.stopped[name] = event["stopped"]
            case "lost" | "error" | "unreachable":
                self.stopped[name] = event["reason"]


def _measured(setting: Setting, event: Event) -> Measured:
    if "failed" in event:
        return Measured(setting=setting, failed=event["failed"])
    rate = event["requests"] / event["seconds"]
    failed = f"{event['errors']} requests failed: {event['error']}" if event["errors"] else None
    return Measured(setting=setting, rate=rate, p99=event["p99"], memory=event["memory"], failed=failed)


def progress(event: Event, found: Found) -> None:
    """A line for each candidate, on the error stream: the table comes at the end."""
    name = event.get("host", "")
    if event["event"] == "tuning":
        count, seconds = len(event["settings"]), event["seconds"]
        print(
            f"{name}: {count} candidates, {seconds} s of load each, beside what serves; that and they share the cores",
            file=sys.stderr,
        )
    elif event["event"] == "busy":
        print(f"{name}: warning: the host is busy ({event['load']:.1f} of {event['cores']} cores)", file=sys.stderr)
    elif event["event"] == "candidate":
        count, last = len(found.begun[name]["settings"]), found.measured[name][-1]
        print(f"{name}: {len(found.measured[name])} of {count}: {last.setting}: {_did(last)}", file=sys.stderr)
    elif event["event"] == "live":
        print(f"{name}: what serves, through nginx: {_did(found.live[name])}", file=sys.stderr)


def _did(measured: Measured) -> str:
    return str(printable(measured.failed)) if measured.failed else f"{measured.rate:,.0f} requests/s"


def curve(name: str, found: Found, chosen: Measured | None) -> str:
    """The curve: what was measured of each candidate, with a bar as long as its rate."""
    begun, measured = found.begun[name], found.measured.get(name, [])
    now = Setting(**begun["now"])
    live = found.live.get(name)
    shown = [*measured, live] if live is not None else measured
    most = max((each.rate for each in shown if each.failed is None), default=0) or 1
    rows: list[list[str]] = []
    for each in shown:
        setting = each.setting
        if each is live:  # which need not be what the inventory says by now
            row, marks = ["-"] * 3, ["what serves, through nginx"]
        else:
            row = [setting.worker, str(setting.workers), str(setting.threads or "-")]
            marks = ["now"] * (setting == now) + ["best"] * (each is chosen)
        if each.failed is None:
            bar = "#" * max(1, round(_BAR * each.rate / most))
            row += [f"{each.rate:,.0f}", f"{each.p99 * 1000:.0f} ms", f"{each.memory // 2**20} MiB"]
            row += [" ".join([bar, *marks])]
        else:
            row += ["-", "-", "-", " ".join([str(printable(each.failed)), *marks])]
        rows.append(row)
    header = ("WORKER", "WORKERS", "THREADS", "REQUESTS/S", "P99", "MEMORY", "")
    what = f"{begun['app']}, GET {begun['path']}, {begun['concurrency']} at once, {begun['seconds']} s each"
    lines = [f"{name}: {what}", table(header, rows)]
    if chosen is not None:
        top = max((each.rate for each in measured if each.failed is None), default=0)
        how = "the best" if chosen.rate == top else f"the smallest within 5 % of the best, {top:,.0f}"
        same = ": as it is now" if chosen.setting == now else f"; now: {now}"
        lines.append(f"{name}: {chosen.setting} ({chosen.rate:,.0f} requests/s, {how}){same}")
    return "\n".join(lines)

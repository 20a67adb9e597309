"""The command `tune`: finds how an application is served best on a host, by measuring."""

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rackhand import PROJECT, tuning_file
from rackhand.bundle import Bundle, bundle
from rackhand.candidates import Measured, Setting, best, settings
from rackhand.commands import INTERRUPTED, Options, Run, apps_of, hosts, interrupts_told_to, run_begun
from rackhand.conversation import Conversation, Event
from rackhand.errors import UserError
from rackhand.fleet import Fleet
from rackhand.inventory import load_inventory, shown
from rackhand.job import Blob, Job
from rackhand.output.printable import printable
from rackhand.profile import profile
from rackhand.report import FAILED, Report
from rackhand.settings import App, HostSettings, resolve_workers
from rackhand.tables import table

#: The longest bar of the curve, in characters.
_BAR = 30

_PATH = re.compile(r"/[!-~]*")


def tune(
    options: Options,
    *,
    app: str | None,
    path: str | None,
    seconds: int,
    concurrency: int,
    write: bool,
) -> int:
    """Tries candidates on each host, shows how they did and which is the best, and with `write` notes that in the
    inventory. Returns the exit code."""
    if app is None:
        raise UserError("--app is missing: name the application to tune")
    for name, given, most in (("seconds", seconds, 60), ("concurrency", concurrency, 256)):
        if not 1 <= given <= most:
            raise UserError(f"--{name} should be from 1 to {most}, got {given}")
    if path is not None and not _PATH.fullmatch(path):
        raise UserError(f"--path should be a path like /health, got {path!r}")
    targets = hosts(options)
    declared = {host.name: apps_of(host, app)[0] for host in targets}
    places = _places(options, targets, app) if write else {}
    bundles = {folder: bundle(app, folder) for folder in {each.path for each in declared.values()}}
    jobs = []
    for host in targets:
        own = declared[host.name]
        load = {"path": path or own.health, "seconds": seconds, "concurrency": concurrency}
        jobs.append(Job(host=host, work=partial(_try, app=own, bundle=bundles[own.path], load=load)))
    fleet = Fleet(jobs, forks=options.forks, scheduler=options.scheduler)
    found = _heard(fleet, targets, options)
    code = found.report.exit_code
    for name, ended in found.report.hosts.items():
        if ended.reason:
            print(f"{name}: {printable(ended.reason)}", file=sys.stderr)
    for name, own in declared.items():
        if name not in found.begun:
            continue
        chosen = None if name in found.stopped else best(found.measured.get(name, ()))
        if options.json and chosen is not None:
            print(json.dumps({"event": "best", "host": name, **asdict(chosen)}))
        elif not options.json:
            print(_shown(name, found, chosen))
        if chosen is None:
            why = found.stopped.get(name, "no candidate could be measured")
            print(f"{name}: nothing is recommended: {printable(why)}", file=sys.stderr)
            code = code or FAILED
        elif write:
            tuning_file.write(places[name], app, _values(own, chosen.setting))
            print(f"{name}: written to {shown(places[name])}", file=sys.stderr)
    return INTERRUPTED if found.interrupted else code


def _heard(fleet: Fleet, targets: Sequence[HostSettings], options: Options) -> "_Found":
    """What the hosts tell, shown as it comes. The first Ctrl-C asks them to stop, a second leaves them to it."""
    found = _Found()
    started = time.monotonic()
    events = [run_begun(options, targets, Run(name="", command="tune", apply=False, who=""), check=True)]
    with interrupts_told_to(fleet):
        for event in fleet:
            if event["event"] == "interrupt":
                if found.interrupted:
                    os._exit(INTERRUPTED)
                found.interrupted = True
                fleet.cancel()
                continue
            found.note(event)
            events.append({**event, "at": round(time.monotonic() - started, 3)})
            if options.json:
                print(json.dumps(event), flush=True)
            else:
                _progress(event, found)
    if options.profile:
        print(profile(events), file=sys.stderr)
    return found


def _values(app: App, setting: Setting) -> dict[str, str | int]:
    """What the inventory is to say."""
    values = {key: value for key, value in asdict(setting).items() if value}
    if app.server == "uvicorn":
        del values["worker"]  # there is but one kind
    return values


def _try(
    host: HostSettings, conversation: Conversation, blob: Blob, *, app: App, bundle: Bundle, load: Mapping[str, Any]
) -> Iterator[Event]:
    from rackhand.target import Target
    from roles import serving, tuning

    facts = conversation.facts
    release = facts["apps"].get(app.name, {}).get("current")
    if not release:
        raise UserError(f"{app.name} does not serve on {host.name}: deploy it first")
    target = Target(settings=host, facts=facts, bundles={app.name: bundle}, apps=(app,), uv="")
    asgi = serving.is_asgi(app, target)
    worker = serving.worker(app, target) if app.server == "gunicorn" else "uvicorn"
    threaded = worker == "gthread" or (app.server == "uvicorn" and not asgi)
    now = Setting(worker=worker, workers=resolve_workers(app, facts), threads=app.threads if threaded else 0)
    tried = settings(now, facts["cores"], server=app.server, asgi=asgi)
    prefix = serving.prefix(app)
    yield {"event": "tuning", "app": app.name, "settings": [asdict(each) for each in tried], "now": asdict(now), **load}
    yield from conversation.told(
        "tune",
        last="tuned",
        app=app.name,
        release=release,
        prefix=prefix,
        health=prefix + app.health,
        timeout=app.health_timeout,
        cores=facts["cores"],
        memory_limit=app.memory_limit,
        unit=tuning.unit(app, release),
        candidates=[tuning.configuration(app, each, target) for each in tried],
        **{**load, "path": prefix + load["path"]},
    )
    yield {"event": "answered", "answer": None}


class _Found:
    """What hosts have told."""

    def __init__(self) -> None:
        self.report = Report()
        self.interrupted = False
        self.begun: dict[str, Event] = {}
        self.measured: dict[str, list[Measured]] = {}
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


def _progress(event: Event, found: _Found) -> None:
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
        did = printable(last.failed) if last.failed else f"{last.rate:,.0f} requests/s"
        print(f"{name}: {len(found.measured[name])} of {count}: {last.setting}: {did}", file=sys.stderr)


def _shown(name: str, found: _Found, chosen: Measured | None) -> str:
    """The curve: what was measured of each candidate, with a bar as long as its rate."""
    begun, measured = found.begun[name], found.measured.get(name, [])
    now = Setting(**begun["now"])
    most = max((each.rate for each in measured), default=0) or 1
    rows: list[list[str]] = []
    for each in measured:
        setting = each.setting
        threads = str(setting.threads or "-")
        marks = ["now"] * (setting == now) + ["best"] * (each is chosen)
        row = [setting.worker, str(setting.workers), threads]
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


def _places(options: Options, targets: Iterable[HostSettings], app: str) -> dict[str, Path]:
    """By host, the file in which the result can be written. Raises UserError."""
    sources = options.inventory or [os.environ.get("RACKHAND_INVENTORY") or str(PROJECT / "inventory")]
    paths = [Path(source) for source in sources if os.path.exists(source)] or [PROJECT]
    folder = paths[-1] if paths[-1].is_dir() else paths[-1].parent
    inventory = load_inventory(sources, PROJECT, options.extra_vars)
    places = {host.name: tuning_file.place(folder, inventory.host(host.name)) for host in targets}
    for place in places.values():
        tuning_file.write(place, app, {"workers": 1}, check=True)
    return places

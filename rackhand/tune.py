"""The command `tune`: finds how an application is served best on a host, by measuring."""

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rackhand import PROJECT, tuning_file
from rackhand.bundle import Bundle, bundle
from rackhand.candidates import Setting, best, settings
from rackhand.commands import (
    Options,
    Run,
    apps_of,
    hosts_in_inventory,
    interrupts_told_to,
    inventory_sources,
    new_run,
    run_begun,
)
from rackhand.conversation import Conversation, Event, who
from rackhand.errors import UserError
from rackhand.exit_codes import FAILED, INTERRUPTED
from rackhand.fleet import Fleet
from rackhand.inventory import Inventory, shown
from rackhand.job import Blob, Job
from rackhand.output.curve import Found, curve, progress
from rackhand.output.printable import printable
from rackhand.profile import profile
from rackhand.rollout import Pace, Rollout
from rackhand.settings import App, HostSettings, resolve_workers

#: Seconds, besides, after which a candidate that everybody has forgotten ends by itself.
SPARE = 60

_PATH = re.compile(r"/[!-~]*")


def tune(
    options: Options,
    *,
    app: str | None,
    path: str | None,
    seconds: int,
    concurrency: int,
    live: bool,
    write: bool,
) -> int:
    """Tries candidates on each host, shows how they did and which is the best, and with `write` notes that in the
    inventory. Only with `live` is what serves loaded, too. Returns the exit code."""
    if app is None:
        raise UserError("--app is missing: name the application to tune")
    for name, given, most in (("seconds", seconds, 60), ("concurrency", concurrency, 256)):
        if not 1 <= given <= most:
            raise UserError(f"--{name} should be from 1 to {most}, got {given}")
    if path is not None and not _PATH.fullmatch(path):
        raise UserError(f"--path should be a path like /health, got {path!r}")
    targets, inventory = hosts_in_inventory(options)
    declared = {host.name: apps_of(host, app)[0] for host in targets}
    places = _places(options, targets, inventory, app) if write else {}
    bundles = {folder: bundle(app, folder) for folder in {each.path for each in declared.values()}}
    rollout = Rollout.of([host.name for host in targets], Pace())
    run = Run(name=new_run(), command="tune", apply=False, who=who(), rollout=rollout)
    jobs = []
    for host in targets:
        own = declared[host.name]
        load = {"path": path or own.health, "seconds": seconds, "concurrency": concurrency}
        work = partial(_try, app=own, bundle=bundles[own.path], load=load, live=live, run=run)
        jobs.append(Job(host=host, work=work))
    fleet = Fleet(jobs, rollout=rollout, forks=options.forks, scheduler=options.scheduler)
    found = _heard(fleet, run_begun(options, targets, run, check=True), options)
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
            print(curve(name, found, chosen))
        if chosen is None:
            why = found.stopped.get(name, "no candidate could be measured")
            print(f"{name}: nothing is recommended: {printable(why)}", file=sys.stderr)
            code = code or FAILED
        elif write:
            tuning_file.write(places[name], app, _values(own, chosen.setting))
            print(f"{name}: written to {shown(places[name])}", file=sys.stderr)
    return INTERRUPTED if found.interrupted else code


def _heard(fleet: Fleet, begun: Event, options: Options) -> Found:
    """What the hosts tell, shown as it comes. The first Ctrl-C asks them to stop, a second leaves them to it."""
    found = Found()
    started = time.monotonic()
    events = [begun]
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
                progress(event, found)
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
    host: HostSettings,
    conversation: Conversation,
    blob: Blob,
    *,
    app: App,
    bundle: Bundle,
    load: Mapping[str, Any],
    live: bool,
    run: Run,
) -> Iterator[Event]:
    from rackhand.target import Target
    from roles import serving, tuning
    from roles.nginx import PORT

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
    longest = app.health_timeout + load["seconds"] + SPARE
    yield {"event": "tuning", "app": app.name, "settings": [asdict(each) for each in tried], "now": asdict(now), **load}
    yield from conversation.told(
        "tune",
        last="tuned",
        within=3 * longest,
        run=run.name,
        who=run.who,
        app=app.name,
        release=release,
        prefix=prefix,
        health=prefix + app.health,
        timeout=app.health_timeout,
        cores=facts["cores"],
        live=(app.direct or PORT) if live else None,
        unit=tuning.unit(app, release, seconds=longest, memory=facts["memory_available_mb"]),
        candidates=[tuning.configuration(app, each, target) for each in tried],
        request=tuning.request(app, load["path"]),
        seconds=load["seconds"],
        concurrency=load["concurrency"],
    )
    yield {"event": "answered", "answer": None}


def _places(options: Options, targets: Iterable[HostSettings], inventory: Inventory, app: str) -> dict[str, Path]:
    """By host, the file in which the result can be written. Raises UserError."""
    sources = inventory_sources(options.inventory)
    paths = [Path(source) for source in sources if os.path.exists(source)] or [PROJECT]
    folder = paths[-1] if paths[-1].is_dir() else paths[-1].parent
    places = {host.name: tuning_file.place(folder, inventory.host(host.name)) for host in targets}
    for place in places.values():
        tuning_file.write(place, app, {"workers": 1}, check=True)
    return places

"""What each command does: loads the inventory, works on the hosts, shows what happens, and says how it ended.

What plans are made of is imported while hosts are being connected to.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rackhand import PROJECT
from rackhand.bundle import Bundle, bundle
from rackhand.cautions import cautions, shortages
from rackhand.conversation import Conversation, Data, Event, who
from rackhand.edges import behind
from rackhand.errors import UserError
from rackhand.exit_codes import INTERRUPTED
from rackhand.fleet import Fleet
from rackhand.history import code, step_before
from rackhand.inventory import Inventory, Vault, did_you_mean, load_inventory
from rackhand.job import Blob, Job, Work
from rackhand.output import choose
from rackhand.profile import age, profile
from rackhand.report import Report
from rackhand.rollout import Pace, Rollout
from rackhand.run_log import RunLog, failed_last
from rackhand.settings import APP_ROLES, App, HostSettings, host_settings, passed_on
from rackhand.vault_passwords import passwords

if TYPE_CHECKING:
    from rackhand.agent.plan import Plan
    from rackhand.tags import Selection

#: Seconds within which signals count as one interrupt: a terminal and a wrapper may both pass on the same Ctrl-C.
ONE_INTERRUPT = 0.5


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the commands share on the command line. `began` is how old the process then was, in seconds."""

    host: str | None
    inventory: Sequence[str] = ()
    extra_vars: Sequence[str] = ()
    limit: str | None = None
    json: bool = False
    forks: int = 20
    profile: bool = False
    began: float = field(default_factory=age)
    #: The address of a Dask scheduler, whose workers do the work instead of this machine.
    scheduler: str | None = None
    vault_id: Sequence[str] = ()
    vault_password_file: Sequence[str] = ()
    ask_vault_pass: bool = False

    def vault(self) -> Vault:
        """What is encrypted, with the passwords that the command line names. Raises UserError."""
        return Vault(passwords(ids=self.vault_id, files=self.vault_password_file, ask=self.ask_vault_pass))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a command: what each host, and each event, is told of it."""

    name: str
    command: str
    apply: bool
    who: str
    rollout: Rollout


#: Makes a plan for what is deployed on a host already, from its settings, the applications meant and its facts.
Operation = Callable[[HostSettings, Sequence[App], dict[str, Any]], "Plan"]


def hosts(options: Options) -> tuple[HostSettings, ...]:
    """The settings of the hosts that the options name, all validated. Raises UserError."""
    return hosts_in_inventory(options)[0]


def hosts_in_inventory(options: Options) -> tuple[tuple[HostSettings, ...], Inventory]:
    """The same, and the inventory that they are from."""
    if not options.host:
        raise UserError("--host is missing: name a host, a group or a pattern; --host all means every host, in words")
    if options.forks < 1:
        raise UserError(f"--forks should be 1 or more, got {options.forks}")
    inventory = read_inventory(options.inventory, options.extra_vars, options.vault())
    lists = {"failed": partial(failed_last, PROJECT / ".runs")}
    sites = sites_of(options.inventory)
    selected = inventory.select(options.host, options.limit, lists)
    chosen = [host_settings(host, PROJECT, sites=sites) for host in selected]
    found = behind([host.name for host in chosen], inventory)
    return tuple(passed_on(host, found.get(host.name)) for host in chosen), inventory


def sites_of(sources: Sequence[str]) -> list[Path]:
    """The folders in which inventories are, where a user's own roles may be."""
    return [Path(source).absolute().parent for source in inventory_sources(sources)]


def read_inventory(sources: Sequence[str], extra_vars: Sequence[str], vault: Vault) -> Inventory:
    """The inventories that are named on the command line, else the default one. Raises UserError."""
    inventory = load_inventory(inventory_sources(sources), PROJECT, extra_vars, vault)
    for warning in inventory.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return inventory


def inventory_sources(named: Sequence[str]) -> Sequence[str]:
    """Where inventories are: those that are named on the command line, else the default one."""
    return named or (os.environ.get("RACKHAND_INVENTORY") or str(PROJECT / "inventory"),)


def new_run() -> str:
    """A name for a run that sorts by time and is nobody else's."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)


def converge(
    options: Options,
    *,
    command: Literal["deploy", "plan", "provision"],
    check: bool,
    diff: bool,
    app: str | None = None,
    pace: Pace,
    tags: Sequence[str] | None = None,
    skip_tags: Sequence[str] | None = None,
) -> int:
    """Makes hosts what the roles say, or with `check` says what that would change; a provision leaves applications
    out. `tags` are those of the resources that are meant, `skip_tags` of those that are not. Returns the exit code."""
    targets = hosts(options)
    meant = _selection(tags or (), skip_tags or (), targets)
    rollout = _rollout(targets, replace(pace, canary=pace.canary and not check))
    only = {host.name: apps_of(host, app) for host in targets}
    bundles = _bundles(targets)
    run = Run(name=new_run(), command=command, apply=not check, who=who(), rollout=rollout)

    def job(host: HostSettings) -> Job:
        # What is in a bundle is sent on its own, to whoever needs it.
        described = {declared.name: replace(bundles[declared.path], data=b"") for declared in host.apps}
        work = partial(_converge, run=run, apps=only[host.name], bundles=described, meant=meant)
        return Job(host=host, work=work, install_python=not check)

    blobs = {bundle.archive: bundle.data for bundle in bundles.values()}
    fleet = Fleet(map(job, targets), rollout=rollout, forks=options.forks, blobs=blobs, scheduler=options.scheduler)
    _load_meanwhile(targets)
    warnings = () if command == "provision" else cautions(targets, bundles)
    return _show(fleet, targets, options, run=run, check=check, diff=diff, warnings=warnings)


def _converge(
    host: HostSettings,
    conversation: Conversation,
    blob: Blob,
    *,
    run: Run,
    apps: tuple[App, ...],
    bundles: Mapping[str, Bundle],
    meant: Selection | None,
) -> Iterator[Event]:
    from rackhand.own_roles import loaded
    from rackhand.planning import selected
    from rackhand.target import Target
    from rackhand.uv import packed

    uv = packed(conversation.facts["architecture"])
    target = Target(settings=host, facts=conversation.facts, bundles=bundles, apps=apps, uv=uv.digest)

    def data(digest: str) -> Data:
        return uv.mapped() if digest == uv.digest else blob(digest)

    named = [role for role in host.roles if run.command != "provision" or role.name not in APP_ROLES]
    planned, left_out = selected(target, loaded(named), meant)
    told = [] if run.command == "provision" else [*shortages(target)]
    if meant is not None:
        told += meant.strays([*(one.id for one in planned), *left_out])
    yield from ({"event": "warning", "text": text} for text in told)
    yield from _run(conversation, planned, run, host=host, blob=data, left_out=left_out)


def _selection(tags: Sequence[str], skip_tags: Sequence[str], targets: Iterable[HostSettings]) -> Selection | None:
    if not tags and not skip_tags:
        return None
    from rackhand.tags import selection

    return selection(tags, skip_tags, targets)


def _load_meanwhile(targets: Iterable[HostSettings]) -> None:
    """Loads, in the time in which hosts are connected to, what their plans are then made with."""
    names = ["rackhand.planning", "rackhand.target", "rackhand.uv", "rackhand.own_roles"]
    if any(host.connection.kind == "ssh" for host in targets):
        names.insert(0, "rackhand.transport.ssh")  # what connecting waits for comes first

    def load() -> None:
        from rackhand import templates

        for name in names:
            importlib.import_module(name)
        templates.load()

    threading.Thread(target=load, daemon=True).start()


def rollback(options: Options, *, app: str | None, release: str | None, pace: Pace) -> int:
    """Puts the release that was current before, or the named one, back into service: on several hosts the same one on
    all, and those that do not have it are left alone. Returns the exit code."""
    targets = hosts(options)
    steps = None
    if release is None and len(targets) > 1:
        found, _ = gather(options, _known_releases, targets)
        names = {declared.name for host in targets for declared in apps_of(host, app)}
        steps = {
            name: step_before({host: apps[name] for host, apps in found.items() if name in apps}) for name in names
        }
    planned = partial(_rollback_plan, release=release, named=app is not None, steps=steps)
    return _operate(options, app, planned, command="rollback", apply=True, targets=targets, pace=pace)


def _known_releases(host: HostSettings, conversation: Conversation) -> Any:
    return conversation.facts["apps"]


def _rollback_plan(
    host: HostSettings,
    apps: Sequence[App],
    facts: dict[str, Any],
    *,
    release: str | None,
    named: bool,
    steps: Mapping[str, Mapping[str, str]] | None,
) -> Plan:
    from roles.operations import rolled_back

    if steps is not None:
        return rolled_back([(declared, _of_step(host, declared, steps[declared.name])) for declared in apps], host)
    chosen = [(declared, _rollback_release(host, declared, facts, release, named=named)) for declared in apps]
    found = [(declared, to) for declared, to in chosen if to is not None]
    if release is not None and not found:
        raise UserError(f"--release {release}: {host.name} never had it, or keeps it no longer")
    return rolled_back(found, host)


def _of_step(host: HostSettings, app: App, step: Mapping[str, str]) -> str:
    """The release of the host that is the fleet's."""
    if host.name in step:
        return step[host.name]
    if step:
        raise UserError(f"never had {code(next(iter(step.values())))} of {app.name}, which the fleet goes back to")
    raise UserError(f"{app.name} has no earlier release on any of these hosts to go back to")


def restart(options: Options, *, app: str | None, pace: Pace) -> int:
    """Replaces what runs by new instances of the same releases. Returns the exit code."""
    return _operate(options, app, _restart_plan, command="restart", apply=True, targets=hosts(options), pace=pace)


def _restart_plan(host: HostSettings, apps: Sequence[App], facts: dict[str, Any]) -> Plan:
    from roles.operations import restarted

    known = facts["apps"]
    for declared in apps:
        if not known.get(declared.name, {}).get("current"):
            raise UserError(f"{declared.name} does not serve on {host.name}: deploy it first")
    return restarted([(one, known[one.name]["current"], known[one.name]["instance"]) for one in apps], host)


def smoke(options: Options, *, app: str | None) -> int:
    """Asks every application for its health through nginx on its host. Returns the exit code."""
    return _operate(options, app, _smoke_plan, command="smoke", apply=False, targets=hosts(options), pace=Pace())


def _smoke_plan(host: HostSettings, apps: Sequence[App], facts: dict[str, Any]) -> Plan:
    from roles.operations import smoke_tests

    return smoke_tests(apps)


def _operate(
    options: Options,
    app: str | None,
    planned: Operation,
    *,
    command: str,
    apply: bool,
    targets: Sequence[HostSettings],
    pace: Pace,
) -> int:
    """Carries out the operation's plan on each host: one that carries no data. Returns the exit code."""
    rollout = _rollout(targets, pace)
    run = Run(name=new_run(), command=command, apply=apply, who=who(), rollout=rollout)
    jobs = [
        Job(host=host, work=partial(_carry_out, run=run, planned=planned, apps=apps_of(host, app))) for host in targets
    ]
    fleet = Fleet(jobs, rollout=rollout, forks=options.forks, scheduler=options.scheduler)
    return _show(fleet, targets, options, run=run)


def _rollout(targets: Iterable[HostSettings], pace: Pace) -> Rollout:
    return Rollout.of([host.name for host in targets], pace)


def _carry_out(
    host: HostSettings,
    conversation: Conversation,
    blob: Blob,
    *,
    run: Run,
    planned: Operation,
    apps: tuple[App, ...],
) -> Iterator[Event]:
    yield from _run(conversation, planned(host, apps, conversation.facts), run, host=host, blob=blob)


def gather(
    options: Options,
    question: Callable[[HostSettings, Conversation], Any],
    targets: Sequence[HostSettings] | None = None,
) -> tuple[dict[str, Any], Report]:
    """The answers of the hosts to a question that changes nothing, in plain values, and what became of those that gave
    none. The question may be asked by another process, as a Job is done."""
    targets = hosts(options) if targets is None else targets
    answers: dict[str, Any] = {}

    def hear(event: Event) -> None:
        if event["event"] == "answered":
            answers[event["host"]] = event["answer"]

    work: Work = partial(_ask, question=question)
    report = listen(options, targets, [Job(host=host, work=work) for host in targets], hear)
    return {host.name: answers[host.name] for host in targets if host.name in answers}, report


def listen(
    options: Options, targets: Sequence[HostSettings], jobs: Iterable[Job], hear: Callable[[Event], None]
) -> Report:
    """Has jobs done that are no run: nothing is shown or recorded of them, but each event is handed on. Returns what
    became of the hosts."""
    rollout = _rollout(targets, Pace())
    fleet = Fleet(jobs, rollout=rollout, forks=options.forks, scheduler=options.scheduler)
    run = Run(name="", command="", apply=False, who="", rollout=rollout)
    events = [run_begun(options, targets, run, check=True)]
    report = Report().after(events[0])
    started = time.monotonic()
    for event in fleet:
        events.append({**event, "at": round(time.monotonic() - started, 3)})
        report = report.after(event)
        hear(event)
    if options.profile:
        print(profile(events), file=sys.stderr)
    return report


def run_begun(options: Options, targets: Iterable[HostSettings], run: Run, *, check: bool) -> Event:
    """The first event of a run. It says how long the process took to start, and to read and check the inventory."""
    names = [host.name for host in targets]
    took = {"startup": options.began, "inventory": round(age() - options.began, 3)}
    return {"event": "run", "run": run.name, "command": run.command, "check": check, "hosts": names, **took}


def _ask(
    host: HostSettings,
    conversation: Conversation,
    blob: Blob,
    *,
    question: Callable[[HostSettings, Conversation], Any],
) -> Iterator[Event]:
    yield {"event": "answered", "answer": question(host, conversation)}


def apps_of(host: HostSettings, only: str | None) -> tuple[App, ...]:
    """The applications of a host, or the one of this name. Raises UserError."""
    chosen = tuple(app for app in host.apps if only in (None, app.name))
    if only is not None and not chosen:
        declared = ", ".join(app.name for app in host.apps) or "none"
        raise UserError(f"--app {only}: {host.name} has no application of this name (it has: {declared})")
    return chosen


def no_such_app(targets: Iterable[HostSettings], name: str | None) -> UserError:
    """What to tell where no host declares an application of this name, or any at all."""
    declared = sorted({app.name for host in targets for app in host.apps})
    if name is None or not declared:
        return UserError("no application is declared: see the guide, docs/guide.md, for `apps:`")
    hint = did_you_mean(name, declared) or f" (there are: {', '.join(declared)})"
    return UserError(f"--app {name}: no host has an application of this name{hint}")


def _bundles(targets: Iterable[HostSettings]) -> dict[Path, Bundle]:
    """Each application's folder is packed once, however many hosts get it."""
    folders = {app.path: app.name for host in targets for app in host.apps}
    unsaid = {(app.path, app.app) for host in targets for app in host.apps if app.worker is None}
    return {
        folder: bundle(name, folder, sorted(app for path, app in unsaid if path == folder))
        for folder, name in folders.items()
    }


def _rollback_release(
    host: HostSettings, app: App, facts: dict[str, Any], release: str | None, *, named: bool
) -> str | None:
    found = facts["apps"].get(app.name, {"current": None, "releases": []})
    if release is None:
        earlier = [r for r in found["releases"] if r["proven"] and not r["failed"] and r["id"] != found["current"]]
        if earlier:
            return str(earlier[0]["id"])
        raise UserError(f"{app.name} has no earlier release on {host.name} to go back to")
    matching = [r for r in found["releases"] if r["id"].startswith(release)]
    if len({code(r["id"]) for r in matching}) == 1:
        # The latest one of this code, if there are several: the settings have changed meanwhile.
        good = [r for r in matching if not r["failed"]]
        if good:
            return str(good[0]["id"])
        raise UserError(f"release {release} of {app.name} has failed on {host.name}: {matching[0]['failed']}")
    if not matching and not named:
        return None  # the release of another application
    known = ", ".join(r["id"] for r in found["releases"]) or "none"
    what = "is not unique among" if matching else "is not on the host; there are"
    raise UserError(f"--release {release} of {app.name} {what}: {known}")


def _changing(planned: Plan, known: Mapping[str, Any]) -> list[str]:
    """The applications that serve, and of which another release would. Nobody is served yet by one that does not."""
    from rackhand.agent.resources import Current

    wanted = [pair for resource in planned if isinstance(resource, Current) for pair in resource.releases]
    return [app for app, release in wanted if known.get(app, {}).get("current") not in (None, release)]


def _run(
    conversation: Conversation,
    planned: Plan,
    run: Run,
    *,
    host: HostSettings,
    blob: Callable[[str], Data],
    left_out: Sequence[str] = (),
) -> Iterator[Event]:
    changing = _changing(planned, conversation.facts["apps"])
    yield {"event": "planned", "resources": len(planned), "left_out": left_out, "code": changing}
    yield from conversation.run(
        planned,
        run=run.name,
        command=run.command,
        who=run.who,
        apply=run.apply,
        secrets=host.secrets,
        blob=blob,
        confirm_within=host.confirm_within,
        drain=None if host.behind is None else host.behind.drain(run.rollout.batch_of(host.name)),
    )


def _show(
    fleet: Fleet,
    targets: Sequence[HostSettings],
    options: Options,
    *,
    run: Run,
    check: bool = False,
    diff: bool = False,
    warnings: Sequence[str] = (),
) -> int:
    """Renders and records the events of a run. The first Ctrl-C asks the hosts to stop, a second leaves them to it."""
    begun = run_begun(options, targets, run, check=check)
    started = time.monotonic()
    report = Report()
    events: list[Event] = []
    interrupts = 0
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(RunLog(PROJECT / ".runs", run.name))
        stack.enter_context(interrupts_told_to(fleet))
        # The first event is that a host is being connected to: the renderer is loaded meanwhile.
        happening = iter(fleet)
        first = next(happening)
        renderer = stack.enter_context(contextlib.closing(choose(json=options.json, diff=diff)))

        def handle(event: Event) -> None:
            nonlocal report
            event = {"run": run.name, **event, "at": round(time.monotonic() - started, 3)}
            report = report.after(event)
            log.write(event)
            renderer.handle(event)
            if options.profile:
                events.append(event)

        handle(begun)
        for text in warnings:
            handle({"event": "warning", "text": text})
        for event in itertools.chain((first,), happening):
            if event["event"] == "interrupt":
                interrupts += 1
                fleet.cancel()
                if interrupts > 1:
                    break
            handle(event)
        seconds = round(time.monotonic() - started, 3)
        handle({"event": "done", "seconds": seconds, "interrupted": interrupts > 0})
    if options.profile:
        print(profile(events), file=sys.stderr)
    if interrupts > 1:
        # Threads still hold connections to hosts that go on by themselves; waiting for them is what was not wanted.
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    return report.exit_code


@contextlib.contextmanager
def interrupts_told_to(fleet: Fleet) -> Iterator[None]:
    """Ctrl-C becomes an event among the others, so that it can break nothing in the middle; so does a polite request to
    end, or a terminal that is closed."""
    last = -ONE_INTERRUPT

    def tell(number: int, frame: object) -> None:
        nonlocal last
        if time.monotonic() - last >= ONE_INTERRUPT:
            last = time.monotonic()
            fleet.tell({"event": "interrupt"})

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        # Who has set it to be ignored, as nohup does, wants the run to go on.
        if number != signal.SIGHUP or handler != signal.SIG_IGN:
            signal.signal(number, tell)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""The benchmark: hosts for each tool, the scenarios, and what was measured."""

import json
import math
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.provision.far import far
from benchmarks.provision.measure import Command, Taken, taken
from benchmarks.provision.site import NotServedError, Site, Where
from benchmarks.provision.tools import Cold, Rackhand, Tool
from rackhand import PROJECT
from rackhand.commands import Options
from rackhand.conversation import Event
from rackhand.lab import Lab, LabHost

#: Seconds each way to a far host.
DELAY = 0.025

#: From so many hosts on, a slow tool has one turn.
MANY = 32

_BATCH = 10  # hosts that boot at once
_ROOM = 200  # hosts in the lab's network, without the few that are kept
_REST = 12  # seconds for hosts to come to rest after a turn


@dataclass(frozen=True, kw_only=True)
class Made:
    """When a scenario was measured, and how much the machine had to do before."""

    date: str
    load: float


@dataclass(frozen=True, kw_only=True)
class Results:
    """What was measured: by scenario and tool, turn by turn. By scenario, in Rackhand's turns, how many times as long
    as the median host the slowest took: `starving` from its connection on, `queued` from when its turn came. By
    scenario and tool, how many times as long as a `part` of its hosts all of them took, turn by turn."""

    turns: dict[str, dict[str, list[Taken]]] = field(default_factory=dict)
    starving: dict[str, list[float]] = field(default_factory=dict)
    queued: dict[str, list[float]] = field(default_factory=dict)
    part: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)

    def begin(self, scenario: str) -> None:
        """It is measured now: what was known of it counts no more."""
        for known in (self.turns, self.starving, self.queued, self.part):
            known.pop(scenario, None)
        self.made[scenario] = Made(date=time.strftime("%Y-%m-%d", time.gmtime()), load=round(os.getloadavg()[0], 1))

    def add(self, scenario: str, tool: str, turn: Taken) -> None:
        self.turns.setdefault(scenario, {}).setdefault(tool, []).append(turn)

    def rounds(self, scenario: str) -> int:
        """How many it had: a slow tool may have had fewer turns."""
        return max(map(len, self.turns[scenario].values()))

    def seconds(self, scenario: str, tool: str) -> float | None:
        """The median; None if it was not measured."""
        turns = self.turns.get(scenario, {}).get(tool)
        return statistics.median(turn.seconds for turn in turns) if turns else None


class Bench:
    """One run on a lab of its own. Every tool has its own hosts, and never meets another's."""

    def __init__(self, lab: Lab, folder: Path, results: Results) -> None:
        self.lab = lab
        self.folder = folder
        self.results = results
        self._kept: dict[str, Site] = {}
        self._templates: dict[tuple[str, int | None], Path] = {}
        self._off: list[LabHost] = []
        #: When the last turn on a host ended, by its name and the monotonic clock.
        self._left: dict[str, float] = {}
        self._number = 0

    def run(self, scenario: "Scenario", tools: Sequence[Tool], rounds: int) -> None:
        """Measures a scenario; the tools take turns, and each is the first as often as the others."""
        tools = [*tools, Cold()] if scenario.cold else tools
        self.results.begin(scenario.name)
        for turn in range(rounds):
            first = turn % len(tools)
            for tool in (*tools[first:], *tools[:first]):
                if turn == 0 or not (tool.slow and scenario.hosts >= MANY):
                    measured = scenario.turn(self, tool, scenario)
                    print(f"{scenario.name:12} {tool.name:10} {measured.seconds:8.2f} s", flush=True)
                    self.results.add(scenario.name, tool.name, measured)

    def kept(self, tool: Tool) -> Site:
        """The tool's host for everything that is done again and again, with the site deployed to it."""
        name = Rackhand.name if isinstance(tool, Cold) else tool.name
        if name not in self._kept:
            site = self._kept[name] = self._site(self._hosts(tool, 1))
            self.done(site, tool.deploy(site))
        return self._kept[name]

    def done(self, site: Site, command: Command) -> Taken:
        """Runs a command on hosts that have come to rest, after which the site's hosts must serve it."""
        self._rest(site.hosts)
        measured = taken(command)
        self._left |= dict.fromkeys((host.name for host in site.hosts), time.monotonic())
        site.check()
        return measured

    def _rest(self, hosts: Sequence[LabHost]) -> None:
        """Returns once a login costs all hosts the same. For a user's first one systemd starts a manager of that user's
        units, a fifth of what a run with nothing to do costs a host, and ends it 10 s after the last one
        (UserStopDelaySec in logind.conf). Until then nobody asks: that would keep a few hosts awake, and not many.
        Raises NotServedError."""
        left = max((self._left.get(host.name, -math.inf) for host in hosts), default=-math.inf)
        time.sleep(max(left + _REST - time.monotonic(), 0))
        with ThreadPoolExecutor(max_workers=_BATCH) as pool:
            list(pool.map(_rested, hosts))

    def done_nothing(self, site: Site, tool: Tool) -> Taken:
        """A deploy of what is deployed already."""
        measured = self.done(site, tool.deploy(site))
        complaint = tool.complaint(site, measured.output)
        if complaint is not None:
            raise NotServedError(f"{tool.name} should have changed nothing. {complaint}")
        return measured

    @contextmanager
    def fresh(self, tool: Tool, count: int) -> Iterator[Site]:
        """Hosts on which nothing was ever done. Their disks stay as long as there is room: for minutes after many files
        were removed, an ext4 without a journal looks through their inodes for each new file, at the cost of the next
        tool (`recently_deleted` in the kernel's fs/ext4/ialloc.c)."""
        self._make_room(count)
        hosts = self._hosts(tool, count)
        try:
            yield self._site(hosts)
        finally:
            for host in hosts:
                host.power_cut()
            self._off += hosts

    @contextmanager
    def fleet(self, tool: Tool, count: int, workers: int | None) -> Iterator[Site]:
        """Hosts on which the site was deployed before: copies of one, booted."""
        self._make_room(count)
        hosts: list[LabHost] = []
        template = self._template(tool, workers)
        try:
            for start in range(0, count, _BATCH):
                hosts += self._hosts(tool, min(_BATCH, count - start), template)
            site = self._site(hosts, workers)
            site.wait()
            yield site
        finally:
            _remove(hosts)

    def part(self, site: Site, count: int) -> Site:
        """The same for some of a site's hosts."""
        return Site(site.folder.with_name(f"{site.folder.name}-part"), self.lab, site.hosts[:count], site.workers)

    def _make_room(self, count: int) -> None:
        if len(self._off) + count > _ROOM:
            _remove(self._off)
            self._off.clear()

    def _template(self, tool: Tool, workers: int | None) -> Path:
        if (tool.name, workers) not in self._templates:
            hosts = self._hosts(tool, 1)
            site = self._site(hosts, workers)
            self.done(site, tool.deploy(site))
            (host,) = hosts
            host.power_cut()
            folder = self.lab.folder / "templates" / f"{tool.name}-{workers or 'auto'}"
            folder.parent.mkdir(exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            _copy(host.root, folder)
            _remove(hosts)
            self._templates[tool.name, workers] = folder
        return self._templates[tool.name, workers]

    def _hosts(self, tool: Tool, count: int, base: Path | None = None) -> list[LabHost]:
        names = [f"{tool.name}{self._number + number}" for number in range(1, count + 1)]
        self._number += count
        hosts = self.lab.up(names, base=base)
        with ThreadPoolExecutor(max_workers=_BATCH) as pool:  # what they still start would be in the figures
            list(pool.map(lambda host: host.run(["systemctl", "is-system-running", "--wait"], check=False), hosts))
        return hosts

    def _site(self, hosts: Sequence[LabHost], workers: int | None = None) -> Site:
        return Site(self.folder / hosts[0].name, self.lab, hosts, workers)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`cold`: the floor under tools in Python has its turns too. `workers` of each application; by default as many as
    each tool finds right for the host. `part`: so many of the hosts have a turn of their own before and after the one
    with all, if the tool is not slow."""

    name: str
    title: str
    turn: Callable[[Bench, Tool, "Scenario"], Taken]
    hosts: int = 1
    cold: bool = False
    workers: int | None = None
    part: int = 0


def _again(bench: Bench, tool: Tool, _: Scenario) -> Taken:
    return bench.done_nothing(bench.kept(tool), tool)


def _far(bench: Bench, tool: Tool, _: Scenario) -> Taken:
    site = bench.kept(tool)
    (host,) = site.hosts
    with far(host.address, 22, delay=DELAY) as port:
        site.via = {host.name: Where(address="127.0.0.1", port=port)}
        site.write()
        try:
            return bench.done_nothing(site, tool)
        finally:
            site.via = {}
            site.write()


def _line(bench: Bench, tool: Tool, _: Scenario) -> Taken:
    site = bench.kept(tool)
    site.next_line()
    return bench.done(site, tool.deploy(site))


def _rollback(bench: Bench, tool: Tool, _: Scenario) -> Taken:
    site = bench.kept(tool)
    site.next_line()
    bench.done(site, tool.deploy(site))
    site.line_before()
    return bench.done(site, tool.rollback(site))


def _dependency(bench: Bench, tool: Tool, _: Scenario) -> Taken:
    site = bench.kept(tool)
    site.next_dependency()
    return bench.done(site, tool.deploy(site))


def _fresh(bench: Bench, tool: Tool, scenario: Scenario) -> Taken:
    with bench.fresh(tool, scenario.hosts) as site:
        return bench.done(site, tool.deploy(site))


def _fleet(bench: Bench, tool: Tool, scenario: Scenario) -> Taken:
    with bench.fleet(tool, scenario.hosts, scenario.workers) as site:
        part = bench.part(site, scenario.part) if scenario.part and not tool.slow else None
        beside = [bench.done_nothing(part, tool).seconds] if part else []
        measured = bench.done_nothing(site, tool)
        if part:
            beside.append(bench.done_nothing(part, tool).seconds)
            grown = round(measured.seconds / statistics.mean(beside), 2)
            bench.results.part.setdefault(scenario.name, {}).setdefault(tool.name, []).append(grown)
        if isinstance(tool, Rackhand):
            events = _run_on(site.hosts)
            bench.results.starving.setdefault(scenario.name, []).append(starving(events))
            bench.results.queued.setdefault(scenario.name, []).append(queued(events, Options.forks))
        return measured


#: The cheap ones first.
SCENARIOS = (
    Scenario(name="again", title="Run again, nothing changed", turn=_again, cold=True),
    Scenario(name="far", title="The same over a 50 ms round trip", turn=_far, cold=True),
    Scenario(name="line", title="Deploy one changed line", turn=_line),
    Scenario(name="rollback", title="Roll back one line", turn=_rollback),
    Scenario(name="dependency", title="Deploy a changed dependency", turn=_dependency),
    Scenario(name="fresh", title="Fresh host", turn=_fresh),
    Scenario(name="fresh8", title="8 fresh hosts", turn=_fresh, hosts=8),
    Scenario(name="again8", title="Run again on 8 hosts", turn=_fleet, hosts=8),
    Scenario(name="again32", title="Run again on 32 hosts", turn=_fleet, hosts=32),
    Scenario(name="again100", title="Run again on 100 hosts", turn=_fleet, hosts=100, workers=1, part=8),
)


def _run_on(hosts: Sequence[LabHost]) -> list[Event]:
    """The record of the last run on these hosts."""
    names = {host.name for host in hosts}
    for record in sorted((PROJECT / ".runs").glob("*.jsonl"), reverse=True):
        events: list[Event] = [json.loads(line) for line in record.read_text().splitlines()]
        if names == set(events[0]["hosts"]):
            return events
    raise NotServedError(f"no run on {', '.join(sorted(names))} is on record")


def starving(events: Sequence[Event]) -> float:
    """Of a run: the slowest host to the median one, from when it is connected to until its end."""
    begun = {event["host"]: event["at"] for event in events if event["event"] == "connecting"}
    return _slowest_to_median([at - begun[host] for host, at in _ended(events).items()])


def queued(events: Sequence[Event], forks: int) -> float:
    """The same from when a host's turn comes, by its place among all: that of the first `forks` at once, of each
    further one when another host has ended. So one that is passed over while others have their turns is slow."""
    (names,) = (event["hosts"] for event in events if event["event"] == "run")
    ended = _ended(events)
    turns = [0.0] * forks + sorted(ended.values())
    return _slowest_to_median([ended[name] - turn for name, turn in zip(names, turns, strict=False)])


def _ended(events: Sequence[Event]) -> dict[str, float]:
    return {event["host"]: event["at"] for event in events if event["event"] == "end"}


def _slowest_to_median(seconds: Sequence[float]) -> float:
    return max(seconds) / statistics.median(seconds)


def _rested(host: LabHost) -> None:
    deadline = time.monotonic() + _REST
    managers = ["systemctl", "list-units", "--no-legend", "--state=active,activating,deactivating", "user@*.service"]
    while host.run(managers).stdout:
        if time.monotonic() > deadline:
            raise NotServedError(f"{host.name}: somebody is still logged in")
        time.sleep(1)


def _copy(root: Path, folder: Path) -> None:
    """All files of a host that does not run."""
    subprocess.run(["cp", "--archive", str(root), str(folder)], check=True)


def _remove(hosts: Sequence[LabHost]) -> None:
    with ThreadPoolExecutor(max_workers=_BATCH) as pool:
        list(pool.map(LabHost.destroy, hosts))

"""What the results say: budgets, tables, and the page that holds them."""

import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.provision.bench import SCENARIOS, Results
from benchmarks.provision.measure import Taken
from benchmarks.provision.tools import Tool

#: Bytes of the controller's memory with 100 hosts.
MEMORY = 200e6

#: The slowest host may take so many times as long as the median one.
STARVING = 3.0

_READING = """\
Each turn is a whole command as a user types it, in a process of its own. The tools take turns, each on hosts of its
own; in the next round the next tool is the first. After every turn the hosts must serve both applications as they were
last written, through nginx on port 80; a run again must have changed nothing by the tool's own recap. Only ratios
within one run mean anything: machines differ, and drift.

- *times Rackhand* is a tool's median divided by Rackhand's.
- CPU seconds and memory are the controller's alone, of the whole tree of processes: medians. The hosts share the
  machine's cores with it. Memory is what the tree's control group was charged with at its peak; libraries that were in
  the machine's cache before are not in it.
- *floor* is a hand-written, idempotent shell script, piped through OpenSSH. Like the peers, it restarts services, so
  requests are lost when it deploys; Rackhand starts the new release beside the old one, and asks for its health first.
- *cold* is a new Python process that connects with Fabric and runs `true`: what any tool that uses Fabric has to take.
- All tools get the same files: the applications of this repository, with pinned requirements. For the peers and the
  floor they are in [`provision/`](provision/). Neither has a notion of a rollback: there, the line before is deployed.
- Hosts of *run again* on several are copies of one on which the tool had deployed, newly booted. On 32 and more,
  a tool that takes long has one turn. The 100 have one worker for each application, for want of memory.
- A turn begins when nobody has been logged in to its hosts for ten seconds: within that time, another login costs a
  host less, since systemd has kept what it had started for that user.
- Just before and just after a turn with 100 hosts, 8 of them have one, with idle ones beside them as the 100 have: a
  machine can become twice as slow in the half hour between *8 hosts* and *100 hosts*.
- The far host is behind a TCP proxy that holds back everything, handshakes included, by 25 ms each way.
- *Slowest* and *median* are of Rackhand's hosts. *From its turn on* a host takes until its end, from when its place
  among all lets it begin: the first 20 at once, each further one when another has ended. One that waits for longer
  than that is slow."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What was promised; `figure` is None where it was not measured."""

    text: str
    figure: float | None
    limit: float
    at_least: bool = False
    unit: str = "times"

    @property
    def met(self) -> bool | None:
        if self.figure is None:
            return None
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    @property
    def verdict(self) -> str:
        """In words."""
        return {None: "not measured", True: "met", False: "**not met**"}[self.met]

    @property
    def promise(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {_number(self.limit, self.unit)}"

    @property
    def shown(self) -> str:
        return "" if self.figure is None else _number(self.figure, self.unit)

    def row(self) -> str:
        """A row of the table."""
        return f"| {self.text} | {self.promise} | {self.shown} | {self.verdict} |"


def budgets(results: Results) -> Iterator[Budget]:
    """All of them, with their figures from this run."""

    def ratio(scenario: str, tool: str, to: str, to_scenario: str | None = None) -> float | None:
        one, other = results.seconds(scenario, tool), results.seconds(to_scenario or scenario, to)
        return None if one is None or other is None else one / other

    def own(text: str, scenario: str, to: str, limit: float) -> Budget:
        return Budget(text=text, figure=ratio(scenario, "rackhand", to), limit=limit)

    yield own("run again, one host / cold process", "again", "cold", 1.6)
    yield Budget(text="run again: Ansible", figure=ratio("again", "ansible", "rackhand"), limit=20, at_least=True)
    yield Budget(text="run again: pyinfra", figure=ratio("again", "pyinfra", "rackhand"), limit=7, at_least=True)
    yield own("run again over 50 ms / cold process over 50 ms", "far", "cold", 1.6)
    yield own("one-line deploy / floor", "line", "floor", 2.5)
    yield own("fresh host / floor", "fresh", "floor", 0.5)
    yield own("8 fresh hosts / floor", "fresh8", "floor", 0.5)
    yield own("run again on 8 hosts / floor", "again8", "floor", 2)
    growth = ratio("again100", "rackhand", "rackhand", "again8")
    yield Budget(text="run again: 100 hosts / 8 hosts", figure=growth, limit=100 / 8)
    parts = results.part.get("again100", {}).get("rackhand")
    grown = statistics.median(parts) if parts else None
    yield Budget(text="run again: 100 hosts / 8 of them, before and after", figure=grown, limit=100 / 8)
    hundred = results.turns.get("again100", {}).get("rackhand")
    most = max(turn.memory for turn in hundred) / 1e6 if hundred else None
    yield Budget(text="the controller's memory with 100 hosts", figure=most, limit=MEMORY / 1e6, unit="MB")
    for text, turns in (("from its connection on", results.starving), ("from its turn on", results.queued)):
        slowest = max(turns.get("again100", []), default=None)
        yield Budget(text=f"100 hosts: the slowest / the median host, {text}", figure=slowest, limit=STARVING)


def missed(results: Results) -> list[str]:
    """The budgets that are not met, each in a line."""
    return [
        f"{budget.text}: {budget.shown} instead of {budget.promise}"
        for budget in budgets(results)
        if budget.met is False
    ]


def page(results: Results, tools: Sequence[Tool]) -> str:
    """The whole page, as Markdown."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    versions = "".join(f"- *{tool.name}*: {tool.version()}\n" for tool in tools)
    return "\n".join(
        [
            "# The same job, measured\n",
            f"Made by `./invoke bench.provision`: {os.cpu_count()} cores, {memory:.0f} GB of memory, {system}; "
            "Debian 12 hosts on the same machine.\n",
            versions,
            _READING,
            "\n## Budgets\n",
            "| what | budget | figure | |\n|---|---|---|---|",
            *(budget.row() for budget in budgets(results)),
            "\n## All figures\n",
            "| scenario | tool | turns | median, s | range, s | times Rackhand | CPU, s | memory, MB |",
            "|---|---|---|---|---|---|---|---|",
            *_rows(results),
            "\n## When\n",
            "In a round each tool has a turn. A scenario can be measured by itself; then the others stay as they "
            "were.\n",
            "| scenario | rounds | measured on | load of the machine before |\n|---|---|---|---|",
            *(
                f"| {scenario.title} | {results.rounds(scenario.name)} | {made.date} | {made.load} |"
                for scenario in SCENARIOS
                if (made := results.made.get(scenario.name))
            ),
            "",
        ]
    )


def _rows(results: Results) -> Iterable[str]:
    for scenario in SCENARIOS:
        own = results.seconds(scenario.name, "rackhand")
        for tool, turns in results.turns.get(scenario.name, {}).items():
            yield f"| {scenario.title} | {tool} | {_turns(turns, own)} |"


def _turns(turns: Sequence[Taken], own: float | None) -> str:
    seconds = sorted(turn.seconds for turn in turns)
    median = statistics.median(seconds)
    cells = [
        str(len(turns)),
        f"{median:.2f}",
        f"{seconds[0]:.2f} to {seconds[-1]:.2f}",
        f"{median / own:.2f}" if own else "",
        f"{statistics.median(turn.cpu for turn in turns):.2f}",
        f"{statistics.median(turn.memory for turn in turns) / 1e6:.0f}",
    ]
    return " | ".join(cells)


def _number(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}"

"""What becomes of an instance to which something bad happens, in each mode of serving: how long it takes until all of
its workers serve again, and what clients see meanwhile."""

import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import pages
from benchmarks.serving import APPS
from benchmarks.serving_modes import MODES, Mode, declared
from rackhand import PROJECT
from rackhand.lab import Lab, LabHost
from tests.lab.site import Site

RESULTS = PROJECT / "benchmarks" / "SUPERVISION.md"
#: Where the table is shown, too.
DOCS = PROJECT / "docs" / "how-it-works.md"
CLIENT = PROJECT / "benchmarks" / "fault_client.py"

#: Of each instance; and MiB that it may take.
WORKERS, MEMORY = 2, 300
#: Seconds, besides what is stated, after which an instance is taken to be lost.
PATIENCE = 30


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something bad. `within` is the stated time, in seconds, besides `timeout` where a worker has to be silent for
    that long before it counts as hung."""

    name: str
    title: str
    within: int
    hangs: bool = False

    def stated(self, timeout: int) -> int:
        return self.within + (timeout if self.hangs else 0)


FAULTS = (
    Fault(name="kill", title="a worker killed (SIGKILL)", within=5),
    Fault(name="master", title="the master killed (SIGKILL)", within=10),
    Fault(name="stop", title="a worker stopped (SIGSTOP)", within=10, hangs=True),
    Fault(name="loop", title="a request in an endless loop", within=10, hangs=True),
    Fault(name="leak", title="memory taken to the limit", within=10),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Seconds until all workers served again, None if they did not; and of requests through nginx meanwhile: how many
    were answered and how many failed or took longer than a second, and the longest time without an answer. `memory` is
    the most that what was hit was seen with, in bytes."""

    back: float | None
    answered: int
    failed: int
    gap: float
    memory: int = 0


def set_up(site: Site, host: LabHost, *, timeout: int, modes: tuple[Mode, ...] = MODES) -> None:
    """Deploys an application in each mode, whose workers are silent for `timeout` seconds before they count as hung."""
    site.variables["apps"] = declared(modes, site.apps, workers=WORKERS, timeout=timeout, memory_limit=MEMORY)
    site.write()
    site.deploy(host.name)
    install_client(host)


def install_client(host: LabHost) -> None:
    (host.root / "root" / CLIENT.name).write_bytes(CLIENT.read_bytes())


def outcome(host: LabHost, mode: Mode, fault: Fault, *, within: float, workers: int = WORKERS) -> Outcome:
    """What becomes of the instance in this mode within so many seconds."""
    client = ["python3", f"/root/{CLIENT.name}", fault.name, mode.name, str(workers), str(within)]
    return Outcome(**json.loads(host.run(client).stdout))


#: By the names of mode and fault, one of each round.
Outcomes = dict[tuple[str, str], list[Outcome]]


def measure(host: LabHost, rounds: int, timeout: int) -> Outcomes:
    found: Outcomes = {}
    for _ in range(rounds):
        for fault in FAULTS:
            for mode in MODES:
                one = outcome(host, mode, fault, within=fault.stated(timeout) + PATIENCE)
                back = "not back" if one.back is None else f"back after {one.back:5.1f} s"
                print(
                    f"{mode.title:36} {fault.title:30} {back}, {one.failed} failed, {one.gap:.1f} s without an answer",
                    flush=True,
                )
                found.setdefault((mode.name, fault.name), []).append(one)
    return found


def cell(outcomes: list[Outcome]) -> str:
    """The median and, of several, the longest; and what clients saw at the worst."""
    times = [one.back for one in outcomes if one.back is not None]
    if len(times) < len(outcomes):
        return "**does not come back**"
    longest = f" (≤ {max(times):.1f})" if len(times) > 1 else ""
    gap = max(one.gap for one in outcomes)
    return f"{statistics.median(times):.1f} s{longest}; {gap:.1f} s, {max(one.failed for one in outcomes)} failed"


def table(found: Outcomes) -> str:
    lines = [
        "| | stated | " + " | ".join(mode.title for mode in MODES) + " |",
        "|---|---|" + "---|" * len(MODES),
    ]
    for fault in FAULTS:
        stated = f"`timeout` + {fault.within} s" if fault.hangs else f"{fault.within} s"
        cells = [cell(found[mode.name, fault.name]) for mode in MODES]
        lines.append(f"| {fault.title} | {stated} | {' | '.join(cells)} |")
    return "\n".join(lines)


def report(found: Outcomes, timeout: int) -> str:
    rounds = max(map(len, found.values()))
    late = list(missed(found, timeout))
    verdict = "All are met." if not late else f"**Missed:** {'; '.join(late)}."
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return f"""\
# Supervision, measured

Written by `./invoke bench.supervision --rounds {rounds} --timeout {timeout}` on {today}: a Debian 12 lab host on
{os.cpu_count()} cores, instances of {WORKERS} workers with `timeout: {timeout}` and `memory_limit: {MEMORY}`.

First the seconds until full strength: {WORKERS} workers have answered on the instance's own socket since, and what was
hit is gone; the median of all rounds, and in brackets the longest. Then what clients saw through nginx meanwhile, in
the worst round: the longest time without any answer, and how many of some 90 requests a second failed or took longer
than a second.

{table(found)}

{verdict}
"""


def missed(found: Outcomes, timeout: int) -> list[str]:
    """Where an instance was back later than stated, or not at all."""
    return [
        f"{fault.title}, {mode.title}"
        for fault in FAULTS
        for mode in MODES
        if any(one.back is None or one.back > fault.stated(timeout) for one in found[mode.name, fault.name])
    ]


def main(rounds: int, timeout: int, out: str | None) -> int:
    """Returns the exit code: 1 when a stated time was missed."""
    lab = Lab(f"supervision-{os.getpid()}", owned=True)
    try:
        with TemporaryDirectory() as folder:
            (host,) = lab.up(["supervised"], memory=2**31)
            set_up(Site(Path(folder), lab, [host], apps=APPS), host, timeout=timeout)
            found = measure(host, rounds, timeout)
            text = report(found, timeout)
    finally:
        lab.down()
    print(text)
    Path(out or RESULTS).write_text(text, encoding="utf-8")
    if not out:
        pages.put(DOCS, table(found))
    return 1 if missed(found, timeout) else 0

"""Does work grow with the workers? The same applications with one worker, and with one for each core, taking turns."""

import json
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.serving import APPS, CLIENT, FRAMEWORKS
from rackhand import PROJECT
from rackhand.errors import UserError
from rackhand.lab import Lab, LabHost
from tests.lab.site import Site

RESULTS = PROJECT / "benchmarks" / "SCALING.md"
#: Milliseconds of a core that each request takes: many, so that little of the rest is measured.
WORK = 50
#: Requests on their way for each worker.
EACH = 4
#: What the ratio should be at least, as a part of the number of cores.
AIM = 0.85


def main(rounds: int, seconds: int, out: str | None) -> int:
    """Returns the exit code: 1 when the aim was missed. Raises UserError."""
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        raise UserError("one core is no more than one core: nothing to measure")
    lab = Lab(f"scaling-{os.getpid()}", owned=True)
    try:
        (host,) = lab.up(["server"])
        with TemporaryDirectory() as folder:
            deploy(Site(Path(folder), lab, [host], apps=APPS), host, (1, cores))
        found = measure(host, cores, rounds, seconds)
        text = report(found, cores, rounds, seconds)
    finally:
        lab.down()
    print(text)
    Path(out or RESULTS).write_text(text, encoding="utf-8")
    return 1 if missed(found, cores) else 0


def deploy(site: Site, host: LabHost, workers: tuple[int, ...]) -> None:
    site.variables["apps"] = {
        f"{name}{count}": {
            "path": str(site.apps / name),
            "app": "app:app",
            "route": f"/{name}{count}",
            "workers": count,
        }
        for name in FRAMEWORKS
        for count in workers
    }
    site.write()
    site.deploy(host.name)
    (host.root / "root" / CLIENT.name).write_bytes(CLIENT.read_bytes())


#: Requests a second with one worker and with one for each core, by application, of each round.
Rates = dict[str, list[tuple[float, float]]]


def measure(host: LabHost, cores: int, rounds: int, seconds: int) -> Rates:
    found: Rates = {name: [] for name in FRAMEWORKS}
    for _ in range(rounds):
        for name, rates in found.items():
            one, many = (rate(host, f"/{name}{count}/work?ms={WORK}", count, seconds) for count in (1, cores))
            print(f"{FRAMEWORKS[name]:8} {one:6.1f} and {many:6.1f} requests/s: {many / one:.2f}", flush=True)
            rates.append((one, many))
    return found


def rate(host: LabHost, path: str, workers: int, seconds: int) -> float:
    command = ["python3", f"/root/{CLIENT.name}", "http", "127.0.0.1:80", path, str(seconds), str(EACH * workers)]
    sample = json.loads(host.run(command).stdout.splitlines()[-1])
    if sample["errors"] or not sample["requests"]:
        raise UserError(f"{path}: {sample['errors']} errors, {sample['requests']} answers: nothing to measure")
    return float(sample["requests"] / sample["seconds"])


def ratios(rates: list[tuple[float, float]]) -> list[float]:
    return [many / one for one, many in rates]


def missed(found: Rates, cores: int) -> list[str]:
    """The applications that computed less with all workers than they should."""
    return [name for name, rates in found.items() if statistics.median(ratios(rates)) < AIM * cores]


def report(found: Rates, cores: int, rounds: int, seconds: int) -> str:
    lines = []
    for name, rates in found.items():
        one, many = (statistics.median(side) for side in zip(*rates, strict=True))
        each = ratios(rates)
        spread = f"**{statistics.median(each):.2f}** ({min(each):.2f} to {max(each):.2f})"
        verdict = "**missed**" if name in missed(found, cores) else "met"
        lines.append(f"| {FRAMEWORKS[name]} | {one:.1f} | {many:.1f} | {spread} | ≥ {AIM * cores:.2f}: {verdict} |")
    rows = "\n".join(lines)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return f"""\
# Work and workers, measured

Written by `./invoke bench.scaling --rounds {rounds} --seconds {seconds}` on {today}: a Debian 12
lab host with this machine's {cores} cores. Each request computes for {WORK} ms, through nginx; {EACH} are on their way
for each worker; the client is on the same host. The ratio is that of two runs one after the other, the median of
{rounds} rounds, with the lowest and the highest.

| | requests/s, 1 worker | {cores} workers | ratio (of each round) | aim |
|---|---|---|---|---|
{rows}
"""

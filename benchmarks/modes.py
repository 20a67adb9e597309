"""All modes of serving side by side: the same loads on the same host, taking turns; and what clients see when a
worker is killed."""

import json
import os
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import bars, pages, serving, supervision
from benchmarks.bars import Bar, Panel
from benchmarks.serving import APPS, Sample
from benchmarks.serving_modes import MODES, Mode, declared
from benchmarks.supervision import Fault, Outcome
from rackhand import PROJECT
from rackhand.agent import layout
from rackhand.bundle import SERVER_REQUIREMENTS
from rackhand.errors import UserError
from rackhand.lab import Lab
from tests.lab.site import Site

PAGE = PROJECT / "benchmarks" / "MODES.md"
PLOT = PROJECT / "docs" / "modes.svg"
#: Where all figures are shown, too.
DOCS = PROJECT / "docs" / "choosing.md"

#: How many requests, or messages of WebSockets, are on their way at a time. Bars and the table show the middle one.
CONCURRENCIES = (4, 16, 64)
SHOWN = 16

#: Before each load: the part of one core that a host with nothing to do uses at most, within so many seconds, and how
#: many it may take until then.
IDLE, PAUSE, SETTLES = 0.3, 0.1, 30

#: Seconds, at most, until a killed worker's place is taken.
KILLED = Fault(name="kill", title="a worker killed", within=60)


@dataclass(frozen=True, kw_only=True)
class Load:
    """One kind of request. `echo` is a message over a WebSocket and back."""

    name: str
    title: str
    path: str
    echo: bool = False

    def fits(self, mode: Mode) -> bool:
        """WSGI has no WebSockets."""
        return not self.echo or mode.folder == "fast"


LOADS = (
    Load(name="json", title="plain JSON", path="/json"),
    Load(name="wait", title="50 ms of waiting", path="/wait"),
    Load(name="compute", title="20 ms of computing", path="/compute"),
    Load(name="echo", title="WebSocket echo", path="/ws", echo=True),
)

#: What the modes are good and bad at: what each is made for, to be held against the figures beside it.
JUDGED = {
    "fast_uvicorn": ("Many waiting requests and WebSockets in few workers; the fast parser and loop of Uvicorn; a "
                     "mature master", "One request that computes holds up all others of its worker"),
    "fast_asgi": ("As the first, with Gunicorn's own server instead of Uvicorn", "Younger than Uvicorn"),
    "fast_alone": ("As the first, with one program fewer", "Its master is Rackhand's own: small, and young"),
    "slow_sync": ("The simplest: one request, one worker; a hung one is ended for certain",
                  "A request that waits takes a whole worker"),
    "slow_gthread": ("Waiting requests take a thread instead of a worker",
                     "Threads of a worker share one core; more threads than the defaults must be asked for"),
    "slow_alone": ("One server for both kinds of applications",
                   "Each request goes through an adapter and a thread. Experimental"),
}  # fmt: skip


@dataclass(kw_only=True)
class Results:
    """What was measured, one of each round: samples by mode, load and concurrency; bytes and what became of killed
    workers by mode."""

    samples: dict[tuple[str, str, int], list[Sample]] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=dict)
    killed: dict[str, list[Outcome]] = field(default_factory=dict)

    def median(self, mode: Mode, load: Load, concurrency: int, get: Callable[[Sample], float]) -> float:
        return statistics.median(map(get, self.samples[mode.name, load.name, concurrency]))

    def rate(self, mode: Mode, load: Load, concurrency: int = SHOWN) -> float:
        return self.median(mode, load, concurrency, lambda sample: sample.rate)

    def p99(self, mode: Mode, load: Load, concurrency: int = SHOWN) -> float:
        return self.median(mode, load, concurrency, lambda sample: sample.p99)

    def invalid(self) -> list[str]:
        """Samples that say nothing: errors are often answered faster than successes."""
        return [
            f"{mode}, {load}, {concurrency} at a time: {sample.errors} errors of {sample.requests} requests"
            for (mode, load, concurrency), samples in self.samples.items()
            for sample in samples
            if sample.errors or not sample.requests
        ]


class Bench:
    """A host with all modes, and a client. They share the machine's cores: wrk needs little of them."""

    def __init__(self, lab: Lab, folder: Path, apps: Path = APPS) -> None:
        (self.host,) = lab.up(["modes"])
        (self.client,) = lab.up(["client"])
        site = Site(folder, lab, [self.host], apps=apps)
        self.cores = len(os.sched_getaffinity(0))
        self.workers = self.cores + 1
        site.variables["apps"] = declared(MODES, site.apps, workers=self.workers)
        site.write()
        site.deploy(self.host.name)
        serving.install_client(self.client)
        supervision.install_client(self.host)

    def sample(self, app: str, load: Load, concurrency: int, seconds: int) -> Sample:
        self._settle()
        where = self.host.address
        if load.echo:
            client = f"/root/{serving.CLIENT.name}"
            path = f"/{app}{load.path}"
            command = ["python3", client, "echo", f"{where}:80", path, str(seconds), str(concurrency)]
        else:
            command = serving.wrk(f"http://{where}/{app}{load.path}", concurrency, seconds)
        found = json.loads(self.client.run(command).stdout.splitlines()[-1])
        return Sample(**found, cpu=0.0, memory=0.0)

    def _settle(self) -> None:
        """Waits until the host has nothing to do: workers answer what a load has left with them though nobody hears it,
        and the next one would be the slower for it. Raises UserError."""
        deadline = time.monotonic() + SETTLES
        before, used = serving.cpu_seconds(self.host), PAUSE
        while used > IDLE * PAUSE:
            if time.monotonic() > deadline:
                raise UserError(f"{self.host.name} is busy with something else: nothing to measure")
            time.sleep(PAUSE)
            now = serving.cpu_seconds(self.host)
            before, used = now, now - before

    def check(self, app: str) -> None:
        """That every path answers as it should, before anything is measured. Raises UserError."""
        for load in LOADS:
            if load.echo:
                continue
            url = f"http://{self.host.address}/{app}{load.path}"
            try:
                with urllib.request.urlopen(url, timeout=60) as answer:
                    json.loads(answer.read())
            except (OSError, ValueError) as error:
                raise UserError(f"{url}: {error}: nothing to measure") from error

    def memory(self, app: str) -> float:
        unit = self.host.root / layout.current(app).lstrip("/") / "unit"
        return serving.memory(self.host, os.path.basename(os.readlink(unit)))


def measure(bench: Bench, rounds: int, seconds: int) -> Results:
    """The modes take turns, after a first run of each that is not counted."""
    found = Results()
    for mode in MODES:
        bench.check(mode.name)
        for load in filter(lambda load: load.fits(mode), LOADS):
            bench.sample(mode.name, load, SHOWN, 1)
    for _ in range(rounds):
        for load in LOADS:
            for concurrency in CONCURRENCIES:
                for mode in filter(load.fits, MODES):
                    sample = bench.sample(mode.name, load, concurrency, seconds)
                    found.samples.setdefault((mode.name, load.name, concurrency), []).append(sample)
                    _tell(f"{mode.title:36} {load.title:20} {concurrency:3} at a time", sample)
        for mode in MODES:
            found.memory.setdefault(mode.name, []).append(bench.memory(mode.name))
            within = KILLED.within
            outcome = supervision.outcome(bench.host, mode, KILLED, within=within, workers=bench.workers)
            found.killed.setdefault(mode.name, []).append(outcome)
            print(f"{mode.title:36} a worker killed: {_killed([outcome])}", flush=True)
    return found


def _tell(what: str, sample: Sample) -> None:
    errors = f"  {sample.errors} errors" if sample.errors else ""
    print(f"{what} {sample.rate:8.0f} /s  p99 {sample.p99 * 1e3:8.1f} ms{errors}", flush=True)


def _killed(outcomes: list[Outcome]) -> str:
    times = [one.back for one in outcomes if one.back is not None]
    back = f"back in {max(times):.1f} s" if len(times) == len(outcomes) else "not back"
    return f"{back}, {sum(one.failed for one in outcomes)} failed"


def table(found: Results) -> str:
    """What the modes are for, with the figures in the middle of the load."""
    lines = ["| framework | server | strengths | weaknesses | figures |", "|---|---|---|---|---|"]
    for mode in MODES:
        figures = [
            f"{load.title} {found.rate(mode, load):,.0f}/s (p99 {found.p99(mode, load) * 1e3:.0f} ms)"
            for load in LOADS
            if load.fits(mode)
        ]
        figures.append(f"{statistics.median(found.memory[mode.name]) / 1e6:.0f} MB")
        figures.append(f"a worker killed: {_killed(found.killed[mode.name])}")
        good, bad = JUDGED[mode.name]
        lines.append(f"| {mode.framework} | {mode.server} | {good} | {bad} | {'<br>'.join(figures)} |")
    return "\n".join(lines)


def all_figures(found: Results) -> str:
    """Of all loads; and what does not depend on the load."""
    lines = [
        "| requests/s, p99 in ms | at a time | " + " | ".join(mode.title for mode in MODES) + " |",
        "|---|---|" + "---|" * len(MODES),
    ]
    for load in LOADS:
        for concurrency in CONCURRENCIES:
            cells = [
                f"{found.rate(mode, load, concurrency):,.0f}, {found.p99(mode, load, concurrency) * 1e3:.0f}"
                if load.fits(mode)
                else ""
                for mode in MODES
            ]
            lines.append(f"| {load.title} | {concurrency} | {' | '.join(cells)} |")
    memory = [f"{statistics.median(found.memory[mode.name]) / 1e6:.0f}" for mode in MODES]
    lines.append(f"| memory, MB | | {' | '.join(memory)} |")
    lines.append(f"| a worker killed | | {' | '.join(_killed(found.killed[mode.name]) for mode in MODES)} |")
    return "\n".join(lines)


def plot(found: Results) -> str:
    def panel(load: Load) -> Panel:
        modes = [mode for mode in MODES if load.fits(mode)]
        best = max(found.rate(mode, load) for mode in modes)
        return Panel(title=f"{load.title}, {SHOWN} at a time", bars=list(drawn(load, modes, best)))

    def drawn(load: Load, modes: list[Mode], best: float) -> Iterator[Bar]:
        for mode in modes:
            rate, p99 = found.rate(mode, load), found.p99(mode, load) * 1e3
            text = f"{rate:,.0f}/s · p99 {p99:.0f} ms"
            yield Bar(name=mode.title, value=rate, text=text, hint=f"{mode.title}: {text}", marked=rate == best)

    about = "Requests per second in each mode of serving. Each kind of load has a scale of its own, from zero"
    return bars.svg(about, "Longer is better.", list(map(panel, LOADS)), names=224, texts=130)


def report(bench: Bench, found: Results, seconds: int, load: float) -> str:
    rounds = len(found.memory[MODES[0].name])
    versions = [pin for pins in SERVER_REQUIREMENTS.values() for pin in pins]
    versions += [(APPS / app / "requirements.txt").read_text().strip() for app in ("fast", "slow")]
    python = bench.host.run(["python3", "--version"]).stdout.strip()
    invalid = "".join(f"\n**Invalid:** {line}\n" for line in found.invalid())
    return f"""\
# Modes of serving, measured

Made by `./invoke bench.modes --rounds {rounds} --seconds {seconds}` on {time.strftime("%Y-%m-%d", time.gmtime())}: a
Debian 12 lab host on {bench.cores} cores, {bench.workers} workers in each mode, `gthread` with its 2 threads; wrk on
another host, which shares the cores. Load of the machine before it began: {load:.1f}.
{python}, {", ".join(pin.replace("==", " ") for pin in versions)}.

All modes serve the same two applications behind the same nginx, and take turns: only ratios of one run mean anything.
Figures are medians of all rounds ({rounds}, of {seconds} s each). Memory is the master's and the workers', what they
share counted once.

{table(found)}

The figures in this table are those with {SHOWN} requests at a time. *A worker killed*: the longest time until
{bench.workers} workers answered again, and how many of some 90 requests a second through nginx failed, in all rounds.

![Requests per second in each mode](../docs/modes.svg)

## All figures

{all_figures(found)}
{invalid}"""


def main(rounds: int, seconds: int, out: str | None) -> int:
    """Returns the exit code: 1 when a sample says nothing."""
    load, _, _ = os.getloadavg()
    lab = Lab(f"modes-{os.getpid()}", owned=True)
    try:
        with TemporaryDirectory() as folder:
            bench = Bench(lab, Path(folder))
            found = measure(bench, rounds, seconds)
            text = report(bench, found, seconds, load)
    finally:
        lab.down()
    print(text)
    page = Path(out) if out else PAGE
    page.write_text(text, encoding="utf-8")
    (page.with_suffix(".svg") if out else PLOT).write_text(plot(found), encoding="utf-8")
    if not out:
        pages.put(DOCS, all_figures(found))
    return 1 if found.invalid() else 0

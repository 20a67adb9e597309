"""What is served: the same applications, deployed by Rackhand and as the usual tutorials do it, under the same load.

Machines are shared and noisy: the two take turns, and only ratios of one run count.
"""

import json
import os
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import figures, tutorial
from rackhand import PROJECT
from rackhand.agent import layout
from rackhand.bundle import SERVER_REQUIREMENTS
from rackhand.errors import UserError
from rackhand.lab import Lab, LabHost
from tests.lab.site import Site

#: Where results are kept; the figures themselves in a file of JSON beside the page.
PAGE = PROJECT / "benchmarks" / "SERVING.md"
APPS = PROJECT / "benchmarks" / "serving_apps"
CLIENT = PROJECT / "benchmarks" / "load_client.py"

#: Bytes of a download and of an upload.
SIZE = 1_000_000
#: Connections that load each row; in the rows that compare with the server's own socket, fewer, since they queue.
CONNECTIONS = 16
WORKING = 8

#: The framework of each application. Its worker is what Rackhand takes by default: Uvicorn's, and sync.
FRAMEWORKS = {"fast": "FastAPI", "slow": "Flask"}

OURS, THEIRS, DIRECT = "Rackhand", "tutorial", "its own socket"

#: What is worse than the other's by more than this part of it is named; less is noise.
NOISE = 0.05

_WRK_SCRIPT = f"""\
if os.getenv("UPLOAD") then
    wrk.method = "POST"
    wrk.body = string.rep("x", {SIZE})
end
function done(summary, latency, requests)
    local failed = summary.errors
    io.write(string.format('{{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}}\\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
        failed.status + failed.connect + failed.read + failed.write + failed.timeout))
end
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of load; `aim` is what Rackhand's part of the other's requests per second should be at least."""

    name: str
    path: str
    kind: str = "get"
    against: str = THEIRS
    aim: float = 1.0

    @property
    def app(self) -> str:
        return self.path.split("/")[1]


ROWS = (
    Row(name="JSON GET, FastAPI", path="/fast/json", aim=1.15),
    Row(name="JSON GET, Flask", path="/slow/json", aim=1.05),
    Row(name="download of 1 MB, FastAPI", path="/fast/blob"),
    Row(name="download of 1 MB, Flask", path="/slow/blob"),
    Row(name="upload of 1 MB, FastAPI", path="/fast/upload", kind="upload"),
    Row(name="upload of 1 MB, Flask", path="/slow/upload", kind="upload"),
    Row(name="WebSocket echo, FastAPI", path="/fast/ws", kind="echo"),
    Row(name="5 ms of work, FastAPI", path="/fast/work", kind="work", against=DIRECT, aim=0.85),
    Row(name="5 ms of work, Flask", path="/slow/work", kind="work", against=DIRECT, aim=0.85),
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run of a row against one side, times in seconds. `cpu` is what the host used for each request, without the
    client where that is not on it; `memory`, in bytes, what the side's service had right after it. `errors` counts
    answers that were no success, and connections that failed."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int
    cpu: float
    memory: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


#: Of what less is better, as the table names it.
_COSTS: dict[str, Callable[[Sample], float]] = {
    "p50": lambda sample: sample.p50,
    "p99": lambda sample: sample.p99,
    "processor": lambda sample: sample.cpu,
    "memory": lambda sample: sample.memory,
}

#: Of FastAPI's memory, from the uploads on.
_KEPT = """\
  Both take the same until they are asked for something: 89 and 90 MB in five starts by hand, and after uploads 96 to
  105 and 95 to 99 MB. Each upload is in memory whole, and a worker of Rackhand's has about twice as many at a time,
  since nginx passes them on faster. What is free again stays with the worker for the next one: when it is given back
  at once (`MALLOC_TRIM_THRESHOLD_`), 93 MB are left, and uploads take more than twice as long."""

_NGINX = """\
  nginx is in it, which the socket's side does without: 0.2 to 0.5 ms of the core for each of eight that queue."""

#: Why a figure of a row may be worse, or memory after all loads, where that was looked into.
_REASONS = {
    ("upload of 1 MB, Flask", "p99"): """\
  It is the time of the slowest dozen requests of some seconds, and differs by more between two rounds of the same side:
  in six rounds by hand it was 55 to 169 ms, the tutorial's 114 to 187 ms.""",
    **{
        (f"5 ms of work, {name}", figure): _NGINX
        for name in FRAMEWORKS.values()
        for figure in ("requests/s", "p50", "p99", "processor")
    },
    ("upload of 1 MB, FastAPI", "memory"): _KEPT,
    ("WebSocket echo, FastAPI", "memory"): _KEPT,
    ("FastAPI", "memory"): _KEPT,
}


class Bench:
    """A host with both, and a client with wrk."""

    def __init__(self, lab: Lab, folder: Path, apps: Path = APPS) -> None:
        usable = sorted(os.sched_getaffinity(0))
        self.cores = max(1, len(usable) // 2)
        self.client_cores = ",".join(map(str, usable[self.cores :] or usable))
        (self.host,) = lab.up(["server"], cores=self.cores)
        (self.client,) = lab.up(["client"])
        self.workers = self.cores + 1
        self.deploy(Site(folder, lab, [self.host], apps=apps))
        tutorial.set_up(self.host, apps, self.workers)
        install_client(self.client)
        (self.host.root / "root" / CLIENT.name).write_bytes(CLIENT.read_bytes())

    def deploy(self, site: Site) -> None:
        site.variables["apps"] = {
            name: {"path": str(site.apps / name), "app": "app:app", "route": f"/{name}", "workers": self.workers}
            for name in FRAMEWORKS
        }
        site.write()
        site.deploy(self.host.name)

    def sample(self, row: Row, side: str, seconds: int) -> Sample:
        before = cpu_seconds(self.host)
        command = self._command(row, side, seconds)
        on = self.host if row.kind == "work" else self.client
        done = on.run(["taskset", "--cpu-list", self.client_cores, *command])
        used = cpu_seconds(self.host) - before
        found = json.loads(done.stdout.splitlines()[-1])
        return Sample(**found, cpu=used / max(1, found["requests"]), memory=self.memory(row.app, side))

    def _command(self, row: Row, side: str, seconds: int) -> list[str]:
        port = tutorial.PORT if side == THEIRS else 80
        where = f"{self.host.address}:{port}"
        if row.kind in ("echo", "work"):
            kind = "echo" if row.kind == "echo" else "http"
            inside = row.path.removeprefix(f"/{row.app}")
            address, path = (f"{layout.current(row.app)}/app.sock", inside) if side == DIRECT else (where, row.path)
            count = WORKING if row.kind == "work" else CONNECTIONS
            return ["python3", f"/root/{CLIENT.name}", kind, address, path, str(seconds), str(count)]
        variables = ["env", "UPLOAD=yes"] if row.kind == "upload" else []
        return [*variables, *wrk(f"http://{where}{row.path}", CONNECTIONS, seconds)]

    def check(self, row: Row, side: str) -> None:
        """One request, whose answer is looked at. Raises UserError."""
        if side == DIRECT or row.kind == "echo":
            return
        port = tutorial.PORT if side == THEIRS else 80
        url = f"http://{self.host.address}:{port}{row.path}"
        body = b"x" * SIZE if row.kind == "upload" else None
        try:
            with urllib.request.urlopen(url, body, timeout=60) as answer:
                text = answer.read()
        except OSError as error:
            raise UserError(f"{url}: {error}: nothing to measure") from error
        if row.path.endswith("/blob"):
            right = len(text) == SIZE
        elif body:
            right = json.loads(text) == {"bytes": SIZE}
        else:
            right = isinstance(json.loads(text), dict)
        if not right:
            raise UserError(f"{url} answers {text[:100]!r}")

    def unit(self, app: str, side: str) -> str:
        """The name of a side's service."""
        current = self.host.root / layout.current(app).lstrip("/") / "unit"
        return tutorial.unit(app) if side == THEIRS else os.path.basename(os.readlink(current))

    def restart(self) -> None:
        """Has every service begin anew, and answer."""
        services = [(app, side) for app in FRAMEWORKS for side in (OURS, THEIRS)]
        self.host.run(["systemctl", "restart", *(self.unit(app, side) for app, side in services)])
        for app, side in services:
            row = Row(name=f"{app} after a restart", path=f"/{app}/json")
            deadline = time.monotonic() + 30
            while True:
                try:
                    self.check(row, side)
                    break
                except UserError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)

    def memory(self, app: str, side: str) -> float:
        """What a side's service uses, in bytes."""
        return memory(self.host, self.unit(app, side))


def install_client(client: LabHost) -> None:
    """What makes load, on a host of its own."""
    client.run(["apt-get", "-qq", "update"])
    client.run(["apt-get", "-qq", "-y", "--no-install-recommends", "install", "wrk", "python3-minimal"])
    (client.root / "root/row.lua").write_text(_WRK_SCRIPT)
    (client.root / "root" / CLIENT.name).write_bytes(CLIENT.read_bytes())


def wrk(url: str, connections: int, seconds: int) -> list[str]:
    """The command that loads a URL, and prints the fields of a Sample."""
    options = ["--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=20s"]
    return ["wrk", *options, "--script=/root/row.lua", url]


def memory(host: LabHost, unit: str) -> float:
    """What a service's master and workers use, in bytes, with what they share divided among all that share it."""
    script = (
        'main=$(systemctl show --property=MainPID --value "$1"); '
        "for pid in $main $(cat /proc/$main/task/$main/children); do cat /proc/$pid/smaps_rollup; done"
    )
    lines = host.run(["sh", "-c", script, "sh", unit]).stdout.splitlines()
    return sum(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("Pss:"))


def cpu_seconds(host: LabHost) -> float:
    """What a host's processes have computed since it booted."""
    for folder in host.cgroup.folders:
        if (nanoseconds := folder / "cpuacct.usage").exists():
            return int(nanoseconds.read_text()) / 1e9
        if (counters := folder / "cpu.stat").exists() and "usage_usec" in (text := counters.read_text()):
            return int(text.split()[1]) / 1e6
    raise UserError(f"{host.name}: this machine does not count the time of its processor")


@dataclass(kw_only=True)
class Results:
    """What was measured, one of each round: samples by row and side; bytes after all loads by application and side."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    memory: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def note(self, row: Row, side: str, sample: Sample) -> None:
        print(
            f"{row.name:26} {side:14} {sample.rate:8.0f} requests/s  p50 {sample.p50 * 1e3:7.2f} ms  "
            f"p99 {sample.p99 * 1e3:7.2f} ms  {sample.cpu * 1e6:7.0f} us of the host's processor each  "
            f"{sample.memory / 1e6:6.1f} MB" + (f"  {sample.errors} errors" if sample.errors else ""),
            flush=True,
        )
        self.samples.setdefault(row.name, {}).setdefault(side, []).append(sample)

    def invalid(self, row: Row) -> str | None:
        """Why a row says nothing: errors are often answered faster than successes."""
        for side in (OURS, row.against):
            if errors := sum(each.errors for each in self.samples[row.name][side]):
                return f"invalid: {errors} errors of {side}"
            if not all(each.requests for each in self.samples[row.name][side]):
                return f"invalid: {side} answered nothing within the time"
        return None

    def table(self) -> str:
        lines = [
            "| | compared with | requests/s, Rackhand | the other | ratio (of each round) | aim | p50, ms | p99, ms "
            "| processor, us each | memory, MB |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        return "\n".join([*lines, *map(self._line, ROWS)])

    def _rates(self, row: Row) -> list[float]:
        """Of each round, Rackhand's part of the other's."""
        ours, others = (self.samples[row.name][side] for side in (OURS, row.against))
        return [own.rate / other.rate for own, other in zip(ours, others, strict=True)]

    def _memories(self, app: str) -> list[float]:
        ours, others = (self.memory[app][side] for side in (OURS, THEIRS))
        return [own / other for own, other in zip(ours, others, strict=True)]

    def _line(self, row: Row) -> str:
        if why := self.invalid(row):
            return f"| {row.name} | {row.against} | {why} | | | | | | | |"
        ours, others = (self.samples[row.name][side] for side in (OURS, row.against))
        ratios = self._rates(row)

        def both(get: Callable[[Sample], float], form: str) -> list[str]:
            return [format(statistics.median(map(get, side)), form) for side in (ours, others)]

        rate, theirs = both(lambda each: each.rate, ",.0f")
        fields = [row.name, row.against, rate, theirs, _spread(ratios), _aim(row.aim, ratios)]
        fields += [" / ".join(both(lambda each: each.p50 * 1e3, ".2f"))]
        fields += [" / ".join(both(lambda each: each.p99 * 1e3, ".2f"))]
        fields += [" / ".join(both(lambda each: each.cpu * 1e6, ",.0f"))]
        fields += [" / ".join(both(lambda each: each.memory / 1e6, ".1f")) if "memory" in _costs(row) else ""]
        return f"| {' | '.join(fields)} |"

    def memory_table(self) -> str:
        lines = [
            "| memory after all loads | MB, Rackhand | MB, tutorial | ratio (of each round) | aim |",
            "|---|---|---|---|---|",
        ]
        for app, framework in FRAMEWORKS.items():
            ratios = self._memories(app)
            middle = [f"{statistics.median(self.memory[app][side]) / 1e6:.1f}" for side in (OURS, THEIRS)]
            aim = f"≤ {1 + NOISE:.2f}: {'met' if statistics.median(ratios) <= 1 + NOISE else 'missed'}"
            lines.append(f"| {framework} | {middle[0]} | {middle[1]} | {_spread(ratios)} | {aim} |")
        return "\n".join(lines)

    def worse(self) -> Iterator[tuple[str, str, float]]:
        """Rows and their figures that are worse than the other's by more than noise, and how many times the other's;
        requests also where they miss their aim, and memory after all loads where it is so in any round."""
        for row in ROWS:
            if self.invalid(row):
                continue
            if (rate := statistics.median(self._rates(row))) < max(1 - NOISE, row.aim):
                yield row.name, "requests/s", rate
            for name, get in _costs(row).items():
                ours, others = (
                    statistics.median(map(get, self.samples[row.name][side])) for side in (OURS, row.against)
                )
                if ours / others > 1 + NOISE:
                    yield row.name, name, ours / others
        for app, framework in FRAMEWORKS.items():
            if (most := max(self._memories(app))) > 1 + NOISE:
                yield framework, "memory", most

    def verdict(self) -> str:
        """In words: what is worse, and why; what has one reason, together."""
        worse = f"worse than the other's by more than {NOISE:.0%}"
        found: dict[str, list[str]] = {}
        for name, figure, times in self.worse():
            why = self._reason(name, figure) or "  It is not known why."
            found.setdefault(why, []).append(f"{name}, {figure}: **{times:.2f}** times")
        if not found:
            return f"Nothing is {worse}."
        lines = [f"- {'; '.join(named)}.\n{why}" for why, named in found.items()]
        return "\n".join([f"Below its aim, or {worse} (memory after all loads: in any round):\n", *lines])

    def missed(self) -> Iterator[tuple[str, str, str]]:
        """The rows that say nothing, and those that miss their aim; then memory after all loads."""
        for row in ROWS:
            if why := self.invalid(row):
                yield row.name, "answers", why
            elif (rate := statistics.median(self._rates(row))) < row.aim:
                yield row.name, "requests/s", f"{rate:.2f} instead of ≥ {row.aim:.2f}"
        for app, framework in FRAMEWORKS.items():
            if (memory := statistics.median(self._memories(app))) > 1 + NOISE:
                yield framework, "memory", f"{memory:.2f} instead of ≤ {1 + NOISE:.2f}"

    def unexplained(self) -> list[str]:
        """What is missed, and no reason is known."""
        return [f"{name}, {figure}: {what}" for name, figure, what in self.missed() if not self._reason(name, figure)]

    def _reason(self, name: str, figure: str) -> str | None:
        """Why a figure is worse, if that is known. No reason is enough for fewer requests than are aimed at: the aim
        leaves room for it."""
        if figure == "requests/s" and (name, figure) in {missed[:2] for missed in self.missed()}:
            return None
        return _REASONS.get((name, figure))


def _costs(row: Row) -> dict[str, Callable[[Sample], float]]:
    """What two sides are compared by; without memory where they are the same processes."""
    return {name: get for name, get in _COSTS.items() if name != "memory" or row.against != DIRECT}


def _aim(aim: float, ratios: list[float]) -> str:
    return f"≥ {aim:.2f}: {'met' if statistics.median(ratios) >= aim else 'missed'}"


def _spread(ratios: list[float]) -> str:
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"


def write(results: Results, path: Path) -> None:
    """Keeps the figures."""
    figures.write(asdict(results), path)


def read(path: Path) -> Results:
    """What is kept there. Raises FileNotFoundError."""
    kept = figures.read(path)
    return Results(samples=figures.rounds(kept["samples"], Sample), memory=kept["memory"])


def measure(bench: Bench, rounds: int, seconds: int) -> Results:
    """Takes turns, after a first run of each that is not counted. How much memory a load leaves in a process differs
    from one start of it to the next, so each round has its own."""
    results = Results()
    for _ in range(rounds):
        bench.restart()
        for row in ROWS:
            for side in (OURS, row.against):
                bench.check(row, side)
                bench.sample(row, side, 1)
                results.note(row, side, bench.sample(row, side, seconds))
        for app in FRAMEWORKS:
            for side in (OURS, THEIRS):
                results.memory.setdefault(app, {}).setdefault(side, []).append(bench.memory(app, side))
    return results


def report(bench: Bench, results: Results, seconds: int) -> str:
    rounds = len(results.memory["fast"][OURS])
    versions = [pin for pins in SERVER_REQUIREMENTS.values() for pin in pins]
    versions += [(APPS / app / "requirements.txt").read_text().strip() for app in FRAMEWORKS]
    nginx = bench.host.run(["dpkg-query", "--show", "--showformat=${Version}", "nginx"]).stdout
    python = bench.host.run(["python3", "--version"]).stdout.strip()
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return f"""\
# What is served, measured

Written by `./invoke bench.serve --rounds {rounds} --seconds {seconds}` on {today}: a Debian 12 lab host with
{bench.cores} of this machine's {os.cpu_count()} cores and {bench.workers} workers, another one with the rest and wrk.
{python}, nginx {nginx}, {", ".join(pin.replace("==", " ") for pin in versions)}.

*Tutorial* is set up by hand as the usual tutorials do: Gunicorn on a TCP port, nginx with its defaults; the same host,
workers and versions, Uvicorn's fast parts among them. Both take turns; a ratio is that of two runs one after the other,
the median of {rounds} rounds, with the lowest and the highest. Two in a cell are Rackhand's and the other's. What
the processor spent is the whole host's, nginx included: on a busy machine it is steadier than the rest. Memory (PSS) is
what masters and workers have right after a load; a round begins with new ones and its rows share them, so a figure
contains what the rows before have left.

{results.table()}

{results.memory_table()}

{results.verdict()}

*Its own socket*: the same instance, and so the same memory, asked on its unix socket without nginx, each request with a
connection of its own.

[How it works](../docs/how-it-works.md#what-was-measured) says where the limit of a small answer is, and what makes the
difference to the tutorial.
"""


def main(rounds: int, seconds: int, out: str | None) -> int:
    """Returns the exit code: 1 when a row is invalid, or misses its aim."""
    lab = Lab(f"serve-{os.getpid()}", owned=True)
    try:
        with TemporaryDirectory() as folder:
            bench = Bench(lab, Path(folder))
            results = measure(bench, rounds, seconds)
            text = report(bench, results, seconds)
    finally:
        lab.down()
    print(text)
    page = Path(out) if out else PAGE
    page.write_text(text, encoding="utf-8")
    write(results, page.with_suffix(".json"))
    missed = [*results.missed()]
    for name, figure, what in missed:
        print(f"missed: {name}, {figure}: {what}", file=sys.stderr)
    return 1 if missed else 0

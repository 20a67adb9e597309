"""How long it takes until an edit is live under `./invoke dev`: real servers, on copies of the example applications."""

import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rackhand import PROJECT
from tests.dev.running import Dev, copy_apps, declared, write_inventory

RESULTS = PROJECT / "benchmarks" / "DEV.md"
#: The example applications, by the name of their framework.
APPS = {"FastAPI": "async_api", "Flask": "sync_api"}
#: Seconds that it should take at most, by the median of all edits.
AIM = 2.0
#: Seconds between an answer and the next edit: nobody types faster.
PAUSE = 1.0

#: Seconds that each edit took, by framework.
Times = dict[str, list[float]]


def main(rounds: int, out: str | None) -> int:
    """Returns the exit code: 1 when the aim was missed."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        copy_apps(folder)
        write_inventory(folder, here=declared(folder))
        with Dev(folder, "--all") as dev:
            dev.until_both_serve()
            found = measure(dev, rounds)
    text = report(found, rounds)
    print(text)
    Path(out or RESULTS).write_text(text, encoding="utf-8")
    return 1 if missed(found) else 0


def measure(dev: Dev, rounds: int) -> Times:
    found: Times = {framework: [] for framework in APPS}
    for number in range(rounds):
        for framework, app in APPS.items():
            time.sleep(PAUSE)
            seconds = live(dev, app, f"edit {number - 1}" if number else "ok", f"edit {number}")
            print(f"{framework:8} {seconds:.2f} s", flush=True)
            found[framework].append(seconds)
    return found


def live(dev: Dev, app: str, before: str, after: str) -> float:
    """Seconds from an edit of what the health check says to the first answer that has it."""
    started = time.monotonic()
    dev.edit(f"{app}/app.py", f'"{before}"', f'"{after}"')
    path = f"/{app.replace('_', '-')}/health"
    dev.until(path, lambda answer: answer.status_code == 200 and answer.json()["status"] == after)
    return time.monotonic() - started


def missed(found: Times) -> list[str]:
    """The frameworks with which it took longer than it should."""
    return [framework for framework, times in found.items() if statistics.median(times) > AIM]


def report(found: Times, rounds: int) -> str:
    late = missed(found)
    rows = "\n".join(
        f"| {framework} | {statistics.median(times):.2f} s | {max(times):.2f} s "
        f"| ≤ {AIM:.0f} s: {'**missed**' if framework in late else 'met'} |"
        for framework, times in found.items()
    )
    today = time.strftime("%Y-%m-%d", time.gmtime())
    return f"""\
# Edits under `dev`, measured

Written by `./invoke bench.dev --rounds {rounds}` on {today}, on {os.cpu_count()} cores: `./invoke dev --all` with
copies of both example applications, whose `app.py` is edited in turns, {rounds} times each. The time is from the edit
to the first answer that has it, to a client that asks some twenty times a second.

| | median | longest | aim, of the median |
|---|---|---|---|
{rows}
"""

"""How long the main job takes, next to a hand-written script over plain OpenSSH in the same run.

    .venv/bin/python -m benchmarks.main_job [ROUNDS]

Machines are shared and noisy: only ratios of one run count. The two take turns.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import floor
from rackhand import PROJECT
from rackhand.bundle import SERVER_REQUIREMENTS
from rackhand.lab import Lab, LabHost
from tests.lab.site import Site

RESULTS = PROJECT / "benchmarks" / "RESULTS.md"

_COLD = """
import sys
from fabric import Connection
Connection(sys.argv[1], user="root", connect_kwargs={"key_filename": sys.argv[2]}).run("true")
"""


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


class Bench:
    """One run on a lab of its own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.seconds: dict[str, dict[str, list[float]]] = {}

    def note(self, scenario: str, tool: str, seconds: float) -> None:
        print(f"{scenario:32} {tool:24} {seconds:7.2f} s", flush=True)
        self.seconds.setdefault(scenario, {}).setdefault(tool, []).append(seconds)

    def script(self, host: LabHost, apps: Path) -> None:
        uvicorn = " ".join((*SERVER_REQUIREMENTS["gunicorn"], *SERVER_REQUIREMENTS["uvicorn"]))
        gunicorn = " ".join(SERVER_REQUIREMENTS["gunicorn"])
        text = floor.script(apps, {"async_api": uvicorn, "sync_api": gunicorn})
        subprocess.run(
            [
                *("ssh", "-i", str(self.lab.private_key), "-o", f"UserKnownHostsFile={self.lab.known_hosts}"),
                *(f"root@{host.address}", "sh -s"),
            ],
            input=text,
            text=True,
            check=True,
        )

    def cold(self, host: LabHost) -> None:
        command = [sys.executable, "-c", _COLD, host.address, str(self.lab.private_key)]
        subprocess.run(command, check=True)

    def round(self, number: int) -> None:
        scripted, deployed = self.lab.up([f"script{number}", f"rackhand{number}"])
        site = Site(self.folder / str(number), self.lab, [deployed])
        name = deployed.name
        self.note("first provision", "script", timed(lambda: self.script(scripted, site.apps)))
        self.note("first provision", "rackhand", timed(lambda: site.deploy(name)))
        for _ in range(5):
            self.note("run again, nothing changed", "script", timed(lambda: self.script(scripted, site.apps)))
            self.note("run again, nothing changed", "cold Connection.run", timed(lambda: self.cold(deployed)))
            self.note("run again, nothing changed", "rackhand", timed(lambda: site.deploy(name)))
        for turn in range(3):
            with (site.apps / "sync_api" / "app.py").open("a") as file:
                file.write(f"# turn {turn}\n")
            self.note("deploy one changed line", "script", timed(lambda: self.script(scripted, site.apps)))
            self.note("deploy one changed line", "rackhand", timed(lambda: site.deploy(name)))
        for _ in range(3):
            rollback = timed(lambda: site.invoke("rollback", "--host", name, "--app", "sync_api"))
            self.note("rollback", "rackhand", rollback)

    def table(self) -> str:
        lines = ["| scenario | tool | median, s | range, s | rackhand / tool |", "|---|---|---|---|---|"]
        for scenario, tools in self.seconds.items():
            own = statistics.median(tools["rackhand"])
            for tool, seconds in tools.items():
                median = statistics.median(seconds)
                ratio = f"{own / median:.2f}" if tool != "rackhand" else ""
                spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
                lines.append(f"| {scenario} | {tool} | {median:.2f} | {spread} | {ratio} |")
        return "\n".join(lines)


def main(rounds: int) -> None:
    lab = Lab(f"bench-{os.getpid()}", owned=True)
    try:
        with TemporaryDirectory() as folder:
            bench = Bench(lab, Path(folder))
            for number in range(rounds):
                bench.round(number)
    finally:
        lab.down()
    RESULTS.write_text(
        "# The main job, measured\n\n"
        f"Written by `python -m benchmarks.main_job {rounds}` on {time.strftime('%Y-%m-%d', time.gmtime())}, "
        f"{os.cpu_count()} cores, Debian 12 lab hosts on the same machine. Whole processes, wall time; the tools take "
        "turns. Only ratios within one run mean anything.\n\n"
        "*script* is a hand-written idempotent shell script piped through OpenSSH; it restarts services, and so drops\n"
        "requests; *cold Connection.run* is a new Python process that connects with Fabric and runs `true`.\n\n"
        f"{bench.table()}\n"
    )
    print(RESULTS.read_text())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)

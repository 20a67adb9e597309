"""Nothing accumulates: what is on a host now, compared with a clean host after a history without faults."""

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rackhand.lab import LabHost
from tests.faults import places

#: Seconds within which old instances have drained and what they had is gone.
DRAINED_WITHIN = 25

# Runs on the host: paths, units and processes as they are.
_LOOK = """
import json, os, re, subprocess, sys
roots, closed = json.loads(sys.argv[1]), re.compile(sys.argv[2])
paths = []
def walk(folder, deep, words):
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if not words or any(word in entry.path for word in words):
            paths.append(entry.path)
        if deep > 1 and entry.is_dir(follow_symlinks=False) and not closed.search(entry.path):
            walk(entry.path, deep - 1, words)
for root in roots:
    walk(*root)
def listed(*command):
    command = ["systemctl", "--plain", "--no-legend", *command]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.splitlines()
units = [" ".join(line.split()[:4]) for line in listed("list-units", "--all")]
units = ["unit " + line for line in units if "rackhand" in line or re.match("run-[ru]\\w+[.]", line)]
files = ["unit file " + " ".join(line.split()[:2]) for line in listed("list-unit-files") if "rackhand" in line]
words = [word for line in listed("list-timers", "--all") for word in line.split()]
timers = ["timer " + word for word in words if word.endswith(".timer")]
processes = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        line = open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\\0", b" ").decode(errors="replace").strip()
    except OSError:
        continue
    words = ("rackhand", "gunicorn", "apt-get", "dpkg", "uv ", "nginx: ")
    if int(pid) != os.getpid() and any(word in line for word in words):
        processes.append("process " + line.replace(" is shutting down", ""))
json.dump(paths + units + files + timers + processes, sys.stdout)
"""


@dataclass(frozen=True, kw_only=True)
class Census:
    """How much of what there is on a host, by plain names; and environments that no release uses."""

    counts: Counter[str]
    unused: frozenset[str]

    def __or__(self, other: "Census") -> "Census":
        """What there is on one of two."""
        return Census(counts=self.counts | other.counts, unused=self.unused | other.unused)

    def more_than(self, clean: "Census") -> list[str]:
        """What there is beyond what a clean host has."""
        found = [
            f"{name} ({count}, at most {most})" if most else name
            for name, count in sorted(self.counts.items())
            if count > (most := max(clean.counts[name], places.AT_MOST.get(name, 0)))
        ]
        return found + [f"environment {name}, which no release uses" for name in sorted(self.unused)]


def census(host: LabHost) -> Census:
    """What there is on the host at this moment."""
    roots = json.dumps(places.ROOTS)
    found = host.run(["python3", "-c", _LOOK, roots, places.CLOSED.pattern]).stdout
    counts = Counter(places.plain(name)[:150] for name in json.loads(found) if not places.NOT_OURS.search(name))
    root = inside(host)
    return Census(counts=counts, unused=frozenset(places.venvs(root) - places.venvs_in_use(root)))


def settled(host: LabHost) -> Census:
    """What there is on a host to which nothing happens, once what drains is gone."""
    found = census(host)
    while True:
        time.sleep(1.5)  # longer than an application's drain time here
        again = census(host)
        if again == found:
            return found
        found = again


def leftovers(host: LabHost, clean: Census) -> list[str]:
    """What stays beyond a clean host's. What drains is waited for."""
    deadline = time.monotonic() + DRAINED_WITHIN
    while True:
        found = census(host).more_than(clean)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.3)


def inside(host: LabHost) -> Path:
    """The host's files as its own processes see them, with its mounts."""
    return Path("/proc", str(host.cgroup.init()), "root")

"""Whatever happens to an instance's processes, all of its workers serve again, in each mode of serving.

How long that takes is measured by `invoke bench.supervision`: here it may take as long as it likes.
"""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from benchmarks import supervision
from benchmarks.serving import APPS
from benchmarks.serving_modes import MODES, Mode
from benchmarks.supervision import FAULTS, MEMORY, Fault
from rackhand.lab import Lab, LabHost
from tests.lab.site import Site

#: Seconds after which an instance is taken to be lost.
LOST = 120

MIB = 2**20


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    """With little memory, so that a leak without a limit does not take the machine's."""
    (host,) = lab.up(["supervised"], memory=2048 * MIB)
    site = Site(tmp_path_factory.mktemp("supervised"), lab, [host], apps=APPS)
    supervision.set_up(site, host, timeout=2)
    return host


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_back_to_full_strength(host: LabHost, fault: Fault) -> None:
    """In each mode, with all of them hit at once."""
    before = {mode.name: ended_for_memory(host, mode) for mode in MODES}
    with ThreadPoolExecutor() as pool:
        outcomes = pool.map(partial(supervision.outcome, host, fault=fault, within=LOST), MODES)
    found = {mode.name: outcome for mode, outcome in zip(MODES, outcomes, strict=True)}
    assert [name for name, outcome in found.items() if outcome.back is None] == []
    if fault.name == "leak":  # at the limit, and not at the end of the host's memory
        assert all(outcome.memory / MIB < MEMORY for outcome in found.values()), found
        assert [mode.name for mode in MODES if ended_for_memory(host, mode) == before[mode.name]] == []


def test_systemd_never_gives_up(host: LabHost) -> None:
    """However often an instance ends: what it lacks may come back at any time."""
    unit = unit_of(host, "slow_sync")
    hurry = Path(f"run/systemd/system/{unit}.d/hurry.conf")
    host.run(["mkdir", "-p", f"/{hurry.parent}"])
    host.run(["tee", f"/{hurry}"], input="[Service]\nRestartSec=0\n")
    host.run(["systemctl", "daemon-reload"])
    for _ in range(12):
        before = main_pid(host, unit)
        host.run(["kill", "-KILL", before])
        deadline = time.monotonic() + LOST
        while main_pid(host, unit) in ("0", before):
            assert time.monotonic() < deadline, host.run(["systemctl", "status", unit], check=False).stdout
            time.sleep(0.05)


def unit_of(host: LabHost, app: str) -> str:
    return os.path.basename(os.readlink(host.root / f"opt/rackhand/current/{app}/unit"))


def ended_for_memory(host: LabHost, mode: Mode) -> int:
    """How many processes of an instance the kernel has ended at its limit."""
    show = ["systemctl", "show", "--property=ControlGroup", "--value", unit_of(host, mode.name)]
    group = host.run(show).stdout.strip()
    # Of control groups of the second version, or of the first.
    files = f"'/sys/fs/cgroup{group}/memory.events' '/sys/fs/cgroup/memory{group}/memory.oom_control'"
    told = re.search(r"^oom_kill (\d+)$", host.run(["sh", "-c", f"cat {files}"], check=False).stdout, re.MULTILINE)
    assert told is not None, f"{group}: no limit of memory"
    return int(told[1])


def main_pid(host: LabHost, unit: str) -> str:
    return host.run(["systemctl", "show", "--property=MainPID", "--value", unit]).stdout.strip()

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


LEAK = next(fault for fault in FAULTS if fault.name == "leak")


@pytest.fixture(scope="module")
def host(lab: Lab) -> LabHost:
    """With little memory, so that a leak without a limit does not take the machine's."""
    (host,) = lab.up(["supervised"], memory=2048 * MIB)
    return host


@pytest.fixture(scope="module", autouse=True)
def site(lab: Lab, host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("supervised"), lab, [host], apps=APPS)
    supervision.set_up(site, host, timeout=2)
    return site


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault is not LEAK], ids=lambda fault: fault.name)
def test_back_to_full_strength(host: LabHost, fault: Fault) -> None:
    """In each mode, with all of them hit at once."""
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(partial(supervision.outcome, host, fault=fault, within=LOST), MODES))
    lost = [mode.name for mode, outcome in zip(MODES, outcomes, strict=True) if outcome.back is None]
    assert lost == []


def test_a_leak_meets_its_limit(site: Site, host: LabHost) -> None:
    """And not the end of the host's memory. A worker that takes all that it gets is silent meanwhile, on a busy machine
    for seconds: its `timeout` must not end it first. One mode after the other, because all of their limits together
    are as much as the host has."""
    supervision.set_up(site, host, timeout=LOST)
    for mode in MODES:
        before = ended_for_memory(host, mode)
        found = supervision.outcome(host, mode, LEAK, within=LOST)
        assert found.back is not None, mode.name
        assert found.memory < MEMORY * MIB, mode.name
        assert ended_for_memory(host, mode) > before, mode.name


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

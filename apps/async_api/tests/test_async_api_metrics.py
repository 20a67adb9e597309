from dataclasses import replace
from pathlib import Path

import pytest

from host_metrics.metrics import Interface, between
from host_metrics.readings import CpuTime, Reading, Traffic, read_host

STAT = """\
cpu  100 10 50 800 40 5 15 20 30 7
cpu0 60 10 30 400 20 5 15 10 30 7
cpu1 40 0 20 400 20 0 0 10 0 0
intr 1 2 3
"""
NET_DEV = """\
Inter-|   Receive                            |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 3193 29 0 0 0 0 0 0 3193 29 0 0 0 0 0 0
  eth0: 1000000 13062 0 0 0 0 0 0 792353 8459 0 0 0 0 0 0
"""
MEMINFO = """\
MemTotal:        1000 kB
MemFree:          100 kB
MemAvailable:     250 kB
HugePages_Total:       3
SwapTotal:        512 kB
SwapFree:         500 kB
"""


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    files = {
        "stat": STAT,
        "net/dev": NET_DEV,
        "meminfo": MEMINFO,
        "loadavg": "0.50 0.25 0.10 2/104 15666",
        "uptime": "93784.2 1.0",
    }
    (tmp_path / "net").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return read_host(tmp_path)


def test_reading_counts_waiting_as_idle_and_guests_once(reading: Reading) -> None:
    assert reading.cpu == CpuTime(busy=200, total=1040)
    assert reading.cores == (CpuTime(busy=130, total=550), CpuTime(busy=70, total=490))


def test_reading_has_memory_in_bytes_and_no_loopback(reading: Reading) -> None:
    assert reading.memory["MemTotal"] == 1000 * 1024
    assert reading.memory["HugePages_Total"] == 3
    assert reading.interfaces == {"eth0": Traffic(received=1000000, sent=792353)}
    assert (reading.load, reading.uptime) == ((0.5, 0.25, 0.1), 93784.2)


def test_a_hidden_proc_is_an_os_error(tmp_path: Path) -> None:
    """With it the app fails at start, where the deploy sees it, rather than in every request."""
    with pytest.raises(FileNotFoundError, match="stat"):
        read_host(tmp_path)


def test_the_host_the_tests_run_on_can_be_read() -> None:
    before = read_host()
    metrics = between(before, read_host())
    assert len(metrics.cpu.core_percent) == len(before.cores) > 0
    assert 0 < metrics.memory.used < metrics.memory.total
    assert metrics.uptime_seconds > 0


def test_rates_are_averages_over_the_period(reading: Reading) -> None:
    later = replace(
        reading,
        clock=reading.clock + 4,
        cpu=CpuTime(busy=300, total=1240),
        cores=(CpuTime(busy=230, total=650), CpuTime(busy=70, total=590)),
        interfaces={"eth0": Traffic(received=1004000, sent=792355)},
    )
    metrics = between(reading, later)
    assert metrics.period_seconds == 4
    assert (metrics.cpu.total_percent, metrics.cpu.core_percent) == (50, [100, 0])
    assert metrics.network == [Interface(name="eth0", received_per_second=1000, sent_per_second=0.5)]
    assert (metrics.memory.used, metrics.memory.used_percent) == (750 * 1024, 75)
    assert metrics.memory.swap_used == 12 * 1024


def test_counters_that_run_backwards_give_nothing_negative(reading: Reading) -> None:
    """Idle time does at times, and an interface's counters start anew with it."""
    later = replace(
        reading,
        clock=reading.clock + 1,
        cpu=CpuTime(busy=210, total=1045),
        cores=(CpuTime(busy=120, total=560), CpuTime(busy=70, total=490)),
        interfaces={"eth0": Traffic(received=0, sent=0)},
    )
    metrics = between(reading, later)
    assert (metrics.cpu.total_percent, metrics.cpu.core_percent) == (100, [0, 0])
    assert metrics.network == [Interface(name="eth0", received_per_second=0, sent_per_second=0)]


def test_what_came_or_went_within_the_period_is_left_out(reading: Reading) -> None:
    later = replace(
        reading, clock=reading.clock + 1, cores=reading.cores[:1], interfaces={"eth1": Traffic(received=5, sent=5)}
    )
    metrics = between(reading, later)
    assert len(metrics.cpu.core_percent) == 1
    assert metrics.network == []

"""The benchmark of provisioning works, and a tool that has not done the job is noticed."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.provision import results
from benchmarks.provision.bench import SCENARIOS, Bench, Results
from benchmarks.provision.measure import Command, FailedError, taken
from benchmarks.provision.site import NotServedError
from benchmarks.provision.tools import Floor, Rackhand
from rackhand.lab import Lab
from rackhand.lab.cgroup import Cgroup

NAMED = {scenario.name: scenario for scenario in SCENARIOS}
TOOLS = (Rackhand(), Floor())


@pytest.fixture(scope="module")
def bench(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """After one round of running again."""
    bench = Bench(lab, tmp_path_factory.mktemp("bench"), Results())
    bench.run(NAMED["again"], TOOLS, rounds=1)
    yield bench
    for tool in TOOLS:
        for host in bench.kept(tool).hosts:
            host.destroy()


def test_every_tool_has_its_turn(bench: Bench) -> None:
    for tool in ("rackhand", "floor", "cold"):
        (turn,) = bench.results.turns["again"][tool]
        assert min(turn.seconds, turn.cpu, turn.memory) > 0
    page = results.page(bench.results, TOOLS)
    assert page.count("| Run again, nothing changed |") == 4  # when it was measured, too


def test_many_hosts_are_measured(bench: Bench) -> None:
    """Two will do."""
    bench.run(replace(NAMED["again100"], hosts=2, part=1), [Rackhand()], rounds=1)
    (grown,) = bench.results.part["again100"]["rackhand"]
    assert grown > 0
    (starving,), (queued,) = bench.results.starving["again100"], bench.results.queued["again100"]
    assert 2 > min(starving, queued) >= 1


def test_a_turn_begins_when_nobody_is_logged_in(bench: Bench) -> None:
    site = bench.kept(Rackhand())
    (host,) = site.hosts
    bench.done(site, Rackhand().deploy(site))
    manager = ["systemctl", "is-active", "user@0.service"]
    assert host.run(manager, check=False).stdout == "active\n"
    bench.done(site, Command(arguments=["true"], folder=site.folder))
    assert host.run(manager, check=False).stdout == "inactive\n"


def test_a_tool_that_does_not_serve_what_was_changed_is_noticed(bench: Bench) -> None:
    site = bench.kept(Floor())
    site.next_line()
    with pytest.raises(NotServedError, match="answers /sync-api/line with '0' instead of '1'"):
        bench.done(site, Command(arguments=["true"], folder=site.folder))
    bench.done(site, Floor().deploy(site))


def test_an_application_that_does_not_answer_is_noticed(bench: Bench) -> None:
    site = bench.kept(Floor())
    (host,) = site.hosts
    host.run(["systemctl", "stop", "async_api"])
    with pytest.raises(NotServedError, match="async-api/health: HTTP Error 502"):
        site.check()
    bench.done(site, Floor().deploy(site))


def test_a_run_again_that_changes_something_is_noticed(bench: Bench) -> None:
    site = bench.kept(Rackhand())
    site.next_line()
    with pytest.raises(NotServedError, match="rackhand should have changed nothing"):
        bench.done_nothing(site, Rackhand())


@pytest.mark.parametrize("name", ["far", "rollback"])
def test_a_scenario_is_measured(bench: Bench, name: str) -> None:
    bench.run(NAMED[name], TOOLS, rounds=1)
    assert {"rackhand", "floor"} <= set(bench.results.turns[name])


def test_a_command_is_measured_with_all_that_it_starts(tmp_path: Path) -> None:
    """Also what it leaves running, which is ended."""
    script = "python3 -c 'x = bytearray(60_000_000); sum(range(3_000_000))' & wait; setsid sleep 600 &"
    measured = taken(Command(arguments=["sh", "-c", script], folder=tmp_path))
    assert measured.memory > 60_000_000
    assert measured.cpu > 0.01
    with pytest.raises(FailedError, match="exit 3"):
        taken(Command(arguments=["sh", "-c", "exit 3"], folder=tmp_path))
    assert not any(folder.exists() for folder in Cgroup(name=f"bench-{os.getpid()}").folders)

"""Under steady mixed traffic through port 80 no request is lost, whatever is done to what serves it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rackhand.lab import Lab, LabHost
from tests.lab.site import Result, Site
from tests.load import Load, Tally, Traffic

APPS = Path(__file__).parent / "traffic_apps"
DRAIN = 6
#: By application, which is the name of its kind of worker of Gunicorn's too: whose code it runs, and how many workers.
GUNICORN = {"uvicorn": ("fast", 2), "asgi": ("fast", 2), "sync": ("slow", 3), "gthread": ("slow", 2)}
#: The same, and one that Uvicorn serves alone.
WORKERS = GUNICORN | {"alone": ("fast", 2)}
TRAFFIC = [Traffic(app=app, path=f"/{app}", streams=code == "fast") for app, (code, _) in WORKERS.items()]


@dataclass(frozen=True, kw_only=True)
class Kill:
    """When workers were killed, by the monotonic clock."""

    start: float
    end: float


class Served:
    """A host that serves with all kinds of workers, and its site."""

    def __init__(self, site: Site, host: LabHost) -> None:
        self.site = site
        self.host = host
        self._releases = 0

    def change(self) -> None:
        """Makes the code of the next deploy another one."""
        old, self._releases = self._releases, self._releases + 1
        for code in ("fast", "slow"):
            self.site.edit(f"{code}/app.py", f'MARK = "{_mark(old)}"', f'MARK = "{_mark(old + 1)}"')

    def deploy(self) -> Result:
        return self.site.deploy("traffic1")

    def draining(self) -> str:
        """The instances that were told to stop and have not ended."""
        return self.host.run(["systemctl", "list-units", "--no-legend", "--state=deactivating", "rackhand-*"]).stdout

    def workers(self, app: str) -> set[int]:
        """The processes whose parent is the master of an application's instance."""
        rows = self.host.run(["ps", "-u", f"rackhand-{app}", "-o", "pid=,ppid=,stat="]).stdout.splitlines()
        processes = {int(pid): int(parent) for pid, parent, state in map(str.split, rows) if not state.startswith("Z")}
        return {pid for pid, parent in processes.items() if parent in processes}

    def kill_workers(self, signal: str) -> Kill:
        """Kills the oldest worker of each of Gunicorn's applications, and waits until another has taken its place. One
        that has just been started would not hear the signal."""
        before = {app: self.workers(app) for app in GUNICORN}
        start = time.monotonic()
        self.host.run(["kill", f"-{signal}", *(str(min(pids)) for pids in before.values())])
        kill = Kill(start=start, end=time.monotonic())
        _wait(lambda: all(self._replaced(app, pids) for app, pids in before.items()))
        return kill

    def _replaced(self, app: str, before: set[int]) -> bool:
        now = self.workers(app)
        return min(before) not in now and len(now) == len(before)


def _mark(number: int) -> str:
    return "one" if number == 0 else f"number {number}"


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def provisioned(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Served:
    (host,) = lab.up(["traffic1"])
    site = Site(tmp_path_factory.mktemp("traffic"), lab, [host], APPS)
    site.variables["apps"] = {
        app: {
            "path": str(site.apps / code),
            "app": "app:app",
            **({"worker": app} if app in GUNICORN else {"server": "uvicorn"}),
            "workers": count,
            "route": f"/{app}",
            "drain": DRAIN,
        }
        for app, (code, count) in WORKERS.items()
    }
    site.variables["apps"]["gthread"]["threads"] = 4
    site.write()
    return Served(site, host)


@pytest.fixture
def served(provisioned: Served) -> Served:
    """As its site says, whatever an earlier test has left."""
    provisioned.deploy()
    _wait(lambda: not provisioned.draining())
    return provisioned


def under_load(served: Served, action: Callable[[], object]) -> Tally:
    """What has become of the traffic, after the last of what was open at the action has ended. Shown by -rP."""
    with Load(served.host.address, TRAFFIC) as load:
        load.settle()
        action()
        load.settle()
    _wait(lambda: not served.draining())
    print(load.tally())
    return load.tally()


def assert_kept(tally: Tally, *, switches: int) -> None:
    """No request is lost; those in flight end where they began; WebSockets are told that the service restarts, and
    event streams end in order, not before the drain time is over."""
    assert not tally.lost, tally
    assert {app: len(names) for app, names in tally.instances.items()} == dict.fromkeys(WORKERS, switches + 1), tally
    assert {ending.code for ending in tally.websockets} <= {1001, 1012}, tally
    assert all(ending.complete for ending in tally.events), tally
    if switches:
        assert tally.spanning > 0, tally
        told = [(ending.app, ending.instance) for ending in tally.websockets]
        # The drain time begins when the old instance is told, which the new one's first answer may come after.
        ended = [(ending.app, ending.instance) for ending in tally.events if (ending.after or 0) > DRAIN - 0.5]
        assert sorted(told) == sorted(ended), tally
        assert len(told) == 2 * sum(each.streams for each in TRAFFIC) * switches, tally


def test_new_code(served: Served) -> None:
    def deploy() -> None:
        served.change()
        served.deploy()

    assert_kept(under_load(served, deploy), switches=1)


def test_changed_dependencies(served: Served) -> None:
    """Another version of a package makes another environment."""

    def deploy() -> None:
        for code in ("fast", "slow"):
            served.site.edit(f"{code}/requirements.txt", "toolz==1.0.0", "toolz==0.12.1")
        served.deploy()

    tally = under_load(served, deploy)
    assert_kept(tally, switches=1)
    assert all("/0.12.1/" in names[-1] for names in tally.instances.values()), tally


def test_another_number_of_workers(served: Served) -> None:
    def deploy() -> None:
        for app in served.site.variables["apps"].values():
            app["workers"] += 1
        served.site.write()
        served.deploy()

    assert_kept(under_load(served, deploy), switches=1)
    assert {app: len(served.workers(app)) for app in GUNICORN} == {app: n + 1 for app, (_, n) in GUNICORN.items()}


def test_rollback(served: Served) -> None:
    def rollback() -> None:
        result = served.site.invoke("rollback", "--host", "traffic1")
        assert result.code == 0, result.out + result.err

    assert_kept(under_load(served, rollback), switches=1)


def test_restart(served: Served) -> None:
    def restart() -> None:
        result = served.site.invoke("restart", "--host", "traffic1")
        assert result.code == 0, result.out + result.err

    assert_kept(under_load(served, restart), switches=1)


def test_ten_deploys(served: Served) -> None:
    """One after the other, while instances from before are still draining."""

    def deploys() -> None:
        for _ in range(10):
            served.change()
            served.deploy()

    tally = under_load(served, deploys)
    assert not tally.lost, tally
    assert {app: len(names) for app, names in tally.instances.items()} == dict.fromkeys(WORKERS, 11), tally
    assert {ending.code for ending in tally.websockets} <= {1001, 1012}, tally
    assert all(ending.complete for ending in tally.events), tally


def test_workers_that_are_told_to_end(served: Served) -> None:
    """By an operator, or by whoever frees memory."""

    assert_kept(under_load(served, lambda: served.kill_workers("TERM")), switches=0)


def test_workers_that_are_killed(served: Served) -> None:
    """What a killed worker was working on is lost where it may not be asked twice or the answer has begun. Nothing
    else is: no other request, and no GET that had no answer yet."""
    kills: list[Kill] = []

    def kill() -> None:
        kills.append(served.kill_workers("KILL"))

    tally = under_load(served, kill)
    assert tally.sent > 0
    for lost in tally.lost:
        assert any(lost.start <= kill.end and kill.start <= lost.end for kill in kills), lost
        assert "get" not in lost.kind or "502" not in str(lost.error), lost
    assert {len(names) for names in tally.instances.values()} == {1}, tally

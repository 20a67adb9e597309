"""A host that serves with all kinds of workers under steady mixed traffic, and what is done to it meanwhile."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rackhand.lab import Lab, LabHost
from tests.lab.site import Site
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
    """The host and its site."""

    def __init__(self, site: Site, host: LabHost) -> None:
        self.site = site
        self.host = host
        self._releases = 0

    def deploy(self) -> None:
        self.site.deploy(self.host.name)

    def settle(self) -> None:
        """As its site says, whatever was done before."""
        self.deploy()
        wait(lambda: not self.draining())

    def deploy_new_code(self) -> None:
        old, self._releases = self._releases, self._releases + 1
        for code in ("fast", "slow"):
            self.site.edit(f"{code}/app.py", f'MARK = "{_mark(old)}"', f'MARK = "{_mark(old + 1)}"')
        self.deploy()

    def deploy_other_dependencies(self, old: str, new: str) -> None:
        """Another version of a package makes another environment."""
        for code in ("fast", "slow"):
            self.site.edit(f"{code}/requirements.txt", f"toolz=={old}", f"toolz=={new}")
        self.deploy()

    def deploy_more_workers(self, more: int) -> None:
        for app in self.site.variables["apps"].values():
            app["workers"] += more
        self.site.write()
        self.deploy()

    def deploy_new_site(self) -> None:
        """A setting of nginx, which has to reload for it."""
        nginx = self.site.variables.setdefault("rackhand_nginx", {})
        nginx["max_body_mb"] = nginx.get("max_body_mb", 16) + 1
        self.site.write()
        self.deploy()

    def do(self, command: str) -> None:
        """`rollback` or `restart`."""
        result = self.site.invoke(command, "--host", self.host.name)
        assert result.code == 0, result.out + result.err

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
        wait(lambda: all(self._replaced(app, pids) for app, pids in before.items()))
        return kill

    def _replaced(self, app: str, before: set[int]) -> bool:
        now = self.workers(app)
        return min(before) not in now and len(now) == len(before)


def _mark(number: int) -> str:
    return "one" if number == 0 else f"number {number}"


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def declared(lab: Lab, folder: Path, image: str = "bookworm") -> Served:
    """A host that is booted and to which nothing was deployed."""
    (host,) = lab.up([f"traffic-{image}"], image)
    site = Site(folder, lab, [host], APPS)
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


def under_load(served: Served, action: Callable[[], object]) -> Tally:
    """What has become of the traffic, after the last of what was open at the action has ended."""
    with Load(served.host.address, TRAFFIC) as load:
        load.settle()
        action()
        load.settle()
    wait(lambda: not served.draining())
    return load.tally()

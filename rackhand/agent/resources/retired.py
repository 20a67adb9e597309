"""What is left of earlier releases: running instances, releases beyond those that are kept, unused environments."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from rackhand.agent import files, layout
from rackhand.agent.resource import Resource, Stage, State
from rackhand.agent.system import System


@dataclass(frozen=True, kw_only=True)
class Retired(Resource):
    """`current` are the (app, release) pairs that serve now and `venvs` the environments that they use; `keep` is how
    many releases of an app stay on the host to roll back to, the current one among them. An old instance is told to
    stop and drains by itself: systemd ends it after the drain time that its unit gives."""

    kind: ClassVar[str] = "retired"

    current: tuple[tuple[str, str], ...]
    venvs: tuple[str, ...]
    keep: int
    stage: Stage = "retire"

    @property
    def name(self) -> str:
        return "earlier releases"

    def references(self) -> tuple[str, ...]:
        return tuple(f"current:{app}" for app, _ in self.current)

    def units(self) -> tuple[str, ...]:
        return tuple(layout.unit(app, "*") for app, _ in self.current)

    def wanted(self) -> State:
        return {"instances": (), "releases": (), "environments": ()}

    def actual(self, system: System) -> State:
        releases = self._releases(system)
        return {
            "instances": self._instances(system),
            "releases": releases,
            "environments": self._environments(system, set(releases)),
        }

    def _instances(self, system: System) -> tuple[str, ...]:
        wanted = {layout.unit(app, release) for app, release in self.current}
        units = (unit for pattern in self.units() for unit in system.units(pattern))
        running = (unit["Id"] for unit in units if unit["ActiveState"] not in ("inactive", "deactivating"))
        return tuple(sorted(set(running) - wanted))

    def _releases(self, system: System) -> tuple[str, ...]:
        """Those that were never current, and of the others all but the latest; never one whose instance still runs."""
        found: list[str] = []
        for app, release in self.current:
            folder = system.path(f"{layout.app(app)}/releases")
            if not os.path.isdir(folder):
                continue
            others = [entry.name for entry in os.scandir(folder) if entry.name != release]
            kept = sorted((name for name in others if _activated(folder, name)), key=lambda n: -_activated(folder, n))
            draining = {
                unit["Id"] for unit in system.units(layout.unit(app, "*")) if unit["ActiveState"] == "deactivating"
            }
            gone = [name for name in others if name not in kept[: max(0, self.keep - 1)]]
            found += [f"{app}/{name}" for name in gone if layout.unit(app, name) not in draining]
        return tuple(sorted(found))

    def _environments(self, system: System, gone: set[str]) -> tuple[str, ...]:
        folder = system.path(layout.VENVS)
        if not os.path.isdir(folder):
            return ()
        used = set(self.venvs)
        apps = system.path(layout.APPS)
        for app in os.scandir(apps):
            releases = os.path.join(app.path, "releases")
            for name in os.listdir(releases) if os.path.isdir(releases) else ():
                link = os.path.join(releases, name, "venv")
                if f"{app.name}/{name}" not in gone and os.path.islink(link):
                    used.add(os.path.basename(os.readlink(link)))
        return tuple(sorted(set(os.listdir(folder)) - used))

    def apply(self, system: System, actual: State) -> None:
        instances = self._instances(system)
        if instances:
            system.systemctl("stop", "--no-block", *instances)
        for name in self._releases(system):
            app, _, release = name.partition("/")
            files.remove(system.path(layout.release(app, release)))
        for name in self._environments(system, set()):
            files.remove(system.path(layout.venv(name)))


def _activated(folder: str, release: str) -> float:
    """When a release last became current, in seconds since the epoch, or 0 for never."""
    try:
        return os.stat(os.path.join(folder, release, layout.ACTIVATED)).st_mtime
    except OSError:
        return 0

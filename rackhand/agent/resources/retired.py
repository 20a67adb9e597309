"""What is left of earlier releases: instances, their units, releases that are not kept, unused environments."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import ClassVar

from rackhand.agent import files, layout, serving
from rackhand.agent.resource import Resource, Stage, State
from rackhand.agent.system import System

#: Seconds for systemd to begin with stopping what it was asked to stop.
PATIENCE = 20
#: States of a unit in which there is nothing to stop.
_ENDED = ("inactive", "deactivating")


class Retired(Resource):
    """`current` are the (app, release) pairs that serve now; with `only`, no other application does. `venvs` are the
    environments in use, and `keep` is how many good releases of an app stay on the host, the current one among them,
    and at least one to go back to. An old instance is told to stop, and drains by itself."""

    kind: ClassVar[str] = "retired"

    current: tuple[tuple[str, str], ...]
    venvs: tuple[str, ...]
    keep: int
    only: bool = False
    stage: Stage = "retire"

    @property
    def name(self) -> str:
        return "earlier releases"

    def references(self) -> tuple[str, ...]:
        return ("current:applications",) if self.current else ()

    def follows(self, system: System) -> tuple[str, ...]:
        """Where an instance ran before, another one leaves it behind."""
        before = (pair for pair in self.current if self._remembered(system, pair[0]))
        return tuple(f"instance:{app}/{release}" for app, release in before)

    def _remembered(self, system: System, app: str) -> bool:
        return bool(serving.unit_files(system, app) or serving.instances(system, app))

    def units(self) -> tuple[str, ...]:
        return (layout.unit("*", "*"),)

    def wanted(self) -> State:
        return {"instances": (), "units": (), "releases": (), "environments": (), "unfinished": ()}

    def actual(self, system: System) -> State:
        releases = self._releases(system)
        return {
            "instances": self._instances(system),
            "units": self._unit_files(system),
            "releases": releases,
            "environments": self._environments(system, set(releases)),
            "unfinished": tuple(path for path in self._unfinished(system) if os.path.lexists(system.path(path))),
        }

    def _apps(self, system: System) -> list[tuple[str, str | None]]:
        """With the release that serves, or None for an application that should not."""
        named = dict(self.current)
        others = [app for app in serving.apps(system) if app not in named] if self.only else []
        return [*named.items(), *((app, None) for app in others)]

    def _kept_units(self, system: System, app: str, release: str | None) -> set[str]:
        """Of the instance that is current, or will be once what was foretold is done."""
        unit = None if release is None else serving.running(system, app, release)
        if unit is None:
            return set()
        here = serving.current(system).get(app)
        shared = here is not None and here.socket == layout.shared_socket(app)
        listener = {layout.listener(app, "socket"), layout.listener(app, "service")} if shared else set()
        return {unit["Id"], *listener}

    def _instances(self, system: System) -> tuple[str, ...]:
        found = []
        for app, release in self._apps(system):
            kept = self._kept_units(system, app, release)
            units = (unit for unit in serving.instances(system, app) if unit["ActiveState"] not in _ENDED)
            found += [unit["Id"] for unit in units if unit["Id"] not in kept]
        return tuple(sorted(found))

    def _unit_files(self, system: System) -> tuple[str, ...]:
        found = []
        for app, release in self._apps(system):
            kept = self._kept_units(system, app, release)
            found += [path for path in serving.unit_files(system, app) if os.path.basename(path) not in kept]
        return tuple(sorted(found))

    def _releases(self, system: System) -> tuple[str, ...]:
        """Those that never served well, and of the others all but the latest; never one whose instance still drains."""
        found: list[str] = []
        for app, release in self.current:
            folder = system.path(f"{layout.app(app)}/releases")
            good = [past.id for past in serving.history(system, app) if past.good and past.id != release]
            draining = {
                layout.release_of(layout.instance_of(unit["Id"]))
                for unit in serving.instances(system, app)
                if unit["ActiveState"] == "deactivating"
            }
            kept = {release, *good[: max(1, self.keep - 1)], *draining}
            names = os.listdir(folder) if os.path.isdir(folder) else ()
            found += [f"{app}/{name}" for name in names if name not in kept]
        return tuple(sorted(found))

    def _environments(self, system: System, gone: set[str]) -> tuple[str, ...]:
        folder = system.path(layout.VENVS)
        if not os.path.isdir(folder):
            return ()
        used = set(self.venvs)
        for app in serving.apps(system):
            releases = system.path(f"{layout.app(app)}/releases")
            for name in os.listdir(releases) if os.path.isdir(releases) else ():
                link = os.path.join(releases, name, "venv")
                if f"{app}/{name}" not in gone and os.path.islink(link):
                    used.add(os.path.basename(os.readlink(link)))
        return tuple(sorted(set(os.listdir(folder)) - used))

    def _unfinished(self, system: System) -> Iterator[str]:
        """What a run that was killed may have left in the middle."""
        yield f"{layout.BASE}/.current.partial"
        folders = [layout.UV]
        for app, _ in self._apps(system):
            folders += [layout.release(app, release.id) for release in serving.history(system, app)]
        for folder in folders:
            path = system.path(folder)
            for name in os.listdir(path) if os.path.isdir(path) else ():
                if name.startswith(".") and name.endswith(files.TEMPORARY):
                    yield f"{folder}/{name}"

    def _begin_to_stop(self, system: System, instances: tuple[str, ...]) -> None:
        """Returns when they have been told, which systemd does a moment after it was asked to."""
        system.systemctl("stop", "--no-block", *instances)
        deadline = time.monotonic() + PATIENCE
        while any(system.unit(name)["ActiveState"] == "active" for name in instances):
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
            system.forget_units()

    def apply(self, system: System, actual: State) -> None:
        instances = self._instances(system)
        if instances:
            self._begin_to_stop(system, instances)
        failed = [name for name in instances if system.unit(name)["ActiveState"] == "failed"]
        if failed:
            system.systemctl("reset-failed", *failed)
        unit_files = self._unit_files(system)
        listeners = system.show(*(os.path.basename(path) for path in unit_files if "@" not in path))
        held = [unit["Id"] for unit in listeners if unit["ActiveState"] == "active"]
        if held:
            system.systemctl("stop", *held)
        for path in unit_files:  # systemd keeps what it knows of a unit until its last process has ended
            files.remove(system.path(path))
        for name in self._releases(system):
            app, _, release = name.partition("/")
            files.remove(system.path(layout.release(app, release)))
        for name in self._environments(system, set()):
            files.remove(system.path(layout.venv(name)))
        for path in self._unfinished(system):
            files.remove(system.path(path))

"""What serves on a host: one record for all applications, replaced in one step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from rackhand.agent import files, layout, serving
from rackhand.agent.resource import Failure, Resource, ResourceError, Stage, State
from rackhand.agent.resources.probe import Probe
from rackhand.agent.serving import Serving
from rackhand.agent.system import System


class Current(Resource):
    """Nginx reaches applications through the record, and at boot the instances that it names are started: replacing it
    is the switch, for all applications at once.

    `releases` are (app, release) pairs. With `only`, an application that is not among them is current no longer;
    otherwise it stays as it is. `shared` are the applications whose socket systemd holds."""

    kind: ClassVar[str] = "current"

    releases: tuple[tuple[str, str], ...]
    only: bool = False
    shared: tuple[str, ...] = ()
    stage: Stage = "switch"

    @property
    def name(self) -> str:
        return "applications"

    def references(self) -> tuple[str, ...]:
        return tuple(f"instance:{app}/{release}" for app, release in self.releases)

    def follows(self, system: System) -> tuple[str, ...]:
        return self.references()

    def units(self) -> tuple[str, ...]:
        return (layout.unit("*", "*"),)

    def wanted(self) -> State:
        return {**dict(self.releases), "others": ()}

    def actual(self, system: System) -> State:
        current = serving.current(system)
        state: dict[str, Any] = {app: self._serves(system, app, release) for app, release in self.releases}
        named = {app for app, _ in self.releases}
        state["others"] = tuple(sorted(self._entries(system) - named)) if self.only else ()
        # Not compared with what is wanted, but with what was there before when it is undone.
        other = {app for app, release in self.releases if state[app] != release}
        before = {app: self._goes_back_to(system, app, here) if app in other else here for app, here in current.items()}
        state["record"] = {app: (here.instance, here.socket) for app, here in before.items()}
        state["revived"] = tuple(app for app, here in before.items() if here != current[app])
        state["history"] = {app: files.read_text(self._note(system, app, release)) for app, release in self.releases}
        return state

    def _note(self, system: System, app: str, release: str) -> str:
        return system.path(f"{layout.release(app, release)}/{layout.ACTIVATED}")

    def _entries(self, system: System) -> set[str]:
        path = system.path(layout.CURRENT)
        return set(os.listdir(path)) if os.path.isdir(path) else set()

    def _serves(self, system: System, app: str, release: str) -> str | None:
        here = serving.current(system).get(app)
        if here is None or here.release != release:
            return None if here is None else here.release
        if here != self._wanted(system, app, release):
            return f"{release}, by another instance"
        return release + self._missing(system, app, here.instance)

    def _missing(self, system: System, app: str, instance: str) -> str:
        """What the history does not say of the instance that is current. Whether it answers, this run will see."""
        noted = serving.latest(system, app)
        if noted is None or noted.instance != instance:
            return ", not in the history"
        if not noted.proven and noted.run != system.run_id:
            return f", not seen to answer since run {noted.run}"
        return ""

    def _goes_back_to(self, system: System, app: str, here: Serving) -> Serving:
        """What is to serve when this is undone: what is current, but instead of a release that a run which was cut off
        has left there unproven, the last one that is known to be good."""
        past = serving.history(system, app)
        unproven = any(release.id == here.release and not release.proven for release in past)
        if unproven and self._missing(system, app, here.instance):
            for release in past:
                if release.good and release.instance:
                    return serving.place(system, app, release.instance)
        return here

    def _wanted(self, system: System, app: str, release: str) -> Serving | None:
        unit = serving.running(system, app, release)
        if unit is None:
            return None
        instance = layout.instance_of(unit["Id"])
        socket = layout.shared_socket(app) if app in self.shared else layout.socket(app, instance)
        return Serving(instance=instance, socket=socket)

    def apply(self, system: System, actual: State) -> None:
        current = serving.current(system)
        coming = {app: here for app, here in current.items() if not self.only}
        for app, release in self.releases:
            wanted = self._wanted(system, app, release)
            if wanted is None:
                raise ResourceError(f"{app}: no instance of release {release} runs any more")
            coming[app] = wanted
        if coming != current or self._entries(system) != set(coming):
            serving.make_current(system, coming)
        for app, _ in self.releases:
            if self._missing(system, app, coming[app].instance):
                serving.note_activated(system, app, coming[app].instance)

    def proven(self, system: System) -> None:
        for app, _ in self.releases:
            serving.note_proven(system, app)

    def undo(self, system: System, before: State, failure: Failure) -> None:
        record, history, revived = before["record"], before["history"], before["revived"]
        assert isinstance(record, Mapping)
        assert isinstance(history, Mapping)
        assert isinstance(revived, tuple)
        served = {app: Serving(instance=instance, socket=socket) for app, (instance, socket) in record.items()}
        for app in revived:
            serving.revive(system, app, served[app].instance)
        serving.make_current(system, served)
        for app, release in self.releases:
            note = self._note(system, app, release)
            if history[app] is None:
                files.remove(note)
            else:
                files.write(note, history[app], "root:root", "0644")
            stays = app in served and served[app].release == release
            if isinstance(failure.resource, Probe) and failure.resource.app == app and not stays:
                serving.mark_failed(system, app, release, failure.message)

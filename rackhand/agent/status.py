"""What serves on a host now, as it is told to the controller."""

from __future__ import annotations

from typing import Any

from rackhand.agent import layout, serving
from rackhand.agent.system import System


def apps(system: System) -> dict[str, Any]:
    """For every application: the current release and instance, and all releases, the one last current first."""
    current = serving.current(system)
    return {
        app: {
            "current": current[app].release if app in current else None,
            "instance": current[app].instance if app in current else None,
            "releases": [
                {
                    "id": release.id,
                    "activated": release.at,
                    "proven": release.proven,
                    "run": release.run,
                    "failed": release.failed,
                }
                for release in serving.history(system, app)
            ],
        }
        for app in serving.apps(system)
    }


def instances(system: System, health: dict[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """The instances that run, with what systemd knows of each. `health` gives the path to ask and the prefix that is
    part of it, by application."""
    current = serving.current(system)
    found = []
    for unit in system.show("rackhand-*@*.service"):
        app = unit["Id"].removeprefix("rackhand-").partition("@")[0]
        instance = layout.instance_of(unit["Id"])
        here = current.get(app)
        serves = here is not None and here.instance == instance
        answer = None
        if app in health and unit["ActiveState"] == "active":
            socket = here.socket if here and serves else layout.socket(app, instance)
            answer = serving.health(system, socket, *health[app])
        found.append(
            {
                "app": app,
                "instance": instance,
                "release": layout.release_of(instance),
                "serves": serves,
                "state": unit["ActiveState"],
                "since": unit["ActiveEnterTimestamp"],
                "restarts": int(unit["NRestarts"]),
                "memory": serving.memory(unit),
                "workers": len(serving.workers(unit)),
                "health": answer,
            }
        )
    return found

"""What serves on a host now: applications, their releases and their instances."""

from __future__ import annotations

import os
from typing import Any

from rackhand.agent import files, http, layout
from rackhand.agent.system import System


def apps(system: System) -> dict[str, Any]:
    """For every application: the current release and all releases with the time at which each last became current."""
    folder = system.path(layout.APPS)
    if not os.path.isdir(folder):
        return {}
    return {entry.name: _app(system, entry.name) for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)}


def _app(system: System, name: str) -> dict[str, Any]:
    try:
        current = os.path.basename(os.readlink(system.path(layout.current(name))))
    except OSError:
        current = None
    releases = system.path(f"{layout.app(name)}/releases")
    found = []
    for release in os.listdir(releases) if os.path.isdir(releases) else ():
        if release.startswith("."):
            continue
        folder = os.path.join(releases, release)
        try:
            activated = os.stat(os.path.join(folder, layout.ACTIVATED)).st_mtime
        except OSError:
            activated = None
        failed = files.read_text(os.path.join(folder, layout.FAILED))
        found.append({"id": release, "activated": activated, "failed": failed and failed.strip()})
    found.sort(key=lambda release: release["activated"] or 0, reverse=True)
    return {"current": current, "releases": found}


def instances(system: System, health: dict[str, str]) -> list[dict[str, Any]]:
    """The instances that run, with what systemd knows of each. `health` gives the path to ask, by application."""
    found = []
    for unit in system.show("rackhand-*@*.service"):
        workers = _children(unit["MainPID"])
        app, _, release = unit["Id"].removeprefix("rackhand-").removesuffix(".service").partition("@")
        instance = {
            "app": app,
            "release": release,
            "state": unit["ActiveState"],
            "since": unit["ActiveEnterTimestamp"],
            "restarts": int(unit["NRestarts"]),
            "memory": sum(_memory(pid) for pid in (unit["MainPID"], *workers)),
            "workers": len(workers),
            "health": None,
        }
        if app in health and unit["ActiveState"] == "active":
            try:
                status, _ = http.get(f"{layout.runtime(app, release)}/app.sock", health[app])
                instance["health"] = "ok" if 200 <= status < 300 else f"status {status}"
            except OSError as error:
                instance["health"] = f"no answer: {error}"
        found.append(instance)
    return found


def _children(pid: str) -> list[str]:
    return (files.read_text(f"/proc/{pid}/task/{pid}/children") or "").split()


def _memory(pid: str) -> int:
    """In bytes, with what processes share divided among them."""
    for line in (files.read_text(f"/proc/{pid}/smaps_rollup") or "").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0

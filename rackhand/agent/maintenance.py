"""Applications that are closed for a while: a file for each, which nginx looks for at each request."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rackhand.agent import files, http, layout
from rackhand.agent.system import System

#: What nginx answers with.
PAGE = "<!doctype html><title>Maintenance</title><p>Down for maintenance. Please try again in a minute.</p>"
#: Whoever probes is let through to the application: this is somebody else.
_VISITOR = {"User-Agent": "rackhand-visitor"}


def closed(system: System) -> list[str]:
    """The applications that are in maintenance."""
    folder = system.path(layout.MAINTENANCE)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if not name.startswith("."))


def change(system: System, apps: Mapping[str, Sequence[str]], *, on: bool, note: str) -> dict[str, str | None]:
    """Closes or opens applications, `apps` giving the name of the site and a path of each. Returns why nginx does not
    do so, by application, or None. The file holds a note for whoever finds it."""
    folder = system.path(layout.MAINTENANCE)
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o755)
    for app in apps:
        if on:
            files.write(f"{folder}/{app}", f"{note}\n", "root:root", "0644")
        else:
            files.remove(f"{folder}/{app}")
    files.sync_folder(f"{folder}/")
    return {app: _wrong(host, path, on) for app, (host, path) in apps.items()}


def _wrong(host: str, path: str, on: bool) -> str | None:
    try:
        status, body = http.get(80, path, host=host, headers=_VISITOR)
    except OSError as error:
        return f"nginx does not answer: {error}" if on else None
    shown = status == 503 and PAGE in body
    if on and not shown and not 300 <= status < 400:
        return f"nginx goes on as before (status {status}): its site is older than maintenance is: deploy first"
    return "nginx still answers with the page" if shown and not on else None

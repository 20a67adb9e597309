"""What serves on a host: the record of what is current, instances, and the history of releases."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Literal

from rackhand.agent import files, layout
from rackhand.agent.record import Record
from rackhand.agent.system import System, Unit

#: How a new instance takes over: started beside the old one and proven first, or after the old one has ended.
Strategy = Literal["beside", "restart"]

#: Told to an application with each request: which part of its path is the prefix that it is served under.
PREFIX_HEADER = "X-Rackhand-Prefix"

#: What of a release an instance is started from, of which it has one of the two that are programs: `find` is given
#: these, too, and finds all that is below the first.
STARTED_FROM = ("code", "env", "gunicorn.conf.py", "serve.py", layout.UNIT, "venv", "venv/.rackhand")

#: Seconds for an instance that served before to serve again, and for the one in its place to end.
REVIVAL = 240
#: Characters that are read of what an instance says of itself.
_LARGEST_NOTE = 2**16


class Serving(Record):
    """What is current of one application: an instance, and the socket that it answers on."""

    instance: str
    socket: str

    @property
    def release(self) -> str:
        return layout.release_of(self.instance)


def place(system: System, app: str, instance: str) -> Serving:
    """Where an instance answers by itself: on its own socket, or on the one that systemd holds if it was made so."""
    held = os.path.exists(system.path(f"{layout.release(app, layout.release_of(instance))}/{layout.SOCKET}"))
    return Serving(instance=instance, socket=layout.shared_socket(app) if held else layout.socket(app, instance))


def current(system: System) -> dict[str, Serving]:
    """What is current, by application. An entry that contradicts itself counts as none."""
    try:
        names = sorted(os.listdir(system.path(layout.CURRENT)))
    except OSError:
        return {}
    found = {name: _served(system, name) for name in names}
    return {name: serving for name, serving in found.items() if serving is not None}


def _served(system: System, app: str) -> Serving | None:
    folder = system.path(layout.current(app))
    try:
        release, unit, socket = (os.readlink(os.path.join(folder, name)) for name in ("release", "unit", "app.sock"))
    except OSError:
        return None
    instance = layout.instance_of(os.path.basename(unit))
    serving = Serving(instance=instance, socket=socket)
    return serving if _links(app, serving) == {"release": release, "unit": unit, "app.sock": socket} else None


def _links(app: str, serving: Serving) -> dict[str, str]:
    return {
        "release": layout.release(app, serving.release),
        "unit": f"{layout.VOLATILE}/{layout.unit(app, serving.instance)}",
        "app.sock": serving.socket,
    }


def make_current(system: System, apps: Mapping[str, Serving]) -> None:
    """Replaces the record for the whole host in one step, on disk before anything else happens."""
    coming = system.path(f"{layout.BASE}/.current.partial")
    files.remove(coming)
    os.mkdir(coming, 0o755)
    os.chmod(coming, 0o755)
    for app, serving in apps.items():
        os.mkdir(os.path.join(coming, app))
        os.chmod(os.path.join(coming, app), 0o755)
        for name, target in _links(app, serving).items():
            os.symlink(target, os.path.join(coming, app, name))
    # The releases must survive a power cut that comes after the record names them.
    files.sync_filesystem(coming)
    files.put_folder(coming, system.path(layout.CURRENT))


def health(system: System, socket: str, path: str, prefix: str, timeout: float = 5) -> str:
    """`ok`, or what is wrong."""
    from rackhand.agent import http

    headers = {PREFIX_HEADER: prefix} if prefix else {}
    try:
        status, _ = http.get(system.path(socket), path, headers=headers, timeout=timeout)
    except OSError as error:
        return f"no answer: {error}"
    return "ok" if http.healthy(status) else f"status {status}"


# Instances


def instances(system: System, app: str) -> list[Unit]:
    """The units of an application's instances that systemd knows, the latest first."""
    units = system.units(layout.unit(app, "*"))
    return sorted(units, key=lambda unit: -layout.serial_of(layout.instance_of(unit["Id"])))


def running(system: System, app: str, release: str) -> Unit | None:
    """The instance of a release that counts: the latest of those that are up or coming up."""
    for unit in instances(system, app):
        up = unit["ActiveState"] in ("active", "activating", "reloading")
        if up and layout.release_of(layout.instance_of(unit["Id"])) == release:
            return unit
    return None


def unit_files(system: System, app: str) -> list[str]:
    """The unit files of an application's instances and of its listener, masks among them."""
    found = []
    for folder in (layout.VOLATILE, layout.SYSTEMD):
        try:
            names = os.listdir(system.path(folder))
        except OSError:
            continue
        own = (layout.listener(app, "socket"), layout.listener(app, "service"))
        found += [f"{folder}/{name}" for name in names if name.startswith(f"rackhand-{app}@") or name in own]
    return sorted(path for path in found if path.endswith((".service", ".socket")))


def holders(system: System, port: int, keeps: str) -> tuple[str, ...]:
    """The units that hold a port for applications, but for the one that `keeps` it: the listeners' sockets, and the
    instances that have these from there."""
    found = []
    for app in set(apps(system)) - {keeps}:
        listener = layout.listener(app, "socket")
        if f"ListenStream=0.0.0.0:{port}\n" not in (
            files.read_text(system.path(f"{layout.VOLATILE}/{listener}")) or ""
        ):
            continue
        own = [unit for unit in unit_files(system, app) if "@" in unit]
        found += [listener, *(os.path.basename(unit) for unit in own if _inherits(system, unit))]
    up = {unit["Id"] for unit in system.show(*found) if unit["ActiveState"] == "active"}
    return tuple(sorted(up))


def _inherits(system: System, unit_file: str) -> bool:
    return "\nSockets=" in (files.read_text(system.path(unit_file)) or "")


def next_serial(system: System, app: str) -> int:
    """Greater than that of any instance which the host remembers: neither clocks nor reboots turn it back."""
    names = [layout.instance_of(os.path.basename(path)) for path in unit_files(system, app)]
    names += [layout.instance_of(unit["Id"]) for unit in system.units(layout.unit(app, "*"))]
    names += [serving.instance for name, serving in current(system).items() if name == app]
    names += [release.instance for release in history(system, app) if release.instance]
    return 1 + max(map(layout.serial_of, names), default=0)


def loaded(system: System, app: str, instance: str) -> bool:
    """Whether an instance was started from the files that are there now: its unit, its release, its environment. The
    unit notes a digest of their inodes and change times before each start; the same is asked of the files here."""
    noted = files.read_text(system.path(f"{layout.runtime(app, instance)}/{layout.LOADED}"))
    return noted is not None and noted.split(" ")[0] == _started_from(system, app, instance)


def _started_from(system: System, app: str, instance: str) -> str:
    import hashlib

    release = layout.release(app, layout.release_of(instance))
    paths = [f"{release}/{name}" for name in STARTED_FROM]
    code = f"{release}/code"
    if os.path.isdir(system.path(code)):
        paths += [f"{code}/{path}" for path, _ in files.walk(system.path(code))]
    paths.append(f"{layout.VOLATILE}/{layout.unit(app, instance)}")
    lines = []
    for path in paths:
        try:
            lines.append(os.fsencode(identity(path, os.lstat(system.path(path)))))
        except OSError:
            continue
    return hashlib.sha256(b"\0".join([*sorted(lines), b""])).hexdigest()


def identity(path: str, status: os.stat_result) -> str:
    """As `find -printf '%p %i %C@'` writes it."""
    seconds, fraction = divmod(status.st_ctime_ns, 10**9)
    return f"{path} {status.st_ino} {seconds}.{fraction:09d}0"


class Application(Record):
    """What an instance's first worker has found its application to be. `refused` says why no such worker can serve it:
    `setting`, the one that says otherwise, `why`, and what to `write` there."""

    refused: Mapping[str, str] | None = None
    warnings: tuple[str, ...] = ()


def application(system: System, app: str, instance: str) -> Application:
    """What the application is, as far as it is noted yet. Its user may have written anything there, or a link to what
    it may not read."""
    path = system.path(f"{layout.runtime(app, instance)}/{layout.APPLICATION}")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8") as file:
            noted = json.loads(file.read(_LARGEST_NOTE))
        refused = noted["refused"] and {key: str(noted["refused"][key]) for key in ("setting", "why", "write")}
        return Application(refused=refused or None, warnings=tuple(map(str, noted["warnings"])))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return Application()


def revive(system: System, app: str, instance: str) -> None:
    """Starts an instance that served before, if it runs no more. Returns when it is up."""
    release = system.path(layout.release(app, layout.release_of(instance)))
    units = {
        layout.UNIT: layout.unit(app, instance),
        layout.SOCKET: layout.listener(app, "socket"),
        layout.HOLDER: layout.listener(app, "service"),
    }
    for name, unit in units.items():
        path = system.path(f"{layout.VOLATILE}/{unit}")
        content = files.read_text(f"{release}/{name}")
        if content is not None and not os.path.lexists(path):  # a boot has forgotten it
            files.write(path, content, "root:root", "0644")
    # A job of systemd's own: it goes on to its end whatever becomes of this process.
    system.systemctl("start", layout.unit(app, instance), timeout=REVIVAL)


def memory(unit: Unit) -> int:
    """What an instance uses, in bytes, with what its processes share divided among them."""
    return sum(_memory(pid) for pid in (unit["MainPID"], *workers(unit)))


def workers(unit: Unit) -> list[str]:
    """The process ids of an instance's workers."""
    pid = unit["MainPID"]
    return (files.read_text(f"/proc/{pid}/task/{pid}/children") or "").split()


def _memory(pid: str) -> int:
    for line in (files.read_text(f"/proc/{pid}/smaps_rollup") or "").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


# Releases


class Release(Record):
    """A release on a host. `order` tells when it last became current, in comparison with others, and is 0 for never: no
    clock is asked, since clocks jump. `proven` says that a run has seen it answer after it had become current.
    `instance` is which one of it served last, `at` since when, in seconds since the epoch, and `run` by which run.
    `failed` says why it must not serve."""

    id: str
    order: int = 0
    proven: bool = False
    instance: str | None = None
    at: float | None = None
    run: str | None = None
    failed: str | None = None

    @property
    def good(self) -> bool:
        """Whether it has served well and may serve again."""
        return self.proven and self.failed is None


def history(system: System, app: str) -> list[Release]:
    """The releases on the host, the one that became current last first."""
    folder = system.path(f"{layout.app(app)}/releases")
    names = os.listdir(folder) if os.path.isdir(folder) else ()
    found = [_release(os.path.join(folder, name)) for name in names if not name.startswith(".")]
    return sorted(found, key=lambda release: -release.order)


def _release(folder: str) -> Release:
    failed = files.read_text(os.path.join(folder, layout.FAILED))
    why = None if failed is None else failed.strip()
    try:
        noted = json.loads(files.read_text(os.path.join(folder, layout.ACTIVATED)) or "{}")
        own = {key: noted[key] for key in ("order", "proven", "instance", "at", "run")}
        return Release(id=os.path.basename(folder), failed=why, **own)
    except (ValueError, KeyError, TypeError):
        return Release(id=os.path.basename(folder), failed=why)


def latest(system: System, app: str) -> Release | None:
    """The one that became current last."""
    return next((release for release in history(system, app) if release.order), None)


def note_activated(system: System, app: str, instance: str) -> None:
    """That an instance has become current, in this run."""
    past = history(system, app)
    release = layout.release_of(instance)
    noted = {
        "order": 1 + max((other.order for other in past), default=0),
        "proven": any(other.proven for other in past if other.id == release),
        "instance": instance,
        "at": round(time.time(), 3),
        "run": system.run_id,
    }
    _note(system, app, release, noted)


def note_proven(system: System, app: str) -> None:
    """That what became current last has been seen to answer."""
    last = latest(system, app)
    if last is not None and not last.proven:
        noted = {"order": last.order, "proven": True, "instance": last.instance, "at": last.at, "run": last.run}
        _note(system, app, last.id, noted)


def _note(system: System, app: str, release: str, noted: Mapping[str, object]) -> None:
    path = system.path(f"{layout.release(app, release)}/{layout.ACTIVATED}")
    files.write(path, json.dumps(noted) + "\n", "root:root", "0644")


def mark_failed(system: System, app: str, release: str, why: str) -> None:
    folder = system.path(layout.release(app, release))
    if os.path.isdir(folder):
        files.write(os.path.join(folder, layout.FAILED), f"{why}\n", "root:root", "0644")


def apps(system: System) -> Iterable[str]:
    """Every application that the host knows."""
    folder = system.path(layout.APPS)
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else ()

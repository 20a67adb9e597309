"""Candidates for how an application could be served: throw-away instances of its current release, started one after the
other on sockets of their own, loaded from here and removed. What serves is not touched, nor loaded unless asked for."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from rackhand.agent import files, layout, runs, serving
from rackhand.agent.channel import Channel
from rackhand.agent.events import Emitter
from rackhand.agent.system import CommandError, System

#: Seconds of load before what is counted, in which the workers load what they need.
WARM_UP = 1.0
#: Seconds after which a request is an error.
PATIENCE = 20


class Stopped(Exception):
    """Why no further candidate is tried."""


def tune(message: Mapping[str, Any], channel: Channel, emit: Emitter, system: System) -> None:
    """Tries each candidate and tells how it did, and if asked for how what serves does, through nginx; last of all,
    whether all were tried. One at a time on a host, and not while a run changes the host."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    reason = None
    busy = os.getloadavg()[0]
    if busy > message["cores"] / 2:
        emit("busy", load=round(busy, 1), cores=message["cores"])
    with open(os.open(layout.TUNING_LOCK, os.O_RDWR | os.O_CREAT, 0o600), "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            emit("tuned", stopped="this host is being tuned already")
            return
        try:
            for number, candidate in enumerate(message["candidates"]):
                _go_on(channel)
                emit("candidate", number=number, **_tried(message, candidate, channel, system))
            if message["live"] is not None:
                emit("live", **_live(message, channel, system))
        except Stopped as stop:
            reason = str(stop)
        finally:
            _clear(system)
    emit("tuned", stopped=reason)


def _go_on(channel: Channel, within: float = 0) -> None:
    """Raises Stopped when nobody wants to hear more, within so many seconds, or when a run has begun meanwhile."""
    if channel.cancelled(within):
        raise Stopped("interrupted")
    if channel.closed:
        raise Stopped("the controller went away")
    if runs.at_work():
        raise Stopped("a run is changing this host: tune it when that is over")


def _clear(system: System) -> None:
    """Removes what there is of candidates, also of a tuning that was killed."""
    units = [unit["Id"] for unit in system.show(layout.unit("tune-*", "*"))]
    if units:
        system.systemctl("kill", "--signal=KILL", *units)
        system.systemctl("stop", *units)
    for name in os.listdir(layout.VOLATILE) if os.path.isdir(layout.VOLATILE) else ():
        if name.startswith("rackhand-tune-"):
            files.remove(f"{layout.VOLATILE}/{name}")
    files.remove(layout.TUNING)


def _tried(
    message: Mapping[str, Any], candidate: Mapping[str, str], channel: Channel, system: System
) -> dict[str, Any]:
    """What is measured of a candidate, or why nothing is."""
    app = message["app"]
    _clear(system)
    unit = layout.unit(f"tune-{app}", layout.CANDIDATE)
    try:
        _write(message, candidate, f"{layout.VOLATILE}/{unit}")
        system.systemctl("start", unit, timeout=message["timeout"] + 60)
        _wait(message, unit, channel, system)
        measured = _measured(message, _socket(message), unit, channel, system)
    except (CommandError, OSError) as error:
        return {"failed": str(error)}
    system.systemctl("stop", unit, timeout=message["timeout"] + 60)
    return measured


def _live(message: Mapping[str, Any], channel: Channel, system: System) -> dict[str, Any]:
    """How what serves does, with all its other requests and the whole way through nginx."""
    _clear(system)
    _go_on(channel)
    instance = serving.current(system)[message["app"]].instance
    return _measured(message, message["live"], layout.unit(message["app"], instance), channel, system)


def _measured(
    message: Mapping[str, Any], where: str | int, unit: str, channel: Channel, system: System
) -> dict[str, Any]:
    _loaded(message, where, WARM_UP, channel)
    return {**_loaded(message, where, message["seconds"], channel), "memory": serving.memory(system.unit(unit))}


def _write(message: Mapping[str, Any], candidate: Mapping[str, str], unit: str) -> None:
    """A folder like that of a release, with a configuration of its own and the rest of the current release; and the
    unit."""
    app, group = message["app"], layout.user(message["app"])
    os.makedirs(layout.TUNING, 0o755)
    os.chmod(layout.TUNING, 0o755)
    for name in ("code", "env", "venv"):
        os.symlink(f"{layout.release(app, message['release'])}/{name}", f"{layout.TUNING}/{name}")
    for name, content in candidate.items():
        files.write(f"{layout.TUNING}/{name}", content, f"root:{group}", "0640")
    files.write(unit, message["unit"], "root:root", "0644")


def _wait(message: Mapping[str, Any], unit: str, channel: Channel, system: System) -> None:
    """Until it is healthy. Raises OSError when that does not happen."""
    end = time.monotonic() + message["timeout"]
    while (health := serving.health(system, _socket(message), message["health"], message["prefix"])) != "ok":
        system.forget_units()
        if system.unit(unit)["ActiveState"] not in ("active", "activating"):
            raise OSError("the application ended instead of staying up")
        if time.monotonic() > end:
            raise OSError(f"{message['health']}: {health}")
        _go_on(channel, within=0.05)


def _socket(message: Mapping[str, Any]) -> str:
    return layout.socket(message["app"], layout.CANDIDATE)


def _loaded(message: Mapping[str, Any], where: str | int, seconds: float, channel: Channel) -> dict[str, Any]:
    """Sends requests to a socket or to a port, so many at a time, each with a connection of its own, as nginx makes
    them. Tells how many were answered, and how many were not, in how many seconds; and what all answers but a hundredth
    took at most, in seconds. Raises Stopped."""
    latencies: list[float] = []
    errors: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            started = time.monotonic()
            try:
                _ask(where, message["request"].encode())
                latencies.append(time.monotonic() - started)
            except OSError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(message["concurrency"])]
    started = time.monotonic()
    try:
        for thread in threads:
            thread.start()
        _go_on(channel, within=seconds)
    finally:
        took = time.monotonic() - started
        over.set()
        for thread in threads:
            thread.join()
    ordered = sorted(latencies) or [0.0]
    return {
        "requests": len(latencies),
        "seconds": round(took, 3),
        "p99": round(ordered[len(ordered) * 99 // 100], 5),
        "errors": len(errors),
        "error": errors[0] if errors else None,
    }


def _ask(where: str | int, request: bytes) -> None:
    """Reads the whole answer. Raises OSError when that is not a good one."""
    with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(where if isinstance(where, str) else ("127.0.0.1", where))
        connection.sendall(request)
        status = connection.recv(2**16)
        while connection.recv(2**16):
            pass
    if not status.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")):
        raise OSError("status " + status[9:12].decode("latin-1") if status else "no answer")

"""An instance: one release, running under systemd and answering on its own socket."""

from __future__ import annotations

import json
import os
import time
from typing import ClassVar

from rackhand.agent import facts, files, layout, serving
from rackhand.agent.resource import Failure, Resource, ResourceError, State
from rackhand.agent.serving import Strategy
from rackhand.agent.system import CommandError, System, Unit

#: Seconds between two looks at an instance that is starting.
POLL = 0.05
#: Seconds after which an answer that is an error, and not 503, is taken as final.
PATIENCE = 1.5
#: Seconds that systemd may take to start or stop an instance, besides its drain time.
START_TIMEOUT = 100
#: How much of an application's log is told when it fails.
LOG_LINES = 40


class Unservable(ResourceError):
    """An application that its workers cannot serve."""


class Instance(Resource):
    """`health` is the path that must answer with a status of 200 to 299, within `timeout` seconds of the start;
    `prefix` is the part of it under which nginx serves the application. A new instance must stay healthy for `settle`
    seconds before it counts as started. An instance called `replaces` does not count: another one is started in its
    place. `drain` is how many seconds the old instance may take to end. `venv` is the environment that it uses, where
    that is a part of the plan. `app_set` and `worker_set` are where the inventory says which object is served, and by
    which workers, if it does.

    Whatever is wrong with an instance, a new one is started beside it. Only with the strategy `restart` the old one is
    stopped first; systemd holds the socket meanwhile, so that requests wait."""

    kind: ClassVar[str] = "instance"

    app: str
    release: str
    health: str
    prefix: str
    timeout: int
    drain: int
    settle: int = 0
    strategy: Strategy = "beside"
    replaces: str = ""
    venv: str = ""
    app_set: str = ""
    worker_set: str = ""

    @property
    def name(self) -> str:
        return f"{self.app}/{self.release}"

    @property
    def deadline(self) -> int:
        # What was left behind stopped, this one started, waited for, and stopped again.
        return 3 * (START_TIMEOUT + self.drain) + self.timeout + self.settle + 60

    def follows(self, system: System) -> tuple[str, ...]:
        return (f"release:{self.name}", f"virtualenv:{self.venv}")

    def units(self) -> tuple[str, ...]:
        return (layout.unit("*", "*"),)

    def wanted(self) -> State:
        return {"service": "active", "running": "as its files say", "health": "ok"}

    def actual(self, system: System) -> State:
        unit = serving.running(system, self.app, self.release)
        if unit is None:
            return {"service": self._ended(system), "running": None, "health": None}
        instance = layout.instance_of(unit["Id"])
        if unit["ActiveState"] != "active":
            return {"service": unit["ActiveState"], "running": None, "health": None}
        running = "as its files say" if serving.loaded(system, self.app, instance) else "from files that have changed"
        if instance == self.replaces:
            running = f"{instance}, which is to be replaced"
        return {"service": "active", "running": running, "health": self._health(system, instance)}

    def _ended(self, system: System) -> str:
        """How the instance of this release that should run has ended."""
        for unit in serving.instances(system, self.app):
            if layout.release_of(layout.instance_of(unit["Id"])) == self.release:
                return "masked" if unit["LoadState"] == "masked" else unit["ActiveState"]
        return "inactive"

    def _socket(self, instance: str) -> str:
        if self.strategy == "restart":
            return layout.shared_socket(self.app)
        return layout.socket(self.app, instance)

    def _health(self, system: System, instance: str, timeout: float = 5) -> str:
        return serving.health(system, self._socket(instance), self.health, self.prefix, timeout)

    def warnings(self, system: System) -> tuple[str, ...]:
        unit = serving.running(system, self.app, self.release)
        if unit is None:
            return ()
        return serving.application(system, self.app, layout.instance_of(unit["Id"])).warnings

    def apply(self, system: System, actual: State) -> None:
        here = serving.current(system).get(self.app)
        old = self._alone(system, here)
        if self.strategy == "beside" and old is not None:
            self._check_memory(old)
        instance = layout.instance(self.release, serving.next_serial(system, self.app))
        unit = layout.unit(self.app, instance)
        since = time.time()
        self._write_unit(system, instance, old)
        tried = False
        try:
            if self.strategy == "restart":
                self._hold(system, self.release)
            tried = True
            self._start(system, unit, here)
            self._wait(system, instance)
        except (ResourceError, CommandError, OSError) as error:
            # Of what cannot be served all is said.
            log = () if isinstance(error, Unservable) else self._log(system, unit, since)
            try:
                self._take_back(system, instance, here)
            finally:
                # What serves is not doubted because another instance of it does not start.
                if tried and (here is None or here.release != self.release):
                    serving.mark_failed(system, self.app, self.release, str(error))
            raise ResourceError(str(error), log) from error
        files.remove(system.path(f"{layout.release(self.app, self.release)}/{layout.FAILED}"))

    def _alone(self, system: System, here: serving.Serving | None) -> Unit | None:
        """The instance that serves, once others that are up have ended: a run that was cut off has left them behind,
        and they take the memory that the next one needs."""
        up = {unit["Id"]: unit for unit in serving.instances(system, self.app) if unit["ActiveState"] == "active"}
        serves = None if here is None else up.pop(layout.unit(self.app, here.instance), None)
        if up:
            system.systemctl("stop", *up, timeout=START_TIMEOUT + self.drain)
        return serves

    def _check_memory(self, old: Unit) -> None:
        """Two releases need room for two. Raises ResourceError before anything was started."""
        used, free = serving.memory(old), facts.memory_available()
        if used > free:
            raise ResourceError(
                f"no room for a second instance beside the running one: that uses {used // 2**20} MiB, and "
                f"{free // 2**20} MiB are free. Lower `workers`, free memory, or declare `strategy: restart` for "
                f"{self.app}: then the old one is stopped first, and requests wait meanwhile"
            )

    def _write_unit(self, system: System, instance: str, old: Unit | None) -> None:
        release = system.path(layout.release(self.app, self.release))
        folder = system.path(layout.VOLATILE)
        os.makedirs(folder, exist_ok=True)
        text = files.read_text(f"{release}/{layout.UNIT}") or ""
        if self.strategy == "restart" and old is not None:
            # In one transaction, systemd stops the old one to its end, then starts this one.
            text += f"\n[Unit]\nConflicts={old['Id']}\nAfter={old['Id']}\n"
        files.write(f"{folder}/{layout.unit(self.app, instance)}", text, "root:root", "0644")

    def _hold(self, system: System, release: str) -> None:
        """Has systemd hold the sockets of this release. When these are others than before, who has the old ones lets
        them go first: nothing answers meanwhile."""
        folder = system.path(layout.VOLATILE)
        listener = layout.listener(self.app, "socket")
        before = files.read_text(f"{folder}/{listener}")
        changed = False
        for name, kind in ((layout.SOCKET, "socket"), (layout.HOLDER, "service")):
            content = files.read_text(f"{system.path(layout.release(self.app, release))}/{name}")
            path = f"{folder}/{layout.listener(self.app, kind)}"
            if content is None:
                raise ResourceError(f"release {release} was not made for the strategy restart: deploy instead")
            if files.read_text(path) != content:
                if kind == "socket" and before is not None and _streams(before) != _streams(content):
                    units = [unit["Id"] for unit in serving.instances(system, self.app)]
                    holder = layout.listener(self.app, "service")
                    system.systemctl("stop", listener, holder, *units, timeout=START_TIMEOUT + self.drain)
                changed = True
                files.write(path, content, "root:root", "0644")
        if changed and before is not None:
            system.systemctl("daemon-reload")
        try:
            system.systemctl("start", listener)
        except CommandError as error:
            raise ResourceError(f"{error}: does something else listen there? (ss -ltnp)") from error

    def _start(self, system: System, unit: str, here: serving.Serving | None) -> None:
        """Returns when systemd says that it is up."""
        # A job of systemd's own: it goes on to its end whatever becomes of this process.
        timeout = START_TIMEOUT + self.drain
        shared = layout.shared_socket(self.app)
        if self.strategy != "restart" or here is None or here.socket == shared:
            system.systemctl("start", unit, timeout=timeout)
            return
        # Requests are to wait at the socket that systemd holds before the one that serves stops listening. One command,
        # so that the end of this process cannot leave them waiting for nobody.
        link = system.path(f"{layout.current(self.app)}/app.sock")
        coming = files.beside(link)
        files.remove(coming)
        os.symlink(shared, coming)
        move = 'mv -fT -- "$1" "$2" && exec systemctl --quiet start "$3"'
        system.run("sh", "-c", move, "sh", coming, link, unit, timeout=timeout)
        system.forget_units()

    def _take_back(self, system: System, instance: str, here: serving.Serving | None) -> None:
        """Stops what was started; what served before serves again."""
        unit = layout.unit(self.app, instance)
        system.systemctl("stop", unit, timeout=START_TIMEOUT + self.drain)
        if system.unit(unit)["ActiveState"] == "failed":
            system.systemctl("reset-failed", unit)
        files.remove(system.path(f"{layout.VOLATILE}/{unit}"))
        if self.strategy != "restart":
            return
        # The record may name the socket that systemd holds for one which was not made for that.
        before = None if here is None else serving.place(system, self.app, here.instance)
        held = before is not None and before.socket == layout.shared_socket(self.app)
        if before is not None:
            if held:
                self._hold(system, before.release)
            serving.revive(system, self.app, before.instance)
            serving.make_current(system, {**serving.current(system), self.app: before})
        if not held:
            # One whose holder is active systemd would not open again.
            system.systemctl("stop", *(layout.listener(self.app, kind) for kind in ("socket", "service")))

    def undo(self, system: System, before: State, failure: Failure) -> None:
        """The record of what is current has been put back before this: what it does not name is stopped."""
        here = serving.current(system).get(self.app)
        for unit in serving.instances(system, self.app):
            instance = layout.instance_of(unit["Id"])
            started = layout.release_of(instance) == self.release and unit["ActiveState"] == "active"
            if not started or here is not None and here.instance == instance:
                continue
            if self.strategy == "restart":
                self._take_back(system, instance, here)
            else:
                system.systemctl("stop", "--no-block", unit["Id"])
                files.remove(system.path(f"{layout.VOLATILE}/{unit['Id']}"))

    def _wait(self, system: System, instance: str) -> None:
        unit_name = layout.unit(self.app, instance)
        settled = time.monotonic() + self.settle
        deadline = settled + self.timeout
        erring_since: float | None = None
        patience = 0.5
        while True:
            # Of a socket that systemd holds, a lack of answers does not tell whether the application still runs.
            health = self._health(system, instance, patience)
            patience = min(5, patience * 2)
            now = time.monotonic()
            self._check_application(system, instance)
            if health == "ok" and now >= settled:
                return
            if not health.startswith("status") or health == "status 503":  # no answer yet, or not ready yet
                erring_since = None
            elif erring_since is None:
                erring_since = now
            if now > deadline or erring_since is not None and now > erring_since + PATIENCE:
                raise ResourceError(f"{self.health} on its own socket: {health}")
            system.forget_units()
            unit = system.unit(unit_name)
            if unit["ActiveState"] in ("failed", "inactive") or unit["NRestarts"] != "0":
                raise ResourceError("the application ended instead of staying up")
            time.sleep(POLL)

    def _check_application(self, system: System, instance: str) -> None:
        """Raises Unservable when the application is none that its workers can serve."""
        refused = serving.application(system, self.app, instance).refused
        if refused is None:
            return
        place, advice = self.app_set, ""
        if refused["setting"] == "worker" and self.worker_set:
            place, advice = self.worker_set, f": write {refused['write']}, or leave it out"
        elif refused["setting"] == "worker":
            advice = f": write worker: {refused['write']}"
        raise Unservable(f"{place}: {refused['why']}{advice}")

    def _log(self, system: System, unit: str, since: float) -> tuple[str, ...]:
        """What the application and systemd said since it was started: the first traceback, or else the last lines."""
        output = system.run(
            *("journalctl", "--unit", unit, "--since", f"@{int(since)}"),
            *("--output", "json", "--output-fields", "MESSAGE,_PID", "--no-pager", "--quiet"),
        )
        entries = [json.loads(line) for line in output.splitlines()]
        # A message that is not text is given as a list of bytes.
        said = [(entry.get("_PID"), str(entry.get("MESSAGE"))) for entry in entries]
        for position, (process, message) in enumerate(said):
            if message.startswith("Traceback "):
                told = _traceback([text for other, text in said[position:] if other == process])
                # Gunicorn's own, which says that a worker has failed, but not why.
                if not told[-1].startswith("gunicorn.errors.HaltServer"):
                    return tuple(told[-LOG_LINES:])
        return tuple(message for _, message in said[-LOG_LINES:])


def _streams(socket_unit: str) -> list[str]:
    return [line for line in socket_unit.splitlines() if line.startswith("ListenStream=")]


_CHAIN = ("During handling of the above exception", "The above exception was the direct cause")


def _traceback(lines: list[str]) -> list[str]:
    """The lines up to the error that a traceback ends with; one that was raised in handling another follows it. The
    journal keeps no empty lines."""
    for end, line in enumerate(lines[1:], start=2):
        inside = line.startswith((" ", "Traceback ", *_CHAIN))
        if not inside and not "".join(lines[end : end + 1]).startswith(_CHAIN):
            return lines[:end]
    return lines

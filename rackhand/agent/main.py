"""The agent's conversation: it says what the host is, takes one question or one plan, and streams events back.

Every message is one line of JSON. Data follows the line that announces it:

    agent       {"event": "facts", …} or {"event": "refused", "reason": …}
    controller  {"ask": "status", …} or {"plan": […], "apply": true, …}, or closes the channel
    agent       {"event": "need", "blobs": [digest, …]}
    controller  {"blob": digest, "size": N} and N bytes, for each
    agent       {"event": "confirm", …}: {"ask": "confirm", "run": RUN} must reach another agent, over a new connection
    controller  {"unconfirmed": reason} when it cannot
    agent       events, the last one {"event": "end", …}
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any

from rackhand.agent import engine, guard, layout, status
from rackhand.agent.events import Emitter
from rackhand.agent.facts import facts, refusal
from rackhand.agent.files import file_digest, remove
from rackhand.agent.plan import Plan
from rackhand.agent.resource import ResourceError
from rackhand.agent.system import System

#: How many runs a host remembers.
KEPT_RUNS = 20


class Channel:
    """Lines and data from the controller, read without buffering past what is asked for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self._cancelled = False

    def line(self) -> Any:
        """The next message but for those that ask to stop, or None when the controller has closed the channel."""
        while True:
            while b"\n" not in self._buffer:
                chunk = os.read(self._descriptor, 2**16)
                if not chunk:
                    return None
                self._buffer += chunk
            line, _, self._buffer = self._buffer.partition(b"\n")
            message = json.loads(line)
            if "cancel" not in message:
                return message
            self._cancelled = True

    def copy(self, size: int, path: str) -> None:
        """Writes the next `size` bytes to a file."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            while size:
                chunk = self._buffer[:size] or os.read(self._descriptor, min(size, 2**20))
                if not chunk:
                    raise ConnectionError("the controller went away before all data had arrived")
                self._buffer = self._buffer[len(chunk) :] if self._buffer else b""
                file.write(chunk)
                size -= len(chunk)

    def unconfirmed(self) -> str | None:
        """Why the controller could not confirm what was changed, if it has said so."""
        self.cancelled()
        while b"\n" in self._buffer:
            message = self.line()
            if message is None or "unconfirmed" in message:
                return message and str(message["unconfirmed"])
        return None

    def cancelled(self) -> bool:
        """Whether the controller has asked to stop. One that went away has not: the run goes on without it."""
        while select.select([self._descriptor], [], [], 0)[0]:
            chunk = os.read(self._descriptor, 2**16)
            if not chunk:
                break
            self._buffer += chunk
        return self._cancelled or b'"cancel"' in self._buffer


def main(stdin: int = 0, stdout: int = 1) -> int:
    """Serves one conversation and returns the exit code of the process."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    channel = Channel(stdin)
    # What a program prints goes to the channel's error stream, and none of them reads the plan.
    events = os.dup(stdout)
    os.dup2(2, 1)
    emit = Emitter(events)
    found = facts()
    reason = refusal(found)
    if reason:
        emit("refused", reason=reason)
        return 2
    system = System()
    emit("facts", facts={**found, "apps": status.apps(system)})
    message = channel.line()
    if message is None:
        return 0
    emit.hide(message.get("secrets", ()))
    if message.get("ask") == "status":
        emit("status", instances=status.instances(system, message["health"]))
        return 0
    if message.get("ask") == "confirm":
        emit("confirmed", reason=guard.confirm(message["run"], system))
        return 0
    plan = Plan.from_wire(message["plan"])
    if not message["apply"]:
        return _end(emit, engine.run(plan, system, emit, apply=False))
    return _detached(lambda: _apply(plan, message["run"], message["confirm_within"], channel, emit))


def _detached(work: Any) -> int:
    """Does the work in a session of its own, so that neither the end of the connection nor of sudo ends it."""
    child = os.fork()
    if child == 0:
        os.setsid()
        code = 70
        try:
            code = work()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _apply(plan: Plan, run: str, within: int, channel: Channel, emit: Emitter) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with _lock(emit):
        os.makedirs(layout.RUNS, mode=0o700, exist_ok=True)
        _forget_old_runs()
        emit.journal(f"{layout.RUNS}/{run}.jsonl")
        try:
            guard.wait_for_earlier(System(), emit)
            blobs = _fetch(plan, channel, emit)
            system = System(fetch=blobs.__getitem__)
            guarded = guard.Guard(plan, run=run, within=within, emit=emit, heard=channel.unconfirmed)
            return _end(emit, engine.run(plan, system, emit, apply=True, cancelled=channel.cancelled, guard=guarded))
        except (ConnectionError, ResourceError) as error:
            return _end(emit, engine.Outcome(failed=1, skipped=len(plan), reason=str(error)))
        finally:
            remove(layout.INCOMING)


@contextlib.contextmanager
def _lock(emit: Emitter) -> Iterator[None]:
    """One run at a time changes a host. The kernel lets go of the lock when its holder ends, however it ends."""
    # Nobody else may open it: whoever can may also lock it.
    with open(os.open(layout.LOCK, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            emit("notice", level="info", text="another run is changing this host: waiting for it to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        # Programs that are started must not hold the lock on.
        os.set_inheritable(file.fileno(), False)
        yield


def _fetch(plan: Plan, channel: Channel, emit: Emitter) -> dict[str, str]:
    """Asks the controller, once, for the data that the resources which are not as wanted will need."""
    system = System()
    needed: list[str] = []
    for resource in plan:
        blobs = resource.blobs(system)
        if blobs and engine.compare(resource, resource.wanted(), resource.actual(system)):
            needed += [blob for blob in blobs if blob not in needed]
    if not needed:
        return {}
    os.makedirs(layout.INCOMING, mode=0o700, exist_ok=True)
    emit("need", blobs=needed)
    paths = {}
    for _ in needed:
        header = channel.line()
        if header is None:
            raise ConnectionError("the controller went away before all data had arrived")
        path = f"{layout.INCOMING}/{header['blob']}"
        channel.copy(header["size"], path)
        if file_digest(path) != header["blob"]:
            raise ConnectionError("data arrived damaged")
        paths[header["blob"]] = path
    return paths


def _forget_old_runs() -> None:
    runs = sorted(os.scandir(layout.RUNS), key=lambda entry: entry.stat().st_mtime, reverse=True)
    for run in runs[KEPT_RUNS - 1 :]:
        os.unlink(run.path)


def _end(emit: Emitter, outcome: engine.Outcome) -> int:
    emit(
        "end",
        ok=outcome.ok,
        changed=outcome.changed,
        failed=outcome.failed,
        skipped=outcome.skipped,
        undone=outcome.undone,
        interrupted=outcome.interrupted,
        reason=outcome.reason,
    )
    return 2 if outcome.reason else 0

"""What the agent does with the one message that it is sent: it answers a question, or carries out a plan."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from rackhand.agent import ahead, engine, host_log, layout, runs, status
from rackhand.agent.channel import SILENCE, Channel
from rackhand.agent.events import Emitter
from rackhand.agent.files import file_digest, remove
from rackhand.agent.plan import Plan
from rackhand.agent.resource import ResourceError
from rackhand.agent.system import System

if TYPE_CHECKING:
    from rackhand.agent.drain import Drain
    from rackhand.agent.guard import Guard

#: Seconds in which a controller confirms that it knows how the run ended.
FAREWELL = 5.0


def give(message: dict[str, Any], channel: Channel, emit: Emitter) -> int:
    """Emits the answer, or the events of the run, and returns the exit code of the process."""
    system = System()
    emit.hide(message.get("secrets", ()))
    if "ask" in message:
        _answer(message, system, channel, emit)
        return 0
    emit.name(message["run"])
    plan = Plan.from_wire(message["plan"])
    if not message["apply"]:
        engine.ask(plan, system)
        return _end(emit, engine.run(plan, system, emit, apply=False))
    # Neither the end of the connection nor of sudo ends what is begun here.
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return _apply(plan, message, channel, emit)


def _answer(message: dict[str, Any], system: System, channel: Channel, emit: Emitter) -> None:
    """What only one question needs is loaded when that is asked."""
    match message["ask"]:
        case "status":
            from rackhand.agent import maintenance

            last = runs.last()
            if last is not None:
                last["at_work"] = runs.at_work()
            found = status.instances(system, message["health"])
            emit("status", instances=found, last_run=last, maintenance=maintenance.closed(system))
        case "confirm":
            from rackhand.agent import guard

            emit("confirmed", reason=guard.confirm(message["run"], system))
        case "logs":
            from rackhand.agent import logs

            try:
                logs.tell(message["apps"], message["lines"], message["since"], message["follow"], channel, emit)
            except ResourceError as error:
                emit("error", reason=str(error))
        case "exec":
            from rackhand.agent.execute import execute

            _log(message, emit, "executing", argv=message["argv"])
            execute(message["argv"], message["timeout"], channel, emit)
        case "tune":
            from rackhand.agent import tuning

            emit.name(message["run"])
            host_log.tell({"event": "tune", **message})
            tuning.tune(message, channel, emit, system)
        case "maintenance":
            from rackhand.agent import maintenance

            on, apps = message["on"], message["apps"]
            _log(message, emit, "maintenance", on=on, apps=", ".join(apps))
            note = f"by {message['who']}, run {message['run']}"
            emit("changed", wrong=maintenance.change(system, apps, on=on, note=note))


def _log(message: dict[str, Any], emit: Emitter, event: str, **fields: Any) -> None:
    """Tells the controller and the host's own log who does what."""
    emit.name(message["run"])
    emit.log(host_log.tell)
    emit(event, who=message["who"], **fields)


def _apply(plan: Plan, message: dict[str, Any], channel: Channel, emit: Emitter) -> int:
    try:
        with runs.Lock() as lock:
            attached = runs.turn(lock, message["run"], channel, emit)
            _begin(message, attached, emit)
            try:
                code = _end(emit, _carry_out(plan, message, channel, emit))
            finally:
                remove(layout.INCOMING)
            emit.sync()
            if not emit.alone and channel.heard(FAREWELL):
                emit("heard")
            _keep_compiled()
            return code
    except runs.Interrupted as stop:
        return _end(emit, engine.Outcome(skipped=len(plan), interrupted=True, reason=str(stop)))
    except Exception as error:  # a full disk, say: the controller is told, whatever it is
        return _end(emit, engine.Outcome(failed=1, skipped=len(plan), reason=_reason(error)))


def _keep_compiled() -> None:
    """Spares later agents the compilation: the one thing of a run that nobody waits for, and that may fail."""
    from rackhand.agent.importer import Importer

    if __spec__ is not None and isinstance(__spec__.loader, Importer):
        with contextlib.suppress(OSError):
            __spec__.loader.keep()


def _begin(message: dict[str, Any], attached: str | None, emit: Emitter) -> None:
    """Opens the journal, and tells of the last run what nobody has been told yet."""
    last = runs.last()
    emit.journal(runs.begin(message["run"]))
    emit.log(host_log.tell)
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    emit("start", command=message["command"], who=message["who"], time=now)
    told = last is None or (last["end"] and (last["heard"] or last["run"] == attached))
    if not told:
        emit("found", last=last)


def _carry_out(plan: Plan, message: dict[str, Any], channel: Channel, emit: Emitter) -> engine.Outcome:
    data: dict[str, str] = {}
    system = System(fetch=data.__getitem__, run_id=message["run"])
    try:
        guard = _guard(plan, message, channel, emit)
        engine.ask(plan, system)
        data.update(_fetch(plan, system, channel, emit))
    except (ConnectionError, ResourceError) as error:
        return engine.Outcome(failed=1, skipped=len(plan), reason=str(error))
    drain = _drain(message["drain"], system, emit)
    sound = True
    try:
        with ahead.Ahead(plan, system) as begun:
            outcome = engine.run(
                plan,
                system,
                emit,
                apply=True,
                cancelled=channel.cancelled,
                guard=guard,
                ahead=begun,
                before_change=(lambda: None) if drain is None else drain.begin,
            )
        sound = outcome.sound
        return outcome
    finally:
        if drain is not None:
            drain.end(sound=sound)


def _guard(plan: Plan, message: dict[str, Any], channel: Channel, emit: Emitter) -> Guard | None:
    """That of a run which may need one, once that of an earlier run is gone. Raises ResourceError."""
    if not os.path.exists(layout.GUARD) and not any(resource.cuts_off for resource in plan):
        return None
    from rackhand.agent import guard

    guard.wait_for_earlier(System(), emit)
    return guard.Guard(plan, run=message["run"], within=message["confirm_within"], emit=emit, heard=channel.unconfirmed)


def _drain(wanted: dict[str, Any] | None, system: System, emit: Emitter) -> Drain | None:
    """None where no edge sends requests here, and none is kept away."""
    if wanted is None and not os.path.exists(layout.DRAINED):
        return None
    from rackhand.agent.drain import Drain

    return Drain(wanted, system, emit)


def _reason(error: Exception) -> str:
    """Errors of the system say all that is to be known; others are mistakes of Rackhand's own."""
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _fetch(plan: Plan, system: System, channel: Channel, emit: Emitter) -> dict[str, str]:
    """Asks the controller, once, for the data that the resources which are not as wanted will need."""
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
        header = channel.line(SILENCE)
        if header is None:
            raise ConnectionError("the controller went away before all data had arrived")
        path = f"{layout.INCOMING}/{header['blob']}"
        channel.copy(header["size"], path)
        if file_digest(path) != header["blob"]:
            raise ConnectionError("data arrived damaged")
        paths[header["blob"]] = path
    engine.ask(plan, system)  # again: it may have taken minutes
    return paths


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
